//! Replication and the map, as a member of a cluster sees them.

use prometheus::proto::MetricFamily;
use torc_runtime::clock::boottime_ns;
use torc_runtime::metrics::FamilyBuilder;

use super::{Named, counter, gauge};
use crate::agent::Agent;

const EPOCH: Named = ("torc_server_map_epoch", "Version of the cluster map that the node knows.");
const LAG: Named =
    ("torc_server_replication_lag_records", "Records that a replica has yet to acknowledge, by its node id.");
const BACKLOG: Named = ("torc_server_replication_backlog_bytes", "Bytes of the backlog of effects.");
const UNPLACED: Named = (
    "torc_server_replication_unplaced_bytes",
    "Bytes of records that workers have handed over and that have no place in the history yet.",
);
const AGE: Named = (
    "torc_server_replica_age_seconds",
    "How long ago everything was executed that a replica is not known to hold; absent while nothing is known.",
);
const WHOLE: Named = ("torc_server_replication_whole", "0 while a full sync is under way.");
const LOST: Named = (
    "torc_server_lost_records_total",
    "Records of this node that a later primary never had: acknowledged `primary` at most, and lost.",
);
const FULL_SYNCS: Named = ("torc_server_full_syncs_total", "Full syncs that the node finished as a replica.");
const FAILOVERS: Named = ("torc_server_failovers_total", "Promotions after the first, by shard.");
const RESETS: Named = ("torc_server_shard_resets_total", "Times that a shard started empty, by shard.");
const UNCLEAN: Named =
    ("torc_server_unclean_failovers_total", "Promotions of nodes that were not in sync, by shard.");
const IN_SYNC: Named = ("torc_server_in_sync_members", "Members of the in-sync set, by shard.");

/// What [`gather`] yields.
pub const FAMILIES: &[Named] =
    &[EPOCH, LAG, BACKLOG, UNPLACED, AGE, WHOLE, LOST, FULL_SYNCS, FAILOVERS, RESETS, UNCLEAN, IN_SYNC];

/// The families of this module, for one scrape.
pub fn gather(agent: &Agent) -> Vec<MetricFamily> {
    let summary = agent.repl.summary(&agent.node);
    let map = agent.map();
    let mut lag = FamilyBuilder::gauge(LAG.0, LAG.1);
    for replica in &summary.replicas {
        let acked = replica.acked.map_or(0, |offset| offset.0);
        let behind = summary.last.offset.0.saturating_sub(acked);
        lag.add(&[("replica", &replica.member.node.0.to_string())], behind as f64);
    }
    let mut age = FamilyBuilder::gauge(AGE.0, AGE.1);
    let as_of_ns = agent.node.shard.fresh.as_of_ns();
    if as_of_ns != 0 {
        age.add(&[], boottime_ns().saturating_sub(as_of_ns) as f64 / 1e9);
    }
    let mut failovers = FamilyBuilder::counter(FAILOVERS.0, FAILOVERS.1);
    let mut resets = FamilyBuilder::counter(RESETS.0, RESETS.1);
    let mut unclean = FamilyBuilder::counter(UNCLEAN.0, UNCLEAN.1);
    let mut in_sync = FamilyBuilder::gauge(IN_SYNC.0, IN_SYNC.1);
    for shard in map.shards.values() {
        let id = shard.id.0.to_string();
        let labels = [("shard", id.as_str())];
        failovers.add(&labels, shard.failovers as f64);
        resets.add(&labels, shard.resets as f64);
        unclean.add(&labels, shard.unclean as f64);
        in_sync.add(&labels, shard.in_sync.len() as f64);
    }
    vec![
        gauge(EPOCH, map.epoch.0 as f64),
        lag.build(),
        gauge(BACKLOG, summary.backlog_bytes as f64),
        gauge(UNPLACED, agent.node.shard.unplaced_bytes() as f64),
        age.build(),
        gauge(WHOLE, f64::from(u8::from(summary.whole))),
        counter(LOST, summary.dropped_records),
        counter(FULL_SYNCS, summary.full_syncs),
        failovers.build(),
        resets.build(),
        unclean.build(),
        in_sync.build(),
    ]
}
