//! Where the cluster map lives, as the controller sees it: a door behind which another store with
//! the same promises (an external etcd) can stand.

use std::sync::Arc;

use tokio::sync::watch;
use torc_cluster::map::{ClusterMap, MapCommand, MapReply};

use super::BoxFuture;
use super::consensus::Consensus;
use super::error::{ConfirmError, ProposeError};
use super::status::Leadership;
use super::types::{RaftApp, TokioRuntime};

/// A linearizable home for the map.
pub trait MapStore: Send + Sync {
    /// As [`Consensus::propose`].
    fn propose(&self, command: MapCommand) -> BoxFuture<'_, Result<MapReply, ProposeError>>;

    /// As [`Consensus::confirm_leadership`].
    fn confirm(&self) -> BoxFuture<'_, Result<(), ConfirmError>>;

    /// Each version of the map as this node learns of it.
    fn watch(&self) -> watch::Receiver<Arc<ClusterMap>>;

    /// Who may decide over the map now.
    fn leader(&self) -> watch::Receiver<Leadership>;
}

impl RaftApp for ClusterMap {
    type Command = MapCommand;
    type Reply = MapReply;
    type Runtime = TokioRuntime;

    fn apply(&mut self, command: MapCommand) -> MapReply {
        Self::apply(self, command)
    }
}

impl MapStore for Consensus<ClusterMap> {
    fn propose(&self, command: MapCommand) -> BoxFuture<'_, Result<MapReply, ProposeError>> {
        Box::pin(Consensus::propose(self, command))
    }

    fn confirm(&self) -> BoxFuture<'_, Result<(), ConfirmError>> {
        Box::pin(self.confirm_leadership())
    }

    fn watch(&self) -> watch::Receiver<Arc<ClusterMap>> {
        Consensus::watch(self)
    }

    fn leader(&self) -> watch::Receiver<Leadership> {
        Consensus::leader(self)
    }
}
