//! Which nodes answer much more slowly than the others.
//!
//! A slot has one primary, so a slow one cannot be avoided: it is marked (a metric, the log, `PROXY EXPLAIN`), and whoever
//! has a choice of nodes can ask.

/// How a node has answered since the latest look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Replies.
    pub answers: u64,
    /// Their mean time, in nanoseconds.
    pub mean_ns: u64,
}

/// Replies below which nothing is said of a node.
const MIN_ANSWERS: u64 = 10;
/// How many times as long as the others a slow node takes.
const FACTOR: u64 = 5;
/// A node whose mean is below this is not slow, whatever the others do.
const FLOOR_NS: u64 = 20_000_000;

/// For each node whether it is slow. It takes two that have answered often enough.
pub fn slow(samples: &[Sample]) -> Vec<bool> {
    let enough = |sample: &Sample| sample.answers >= MIN_ANSWERS;
    let judge = |at: usize, sample: &Sample| {
        let others = samples.iter().enumerate().filter(|(other, sample)| *other != at && enough(sample));
        let mut means: Vec<u64> = others.map(|(_, sample)| sample.mean_ns).collect();
        means.sort_unstable();
        // Of two in the middle the lower one.
        let median = means.get(means.len().saturating_sub(1) / 2);
        median.is_some_and(|median| {
            enough(sample) && sample.mean_ns >= FLOOR_NS && sample.mean_ns > median.saturating_mul(FACTOR)
        })
    };
    samples.iter().enumerate().map(|(at, sample)| judge(at, sample)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_much_longer_than_the_others_is_found() {
        let sample = |answers, ms: u64| Sample { answers, mean_ns: ms * 1_000_000 };
        assert_eq!(slow(&[sample(100, 1), sample(100, 2), sample(100, 90)]), [false, false, true]);
        // All are slow: none stands out. Few answers say nothing, and neither do small times.
        assert_eq!(slow(&[sample(100, 80), sample(100, 90)]), [false, false]);
        assert_eq!(slow(&[sample(100, 1), sample(3, 90)]), [false, false]);
        assert_eq!(slow(&[sample(100, 1), sample(100, 19)]), [false, false]);
        assert_eq!(slow(&[sample(100, 90)]), [false]);
        assert_eq!(slow(&[]), Vec::<bool>::new());
    }
}
