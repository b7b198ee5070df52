//! A whole server: listeners, threads, and their end.
//!
//! ```text
//! run ─ bind all ─┬─ torc-worker-0 … N-1   connections
//!                 ├─ torc-accept           acceptors, HTTP, housekeeping
//!                 ├─ torc-free             drops big values
//!                 └─ torc-agent, torc-repl   of a member of a cluster, see [`crate::agent`]
//! ```
//!
//! Nothing is left behind when the start fails: every listener is bound before a thread runs, and what was bound
//! goes with the error.

mod listeners;
mod member;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use torc_runtime::datadir::{self, DataDirError};
use torc_runtime::listen::acceptor::{self, HANDOVER_QUEUE};
use torc_runtime::listen::{ListenError, Listener};
use torc_runtime::lockfile::{FolderLock, LockError};
use torc_runtime::shutdown::Shutdown;
use torc_runtime::{clock, http};

use crate::agent::{Agent, AgentHandle};
use crate::config::{ConfigError, ServerConfig};
use crate::conn::{Protocol, worker};
use crate::memcached::watch::CloseReason;
use crate::node::Node;
use crate::shard::Role;
use crate::store::KeyHasher;
use listeners::Listeners;

/// File in the folder that says where the server is.
pub const SERVER_FILE: &str = "server.json";

/// File descriptors beside those of clients.
const SPARE_FILES: u64 = 128;

/// How long a primary that stops waits for another member to take over.
const LEAVE_TIME: Duration = Duration::from_secs(3);

/// How often it looks.
const LEAVE_LOOK: Duration = Duration::from_millis(5);

/// How long the workers get to end, beyond what they give their connections.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How often the end looks whether they have.
const STOP_LOOK: Duration = Duration::from_millis(2);

/// How often rates are worked out and idle clients are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

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
    /// The node's part in its cluster could not be started.
    #[error(transparent)]
    Agent(#[from] crate::agent::StartError),
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
    /// The bus between nodes; 0 in a plain store.
    #[serde(default)]
    pub bus_port: u16,
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
    agent: Option<AgentHandle>,
    file: Option<PathBuf>,
    _lock: Option<FolderLock>,
}

impl Running {
    /// The node's part in its cluster; `None` in a plain store.
    pub fn agent(&self) -> Option<&Arc<Agent>> {
        self.agent.as_ref().map(|handle| &handle.agent)
    }

