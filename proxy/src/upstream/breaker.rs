//! Whether a node may be asked: a circuit that failures open, and the pause before it is tried again.
//!
//! ```text
//!            a connection fails, or requests time out in a row
//!   closed ────────────────────────────────────────────────────▶ open ◀──┐
//!     ▲                                                           │ pause │ fails again: a longer pause
//!     └── a reply ◀── half open: one connection, a probe ◀────────┘ ──────┘
//! ```
//! While it is open requests wait for the shard instead of being sent. A pause is doubled from failure to failure between
//! two bounds and spread by a quarter either way, so that the workers of many proxies do not come back at once. A pure
//! state machine: times and randomness come in.

use std::cell::Cell;

/// Bounds of the pauses and of patience.
#[derive(Clone, Copy, Debug)]
pub struct BreakerLimits {
    /// The pause after the first failure, in nanoseconds.
    pub first_pause_ns: u64,
    /// The longest pause.
    pub last_pause_ns: u64,
    /// Requests in a row that time out, with nothing answered between them, until the circuit opens; 0: it does not.
    pub timeouts: u32,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Failures in a row, without a reply to a request between them.
    failures: Cell<u32>,
    /// Time-outs in a row, likewise.
    timeouts: Cell<u32>,
    /// Whether it was time-outs that opened it: then only a reply to a request ends the doubt, a probe does not.
    tripped: Cell<bool>,
    /// Nothing is tried before this.
    pause_until_ns: Cell<u64>,
}

/// Doublings after which pauses grow no more.
const MAX_DOUBLINGS: u32 = 16;

impl Breaker {
    /// Whether nothing may be tried now.
    #[inline]
    pub fn is_open(&self, now_ns: u64) -> bool {
        now_ns < self.pause_until_ns.get()
    }

    /// Whether the next connection has to be probed before requests go on it.
    pub fn is_doubted(&self) -> bool {
        self.failures.get() > 0
    }

    /// A connection is open, and has answered its probe if it was doubted. True when the circuit was open before.
    pub fn connected(&self) -> bool {
        self.pause_until_ns.set(0);
        let doubted = self.is_doubted();
        if !self.tripped.get() {
            self.failures.set(0);
        }
        doubted
    }

    /// A request was answered.
    #[inline]
    pub fn answered(&self) {
        if self.timeouts.get() + self.failures.get() > 0 {
            self.timeouts.set(0);
            self.failures.set(0);
            self.tripped.set(false);
        }
    }

    /// A connection failed. Opens the circuit; says how many have failed in a row before.
    pub fn failed(&self, now_ns: u64, limits: BreakerLimits, spread: impl FnOnce(u64) -> u64) -> u32 {
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        self.timeouts.set(0);
        let doubled = limits.first_pause_ns.saturating_mul(1 << failures.min(MAX_DOUBLINGS));
        self.pause_until_ns.set(now_ns.saturating_add(spread(doubled.min(limits.last_pause_ns))));
        failures
    }

    /// A request timed out. True: so many have in a row that the connections should be given up.
    pub fn timed_out(&self, limits: BreakerLimits) -> bool {
        let timeouts = self.timeouts.get().saturating_add(1);
        let trips = limits.timeouts > 0 && timeouts >= limits.timeouts;
        self.timeouts.set(if trips { 0 } else { timeouts });
        self.tripped.set(self.tripped.get() || trips);
        trips
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BreakerLimits = BreakerLimits { first_pause_ns: 25, last_pause_ns: 400, timeouts: 3 };

    #[test]
    fn pauses_grow_until_something_is_answered() {
        let breaker = Breaker::default();
        let mut now = 1_000;
        assert!(!breaker.is_open(now) && !breaker.is_doubted());
        for pause in [25, 50] {
            breaker.failed(now, LIMITS, |pause| pause);
            assert!(breaker.is_open(now + pause - 1) && !breaker.is_open(now + pause));
        }
        // A connection that has answered its probe.
        assert!(breaker.connected() && !breaker.is_open(now) && !breaker.is_doubted());
        // After time-outs a probe is not enough.
        (0..3).for_each(|_| _ = breaker.timed_out(LIMITS));
        for (failures, pause) in [25, 50, 100, 200, 400, 400, 400].into_iter().enumerate() {
            assert_eq!(breaker.failed(now, LIMITS, |pause| pause), failures as u32);
            assert!(breaker.is_open(now + pause - 1) && !breaker.is_open(now + pause));
            now += pause;
            assert!(breaker.connected() && !breaker.is_open(now) && breaker.is_doubted());
        }
        breaker.answered();
        assert!(!breaker.is_doubted());
        breaker.failed(now, LIMITS, |pause| pause);
        assert!(!breaker.is_open(now + 25) && breaker.connected() && !breaker.is_doubted());
        // Whatever the number of failures: no overflow.
        (0..100).for_each(|_| _ = breaker.failed(u64::MAX - 10, LIMITS, |pause| pause));
    }

    #[test]
    fn time_outs_in_a_row_open_it() {
        let breaker = Breaker::default();
        assert!(!breaker.timed_out(LIMITS) && !breaker.timed_out(LIMITS));
        breaker.answered();
        assert!(!breaker.timed_out(LIMITS) && !breaker.timed_out(LIMITS));
        assert!(breaker.timed_out(LIMITS));
        let never = BreakerLimits { timeouts: 0, ..LIMITS };
        assert!((0..100).all(|_| !breaker.timed_out(never)));
    }
}
