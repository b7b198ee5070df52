//! Consensus: `openraft` with our storage and our transport, generic over what is agreed on.
//!
//! ```text
//!   caller ──▶ Consensus ──▶ openraft core task ──▶ LogStore / StateMachine ──▶ torc-raft-disk thread
//!                 ▲                │                    (log and state in memory)    (control.redb)
//!   bus ──▶ handle_rpc             └──▶ RaftTransport ──▶ other voters
//! ```
//!
//! The log and the application's state are served from memory; the disk is read once, at the
//! start, and every record is verified then. The disk thread alone owns the database file. The
//! application's state is rebuilt from the last snapshot and the log after it.
//!
//! **A storage error ends this voter**: when a commit to disk fails (full disk, failed sync) the
//! voter answers nothing any more, [`ConsensusStatus::failure`] says why, and the process should
//! stop. The others go on while they are a majority.

mod bugs;
mod bus_transport;
mod config;
mod consensus;
mod error;
mod map_store;
mod metrics;
mod network;
mod rpc;
#[cfg(test)]
mod sim;
mod standing;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod transport;
mod types;

pub use bus_transport::BusTransport;
pub use config::ConsensusConfig;
pub use consensus::Consensus;
pub use error::{ConfirmError, InitError, MembershipError, OpenError, ProposeError, RpcError};
pub use map_store::MapStore;
pub use metrics::METRIC_FAMILIES;
pub use rpc::MAX_RPC_BYTES;
pub use status::{ConsensusStatus, Leadership, Peer, Role};
pub use store::{CONTROL_FILE, StoreError};
pub use transport::{RaftTransport, TransportError};
pub use types::{RaftApp, TokioRuntime, VoterId};

use crate::BoxFuture;
