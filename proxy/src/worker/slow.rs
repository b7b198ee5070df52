//! Which requests count as slow, and what is kept of them.

use torc_protocol::trace::Trace;

use super::Worker;
use crate::slow::SlowEntry;
use crate::upstream::body::first_key;
use crate::upstream::link::Link;
use crate::upstream::pending::{Pending, Way};

impl Worker {
    /// Whether a request that took so long is slow. One that waits on purpose is not.
    #[inline]
    pub fn is_slow(&self, pending: &Pending, took_ns: u64) -> bool {
        took_ns >= self.slow_ns.get() && pending.way != Way::OneShot
    }

    /// Keeps a slow request. `bytes` are its frames.
    #[cold]
    pub fn note_slow(
        &self,
        link: &Link,
        pending: &Pending,
        took_ns: u64,
        bytes: &[u8],
        answer: (Trace, bool),
    ) {
        let (request, answered) = answer;
        let now_ms = self.clock.unix_ms();
        let entry = SlowEntry {
            id: 0,
            at_s: now_ms / 1000,
            micros: took_ns / 1000,
            command: pending.command.spec().name,
            key: first_key(bytes).unwrap_or_default(),
            request,
            node: link.target.address.clone(),
            client: pending.client.as_ref().map_or("", |client| client.info.address.as_str()).into(),
            answered,
        };
        self.metrics.slow.add(1);
        self.shared.slow.note(entry, now_ms, self.settings.borrow().slow_log_len);
    }
}
