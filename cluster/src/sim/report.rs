//! What a run was like, and what it looks like when a rule was broken.

use super::network::Traffic;
use std::collections::BTreeMap;
use std::fmt;

/// Simulated seconds, operations and faults below which a run proves nothing.
pub const LEAST_SECONDS: u64 = 60;
pub const LEAST_OPERATIONS: u64 = 500;
pub const LEAST_FAULTS: u64 = 3;

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub simulated_ms: u64,
    /// Sudden faults that really happened, by the name of their kind.
    pub faults: BTreeMap<&'static str, u64>,
    pub traffic: Traffic,
    /// The largest difference of two clocks' rates, in ppm.
    pub drift_ppm: u64,
    pub elections: u64,
    /// After the first of each shard, resets left out.
    pub promotions: u64,
    pub resets: u64,
    /// Promotions that a person ordered because the shard waited for that.
    pub unclean: u64,
    /// Replicas that became eligible because they were found to hold what counts, and promotions of such.
    pub eligible: u64,
    pub saved: u64,
    /// Requests of clients, their second sendings not counted.
    pub operations: u64,
    /// `in-sync` writes answered as done.
    pub acknowledged: u64,
    pub refused: u64,
    pub uncertain: u64,
    /// Locks granted, fenced writes done, and refused for their token.
    pub locks: u64,
    pub fenced: u64,
    pub fenced_off: u64,
    /// Full syncs that began.
    pub syncs: u64,
    /// Resyncs by slots that were done, parts that were compared in them, and those that differed.
    pub resyncs: u64,
    pub compared: u64,
    pub differed: u64,
    /// Records that members were compared with.
    pub replayed: u64,
    /// Frames that made no sense.
    pub nonsense: u64,
    /// Rules that may be broken in such a run (clocks beyond their bound), and were.
    pub excused: u64,
    /// The same for the same seed.
    pub trace: u64,
}

impl Report {
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Whether enough happened for the run to count.
    pub fn counts(&self) -> bool {
        self.simulated_ms >= LEAST_SECONDS * 1_000
            && self.operations >= LEAST_OPERATIONS
            && self.faults() >= LEAST_FAULTS
    }
}

/// A broken invariant, and how to see it again.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    /// The number of the invariant; 0: the cluster did not come back.
    pub rule: u8,
    pub at_ms: u64,
    pub what: String,
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {} at {} ms, invariant {}: {}", self.seed, self.at_ms, self.rule, self.what)?;
        write!(
            f,
            "reproduce: TORC_SIM_SEED={} cargo test -p torc-cluster --lib no_invariant_breaks -- --nocapture",
            self.seed
        )
    }
}
