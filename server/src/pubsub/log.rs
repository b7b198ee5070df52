//! The log of a node that memcached's `watch` shows: lines, copied into the mailboxes of the connections that watch.
//!
//! While nobody watches a line costs the look at one atomic. While somebody does, who causes a line writes it, on its own
//! thread and often under a stripe's lock: a mailbox takes a bounded number of bytes, and what finds no room is dropped
//! and counted, for its watcher too (`skipped=`). Nobody waits for a watcher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use parking_lot::RwLock;

use super::mailbox::{Mailbox, Taken};

/// Connections that may watch at a time, as in memcached.
pub const MAX_WATCHERS: usize = 20;

/// Bytes that may wait for one watcher, what the socket has not taken yet counted: memcached's `watcher_logbuf_size`.
pub const WATCHER_BYTES: usize = 256 * 1024;

/// Kinds of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines(u16);

impl Lines {
    /// Items that are looked up.
    pub const FETCHERS: Lines = Lines(1);
    /// Items that are stored, or cannot be.
    pub const MUTATIONS: Lines = Lines(1 << 1);
    /// Items that are evicted.
    pub const EVICTIONS: Lines = Lines(1 << 2);
    /// Connections that begin and end.
    pub const CONNEVENTS: Lines = Lines(1 << 3);
    /// Items that are deleted.
    pub const DELETIONS: Lines = Lines(1 << 4);
    /// Known to memcached, and about what a node has not: raw requests, its threads, a proxy.
    pub const NONE_HERE: Lines = Lines(1 << 5);
    /// What requests of items cause.
    pub const OF_ITEMS: Lines = Lines(Lines::FETCHERS.0 | Lines::MUTATIONS.0 | Lines::DELETIONS.0);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Lines) -> Lines {
        Lines(self.0 | other.0)
    }
}

#[derive(Debug)]
struct Watcher {
    lines: Lines,
    mailbox: Arc<Mailbox>,
}

/// See the module's text.
///
/// Lock order: a stripe, then the list, then a mailbox.
#[derive(Debug, Default)]
pub struct Log {
    /// What any watcher asks for.
    wanted: AtomicU16,
    watchers: RwLock<Vec<Watcher>>,
    /// The number of the last line.
    gid: AtomicU64,
    sent: AtomicU64,
    skipped: AtomicU64,
}

impl Log {
    /// Whether somebody wants any of these lines.
    #[inline]
    pub fn wants(&self, lines: Lines) -> bool {
        self.wanted.load(Ordering::Relaxed) & lines.0 != 0
    }

    /// The number of a new line: they rise in the order of what happened to one key.
    pub fn next_gid(&self) -> u64 {
        self.gid.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lines that were written since the start, for whomever.
    pub fn written(&self) -> u64 {
        self.gid.load(Ordering::Relaxed)
    }

    /// Lines that were put into the mailboxes of watchers.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Lines that found no room there.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Connections that watch.
    pub fn watchers(&self) -> usize {
        self.watchers.read().len()
    }

    /// Gives a line to those who want it; `tell` is called for those whose task must be told.
    pub(super) fn put(&self, kind: Lines, line: &[u8], tell: impl Fn(&Mailbox)) {
        for watcher in self.watchers.read().iter().filter(|watcher| watcher.lines.0 & kind.0 != 0) {
            let taken = watcher.mailbox.put_line(line, WATCHER_BYTES);
            let count = if taken == Taken::Not { &self.skipped } else { &self.sent };
            count.fetch_add(1, Ordering::Relaxed);
            if taken == Taken::AndTell {
                tell(&watcher.mailbox);
            }
        }
    }

    /// Adds a watcher; false when there are as many as may be.
    pub(super) fn add(&self, lines: Lines, mailbox: &Arc<Mailbox>) -> bool {
        let mut watchers = self.watchers.write();
        if watchers.len() >= MAX_WATCHERS {
            return false;
        }
        watchers.push(Watcher { lines, mailbox: mailbox.clone() });
        self.publish(&watchers);
        true
    }

    /// Takes a watcher out.
    pub(super) fn remove(&self, mailbox: &Arc<Mailbox>) {
        let mut watchers = self.watchers.write();
        watchers.retain(|watcher| !Arc::ptr_eq(&watcher.mailbox, mailbox));
        self.publish(&watchers);
    }

    fn publish(&self, watchers: &[Watcher]) {
        let wanted = watchers.iter().fold(0, |all, watcher| all | watcher.lines.0);
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}
