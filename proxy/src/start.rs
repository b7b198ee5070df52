//! Puts a proxy together, and takes it apart in good order.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use torc_cluster::ClusterMap;
use torc_protocol::error;
use torc_protocol::handshake::{Role, Secret};
use torc_protocol::memcached::text;
use torc_runtime::bus::BusIdentity;
use torc_runtime::current_thread;
use torc_runtime::datadir::random_bytes;
use torc_runtime::http::{HttpLimits, Response, Routes, serve};
use torc_runtime::listen::acceptor::{self, HANDOVER_QUEUE};
use torc_runtime::listen::{Listener, port_of};
use torc_runtime::map_watch::MapWatcher;
use torc_runtime::shutdown::Shutdown;

use crate::collect;
use crate::config::{ConfigError, ProxyConfig};
use crate::reload::{ReadAgain, Reloader};
use crate::shared::{Addresses, RUN_ID_BYTES, Shared};
use crate::table::RouteTable;
use crate::worker::{self, Accepted, MAX_ORDERS, Protocol};

/// Bound listeners.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For RESP clients, over TCP or unix sockets.
    pub resp: Vec<Listener>,
    /// For memcached clients.
    pub memcached: Vec<Listener>,
    /// For `/metrics`, `/healthz`, `/readyz`.
    pub http: Vec<Listener>,
}

/// Where the cluster map comes from.
#[derive(Debug)]
pub enum MapSource {
    /// From the nodes' buses: `HOST:PORT` of some of them. The others are learnt from the map.
    Watch(Vec<String>),
    /// From whoever holds the other end.
    Given(watch::Receiver<Arc<ClusterMap>>),
}

/// Everything that a proxy is made of.
pub struct Setup {
    /// Its settings.
    pub config: ProxyConfig,
    /// Where it listens.
    pub listeners: Listeners,
    /// The cluster secret. Without it nodes are asked without a handshake, which only tests want.
    pub secret: Option<Secret>,
    /// Where the map comes from.
    pub maps: MapSource,
    /// Ends it.
    pub shutdown: Shutdown,
    /// Reads the configuration again, at SIGHUP; none: the signal does what it does by itself.
    pub read_again: Option<ReadAgain>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Why a proxy could not be started.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// A setting cannot be.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A policy's prefix is longer than any in the map may be.
    #[error("a thread or runtime could not be started: {0}")]
    Start(#[from] io::Error),
    /// The metrics clash: a mistake of ours.
    #[error("the metrics could not be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The nodes' buses answer only to those who know the secret.
    #[error("watching the map needs the cluster secret")]
    NoSecret,
}

/// A running proxy.
#[derive(Debug)]
pub struct ProxyHandle {
    addresses: Addresses,
    shutdown: Shutdown,
    shared: Arc<Shared>,
    reloader: Reloader,
    threads: Vec<JoinHandle<()>>,
}

impl ProxyHandle {
    /// The ports that it listens on (0: none).
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether requests can be served: `Err` says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        ready(&self.shared)
    }

    /// Takes another configuration without closing a connection; an error leaves the old one. Gives the names of
    /// options that differ and need a restart. Workers go by it within a tenth of a second.
    pub fn reload(&self, config: ProxyConfig) -> Result<Vec<&'static str>, ConfigError> {
        self.reloader.apply(config)
    }

    /// Ends when the proxy has ended: all clients' requests are answered, or the drain time has passed.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the proxy panicked");
                self.shutdown.trigger();
            }
        }
    }
}

