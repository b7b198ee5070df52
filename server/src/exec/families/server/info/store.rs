//! INFO's sections about the data and where it is kept.

use torc_cluster::message::remembers;

use super::{Lines, databases};
use crate::exec::Cx;
use crate::exec::families::server::replication::{Replica, primary, replicas};
use crate::replication::stream::Progress;
use crate::replication::{Fed, SyncKind};
use crate::shard::Role;

/// `# Persistence`: data is in memory only; the fields are there for those who read them.
pub fn persistence(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let zero = [
        "loading",
        "async_loading",
        "current_cow_peak",
        "current_cow_size",
        "current_cow_size_age",
        "current_save_keys_processed",
        "current_save_keys_total",
        "rdb_bgsave_in_progress",
    ];
    zero.iter().for_each(|name| lines.line(name, 0));
    lines.line("rdb_changes_since_last_save", cx.node.total(|stats| stats.changes.get()));
    lines.line("rdb_last_save_time", cx.node.started_ms / 1000);
    lines.line("rdb_last_bgsave_status", "ok");
    lines.line("rdb_last_bgsave_time_sec", -1);
    lines.line("rdb_current_bgsave_time_sec", -1);
    lines.line("rdb_saves", 0);
    lines.line("rdb_last_cow_size", 0);
    for name in ["aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled"] {
        lines.line(name, 0);
    }
    lines.line("aof_last_rewrite_time_sec", -1);
    lines.line("aof_current_rewrite_time_sec", -1);
    lines.line("aof_last_bgrewrite_status", "ok");
    lines.line("aof_last_write_status", "ok");
    lines.line("aof_last_cow_size", 0);
    lines.line("module_fork_in_progress", 0);
    lines.line("module_fork_last_cow_size", 0);
}

/// `# Replication`
pub fn replication(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let shard = &cx.node.shard;
    let (offset, summary) = (shard.last_offset(), shard.replication());
    if matches!(shard.role(), Role::Replica | Role::Joining) {
        lines.line("role", "slave");
        let primary = primary(cx);
        lines.line("master_host", primary.as_ref().map_or("", |info| info.host.as_str()));
        lines.line("master_port", primary.as_ref().map_or(0, |info| info.port));
        lines.line("master_link_status", if summary.streaming { "up" } else { "down" });
        let silent_s = match summary.heard_ns {
            0 => -1,
            heard_ns => (cx.now.boottime_ns.saturating_sub(heard_ns) / 1_000_000_000) as i64,
        };
        let linked = summary.streaming || summary.syncing.is_some();
        lines.line("master_last_io_seconds_ago", if linked { silent_s } else { -1 });
        lines.line("master_sync_in_progress", u8::from(summary.syncing.is_some()));
        if !summary.streaming {
            lines.line("master_link_down_since_seconds", silent_s);
        }
        lines.line("slave_read_repl_offset", offset);
        lines.line("slave_repl_offset", offset);
        lines.line("slave_priority", 100);
        lines.line("slave_read_only", 1);
        lines.line("replica_announced", 1);
        lines.line("connected_slaves", 0);
    } else {
        lines.line("role", "master");
        let replicas = replicas(cx);
        lines.line("connected_slaves", replicas.len());
        for (index, replica) in replicas.iter().enumerate() {
            let Replica { info, state, offset, lag_s } = replica;
            lines.line(
                format_args!("slave{index}"),
                format_args!("ip={},port={},state={state},offset={offset},lag={lag_s}", info.host, info.port),
            );
        }
    }
    members(cx, lines);
    lines.line("master_failover_state", "no-failover");
    lines.line("master_replid", &cx.node.run_id);
    lines.line("master_replid2", "0".repeat(40));
    lines.line("master_repl_offset", offset);
    lines.line("second_repl_offset", -1);
    lines.line("repl_backlog_active", u8::from(shard.role() != Role::Plain));
    // Offsets count records; sizes are bytes.
    lines.line("repl_backlog_size", summary.backlog_bounds.kept_bytes);
    lines.line("repl_backlog_first_byte_offset", summary.backlog_first);
    lines.line("repl_backlog_histlen", summary.backlog_bytes);
}

