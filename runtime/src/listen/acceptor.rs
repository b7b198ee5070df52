//! Accepts connections on one task and hands them round to worker threads.
//!
//! The acceptor owns the listener. A worker owns what it receives from its channel: it registers
//! the socket with its own runtime and no other thread touches it. The number of open connections
//! is bounded by a [`ConnectionLimit`] shared by all acceptors of a process; a [`Permit`] travels
//! with each connection and gives its place back when dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::bind::{AsyncListener, Listener};
use super::stream::{PeerAddr, StdStream};
use crate::shutdown::Shutdown;

/// Connections that may wait in a worker's channel: use it for `mpsc::channel`.
pub const HANDOVER_QUEUE: usize = 1024;

/// How long to wait after an error of `accept` that says we are out of something.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

/// An accepted connection on its way to a worker.
#[derive(Debug)]
pub struct Accepted<T> {
    /// The socket, non-blocking, with its options set.
    pub stream: StdStream,
    /// Who connected.
    pub peer: PeerAddr,
    /// What the listener is for (which protocol it speaks), as given to [`run`].
    pub tag: T,
    /// The connection's place under the limit: keep it as long as the connection.
    pub permit: Permit,
}

/// The bound on open connections, and what was accepted and refused. Clones share it.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    shared: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    limit: AtomicUsize,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionLimit {
    /// At most `limit` connections at a time.
    pub fn new(limit: usize) -> Self {
        let counts = Counts {
            limit: AtomicUsize::new(limit),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        Self { shared: Arc::new(counts) }
    }

    /// Changes the bound; connections above a smaller one stay open.
    pub fn set_limit(&self, limit: usize) {
        self.shared.limit.store(limit, Ordering::Relaxed);
    }

    /// The bound.
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections refused since the start because the bound or every worker's queue was full.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Takes a place, unless all are taken.
    pub fn try_take(&self) -> Option<Permit> {
        let limit = self.limit();
        let taken = self
            .shared
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < limit).then_some(open + 1));
        match taken {
            Ok(_) => {
                self.shared.accepted.fetch_add(1, Ordering::Relaxed);
                Some(Permit { shared: Arc::clone(&self.shared) })
            }
            Err(_) => {
                self.count_refused();
                None
            }
        }
    }

    fn count_refused(&self) {
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection's place under the limit; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Counts>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the token is tripped, handing connections round-robin to `workers`. A connection
/// that finds no place (or whose workers' queues are all full) is told `refusal` and closed.
///
/// Returns when shut down or when every worker is gone.
pub async fn run<T: Clone>(
    listener: Listener,
    tag: T,
    workers: Vec<mpsc::Sender<Accepted<T>>>,
    limit: ConnectionLimit,
    refusal: &[u8],
    shutdown: Shutdown,
) -> io::Result<()> {
    let address = listener.local_address();
    let listener = listener.into_async()?;
    let mut next = 0;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => match accepted {
                Ok(accepted) => accepted,
                Err(cause) => {
                    tracing::warn!(%address, %cause, "cannot accept connections; trying again");
                    tokio::time::sleep(STARVED_PAUSE).await;
                    continue;
                }
            },
            () = shutdown.wait() => return Ok(()),
        };
        let Some(permit) = limit.try_take() else {
            stream.write_last_word(refusal);
            continue;
        };
        let accepted = Accepted { stream, peer, tag: tag.clone(), permit };
        match hand_over(&workers, &mut next, accepted) {
            Ok(()) => {}
            Err(TrySendError::Full(accepted)) => {
                limit.count_refused();
                accepted.stream.write_last_word(refusal);
            }
            Err(TrySendError::Closed(_)) => return Ok(()),
        }
    }
}

/// Offers the connection to each worker once, the next in turn first.
fn hand_over<T>(
    workers: &[mpsc::Sender<Accepted<T>>],
    next: &mut usize,
    mut accepted: Accepted<T>,
) -> Result<(), TrySendError<Accepted<T>>> {
    let mut any_alive = false;
    for _ in 0..workers.len() {
        let worker = &workers[*next % workers.len()];
        *next = (*next + 1) % workers.len();
        accepted = match worker.try_send(accepted) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(back)) => {
                any_alive = true;
                back
            }
            Err(TrySendError::Closed(back)) => back,
        };
    }
    Err(if any_alive { TrySendError::Full(accepted) } else { TrySendError::Closed(accepted) })
}

/// Accepts, passing over connections that were gone before we took them.
async fn accept(listener: &AsyncListener) -> io::Result<(StdStream, PeerAddr)> {
    loop {
        match listener.accept().await {
            Err(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::Interrupted
                ) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::{Address, SocketOptions, bind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn start(
        workers: usize,
        limit: &ConnectionLimit,
    ) -> (u16, Vec<mpsc::Receiver<Accepted<&'static str>>>, Shutdown, tokio::task::JoinHandle<io::Result<()>>)
    {
        let listener = bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).unwrap();
        let port = listener.port().unwrap();
        let (senders, receivers) = (0..workers).map(|_| mpsc::channel(4)).unzip();
        let shutdown = Shutdown::new();
        let (limit, token) = (limit.clone(), shutdown.clone());
        let task =
            tokio::spawn(async move { run(listener, "resp", senders, limit, b"-ERR full\r\n", token).await });
        (port, receivers, shutdown, task)
    }

    #[tokio::test]
    async fn connections_go_round() {
        let limit = ConnectionLimit::new(10);
        let (port, mut workers, shutdown, task) = start(2, &limit).await;
        for turn in 0..4 {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let accepted = workers[turn % 2].recv().await.unwrap();
            assert_eq!(accepted.tag, "resp");
            assert!(accepted.peer.is_local());
            let mut stream = accepted.stream.into_async().unwrap();
            client.write_all(b"hello").await.unwrap();
            let mut got = [0; 5];
            stream.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"hello");
        }
        assert_eq!(limit.accepted(), 4);
        shutdown.trigger();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_too_many_is_told_so() {
        let limit = ConnectionLimit::new(1);
        let (port, mut workers, _shutdown, _task) = start(1, &limit).await;
        let _first = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let kept = workers[0].recv().await.unwrap();
        let mut second = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut text = String::new();
        second.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "-ERR full\r\n");
        assert_eq!((limit.open(), limit.refused()), (1, 1));
        drop(kept);
        assert_eq!(limit.open(), 0);
        let _third = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        workers[0].recv().await.unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_works_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("torc.sock");
        let listener = bind(&Address::unix(&path), &SocketOptions::default()).unwrap();
        let (sender, mut worker) = mpsc::channel(1);
        let (limit, shutdown) = (ConnectionLimit::new(1), Shutdown::new());
        let task = tokio::spawn(run(listener, (), vec![sender], limit, b"", shutdown.clone()));
        let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
        let accepted = worker.recv().await.unwrap();
        assert_eq!(accepted.peer.to_string(), format!("{}:0", path.display()));
        let mut stream = accepted.stream.into_async().unwrap();
        stream.write_all(b"hi").await.unwrap();
        let mut got = [0; 2];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hi");
        shutdown.trigger();
        task.await.unwrap().unwrap();
        assert!(!path.exists());
    }
}
