//! What the map knows of a shard: the part of it that only consensus may change.

use crate::ids::{Member, NodeId, SetVersion, ShardId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why a shard got its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromotionReason {
    /// The shard's first term.
    First,
    /// The lease of the primary before ran out.
    LeaseExpired,
    /// The primary before gave its lease back (shutdown, hang, asked to by a person).
    HandedBack,
    /// No eligible member kept its memory: the shard started empty.
    Reset,
    /// A person gave up what the eligible members hold.
    Unclean,
}

impl PromotionReason {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::LeaseExpired => "lease-expired",
            Self::HandedBack => "handed-back",
            Self::Reset => "reset",
            Self::Unclean => "unclean",
        }
    }
}

/// What a change of primary cost, as far as its controller could tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionCost {
    /// From when the primary before was heard of last, or gave its lease back, until the promotion was proposed (ms). A
    /// controller that took over and never heard of it counts from when it began to look for another.
    pub silent_ms: u64,
    /// Records that the primary before had reported and the new one does not hold: acknowledged `primary` at most, and
    /// lost. What it had no time to report is not counted here; it counts that itself when it comes back.
    pub lost_records: u64,
}

/// The last change of primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    pub from: Option<Member>,
    pub to: Member,
    pub term: Term,
    pub reason: PromotionReason,
    #[serde(default)]
    pub cost: PromotionCost,
}

/// A replica group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardState {
    pub id: ShardId,
    /// Share of slots beside other shards.
    pub weight: u32,
    /// Replicas beside the primary.
    pub replicas_wanted: u8,
    /// Assigned nodes, the one that should rather be primary first.
    pub members: Vec<NodeId>,
    /// Term of `primary`; 0 before the first one.
    pub term: Term,
    /// The term that a failover under way will have. While it is set nobody is granted a lease for `term`:
    /// a controller that takes over goes on with it.
    pub pending_term: Option<Term>,
    pub primary: Option<Member>,
    /// Members that every `in-sync` acknowledgement needs; the primary is one of them.
    pub in_sync: BTreeSet<Member>,
    /// Members outside of the set that hold everything up to the high-water mark, which stands still while the set is
    /// below `min_in_sync`: they left it then, or came back later and were found to hold that much. They may be promoted.
    pub eligible: BTreeSet<Member>,
    pub set_version: SetVersion,
    /// Promotions after the first.
    pub failovers: u64,
    /// Times the shard started empty because nobody remembered.
    pub resets: u64,
    /// Promotions from outside the sets, asked for by a person.
    pub unclean: u64,
    /// The term in which the shard last started empty: locks and fences are closed in it for `max_lock_ttl_ms`.
    pub reset_term: Option<Term>,
    pub last_promotion: Option<Promotion>,
}

impl ShardState {
    /// In-sync and eligible members: those a promotion may choose from.
    pub fn candidates(&self) -> BTreeSet<Member> {
        self.in_sync.union(&self.eligible).copied().collect()
    }

    /// Whether a member is one of the candidates.
    pub fn is_candidate(&self, member: Member) -> bool {
        self.in_sync.contains(&member) || self.eligible.contains(&member)
    }

    /// Whether every in-sync and eligible member is proved gone: nobody may be promoted any more. The shard starts empty,
    /// or waits for a person when a member outside of the sets remembers.
    pub fn is_forgotten(&self) -> bool {
        self.term > Term::NONE && self.in_sync.is_empty() && self.eligible.is_empty()
    }

    /// Whether this member is the primary of this term, and nothing is under way to replace it.
    pub fn is_reigning(&self, member: Member, term: Term) -> bool {
        self.term == term && self.primary == Some(member) && self.pending_term.is_none()
    }
}
