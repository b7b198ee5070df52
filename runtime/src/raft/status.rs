//! What a voter knows of itself and its leader, as plain values.

use std::collections::BTreeMap;

use openraft::{BasicNode, RaftMetrics, ServerState};
use serde::Serialize;

use super::types::VoterId;

/// A voter and where its bus listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its node id.
    pub id: VoterId,
    /// Its bus address as kept in the membership, `HOST:PORT`.
    pub address: String,
}

/// Who leads, as far as this voter knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leadership {
    /// The term of consensus (not a shard's term).
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<Peer>,
    /// Whether it is this voter. Only a hint: [`super::Consensus::confirm_leadership`] is proof.
    pub is_self: bool,
}

/// The part a node plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Receives the log but has no vote (also a node that belongs to no cluster yet).
    Learner,
    /// Follows a leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
    /// Has stopped.
    Stopped,
}

/// The state of a voter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsensusStatus {
    /// This node.
    pub id: VoterId,
    /// Its part.
    pub role: Role,
    /// Term and leader.
    pub leadership: Leadership,
    /// Index of the last entry of the log.
    pub last_log: Option<u64>,
    /// Index of the last applied entry.
    pub applied: Option<u64>,
    /// Index up to which the last snapshot goes.
    pub snapshot: Option<u64>,
    /// Index up to which entries were dropped.
    pub purged: Option<u64>,
    /// The voters and their addresses.
    pub voters: BTreeMap<VoterId, String>,
    /// Nodes that receive the log without a vote.
    pub learners: BTreeMap<VoterId, String>,
    /// Why this voter has stopped, when it has not been asked to.
    pub failure: Option<String>,
}

impl ConsensusStatus {
    pub(super) fn from_openraft(metrics: &RaftMetrics<VoterId, BasicNode>) -> Self {
        let membership = metrics.membership_config.membership();
        let address = |id: VoterId| membership.get_node(&id).map(|node| node.addr.clone());
        let voter_ids: Vec<VoterId> = membership.voter_ids().collect();
        let (mut voters, mut learners) = (BTreeMap::new(), BTreeMap::new());
        for (id, node) in membership.nodes() {
            let side = if voter_ids.contains(id) { &mut voters } else { &mut learners };
            side.insert(*id, node.addr.clone());
        }
        let leader = metrics.current_leader.map(|id| Peer { id, address: address(id).unwrap_or_default() });
        let is_self = metrics.current_leader == Some(metrics.id) && metrics.state == ServerState::Leader;
        let failure = match &metrics.running_state {
            Ok(()) | Err(openraft::error::Fatal::Stopped) => None,
            Err(fatal) => Some(fatal.to_string()),
        };
        let role = match (&metrics.running_state, metrics.state) {
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
            (_, ServerState::Learner) => Role::Learner,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Leader) => Role::Leader,
        };
        Self {
            id: metrics.id,
            role,
            leadership: Leadership {
                term: metrics.current_term,
                leader,
                is_self: is_self && failure.is_none(),
            },
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|log_id| log_id.index),
            snapshot: metrics.snapshot.map(|log_id| log_id.index),
            purged: metrics.purged.map(|log_id| log_id.index),
            voters,
            learners,
            failure,
        }
    }
}
