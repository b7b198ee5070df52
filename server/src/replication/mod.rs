//! Replication of one shard: the node's history, sending it and following somebody else's.
//!
//! ```text
//! workers ─records─▶ outboxes ─pump─▶ sequencer ─▶ backlog ─sender per replica─▶ bus
//!                                                                bus ─follower─▶ store
//! ```
//!
//! All of it runs on `torc-repl`; [`Replication`] is what it shares with the node agent on `torc-agent`.

pub mod apply;
mod backlog;
pub mod digest;
mod feed;
mod pending;
pub mod primary;
mod proofs;
pub mod replica;
mod sequencer;
pub mod settle;
pub mod state;
pub mod stream;
mod summary;
#[cfg(test)]
mod tests;
mod transit;

use std::sync::Arc;
use std::time::Duration;

use torc_runtime::shutdown::Shutdown;

use crate::node::Node;
use crate::shard::Call;
pub use backlog::Bounds;
pub use state::Replication;
pub use summary::{Dropped, Fed, ReplicaSummary, Summary, SyncKind};

/// Records are collected this often even if nobody announces them: a safety net, workers do so at the end of a turn or
/// after some batches.
const LOOK_ANYWAY: Duration = Duration::from_millis(100);

/// How long records wait for others to go to the replicas with them, while no client waits for them to be there: a
/// write acknowledged by the primary alone is this much longer on one node only.
const GATHER: Duration = Duration::from_millis(1);

/// Moves the workers' records into the backlog until shut down.
pub async fn pump(node: Arc<Node>, repl: Arc<Replication>, shutdown: Shutdown) {
    while !shutdown.triggered() {
        if let Ok(Call::Soon) = tokio::time::timeout(LOOK_ANYWAY, node.shard.records_ready()).await {
            // As long as there is something each time, nobody need say so.
            loop {
                let _ = tokio::time::timeout(GATHER, node.shard.records_ready()).await;
                if !repl.pump(&node) {
                    break;
                }
            }
            node.shard.nothing_left();
        }
        repl.pump(&node);
    }
}
