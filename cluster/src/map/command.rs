//! The commands that consensus orders, and their answers.

use super::{NodeInfo, Policy, PromotionCost, Settings, User};
use crate::Slot;
use crate::ids::{Incarnation, Member, NodeId, SetVersion, ShardId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One change of the map. What has `expected_…` in it is a compare-and-set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MapCommand {
    /// Makes a cluster out of the nodes that are registered by now.
    InitCluster {
        name: String,
        shards: u16,
        /// Replicas beside the primary, of each shard.
        replicas: u8,
        settings: Settings,
    },
    /// A node says that it is there. A newer incarnation is the proof that the older one is gone.
    RegisterNode {
        info: NodeInfo,
    },
    /// A node leaves for good. Refused while a shard still counts on it.
    RemoveNode {
        node: NodeId,
    },
    /// Whether a node votes in the control plane.
    SetVoter {
        node: NodeId,
        voter: bool,
    },

    /// A controller takes over. It knows of no leases but those given since, so it has to wait for the older ones;
    /// and whoever reigned before and does not know that it is over promotes nobody any more.
    BeginReign {
        expected: u64,
    },
    /// Opens a failover: the term after all terms so far, as the shard's pending one. While one is pending
    /// the same is answered again.
    AllocateTerm {
        shard: ShardId,
        expected_term: Term,
    },
    /// Ends a failover. `in_sync` holds the primary and those that hold a part of its history and sealed.
    Promote {
        shard: ShardId,
        expected_term: Term,
        expected_set_version: SetVersion,
        new_term: Term,
        primary: Member,
        in_sync: BTreeSet<Member>,
        handed_back: bool,
        #[serde(default)]
        cost: PromotionCost,
        reign: u64,
    },
    /// Asked for by a person: promotes a member from outside the sets, whatever is lost.
    PromoteUnclean {
        shard: ShardId,
        expected_term: Term,
        new_term: Term,
        primary: Member,
        reign: u64,
    },
    /// A new in-sync set, proposed by the primary of `term`. Who is in `discard` leaves the eligible members
    /// too, because it is about to drop what it holds. Who is in `eligible` becomes one of them: it holds everything
    /// up to the mark, which stands still before and after, because neither the set that this is based on nor
    /// `in_sync` has `min_in_sync` members.
    ProposeSet {
        shard: ShardId,
        term: Term,
        by: Member,
        expected_set_version: SetVersion,
        in_sync: BTreeSet<Member>,
        discard: BTreeSet<Member>,
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        eligible: BTreeSet<Member>,
    },
    /// The shard starts empty: only when every in-sync and eligible incarnation is gone.
    ResetShard {
        shard: ShardId,
        expected_term: Term,
        new_term: Term,
        primary: Member,
        reign: u64,
    },

    /// A shard without slots. Without `members` nodes are chosen.
    AddShard {
        shard: ShardId,
        weight: u32,
        replicas: u8,
        members: Vec<NodeId>,
    },
    /// Refused while it owns slots.
    RemoveShard {
        shard: ShardId,
    },
    /// Changes where the ring wants slots to be; moves none.
    SetWeight {
        shard: ShardId,
        weight: u32,
    },
    /// Other nodes for a shard. Refused while one left out is its primary.
    SetMembers {
        shard: ShardId,
        members: Vec<NodeId>,
    },
    /// Slots change their owner: the commit of a hand-over.
    MoveSlots {
        from: ShardId,
        to: ShardId,
        slots: BTreeSet<Slot>,
    },

    /// Sets or replaces the policy of a prefix.
    SetPolicy {
        policy: Policy,
    },
    RemovePolicy {
        prefix: String,
    },
    SetUser {
        name: String,
        user: User,
    },
    RemoveUser {
        name: String,
    },
    SetSettings {
        settings: Settings,
    },
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapReply {
    /// Applied, or it held already.
    Done,
    /// The term that was given out.
    Term(Term),
    /// Nothing changed.
    Refused(Refusal),
}

impl MapReply {
    /// The reply as a result; `Ok` holds the term where one was given out.
    pub fn into_result(self) -> Result<Option<Term>, Refusal> {
        match self {
            MapReply::Done => Ok(None),
            MapReply::Term(term) => Ok(Some(term)),
            MapReply::Refused(refusal) => Err(refusal),
        }
    }
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("the cluster is initialised already, as '{0}'")]
    AlreadyInitialised(String),
    #[error("the cluster is not initialised yet")]
    NotInitialised,
    #[error("{needed} nodes are needed for one shard, {registered} registered")]
    NotEnoughNodes { needed: usize, registered: usize },
    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    #[error("shard {0} exists already")]
    ShardExists(ShardId),
    #[error("the registration of {node} is older than incarnation {current}")]
    StaleIncarnation { node: NodeId, current: Incarnation },
    #[error("the term is {current}, not the expected one")]
    StaleTerm { current: Term },
    #[error("controller reign {current} has begun")]
    StaleReign { current: u64 },
    #[error("the set version is {current}, not the expected one")]
    StaleSetVersion { current: SetVersion },
    #[error("a failover to term {0} is under way")]
    FailoverPending(Term),
    #[error("term {0} was not allocated for this shard")]
    TermNotAllocated(Term),
    #[error("all terms are used up")]
    TermsExhausted,
    #[error("{0} is not the primary of this term")]
    NotPrimary(Member),
    #[error("{0} is neither in-sync nor eligible")]
    NotCandidate(Member),
    #[error("{0} is not the registered incarnation of its node")]
    NotCurrent(Member),
    #[error("{0} is not assigned to the shard")]
    NotAssigned(NodeId),
    #[error("the set must hold the primary")]
    SetWithoutPrimary,
    #[error("{0} may still remember the shard")]
    StillRemembered(Member),
    #[error("node {node} is still needed by shard {shard}")]
    NodeInUse { node: NodeId, shard: ShardId },
    #[error("shard {shard} still owns {slots} slots")]
    ShardOwnsSlots { shard: ShardId, slots: usize },
    #[error("slot {0} does not belong to that shard")]
    NotOwner(Slot),
    #[error("{what}: at most {limit}")]
    TooMany { what: String, limit: usize },
    #[error("{0}")]
    Invalid(String),
}