/// Starts a proxy on threads of its own.
pub fn start(setup: Setup) -> Result<ProxyHandle, ProxyError> {
    let Setup { config, listeners, secret, maps, shutdown, read_again } = setup;
    config.check()?;
    if secret.is_none() && matches!(maps, MapSource::Watch(_)) {
        return Err(ProxyError::NoSecret);
    }
    let none = Arc::new(RouteTable::new(Arc::new(ClusterMap::default()), &config.policy));
    let (tables, newest) = watch::channel(none);
    let addresses = Addresses {
        port: port_of(&listeners.resp),
        memcached_port: port_of(&listeners.memcached),
        http_port: port_of(&listeners.http),
    };
    let mut random = [0; RUN_ID_BYTES];
    random_bytes(&mut random)?;
    let users = config.memcached_users()?;
    let shared = Arc::new(Shared::new(config, secret, newest, random, users));
    shared.set_addresses(addresses.clone());
    let registry = prometheus::Registry::new();
    collect::install(&registry, Arc::clone(&shared))?;

    let (mut threads, mut workers, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..shared.config.threads {
        let (accepted, connections) = mpsc::channel(HANDOVER_QUEUE);
        let (order, received) = mpsc::channel(MAX_ORDERS);
        threads.push(worker::spawn(Arc::clone(&shared), index, connections, received, shutdown.clone())?);
        workers.push(accepted);
        orders.push(order);
    }
    shared.set_orders(orders);
    let reloader = Reloader::new(Arc::clone(&shared), tables.clone());
    let control =
        Control { shared: Arc::clone(&shared), tables, workers, registry, shutdown: shutdown.clone() };
    let runtime = current_thread::new()?;
    if let Some(read) = read_again {
        // The handler is in place before anybody can know the proxy's process id.
        let _context = runtime.enter();
        let hangups = signal(SignalKind::hangup())?;
        runtime.spawn(reloader.clone().at_each(hangups, read));
    }
    threads.push(
        thread::Builder::new()
            .name("torc-control".into())
            .spawn(move || current_thread::block_on(runtime, control.run(listeners, maps)))?,
    );
    Ok(ProxyHandle { addresses, shutdown, shared, reloader, threads })
}

/// Ready: there is a map, and every shard has a primary.
fn ready(shared: &Shared) -> Result<(), String> {
    let table = shared.tables.borrow();
    if table.shards.is_empty() {
        return Err("there is no cluster map yet".into());
    }
    match table.shards.iter().find(|shard| shard.primary.is_none()) {
        Some(shard) => Err(format!("shard {} has no primary", shard.id.0)),
        None if !table.is_whole() => Err("some slots have no owner".into()),
        None => Ok(()),
    }
}

/// What the control thread holds.
struct Control {
    shared: Arc<Shared>,
    tables: watch::Sender<Arc<RouteTable>>,
    workers: Vec<mpsc::Sender<Accepted>>,
    registry: prometheus::Registry,
    shutdown: Shutdown,
}

impl Control {
    async fn run(self, listeners: Listeners, maps: MapSource) {
        let Listeners { resp, memcached, http } = listeners;
        for listener in resp {
            self.accept(listener, Protocol::Resp, error::MAX_CLIENTS_REPLY);
        }
        for listener in memcached {
            self.accept(listener, Protocol::Memcached, text::MAX_CLIENTS_REPLY);
        }
        for listener in http {
            self.http(listener);
        }
        let maps = match (maps, &self.shared.secret) {
            (MapSource::Given(maps), _) => maps,
            (MapSource::Watch(seeds), Some(secret)) => {
                let name = self.shared.config.name.clone();
                let identity = BusIdentity { secret: secret.clone(), role: Role::Proxy, name };
                MapWatcher::new(identity, seeds).start(self.shutdown.clone())
            }
            // `start` has refused this.
            (MapSource::Watch(_), None) => return,
        };
        let this = Arc::new(self);
        let control = Arc::clone(&this);
        tokio::spawn(async move { control.follow(maps).await });
        this.shutdown.wait().await;
    }

    fn accept(&self, listener: Listener, protocol: Protocol, refusal: &'static [u8]) {
        let (workers, limit) = (self.workers.clone(), self.shared.limit.clone());
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let address = listener.local_address();
            if let Err(cause) =
                acceptor::run(listener, protocol, workers, limit, refusal, shutdown.clone()).await
            {
                tracing::error!(%address, %cause, "cannot accept connections any more");
                shutdown.trigger();
            }
        });
    }

    fn http(&self, listener: Listener) {
        let (for_ready, for_pages) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let routes = Routes::new(self.registry.clone()).ready(move || ready(&for_ready)).pages(move |path| {
            let table = Arc::clone(&for_pages.tables.borrow());
            (path == "/map").then(|| Response::json_of(&*table.map))
        });
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            if let Err(cause) = serve(listener, routes, HttpLimits::default(), shutdown).await {
                tracing::error!(%cause, "cannot serve HTTP");
            }
        });
    }

    /// Makes a routing table of each map.
    async fn follow(&self, mut maps: watch::Receiver<Arc<ClusterMap>>) {
        loop {
            let map = Arc::clone(&maps.borrow_and_update());
            self.tables.send_if_modified(|table| {
                let newer = map.epoch > table.map.epoch;
                if newer {
                    tracing::info!(epoch = map.epoch.0, shards = map.shards.len(), "got a map");
                    *table = Arc::new(RouteTable::new(map, &self.shared.settings.load().policy));
                }
                newer
            });
            tokio::select! {
                changed = maps.changed() => if changed.is_err() { return },
                () = self.shutdown.wait() => return,
            }
        }
    }
}