    /// The token that ends it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits until the server has ended.
    pub fn wait(mut self) {
        // The acceptor's thread is the last one: it ends when the server is asked to.
        if self.threads.pop().is_some_and(|accept| accept.join().is_err()) {
            tracing::error!("a thread of the server panicked");
        }
        if all_end(self.threads, STOP_TIME) {
            if let Some(agent) = self.agent {
                agent.join();
            }
        } else {
            // Nothing ends a script that is inside one call of Lua's own functions, such as a pattern that takes for
            // ever; it may hold keys that the agent waits for, too.
            tracing::error!(seconds = STOP_TIME.as_secs(), "a worker does not end: left behind");
        }
        if let Some(file) = self.file {
            // A file that is gone already is as good.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// Waits until all threads have ended, for so long; false when one of them has not.
fn all_end(threads: Vec<JoinHandle<()>>, within: Duration) -> bool {
    let until_ns = clock::boottime_ns().saturating_add(within.as_nanos() as u64);
    for thread in threads {
        while !thread.is_finished() {
            if clock::boottime_ns() >= until_ns {
                return false;
            }
            std::thread::sleep(STOP_LOOK);
        }
        if thread.join().is_err() {
            tracing::error!("a thread of the server panicked");
        }
    }
    true
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
    let secret = member::read_secret(config)?;
    let open = !settings.requirepass.is_empty() || secret.is_some();
    let Listeners { clients, http, bus, addresses } = listeners::bind_all(config, open)?;
    let max_clients = fitting_max_clients(settings.max_clients);
    let mut settings = crate::settings::Settings { max_clients, ..settings };
    listeners::tell(config, &addresses, &mut settings);

    let workers = config.worker_threads();
    let mut seed = [0; 20];
    datadir::random_bytes(&mut seed).map_err(StartError::Thread)?;
    let node = Node::new(
        settings,
        workers,
        config.cluster.is_some(),
        KeyHasher::new(member::hash_seed(secret.as_ref())),
        clock::unix_ms(),
        seed,
        secret,
    );
    node.clients.limit.set_limit(max_clients);
    // Only the first to set it counts, and that is this call: nobody else has the node yet.
    let _ = node.shutdown.set(shutdown.clone());

    if bus.is_none() {
        member::begin_plain_term(config, &node)?;
    }

    // Trips for the threads once the lease was handed back.
    let stop = Shutdown::new();
    let agent = match bus {
        Some(bus) => Some(member::join(config, &node, bus, &addresses, &stop)?),
        None => None,
    };
    let shared = agent.as_ref().map(|handle| handle.agent.clone());
    let mut threads = Vec::new();
    let doors = start_workers(&node, workers, &stop, &mut threads);
    let started = doors.and_then(|doors| {
        let door = Door { node: node.clone(), agent: shared, workers: doors, clients, http };
        door.start(shutdown.clone(), stop.clone(), &mut threads)
    });
    let file = config.dir.as_ref().map(|dir| dir.join(SERVER_FILE));
    let written = started.and_then(|()| match &file {
        Some(file) => write_file(file, &addresses),
        None => Ok(()),
    });
    if let Err(error) = written {
        stop.trigger();
        threads.into_iter().for_each(|thread| drop(thread.join()));
        if let Some(agent) = agent {
            agent.join();
        }
        return Err(error);
    }
    Ok(Running { node, addresses, shutdown, threads, agent, file, _lock: lock })
}

fn write_file(file: &Path, addresses: &Addresses) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(addresses).map_err(|e| StartError::Thread(e.into()))?;
    Ok(datadir::write_atomic(file, (text + "\n").as_bytes(), 0o644)?)
}

/// Hands accepted connections to a worker.
type WorkerDoor = mpsc::Sender<acceptor::Accepted<Protocol>>;

fn start_workers(
    node: &Arc<Node>,
    workers: usize,
    stop: &Shutdown,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Vec<WorkerDoor>, StartError> {
    let mut doors = Vec::new();
    for (index, moving) in node.balance.open(workers).into_iter().enumerate() {
        let (door, connections) = mpsc::channel(HANDOVER_QUEUE);
        let mut seed = [0; 8];
        datadir::random_bytes(&mut seed).map_err(StartError::Thread)?;
        let seed = u64::from_le_bytes(seed);
        let thread = worker::start(node.clone(), index, seed, connections, moving, stop.clone());
        threads.push(thread.map_err(StartError::Thread)?);
        doors.push(door);
    }
    Ok(doors)
}

/// What the accepting thread owns.
struct Door {
    node: Arc<Node>,
    agent: Option<Arc<Agent>>,
    workers: Vec<WorkerDoor>,
    clients: Vec<(Listener, Protocol)>,
    http: Vec<Listener>,
}

impl Door {
    /// Starts the thread. When `shutdown` trips it hands the lease back, then trips `stop`.
    fn start(
        self,
        shutdown: Shutdown,
        stop: Shutdown,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> Result<(), StartError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let thread = std::thread::Builder::new().name("torc-accept".into());
        let thread = thread.spawn(move || runtime.block_on(self.serve(shutdown, stop)));
        threads.push(thread.map_err(StartError::Thread)?);
        Ok(())
    }

    async fn serve(self, shutdown: Shutdown, stop: Shutdown) {
        let node = self.node;
        let mut tasks = tokio::task::JoinSet::new();
        for (listener, protocol) in self.clients {
            let (doors, limit, stop) = (self.workers.clone(), node.clients.limit.clone(), stop.clone());
            tasks.spawn(async move {
                acceptor::run(listener, protocol, doors, limit, protocol.refusal(), stop).await
            });
        }
        drop(self.workers);
        for listener in self.http {
            let routes = crate::metrics::routes(&node, self.agent.as_ref());
            tasks.spawn(http::serve(listener, routes, http::HttpLimits::default(), stop.clone()));
        }
        tokio::spawn(keep_house(node.clone()));
        tokio::spawn(crate::lock::expire(node.clone()));
        tokio::select! {
            () = shutdown.wait() => {}
            () = stop.wait() => {}
        }
        if let Some(agent) = self.agent {
            let until_ns = clock::boottime_ns() + LEAVE_TIME.as_nanos() as u64;
            agent.leave();
            while node.shard.role() == Role::Primary && agent.has_heir() && clock::boottime_ns() < until_ns {
                tokio::time::sleep(LEAVE_LOOK).await;
            }
        }
        stop.trigger();
        node.scripts.stop_all();
        node.clients.finish_all();
        while let Some(ended) = tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                tracing::error!(%error, "a listener failed");
            }
        }
    }
}

/// Once a second: rates for INFO, and clients that were silent for longer than `timeout` are closed.
async fn keep_house(node: Arc<Node>) {
    loop {
        node.sample(clock::boottime_ns());
        tokio::time::sleep(HOUSEKEEPING).await;
        let settings = node.settings.load();
        let patience = settings.busy_reply_ms / HOUSEKEEPING.as_millis() as u64 + SCRIPT_GRACE_LOOKS;
        let limit_s = settings.timeout_s;
        drop(settings);
        // A plain store goes by what its clients say, as Redis does: SCRIPT KILL is heard while a script is running.
        let alone = node.shard.role() == Role::Plain;
        let ended = if alone { 0 } else { node.scripts.watch(u32::try_from(patience).unwrap_or(u32::MAX)) };
        if ended > 0 {
            tracing::warn!(ended, "scripts were ended: beyond busy-reply-threshold, and nothing written");
        }
        if limit_s > 0 {
            let now_ms = clock::unix_ms();
            for client in node.clients.all() {
                let listens = client.is_blocked() || client.is_subscriber() || client.is_monitor();
                if client.idle_s(now_ms) > limit_s && !listens {
                    client.ends_by(CloseReason::IdleTimeout);
                    client.close();
                }
            }
        }
    }
}

/// Looks that a script has beyond `busy-reply-threshold`, for somebody to send SCRIPT KILL, before it is ended.
const SCRIPT_GRACE_LOOKS: u64 = 3;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_end_is_left_behind() {
        let (door, never) = std::sync::mpsc::channel::<()>();
        let stuck = std::thread::spawn(move || assert!(never.recv().is_err()));
        let quick = std::thread::spawn(|| ());
        assert!(!all_end(vec![quick, stuck], Duration::from_millis(20)));
        drop(door);
        let quick = vec![std::thread::spawn(|| ()), std::thread::spawn(|| ())];
        assert!(all_end(quick, Duration::from_secs(10)));
    }
}
