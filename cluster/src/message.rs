//! What nodes and the controller say to each other. The frames that carry it are the bus's business.

use crate::history::History;
use crate::ids::{Epoch, Member, Offset, Position, ShardId, Term};
use serde::{Deserialize, Serialize};

/// Shards one heartbeat may speak of.
pub const MAX_REPORTS: usize = crate::map::MAX_SHARDS;

/// A node to the controller, every `renew_ms`: it is alive, and wants its leases renewed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub from: Member,
    /// Rises with each heartbeat of this incarnation.
    pub sent_id: u64,
    /// The map the node has.
    pub epoch: Epoch,
    /// Every worker made progress within `worker_stall_ms`. Leases are not renewed otherwise.
    pub healthy: bool,
    /// The node is about to leave (shutdown, drain): others are preferred.
    pub leaving: bool,
    pub shards: Vec<ShardReport>,
}

/// What a member says of one of its shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    pub shard: ShardId,
    /// The term this member serves or follows.
    pub term: Term,
    /// The last record it holds.
    pub last: Position,
    /// It holds all records up to `last`; not so in the middle of a sync. Who does not say it may hold them.
    #[serde(default = "may_be_whole")]
    pub whole: bool,
    /// The high-water mark it knows.
    pub mark: Offset,
    /// It is the primary of `term` and wants to stay that.
    pub wants_lease: bool,
    /// It is the primary of `term` and serves no more, in this term never again.
    pub handed_back: bool,
}

fn may_be_whole() -> bool {
    true
}

impl ShardReport {
    /// As [`remembers`].
    pub fn remembers(&self) -> bool {
        remembers(self.whole, self.last)
    }
}

/// Whether a member could go on with what it holds: a history with records, all of them there.
pub fn remembers(whole: bool, last: Position) -> bool {
    whole && last.term > Term::NONE
}

/// The controller's answer to one heartbeat, given after a quorum confirmed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    pub to: Member,
    pub sent_id: u64,
    pub epoch: Epoch,
    pub grants: Vec<Grant>,
    pub denials: Vec<(ShardId, Denial)>,
    /// Shards whose primary shall stop, let its replicas catch up and hand its lease back.
    pub step_down: Vec<(ShardId, Term)>,
}

/// A lease of `lease_ms`, counted from when the heartbeat was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub shard: ShardId,
    pub term: Term,
    pub lease_ms: u64,
}

/// Why a lease was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denial {
    #[error("this incarnation is not registered")]
    NotRegistered,
    #[error("not the primary of this term")]
    NotPrimary,
    #[error("a failover is under way")]
    FailoverPending,
    #[error("the lease of this term was handed back")]
    HandedBack,
    #[error("the workers do not make progress")]
    Unhealthy,
}

/// The controller to a candidate: refuse every term below this one, then say where you are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealRequest {
    pub shard: ShardId,
    pub term: Term,
}

/// A candidate that has sealed `term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealReply {
    pub from: Member,
    pub shard: ShardId,
    pub term: Term,
    pub last: Position,
}

/// A replica to its primary, first thing on a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaHello {
    pub from: Member,
    pub shard: ShardId,
    /// The term whose primary it takes the other side for.
    pub term: Term,
    /// What it holds; empty when that is not whole (a sync was cut off).
    pub history: History,
    /// It has data, whole or not, of which what is as the primary's need not be sent again.
    #[serde(default)]
    pub holds_data: bool,
}

/// The primary's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloReply {
    /// Records follow, from the one after this offset.
    Continue { after: Offset },
    /// Discard every slot that either side touched after `common` (everything, when it is 0 or not known),
    /// then take them anew.
    Resync { common: Offset },
    /// Keep what is held, whatever it is, until it was compared with the primary's: what differs is taken anew. The
    /// records after `after` follow, to which both sides' histories agree, or at which the primary is.
    Compare { common: Offset, after: Offset },
    /// Ask again in a moment: the in-sync set must change first.
    Wait,
    /// Not (or not any more) the primary of that term.
    NotPrimary { term: Term },
}
