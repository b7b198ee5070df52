//! One non-blocking connection of the load generator: bytes to write, and when its requests were due.
//!
//! A connection belongs to one worker. Its bounds: requests in flight (the worker keeps to the pipeline),
//! and with them the bytes to write.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::args::Protocol;
use super::reply::{Counter, Verdict};
use super::request::{Encoder, Kind};

/// How long the first connections may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// A connection, or the place of one that was lost.
#[derive(Debug)]
pub struct Connection {
    socket: Option<TcpStream>,
    /// Bytes to write, and how many of them are written.
    out: Vec<u8>,
    written: usize,
    /// When each request in flight was due, nanoseconds since the start.
    due: VecDeque<u64>,
    counter: Counter,
    /// Replies still to come that are none of a request.
    setup_replies: u32,
    /// When to try again, nanoseconds since the start.
    retry_at: u64,
    /// Whether it waits in the worker's list of connections to flush.
    pub is_dirty: bool,
}

impl Connection {
    /// Connects, waiting, so that a wrong address is told at once.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn open(address: SocketAddr, protocol: Protocol, encoder: &Encoder) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect_timeout(&address, CONNECT_DEADLINE)?;
        socket.set_nonblocking(true)?;
        let mut connection = Self {
            socket: None,
            out: Vec::new(),
            written: 0,
            due: VecDeque::new(),
            counter: Counter::new(protocol),
            setup_replies: 0,
            retry_at: 0,
            is_dirty: false,
        };
        connection.take(TcpStream::from_std(socket), protocol, encoder)?;
        Ok(connection)
    }

    /// Starts to connect again; whether it worked is seen when the socket is used.
    ///
    /// # Errors
    /// Those of the operating system at once.
    pub fn reopen(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        encoder: &Encoder,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        self.take(TcpStream::connect(address)?, protocol, encoder)?;
        self.register(registry, token)
    }

    fn take(&mut self, socket: TcpStream, protocol: Protocol, encoder: &Encoder) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let (hello, replies) = encoder.hello();
        self.out.clear();
        self.out.extend_from_slice(hello);
        self.written = 0;
        self.due.clear();
        self.counter = Counter::new(protocol);
        self.setup_replies = replies;
        self.socket = Some(socket);
        Ok(())
    }

    /// Registers the socket for readiness in both directions, once (the edges are told).
    ///
    /// # Errors
    /// Those of the selector.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Some(socket) => registry.register(socket, token, Interest::READABLE | Interest::WRITABLE),
            None => Ok(()),
        }
    }

    /// Whether there is a socket.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Requests without a reply.
    pub fn in_flight(&self) -> usize {
        self.due.len()
    }

    /// When a lost connection is tried again.
    pub fn retry_at(&self) -> u64 {
        self.retry_at
    }

    /// Appends a request that was due at `due`.
    pub fn push(&mut self, encoder: &Encoder, kind: Kind, key: u64, due: u64) {
        encoder.write(&mut self.out, kind, key);
        self.due.push_back(due);
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// Those of the socket; the caller drops it by [`Self::lose`].
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while self.written < self.out.len() {
            match socket.write(&self.out[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                // A socket that is still connecting says one of these two.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what is there; `answered` gets each reply's due time, verdict and line.
    ///
    /// # Errors
    /// Those of the socket, its end, and answers that are not of the protocol.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut answered: impl FnMut(u64, Verdict, &[u8]),
    ) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        loop {
            let count = match socket.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (due, setup) = (&mut self.due, &mut self.setup_replies);
            let mut uncalled = false;
            let fed = self.counter.feed(&buffer[..count], |verdict, line| {
                if *setup > 0 && verdict == Verdict::Fine {
                    *setup -= 1;
                } else if let Some(due) = due.pop_front() {
                    answered(due, verdict, line);
                } else {
                    uncalled = true;
                }
            });
            fed.map_err(io::Error::other)?;
            if uncalled {
                return Err(io::Error::other("a reply that no request asked for"));
            }
            // A read that did not fill the buffer has emptied the socket (epoll(7), question 9).
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Drops the socket; gives how many requests are lost with it.
    pub fn lose(&mut self, retry_at: u64) -> u64 {
        self.socket = None;
        self.retry_at = retry_at;
        let lost = self.due.len() as u64;
        self.due.clear();
        self.out.clear();
        self.written = 0;
        lost
    }
}
