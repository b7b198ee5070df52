//! The listening side of the bus.
//!
//! One task accepts; each connection is a task of the same runtime, which owns the connection and
//! the answers that are still being made. Handlers are registered before serving and shared by
//! all connections.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use torc_protocol::bus::{BusError, FrameKind};

use super::call::{CALL_ID_BYTES, open_envelope, reply_kind};
use super::conn::{BusConn, BusWriter, Frame, RawConn};
use super::error::ConnError;
use super::handshake::{as_server, set_options};
use super::identity::{BusIdentity, BusPeer};
use crate::BoxFuture;
use crate::listen::{Listener, PeerAddr, StdStream};
use crate::shutdown::Shutdown;

/// Calls of one connection that may be worked on at a time; more wait in the socket.
const CALLS_AT_A_TIME: usize = 64;
/// Bytes of answers that may wait for a peer that does not read them.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Longest text of a refusal.
const REFUSAL_BYTES: usize = 1024;
/// Pause after `accept` failed, as when the process is out of file descriptors.
const STARVED_PAUSE: Duration = Duration::from_millis(100);

/// What peers, and strangers, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusLimits {
    /// Connections that have not proved themselves yet; more are closed at once.
    pub pending: usize,
    /// Authenticated connections; more are refused.
    pub connections: usize,
    /// Time for the handshake.
    pub handshake_time: Duration,
    /// Time from the handshake to the first frame.
    pub first_frame_time: Duration,
    /// Time for a peer to take an answer.
    pub write_time: Duration,
}

impl Default for BusLimits {
    fn default() -> Self {
        Self {
            pending: 64,
            connections: 4096,
            handshake_time: Duration::from_secs(3),
            first_frame_time: Duration::from_secs(30),
            write_time: Duration::from_secs(10),
        }
    }
}

