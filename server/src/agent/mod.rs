//! The node's part in the control plane: registration, heartbeats and leases, the map, sealing and promotion.
//!
//! ```text
//!  torc-agent                                                   torc-repl
//!   bus listener ─▶ bus::serve (a task per connection) ──hello──▶ replication::primary (a task per replica)
//!   voter: consensus + controller (on nodes that vote)            replication::replica (follows)
//!   maps: consensus or a watch of somebody else's ─▶ role         replication::pump
//!   heartbeat: renews the lease
//! ```
//!
//! [`Agent`] is shared by all of these tasks; each of its fields says who writes it.

pub mod admin;
pub mod bootstrap;
mod bus;
mod controller;
mod heartbeat;
mod peers;
mod promotions;
mod role;
mod start;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};
use torc_cluster::ids::{Member, NodeId};
use torc_cluster::map::{ClusterMap, MapCommand, NodeInfo};
use torc_cluster::message::{ReplicaHello, SealReply};
use torc_runtime::bus::{BusIdentity, DetachedConn, FrameKind};
use torc_runtime::clock::boottime_ns;
use torc_runtime::raft::{Consensus, ConsensusConfig, MapStore};

use crate::node::Node;
use crate::replication::Replication;
use admin::{AdminReply, AdminRequest, Identity};
use controller::ControllerHandle;
use peers::AddressedSeal;
pub use peers::{AskError, Peers};
pub use start::{AgentConfig, AgentHandle, StartError, start};

/// Replica connections on their way to `torc-repl`.
const HANDOVER_QUEUE: usize = 64;

/// This node's vote.
pub struct Voter {
    /// The consensus on the map.
    pub consensus: Consensus<ClusterMap>,
    controller: ControllerHandle,
}

/// See the module's text.
pub struct Agent {
    /// The process.
    pub node: Arc<Node>,
    /// What it holds of its shard.
    pub repl: Arc<Replication>,
    /// This life of the node.
    pub me: Member,
    /// What it registers; `control_voter` is filled in when that is done.
    info: NodeInfo,
    cluster: String,
    /// Bus addresses it was told at its start.
    join: Vec<String>,
    dir: PathBuf,
    lease_ms: Option<u64>,
    identity: BusIdentity,
    /// Connections to other nodes.
    pub peers: Peers,
    /// The newest map; written by [`Agent::offer_map`] only.
    maps: watch::Sender<Arc<ClusterMap>>,
    voter: RwLock<Option<Arc<Voter>>>,
    /// Bus address of the node that answered as leader last.
    controller: Mutex<Option<String>>,
    beat_now: Notify,
    /// The primary was asked to step down.
    step_now: Notify,
    leaving: AtomicBool,
    /// Changes of primaries; written by whoever offers a map.
    promotions: promotions::Promotions,
    heartbeats: AtomicU64,
    replicas: mpsc::Sender<(DetachedConn, ReplicaHello)>,
}

impl Agent {
    /// The newest map.
    pub fn map(&self) -> Arc<ClusterMap> {
        self.maps.borrow().clone()
    }

    /// Watches the map.
    pub fn maps(&self) -> watch::Receiver<Arc<ClusterMap>> {
        self.maps.subscribe()
    }

    /// A map came in from somewhere; older ones are ignored.
    fn offer_map(&self, map: Arc<ClusterMap>) {
        self.maps.send_if_modified(|known| {
            let newer = map.epoch > known.epoch;
            if newer {
                self.promotions.note(known, &map, torc_runtime::clock::unix_ms());
                *known = map;
            }
            newer
        });
    }

    /// This node's vote, if it has one.
    pub fn voter(&self) -> Option<Arc<Voter>> {
        self.voter.read().clone()
    }

