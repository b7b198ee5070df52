//! The map in Redis Cluster's forms.
//!
//! A node's id is its number as forty hex digits. Replicas that are not in the in-sync set are left out of
//! CLUSTER SLOTS, so that clients which read from replicas keep away from them.

use std::fmt::Write;

use torc_cluster::ids::{NodeId, ShardId};
use torc_cluster::map::{ClusterMap, NodeInfo, ShardState};
use torc_protocol::error as text;
use torc_protocol::resp::ReplyWriter;
use torc_protocol::slot::SLOTS;

use crate::exec::{CommandResult, Cx};
use crate::shard::View;

fn id(node: NodeId) -> String {
    format!("{:040x}", node.0)
}

fn is_address(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok()
}

/// Runs `write` with the map, or says that there is none yet.
fn with_view(cx: &mut Cx<'_, '_>, write: impl FnOnce(&View, &mut Cx<'_, '_>)) -> CommandResult {
    let view = cx.node.shard.view();
    let Some(view) = view.as_ref() else { return Err(text::CLUSTERDOWN.into()) };
    write(view, cx);
    Ok(())
}

/// The primary of a shard, then its replicas (`in_sync`: only those that are in the set).
fn members<'m>(map: &'m ClusterMap, shard: &ShardState, in_sync: bool) -> Vec<&'m NodeInfo> {
    let primary = map.primary_of(shard.id).map(|(info, _)| info);
    let replicas = shard.members.iter().filter(|node| shard.primary.is_none_or(|p| p.node != **node));
    let replicas = replicas
        .filter_map(|node| map.node(*node))
        .filter(|info| !in_sync || shard.in_sync.contains(&info.member()));
    primary.into_iter().chain(replicas).collect()
}

/// `CLUSTER MYID`
pub fn my_id(cx: &mut Cx<'_, '_>) -> CommandResult {
    with_view(cx, |view, cx| cx.reply().bulk(id(view.me.node).as_bytes()))
}

/// `CLUSTER INFO`
pub fn info(cx: &mut Cx<'_, '_>) {
    let view = cx.node.shard.view();
    let none = ClusterMap::default();
    let map = view.as_ref().as_ref().map_or(&none, |view| &*view.map);
    let assigned = map.slots.assigned();
    let led = |shard: &&ShardState| map.primary_of(shard.id).is_some();
    let served: usize = map.shards.values().filter(led).map(|shard| map.slots.count_of(shard.id)).sum();
    let size = map.shards.values().filter(led).count();
    let whole = served == usize::from(SLOTS);
    let term = cx.node.shard.term().0;
    let mut lines = String::new();
    for (name, value) in [
        ("cluster_enabled", "1".to_owned()),
        ("cluster_state", if whole { "ok" } else { "fail" }.to_owned()),
        ("cluster_slots_assigned", assigned.to_string()),
        ("cluster_slots_ok", served.to_string()),
        ("cluster_slots_pfail", "0".to_owned()),
        ("cluster_slots_fail", assigned.saturating_sub(served).to_string()),
        ("cluster_known_nodes", map.nodes.len().to_string()),
        ("cluster_size", size.to_string()),
        ("cluster_current_epoch", map.epoch.0.to_string()),
        ("cluster_my_epoch", term.to_string()),
        ("cluster_stats_messages_sent", "0".to_owned()),
        ("cluster_stats_messages_received", "0".to_owned()),
        ("total_cluster_links_buffer_limit_exceeded", "0".to_owned()),
    ] {
        // Writing to a string does not fail.
        let _ = write!(lines, "{name}:{value}\r\n");
    }
    cx.reply().verbatim(b"txt", lines.as_bytes());
}

/// One node in CLUSTER SLOTS.
fn slots_node(reply: &mut ReplyWriter<'_>, info: &NodeInfo) {
    reply.array(4);
    reply.bulk(info.host.as_bytes());
    reply.integer(i64::from(info.port));
    reply.bulk(id(info.id).as_bytes());
    reply.map(0);
}

