//! Making a cluster out of nodes that have just started: what `torc cluster init` and `torc up` do.
//!
//! First every address is asked who it is; then the first few become voters and agree on each other; then all
//! nodes register themselves; last the map is initialised: shards, their members, slots. Each step is repeated
//! until it holds, so a second run after an interruption goes on where the first one stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use torc_cluster::ids::NodeId;
use torc_cluster::map::{ClusterMap, MapCommand, MapReply, NodeInfo, Refusal, Settings};
use torc_runtime::clock::boottime_ns;

use super::admin::{AdminReply, AdminRequest, Identity, Status};
use super::peers::{AskError, Peers};

/// Pause between two tries of a step.
const RETRY: Duration = Duration::from_millis(25);

/// Voters of a control plane at most.
const MAX_VOTERS: usize = 5;

/// The cluster to make.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// Its name.
    pub name: String,
    /// Replica groups.
    pub shards: u16,
    /// Replicas beside each primary.
    pub replicas: u8,
    /// Its settings.
    pub settings: Settings,
    /// Nodes that vote; an odd number. `None`: 3 (1 with fewer than 3 nodes).
    pub voters: Option<usize>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A node did not answer in time.
    #[error("{address} does not answer: {cause}")]
    Unreachable {
        /// The node's bus.
        address: String,
        /// The last error.
        cause: String,
    },
    /// A node answered with an error.
    #[error("{address}: {error}")]
    Refused {
        /// The node's bus.
        address: String,
        /// Its words.
        error: String,
    },
    /// The nodes are a cluster already, and not this one.
    #[error("these nodes are the cluster '{existing}' already")]
    Other {
        /// Its name.
        existing: String,
    },
    /// The map refused.
    #[error("the control plane refuses: {0}")]
    Map(#[from] Refusal),
    /// A step did not come to its end in time.
    #[error("{0} did not happen in time: look at the nodes' logs")]
    TimeOut(&'static str),
    /// The plan cannot be.
    #[error("{0}")]
    Plan(String),
}

/// A tool's view of a cluster.
pub struct Tool {
    peers: Peers,
    addresses: Vec<String>,
    deadline_ns: u64,
}

impl Tool {
    /// Speaks to these bus addresses; everything must be done within `time`.
    pub fn new(peers: Peers, addresses: Vec<String>, time: Duration) -> Tool {
        Tool { peers, addresses, deadline_ns: boottime_ns() + time.as_nanos() as u64 }
    }

    fn late(&self) -> bool {
        boottime_ns() > self.deadline_ns
    }

    async fn identity(&self, address: &str) -> Result<Identity, BootstrapError> {
        loop {
            match self.peers.admin(address, &AdminRequest::Identity).await {
                Ok(AdminReply::Identity(identity)) => return Ok(identity),
                Ok(other) => {
                    return Err(BootstrapError::Refused {
                        address: address.into(),
                        error: format!("{other:?}"),
                    });
                }
                Err(cause) if self.late() => {
                    return Err(BootstrapError::Unreachable {
                        address: address.into(),
                        cause: cause.to_string(),
                    });
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn order(&self, address: &str, request: &AdminRequest) -> Result<(), BootstrapError> {
        match self.peers.admin(address, request).await {
            Ok(AdminReply::Failed { error }) => {
                Err(BootstrapError::Refused { address: address.into(), error })
            }
            Ok(_) => Ok(()),
            Err(cause) => {
                Err(BootstrapError::Unreachable { address: address.into(), cause: cause.to_string() })
            }
        }
    }

    /// The status of the node that leads the control plane, or else of any that answers.
    pub async fn status(&self) -> Result<Status, BootstrapError> {
        let mut best: Option<Status> = None;
        let mut last = None;
        for address in &self.addresses {
            match self.peers.admin(address, &AdminRequest::Status).await {
                Ok(AdminReply::Status(status)) if status.leader => return Ok(*status),
                Ok(AdminReply::Status(status)) => {
                    if best.as_ref().is_none_or(|b| status.map.epoch > b.map.epoch) {
                        best = Some(*status);
                    }
                }
                Ok(other) => last = Some((address, format!("{other:?}"))),
                Err(error) => last = Some((address, error.to_string())),
            }
        }
        // The leader may be a node that was not named.
        if let Some(leader) = best.as_ref().and_then(|status| status.leader_address.clone())
            && let Ok(AdminReply::Status(status)) = self.peers.admin(&leader, &AdminRequest::Status).await
        {
            return Ok(*status);
        }
        best.ok_or_else(|| {
            let (address, cause) = last.map_or_else(Default::default, |(a, c)| (a.clone(), c));
            BootstrapError::Unreachable { address, cause }
        })
    }

    /// The status of one node about itself.
    pub async fn status_of(&self, address: &str) -> Result<Status, AskError> {
        loop {
            if let AdminReply::Status(status) = self.peers.admin(address, &AdminRequest::Status).await? {
                return Ok(*status);
            }
        }
    }

    /// Asks the leader, wherever it is, until it answers.
    pub async fn ask_leader(&self, request: &AdminRequest) -> Result<AdminReply, BootstrapError> {
        let mut turn = 0;
        let mut hint: Option<String> = None;
        loop {
            let address =
                hint.take().or_else(|| self.addresses.get(turn % self.addresses.len().max(1)).cloned());
            turn += 1;
            let Some(address) = address else {
                return Err(BootstrapError::Plan("no address is given".into()));
            };
            match self.peers.admin(&address, request).await {
                Ok(AdminReply::NotLeader { leader }) => hint = leader.filter(|l| *l != address),
                Ok(reply) => return Ok(reply),
                Err(_) => {}
            }
            if self.late() {
                return Err(BootstrapError::TimeOut("an election of the control plane's leader"));
            }
            if hint.is_none() {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Has the map changed.
    pub async fn propose(&self, command: MapCommand) -> Result<MapReply, BootstrapError> {
        match self.ask_leader(&AdminRequest::Propose { command: Box::new(command) }).await? {
            AdminReply::Proposed { reply } => Ok(reply),
            AdminReply::Failed { error } => {
                Err(BootstrapError::Refused { address: "the leader".to_owned(), error })
            }
            other => {
                Err(BootstrapError::Refused { address: "the leader".to_owned(), error: format!("{other:?}") })
            }
        }
    }

    /// Makes the cluster; see the module's text. Answers the map.
    pub async fn init(&self, plan: &ClusterPlan) -> Result<ClusterMap, BootstrapError> {
        let mut identities = Vec::new();
        for address in &self.addresses {
            identities.push(self.identity(address).await?);
        }
        identities.sort_by_key(|identity| identity.info.id);
        identities.dedup_by_key(|identity| identity.info.id);
        let wanted = usize::from(plan.shards) * (usize::from(plan.replicas) + 1);
        if plan.shards == 0 {
            return Err(BootstrapError::Plan("a cluster has at least one shard".to_owned()));
        }
        if let Some(other) = identities.iter().find(|i| i.cluster != plan.name) {
            return Err(BootstrapError::Other { existing: other.cluster.clone() });
        }
        if !identities.iter().any(|i| i.initialised) {
            self.make_voters(plan, &identities).await?;
        }
        let ids: Vec<NodeId> = identities.iter().map(|i| i.info.id).collect();
        self.wait_registered(&ids).await?;
        let command = MapCommand::InitCluster {
            name: plan.name.clone(),
            shards: plan.shards,
            replicas: plan.replicas,
            settings: plan.settings.clone(),
        };
        match self.propose(command).await? {
            MapReply::Refused(Refusal::AlreadyInitialised(name)) if name == plan.name => {}
            MapReply::Refused(refusal) => return Err(refusal.into()),
            MapReply::Done | MapReply::Term(_) => {}
        }
        tracing::debug!(nodes = ids.len(), wanted, "initialised");
        Ok(self.status().await?.map)
    }

    async fn make_voters(&self, plan: &ClusterPlan, identities: &[Identity]) -> Result<(), BootstrapError> {
        let most = identities.len().min(MAX_VOTERS);
        let count = plan.voters.unwrap_or(if most >= 3 { 3 } else { 1 });
        if count == 0 || count > most || count.is_multiple_of(2) {
            return Err(BootstrapError::Plan(format!(
                "{count} voters cannot be chosen from {} nodes: take an odd number up to {MAX_VOTERS}",
                identities.len()
            )));
        }
        let chosen = spread_over_zones(identities, count);
        let voters: BTreeMap<u64, String> =
            chosen.iter().map(|info| (info.id.0, info.bus_address())).collect();
        for info in &chosen {
            self.order(&info.bus_address(), &AdminRequest::StartVoter).await?;
        }
        match chosen.first() {
            Some(first) => self.order(&first.bus_address(), &AdminRequest::InitVoters { voters }).await,
            None => Err(BootstrapError::Plan("no node is given".to_owned())),
        }
    }

    async fn wait_registered(&self, ids: &[NodeId]) -> Result<(), BootstrapError> {
        loop {
            if let Ok(status) = self.status().await
                && ids.iter().all(|id| status.map.node(*id).is_some())
            {
                return Ok(());
            }
            if self.late() {
                return Err(BootstrapError::TimeOut("registration of all nodes"));
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// `count` nodes, one zone after another.
fn spread_over_zones(identities: &[Identity], count: usize) -> Vec<NodeInfo> {
    let mut zones: BTreeMap<&str, Vec<&NodeInfo>> = BTreeMap::new();
    for identity in identities {
        zones.entry(&identity.info.zone).or_default().push(&identity.info);
    }
    let mut chosen = Vec::new();
    let mut round = 0;
    while chosen.len() < count {
        let before = chosen.len();
        for nodes in zones.values() {
            if chosen.len() < count
                && let Some(info) = nodes.get(round)
            {
                chosen.push((*info).clone());
            }
        }
        round += 1;
        if chosen.len() == before {
            break;
        }
    }
    chosen
}
