//! How long a worker goes on looking at its sockets when none is ready, before it rests.
//!
//! A rest costs CPU: giving the core away, and being woken. That is a few microseconds on a machine of its own and may be
//! twenty where a virtual processor is halted and started again, several requests' worth. So the worker measures what its
//! rests cost. While somebody comes sooner than that on the average, it looks on for as long as a rest would cost; it then
//! pays at most twice what would have been best ("ski rental", Karlin et al., Competitive snoopy caching, 1988). With
//! less to do it rests at once.

/// One rest of so many is measured: that costs two system calls.
const MEASURED_ONE_IN: u32 = 16;
/// What a rest is taken to cost before one was measured, in nanoseconds of CPU.
const USUAL_REST_NS: u64 = 5_000;
/// No rest is taken to cost more: what other tasks did meanwhile is counted in.
const DEAREST_REST_NS: u64 = 20_000;
/// A wait counts as at most so many nanoseconds, so that idle times are forgotten soon.
const LONGEST_WAIT_NS: u64 = 200_000;
/// A measure moves by this part towards what was found last.
const PART: u64 = 8;

/// See the module's text. Times are nanoseconds on the worker's clock.
#[derive(Debug)]
pub struct Patience {
    /// Since when nobody is ready; 0: somebody is.
    since_ns: u64,
    /// How long nobody was ready until somebody was, on the average.
    wait_ns: u64,
    /// CPU that a rest costs, on the average.
    rest_ns: u64,
    /// Rests until one is measured.
    unmeasured: u32,
    /// The thread's CPU time when the rest began that is measured.
    cpu_ns: Option<u64>,
}

impl Patience {
    /// Of a worker that has had nothing to do so far.
    pub fn new() -> Patience {
        Patience {
            since_ns: 0,
            wait_ns: LONGEST_WAIT_NS,
            rest_ns: USUAL_REST_NS,
            unmeasured: 0,
            cpu_ns: None,
        }
    }

    /// Somebody is ready.
    #[inline]
    pub fn found(&mut self, now_ns: impl FnOnce() -> u64) {
        if self.since_ns > 0 {
            let wait_ns = now_ns().saturating_sub(self.since_ns).min(LONGEST_WAIT_NS);
            self.wait_ns = approach(self.wait_ns, wait_ns);
            self.since_ns = 0;
        }
    }

    /// What others wait for has just been done: from now on they may come.
    #[inline]
    pub fn begin_anew(&mut self) {
        self.since_ns = 0;
    }

    /// Nobody is ready; says for how long that has been so.
    #[inline]
    pub fn nobody(&mut self, now_ns: u64) -> u64 {
        if self.since_ns == 0 {
            self.since_ns = now_ns;
        }
        now_ns.saturating_sub(self.since_ns)
    }

    /// Whether to look on rather than to rest, nobody having been ready for `waited_ns`.
    #[inline]
    pub fn looks_on(&self, waited_ns: u64) -> bool {
        self.wait_ns < self.rest_ns && waited_ns < self.rest_ns
    }

    /// The worker rests; `cpu_ns` reads the CPU time of its thread.
    pub fn rests(&mut self, cpu_ns: impl FnOnce() -> u64) {
        match self.unmeasured.checked_sub(1) {
            Some(left) => self.unmeasured = left,
            None => {
                self.unmeasured = MEASURED_ONE_IN - 1;
                self.cpu_ns = Some(cpu_ns());
            }
        }
    }

    /// It was woken.
    pub fn was_woken(&mut self, cpu_ns: impl FnOnce() -> u64) {
        if let Some(before_ns) = self.cpu_ns.take() {
            let rest_ns = cpu_ns().saturating_sub(before_ns).min(DEAREST_REST_NS);
            self.rest_ns = approach(self.rest_ns, rest_ns);
        }
    }
}

fn approach(mean: u64, latest: u64) -> u64 {
    (mean * (PART - 1) + latest) / PART
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rests and is woken `times` times; each rest costs `cpu_ns`, and is over after `wait_ns`.
    fn rest(patience: &mut Patience, times: u32, cpu_ns: u64, wait_ns: u64) {
        let (mut cpu, mut now_ns) = (1, 1);
        for _ in 0..times {
            patience.nobody(now_ns);
            patience.rests(|| cpu);
            cpu += cpu_ns;
            now_ns += wait_ns;
            patience.was_woken(|| cpu);
            patience.found(|| now_ns);
        }
    }

    #[test]
    fn looks_on_while_others_come_sooner_than_a_rest_is_worth() {
        let mut patience = Patience::new();
        assert!(!patience.looks_on(0), "it knows of nobody");
        rest(&mut patience, 2_000, 12_000, 9_000);
        assert!(patience.looks_on(0) && patience.looks_on(11_000));
        assert!(!patience.looks_on(12_001), "that is what the rest costs");
        rest(&mut patience, 2_000, 5_000, 9_000);
        assert!(!patience.looks_on(0), "rests are cheap");
        rest(&mut patience, 2_000, 12_000, 100_000);
        assert!(!patience.looks_on(0), "there is little to do");
    }

    #[test]
    fn no_rest_is_worth_more_than_the_bound() {
        let mut patience = Patience::new();
        rest(&mut patience, 2_000, 1_000_000, 10_000);
        assert!(patience.looks_on(0) && !patience.looks_on(DEAREST_REST_NS));
    }

    #[test]
    fn what_is_found_while_looking_on_counts_as_well() {
        let mut patience = Patience::new();
        let mut now_ns = 1;
        for _ in 0..100 {
            assert_eq!(patience.nobody(now_ns), 0);
            now_ns += 1_000;
            assert_eq!(patience.nobody(now_ns), 1_000);
            patience.found(|| now_ns);
        }
        assert!(patience.looks_on(0));
        now_ns += 10_000_000;
        patience.found(|| now_ns);
        assert!(patience.looks_on(0), "nobody had been missed");
        for _ in 0..10 {
            patience.nobody(now_ns);
            now_ns += 50_000_000;
            patience.found(|| now_ns);
        }
        assert!(!patience.looks_on(0));
    }
}
