//! The cluster map: who is in the cluster, who may lead which shard, which shard owns which slot.
//!
//! A map is a value. It changes only by [`ClusterMap::apply`] with a [`MapCommand`] that consensus has ordered;
//! everybody else holds a copy (usually behind an `Arc`) and asks for a newer one.

mod apply;
mod assign;
mod command;
mod node;
mod policy;
mod settings;
mod shard;
mod slots;
mod summary;
#[cfg(test)]
mod tests;

pub use command::{MapCommand, MapReply, Refusal};
pub use node::{ControlAddress, NodeInfo};
pub use policy::{Ack, DEFAULT_MAX_STALENESS_MS, Policy, ReadFrom, ReadLevel, User};
pub use settings::Settings;
pub use shard::{Promotion, PromotionCost, PromotionReason, ShardState};
pub use slots::SlotTable;
pub use summary::{MapSummary, NodeSummary, ShardSummary};

use crate::ids::{Epoch, Member, NodeId, ShardId, Term};
use crate::ring;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Nodes a map may hold.
pub const MAX_NODES: usize = 1_024;
/// Shards a map may hold.
pub const MAX_SHARDS: usize = 1_024;
/// Replicas beside the primary that a shard may have.
pub const MAX_REPLICAS: u8 = 8;
/// Policies a map may hold.
pub const MAX_POLICIES: usize = 1_024;
/// Users a map may hold.
pub const MAX_USERS: usize = 1_024;
/// Bytes of any name in the map: cluster, host, zone, prefix, user.
pub const MAX_NAME_BYTES: usize = 255;

/// The whole cluster in one value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterMap {
    /// Rises by one with each change.
    pub epoch: Epoch,
    /// Empty until the cluster is initialised.
    pub cluster_name: String,
    pub nodes: BTreeMap<NodeId, NodeInfo>,
    pub shards: BTreeMap<ShardId, ShardState>,
    pub slots: SlotTable,
    /// Longest matching prefix wins, see [`ClusterMap::policy_for`].
    pub policies: Vec<Policy>,
    pub users: BTreeMap<String, User>,
    pub settings: Settings,
    /// The longest lease that was ever in force: what a new controller has to wait for.
    pub longest_lease_ms: u64,
    /// The controller's reign: rises each time a controller takes over. Only the one that began the current
    /// reign promotes anybody, see [`MapCommand::BeginReign`].
    #[serde(default)]
    pub reign: u64,
    /// The last term that was given out; terms rise over all shards.
    pub last_term: Term,
}

impl ClusterMap {
    /// Whether `InitCluster` has been applied.
    pub fn is_initialised(&self) -> bool {
        !self.cluster_name.is_empty()
    }

    pub fn shard(&self, shard: ShardId) -> Option<&ShardState> {
        self.shards.get(&shard)
    }

    pub fn node(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(&node)
    }

    /// The shard that owns a slot, `None` before initialisation or for a slot out of range.
    pub fn shard_of_slot(&self, slot: crate::Slot) -> Option<&ShardState> {
        self.shards.get(&self.slots.owner(slot)?)
    }

    /// The primary of a shard with its addresses. `None` while the shard has none, or when that life of the
    /// node is over.
    pub fn primary_of(&self, shard: ShardId) -> Option<(&NodeInfo, Member)> {
        let member = self.shards.get(&shard)?.primary?;
        let node = self.nodes.get(&member.node)?;
        (node.incarnation == member.incarnation).then_some((node, member))
    }

    /// Whether this life of the node is the one that is registered.
    pub fn is_current(&self, member: Member) -> bool {
        self.nodes.get(&member.node).is_some_and(|node| node.incarnation == member.incarnation)
    }

    /// Shards that a node is assigned to.
    pub fn shards_of_node(&self, node: NodeId) -> impl Iterator<Item = &ShardState> {
        self.shards.values().filter(move |shard| shard.members.contains(&node))
    }

    /// The policy with the longest prefix that fits a key.
    pub fn policy_for(&self, key: &[u8]) -> Option<&Policy> {
        self.policies
            .iter()
            .filter(|policy| key.starts_with(policy.prefix.as_bytes()))
            .max_by_key(|policy| policy.prefix.len())
    }

    /// Nodes that vote in the control plane.
    pub fn voters(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.control_voter)
    }

    /// Members of the in-sync set that a shard needs before `in-sync` writes are accepted:
    /// `min_in_sync`, but never more than the shard may have at all.
    pub fn min_in_sync(&self, shard: &ShardState) -> usize {
        usize::from(self.settings.min_in_sync).min(usize::from(shard.replicas_wanted) + 1).max(1)
    }

    /// Where the ring would like each slot to be, given the shards and weights of now.
    pub fn wanted_slots(&self) -> SlotTable {
        let shards: Vec<_> = self.shards.values().map(|shard| (shard.id, shard.weight)).collect();
        ring::assign(&shards, ring::DEFAULT_EPSILON)
    }

    /// How long a lease given to a node may last on anybody else's clock, in ns.
    pub fn lease_bound_ns(&self) -> u64 {
        crate::map::settings::stretched_ns(
            self.longest_lease_ms.max(self.settings.lease_ms),
            self.settings.clock_rate_bound_ppm,
        )
    }
}