/// `CLUSTER SLOTS`
pub fn slots(cx: &mut Cx<'_, '_>) -> CommandResult {
    with_view(cx, |view, cx| {
        let map = &*view.map;
        let served = |shard: ShardId| map.primary_of(shard).is_some();
        let ranges: Vec<_> = map.slots.ranges().into_iter().filter(|range| served(range.shard)).collect();
        let mut reply = cx.reply();
        reply.array(ranges.len());
        for range in ranges {
            let nodes = map.shard(range.shard).map(|shard| members(map, shard, true)).unwrap_or_default();
            reply.array(2 + nodes.len());
            reply.integer(i64::from(range.first));
            reply.integer(i64::from(range.last));
            nodes.iter().for_each(|info| slots_node(&mut reply, info));
        }
    })
}

/// `CLUSTER SHARDS`
pub fn shards(cx: &mut Cx<'_, '_>) -> CommandResult {
    with_view(cx, |view, cx| {
        let (map, offset) = (&*view.map, cx.node.shard.last_offset());
        let mut reply = cx.reply();
        reply.array(map.shards.len());
        for shard in map.shards.values() {
            let ranges = map.slots.ranges_of(shard.id);
            reply.map(2);
            reply.bulk(b"slots");
            reply.array(ranges.len() * 2);
            for range in ranges {
                reply.integer(i64::from(range.first));
                reply.integer(i64::from(range.last));
            }
            reply.bulk(b"nodes");
            let nodes = members(map, shard, false);
            reply.array(nodes.len());
            for info in nodes {
                let primary = shard.primary.is_some_and(|primary| primary == info.member());
                // Only its own shard's progress is known to a node.
                let offset = if view.shard == Some(shard.id) { offset } else { 0 };
                let in_sync = shard.in_sync.contains(&info.member());
                shards_node(&mut reply, info, primary, offset, primary || in_sync);
            }
        }
    })
}

fn shards_node(reply: &mut ReplyWriter<'_>, info: &NodeInfo, primary: bool, offset: u64, healthy: bool) {
    let named = !is_address(&info.host);
    reply.map(7 + usize::from(named));
    reply.bulk(b"id");
    reply.bulk(id(info.id).as_bytes());
    reply.bulk(b"port");
    reply.integer(i64::from(info.port));
    reply.bulk(b"ip");
    reply.bulk(info.host.as_bytes());
    reply.bulk(b"endpoint");
    reply.bulk(info.host.as_bytes());
    if named {
        reply.bulk(b"hostname");
        reply.bulk(info.host.as_bytes());
    }
    reply.bulk(b"role");
    reply.bulk(if primary { b"master" } else { b"replica" });
    reply.bulk(b"replication-offset");
    reply.integer(offset as i64);
    reply.bulk(b"health");
    reply.bulk(if healthy { b"online" } else { b"loading" });
}

/// `CLUSTER NODES`
pub fn nodes(cx: &mut Cx<'_, '_>) -> CommandResult {
    with_view(cx, |view, cx| {
        let map = &*view.map;
        let mut lines = String::new();
        for info in map.nodes.values() {
            nodes_line(view, map, info, &mut lines);
        }
        cx.reply().verbatim(b"txt", lines.as_bytes());
    })
}

fn nodes_line(view: &View, map: &ClusterMap, info: &NodeInfo, lines: &mut String) {
    let shard = map.shards_of_node(info.id).next();
    let primary = shard.and_then(|shard| shard.primary);
    let leads = primary.is_some_and(|primary| primary == info.member());
    let mut flags = if info.id == view.me.node { "myself," } else { "" }.to_owned();
    // A node without a shard is, in Redis's words, a master without slots.
    let is_replica = !leads && primary.is_some();
    flags.push_str(if is_replica { "slave" } else { "master" });
    let master = primary.filter(|_| is_replica).map_or("-".to_owned(), |primary| id(primary.node));
    let epoch = shard.map_or(0, |shard| shard.term.0);
    let hostname = if is_address(&info.host) { String::new() } else { format!(",{}", info.host) };
    let _ = write!(
        lines,
        "{} {}:{}@{}{hostname} {flags} {master} 0 0 {epoch} connected",
        id(info.id),
        info.host,
        info.port,
        info.bus_port,
    );
    if let Some(shard) = shard.filter(|_| leads) {
        for range in map.slots.ranges_of(shard.id) {
            let _ = if range.first == range.last {
                write!(lines, " {}", range.first)
            } else {
                write!(lines, " {}-{}", range.first, range.last)
            };
        }
    }
    lines.push('\n');
}
