//! A connection over TCP or a unix socket, behind one type.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BufMut;
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddr {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer on a unix socket of this path (peers have no name of their own).
    Unix(Arc<Path>),
}

impl PeerAddr {
    /// Whether the peer is on this machine.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for PeerAddr {
    /// As Redis's CLIENT LIST shows them: `ip:port`, `path:0`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(out, "{address}"),
            Self::Unix(path) => write!(out, "{}:0", path.display()),
        }
    }
}

/// A non-blocking socket that no runtime has: what the acceptor hands to a worker.
#[derive(Debug)]
pub enum StdStream {
    /// Over TCP.
    Tcp(StdTcpStream),
    /// Over a unix socket.
    Unix(StdUnixStream),
}

impl StdStream {
    /// Registers the socket with the runtime this is called in.
    pub fn into_async(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// Another handle on the socket.
    pub fn try_clone(&self) -> io::Result<StdStream> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Reads once, what is there, behind what is in `into`, which must have room; 0 is the end; `WouldBlock` when there
    /// is nothing.
    #[inline]
    pub fn recv(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        Ok(rustix::net::recv(self, spare_capacity(into), RecvFlags::empty())?.1)
    }

    /// As [`Self::recv`], over the bytes of `into`, which must not be empty.
    #[inline]
    pub fn recv_over(&self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(self, into, RecvFlags::empty())?.0)
    }

    /// Writes what the socket takes now; `WouldBlock` when it takes nothing.
    #[inline]
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Writes what the socket takes right now, once: for a last word before closing.
    pub fn write_last_word(&self, bytes: &[u8]) {
        // Who is gone already hears nothing.
        let _ = self.send(bytes);
    }

    /// The address of our end, as CLIENT LIST's `laddr` shows it. On a unix socket that is what the peer has: the kernel
    /// knows a listener's file by the name under which it was made.
    pub fn local_label(&self, peer: &PeerAddr) -> String {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or_else(|_| String::new(), |a| a.to_string()),
            Self::Unix(_) => peer.to_string(),
        }
    }
}

impl AsFd for StdStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A connection tied to a runtime: as `AsyncRead` and `AsyncWrite`, or by readiness and `try_…`.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

macro_rules! each {
    ($self:expr, $stream:ident => $does:expr) => {
        match $self {
            Stream::Tcp($stream) => $does,
            Stream::Unix($stream) => $does,
        }
    };
}

impl Stream {
    /// Takes the socket from its runtime.
    pub fn into_std(self) -> io::Result<StdStream> {
        Ok(match self {
            Self::Tcp(stream) => StdStream::Tcp(stream.into_std()?),
            Self::Unix(stream) => StdStream::Unix(stream.into_std()?),
        })
    }

    /// Waits until there is something to read (or the end, or an error). Cancel-safe.
    pub async fn readable(&self) -> io::Result<()> {
        each!(self, stream => stream.readable().await)
    }

    /// Waits until something can be written. Cancel-safe.
    pub async fn writable(&self) -> io::Result<()> {
        each!(self, stream => stream.writable().await)
    }

    /// As [`Self::readable`], for a task that waits for several things at once.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read_ready(context))
    }

    /// As [`Self::writable`], for a task that waits for several things at once.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_write_ready(context))
    }

    /// Waits for any of the asked-for states. Cancel-safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        each!(self, stream => stream.ready(interest).await)
    }

    /// Reads what is there into `into`; 0 is the end; `WouldBlock` when there is nothing.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_read(into))
    }

    /// As [`Self::try_read`], into the spare room of a buffer.
    pub fn try_read_buf<B: BufMut>(&self, into: &mut B) -> io::Result<usize> {
        each!(self, stream => stream.try_read_buf(into))
    }

    /// Writes what the socket takes now; `WouldBlock` when it takes nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, stream => stream.try_write(bytes))
    }

    /// As [`Self::try_write`], from several pieces.
    pub fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        each!(self, stream => stream.try_write_vectored(pieces))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        each!(self, stream => stream.as_fd())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(context, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }
}
