//! What clients can see of replication: ROLE, WAIT, WAITAOF, REPLICAOF.

use torc_cluster::map::NodeInfo;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::families::connection::timeout_ms;
use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow, Park, parse};
use crate::shard::Role;

const WAIT_ON_REPLICA: &str = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 \
     if a replica is configured to be writable (which is not the default) writes to replicas are just local and are \
     not propagated.";
const WAITAOF_ON_REPLICA: &str = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to \
     replicas are just local and are not propagated.";
const NO_APPEND_ONLY_FILE: &str =
    "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

fn is_replica(cx: &Cx<'_, '_>) -> bool {
    matches!(cx.node.shard.role(), Role::Replica | Role::Joining)
}

/// How many replicas have acknowledged an offset.
fn acknowledged(cx: &Cx<'_, '_>, offset: u64) -> usize {
    cx.node.shard.watch_acked().borrow().iter().filter(|at| **at >= offset).count()
}

/// `WAIT numreplicas timeout`
pub fn wait(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if is_replica(cx) {
        return Err(WAIT_ON_REPLICA.into());
    }
    let replicas = parse::integer(&args[1])?;
    let timeout_ms = timeout_ms(&args[2])?;
    let offset = cx.session.last_write;
    let count = acknowledged(cx, offset);
    let wanted = usize::try_from(replicas).unwrap_or(0);
    if count >= wanted || cx.depth != Depth::Command {
        cx.reply().integer(count as i64);
    } else {
        cx.flow = Flow::Park(Park::Replicas { offset, replicas: wanted, timeout_ms });
    }
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`: there is no file to wait for, here or on replicas.
pub fn waitaof(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let local = parse::integer(&args[1])?;
    if !(0..=1).contains(&local) {
        return Err("ERR value is out of range, value must between 0 and 1".into());
    }
    if parse::integer(&args[2])? < 0 {
        return Err(CommandError::from(text::OUT_OF_RANGE_POSITIVE));
    }
    timeout_ms(&args[3])?;
    if is_replica(cx) {
        return Err(WAITAOF_ON_REPLICA.into());
    }
    if local > 0 {
        return Err(NO_APPEND_ONLY_FILE.into());
    }
    let mut reply = cx.reply();
    reply.array(2);
    reply.integer(0);
    reply.integer(0);
    Ok(())
}

/// `REPLICAOF host port | NO ONE`
pub fn replicaof(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let no_one = args[1].eq_ignore_ascii_case(b"no") && args[2].eq_ignore_ascii_case(b"one");
    if no_one && cx.node.shard.role() == Role::Plain {
        cx.reply().ok();
        return Ok(());
    }
    Err(text::REPLICAOF.into())
}

/// A replica that is connected to this primary.
pub struct Replica {
    /// Its addresses.
    pub info: NodeInfo,
    /// `online`, or `send_bulk` while a full sync is sent to it.
    pub state: &'static str,
    /// What it has acknowledged.
    pub offset: u64,
    /// Seconds since it was heard of.
    pub lag_s: u64,
}

/// Replicas that are connected to this primary, as of its last heartbeat.
pub fn replicas(cx: &Cx<'_, '_>) -> Vec<Replica> {
    let view = cx.node.shard.view();
    let Some(view) = view.as_ref() else { return Vec::new() };
    let summary = cx.node.shard.replication();
    let connected =
        summary.replicas.iter().filter(|replica| replica.acked.is_some() || replica.syncing.is_some());
    connected
        .filter_map(|replica| {
            Some(Replica {
                info: view.map.node(replica.member.node)?.clone(),
                state: if replica.acked.is_some() { "online" } else { "send_bulk" },
                offset: replica.acked.map_or(0, |offset| offset.0),
                lag_s: cx.now.boottime_ns.saturating_sub(replica.heard_ns) / 1_000_000_000,
            })
        })
        .collect()
}

/// The primary of this node's shard.
pub fn primary(cx: &Cx<'_, '_>) -> Option<NodeInfo> {
    let view = cx.node.shard.view();
    let view = view.as_ref().as_ref()?;
    view.map.primary_of(view.shard?).map(|(info, _)| info.clone())
}

/// `ROLE`
pub fn role(cx: &mut Cx<'_, '_>) -> CommandResult {
    let offset = cx.node.shard.last_offset() as i64;
    if is_replica(cx) {
        let (primary, summary) = (primary(cx), cx.node.shard.replication());
        let mut reply = cx.reply();
        reply.array(5);
        reply.bulk(b"slave");
        let (host, port) = primary.as_ref().map_or(("", 0), |info| (info.host.as_str(), info.port));
        reply.bulk(host.as_bytes());
        reply.integer(i64::from(port));
        reply.bulk(match (summary.streaming, summary.syncing.is_some()) {
            (true, _) => b"connected",
            (false, true) => b"sync",
            (false, false) => b"connect",
        });
        reply.integer(offset);
        return Ok(());
    }
    let replicas: Vec<_> = replicas(cx).into_iter().filter(|replica| replica.state == "online").collect();
    let mut reply = cx.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(offset);
    reply.array(replicas.len());
    for replica in replicas {
        reply.array(3);
        reply.bulk(replica.info.host.as_bytes());
        reply.bulk_integer(i64::from(replica.info.port));
        reply.bulk_integer(replica.offset as i64);
    }
    Ok(())
}
