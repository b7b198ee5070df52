//! What a worker counts: plain fields with one writer, summed by whoever reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use torc_protocol::command::Command;

/// A counter with a single writing thread: an addition is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may call this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value; any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Starts at zero again (CONFIG RESETSTAT); an addition at the same moment may win.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Upper bounds of the latency histogram's buckets are 2^0, 2^1, … 2^(n-1) microseconds; the last is open.
pub const LATENCY_BUCKETS: usize = 24;

/// Counters of one command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Executions.
    pub calls: Counter,
    /// Executions that ended in an error.
    pub failed: Counter,
    /// Refusals before execution (arity, authentication, memory, slot).
    pub rejected: Counter,
    /// Nanoseconds spent; in a pipelined batch each command gets the batch's mean.
    pub nanos: Counter,
    /// Executions by duration.
    pub latency: [Counter; LATENCY_BUCKETS],
}

impl CommandStats {
    /// Counts `n` executions of `nanos` each.
    pub fn observe(&self, n: u64, nanos: u64) {
        self.calls.add(n);
        self.nanos.add(n * nanos);
        let micros = nanos.div_ceil(1000).max(1);
        let bucket = (u64::BITS - (micros - 1).leading_zeros()) as usize;
        self.latency[bucket.min(LATENCY_BUCKETS - 1)].add(n);
    }
}

/// All counters of one worker.
#[derive(Debug)]
pub struct WorkerStats {
    /// Reads that found their key.
    pub hits: CachePadded<Counter>,
    /// Reads that did not.
    pub misses: Counter,
    /// Keys removed because their time had come.
    pub expired: Counter,
    /// Keys removed for room.
    pub evicted: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// Replies replaced by UNCERTAIN.
    pub uncertain: Counter,
    /// Writes refused with NOREPLICAS.
    pub no_replicas: Counter,
    /// Requests refused for want of a lease or because the slot is elsewhere.
    pub redirected: Counter,
    /// Connections closed for a protocol error.
    pub protocol_errors: Counter,
    /// memcached's own counters.
    pub memcached: crate::memcached::Counters,
    commands: Box<[CommandStats]>,
}

impl Default for WorkerStats {
    fn default() -> Self {
        WorkerStats {
            hits: CachePadded::default(),
            misses: Counter::default(),
            expired: Counter::default(),
            evicted: Counter::default(),
            connections: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            uncertain: Counter::default(),
            no_replicas: Counter::default(),
            redirected: Counter::default(),
            protocol_errors: Counter::default(),
            memcached: crate::memcached::Counters::default(),
            commands: (0..Command::COUNT).map(|_| CommandStats::default()).collect(),
        }
    }
}

impl WorkerStats {
    /// The counters of one command.
    #[inline]
    pub fn command(&self, command: Command) -> &CommandStats {
        &self.commands[command.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_their_bounds_say() {
        let stats = CommandStats::default();
        for (nanos, bucket) in [(0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (4_000_000, 12)] {
            let before = stats.latency[bucket].get();
            stats.observe(1, nanos);
            assert_eq!(stats.latency[bucket].get(), before + 1, "{nanos} ns");
        }
    }
}
