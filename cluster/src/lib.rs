//! Map, ring, leases, in-sync sets and failover rules of Torc as pure state machines.
//!
//! Nothing here reads a clock, draws a random number or does I/O: events and time go in, decisions come out.
//! Whoever owns a state machine (the control thread of a node, the simulation) steps it from one place at a
//! time; no type in this crate holds a lock.
//!
//! ```text
//!  ids ── map ── ring            what the cluster is (changes only through consensus)
//!   │      │
//!   │      ├── controller        run by the consensus leader: leases, failover
//!   │      └── replica_set       run by a shard's primary: in-sync set, high-water mark
//!   ├── lease, history           who may serve; where two histories part
//!   ├── lock, fence              lock and fencing rules of one shard
//!   └── request_ids              replies that a second sending gets again
//! ```

pub mod bugs;
pub mod controller;
pub mod history;
pub mod ids;
pub mod lease;
pub mod lock;
pub mod map;
pub mod member;
pub mod message;
pub mod replica_set;
pub mod request_ids;
pub mod ring;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub use ids::{Epoch, Incarnation, Member, NodeId, Offset, Position, SetVersion, ShardId, Term};
pub use map::{ClusterMap, MapCommand, MapReply, NodeInfo, Refusal, Settings, ShardState, SlotTable};

pub use torc_protocol::slot::{SLOTS, Slot};
