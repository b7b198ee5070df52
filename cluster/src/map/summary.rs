//! The map as people and tools look at it: plain structs that serialize to JSON, and a text table.

use super::{ClusterMap, PromotionReason};
use crate::ids::{Epoch, Incarnation, Member, NodeId, ShardId, Term};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line per shard and node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSummary {
    pub cluster: String,
    pub epoch: Epoch,
    pub slots_assigned: usize,
    pub shards: Vec<ShardSummary>,
    pub nodes: Vec<NodeSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSummary {
    pub shard: ShardId,
    pub slots: usize,
    pub term: Term,
    pub pending_term: Option<Term>,
    pub primary: Option<Member>,
    /// RESP address of the primary.
    pub primary_address: Option<String>,
    pub members: Vec<NodeId>,
    pub in_sync: Vec<Member>,
    pub eligible: Vec<Member>,
    /// Whether `in-sync` writes are accepted.
    pub in_sync_writable: bool,
    pub failovers: u64,
    pub resets: u64,
    pub unclean: u64,
    pub last_promotion: Option<PromotionReason>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub address: String,
    pub zone: String,
    pub voter: bool,
    /// Shards it is the primary of.
    pub primary_of: Vec<ShardId>,
    /// Shards it is assigned to as a replica.
    pub replica_of: Vec<ShardId>,
}

impl ClusterMap {
    pub fn summary(&self) -> MapSummary {
        let is_primary = |node: NodeId, shard: &super::ShardState| {
            shard.primary.is_some_and(|primary| primary.node == node && self.is_current(primary))
        };
        MapSummary {
            cluster: self.cluster_name.clone(),
            epoch: self.epoch,
            slots_assigned: self.slots.assigned(),
            shards: self
                .shards
                .values()
                .map(|shard| ShardSummary {
                    shard: shard.id,
                    slots: self.slots.count_of(shard.id),
                    term: shard.term,
                    pending_term: shard.pending_term,
                    primary: shard.primary,
                    primary_address: self.primary_of(shard.id).map(|(node, _)| node.address()),
                    members: shard.members.clone(),
                    in_sync: shard.in_sync.iter().copied().collect(),
                    eligible: shard.eligible.iter().copied().collect(),
                    in_sync_writable: shard.in_sync.len() >= self.min_in_sync(shard),
                    failovers: shard.failovers,
                    resets: shard.resets,
                    unclean: shard.unclean,
                    last_promotion: shard.last_promotion.as_ref().map(|promotion| promotion.reason),
                })
                .collect(),
            nodes: self
                .nodes
                .values()
                .map(|node| NodeSummary {
                    node: node.id,
                    incarnation: node.incarnation,
                    address: node.address(),
                    zone: node.zone.clone(),
                    voter: node.control_voter,
                    primary_of: self
                        .shards_of_node(node.id)
                        .filter(|shard| is_primary(node.id, shard))
                        .map(|shard| shard.id)
                        .collect(),
                    replica_of: self
                        .shards_of_node(node.id)
                        .filter(|shard| !is_primary(node.id, shard))
                        .map(|shard| shard.id)
                        .collect(),
                })
                .collect(),
        }
    }
}

impl fmt::Display for MapSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cluster.is_empty() {
            writeln!(f, "not initialised, {} nodes registered", self.nodes.len())?;
        } else {
            writeln!(
                f,
                "cluster {}  epoch {}  slots {}/{}",
                self.cluster,
                self.epoch,
                self.slots_assigned,
                crate::SLOTS
            )?;
        }
        if !self.shards.is_empty() {
            writeln!(
                f,
                "{:<6} {:>6} {:>6}  {:<22} {:<12} in-sync",
                "shard", "slots", "term", "primary", "state"
            )?;
        }
        for shard in &self.shards {
            let state = match (shard.pending_term, &shard.primary_address, shard.in_sync_writable) {
                (Some(_), _, _) => "failing over",
                (None, None, _) => "no primary",
                (None, Some(_), false) => "degraded",
                (None, Some(_), true) => "ok",
            };
            let members: Vec<String> = shard.in_sync.iter().map(|member| member.node.to_string()).collect();
            writeln!(
                f,
                "{:<6} {:>6} {:>6}  {:<22} {:<12} {}",
                shard.shard.to_string(),
                shard.slots,
                shard.term.to_string(),
                shard.primary_address.as_deref().unwrap_or("-"),
                state,
                members.join(" ")
            )?;
        }
        for node in &self.nodes {
            let list =
                |shards: &[ShardId]| shards.iter().map(ShardId::to_string).collect::<Vec<_>>().join(" ");
            write!(f, "{:<6} {:<22} {:<8}", node.node.to_string(), node.address, node.zone)?;
            write!(f, " primary of [{}] replica of [{}]", list(&node.primary_of), list(&node.replica_of))?;
            writeln!(f, "{}", if node.voter { " voter" } else { "" })?;
        }
        Ok(())
    }
}
