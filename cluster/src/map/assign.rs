//! Which nodes a shard lives on: spread over nodes and zones, the same from the same map.

use super::NodeInfo;
use crate::ids::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// How loaded the nodes are with shards.
pub(super) struct Loads<'a> {
    nodes: &'a BTreeMap<NodeId, NodeInfo>,
    /// Shards a node is a member of.
    members: BTreeMap<NodeId, u64>,
    /// Shards a node is the preferred primary of.
    primaries: BTreeMap<NodeId, u64>,
}

impl<'a> Loads<'a> {
    pub(super) fn new(nodes: &'a BTreeMap<NodeId, NodeInfo>) -> Self {
        Loads { nodes, members: BTreeMap::new(), primaries: BTreeMap::new() }
    }

    /// Counts a shard's members, the first of them as its primary.
    pub(super) fn count(&mut self, members: &[NodeId]) {
        for node in members {
            *self.members.entry(*node).or_default() += 1;
        }
        if let Some(first) = members.first() {
            *self.primaries.entry(*first).or_default() += 1;
        }
    }

    /// The node to add to a shard that has `members` already. Zones come first, then load per weight (for the
    /// first member: fewest primaries), then the lower id.
    pub(super) fn choose(&self, members: &[NodeId]) -> Option<NodeId> {
        let zones: BTreeSet<&str> = members
            .iter()
            .filter_map(|node| self.nodes.get(node))
            .map(|node| node.zone.as_str())
            .filter(|zone| !zone.is_empty())
            .collect();
        self.nodes
            .values()
            .filter(|node| node.weight > 0 && !members.contains(&node.id))
            .min_by_key(|node| {
                let of = |counts: &BTreeMap<NodeId, u64>| counts.get(&node.id).copied().unwrap_or(0);
                // Per weight, in thousandths.
                let per_weight = |count: u64| count.saturating_mul(1_000) / u64::from(node.weight);
                let primaries = if members.is_empty() { per_weight(of(&self.primaries)) } else { 0 };
                (zones.contains(node.zone.as_str()), primaries, per_weight(of(&self.members)), node.id)
            })
            .map(|node| node.id)
    }

    /// Members for one shard, at most `wanted`, fewer when there are not as many nodes.
    pub(super) fn fill(&mut self, mut members: Vec<NodeId>, wanted: usize) -> Vec<NodeId> {
        while members.len() < wanted {
            let Some(node) = self.choose(&members) else { break };
            members.push(node);
        }
        members
    }
}

/// Members for `shards` new shards of `wanted` members each: first all primaries, then the first replica of
/// every shard, and so on, so that each round is spread evenly.
pub(super) fn spread(nodes: &BTreeMap<NodeId, NodeInfo>, shards: u16, wanted: usize) -> Vec<Vec<NodeId>> {
    let mut all: Vec<Vec<NodeId>> = vec![Vec::new(); usize::from(shards)];
    for _ in 0..wanted {
        for shard in 0..all.len() {
            let mut loads = Loads::new(nodes);
            all.iter().for_each(|members| loads.count(members));
            let Some(node) = loads.choose(&all[shard]) else { continue };
            all[shard].push(node);
        }
    }
    all
}
