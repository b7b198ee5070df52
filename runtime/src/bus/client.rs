//! Calls to one peer over one connection that is made when needed and made again when it breaks.
//!
//! A task owns the connection and the table of calls that wait for their answer; callers reach it
//! through a bounded channel. While the peer cannot be reached, calls fail at once until the pause
//! (which doubles, with jitter, up to a bound) is over: a caller decides for itself whether to
//! come again. Dropping the last clone ends the task.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use torc_protocol::bus::{BusError, FrameKind, MAX_FRAME_BYTES};

use super::call::{CALL_ID_BYTES, open_envelope, reply_kind};
use super::conn::{BusConn, Frame};
use super::error::{CallError, ConnError};
use super::handshake::dial;
use super::identity::BusIdentity;

/// Calls that may wait for the task.
const QUEUE: usize = 256;
/// Calls that may wait for their answer.
const IN_FLIGHT: usize = 1024;

/// Timings of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Time to connect and do the handshake.
    pub connect_time: Duration,
    /// First pause after a failed attempt.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// A connection on which calls wait and nothing is heard for this long is given up.
    pub silence: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            connect_time: Duration::from_secs(1),
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_secs(1),
            silence: Duration::from_secs(3),
        }
    }
}

struct Call {
    kind: FrameKind,
    body: Bytes,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
}

/// A handle to the calls of one peer. Clones share the connection.
#[derive(Clone)]
pub struct BusClient {
    address: String,
    calls: mpsc::Sender<Call>,
}

impl BusClient {
    /// A client of the peer at `address` (`HOST:PORT`). Nothing is connected before the first
    /// call. Must be called inside a tokio runtime; the task runs there.
    pub fn new(address: impl Into<String>, identity: BusIdentity, config: ClientConfig) -> Self {
        let address = address.into();
        let (calls, queue) = mpsc::channel(QUEUE);
        let task = Task { address: address.clone(), identity, config, queue, failures: 0, pause_until: None };
        tokio::spawn(task.run());
        Self { address, calls }
    }

    /// The peer's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Calls and waits for the answer, at most `limit`.
    pub async fn call(&self, kind: FrameKind, body: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        if body.len() + CALL_ID_BYTES >= MAX_FRAME_BYTES {
            return Err(CallError::TooLarge(BusError::TooBig(body.len(), MAX_FRAME_BYTES)));
        }
        let (answer, wait) = oneshot::channel();
        self.calls.try_send(Call { kind, body, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Busy { address: self.address.clone() },
            mpsc::error::TrySendError::Closed(_) => self.unreachable("the client has ended"),
        })?;
        match timeout(limit, wait).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.unreachable("the client has ended")),
            Err(_) => Err(CallError::Timeout { address: self.address.clone(), waited: limit }),
        }
    }

    fn unreachable(&self, cause: &str) -> CallError {
        CallError::Unreachable { address: self.address.clone(), cause: cause.to_owned() }
    }
}

struct Task {
    address: String,
    identity: BusIdentity,
    config: ClientConfig,
    queue: mpsc::Receiver<Call>,
    /// Attempts that failed in a row.
    failures: u32,
    /// No attempt before this, and why the last one failed.
    pause_until: Option<(Instant, String)>,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Bytes, CallError>>>;

impl Task {
    async fn run(mut self) {
        while let Some(call) = self.queue.recv().await {
            if let Some((until, cause)) = &self.pause_until
                && now() < *until
            {
                self.fail(call.answer, cause);
                continue;
            }
            match dial(&self.address, &self.identity, self.config.connect_time).await {
                Ok(conn) => {
                    self.failures = 0;
                    self.pause_until = None;
                    if let Err(error) = self.connected(conn, call).await {
                        tracing::debug!(address = %self.address, %error, "a bus connection ended");
                    }
                }
                Err(error) => self.pause(call, &error),
            }
        }
    }

    /// Notes a failed attempt, and fails the calls that came meanwhile.
    fn pause(&mut self, call: Call, error: &ConnError) {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let pause = self.config.first_pause.saturating_mul(1 << doublings).min(self.config.longest_pause);
        // Jitter, so that the peers of a restarted node do not all come at the same moment.
        let pause = pause.mul_f64(rand::random_range(0.5..=1.0));
        if self.failures == 1 || matches!(error, ConnError::Handshake(_)) {
            tracing::info!(address = %self.address, %error, "a bus peer cannot be reached");
        }
        let cause = error.to_string();
        self.fail(call.answer, &cause);
        while let Ok(call) = self.queue.try_recv() {
            self.fail(call.answer, &cause);
        }
        self.pause_until = Some((now() + pause, cause));
    }

