//! Blocking connections for the tests: requests in, raw reply bytes out.
//!
//! A [`Connection`] owns its socket and the bytes read beyond the last reply.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::frame::{self, Node};

/// How long a reply may take before the test gives up, on a loaded machine.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(30);
/// A reply longer than this is an error of the server under test.
pub const MAX_REPLY_BYTES: usize = 1 << 30;

/// Replies shorter than this are looked at after each read.
const LOOK_ALWAYS_BYTES: usize = 64 * 1024;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A blocking connection with a read time-out of [`REPLY_DEADLINE`].
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    unread: Vec<u8>,
}

impl Connection {
    /// Connects to `endpoint`.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let socket = match endpoint {
            Endpoint::Tcp(address) => {
                let socket = TcpStream::connect_timeout(address, REPLY_DEADLINE)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(REPLY_DEADLINE))?;
                socket.set_write_timeout(Some(REPLY_DEADLINE))?;
                Socket::Tcp(socket)
            }
            Endpoint::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(REPLY_DEADLINE))?;
                socket.set_write_timeout(Some(REPLY_DEADLINE))?;
                Socket::Unix(socket)
            }
        };
        Ok(Self { socket, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    /// Tells the server that nothing more will be sent.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn finish_sending(&mut self) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.shutdown(std::net::Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(std::net::Shutdown::Write),
        }
    }

    /// Sends one command as an array of bulk strings.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn send_command(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<()> {
        self.send(&encode(args))
    }

    fn read_some(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 64 * 1024];
        let count = match &mut self.socket {
            Socket::Tcp(socket) => socket.read(&mut chunk),
            Socket::Unix(socket) => socket.read(&mut chunk),
        }?;
        self.unread.extend(&chunk[..count]);
        if self.unread.len() > MAX_REPLY_BYTES {
            return Err(io::Error::other("the reply is longer than any the tests ask for"));
        }
        Ok(count)
    }

    /// The bytes of the next whole reply.
    ///
    /// # Errors
    /// Time-out, end of stream, bytes that are no RESP.
    pub fn read_frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            // Looking walks over all of a long reply, so it waits for bytes that may be an end. The server
            // falls silent only at the end of a reply, so none is missed.
            if (self.unread.len() < LOOK_ALWAYS_BYTES || self.unread.ends_with(b"\r\n"))
                && let Some(len) = frame::frame_len(&self.unread).map_err(io::Error::other)?
            {
                let rest = self.unread.split_off(len);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            if self.read_some()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    /// Sends a command and gives its reply's bytes.
    ///
    /// # Errors
    /// Those of sending and of [`Self::read_frame`].
    pub fn call_raw(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<Vec<u8>> {
        self.send_command(args)?;
        self.read_frame()
    }

    /// Sends a command and gives its reply's tree.
    ///
    /// # Errors
    /// As [`Self::call_raw`].
    pub fn call(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<Node> {
        let frame = self.call_raw(args)?;
        match frame::decode(&frame).map_err(io::Error::other)? {
            Some((node, _)) => Ok(node),
            None => Err(io::Error::other("half a frame")),
        }
    }

    /// Reads until `done` says so of everything unread; gives those bytes, and whether the stream ended.
    ///
    /// # Errors
    /// Time-out or an error of the socket; a reset counts as the end of the stream.
    pub fn read_until(&mut self, mut done: impl FnMut(&[u8]) -> bool) -> io::Result<(Vec<u8>, bool)> {
        loop {
            if done(&self.unread) {
                return Ok((std::mem::take(&mut self.unread), false));
            }
            match self.read_some() {
                Ok(0) => return Ok((std::mem::take(&mut self.unread), true)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok((std::mem::take(&mut self.unread), true));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is unread so far.
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }
}

/// A command as an array of bulk strings.
pub fn encode(args: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend(format!("${}\r\n", arg.len()).into_bytes());
        out.extend(arg);
        out.extend(b"\r\n");
    }
    out
}
