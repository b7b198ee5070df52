//! A latency histogram with one writer.
//!
//! Buckets are log-linear: eight equal steps within each power of two, so a value is known to one
//! part in eight. The worker that owns a histogram is its only writer and does a plain load and
//! store; other threads may read at any time and see each bucket at some recent value.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::{Bucket, Histogram};

/// Steps within a power of two, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: usize = 1 << STEP_BITS;
/// Values at or above 2^this (ns; about 18 minutes) share the last bucket.
const MAX_BITS: u32 = 40;
const BUCKETS: usize = (MAX_BITS - STEP_BITS + 1) as usize * STEPS;

/// Bounds for `/metrics`, in nanoseconds: each power of two from 1 µs to 17 s. They are edges of
/// our buckets, so the cumulative counts are exact.
pub const DEFAULT_BOUNDS_NS: [u64; 25] = {
    let mut bounds = [0; 25];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = 1 << (10 + at);
        at += 1;
    }
    bounds
};

/// Counts of durations in nanoseconds: single writer, readable from any thread. 2.4 kB.
#[derive(Debug)]
pub struct LatencyHistogram {
    counts: Box<[AtomicU64; BUCKETS]>,
    sum_ns: AtomicU64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { counts: Box::new([const { AtomicU64::new(0) }; BUCKETS]), sum_ns: AtomicU64::new(0) }
    }

    /// Counts one duration. Only the owner may call this: two writers would lose counts.
    #[inline]
    pub fn record(&self, duration_ns: u64) {
        self.record_many(duration_ns, 1);
    }

    /// Counts `times` equal durations, as for the requests of one batch.
    #[inline]
    pub fn record_many(&self, duration_ns: u64, times: u64) {
        bump(&self.counts[bucket_of(duration_ns)], times);
        bump(&self.sum_ns, duration_ns.wrapping_mul(times));
    }

    /// The sum of all durations, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.load(Ordering::Relaxed)
    }

    /// A copy of the counts as they are now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        HistogramSnapshot { counts, sum_ns: self.sum_ns.load(Ordering::Relaxed) }
    }

    /// Sets all counts to zero. As for [`Self::record`], only the owner may.
    pub fn reset(&self) {
        for count in self.counts.iter() {
            count.store(0, Ordering::Relaxed);
        }
        self.sum_ns.store(0, Ordering::Relaxed);
    }
}

#[inline]
fn bump(field: &AtomicU64, by: u64) {
    field.store(field.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[inline]
fn bucket_of(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let bits = u64::BITS - value.leading_zeros();
    if bits > MAX_BITS {
        return BUCKETS - 1;
    }
    let shift = bits - STEP_BITS - 1;
    (shift as usize + 1) * STEPS + ((value >> shift) as usize & (STEPS - 1))
}

/// The smallest value above the bucket.
fn upper_edge(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64 + 1;
    }
    let shift = bucket / STEPS - 1;
    ((STEPS + bucket % STEPS + 1) as u64) << shift
}

/// A copy of a histogram's counts; snapshots of several workers can be added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum_ns: u64,
}

impl HistogramSnapshot {
    /// Adds another worker's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }

    /// Takes away what an earlier snapshot of the same histograms had.
    pub fn take_away(&mut self, earlier: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&earlier.counts) {
            *mine = mine.saturating_sub(*theirs);
        }
        self.sum_ns = self.sum_ns.saturating_sub(earlier.sum_ns);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all durations, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// An upper bound of the `q` quantile (0..=1), in nanoseconds; 0 when nothing was counted.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let total = self.count();
        let wanted = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return upper_edge(bucket) - 1;
            }
        }
        0
    }

    /// Non-empty buckets as `(upper bound in ns, exclusive; count)`, for LATENCY HISTOGRAM.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (upper_edge(bucket), *count))
    }

    /// As a Prometheus histogram in seconds. A bucket that straddles a bound counts above it, so
    /// no bucket claims a duration that may have been longer.
    pub fn to_prometheus(&self, bounds_ns: &[u64]) -> Histogram {
        let mut at = 0;
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(bounds_ns.len());
        for bound in bounds_ns {
            while at < self.counts.len() && upper_edge(at) <= *bound {
                cumulative += self.counts[at];
                at += 1;
            }
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e9);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(self.count());
        histogram.set_sample_sum(self.sum_ns as f64 / 1e9);
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_meet() {
        for bucket in 0..BUCKETS - 1 {
            let edge = upper_edge(bucket);
            assert_eq!(bucket_of(edge - 1), bucket, "last value of {bucket}");
            assert_eq!(bucket_of(edge), bucket + 1, "first value after {bucket}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_one_part_in_eight_too_high(
            mut values in proptest::collection::vec(0_u64..1 << 39, 1..200),
            q in 0.0_f64..=1.0,
        ) {
            let histogram = LatencyHistogram::new();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let rank = ((values.len() as f64 * q).ceil() as usize).max(1) - 1;
            let got = histogram.snapshot().quantile_ns(q);
            prop_assert!(got >= values[rank]);
            prop_assert!(got <= values[rank] + values[rank] / 8 + 1);
        }

        #[test]
        fn merging_is_adding(a in proptest::collection::vec(any::<u64>(), 0..50),
                             b in proptest::collection::vec(any::<u64>(), 0..50)) {
            let (left, right, both) =
                (LatencyHistogram::new(), LatencyHistogram::new(), LatencyHistogram::new());
            a.iter().for_each(|value| { left.record(*value); both.record(*value); });
            b.iter().for_each(|value| { right.record(*value); both.record(*value); });
            let mut sum = left.snapshot();
            sum.merge(&right.snapshot());
            prop_assert_eq!(sum, both.snapshot());
        }
    }

    #[test]
    fn prometheus_counts_are_cumulative_and_exact_at_powers_of_two() {
        let histogram = LatencyHistogram::new();
        histogram.record(1023);
        histogram.record(1024);
        histogram.record_many(5_000_000_000_000, 2);
        let rendered = histogram.snapshot().to_prometheus(&DEFAULT_BOUNDS_NS);
        let counts: Vec<u64> = rendered.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!((counts[0], counts[1], counts[24]), (1, 2, 2));
        assert_eq!(rendered.get_sample_count(), 4);
        histogram.reset();
        assert_eq!(histogram.snapshot().count(), 0);
    }
}
