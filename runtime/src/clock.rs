//! The clocks of the machine, read at the moment of the call.
//!
//! Leases are measured on `CLOCK_BOOTTIME`: it does not jump with the wall clock and, unlike
//! `CLOCK_MONOTONIC`, it goes on while the machine sleeps, so a lease cannot survive a suspend.
//! Nothing here caches. No state is owned but the atomics of a [`ManualClock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`: time since the machine started, suspended time included.
#[inline]
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    // The kernel answers neither field negative for this clock.
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Milliseconds of `CLOCK_BOOTTIME`.
#[inline]
pub fn boottime_ms() -> u64 {
    boottime_ns() / 1_000_000
}

/// Nanoseconds of CPU that the calling thread has used.
pub fn thread_cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    (used.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(used.tv_nsec as u64)
}

/// Milliseconds of wall time since 1970-01-01 UTC; 0 when the wall clock stands before that.
#[inline]
#[expect(clippy::disallowed_methods, reason = "this is the edge that others are sent to")]
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time as an argument: what code takes that must be tested without waiting.
pub trait Clock: Send + Sync {
    /// As [`boottime_ns`].
    fn boottime_ns(&self) -> u64;

    /// As [`unix_ms`].
    fn unix_ms(&self) -> u64;

    /// Milliseconds of the boot-time clock.
    fn boottime_ms(&self) -> u64 {
        self.boottime_ns() / 1_000_000
    }
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boottime_ns(&self) -> u64 {
        boottime_ns()
    }

    fn unix_ms(&self) -> u64 {
        unix_ms()
    }
}

/// A clock that moves only when told to. Clones share the time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    times: Arc<Times>,
}

#[derive(Debug, Default)]
struct Times {
    boottime_ns: AtomicU64,
    unix_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at the given times.
    pub fn new(boottime_ns: u64, unix_ms: u64) -> Self {
        let times = Times { boottime_ns: AtomicU64::new(boottime_ns), unix_ms: AtomicU64::new(unix_ms) };
        Self { times: Arc::new(times) }
    }

    /// Moves both clocks on by `by_ms` milliseconds.
    pub fn advance_ms(&self, by_ms: u64) {
        self.times.boottime_ns.fetch_add(by_ms * 1_000_000, Ordering::SeqCst);
        self.times.unix_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an administrator or NTP would.
    pub fn set_unix_ms(&self, unix_ms: u64) {
        self.times.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boottime_ns(&self) -> u64 {
        self.times.boottime_ns.load(Ordering::SeqCst)
    }

    fn unix_ms(&self) -> u64 {
        self.times.unix_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_never_falls() {
        let mut last = boottime_ns();
        for _ in 0..1000 {
            let now = boottime_ns();
            assert!(now >= last);
            last = now;
        }
        assert!(unix_ms() > 1_600_000_000_000);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5_000_000, 1000);
        let other = clock.clone();
        clock.advance_ms(7);
        assert_eq!((other.boottime_ms(), other.unix_ms()), (12, 1007));
        clock.set_unix_ms(1);
        assert_eq!((other.boottime_ns(), other.unix_ms()), (12_000_000, 1));
    }
}
