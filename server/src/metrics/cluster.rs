//! Replication and the map, as a member of a cluster sees them.

use prometheus::proto::MetricFamily;
use torc_cluster::message::remembers;
use torc_runtime::clock::boottime_ns;
use torc_runtime::metrics::FamilyBuilder;

use super::{Named, counter, gauge};
use crate::agent::Agent;
use crate::replication::Fed;

const EPOCH: Named = ("torc_server_map_epoch", "Version of the cluster map that the node knows.");
const LAG: Named =
    ("torc_server_replication_lag_records", "Records that a replica has yet to acknowledge, by its node id.");
const BACKLOG: Named = (
    "torc_server_replication_backlog_bytes",
    "Bytes of the backlog of effects, with what is kept for replicas that have yet to be sent it.",
);
const CUT_OFF: Named = (
    "torc_server_replicas_cut_off_total",
    "Connected replicas that were given up, since they lacked more than the backlog keeps (`backlog_max_bytes`).",
);
const UNPLACED: Named = (
    "torc_server_replication_unplaced_bytes",
    "Bytes of records that workers have handed over and that have no place in the history yet.",
);
const AGE: Named = (
    "torc_server_replica_age_seconds",
    "How long ago everything was executed that a replica is not known to hold; absent while nothing is known.",
);
const WHOLE: Named = ("torc_server_replication_whole", "0 while a sync is under way.");
const LOST: Named = (
    "torc_server_lost_records_total",
    "Records of this node that a later primary never had: acknowledged `primary` at most, and lost.",
);
const FULL_SYNCS: Named = ("torc_server_full_syncs_total", "Full syncs that the node finished as a replica.");
const SLOT_SYNCS: Named =
    ("torc_server_slot_syncs_total", "Resyncs by slots that the node finished as a replica.");
const RESYNCS: Named = (
    "torc_server_resyncs_total",
    "Replicas that came back to the node as their primary, by what they were given (`kind`: `partial`, `slots`, `full`).",
);
const RESYNC_SLOTS: Named = (
    "torc_server_resync_slots_total",
    "Slots that resyncs by slots compared and sent as primary (`what`: `compared`, `sent`).",
);
const RESYNC_BYTES: Named = (
    "torc_server_resync_bytes_total",
    "Bytes sent to replicas that came back, without records, by `kind` (`slots`, `full`).",
);
const FAILOVERS: Named = ("torc_server_failovers_total", "Promotions after the first, by shard.");
const RESETS: Named = ("torc_server_shard_resets_total", "Times that a shard started empty, by shard.");
const UNCLEAN: Named =
    ("torc_server_unclean_failovers_total", "Promotions of nodes that were not in sync, by shard.");
const WAITS: Named = (
    "torc_server_waits_for_person",
    "1 on a node that remembers its shard when every in-sync and eligible member is gone: nobody leads it until a \
     person decides.",
);
const IN_SYNC: Named = ("torc_server_in_sync_members", "Members of the in-sync set, by shard.");

/// What [`gather`] yields.
pub const FAMILIES: &[Named] = &[
    EPOCH,
    LAG,
    BACKLOG,
    CUT_OFF,
    UNPLACED,
    AGE,
    WHOLE,
    LOST,
    FULL_SYNCS,
    SLOT_SYNCS,
    RESYNCS,
    RESYNC_SLOTS,
    RESYNC_BYTES,
    FAILOVERS,
    RESETS,
    UNCLEAN,
    WAITS,
    IN_SYNC,
];

/// The families of this module, for one scrape.
pub fn gather(agent: &Agent) -> Vec<MetricFamily> {
    let summary = agent.repl.summary(&agent.node);
    let map = agent.map();
    let forgotten = map.shards_of_node(agent.me.node).any(|shard| shard.is_forgotten());
    let waits = forgotten && remembers(summary.whole, summary.last);
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
    let Fed { partial_syncs, slot_syncs, full_syncs, cut_off, slots, full_bytes } = summary.fed;
    let mut resyncs = FamilyBuilder::counter(RESYNCS.0, RESYNCS.1);
    for (kind, count) in [("partial", partial_syncs), ("slots", slot_syncs), ("full", full_syncs)] {
        resyncs.add(&[("kind", kind)], count as f64);
    }
    let mut resync_slots = FamilyBuilder::counter(RESYNC_SLOTS.0, RESYNC_SLOTS.1);
    for (what, count) in [("compared", slots.slots_compared), ("sent", slots.slots_sent)] {
        resync_slots.add(&[("what", what)], count as f64);
    }
    let mut resync_bytes = FamilyBuilder::counter(RESYNC_BYTES.0, RESYNC_BYTES.1);
    for (kind, bytes) in [("slots", slots.bytes), ("full", full_bytes)] {
        resync_bytes.add(&[("kind", kind)], bytes as f64);
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
        counter(CUT_OFF, cut_off),
        gauge(UNPLACED, agent.node.shard.unplaced_bytes() as f64),
        age.build(),
        gauge(WHOLE, f64::from(u8::from(summary.whole))),
        counter(LOST, summary.dropped_records),
        counter(FULL_SYNCS, summary.full_syncs),
        counter(SLOT_SYNCS, summary.slot_syncs),
        resyncs.build(),
        resync_slots.build(),
        resync_bytes.build(),
        failovers.build(),
        resets.build(),
        unclean.build(),
        gauge(WAITS, f64::from(u8::from(waits))),
        in_sync.build(),
    ]
}
