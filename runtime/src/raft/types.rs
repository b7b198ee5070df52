//! The application's side of consensus, and openraft's type parameters for it.

use std::fmt::Debug;
use std::marker::PhantomData;

use openraft::{AsyncRuntime, BasicNode, Entry, RaftTypeConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is agreed on: a state that commands change, the same way on every voter.
///
/// A snapshot is the whole state as JSON, so it should stay in the order of megabytes (the bound
/// is [`super::rpc::MAX_RPC_BYTES`]).
pub trait RaftApp: Default + Clone + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// A log entry. A command may be applied although its proposer heard of an error, so commands
    /// should compare before they set.
    type Command: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What `apply` answers to the proposer.
    type Reply: Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What runs a voter's tasks, timers and dice: tokio ([`super::TokioRuntime`]), or a simulation's executor.
    type Runtime: AsyncRuntime;

    /// Applies a committed command. Must be deterministic and total: no clock, no randomness, no
    /// panic. A command that does not fit is answered with a reply that says so.
    fn apply(&mut self, command: Self::Command) -> Self::Reply;
}

pub use openraft::TokioRuntime;

/// openraft's type parameters for an application.
pub struct Types<A>(PhantomData<fn() -> A>);

/// What a voter is: a node id.
pub type VoterId = u64;
pub(super) type LogId = openraft::LogId<VoterId>;
pub(super) type Vote = openraft::Vote<VoterId>;
pub(super) type Membership = openraft::StoredMembership<VoterId, BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<VoterId, BasicNode>;
pub(super) type StorageError = openraft::StorageError<VoterId>;
pub(super) type StorageIOError = openraft::StorageIOError<VoterId>;
pub(super) type LogEntry<A> = Entry<Types<A>>;
pub(super) type Raft<A> = openraft::Raft<Types<A>>;

impl<A: RaftApp> RaftTypeConfig for Types<A> {
    type D = A::Command;
    // Entries of openraft's own (blank, membership) have no reply.
    type R = Option<A::Reply>;
    type NodeId = VoterId;
    type Node = BasicNode;
    type Entry = LogEntry<A>;
    type SnapshotData = Vec<u8>;
    type AsyncRuntime = A::Runtime;
    type Responder = openraft::impls::OneshotResponder<Self>;
}

// Derives would ask the same of `A`; openraft asks these of the parameter type itself.
impl<A> Clone for Types<A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Types<A> {}
impl<A> Default for Types<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<A> Debug for Types<A> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Types")
    }
}
impl<A> PartialEq for Types<A> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<A> Eq for Types<A> {}
impl<A> PartialOrd for Types<A> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<A> Ord for Types<A> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
