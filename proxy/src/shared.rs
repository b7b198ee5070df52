//! What all workers of a proxy share: settings, the list of clients, counters. Nothing here is locked on the path
//! of a request.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use torc_protocol::handshake::Secret;
use torc_protocol::login::MemcachedUsers;
use torc_runtime::listen::acceptor::ConnectionLimit;

use crate::config::{MAX_THREADS, ProxyConfig};
use crate::downstream::client::Registry;
use crate::hot::report::Told;
use crate::hot::stamps::Stamps;
use crate::info::Counted;
use crate::metrics::{NodeMetrics, WorkerMetrics};
use crate::pause::Pause;
use crate::slow::SlowLog;
use crate::table::{RouteTable, Target};
use crate::worker::Order;

/// See the module's text.
#[derive(Debug)]
pub struct Shared {
    /// As it was started with: what only a restart changes is read from here.
    pub config: ProxyConfig,
    /// The cluster secret; none: nodes are asked without a handshake (a plain store, tests).
    pub secret: Option<Secret>,
    /// Users of the memcached protocol; none: the password counts.
    pub memcached_users: ArcSwap<MemcachedUsers>,
    /// As it is now, after CONFIG SET and reloading. Workers have a copy of their own, see `Worker::settings`.
    pub settings: ArcSwap<ProxyConfig>,
    /// Held by whoever changes settings.
    pub changing: Mutex<()>,
    /// Held, over many rounds of its worker, by the CONFIG SET that tells the nodes.
    pub telling_nodes: tokio::sync::Mutex<()>,
    /// Configurations taken while running.
    pub reloads: AtomicU64,
    /// Configurations refused while running.
    pub reload_failures: AtomicU64,
    /// What INFO's counters were at the latest CONFIG RESETSTAT.
    pub reset: Mutex<Counted>,
    /// CLIENT PAUSE.
    pub pause: Pause,
    /// All clients.
    pub clients: Registry,
    /// The bound on connections.
    pub limit: ConnectionLimit,
    /// By worker.
    pub workers: Vec<Arc<WorkerMetrics>>,
    /// Requests that took long.
    pub slow: SlowLog,
    /// What each worker last said of its hot keys.
    pub hot: Vec<Mutex<Arc<Told>>>,
    /// How often they were told to forget them.
    pub hot_resets: AtomicU64,
    /// Which keys are being written, where copies are kept.
    pub stamps: Arc<Stamps>,
    /// The newest routing table.
    pub tables: watch::Receiver<Arc<RouteTable>>,
    /// Unix milliseconds of the start.
    pub started_ms: u64,
    /// Forty hexadecimal digits, new at each start.
    pub run_id: String,
    /// Ports and paths that clients connect to.
    addresses: OnceLock<Addresses>,
    /// The first of the workers' origins of request ids.
    first_origin: u64,
    nodes: Mutex<Vec<(usize, Arc<NodeMetrics>)>>,
    orders: OnceLock<Vec<mpsc::Sender<Order>>>,
}

/// Where the proxy listens.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The RESP port over TCP, if there is one.
    pub port: u16,
    /// The memcached port over TCP, if there is one.
    pub memcached_port: u16,
    /// The HTTP port, if there is one.
    pub http_port: u16,
}

impl Shared {
    /// A proxy that has just started.
    pub fn new(
        config: ProxyConfig,
        secret: Option<Secret>,
        tables: watch::Receiver<Arc<RouteTable>>,
        random: [u8; RUN_ID_BYTES],
        memcached_users: MemcachedUsers,
    ) -> Self {
        let (origin, _) =
            random.split_first_chunk().map_or(([0; 8], &[][..]), |(first, rest)| (*first, rest));
        Shared {
            secret,
            memcached_users: ArcSwap::from_pointee(memcached_users),
            settings: ArcSwap::from_pointee(config.clone()),
            changing: Mutex::default(),
            telling_nodes: tokio::sync::Mutex::default(),
            reloads: AtomicU64::new(0),
            reload_failures: AtomicU64::new(0),
            reset: Mutex::default(),
            pause: Pause::default(),
            clients: Registry::default(),
            limit: ConnectionLimit::new(config.max_clients),
            workers: (0..config.threads).map(|_| Arc::default()).collect(),
            slow: SlowLog::default(),
            hot: (0..config.threads).map(|_| Mutex::default()).collect(),
            hot_resets: AtomicU64::new(0),
            stamps: Arc::default(),
            tables,
            started_ms: torc_runtime::clock::unix_ms(),
            run_id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            addresses: OnceLock::new(),
            // Random, so that no other proxy and no other life of this one has it; zero is nobody's.
            first_origin: (u64::from_le_bytes(origin) | 1 << 63) & !(MAX_THREADS as u64 * 2 - 1),
            nodes: Mutex::default(),
            orders: OnceLock::new(),
            config,
        }
    }

    /// Changes the settings. The caller holds `changing`.
    pub fn set_settings(&self, settings: ProxyConfig) {
        self.limit.set_limit(settings.max_clients);
        self.settings.store(Arc::new(settings));
    }

    /// The origin of a worker's request ids.
    pub fn origin(&self, worker: usize) -> u64 {
        self.first_origin + worker as u64
    }

    /// A worker's counters for a node: the same again when the node comes back.
    pub fn node_metrics(&self, worker: usize, target: &Target) -> Arc<NodeMetrics> {
        let mut nodes = self.nodes.lock();
        let known = nodes.iter().find(|(owner, metrics)| {
            *owner == worker && metrics.node == target.node.0 && metrics.address == target.address
        });
        if let Some((_, metrics)) = known {
            return Arc::clone(metrics);
        }
        let metrics = Arc::new(NodeMetrics {
            address: Arc::clone(&target.address),
            node: target.node.0,
            ..NodeMetrics::default()
        });
        nodes.push((worker, Arc::clone(&metrics)));
        metrics
    }

    /// The counters of all workers for all nodes.
    pub fn all_node_metrics(&self) -> Vec<Arc<NodeMetrics>> {
        self.nodes.lock().iter().map(|(_, metrics)| Arc::clone(metrics)).collect()
    }

    /// Tells how to reach the workers. Only the first call counts.
    pub fn set_orders(&self, orders: Vec<mpsc::Sender<Order>>) {
        let _ = self.orders.set(orders);
    }

    /// Gives an order to a worker. False: it has ended, or has too many orders already.
    pub fn order(&self, worker: usize, order: Order) -> bool {
        let orders = self.orders.get().and_then(|orders| orders.get(worker));
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// Tells where the proxy listens. Only the first call counts.
    pub fn set_addresses(&self, addresses: Addresses) {
        let _ = self.addresses.set(addresses);
    }

    /// The port that clients are told.
    pub fn port(&self) -> u16 {
        self.addresses.get().map_or(0, |addresses| addresses.port)
    }
}

/// Random bytes behind [`Shared::run_id`].
pub const RUN_ID_BYTES: usize = 20;
