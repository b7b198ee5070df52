//! A worker's clock: read once per batch.

use std::cell::Cell;
use std::time::Instant;

/// Nanoseconds since the worker's start, as of the latest refresh. Time-outs and statistics only: leases are
/// the nodes' business.
#[derive(Debug)]
pub struct WorkerClock {
    start: Instant,
    /// Wall time of the start. What is derived from it misses later changes of the wall clock: fit for the ages of
    /// connections, for nothing else.
    start_ms: u64,
    now_ns: Cell<u64>,
}

impl WorkerClock {
    /// A clock that starts now.
    #[allow(clippy::disallowed_methods, reason = "the edge: all other code takes the time from here")]
    pub fn new() -> Self {
        WorkerClock { start: Instant::now(), start_ms: torc_runtime::clock::unix_ms(), now_ns: Cell::new(1) }
    }

    /// The time of the latest refresh.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Unix milliseconds of the latest refresh, about.
    #[inline]
    pub fn unix_ms(&self) -> u64 {
        self.start_ms + self.now_ns.get() / 1_000_000
    }

    /// Reads the machine's clock.
    #[inline]
    pub fn refresh(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1);
        self.now_ns.set(now);
        now
    }
}
