//! Starts the agent's two threads.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread::JoinHandle;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc, watch};
use torc_cluster::ids::{Incarnation, Member, NodeId};
use torc_cluster::map::{ClusterMap, NodeInfo};
use torc_protocol::handshake::Secret;
use torc_runtime::bus::{BusIdentity, DetachedConn};
use torc_runtime::current_thread;
use torc_runtime::listen::Listener;
use torc_runtime::map_watch::MapWatcher;
use torc_runtime::raft::CONTROL_FILE;
use torc_runtime::shutdown::Shutdown;

use super::peers::Peers;
use super::{Agent, HANDOVER_QUEUE, bus, heartbeat, role};
use crate::node::Node;
use crate::replication::{Bounds, Replication, primary, pump, replica};

/// What a node must be told to join a cluster.
pub struct AgentConfig {
    /// The cluster's name: nodes of another one are not spoken to.
    pub cluster: String,
    /// Bus addresses to begin with.
    pub join: Vec<String>,
    /// The data folder.
    pub dir: PathBuf,
    /// The node's number, kept in the data folder.
    pub node_id: u64,
    /// New at each start.
    pub incarnation: u64,
    /// Where clients and other nodes reach this node.
    pub host: String,
    /// RESP port.
    pub port: u16,
    /// memcached port; 0: none.
    pub memcached_port: u16,
    /// HTTP port; 0: none.
    pub http_port: u16,
    /// Failure domain.
    pub zone: String,
    /// Share of shards beside other nodes.
    pub weight: u32,
    /// The lease of the cluster, for the election time-outs of a voter.
    pub lease_ms: Option<u64>,
    /// How much the replication backlog keeps.
    pub backlog: Bounds,
    /// The cluster's secret.
    pub secret: Secret,
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread or runtime.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The control plane's file could not be opened.
    #[error("{0}")]
    Voter(String),
}

/// The running agent.
pub struct AgentHandle {
    /// What its tasks share.
    pub agent: Arc<Agent>,
    threads: Vec<JoinHandle<()>>,
}

impl AgentHandle {
    /// Waits until the agent's threads have ended (after the shutdown token was tripped).
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Starts `torc-agent` and `torc-repl`. The bus listener is bound already; its port is registered.
pub fn start(
    config: AgentConfig,
    node: Arc<Node>,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<AgentHandle, StartError> {
    let me = Member::new(NodeId(config.node_id), Incarnation(config.incarnation));
    let bus_port = listener.port().unwrap_or_default();
    let identity = BusIdentity::node(config.secret, config.node_id, config.incarnation);
    let repl = Replication::new(me, config.backlog);
    let (replicas, replica_conns) = mpsc::channel(HANDOVER_QUEUE);
    let info = NodeInfo {
        id: me.node,
        incarnation: me.incarnation,
        host: config.host,
        port: config.port,
        memcached_port: config.memcached_port,
        bus_port,
        http_port: config.http_port,
        zone: config.zone,
        weight: config.weight,
        control_voter: false,
    };
    let agent = Arc::new(Agent {
        node: node.clone(),
        repl: repl.clone(),
        me,
        info,
        cluster: config.cluster,
        join: config.join,
        dir: config.dir,
        lease_ms: config.lease_ms,
        identity: identity.clone(),
        peers: Peers::new(identity.clone()),
        maps: watch::Sender::new(Arc::new(ClusterMap::default())),
        voter: RwLock::new(None),
        controller: Mutex::new(None),
        beat_now: Notify::new(),
        step_now: Notify::new(),
        leaving: AtomicBool::new(false),
        promotions: super::promotions::Promotions::default(),
        heartbeats: AtomicU64::new(0),
        replicas,
    });
    let (opened, wait_opened) = std::sync::mpsc::channel();
    let control = {
        let (agent, shutdown) = (agent.clone(), shutdown.clone());
        thread("torc-agent", move || control(agent, listener, shutdown, opened))?
    };
    let repl_thread = {
        let maps = agent.maps();
        thread("torc-repl", move || replicate(node, repl, identity, maps, replica_conns, shutdown))?
    };
    // An error of the control plane's file must stop the start, not appear in a log later.
    match wait_opened.recv() {
        Ok(Ok(())) => Ok(AgentHandle { agent, threads: vec![control, repl_thread] }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Voter("the control thread ended at once".to_owned())),
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}

fn control(
    agent: Arc<Agent>,
    listener: Listener,
    shutdown: Shutdown,
    opened: std::sync::mpsc::Sender<Result<(), StartError>>,
) {
    let runtime = match current_thread::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(StartError::Thread(error)));
            return;
        }
    };
    current_thread::block_on(runtime, async {
        if agent.dir.join(CONTROL_FILE).exists()
            && let Err(error) = agent.open_voter().await
        {
            let _ = opened.send(Err(StartError::Voter(error)));
            return;
        }
        let _ = opened.send(Ok(()));
        let watcher = MapWatcher::new(agent.identity.clone(), agent.control_addresses());
        let mut remote = watcher.start(shutdown.clone());
        tokio::spawn(heartbeat::run(agent.clone(), shutdown.clone()));
        tokio::spawn(role::follow_maps(agent.clone(), shutdown.clone()));
        tokio::spawn(role::register(agent.clone(), shutdown.clone()));
        tokio::spawn(role::keep_set(agent.clone(), shutdown.clone()));
        {
            let agent = agent.clone();
            tokio::spawn(async move {
                while remote.changed().await.is_ok() {
                    let map = remote.borrow_and_update().clone();
                    agent.offer_map(map);
                }
            });
        }
        let server = bus::server(&agent, agent.identity.clone(), &shutdown);
        if let Err(error) = server.serve(listener, shutdown).await {
            tracing::error!(%error, "the bus listener failed: the node stops");
            std::process::exit(70);
        }
        if let Some(voter) = agent.voter() {
            voter.consensus.shutdown().await;
        }
    });
}

fn replicate(
    node: Arc<Node>,
    repl: Arc<Replication>,
    identity: BusIdentity,
    maps: watch::Receiver<Arc<ClusterMap>>,
    mut conns: mpsc::Receiver<(DetachedConn, torc_cluster::message::ReplicaHello)>,
    shutdown: Shutdown,
) {
    let runtime = match current_thread::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no replication: the node stops");
            std::process::exit(70);
        }
    };
    current_thread::block_on(runtime, async {
        tokio::spawn(pump(node.clone(), repl.clone(), shutdown.clone()));
        tokio::spawn(replica::follow(node.clone(), repl.clone(), identity, maps, shutdown.clone()));
        loop {
            tokio::select! {
                next = conns.recv() => {
                    let Some((conn, hello)) = next else { return };
                    match conn.attach() {
                        Ok(conn) => {
                            tokio::spawn(primary::serve(node.clone(), repl.clone(), conn, hello));
                        }
                        Err(error) => tracing::debug!(%error, "a replica's connection is gone"),
                    }
                }
                () = shutdown.wait() => return,
            }
        }
    });
}
