//! `torc server`: one store.

use std::error::Error;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use torc_runtime::listen::PortChoice;
use torc_runtime::shutdown;
use torc_server::ServerConfig;

use super::options::{ConfigArgs, ListenArgs, LogArgs, LogOptions, check_join, given};
use crate::allocator;

/// Options of `torc server`: flags, then the environment, then the file, then defaults.
#[derive(Args, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Worker threads; 0: one for each core [default: 0]
    #[arg(long, env = "TORC_THREADS", value_name = "N")]
    threads: Option<usize>,
    /// Folder for the node's files [default: none]
    #[arg(long, env = "TORC_DIR", value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Password that clients must give
    #[arg(long, env = "TORC_REQUIREPASS", value_name = "PASSWORD", hide_env_values = true)]
    requirepass: Option<String>,
    /// Memory for keys and values, such as 100mb [default: three quarters of the container's limit]
    #[arg(long, env = "TORC_MAXMEMORY", value_name = "SIZE")]
    maxmemory: Option<String>,
    /// An option of CONFIG SET, such as maxmemory-policy=allkeys-lru; may be given more than once
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<Setting>,
    /// Name of the cluster to be a member of
    #[arg(long, env = "TORC_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Bus addresses of nodes of the cluster
    #[arg(long, env = "TORC_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    join: Option<Vec<String>>,
    /// Host under which others reach this node
    #[arg(long, env = "TORC_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Failure domain of the node
    #[arg(long, env = "TORC_ZONE", value_name = "ZONE")]
    zone: Option<String>,
    /// Number of the node in the cluster, for a folder that has none yet [default: a random one]
    #[arg(long, env = "TORC_NODE_ID", value_name = "N")]
    node_id: Option<u64>,
    /// Port of the bus between nodes: a number or 'auto' [default: the RESP port + 10000]
    #[arg(long, env = "TORC_BUS_PORT", value_name = "PORT")]
    bus_port: Option<PortChoice>,
    /// Share of shards that the node wants beside others [default: 100]
    #[arg(long, env = "TORC_WEIGHT", value_name = "N")]
    weight: Option<u32>,
    /// The cluster's lease in milliseconds, at its first start [default: 500]
    #[arg(long, env = "TORC_LEASE_MS", value_name = "MS")]
    lease_ms: Option<u64>,
    /// Bytes of effects that are kept for replicas which fall behind
    #[arg(long, env = "TORC_BACKLOG_BYTES", value_name = "BYTES")]
    backlog_bytes: Option<usize>,
    /// Bytes of effects that are kept at most while a connected replica has yet to be sent them [default: four times as
    /// many, 256 MiB at least]
    #[arg(long, env = "TORC_BACKLOG_MAX_BYTES", value_name = "BYTES")]
    backlog_max_bytes: Option<usize>,
    /// File with the cluster secret [default: cluster.secret in the folder]
    #[arg(long, env = "TORC_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Answer DEBUG
    #[arg(long, env = "TORC_ENABLE_DEBUG", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    enable_debug: Option<bool>,
    #[command(flatten)]
    log: LogArgs,
}

/// `NAME=VALUE`.
#[derive(Clone, Debug)]
struct Setting {
    name: String,
    value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
        Ok(Setting { name: name.to_owned(), value: value.to_owned() })
    }
}

/// All options, merged.
#[derive(Debug, Serialize)]
struct Options {
    #[serde(flatten)]
    log: LogOptions,
    #[serde(flatten)]
    server: ServerConfig,
}

/// Runs the server until a signal or SHUTDOWN ends it.
pub fn run(args: ServerArgs) -> Result<(), Box<dyn Error>> {
    let check_only = args.config.check_config;
    let options = merge(args)?;
    options.log.check()?;
    options.server.check()?;
    check_join(&options.server.join)?;
    if check_only {
        let mut shown = options;
        if !shown.server.requirepass.is_empty() {
            shown.server.requirepass = "(hidden)".into();
        }
        print!("{}", toml::to_string(&shown)?);
        return Ok(());
    }
    options.log.init()?;
    let shutdown = shutdown::on_signals()?;
    let running = torc_server::run(&options.server, shutdown)?;
    // Only the first to set it counts, and nobody else does.
    let _ = running.node.allocator.set(allocator::stats);
    let at = &running.addresses;
    tracing::info!(
        pid = at.pid,
        host = at.host,
        port = at.port,
        memcached_port = at.memcached_port,
        http_port = at.http_port,
        "ready"
    );
    running.wait();
    tracing::info!("stopped");
    Ok(())
}

/// Puts the sources of options together.
fn merge(args: ServerArgs) -> Result<Options, Box<dyn Error>> {
    let mut table = args.config.read()?;
    let log = LogOptions::merge(args.log, &mut table)?;
    let named = |error: toml::de::Error| args.config.in_file(error);
    let mut config: ServerConfig = toml::Value::Table(table).try_into().map_err(named)?;
    given!(args.listen => config: port, memcached_port, http_port, bind, unixsocket_mode);
    given!(args => config: threads, requirepass, maxmemory, join, zone, enable_debug);
    macro_rules! given_some {
        ($($field:ident),*) => { $(config.$field = args.$field.or(config.$field);)* };
    }
    given_some!(node_id, dir, cluster, advertise, bus_port, secret_file, weight, lease_ms);
    given_some!(backlog_bytes, backlog_max_bytes);
    config.unixsocket = args.listen.unixsocket.or(config.unixsocket);
    config.memcached_auth_file = args.listen.memcached_auth_file.or(config.memcached_auth_file);
    config.memcached_unixsocket = args.listen.memcached_unixsocket.or(config.memcached_unixsocket);
    config.config_file = args.config.config;
    for Setting { name, value } in args.set {
        config.redis.insert(name, value);
    }
    Ok(Options { log, server: config })
}