    fn next_heartbeat_id(&self) -> u64 {
        self.heartbeats.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// The bus address of the control plane's leader, as far as this node knows.
    pub fn leader_address(&self) -> Option<String> {
        if let Some(voter) = self.voter() {
            let leadership = voter.consensus.leader().borrow().clone();
            return leadership.leader.map(|peer| peer.address).filter(|a| !a.is_empty());
        }
        self.controller.lock().clone()
    }

    /// Where to send heartbeats: the known leader, else one candidate after another.
    fn controller_address(&self, attempt: usize) -> Option<String> {
        if let Some(address) = self.leader_address().filter(|_| attempt.is_multiple_of(2)) {
            return Some(address);
        }
        let candidates = self.control_addresses();
        candidates.get(attempt / 2 % candidates.len().max(1)).cloned()
    }

    /// Bus addresses of nodes that may vote: the map's voters, then those given at the start.
    fn control_addresses(&self) -> Vec<String> {
        let mut all: Vec<String> = self.map().voters().map(NodeInfo::bus_address).collect();
        for address in &self.join {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    fn learn_controller(&self, address: String) {
        *self.controller.lock() = Some(address).filter(|a| !a.is_empty());
    }

    fn forget_controller(&self, address: &str) {
        let mut known = self.controller.lock();
        if known.as_deref() == Some(address) {
            *known = None;
        }
    }

    /// A replica's stream belongs to `torc-repl`.
    fn hand_to_repl(&self, conn: DetachedConn, hello: ReplicaHello) {
        if self.replicas.try_send((conn, hello)).is_err() {
            tracing::warn!("too many replicas connect at once; one was turned away and will come again");
        }
    }

    /// Opens this node's voter, once.
    async fn open_voter(self: &Arc<Self>) -> Result<Arc<Voter>, String> {
        if let Some(voter) = self.voter() {
            return Ok(voter);
        }
        let config = match self.lease_ms {
            Some(lease_ms) => ConsensusConfig::for_lease_ms(lease_ms),
            None => ConsensusConfig::default(),
        };
        let config = ConsensusConfig { cluster_name: self.cluster.clone(), ..config };
        // A voter that came back on another port is where the map says, once it has registered.
        let maps = self.maps.subscribe();
        let address = move |id| maps.borrow().node(NodeId(id)).map(NodeInfo::bus_address);
        let transport = torc_runtime::raft::BusTransport::new(self.identity.clone()).with_addresses(address);
        let consensus = Consensus::<ClusterMap>::open(&self.dir, self.me.node.0, config, Arc::new(transport))
            .await
            .map_err(|e| e.to_string())?;
        let controller = controller::start(consensus.clone(), self.peers.clone());
        let voter = Arc::new(Voter { consensus: consensus.clone(), controller });
        *self.voter.write() = Some(voter.clone());
        let agent = self.clone();
        tokio::spawn(async move {
            let mut maps = consensus.watch();
            maps.mark_changed();
            while maps.changed().await.is_ok() {
                let map = maps.borrow_and_update().clone();
                agent.offer_map(map);
            }
        });
        let consensus = voter.consensus.clone();
        tokio::spawn(async move {
            let reason = consensus.failed().await;
            tracing::error!(%reason, "the control plane's storage failed: this node stops");
            // A voter that cannot write must not pretend to be one; the others go on.
            std::process::exit(70);
        });
        Ok(voter)
    }

    /// Answers a controller's wish to seal.
    async fn seal(self: &Arc<Self>, seal: &AddressedSeal) -> Option<SealReply> {
        if seal.to != self.me {
            return None;
        }
        let (agent, request) = (self.clone(), seal.request);
        // Closing the gate waits for running batches: not on this thread.
        let sealed = tokio::task::spawn_blocking(move || agent.repl.seal(&agent.node, request)).await;
        sealed.ok().flatten()
    }

    /// Proposes a change if this node leads.
    async fn propose_as_leader(&self, command: MapCommand) -> AdminReply {
        let Some(voter) = self.voter() else {
            return AdminReply::NotLeader { leader: self.leader_address() };
        };
        if !voter.consensus.leader().borrow().is_self {
            return AdminReply::NotLeader { leader: self.leader_address() };
        }
        match MapStore::propose(&voter.consensus, command).await {
            Ok(reply) => AdminReply::Proposed { reply },
            Err(torc_runtime::raft::ProposeError::NotLeader { leader }) => {
                AdminReply::NotLeader { leader: leader.map(|p| p.address) }
            }
            Err(error) => AdminReply::Failed { error: error.to_string() },
        }
    }

    /// Has the leader propose a change, wherever it is.
    pub async fn propose(&self, command: MapCommand) -> Result<AdminReply, AskError> {
        let local = self.propose_as_leader(command.clone()).await;
        let AdminReply::NotLeader { leader } = local else { return Ok(local) };
        let mut addresses: Vec<String> = leader.into_iter().collect();
        addresses.extend(self.control_addresses());
        let mut last = AdminReply::NotLeader { leader: None };
        for address in addresses.into_iter().take(MAX_REDIRECTS) {
            let asked =
                self.peers.ask(&address, FrameKind::Propose, &command, std::time::Duration::from_secs(1));
            match asked.await {
                Ok(AdminReply::NotLeader { leader: Some(leader) }) if leader != address => {
                    self.learn_controller(leader);
                }
                Ok(reply @ (AdminReply::Proposed { .. } | AdminReply::Failed { .. })) => return Ok(reply),
                Ok(reply) => last = reply,
                Err(error) => tracing::debug!(%address, %error, "cannot propose there"),
            }
        }
        Ok(last)
    }

    /// Answers a tool.
    async fn admin(self: &Arc<Self>, request: AdminRequest) -> AdminReply {
        match request {
            AdminRequest::Identity => {
                let voter = self.voter();
                let initialised = match &voter {
                    Some(voter) => voter.consensus.is_initialised().await,
                    None => false,
                };
                AdminReply::Identity(Identity {
                    info: self.registration(),
                    cluster: self.cluster.clone(),
                    voter: voter.is_some(),
                    initialised,
                    in_cluster: self.map().is_initialised(),
                })
            }
            AdminRequest::StartVoter => match self.open_voter().await {
                Ok(_) => AdminReply::Done,
                Err(error) => AdminReply::Failed { error },
            },
            AdminRequest::InitVoters { voters } => match self.voter() {
                None => AdminReply::Failed { error: "this node has no voter: start it first".to_owned() },
                Some(voter) => match voter.consensus.init(voters).await {
                    Ok(()) => AdminReply::Done,
                    Err(error) => AdminReply::Failed { error: error.to_string() },
                },
            },
            AdminRequest::Propose { command } => self.propose_as_leader(*command).await,
            AdminRequest::Status => AdminReply::Status(Box::new(self.status().await)),
            AdminRequest::Failover { shard, to, term } => match self.leading() {
                Some(voter) => done(voter.controller.failover(shard, to, term).await),
                None => AdminReply::NotLeader { leader: self.leader_address() },
            },
            AdminRequest::Unclean { shard, to, term } => match self.leading() {
                Some(voter) => done(voter.controller.unclean(shard, to, term).await),
                None => AdminReply::NotLeader { leader: self.leader_address() },
            },
        }
    }

    fn leading(&self) -> Option<Arc<Voter>> {
        self.voter().filter(|voter| voter.consensus.leader().borrow().is_self)
    }

    /// What this node registers now.
    fn registration(&self) -> NodeInfo {
        NodeInfo { control_voter: self.voter().is_some(), ..self.info.clone() }
    }

    /// The node is about to stop: its lease goes back at once, so that its shard need not wait for it to run out.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let map = self.map();
        if let Some(shard) = map.shards_of_node(self.me.node).next() {
            self.repl.step_down(&self.node, shard.term, boottime_ns());
            self.step_now.notify_one();
        }
        self.beat_now.notify_one();
    }
}

impl Agent {
    /// Whether another in-sync member of this node's shard could take over.
    pub fn has_heir(&self) -> bool {
        let map = self.map();
        map.shards_of_node(self.me.node).any(|shard| {
            shard.in_sync.iter().any(|member| member.node != self.me.node && map.is_current(*member))
        })
    }
}

/// Nodes that are asked for one proposal.
const MAX_REDIRECTS: usize = 8;

fn done(accepted: bool) -> AdminReply {
    if accepted {
        AdminReply::Done
    } else {
        AdminReply::Failed { error: "the controller is gone: ask again".to_owned() }
    }
}
