//! What waits to be sent to one connection that listens.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use torc_protocol::resp::Version;

use super::message::Message;
use crate::clients::Client;

/// Bytes that may wait for a connection when the configuration sets no limit.
const MAX_BYTES: usize = 1 << 30;

/// Room that an empty mailbox keeps.
const KEEP_BYTES: usize = 16 * 1024;

/// See the module's text. Its messages are taken out by the connection's task alone.
#[derive(Debug)]
pub struct Mailbox {
    client: Arc<Client>,
    queue: Mutex<Queue>,
    /// The shard channels that the connection listens to. They are here because others may end them.
    shard_names: Mutex<BTreeSet<Arc<[u8]>>>,
    /// Bytes of the names of all its subscriptions.
    pub(super) name_bytes: AtomicUsize,
    /// Something is in the queue and the task has been told.
    waiting: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    version: Version,
    /// The client did not keep up: nothing more is kept for it.
    closed: bool,
    /// Lines of a log that found no room since the last one that did.
    skipped: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is kept, and the connection's task must be told.
    AndTell,
    /// It is kept; the task knows already.
    Quietly,
    /// There was no room.
    Not,
}

impl Mailbox {
    /// An empty one of the connection, which speaks `version`.
    pub fn new(client: Arc<Client>, version: Version) -> Mailbox {
        let queue = Queue { version, ..Queue::default() };
        Mailbox {
            client,
            queue: Mutex::new(queue),
            shard_names: Mutex::default(),
            name_bytes: AtomicUsize::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    /// The connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The shard channels that the connection listens to.
    pub(super) fn shard_names(&self) -> MutexGuard<'_, BTreeSet<Arc<[u8]>>> {
        self.shard_names.lock()
    }

    /// Adds a message; true when the connection's task must be told. A connection that would then leave more than
    /// `limit` bytes unread (0: a gigabyte) is closed instead.
    pub(super) fn put(&self, message: &Message, limit: usize) -> bool {
        self.put_with(message.len(), limit, |version, out| message.write(version, out))
    }

    /// As [`Mailbox::put`], for what `write` appends, `len` bytes about.
    pub(super) fn put_with(
        &self,
        len: usize,
        limit: usize,
        write: impl FnOnce(Version, &mut Vec<u8>),
    ) -> bool {
        let limit = if limit == 0 { MAX_BYTES } else { limit };
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        if queue.bytes.len() + len + self.client.output_bytes.load(Ordering::Relaxed) > limit {
            queue.closed = true;
            queue.bytes = Vec::new();
            drop(queue);
            tracing::info!(client = self.client.id, addr = %self.client.addr, limit, "closed: unread messages");
            self.client.close();
            return false;
        }
        let version = queue.version;
        write(version, &mut queue.bytes);
        !self.waiting.swap(true, Ordering::AcqRel)
    }

    /// Adds a line of a log, behind a count of those that found no room before. It finds none when more than `limit`
    /// bytes would be unread.
    pub(super) fn put_line(&self, line: &[u8], limit: usize) -> Taken {
        /// Of the count, at most.
        const COUNT_BYTES: usize = 32;
        let mut queue = self.queue.lock();
        let unread = queue.bytes.len() + self.client.output_bytes.load(Ordering::Relaxed);
        if unread + line.len() + COUNT_BYTES > limit {
            queue.skipped += 1;
            return Taken::Not;
        }
        let skipped = std::mem::take(&mut queue.skipped);
        if skipped > 0 {
            queue.bytes.extend_from_slice(format!("skipped={skipped}\n").as_bytes());
        }
        queue.bytes.extend_from_slice(line);
        if self.waiting.swap(true, Ordering::AcqRel) { Taken::Quietly } else { Taken::AndTell }
    }

    /// Whether there is something to take.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Moves all messages behind what is in `out`.
    pub fn take(&self, out: &mut Vec<u8>) {
        let mut queue = self.queue.lock();
        self.waiting.store(false, Ordering::Release);
        if out.is_empty() && queue.bytes.len() > KEEP_BYTES {
            std::mem::swap(out, &mut queue.bytes);
        } else {
            out.extend_from_slice(&queue.bytes);
        }
        queue.bytes.clear();
        if queue.bytes.capacity() > KEEP_BYTES {
            queue.bytes = Vec::new();
        }
    }

    /// HELLO: messages from now on are written in `version`. Those that wait were written in the old one, and go in
    /// front of HELLO's reply, into `out`.
    pub fn set_version(&self, version: Version, out: &mut Vec<u8>) {
        let mut queue = self.queue.lock();
        if queue.version != version {
            out.append(&mut queue.bytes);
            queue.version = version;
        }
    }
}
