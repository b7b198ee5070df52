//! What one client listens to, and how a message gets to it.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::{Kind, Name};
use crate::downstream::client::Client;
use crate::worker::Worker;

/// Channels, patterns and shard channels that one client may listen to.
pub const MAX_NAMES: usize = 1 << 20;
/// Bytes of their names.
pub const MAX_NAME_BYTES: usize = 64 << 20;

/// What a client listens to; the confirmed ones.
#[derive(Debug, Default)]
pub struct Listens {
    names: [BTreeSet<Name>; 3],
    /// Bytes of all names.
    pub bytes: usize,
}

impl Listens {
    /// Whether it listens to that.
    pub fn has(&self, kind: Kind, name: &[u8]) -> bool {
        self.names[kind as usize].contains(name)
    }

    /// Adds a name.
    pub fn insert(&mut self, kind: Kind, name: Name) {
        let bytes = name.len();
        if self.names[kind as usize].insert(name) {
            self.bytes += bytes;
        }
    }

    /// Takes a name out; false when it was not there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        let removed = self.names[kind as usize].remove(name);
        if removed {
            self.bytes -= name.len();
        }
        removed
    }

    /// The names of a kind, in their order.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        self.names[kind as usize].iter().cloned().collect()
    }

    /// How many of a kind there are.
    pub fn len(&self, kind: Kind) -> usize {
        self.names[kind as usize].len()
    }

    /// How many there are in all.
    pub fn total(&self) -> usize {
        Kind::ALL.iter().map(|kind| self.len(*kind)).sum()
    }

    /// The count that confirmations about this kind show: channels and patterns together, or shard channels.
    pub fn shown(&self, kind: Kind) -> usize {
        if kind == Kind::Shard {
            self.len(Kind::Shard)
        } else {
            self.len(Kind::Channel) + self.len(Kind::Pattern)
        }
    }
}

impl Client {
    /// Tells others what it listens to.
    pub fn show_listens(&self, worker: &Worker) {
        let listens = self.listens.borrow();
        for kind in Kind::ALL {
            let count = u32::try_from(listens.len(kind)).unwrap_or(u32::MAX);
            if let Some(shown) = self.info.listens.get(kind as usize) {
                shown.store(count, Ordering::Relaxed);
            }
        }
        let any = listens.total() > 0;
        if self.listening.replace(any) != any {
            if any {
                worker.metrics.listeners.add(1);
            } else {
                worker.metrics.listeners.sub(1);
            }
        }
    }

    /// Puts a message behind the replies (before those that nobody has yet, when the client waits at a node). `frame` is
    /// a push of RESP3. A client that would leave too much unread is closed instead.
    pub fn push_message(self: &Rc<Self>, worker: &Worker, frame: &[u8]) {
        if self.closed.get() || self.killed.get() {
            return;
        }
        let first = if self.info.resp.load(Ordering::Relaxed) == 3 { b'>' } else { b'*' };
        self.push_as(worker, first, frame);
    }

    /// The same for a line that both protocols have.
    pub fn push_line(self: &Rc<Self>, worker: &Worker, line: &[u8]) {
        if let Some(first) = line.first()
            && !self.closed.get()
            && !self.killed.get()
        {
            self.push_as(worker, *first, line);
        }
    }

    fn push_as(self: &Rc<Self>, worker: &Worker, first: u8, frame: &[u8]) {
        let Some((_, rest)) = frame.split_first() else { return };
        let most = worker.settings().pubsub_output_hard_bytes;
        let mut outbox = self.outbox.borrow_mut();
        let held = outbox.held_bytes() + frame.len();
        if most > 0 && held > most {
            drop(outbox);
            self.close_slow_listener(worker, held);
            return;
        }
        outbox.push(first, rest, self.waits.get(), &worker.pool);
        drop(outbox);
        worker.metrics.messages.add(1);
        worker.mark_client(self);
    }

    /// Ends a client that does not read its messages.
    pub fn close_slow_listener(&self, worker: &Worker, held: usize) {
        tracing::warn!(client = self.id(), address = %self.info.address, bytes = held,
            "closing a client that does not read its messages");
        worker.metrics.listeners_closed.add(1);
        self.kill();
    }
}
