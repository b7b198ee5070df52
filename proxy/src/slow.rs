//! Requests that took long: the latest of them, for `PROXY SLOWLOG`, and a line in the log for each.
//!
//! A request's time is from its arrival to its answer, held back and sent again included; what waits on purpose (BLPOP) is
//! left out. Workers come here only with what is above the threshold, so the lock is off the path of all others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;
use torc_protocol::trace::Trace;
use torc_runtime::logging::LineLimit;

/// Bytes of a key that are kept.
const MAX_KEY_BYTES: usize = 128;

/// A request that took long.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Rises by one with each entry.
    pub id: i64,
    /// Unix seconds of its end.
    pub at_s: u64,
    /// How long it took, microseconds.
    pub micros: u64,
    /// The command's name.
    pub command: &'static str,
    /// Its first key (memcached: the request line), shortened.
    pub key: Box<[u8]>,
    /// The sending that was answered, as the node's log names it.
    pub request: Trace,
    /// The node's address.
    pub node: Arc<str>,
    /// The client's address.
    pub client: Box<str>,
    /// Whether the node answered it; else its time was over.
    pub answered: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct SlowLog {
    next: AtomicI64,
    entries: Mutex<VecDeque<SlowEntry>>,
    lines: LineLimit,
}

impl SlowLog {
    /// Takes an entry (its `id` is given here) and logs it; at most `most` are kept.
    pub fn note(&self, mut entry: SlowEntry, now_ms: u64, most: usize) {
        if entry.key.len() > MAX_KEY_BYTES {
            entry.key = entry.key.get(..MAX_KEY_BYTES).unwrap_or_default().into();
        }
        if let Some(left_out) = self.lines.admit(now_ms) {
            let SlowEntry { micros, command, request, node, client, answered, .. } = &entry;
            tracing::warn!(%request, command, micros, %node, %client, answered, left_out, "slow request");
        }
        if most == 0 {
            return;
        }
        entry.id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut entries = self.entries.lock();
        entries.push_front(entry);
        entries.truncate(most);
    }

    /// The latest entries, newest first.
    pub fn latest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.lock().iter().take(count).cloned().collect()
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        self.entries.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_keys_are_shortened() {
        let log = SlowLog::default();
        let entry = SlowEntry {
            id: 0,
            at_s: 1,
            micros: 2_000,
            command: "get",
            key: vec![b'k'; 1000].into(),
            request: Trace { connection: 7, request: 3 },
            node: "127.0.0.1:1".into(),
            client: "127.0.0.1:2".into(),
            answered: true,
        };
        (0..5).for_each(|_| log.note(entry.clone(), 1_000, 3));
        log.note(entry.clone(), 1_000, 3);
        let kept = log.latest(10);
        assert_eq!(kept.iter().map(|entry| entry.id).collect::<Vec<_>>(), [5, 4, 3]);
        assert!(kept.iter().all(|entry| entry.key.len() == MAX_KEY_BYTES));
        assert_eq!(log.latest(1).len(), 1);
        log.reset();
        assert!(log.latest(10).is_empty());
    }
}
