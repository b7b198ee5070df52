//! Requests are parsed and executed, a batch at a time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_runtime::clock;

use super::super::buffers::BUFFER_BYTES;
use super::super::dialect::Step;
use super::super::output::{Mark, Output};
use super::super::park::Parked;
use super::Connection;
use crate::blocked::Depends;
use crate::clients::Client;
use crate::exec::{Batch, Done, Flow, ReplyKind};
use crate::node::Node;

/// Requests of one batch: they share the clock, the gate and one write.
const BATCH_REQUESTS: usize = 128;

/// Bytes of replies after which a batch ends.
const BATCH_REPLY_BYTES: usize = 64 * 1024;

/// Room that is made at once for an announced argument; beyond it the buffer grows as bytes arrive.
const RESERVE_BYTES: usize = 4 << 20;

impl Connection {
    /// Parses what has come and says which keys it will look up.
    pub(super) fn look_ahead(&mut self) {
        if self.parked.is_none() && self.held.is_none() && !self.closing && !self.stranger {
            let store = &self.worker.node.store;
            let mut ahead = self.worker.ahead.borrow_mut();
            self.dialect.look_ahead(store, &mut ahead, &self.session, &self.input[self.at..]);
        }
    }

    /// Executes one batch; true when there may be more whole requests in the buffer.
    pub(super) fn execute(&mut self) -> bool {
        if self.parked.is_some() || self.held.is_some() || self.closing || self.at == self.input.len() {
            return false;
        }
        let worker = self.worker.clone();
        let node = &*worker.node;
        if self.stranger && self.turn_away() {
            return false;
        }
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
        let now = worker.now();
        let mut exec = worker.exec.borrow_mut();
        let mut ahead = worker.ahead.borrow_mut();
        let mut batch = Batch::begin(node, &mut exec, now);
        let reply_limit = self.output.bytes.len() + BATCH_REPLY_BYTES;
        let mut more = true;
        let mut served = 0;
        // Each request of a stranger is looked at by itself.
        let most = if self.stranger { 1 } else { BATCH_REQUESTS };
        while served < most && self.output.bytes.len() < reply_limit {
            let pause = node.clients.paused(now.unix_ms);
            let start = self.output.bytes.len();
            let rest = &self.input[self.at..];
            let kind = pause.map(|(kind, _)| kind);
            let out = &mut self.output.bytes;
            match self.dialect.step(&mut batch, &mut ahead, &mut self.session, kind, rest, out) {
                Step::More { hint } => {
                    let spare = self.input.capacity() - self.input.len();
                    if hint > spare {
                        self.input.reserve(hint.min(RESERVE_BYTES.max(self.input.len())));
                    }
                    more = false;
                    break;
                }
                Step::Held => {
                    let wait_ms = pause.map_or(0, |(_, until)| until.saturating_sub(now.unix_ms));
                    node.clients.blocked.fetch_add(1, Ordering::Relaxed);
                    self.held = Some(Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms))));
                    more = false;
                    break;
                }
                Step::Broken => {
                    worker.stats().protocol_errors.add(1);
                    self.closing = true;
                    more = false;
                    break;
                }
                Step::Nothing { consumed } => {
                    self.at += consumed;
                    served += 1;
                }
                Step::Done { consumed, done } => {
                    self.at += consumed;
                    served += 1;
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
                            self.client.begin_waiting();
                            node.clients.blocked.fetch_add(1, Ordering::Relaxed);
                            more = false;
                            break;
                        }
                    }
                }
            }
        }
        self.served += served as u64;
        Client::count(&self.client.commands, served as u64);
        let last = batch.last_command();
        let ended_ns = clock::boottime_ns();
        batch.end_at(ended_ns);
        node.stamp_progress(worker.index, ended_ns);
        drop((exec, ahead));
        self.session.publish(now.unix_ms, last);
        self.client.input_bytes.store(self.input.len() - self.at, Ordering::Relaxed);
        self.drop_consumed();
        more
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
