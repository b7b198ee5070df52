//! What can go wrong, one enum per door.

use super::status::Peer;
use super::store::StoreError;

/// Why a voter could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The settings contradict each other.
    #[error("bad consensus settings: {0}")]
    Config(String),
    /// The file cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The consensus core did not start.
    #[error("cannot start consensus: {0}")]
    Start(String),
}

/// Why the first membership could not be set.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a log already.
    #[error("this voter already belongs to a cluster")]
    AlreadyInitialised,
    /// This node is not among the voters.
    #[error("this node is not among the voters it was given")]
    NotAVoter,
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another voter leads, or none does. A command that was already in the log when leadership
    /// was lost may nevertheless be applied later.
    #[error("this voter does not lead{}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Peer>,
    },
    /// No outcome in time: the command may or may not be applied later.
    #[error("no outcome within {waited_ms} ms: the command may still be applied")]
    Timeout {
        /// How long we waited (ms).
        waited_ms: u64,
    },
    /// The command is too large for the log; it was not proposed.
    #[error("a command of {bytes} bytes is above the limit of {limit_bytes}")]
    TooLarge {
        /// Its size as JSON.
        bytes: usize,
        /// The bound.
        limit_bytes: usize,
    },
    /// Consensus has stopped: shut down, or its storage failed.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why leadership could not be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// Another voter leads, or none does.
    #[error("this voter does not lead{}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Peer>,
    },
    /// Too few voters answered in time.
    #[error("no quorum answered: {0}")]
    NoQuorum(String),
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why the membership was not changed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// Another voter leads, or none does.
    #[error("this voter does not lead{}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who leads, when known.
        leader: Option<Peer>,
    },
    /// The change was refused.
    #[error("the change of voters was refused: {0}")]
    Refused(String),
    /// No outcome in time: the change may still happen.
    #[error("no outcome within {waited_ms} ms: the change may still happen")]
    Timeout {
        /// How long we waited (ms).
        waited_ms: u64,
    },
    /// Consensus has stopped.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Why a peer's request was not answered. The connection should be closed.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The bytes are no request of ours.
    #[error("malformed raft request: {0}")]
    Malformed(String),
    /// The answer could not be written as JSON.
    #[error("cannot write the answer: {0}")]
    Render(String),
}

fn leader_text(leader: Option<&Peer>) -> String {
    leader.map_or_else(String::new, |peer| format!("; {} at {} does", peer.id, peer.address))
}
