//! Requests for the nodes that are written together.
//!
//! A write costs far more than a read, and with a node that sleeps the more since it has to be woken; the requests of all
//! clients for a node may go in one. So they are held back while others come, within bounds: [`MOST_REQUESTS`] of
//! them, or [`LONGEST_NS`] for the first. A client that sends to many connections takes its time between two of them, and
//! the worker may find nobody ready in the middle of that: where requests come fast it looks on for [`LINGER_NS`].

/// Requests that wait at most to be written together.
const MOST_REQUESTS: usize = 48;
/// Nanoseconds that they wait at most.
const LONGEST_NS: u64 = 200_000;
/// Nanoseconds without a ready socket after which they leave.
const LINGER_NS: u64 = 16_000;
/// Requests come fast when this is the mean time between two, in nanoseconds, or less.
const FAST_NS: u64 = 20_000;
/// A pause between two requests counts as at most so many nanoseconds.
const LONGEST_PAUSE_NS: u64 = 1_000_000;

/// See the module's text. Times are nanoseconds on the worker's clock.
#[derive(Debug)]
pub struct Gathering {
    /// How many wait.
    waiting: usize,
    /// Since when the first does; 0: none does.
    since_ns: u64,
    /// When the latest came.
    latest_ns: u64,
    /// The time between two on the average.
    pause_ns: u64,
}

impl Gathering {
    /// Of a worker that has had no requests so far.
    pub fn new() -> Gathering {
        Gathering { waiting: 0, since_ns: 0, latest_ns: 0, pause_ns: LONGEST_PAUSE_NS }
    }

    /// So many wait now. True when they have to be written.
    #[inline]
    pub fn note(&mut self, waiting: usize, now_ns: u64) -> bool {
        let come = waiting.saturating_sub(self.waiting) as u64;
        if come > 0 {
            let pause_ns = now_ns.saturating_sub(self.latest_ns).min(LONGEST_PAUSE_NS);
            // As if they had come one after another: each moves the mean by a part.
            let part = come.min(16);
            self.pause_ns = (self.pause_ns * (16 - part) + pause_ns / come * part) / 16;
            self.latest_ns = now_ns;
        }
        self.waiting = waiting;
        if self.since_ns == 0 {
            self.since_ns = now_ns;
        }
        waiting >= MOST_REQUESTS || now_ns.saturating_sub(self.since_ns) >= LONGEST_NS
    }

    /// Whether those that wait go on waiting, nobody having been ready for `waited_ns`.
    #[inline]
    pub fn lingers(&self, waited_ns: u64, now_ns: u64) -> bool {
        self.waiting > 0
            && self.pause_ns <= FAST_NS
            && waited_ns < LINGER_NS
            && now_ns.saturating_sub(self.since_ns) < LONGEST_NS
    }

    /// They were written.
    #[inline]
    pub fn written(&mut self) {
        (self.waiting, self.since_ns) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_when_they_are_many_or_have_waited() {
        let mut gathering = Gathering::new();
        assert!(!gathering.note(1, 1_000));
        assert!(!gathering.note(MOST_REQUESTS - 1, 2_000));
        assert!(gathering.note(MOST_REQUESTS, 3_000));
        gathering.written();
        assert!(!gathering.note(1, LONGEST_NS + 1_000), "it came just now");
        assert!(gathering.note(1, 2 * LONGEST_NS + 1_000));
    }

    #[test]
    fn only_fast_requests_wait_for_others() {
        let (mut gathering, mut now_ns) = (Gathering::new(), 1);
        for _ in 0..200 {
            now_ns += FAST_NS * 2;
            gathering.note(1, now_ns);
            assert!(!gathering.lingers(0, now_ns));
            gathering.written();
        }
        for _ in 0..200 {
            now_ns += FAST_NS;
            gathering.note(2, now_ns);
            gathering.written();
        }
        assert!(!gathering.lingers(0, now_ns), "nothing waits");
        gathering.note(1, now_ns);
        assert!(gathering.lingers(0, now_ns) && !gathering.lingers(LINGER_NS, now_ns));
        assert!(!gathering.lingers(0, now_ns + LONGEST_NS));
    }
}