/// Beside Redis's fields: who is in which set and how far behind, what was lost, the last change of primary.
fn members(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let (view, summary) = (cx.node.shard.view(), cx.node.shard.replication());
    let Some(view) = view.as_ref() else { return };
    let Some(state) = view.shard.and_then(|shard| view.map.shard(shard)) else { return };
    let leads = state.primary == Some(view.me);
    lines.line("torc_shard_term", state.term.0);
    lines.line("torc_failover_pending", u8::from(state.pending_term.is_some()));
    let remembers = remembers(summary.whole, summary.last);
    lines.line("torc_waits_for_person", u8::from(state.is_forgotten() && remembers));
    lines.line("torc_shard_failovers", state.failovers);
    for (index, id) in state.members.iter().enumerate() {
        let Some(node) = view.map.node(*id) else { continue };
        let member = node.member();
        let standing =
            match (state.primary, state.in_sync.contains(&member), state.eligible.contains(&member)) {
                (Some(primary), ..) if primary == member => "primary",
                (_, true, _) => "in-sync",
                (_, _, true) => "eligible",
                _ => "behind",
            };
        let known = summary.replicas.iter().find(|replica| replica.member == member);
        // Only the primary knows how far the others are.
        let progress = match known.filter(|_| leads) {
            _ if !leads || member == view.me => String::new(),
            Some(replica) => {
                let silent_ms = cx.now.boottime_ns.saturating_sub(replica.heard_ns) / 1_000_000;
                match replica.acked {
                    Some(acked) => {
                        let behind = summary.last.offset.0.saturating_sub(acked.0);
                        format!(",link=up,lag_records={behind},heard_ms_ago={silent_ms}")
                    }
                    None => {
                        let link = replica.syncing.map_or("down", SyncKind::name);
                        format!(",link={link},heard_ms_ago={silent_ms}")
                    }
                }
            }
            None => ",link=never".to_owned(),
        };
        lines.line(
            format_args!("torc_member{index}"),
            format_args!("node={},addr={},standing={standing}{progress}", id.0, node.address()),
        );
    }
    if let Some(last) = &state.last_promotion {
        lines.line(
            "torc_last_promotion",
            format_args!(
                "term={},from={},to={},reason={},silent_ms={},lost_records={}",
                last.term.0,
                last.from.map_or(0, |member| member.node.0),
                last.to.node.0,
                last.reason.name(),
                last.cost.silent_ms,
                last.cost.lost_records
            ),
        );
    }
    let Fed { partial_syncs, slot_syncs, full_syncs, cut_off, slots, full_bytes } = summary.fed;
    lines.line(
        "torc_resyncs_served",
        format_args!("partial={partial_syncs},slots={slot_syncs},full={full_syncs}"),
    );
    lines.line("torc_replicas_cut_off", cut_off);
    let Progress { slots_compared, slots_sent, bytes } = slots;
    lines.line(
        "torc_resync_sent",
        format_args!(
            "slots_compared={slots_compared},slots_sent={slots_sent},slot_bytes={bytes},full_bytes={full_bytes}"
        ),
    );
    lines.line("torc_syncs_taken", format_args!("slots={},full={}", summary.slot_syncs, summary.full_syncs));
    lines.line("torc_dropped_records", summary.dropped_records);
    if let Some(dropped) = summary.last_dropped {
        lines.line("torc_last_dropped", dropped);
    }
}

/// `# Cluster`
pub fn cluster(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    lines.line("cluster_enabled", u8::from(cx.node.shard.role() != Role::Plain));
}

/// `# Keyspace`
pub fn keyspace(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    for db in databases(cx) {
        lines.line(
            format_args!("db{}", db.index),
            format_args!("keys={},expires={},avg_ttl={}", db.keys, db.expires, db.mean_ttl_ms()),
        );
    }
}

/// `# Torc`: what Redis has no field for.
pub fn torc(cx: &mut Cx<'_, '_>, lines: &mut Lines) {
    let shard = &cx.node.shard;
    lines.line("torc_role", shard.role().name());
    lines.line("torc_workers", cx.node.stats.len());
    lines.line("torc_term", shard.term().0);
    lines.line("torc_last_offset", shard.last_offset());
    lines.line("torc_high_water_mark", shard.mark());
    let left_ms = shard.lease_until_ns().saturating_sub(cx.now.boottime_ns) / 1_000_000;
    lines.line("torc_lease_remaining_ms", left_ms);
    lines.line("torc_uncertain_replies", cx.node.total(|s| s.uncertain.get()));
    lines.line("torc_refused_without_replicas", cx.node.total(|s| s.no_replicas.get()));
    lines.line("torc_redirected", cx.node.total(|s| s.redirected.get()));
    if let Some(view) = shard.view().as_ref() {
        lines.line("torc_cluster", &view.map.cluster_name);
        lines.line("torc_epoch", view.map.epoch.0);
        lines.line("torc_node", view.me.node.0);
        lines.line("torc_shard", view.shard.map_or(-1, |shard| i64::from(shard.0)));
    }
}