    fn fail(&self, answer: oneshot::Sender<Result<Bytes, CallError>>, cause: &str) {
        // A caller that no longer waits is no error.
        let _ = answer
            .send(Err(CallError::Unreachable { address: self.address.clone(), cause: cause.to_owned() }));
    }

    /// Serves calls until the connection ends, or no client is left.
    async fn connected(&mut self, conn: BusConn, first: Call) -> Result<(), ConnError> {
        let (mut reader, mut writer, _) = conn.split();
        let mut waiting = Waiting::new();
        let mut next_id = 1_u64;
        let mut heard = now();
        let mut next = Some(first);
        let result = loop {
            while let Some(call) = next.take() {
                // Silence is counted from the first call that waits.
                if waiting.is_empty() {
                    heard = now();
                }
                if let Some(answer) = self.admit(&mut waiting, call.answer) {
                    match writer.queue_parts(call.kind, &[&next_id.to_le_bytes(), &call.body]) {
                        Ok(()) => {
                            waiting.insert(next_id, answer);
                            next_id += 1;
                        }
                        Err(error) => self.fail(answer, &error.to_string()),
                    }
                }
                next =
                    if writer.queued_bytes() < MAX_FRAME_BYTES { self.queue.try_recv().ok() } else { None };
            }
            let silent_at = heard + self.config.silence;
            tokio::select! {
                frame = reader.read_frame() => match frame {
                    Ok(Some(frame)) => {
                        heard = now();
                        if let Err(error) = self.answer(&mut waiting, frame) {
                            break Err(error);
                        }
                    }
                    Ok(None) => break Err(ConnError::Closed),
                    Err(error) => break Err(error),
                },
                flushed = writer.flush(), if writer.queued_bytes() > 0 => {
                    if let Err(error) = flushed {
                        break Err(error);
                    }
                }
                call = self.queue.recv(), if writer.queued_bytes() < MAX_FRAME_BYTES => match call {
                    Some(call) => next = Some(call),
                    None => break Ok(()),
                },
                () = tokio::time::sleep_until(silent_at), if !waiting.is_empty() => {
                    break Err(ConnError::Timeout(self.config.silence));
                }
            }
        };
        let cause = result.as_ref().err().map_or_else(String::new, ToString::to_string);
        for (_, answer) in waiting {
            self.fail(answer, &cause);
        }
        result
    }

    /// Gives the sender back when there is room for one more call in flight. Calls whose caller
    /// has given up keep their place until room is needed, so that silence is still noticed.
    fn admit(
        &self,
        waiting: &mut Waiting,
        answer: oneshot::Sender<Result<Bytes, CallError>>,
    ) -> Option<oneshot::Sender<Result<Bytes, CallError>>> {
        if waiting.len() >= IN_FLIGHT {
            waiting.retain(|_, answer| !answer.is_closed());
        }
        if waiting.len() < IN_FLIGHT {
            return Some(answer);
        }
        let _ = answer.send(Err(CallError::Busy { address: self.address.clone() }));
        None
    }

    fn answer(&self, waiting: &mut Waiting, frame: Frame) -> Result<(), ConnError> {
        let kind = frame.kind;
        let (id, body) = open_envelope(frame.payload).ok_or(BusError::Empty)?;
        let refused = kind == FrameKind::Refused;
        if !refused && !is_reply(kind) {
            return Err(BusError::UnknownKind(kind.number()).into());
        }
        let reason = || String::from_utf8_lossy(&body).into_owned();
        match waiting.remove(&id) {
            Some(answer) => {
                let address = || self.address.clone();
                let refusal = || Err(CallError::Refused { address: address(), reason: reason() });
                // A caller that no longer waits is no error.
                let _ = answer.send(if refused { refusal() } else { Ok(body.clone()) });
                Ok(())
            }
            // Id 0 refuses the connection; any other is of a call that was given up.
            None if refused && id == 0 => {
                Err(torc_protocol::handshake::HandshakeError::Refused(reason()).into())
            }
            None => Ok(()),
        }
    }
}

fn is_reply(kind: FrameKind) -> bool {
    FrameKind::ALL.iter().any(|call| reply_kind(*call) == Some(kind))
}

fn now() -> Instant {
    Instant::now()
}
