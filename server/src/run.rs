//! A whole server: listeners, threads, and their end.
//!
//! ```text
//! run ─ bind all ─┬─ torc-worker-0 … N-1   connections
//!                 ├─ torc-accept           acceptors, HTTP, idle clients
//!                 └─ torc-free             drops big values
//! ```
//!
//! Nothing is left behind when the start fails: every listener is bound before a thread runs, and what was bound
//! goes with the error.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use torc_protocol::handshake::Secret;
use torc_runtime::datadir::{self, DataDirError};
use torc_runtime::listen::acceptor::{self, HANDOVER_QUEUE};
use torc_runtime::listen::{Address, ListenError, Listener, PortChoice, SocketOptions, bind};
use torc_runtime::lockfile::{FolderLock, LockError};
use torc_runtime::shutdown::Shutdown;
use torc_runtime::{clock, http};

use crate::config::{ConfigError, ServerConfig};
use crate::conn::{Protocol, worker};
use crate::node::Node;
use crate::store::{KeyHasher, hash::DEFAULT_SEED};

/// File in the folder that says where the server is.
pub const SERVER_FILE: &str = "server.json";

/// File descriptors beside those of clients.
const SPARE_FILES: u64 = 128;

/// How often idle clients are looked for.
const IDLE_LOOK: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder is of no use.
    #[error(transparent)]
    Folder(#[from] DataDirError),
    /// Another process has the folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A thread or its runtime could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Where a server listens; also the content of [`SERVER_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Addresses {
    /// Process id.
    pub pid: u32,
    /// Host of all ports, as clients on this machine dial it.
    pub host: String,
    /// RESP; 0: none.
    pub port: u16,
    /// memcached; 0: none.
    pub memcached_port: u16,
    /// HTTP; 0: none.
    pub http_port: u16,
    /// The unix socket.
    pub unixsocket: Option<PathBuf>,
}

/// A server that runs.
pub struct Running {
    /// The process's state.
    pub node: Arc<Node>,
    /// Where it listens.
    pub addresses: Addresses,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
    file: Option<PathBuf>,
    _lock: Option<FolderLock>,
}

impl Running {
    /// The token that ends it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits until the server has ended.
    pub fn wait(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the server panicked");
            }
        }
        if let Some(file) = self.file {
            // A file that is gone already is as good.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// The listeners of a server.
struct Listeners {
    clients: Vec<(Listener, Protocol)>,
    http: Vec<Listener>,
    addresses: Addresses,
}

/// Starts a server; it ends when `shutdown` trips (a client's SHUTDOWN trips it too).
pub fn run(config: &ServerConfig, shutdown: Shutdown) -> Result<Running, StartError> {
    config.check()?;
    let settings = config.settings()?;
    let lock = match &config.dir {
        Some(dir) => {
            datadir::create(dir)?;
            Some(FolderLock::acquire(dir)?)
        }
        None => None,
    };
    let secret = read_secret(config)?;
    let open = !config.requirepass.is_empty() || secret.is_some();
    let Listeners { clients, http, addresses } = listen(config, open)?;
    let max_clients = fitting_max_clients(settings.max_clients);
    let settings = crate::settings::Settings { max_clients, ..settings };

    let workers = config.worker_threads();
    let mut seed = [0; 20];
    datadir::random_bytes(&mut seed).map_err(StartError::Thread)?;
    let node = Node::new(
        settings,
        workers,
        config.cluster.is_some(),
        KeyHasher::new(DEFAULT_SEED),
        clock::unix_ms(),
        seed,
        secret,
    );
    node.clients.limit.set_limit(max_clients);
    // Only the first to set it counts, and that is this call: nobody else has the node yet.
    let _ = node.shutdown.set(shutdown.clone());

    let mut threads = Vec::new();
    let started = start_threads(&node, workers, clients, http, &shutdown, &mut threads);
    let file = config.dir.as_ref().map(|dir| dir.join(SERVER_FILE));
    let written = started.and_then(|()| match &file {
        Some(file) => write_file(file, &addresses),
        None => Ok(()),
    });
    if let Err(error) = written {
        shutdown.trigger();
        threads.into_iter().for_each(|thread| drop(thread.join()));
        return Err(error);
    }
    Ok(Running { node, addresses, shutdown, threads, file, _lock: lock })
}

fn write_file(file: &Path, addresses: &Addresses) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(addresses).map_err(|e| StartError::Thread(e.into()))?;
    Ok(datadir::write_atomic(file, (text + "\n").as_bytes(), 0o644)?)
}

