//! `torc up`: a whole cluster on this machine.
//!
//! Every node is a process of its own (`torc server`), and so is the proxy; this process starts them, makes them a
//! cluster, looks after them and stops them. What it knows of them is in `cluster.json`.

mod layout;
mod options;
mod ports;
mod process;
mod running;
pub mod state;
mod words;

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use torc_cluster::map::Settings;
use torc_runtime::datadir;
use torc_runtime::listen::{Address, PortChoice, SocketOptions, bind};
use torc_runtime::lockfile::FolderLock;
use torc_runtime::shutdown;

use super::tool::{DEFAULT_DIR, block_on};
use layout::{HOST, Layout};
use ports::Ports;
pub use process::follow_parent;

/// Name of a cluster that was given none.
const DEFAULT_NAME: &str = "torc";

/// Options of `torc up`.
#[derive(Args, Clone, Debug)]
pub struct UpArgs {
    /// Number of shards [default: 3, or what the folder's cluster has]
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// Replicas of each shard beside its primary [default: 1, or what the folder's cluster has]
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,
    /// The proxy's port for RESP: a number, 'auto' or 0
    #[arg(long, env = "TORC_PORT", default_value = "6379")]
    port: PortChoice,
    /// The proxy's port for memcached: a number, 'auto' or 0
    #[arg(long, env = "TORC_MEMCACHED_PORT", default_value = "11211", value_name = "PORT")]
    memcached_port: PortChoice,
    /// The proxy's port for metrics and health over HTTP: a number, 'auto' or 0
    #[arg(long, env = "TORC_HTTP_PORT", default_value = "9379", value_name = "PORT")]
    http_port: PortChoice,
    /// Folder for the cluster's files
    #[arg(long, env = "TORC_DIR", value_name = "FOLDER", default_value = DEFAULT_DIR)]
    dir: PathBuf,
    /// Name of the cluster [default: torc, or what the folder's cluster has]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Password that clients must give
    #[arg(long, env = "TORC_REQUIREPASS", value_name = "PASSWORD", hide_env_values = true)]
    requirepass: Option<String>,
    /// Worker threads of each node
    #[arg(long, value_name = "N", default_value_t = 1)]
    node_threads: usize,
    /// Worker threads of the proxy
    #[arg(long, value_name = "N", default_value_t = 1)]
    proxy_threads: usize,
    /// How long a primary may serve after its last renewal was sent, in milliseconds; all other times follow it
    /// [default: 500, or what the folder's cluster has]
    #[arg(long, env = "TORC_LEASE_MS", value_name = "MS")]
    lease_ms: Option<u64>,
    /// Leave processes that ended alone
    #[arg(long)]
    no_restart: bool,
    /// Log level of all processes
    #[arg(long, env = "TORC_LOG_LEVEL", value_name = "FILTER", default_value = "info")]
    log_level: String,
}

/// Ports of the proxy, drawn.
#[derive(Clone, Copy, Debug)]
struct ProxyPorts {
    port: u16,
    memcached_port: u16,
    http_port: u16,
}

/// Runs a cluster until Ctrl-C.
pub fn run(args: UpArgs) -> Result<(), Box<dyn Error>> {
    // Everything that can be wrong is looked at before anything is made.
    options::check(&args)?;
    let mut drawn = Ports::new();
    let ports = ProxyPorts {
        port: free_port("port", args.port, &mut drawn)?,
        memcached_port: free_port("memcached-port", args.memcached_port, &mut drawn)?,
        http_port: free_port("http-port", args.http_port, &mut drawn)?,
    };
    let existed = args.dir.exists();
    datadir::create(&args.dir)?;
    let begun = begin(&args, &mut drawn);
    let (lock, layout, old) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            if !existed {
                // Nothing of ours is in it: a start that failed leaves nothing behind.
                let _ = std::fs::remove_dir_all(&args.dir);
            }
            return Err(error);
        }
    };
    let shutdown = shutdown::on_signals()?;
    let dir = std::fs::canonicalize(&args.dir)?;
    let result = block_on(running::run(args, dir, layout, old, ports, shutdown));
    drop((lock, drawn));
    result
}

/// Locks the folder and finds or plans its cluster; the last part: it was there before.
fn begin(args: &UpArgs, ports: &mut Ports) -> Result<(FolderLock, Layout, bool), Box<dyn Error>> {
    let lock = FolderLock::acquire(&args.dir)?;
    datadir::create_secret(&args.dir.join(datadir::SECRET_FILE))?;
    if let Some(layout) = Layout::read(&args.dir)? {
        let shards = args.shards.unwrap_or(layout.shards);
        let replicas = args.replicas.unwrap_or(layout.replicas);
        if (shards, replicas) != (layout.shards, layout.replicas) {
            return Err(format!(
                "the cluster in {} has {} shards with {} replicas each, not {shards} with {replicas}: leave \
                 --shards and --replicas away, or begin a new cluster with another --dir",
                args.dir.display(),
                layout.shards,
                layout.replicas
            )
            .into());
        }
        if args.lease_ms.is_some_and(|lease_ms| lease_ms != layout.lease_ms) {
            return Err(format!(
                "the cluster in {} has leases of {} ms: leave --lease-ms away, or begin a new cluster with another --dir",
                args.dir.display(),
                layout.lease_ms
            )
            .into());
        }
        if let Some(name) = args.name.as_ref().filter(|name| **name != layout.name) {
            return Err(format!(
                "the cluster in {} is named {}, not {name}: leave --name away, or begin a new cluster with another --dir",
                args.dir.display(),
                layout.name
            )
            .into());
        }
        layout.check_ports(&args.dir)?;
        ports.keep(layout.ports());
        return Ok((lock, layout, true));
    }
    let (shards, replicas) = (args.shards.unwrap_or(3), args.replicas.unwrap_or(1));
    if shards == 0 || shards > 64 || replicas > 8 {
        return Err("take 1 to 64 shards and up to 8 replicas for each".into());
    }
    let lease_ms = args.lease_ms.unwrap_or_else(|| Settings::default().lease_ms);
    Settings::default().scaled_to_lease(lease_ms).check().map_err(|error| format!("--lease-ms: {error}"))?;
    let name = args.name.as_deref().unwrap_or(DEFAULT_NAME);
    let layout = Layout { lease_ms, ..Layout::plan(name, shards, replicas, ports)? };
    layout.write(&args.dir)?;
    Ok((lock, layout, false))
}

/// A port that can be bound now; 0 for none.
fn free_port(option: &str, choice: PortChoice, drawn: &mut Ports) -> Result<u16, Box<dyn Error>> {
    match choice.to_bind() {
        None => Ok(0),
        Some(0) => drawn.draw(),
        Some(number) => {
            let listener = bind(&Address::tcp(HOST, number), &SocketOptions::default())
                .map_err(|error| format!("--{option}: {error}"))?;
            Ok(listener.port().unwrap_or(number))
        }
    }
}
