//! Timings and bounds of consensus.

use std::sync::Arc;
use std::time::Duration;

use openraft::SnapshotPolicy;

use super::error::OpenError;
use super::types::VoterId;

/// Parts of the range of election time-outs.
const THIRDS: u64 = 3;

/// Entries of one append request at most.
const ENTRIES_PER_APPEND: u64 = 64;
/// Entries a follower may lag behind before it is sent a snapshot instead, if the log still has
/// them.
const LAG_BEFORE_SNAPSHOT: u64 = 2000;
/// Time to install a snapshot, sending included.
const SNAPSHOT_TIME: Duration = Duration::from_secs(10);

/// Timings and bounds. The defaults fit one data centre and a lease of 500 ms.
///
/// A follower votes for nobody while its leader's lease (`election_max_ms` since the last
/// heartbeat) runs, and then waits its own election time-out: a dead leader is replaced after
/// about `2 × election_max_ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusConfig {
    /// Name of the cluster, for logs.
    pub cluster_name: String,
    /// Interval of heartbeats, and time-out of one append request (ms).
    pub heartbeat_ms: u64,
    /// Shortest wait before a follower stands for election (ms).
    pub election_min_ms: u64,
    /// Longest wait before a follower stands for election (ms).
    pub election_max_ms: u64,
    /// How long a proposal waits for its outcome (ms).
    pub propose_timeout_ms: u64,
    /// Entries after which a snapshot is taken and older entries are dropped.
    pub snapshot_entries: u64,
    /// Entries kept below a snapshot, for followers that lag a little.
    pub keep_entries: u64,
}

impl Default for ConsensusConfig {
    fn default() -> Self {
        Self {
            cluster_name: "torc".to_owned(),
            heartbeat_ms: 30,
            election_min_ms: 90,
            election_max_ms: 150,
            propose_timeout_ms: 2000,
            snapshot_entries: 1000,
            keep_entries: 200,
        }
    }
}

impl ConsensusConfig {
    /// The defaults with heartbeat and election scaled to a lease: 6, 18 and 30 hundredths of it.
    /// An election then ends while the leases that primaries hold still run: shards whose primary
    /// lives do not notice that the leader of the control plane is gone.
    pub fn for_lease_ms(lease_ms: u64) -> Self {
        Self {
            heartbeat_ms: (lease_ms * 6 / 100).max(1),
            election_min_ms: (lease_ms * 18 / 100).max(3),
            election_max_ms: (lease_ms * 30 / 100).max(5),
            ..Self::default()
        }
    }

    /// No voter waits for longer before it stands.
    pub(super) fn longest_election(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// How long a proposal waits.
    pub(super) fn propose_timeout(&self) -> Duration {
        Duration::from_millis(self.propose_timeout_ms)
    }

    /// How long a confirmation of leadership waits: no answer of a quorum by then means that
    /// another leader may stand.
    pub(super) fn confirm_timeout(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// The election time-outs of one voter (ms): a third of the range, by its id. openraft draws a time-out once in a
    /// process's life and looks at it every one and a half heartbeats: two voters that drew much the same would stand
    /// against each other again and again.
    fn election_ms(&self, id: VoterId) -> (u64, u64) {
        let third = self.election_max_ms.saturating_sub(self.election_min_ms) / THIRDS;
        if third < 2 {
            return (self.election_min_ms, self.election_max_ms);
        }
        let min_ms = self.election_min_ms + third * (id % THIRDS);
        (min_ms, min_ms + third)
    }

    /// For one voter.
    pub(super) fn to_openraft(&self, id: VoterId) -> Result<Arc<openraft::Config>, OpenError> {
        let (election_min_ms, election_max_ms) = self.election_ms(id);
        let config = openraft::Config {
            cluster_name: self.cluster_name.clone(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: election_min_ms,
            election_timeout_max: election_max_ms,
            install_snapshot_timeout: SNAPSHOT_TIME.as_millis() as u64,
            max_payload_entries: ENTRIES_PER_APPEND,
            replication_lag_threshold: LAG_BEFORE_SNAPSHOT,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Until a majority would vote: `standing`.
            enable_elect: false,
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new).map_err(|cause| OpenError::Config(cause.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_scale_with_the_lease() {
        let defaults = ConsensusConfig::default();
        assert_eq!(ConsensusConfig::for_lease_ms(500), defaults);
        defaults.to_openraft(1).unwrap();
        ConsensusConfig::for_lease_ms(5000).to_openraft(1).unwrap();
        ConsensusConfig::for_lease_ms(1).to_openraft(1).unwrap();
        let of = |id| defaults.election_ms(id);
        assert_eq!([of(3), of(1), of(2)], [(90, 110), (110, 130), (130, 150)]);
        let bad = ConsensusConfig { heartbeat_ms: 300, ..defaults };
        assert!(matches!(bad.to_openraft(1), Err(OpenError::Config(_))));
    }
}
