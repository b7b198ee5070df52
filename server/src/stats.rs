//! What a worker counts: plain fields with one writer, summed by whoever reads; and what is worked out from the
//! sums once a second ([`Rates`]).

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use torc_protocol::command::Command;
use torc_runtime::metrics::ErrorCodes;

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
    /// Changes of keys, since the start for good.
    pub changes: Counter,
    /// Keys removed because their time had come.
    pub expired: Counter,
    /// Fields of hashes removed because their time had come.
    pub expired_fields: Counter,
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
    /// Writes refused because replication had too many records to place.
    pub behind: Counter,
    /// Requests refused for want of a lease or because the slot is elsewhere.
    pub redirected: Counter,
    /// Reads of proxies answered as a replica.
    pub replica_reads: Counter,
    /// Such reads refused: the data was not fresh enough.
    pub replica_stale: Counter,
    /// Such reads refused: the reader's own write was not here yet.
    pub replica_behind: Counter,
    /// Connections closed for a protocol error.
    pub protocol_errors: Counter,
    /// Leases given: clients that were told to load a value.
    pub leases_granted: Counter,
    /// Clients that were told that somebody else loads the value.
    pub leases_waited: Counter,
    /// memcached's own counters.
    pub memcached: crate::memcached::Counters,
    commands: Box<[CommandStats]>,
    /// Error replies by code.
    pub errors: ErrorCodes,
}

impl Default for WorkerStats {
    fn default() -> Self {
        WorkerStats {
            hits: CachePadded::default(),
            misses: Counter::default(),
            changes: Counter::default(),
            expired: Counter::default(),
            expired_fields: Counter::default(),
            evicted: Counter::default(),
            connections: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            uncertain: Counter::default(),
            no_replicas: Counter::default(),
            behind: Counter::default(),
            redirected: Counter::default(),
            replica_reads: Counter::default(),
            replica_stale: Counter::default(),
            replica_behind: Counter::default(),
            protocol_errors: Counter::default(),
            leases_granted: Counter::default(),
            leases_waited: Counter::default(),
            memcached: crate::memcached::Counters::default(),
            commands: (0..Command::COUNT).map(|_| CommandStats::default()).collect(),
            errors: ErrorCodes::default(),
        }
    }
}

impl WorkerStats {
    /// The counters of one command.
    #[inline]
    pub fn command(&self, command: Command) -> &CommandStats {
        &self.commands[command.index()]
    }

    /// CONFIG RESETSTAT: all counters start anew.
    pub fn reset(&self) {
        for counter in [
            &*self.hits,
            &self.misses,
            &self.expired,
            &self.expired_fields,
            &self.evicted,
            &self.connections,
            &self.bytes_in,
            &self.bytes_out,
            &self.uncertain,
            &self.no_replicas,
            &self.behind,
            &self.redirected,
            &self.replica_reads,
            &self.replica_stale,
            &self.replica_behind,
            &self.protocol_errors,
        ] {
            counter.reset();
        }
        for command in &self.commands {
            for counter in [&command.calls, &command.failed, &command.rejected, &command.nanos] {
                counter.reset();
            }
            command.latency.iter().for_each(Counter::reset);
        }
        self.errors.clear();
    }
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// CLOCK_BOOTTIME nanoseconds.
    pub at_ns: u64,
    /// Commands executed.
    pub commands: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
}

/// What INFO calls `instantaneous`, and the peak of memory. Owner: the node's housekeeping, once a second.
#[derive(Debug, Default)]
pub struct Rates {
    last: Mutex<Sample>,
    /// Commands a second.
    pub commands: AtomicU64,
    /// Bytes a second read from clients.
    pub bytes_in: AtomicU64,
    /// Bytes a second written to clients.
    pub bytes_out: AtomicU64,
    /// The most bytes that the store has taken.
    pub peak_bytes: AtomicU64,
}

impl Rates {
    /// Works out the rates since the last sample.
    pub fn update(&self, now: Sample) {
        let last = std::mem::replace(&mut *self.last.lock(), now);
        let passed_ns = now.at_ns.saturating_sub(last.at_ns);
        if last.at_ns == 0 || passed_ns == 0 {
            return;
        }
        let per_second = |now: u64, last: u64| {
            let rate = u128::from(now.saturating_sub(last)) * 1_000_000_000 / u128::from(passed_ns);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        self.commands.store(per_second(now.commands, last.commands), Ordering::Relaxed);
        self.bytes_in.store(per_second(now.bytes_in, last.bytes_in), Ordering::Relaxed);
        self.bytes_out.store(per_second(now.bytes_out, last.bytes_out), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        let rates = Rates::default();
        let at = |at_ns, commands| Sample { at_ns, commands, ..Sample::default() };
        rates.update(at(1_000_000_000, 100));
        assert_eq!(rates.commands.load(Ordering::Relaxed), 0);
        rates.update(at(1_500_000_000, 150));
        assert_eq!(rates.commands.load(Ordering::Relaxed), 100);
    }

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