type CallHandler =
    Box<dyn Fn(Arc<BusPeer>, Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;
type StreamHandler = Box<dyn Fn(BusConn, Frame) -> BoxFuture<'static, ()> + Send + Sync>;

/// What listens on the bus: the handlers by kind.
pub struct BusServer {
    identity: BusIdentity,
    limits: BusLimits,
    calls: HashMap<u8, CallHandler>,
    streams: HashMap<u8, StreamHandler>,
}

impl BusServer {
    /// A server that answers nothing but `Ping` yet.
    pub fn new(identity: BusIdentity, limits: BusLimits) -> Self {
        Self { identity, limits, calls: HashMap::new(), streams: HashMap::new() }
    }

    /// Answers calls of `kind` (one that [`reply_kind`] knows). `Err` is a refusal in words. Calls
    /// of one connection run concurrently and may be answered in any order.
    ///
    /// # Panics
    /// When `kind` is no call kind: a mistake of the program, found when it starts.
    #[must_use]
    pub fn on_call<F, R>(mut self, kind: FrameKind, handler: F) -> Self
    where
        F: Fn(Arc<BusPeer>, Bytes) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Bytes, String>> + Send + 'static,
    {
        assert!(reply_kind(kind).is_some(), "{kind:?} is no call");
        let handler: CallHandler = Box::new(move |peer, body| Box::pin(handler(peer, body)));
        self.calls.insert(kind.number(), handler);
        self
    }

    /// Hands connections whose first frame is of `kind` to a handler, with that frame. The
    /// connection ends when the handler's future does; shutting down is the handler's to notice.
    #[must_use]
    pub fn on_stream<F, R>(mut self, kind: FrameKind, handler: F) -> Self
    where
        F: Fn(BusConn, Frame) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        assert!(reply_kind(kind).is_none() && !kind.is_handshake(), "{kind:?} is no stream");
        let handler: StreamHandler = Box::new(move |conn, first| Box::pin(handler(conn, first)));
        self.streams.insert(kind.number(), handler);
        self
    }

    /// Serves until the token is tripped; then every connection is dropped.
    pub async fn serve(self, listener: Listener, shutdown: Shutdown) -> io::Result<()> {
        let listener = listener.into_async()?;
        let pending = Arc::new(Semaphore::new(self.limits.pending));
        let places = Arc::new(Semaphore::new(self.limits.connections));
        let server = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.wait() => break,
            };
            let (stream, peer) = match accepted {
                Ok((StdStream::Tcp(stream), peer)) => (stream, peer),
                Ok(_) => continue,
                Err(cause) => {
                    tracing::warn!(%cause, "cannot accept bus connections; trying again");
                    tokio::time::sleep(STARVED_PAUSE).await;
                    continue;
                }
            };
            // A stranger that finds the queue full is closed without a word.
            if let Ok(permit) = Arc::clone(&pending).try_acquire_owned()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                let (server, places) = (Arc::clone(&server), Arc::clone(&places));
                connections.spawn(async move { server.connection(stream, peer, permit, places).await });
            }
            while connections.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn connection(
        &self,
        stream: TcpStream,
        address: PeerAddr,
        pending: OwnedSemaphorePermit,
        places: Arc<Semaphore>,
    ) {
        set_options(&stream);
        let handshake = as_server(RawConn::new(stream), &self.identity);
        let mut conn = match timeout(self.limits.handshake_time, handshake).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(ConnError::Handshake(error))) => {
                tracing::warn!(peer = %address, %error, "a bus handshake failed");
                return;
            }
            // Whoever hangs up or stalls is no event: port scanners do.
            Ok(Err(_)) | Err(_) => return,
        };
        drop(pending);
        let Ok(_place) = places.try_acquire() else {
            refuse(&mut conn, "too many bus connections").await;
            return;
        };
        let first = match timeout(self.limits.first_frame_time, conn.read_frame()).await {
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None) | Err(_)) | Err(_) => return,
        };
        let peer = conn.peer().clone();
        if let Some(stream) = self.streams.get(&first.kind.number()) {
            stream(conn, first).await;
        } else if reply_kind(first.kind).is_some() {
            if let Err(error) = self.serve_calls(conn, first).await {
                tracing::debug!(peer = %peer.name, address = %peer.address, %error, "a bus connection ended");
            }
        } else {
            let text = format!("nobody here serves {:?} frames", first.kind);
            refuse(&mut conn, &text).await;
        }
    }

    async fn serve_calls(&self, conn: BusConn, first: Frame) -> Result<(), ConnError> {
        let (mut reader, mut writer, peer) = conn.split();
        let peer = Arc::new(peer);
        let mut working = JoinSet::new();
        self.begin(first, &peer, &mut working)?;
        loop {
            let room = working.len() < CALLS_AT_A_TIME && writer.queued_bytes() < ANSWER_BYTES;
            tokio::select! {
                frame = reader.read_frame(), if room => match frame? {
                    Some(frame) => self.begin(frame, &peer, &mut working)?,
                    None => return Ok(()),
                },
                Some(answer) = working.join_next() => {
                    let Ok(answer) = answer else {
                        // The handler panicked: the peer learns it from the end of the connection.
                        return Err(ConnError::Closed);
                    };
                    queue(&mut writer, answer)?;
                    while let Some(Ok(answer)) = working.try_join_next() {
                        queue(&mut writer, answer)?;
                    }
                    let limit = self.limits.write_time;
                    timeout(limit, writer.flush()).await.map_err(|_| ConnError::Timeout(limit))??;
                }
            }
        }
    }

    fn begin(
        &self,
        frame: Frame,
        peer: &Arc<BusPeer>,
        working: &mut JoinSet<Answer>,
    ) -> Result<(), ConnError> {
        let reply = reply_kind(frame.kind).ok_or(BusError::UnknownKind(frame.kind.number()))?;
        let (id, body) = open_envelope(frame.payload).ok_or(BusError::Empty)?;
        match self.calls.get(&frame.kind.number()) {
            Some(handler) => {
                let work = handler(Arc::clone(peer), body);
                working.spawn(async move { Answer { id, reply, result: work.await } });
            }
            None => {
                let result = match frame.kind {
                    FrameKind::Ping => Ok(body),
                    kind => Err(format!("nobody here answers {kind:?} calls")),
                };
                working.spawn(std::future::ready(Answer { id, reply, result }));
            }
        }
        Ok(())
    }
}

struct Answer {
    id: u64,
    reply: FrameKind,
    result: Result<Bytes, String>,
}

fn queue(writer: &mut BusWriter, answer: Answer) -> Result<(), ConnError> {
    let id: [u8; CALL_ID_BYTES] = answer.id.to_le_bytes();
    match answer.result {
        Ok(body) => match writer.queue_parts(answer.reply, &[&id, &body]) {
            Err(ConnError::Frame(error)) => {
                writer.queue_parts(FrameKind::Refused, &[&id, error.to_string().as_bytes()])
            }
            queued => queued,
        },
        Err(text) => {
            let text = text.as_bytes();
            writer.queue_parts(FrameKind::Refused, &[&id, &text[..text.len().min(REFUSAL_BYTES)]])
        }
    }
}

/// Says why, with call id 0, and lets the connection end.
async fn refuse(conn: &mut BusConn, text: &str) {
    let payload = [&[0; CALL_ID_BYTES], text.as_bytes()].concat();
    let _ = timeout(Duration::from_secs(1), conn.write_frame(FrameKind::Refused, &payload)).await;
}
