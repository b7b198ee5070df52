//! Requests are parsed and executed, a batch at a time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::ahead::Ahead;
use super::super::buffers::BUFFER_BYTES;
use super::super::dialect::Step;
use super::super::hold::Holds;
use super::super::output::{Mark, Output};
use super::super::park::Parked;
use super::{Connection, Held};
use crate::blocked::Depends;
use crate::clients::Client;
use crate::exec::{Batch, Done, Flow, ReplyKind};
use crate::node::Node;
use crate::store::value::ADOPT_BYTES;

/// Requests of one connection in one batch: they share one write.
const TURN_REQUESTS: usize = 128;

/// Bytes of replies after which others of the batch get their turn.
const TURN_REPLY_BYTES: usize = 64 * 1024;

/// Room that is made at once for an announced argument; beyond it the buffer grows as bytes arrive.
const RESERVE_BYTES: usize = 4 << 20;

/// How long a write waits for room for its record. Then it is refused, or, if it is long and a replica the cause, executed.
pub(super) const ROOM_PATIENCE: Duration = Duration::from_secs(2);

/// So many times what has come is the room that a longer argument gets at most.
const BELIEVED: usize = 16;

impl Connection {
    /// Parses what has come and says which keys it will look up.
    pub(super) fn look_ahead(&mut self) {
        if self.parked.is_none() && self.held.is_none() && !self.closing && !self.stranger {
            let store = &self.worker.node.store;
            let mut ahead = self.worker.ahead.borrow_mut();
            self.dialect.look_ahead(store, &mut ahead, &self.session, &self.input[self.at..]);
        }
    }

