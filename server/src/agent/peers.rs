//! Asking other nodes over the bus: one multiplexed connection per address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use torc_cluster::ids::Member;
use torc_cluster::message::{SealReply, SealRequest};
use torc_runtime::bus::{BusClient, BusIdentity, CallError, ClientConfig, FrameKind};

use super::admin::{AdminReply, AdminRequest};

/// How long an answer to a tool's question may take.
const ADMIN_TIME: Duration = Duration::from_secs(5);

/// How long a seal may take: a controller asks again after `renew_ms`.
const SEAL_TIME: Duration = Duration::from_millis(500);

/// Peers that are remembered; beyond it all connections are made anew.
const MAX_PEERS: usize = 1024;

/// A seal, addressed to one life of a node.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct AddressedSeal {
    /// The member that shall seal; another incarnation refuses.
    pub to: Member,
    /// What it shall seal.
    pub request: SealRequest,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The answer, or the question, is no JSON.
    #[error("malformed message: {0}")]
    Json(#[from] serde_json::Error),
}

/// See the module's text. Clones share the connections; all must be used on the runtime that made them.
#[derive(Clone)]
pub struct Peers {
    identity: BusIdentity,
    config: ClientConfig,
    clients: Arc<Mutex<HashMap<String, BusClient>>>,
}

impl Peers {
    /// Nobody is connected yet.
    pub fn new(identity: BusIdentity) -> Peers {
        // A controller that comes back is wanted at once: short pauses.
        let config = ClientConfig {
            connect_time: Duration::from_millis(500),
            longest_pause: Duration::from_millis(100),
            ..ClientConfig::default()
        };
        Peers { identity, config, clients: Arc::default() }
    }

    fn client(&self, address: &str) -> BusClient {
        let mut clients = self.clients.lock();
        if clients.len() >= MAX_PEERS && !clients.contains_key(address) {
            clients.clear();
        }
        let make = || BusClient::new(address, self.identity.clone(), self.config.clone());
        clients.entry(address.to_owned()).or_insert_with(make).clone()
    }

    /// Asks and waits for the answer.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        address: &str,
        kind: FrameKind,
        question: &Q,
        limit: Duration,
    ) -> Result<A, AskError> {
        let body = Bytes::from(serde_json::to_vec(question)?);
        let answer = self.client(address).call(kind, body, limit).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Asks a node as a tool does.
    pub async fn admin(&self, address: &str, request: &AdminRequest) -> Result<AdminReply, AskError> {
        self.ask(address, FrameKind::Admin, request, ADMIN_TIME).await
    }

    /// Has a candidate seal a term; `None` when it does not, or not in time.
    pub async fn seal(&self, address: &str, to: Member, request: SealRequest) -> Option<SealReply> {
        let question = AddressedSeal { to, request };
        match self.ask(address, FrameKind::Seal, &question, SEAL_TIME).await {
            Ok(reply) => reply,
            Err(error) => {
                tracing::debug!(%to, %error, "no seal");
                None
            }
        }
    }
}
