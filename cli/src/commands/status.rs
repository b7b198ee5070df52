//! `torc status`: shards, primaries, in-sync sets, lag, terms, keys, memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use torc_cluster::ids::{Member, NodeId, Position, Term};
use torc_cluster::map::{ClusterMap, NodeInfo, PromotionReason, ShardState};
use torc_cluster::message::remembers;
use torc_server::agent::admin::{Local, SeenPromotion, Status};

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

/// How long a node may take to answer: one that stands still must not hold up what the others say.
const NODE_TIME: Duration = Duration::from_secs(1);

/// Changes of primaries that are shown.
const SHOWN_PROMOTIONS: usize = 8;

/// What all nodes said.
struct View {
    status: Status,
    locals: BTreeMap<NodeId, Local>,
    /// Changes of primaries, oldest first.
    promotions: Vec<SeenPromotion>,
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
            asked.spawn(async move {
                let status = tokio::time::timeout(NODE_TIME, tool.status_of(&address)).await.ok()?.ok()?;
                Some((id, status))
            });
        }
        let said: Vec<(NodeId, Status)> = asked.join_all().await.into_iter().flatten().collect();
        let promotions = merge(said.iter().flat_map(|(_, status)| &status.promotions));
        let locals = said.into_iter().map(|(id, status)| (id, status.local)).collect();
        let view = View { status, locals, promotions };
        if args.json {
            let json = serde_json::json!({
                "map": view.status.map,
                "leader": view.status.leader.then_some(view.status.node),
                "reports": view.status.reports,
                "nodes": view.locals,
                "promotions": view.promotions,
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
    if !view.promotions.is_empty() {
        println!();
        println!("last changes of primaries:");
    }
    let now_ms = torc_runtime::clock::unix_ms();
    for seen in view.promotions.iter().rev().take(SHOWN_PROMOTIONS) {
        let address =
            |member: Member| map.node(member.node).map_or_else(|| member.to_string(), NodeInfo::address);
        println!("  {}", told(seen, now_ms, address));
    }
}

/// One line for each change of primary, whoever saw it; the earliest sight of it counts. Oldest first.
fn merge<'a>(seen: impl Iterator<Item = &'a SeenPromotion>) -> Vec<SeenPromotion> {
    let mut first: BTreeMap<Term, &SeenPromotion> = BTreeMap::new();
    for one in seen {
        // Terms are of the whole cluster: one names one change.
        let known = first.entry(one.promotion.term).or_insert(one);
        if one.at_unix_ms < known.at_unix_ms {
            *known = one;
        }
    }
    first.into_values().cloned().collect()
}

/// A change of primary in words.
fn told(seen: &SeenPromotion, now_ms: u64, address: impl Fn(Member) -> String) -> String {
    let promotion = &seen.promotion;
    let ago_s = now_ms.saturating_sub(seen.at_unix_ms) / 1000;
    let from = promotion.from.map_or_else(|| "nobody".to_owned(), &address);
    let why = match promotion.reason {
        PromotionReason::First => "the first primary".to_owned(),
        PromotionReason::LeaseExpired => {
            format!("the lease was over; silent for {} ms", promotion.cost.silent_ms)
        }
        PromotionReason::HandedBack => {
            format!("the lease was handed back {} ms before", promotion.cost.silent_ms)
        }
        PromotionReason::Reset => "NOBODY REMEMBERED: the shard started empty".to_owned(),
        PromotionReason::Unclean => "UNCLEAN, asked for by a person: writes are lost".to_owned(),
    };
    let lost = match promotion.cost.lost_records {
        0 => String::new(),
        lost => format!("; {lost} records acknowledged 'primary' at most are lost"),
    };
    format!(
        "{ago_s} s ago  shard {}  term {}  {from} -> {}: {why}{lost}",
        seen.shard.0,
        promotion.term,
        address(promotion.to)
    )
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
    if let Some(line) = waiting(map, shard, |node| view.locals.get(&node)) {
        println!("  {line}");
    }
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

/// What a person has to decide, when nobody is left who may be promoted, and others remember.
fn waiting<'a>(
    map: &ClusterMap,
    shard: &ShardState,
    local: impl Fn(NodeId) -> Option<&'a Local>,
) -> Option<String> {
    if !shard.is_forgotten() {
        return None;
    }
    let remembering: Vec<(&NodeInfo, Position)> = shard
        .members
        .iter()
        .filter_map(|id| {
            Some((map.node(*id)?, local(*id).filter(|local| remembers(local.whole, local.last))?.last))
        })
        .collect();
    let (most, _) = remembering.iter().max_by_key(|(_, last)| *last)?;
    let who: Vec<String> = remembering
        .iter()
        .map(|(node, last)| format!("node {} ({}) remembers up to {last}", node.id.0, node.address()))
        .collect();
    Some(format!(
        "WAITS FOR A PERSON: every in-sync and eligible member is gone; {}. To go on with that: \
         torc cluster failover-unclean {} --to {} --lose-writes",
        who.join(", "),
        shard.id.0,
        most.id.0
    ))
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
    let why = match (local.whole, local.streaming, local.primary_silent_ms) {
        (false, ..) => "sync under way".to_owned(),
        (true, true, _) => String::new(),
        (true, false, Some(ms)) => format!("not connected to its primary, heard of it {ms} ms ago"),
        (true, false, None) => "not connected to its primary".to_owned(),
    };
    match local.last_dropped {
        Some(dropped) => format!(
            "{why}{}dropped {} records in all, the last at offsets {} to {} of term {}",
            if why.is_empty() { "" } else { "; " },
            local.dropped_records,
            dropped.first.0,
            dropped.last.0,
            dropped.term
        ),
        None => why,
    }
}

fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_cluster::ids::{Incarnation, Offset, ShardId};
    use torc_cluster::map::{Promotion, PromotionCost};

    fn seen(term: u64, at_unix_ms: u64, reason: PromotionReason, cost: PromotionCost) -> SeenPromotion {
        let member = |id| Member::new(NodeId(id), Incarnation(7));
        let promotion = Promotion { from: Some(member(1)), to: member(2), term: Term(term), reason, cost };
        SeenPromotion { shard: ShardId(3), at_unix_ms, promotion }
    }

    #[test]
    fn a_shard_that_waits_says_for_whom_and_for_what() {
        let mut map = ClusterMap::default();
        for id in 1..=3 {
            let host = "h".to_owned();
            map.nodes
                .insert(NodeId(id), NodeInfo { id: NodeId(id), host, port: 7000, ..NodeInfo::default() });
        }
        let members = (1..=3).map(NodeId).collect();
        let mut shard = ShardState { id: ShardId(4), term: Term(9), members, ..ShardState::default() };
        let local = |offset, whole| {
            let last = Position::new(Term(8), Offset(offset));
            Local { last, whole, ..Local::default() }
        };
        let mut locals = BTreeMap::from([(NodeId(1), local(7, true)), (NodeId(2), local(9, false))]);
        locals.insert(NodeId(3), Local { whole: true, ..Local::default() });
        let line = waiting(&map, &shard, |node| locals.get(&node)).expect("it waits");
        assert!(line.contains("gone; node 1 (h:7000) remembers up to 8:7. To"), "{line}");
        assert!(line.ends_with("torc cluster failover-unclean 4 --to 1 --lose-writes"), "{line}");
        shard.eligible.insert(Member::new(NodeId(2), Incarnation(1)));
        assert_eq!(waiting(&map, &shard, |node| locals.get(&node)), None, "it may be promoted");
    }

    #[test]
    fn a_change_of_primary_is_one_line_whoever_saw_it() {
        let cost = PromotionCost { silent_ms: 512, lost_records: 4 };
        let lease = PromotionReason::LeaseExpired;
        let said = [seen(9, 5000, lease, cost), seen(8, 2000, lease, cost), seen(9, 4000, lease, cost)];
        let merged = merge(said.iter());
        assert_eq!(merged.iter().map(|s| s.at_unix_ms).collect::<Vec<_>>(), [2000, 4000]);
        let line = told(&merged[1], 10_000, |member| format!("host-{}", member.node.0));
        assert_eq!(
            line,
            "6 s ago  shard 3  term 9  host-1 -> host-2: the lease was over; silent for 512 ms; \
             4 records acknowledged 'primary' at most are lost"
        );
        let handed =
            seen(10, 0, PromotionReason::HandedBack, PromotionCost { silent_ms: 12, lost_records: 0 });
        assert!(told(&handed, 0, |m| m.to_string()).ends_with("the lease was handed back 12 ms before"));
    }
}