    /// Executes what has come, up to a bound, as part of a batch; answers how many requests that were. Notes whether
    /// there may be more whole ones in the buffer.
    pub fn execute(&mut self, batch: &mut Batch<'_, '_>, ahead: &mut Ahead) -> usize {
        self.more = false;
        if self.at == self.input.len() || self.parked.is_some() || self.held.is_some() || self.closing {
            return 0;
        }
        if self.unread_bound_reached() {
            self.more = true;
            return 0;
        }
        if self.stranger && self.turn_away() {
            return 0;
        }
        let worker = self.worker.clone();
        let node = &*worker.node;
        let version = node.settings_version();
        if version != self.configured {
            self.configured = version;
            let settings = node.settings.load();
            if !self.session.authenticated && self.dialect.protocol().is_open(&settings) {
                self.session.authenticated = true;
            }
            self.dialect.configure(&settings, &self.session);
        }
        if self.output.bytes.capacity() == 0 {
            self.output.bytes = worker.buffers.take();
        }
        // What came before these requests is sent before their replies.
        self.deliver();
        let now = batch.now();
        let reply_limit = self.output.bytes.len() + TURN_REPLY_BYTES;
        let mut more = true;
        let mut served = 0;
        // Each request of a stranger is looked at by itself.
        let most = if self.stranger { 1 } else { TURN_REQUESTS };
        while served < most && self.output.bytes.len() < reply_limit {
            let pause = node.clients.paused(now.unix_ms);
            let start = self.output.bytes.len();
            let rest_bytes = self.input.len() - self.at;
            let received = if rest_bytes < ADOPT_BYTES { None } else { self.lend(ahead) };
            let rest = &received.as_deref().unwrap_or(&self.input)[self.at..];
            let patient = now.boottime_ns < self.patient_until_ns || self.patient_until_ns == 0;
            let holds = Holds { pause: pause.map(|(kind, _)| kind), room: patient };
            let out = &mut self.output.bytes;
            let step = self.dialect.step(batch, ahead, &mut self.session, holds, rest, out);
            if let Step::Nothing { consumed } | Step::Done { consumed, .. } = step {
                self.at += consumed;
                served += 1;
                self.patient_until_ns = 0;
            }
            if let Some(received) = received {
                self.take_back(received);
            }
            match step {
                Step::More { hint } => {
                    self.reserve(hint);
                    more = false;
                    break;
                }
                Step::Held => {
                    let wait_ms = pause.map_or(0, |(_, until)| until.saturating_sub(now.unix_ms));
                    self.hold(Held::Paused(Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms)))));
                    more = false;
                    break;
                }
                Step::NoRoom { bytes } => {
                    self.wait_for_room(bytes, now.boottime_ns);
                    more = false;
                    break;
                }
                Step::Broken => {
                    worker.stats().protocol_errors.add(1);
                    self.closing = true;
                    more = false;
                    break;
                }
                Step::Nothing { .. } => {}
                Step::Done { done, .. } => {
                    if let Some(term) = batch.lease_term() {
                        let Done { kind, barrier, deadline_ms, .. } = done;
                        let depends = Depends { kind, term, barrier, deadline_ms };
                        mark(&mut self.output, start, &depends, now.boottime_ns, node);
                    }
                    if let Some(subscriptions) = &self.session.subscriptions
                        && subscriptions.mailbox().is_waiting()
                    {
                        subscriptions.mailbox().take(&mut self.output.bytes);
                    }
                    match done.flow {
                        Flow::Continue => {}
                        Flow::Close => {
                            self.closing = true;
                            more = false;
                            break;
                        }
                        Flow::Park(park) => {
                            let (version, term) = (self.session.version, batch.lease_term());
                            self.parked = Some(Parked::new(&worker, park, version, term));
                            self.stirred = true;
                            self.client.begin_waiting();
                            node.clients.blocked.fetch_add(1, Ordering::Relaxed);
                            more = false;
                            break;
                        }
                    }
                }
            }
        }
        self.more = more;
        self.served += served as u64;
        Client::count(&self.client.commands, served as u64);
        self.session.publish(now.unix_ms, batch.take_last_command());
        self.client.input_bytes.store(self.input.len() - self.at, Ordering::Relaxed);
        self.drop_consumed();
        served
    }

    /// The request at the front waits.
    fn hold(&mut self, held: Held) {
        self.worker.node.clients.blocked.fetch_add(1, Ordering::Relaxed);
        self.held = Some(held);
        self.stirred = true;
    }

    /// The request at the front, of so many bytes, waits for room for its record, though not for ever.
    #[cold]
    fn wait_for_room(&mut self, bytes: usize, now_ns: u64) {
        if self.patient_until_ns == 0 {
            self.patient_until_ns = now_ns + ROOM_PATIENCE.as_nanos() as u64;
        }
        let left = Duration::from_nanos(self.patient_until_ns.saturating_sub(now_ns));
        let node = self.worker.node.clone();
        self.hold(Held::ForRoom(Box::pin(async move {
            let _ = tokio::time::timeout(left, node.shard.room_for(bytes)).await;
        })));
    }

    /// Makes room for what an argument is known to lack. A long one is not believed before a part of it has come: then it
    /// gets all its room at once, so that little is moved, and nothing is left over when the value stays where it is.
    fn reserve(&mut self, hint: usize) {
        let (len, spare) = (self.input.len(), self.input.capacity() - self.input.len());
        if hint > spare {
            // What stands behind it (the options of a SET) must not make the buffer grow again.
            let all = hint + BUFFER_BYTES;
            let room = if all <= RESERVE_BYTES.max(len * BELIEVED) { all } else { RESERVE_BYTES.max(len) };
            self.input.reserve_exact(room);
        }
    }

    /// The input, when the request at its front may have a value that stays in it.
    #[cold]
    fn lend(&mut self, ahead: &mut Ahead) -> Option<Arc<Vec<u8>>> {
        let store = &self.worker.node.store;
        self.dialect.look_ahead(store, ahead, &self.session, &self.input[self.at..]);
        if self.dialect.front_bytes() < ADOPT_BYTES {
            return None;
        }
        let received = Arc::new(std::mem::take(&mut self.input));
        self.session.received = Some(received.clone());
        Some(received)
    }

    /// What has become of the input; where it is a value now, the rest.
    #[cold]
    fn take_back(&mut self, received: Arc<Vec<u8>>) {
        self.session.received = None;
        match Arc::try_unwrap(received) {
            Ok(input) => self.input = input,
            Err(received) => {
                self.input = received[self.at..].to_vec();
                self.at = 0;
            }
        }
    }

    /// Drops the bytes of executed requests.
    fn drop_consumed(&mut self) {
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        } else if self.at >= BUFFER_BYTES || self.at * 2 > self.input.len() {
            self.input.drain(..self.at);
            self.at = 0;
        }
    }
}

/// Notes what the reply from `start` on depends on until it is sent.
pub(super) fn mark(output: &mut Output, start: usize, depends: &Depends, now_ns: u64, node: &Node) {
    // A reply that nobody gets depends on nothing.
    if depends.kind == ReplyKind::Local || start == output.bytes.len() {
        return;
    }
    let deadline_ms = match depends.deadline_ms {
        0 if depends.barrier == 0 => 0,
        0 => node.settings.load().ack_timeout_ms,
        ms => ms,
    };
    output.mark(Mark {
        range: start..output.bytes.len(),
        kind: depends.kind,
        term: depends.term,
        barrier: depends.barrier,
        deadline_ns: now_ns.saturating_add(u64::from(deadline_ms) * 1_000_000),
    });
}
