//! What tools ask a node over the bus (`FrameKind::Admin`), as JSON.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use torc_cluster::ids::{Member, NodeId, Offset, Position, ShardId, Term};
use torc_cluster::map::{ClusterMap, MapCommand, MapReply, NodeInfo, Promotion};

use crate::replication::Dropped;

/// A tool's request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminRequest {
    /// Who are you?
    Identity,
    /// Open a voter of the control plane (harmless when it is open).
    StartVoter,
    /// Set the first voters: node id → bus address. This node is one of them.
    InitVoters {
        /// The voters.
        voters: BTreeMap<u64, String>,
    },
    /// A change of the map, by consensus; answered by the leader only.
    Propose {
        /// The change.
        command: Box<MapCommand>,
    },
    /// Everything this node knows of the cluster.
    Status,
    /// Move the primary of a shard to another in-sync member; leader only.
    Failover {
        /// The shard.
        shard: ShardId,
        /// Where to, if it matters.
        to: Option<NodeId>,
        /// The term whose primary is to be replaced: once another has begun, saying it again does nothing.
        #[serde(default)]
        term: Option<Term>,
    },
    /// Promote a member from outside the sets, whatever is lost; leader only.
    Unclean {
        /// The shard.
        shard: ShardId,
        /// The member.
        to: Member,
        /// As in [`AdminRequest::Failover`].
        #[serde(default)]
        term: Option<Term>,
    },
}

/// The node's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminReply {
    /// To [`AdminRequest::Identity`].
    Identity(Identity),
    /// Done, or under way.
    Done,
    /// The map's answer to a proposal.
    Proposed {
        /// The answer.
        reply: MapReply,
    },
    /// To [`AdminRequest::Status`].
    Status(Box<Status>),
    /// Only the leader of the control plane does that; here is its bus address, if known.
    NotLeader {
        /// `host:port` of its bus.
        leader: Option<String>,
    },
    /// It did not work.
    Failed {
        /// Why, for people.
        error: String,
    },
}

/// Who a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// What it registers.
    pub info: NodeInfo,
    /// The name of the cluster that it was started for.
    pub cluster: String,
    /// It has a voter (which may not be initialised).
    pub voter: bool,
    /// Its voter has a log.
    pub initialised: bool,
    /// The map it knows is that of a running cluster.
    pub in_cluster: bool,
}

/// What a node knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The node that answers.
    pub node: NodeId,
    /// Its map.
    pub map: ClusterMap,
    /// Whether it leads the control plane.
    pub leader: bool,
    /// Bus address of the leader, as far as known.
    pub leader_address: Option<String>,
    /// Last reports of all members (only from the leader).
    pub reports: Vec<Report>,
    /// The node's own state.
    pub local: Local,
    /// The last changes of primaries that this node has seen, oldest first.
    #[serde(default)]
    pub promotions: Vec<SeenPromotion>,
}

/// A change of primary, as a node saw it happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenPromotion {
    /// The shard.
    pub shard: ShardId,
    /// When this node learnt of it (ms since 1970, by its wall clock).
    pub at_unix_ms: u64,
    /// Who, why, and what it cost.
    pub promotion: Promotion,
}

/// What a member said last of one of its shards.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The member.
    pub member: Member,
    /// The shard.
    pub shard: ShardId,
    /// How long ago, milliseconds.
    pub age_ms: u64,
    /// The term it serves or follows.
    pub term: Term,
    /// The last record it holds.
    pub last: Position,
    /// It holds all records up to `last`.
    #[serde(default)]
    pub whole: bool,
    /// The high-water mark it knows.
    pub mark: Offset,
}

/// A node about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Local {
    /// `primary`, `replica`, `joining`.
    pub role: String,
    /// The term it serves or follows.
    pub term: u64,
    /// The last record it holds.
    pub last: Position,
    /// The high-water mark.
    pub mark: u64,
    /// What is left of its lease, milliseconds; 0: none.
    pub lease_ms: u64,
    /// Keys in all databases.
    pub keys: u64,
    /// Bytes of the store.
    pub used_bytes: u64,
    /// False while a full sync is under way.
    pub whole: bool,
    /// Records dropped because a later primary never had them.
    pub dropped_records: u64,
    /// The last of them.
    #[serde(default)]
    pub last_dropped: Option<Dropped>,
    /// Whether it follows its primary's stream (replica only).
    #[serde(default)]
    pub streaming: bool,
    /// When it heard of its primary last, milliseconds ago; `None`: never (replica only).
    #[serde(default)]
    pub primary_silent_ms: Option<u64>,
}
