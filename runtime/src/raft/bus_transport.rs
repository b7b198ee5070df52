//! Raft requests as calls on the bus, one client per voter.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use torc_protocol::bus::FrameKind;

use super::BoxFuture;
use super::transport::{RaftTransport, TransportError};
use super::types::{RaftApp, VoterId};
use crate::bus::{BusClient, BusIdentity, BusServer, CallError, ClientConfig};

type AddressBook = Box<dyn Fn(VoterId) -> Option<String> + Send + Sync>;

/// Reaches voters over the bus. Must be used inside one tokio runtime, where the clients' tasks
/// run.
pub struct BusTransport {
    identity: BusIdentity,
    config: ClientConfig,
    /// Never held across an await. Bounded by the number of members, which is small.
    clients: Mutex<HashMap<VoterId, BusClient>>,
    addresses: AddressBook,
}

impl BusTransport {
    /// A transport that dials the addresses kept in the membership.
    pub fn new(identity: BusIdentity) -> Self {
        // Shorter pauses than elsewhere: an election should not wait for them.
        let config = ClientConfig { longest_pause: Duration::from_millis(250), ..ClientConfig::default() };
        Self { identity, config, clients: Mutex::default(), addresses: Box::new(|_| None) }
    }

    /// Asks `addresses` first where a voter is: voters that all moved to other ports could not
    /// agree on that without finding each other.
    #[must_use]
    pub fn with_addresses(
        mut self,
        addresses: impl Fn(VoterId) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.addresses = Box::new(addresses);
        self
    }

    fn client(&self, target: VoterId, address: &str) -> BusClient {
        let address = (self.addresses)(target).unwrap_or_else(|| address.to_owned());
        let mut clients = self.clients.lock();
        match clients.get(&target) {
            Some(client) if client.address() == address => client.clone(),
            _ => {
                let client = BusClient::new(address, self.identity.clone(), self.config.clone());
                clients.insert(target, client.clone());
                client
            }
        }
    }
}

impl RaftTransport for BusTransport {
    fn call(
        &self,
        target: VoterId,
        address: &str,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        let client = self.client(target, address);
        Box::pin(async move {
            client.call(FrameKind::Raft, request, timeout).await.map_err(|error| match error {
                CallError::Timeout { waited, .. } => TransportError::Timeout(waited),
                CallError::TooLarge(cause) => TransportError::TooLarge(cause.to_string()),
                other => TransportError::Unreachable(other.to_string()),
            })
        })
    }
}

impl<A: RaftApp> super::Consensus<A> {
    /// Has `server` answer raft calls by this voter.
    pub fn serve_on(&self, server: BusServer) -> BusServer {
        let consensus: Arc<Self> = Arc::new(self.clone());
        server.on_call(FrameKind::Raft, move |_, request| {
            let consensus = Arc::clone(&consensus);
            async move { consensus.handle_rpc(&request).await.map_err(|error| error.to_string()) }
        })
    }
}
