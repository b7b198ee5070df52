//! Consensus on `/metrics`, read from the voter's status at the scrape.

use prometheus::Registry;
use prometheus::proto::MetricFamily;

use super::consensus::Consensus;
use super::status::Role;
use super::types::RaftApp;
use crate::metrics::{DEFAULT_BOUNDS_NS, FamilyBuilder, register};

/// Names and helps of what [`Consensus::metric_families`] yields.
pub const METRIC_FAMILIES: [(&str, &str); 9] = [
    ("torc_raft_term", "Term of consensus."),
    ("torc_raft_leader", "1 on the voter that believes it leads."),
    ("torc_raft_leader_id", "Node id of the leader; 0 when none is known."),
    ("torc_raft_last_log_index", "Index of the last entry of the log."),
    ("torc_raft_applied_index", "Index of the last applied entry."),
    ("torc_raft_snapshot_index", "Index up to which the last snapshot goes."),
    ("torc_raft_stopped", "1 once this voter has stopped, as after a storage error."),
    (
        "torc_raft_silent",
        "1 on a leader that no majority of the voters answers: it says nothing, so that another can be elected.",
    ),
    ("torc_raft_commit_seconds", "Time to make a batch of changes durable."),
];

impl<A: RaftApp> Consensus<A> {
    /// Registers this voter's metrics.
    ///
    /// # Errors
    /// When the registry has families of these names.
    pub fn register_metrics(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let consensus = self.clone();
        register(registry, &METRIC_FAMILIES, move || consensus.metric_families())
    }

    /// This voter's metrics now.
    pub fn metric_families(&self) -> Vec<MetricFamily> {
        let status = self.status().borrow().clone();
        let flag = |up: bool| f64::from(u8::from(up));
        let index = |index: Option<u64>| index.unwrap_or(0) as f64;
        let values = [
            status.leadership.term as f64,
            flag(status.leadership.is_self),
            index(status.leadership.leader.map(|leader| leader.id)),
            index(status.last_log),
            index(status.applied),
            index(status.snapshot),
            flag(status.role == Role::Stopped),
            flag(self.is_silent()),
        ];
        let gauge = |((name, help), value): (&(&str, &str), f64)| {
            FamilyBuilder::gauge(name, help).sample(&[], value).build()
        };
        let mut families: Vec<_> = METRIC_FAMILIES.iter().zip(values).map(gauge).collect();
        let (name, help) = METRIC_FAMILIES[8];
        let mut commits = FamilyBuilder::histogram(name, help);
        commits.add_histogram(&[], &self.commit_latency(), &DEFAULT_BOUNDS_NS);
        families.push(commits.build());
        families
    }
}
