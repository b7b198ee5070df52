//! `torc status`: shards, primaries, in-sync sets, lag, terms, keys, memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use clap::Args;
use torc_cluster::ids::{Member, NodeId};
use torc_cluster::map::{ClusterMap, NodeInfo, ShardState};
use torc_server::agent::admin::{Local, Status};

use super::tool::{ClusterArgs, block_on};

/// Options of `torc status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// As JSON: the map, the leader's reports, every node about itself
    #[arg(long)]
    json: bool,
}

/// What all nodes said.
struct View {
    status: Status,
    locals: BTreeMap<NodeId, Local>,
}

/// Prints the status.
pub fn run(args: StatusArgs) -> Result<(), Box<dyn Error>> {
    block_on(async move {
        let (tool, ..) = args.cluster.tool()?;
        let tool = Arc::new(tool);
        let status = tool.status().await?;
        // All at once: those that are gone must not add up.
        let mut asked = tokio::task::JoinSet::new();
        for node in status.map.nodes.values() {
            let (tool, id, address) = (tool.clone(), node.id, node.bus_address());
            asked.spawn(async move { tool.status_of(&address).await.map(|status| (id, status.local)) });
        }
        let locals = asked.join_all().await.into_iter().flatten().collect();
        let view = View { status, locals };
        if args.json {
            let json = serde_json::json!({
                "map": view.status.map,
                "leader": view.status.leader.then_some(view.status.node),
                "reports": view.status.reports,
                "nodes": view.locals,
            });
            println!("{}", serde_json::to_string_pretty(&json)?);
        } else {
            print(&view);
        }
        Ok(())
    })
}

fn print(view: &View) {
    let map = &view.status.map;
    let leader = map.nodes.values().find(|n| {
        Some(n.bus_address()) == view.status.leader_address
            || (view.status.leader && n.id == view.status.node)
    });
    println!(
        "cluster {}   epoch {}   last term {}   {} nodes, {} answer   control plane led by {}",
        if map.is_initialised() { &map.cluster_name } else { "(not initialised)" },
        map.epoch,
        map.last_term,
        map.nodes.len(),
        view.locals.len(),
        leader.map_or_else(|| "nobody".to_owned(), NodeInfo::address)
    );
    for shard in map.shards.values() {
        println!();
        print_shard(view, map, shard);
    }
}

fn print_shard(view: &View, map: &ClusterMap, shard: &ShardState) {
    println!(
        "shard {}   slots {}   term {}   in sync {} of {}   failovers {}   resets {}{}",
        shard.id.0,
        map.slots.count_of(shard.id),
        shard.term,
        shard.in_sync.len(),
        usize::from(shard.replicas_wanted) + 1,
        shard.failovers,
        shard.resets,
        shard.pending_term.map_or_else(String::new, |term| format!("   FAILOVER to term {term} under way")),
    );
    let head = shard.primary.and_then(|p| view.locals.get(&p.node)).map_or(0, |local| local.last.offset.0);
    for id in &shard.members {
        let Some(node) = map.node(*id) else { continue };
        let standing = standing(shard, node.member());
        match view.locals.get(id) {
            None => println!("  {:<21} {standing:<18} does not answer", node.address()),
            Some(local) => println!(
                "  {:<21} {standing:<18} offset {:<9} lag {:<6} keys {:<8} memory {:<10} {}",
                node.address(),
                local.last.offset.0,
                head.saturating_sub(local.last.offset.0),
                local.keys,
                bytes(local.used_bytes),
                detail(shard, node.member(), local),
            ),
        }
    }
}

/// Where a member stands in its shard.
fn standing(shard: &ShardState, member: Member) -> &'static str {
    match (shard.primary == Some(member), shard.in_sync.contains(&member), shard.eligible.contains(&member)) {
        (true, ..) => "primary",
        (_, true, _) => "replica, in sync",
        (_, _, true) => "replica, eligible",
        _ => "replica, behind",
    }
}

fn detail(shard: &ShardState, member: Member, local: &Local) -> String {
    if shard.primary == Some(member) {
        return if local.lease_ms > 0 {
            format!("lease {} ms", local.lease_ms)
        } else {
            "NO LEASE".to_owned()
        };
    }
    if !local.whole { "full sync under way".to_owned() } else { String::new() }
}

fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}