fn start_threads(
    node: &Arc<Node>,
    workers: usize,
    clients: Vec<(Listener, Protocol)>,
    http: Vec<Listener>,
    shutdown: &Shutdown,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<(), StartError> {
    let mut doors = Vec::new();
    for index in 0..workers {
        let (door, connections) = mpsc::channel(HANDOVER_QUEUE);
        let mut seed = [0; 8];
        datadir::random_bytes(&mut seed).map_err(StartError::Thread)?;
        let seed = u64::from_le_bytes(seed);
        let thread = worker::start(node.clone(), index, seed, connections, shutdown.clone());
        threads.push(thread.map_err(StartError::Thread)?);
        doors.push(door);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
    let (node, shutdown) = (node.clone(), shutdown.clone());
    let door = std::thread::Builder::new().name("torc-accept".into()).spawn(move || {
        runtime.block_on(accept(node, doors, clients, http, shutdown));
    });
    threads.push(door.map_err(StartError::Thread)?);
    Ok(())
}

/// The accepting thread: accepts, answers HTTP, closes idle clients.
async fn accept(
    node: Arc<Node>,
    doors: Vec<mpsc::Sender<acceptor::Accepted<Protocol>>>,
    clients: Vec<(Listener, Protocol)>,
    http: Vec<Listener>,
    shutdown: Shutdown,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for (listener, protocol) in clients {
        let (doors, limit, shutdown) = (doors.clone(), node.clients.limit.clone(), shutdown.clone());
        tasks.spawn(async move {
            acceptor::run(listener, protocol, doors, limit, protocol.refusal(), shutdown).await
        });
    }
    drop(doors);
    for listener in http {
        let routes = crate::metrics::routes(&node);
        tasks.spawn(http::serve(listener, routes, http::HttpLimits::default(), shutdown.clone()));
    }
    tokio::spawn(close_idle_clients(node.clone()));
    shutdown.wait().await;
    node.clients.finish_all();
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::error!(%error, "a listener failed");
        }
    }
}

/// Closes clients that were silent for longer than `timeout`.
async fn close_idle_clients(node: Arc<Node>) {
    loop {
        tokio::time::sleep(IDLE_LOOK).await;
        let limit_s = node.settings.load().timeout_s;
        if limit_s > 0 {
            let now_ms = clock::unix_ms();
            for client in node.clients.all() {
                if client.idle_s(now_ms) > limit_s && !client.is_blocked() {
                    client.close();
                }
            }
        }
    }
}

fn read_secret(config: &ServerConfig) -> Result<Option<Secret>, StartError> {
    let file = match (&config.secret_file, &config.dir) {
        (Some(file), _) => file.clone(),
        (None, Some(dir)) => dir.join(datadir::SECRET_FILE),
        (None, None) => return Ok(None),
    };
    match datadir::read_secret(&file)? {
        Some(text) => Secret::from_hex(&text)
            .map(Some)
            .map_err(|error| ConfigError::new("secret_file", format!("{}: {error}", file.display())).into()),
        None if config.secret_file.is_some() => {
            Err(ConfigError::new("secret_file", format!("there is no file {}", file.display())).into())
        }
        None => Ok(None),
    }
}

/// Binds everything; `open`: there is a password or a secret, so strangers may knock.
fn listen(config: &ServerConfig, open: bool) -> Result<Listeners, StartError> {
    let hosts = match (config.bind.is_empty(), open) {
        (false, _) => config.bind.clone(),
        (true, true) => vec!["0.0.0.0".to_owned()],
        (true, false) => vec!["127.0.0.1".to_owned()],
    };
    let options = SocketOptions::default();
    let on_all = |choice: PortChoice| -> Result<(Vec<Listener>, u16), StartError> {
        let Some(mut port) = choice.to_bind() else { return Ok((Vec::new(), 0)) };
        let mut bound = Vec::new();
        for host in &hosts {
            let listener = bind(&Address::tcp(host.clone(), port), &options)?;
            // The first host draws the port, the others follow it.
            port = listener.port().unwrap_or(port);
            bound.push(listener);
        }
        Ok((bound, port))
    };
    let (resp, port) = on_all(config.port)?;
    let (memcached, memcached_port) = on_all(config.memcached_port)?;
    let (http, http_port) = on_all(config.http_port)?;
    let mut clients: Vec<_> = resp.into_iter().map(|l| (l, Protocol::Resp)).collect();
    clients.extend(memcached.into_iter().map(|l| (l, Protocol::Memcached)));
    if let Some(path) = &config.unixsocket {
        let address = Address::Unix { path: path.clone(), mode: config.unixsocket_mode_bits()? };
        clients.push((bind(&address, &options)?, Protocol::Resp));
    }
    let host = match hosts.first().map(String::as_str) {
        None | Some("0.0.0.0" | "::") => "127.0.0.1".to_owned(),
        Some(host) => host.to_owned(),
    };
    let unixsocket = config.unixsocket.clone();
    let addresses = Addresses { pid: std::process::id(), host, port, memcached_port, http_port, unixsocket };
    Ok(Listeners { clients, http, addresses })
}

/// Raises the limit on open files as far as the system lets us; answers how many clients fit.
fn fitting_max_clients(wanted: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + SPARE_FILES;
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |most| needed.min(most));
        let old = limit.current.replace(raised);
        if setrlimit(Resource::Nofile, limit).is_err() {
            limit.current = old;
        }
    }
    match limit.current {
        Some(current) if current < needed => {
            let fits = current.saturating_sub(SPARE_FILES).max(1) as usize;
            tracing::warn!(wanted, fits, "the limit on open files is too low for maxclients");
            fits
        }
        _ => wanted,
    }
}
