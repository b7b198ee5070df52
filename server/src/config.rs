//! What a server is started with.
//!
//! [`ServerConfig`] is what configuration files hold, key by key; the command line and the environment set the
//! same fields. What CONFIG SET can change later starts here too and lives on in [`crate::settings::Settings`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use torc_protocol::login::MemcachedUsers;
use torc_protocol::memory::parse_memory;
use torc_runtime::listen::{PortChoice, parse_mode};

use crate::settings::Settings;
use crate::settings::options::SetError;

/// The most worker threads.
pub const MAX_THREADS: usize = 256;

/// Threads that are started when nothing is said, at most.
const DEFAULT_THREADS_MAX: usize = 16;

/// Share of the memory limit of the container that `maxmemory` gets when nothing is said, percent.
const CGROUP_SHARE: u64 = 75;

/// Options of a server. Each can be set in the configuration file, in the environment (`TORC_…`) and on the
/// command line; a later one of these wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Port for RESP: a number, "auto" for a free one, 0 for none.
    pub port: PortChoice,
    /// Port for the memcached protocol.
    pub memcached_port: PortChoice,
    /// Port for metrics and health over HTTP.
    pub http_port: PortChoice,
    /// Addresses to listen on. Empty: loopback alone, or every address when a password or a cluster secret is set.
    pub bind: Vec<String>,
    /// Path of a unix socket for RESP as well.
    pub unixsocket: Option<PathBuf>,
    /// Path of a unix socket for the memcached protocol.
    pub memcached_unixsocket: Option<PathBuf>,
    /// File with the users of the memcached protocol, `user:password` one a line, as memcached's own. Without it
    /// `requirepass` counts for them too.
    pub memcached_auth_file: Option<PathBuf>,
    /// Mode of these sockets, octal as in chmod.
    pub unixsocket_mode: String,
    /// Worker threads; 0: one for each core, at most 16.
    pub threads: usize,
    /// Folder for the node's id, `server.json` and its lock; none: nothing is written.
    pub dir: Option<PathBuf>,
    /// Password of clients; empty: none.
    pub requirepass: String,
    /// Bytes that keys and values may take, with units as in Redis ("100mb"); empty: three quarters of the
    /// container's limit, if there is one; "0": no limit.
    pub maxmemory: String,
    /// Further options with the names and values of CONFIG SET (`maxmemory-policy = "allkeys-lru"`).
    pub redis: BTreeMap<String, String>,
    /// Name of the cluster to be a member of; none: a plain store.
    pub cluster: Option<String>,
    /// Bus addresses (HOST:PORT) of nodes of the cluster.
    pub join: Vec<String>,
    /// Host under which other nodes and clients reach this one.
    pub advertise: Option<String>,
    /// Failure domain of the node; replicas of a shard are spread over zones.
    pub zone: String,
    /// Number of the node in the cluster, taken when the folder has none yet; none: a random one.
    pub node_id: Option<u64>,
    /// Port of the bus; none: the RESP port + 10000, or a free one when that is "auto".
    pub bus_port: Option<PortChoice>,
    /// Share of shards that the node wants beside others (100 when nothing is said); 0: none.
    pub weight: Option<u32>,
    /// The cluster's lease in milliseconds, for the first node that is told (500 when nothing is said).
    pub lease_ms: Option<u64>,
    /// Bytes of effects that are kept for replicas which fall behind.
    pub backlog_bytes: Option<usize>,
    /// Bytes of effects that are kept at most while a connected replica has yet to be sent them; none: four times
    /// backlog_bytes, 256 MiB at least.
    pub backlog_max_bytes: Option<usize>,
    /// File with the cluster secret; none: `cluster.secret` in the folder.
    pub secret_file: Option<PathBuf>,
    /// DEBUG is answered.
    pub enable_debug: bool,
    /// The file that the options came from: CONFIG REWRITE writes into it.
    #[serde(skip)]
    pub config_file: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            port: PortChoice::Number(6379),
            memcached_port: PortChoice::None,
            http_port: PortChoice::None,
            bind: Vec::new(),
            unixsocket: None,
            memcached_unixsocket: None,
            memcached_auth_file: None,
            unixsocket_mode: "660".into(),
            threads: 0,
            dir: None,
            requirepass: String::new(),
            maxmemory: String::new(),
            redis: BTreeMap::new(),
            cluster: None,
            join: Vec::new(),
            advertise: None,
            zone: String::new(),
            node_id: None,
            bus_port: None,
            weight: None,
            lease_ms: None,
            backlog_bytes: None,
            backlog_max_bytes: None,
            secret_file: None,
            enable_debug: false,
            config_file: None,
        }
    }
}

/// An option that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option '{option}': {problem}")]
pub struct ConfigError {
    /// The option's name, as in the file.
    pub option: String,
    /// What is wrong with its value.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(option: impl Into<String>, problem: impl Into<String>) -> ConfigError {
        ConfigError { option: option.into(), problem: problem.into() }
    }
}

impl ServerConfig {
    /// Checks that the options can work together; the error names the one that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.threads > MAX_THREADS {
            return Err(ConfigError::new("threads", format!("{} is above {MAX_THREADS}", self.threads)));
        }
        if self.port == PortChoice::None
            && self.memcached_port == PortChoice::None
            && self.unixsocket.is_none()
            && self.memcached_unixsocket.is_none()
        {
            return Err(ConfigError::new(
                "port",
                "no port, no memcached_port and no unixsocket: nobody could connect",
            ));
        }
        let numbers =
            [("port", self.port), ("memcached_port", self.memcached_port), ("http_port", self.http_port)];
        for (index, (name, port)) in numbers.iter().enumerate() {
            if let PortChoice::Number(number) = port
                && let Some((other, _)) = numbers[..index].iter().find(|(_, before)| before == port)
            {
                return Err(ConfigError::new(*name, format!("{number} is also the value of {other}")));
            }
        }
        self.unixsocket_mode_bits()?;
        if self.cluster.is_some() && self.dir.is_none() {
            return Err(ConfigError::new("dir", "a member of a cluster needs a folder for its id"));
        }
        self.settings().map(|_| ())
    }

    /// Mode bits of the unix socket.
    pub fn unixsocket_mode_bits(&self) -> Result<u32, ConfigError> {
        parse_mode(&self.unixsocket_mode).ok_or_else(|| {
            ConfigError::new(
                "unixsocket_mode",
                format!("'{}' is no octal mode such as 660", self.unixsocket_mode),
            )
        })
    }

    /// What the file of memcached's users says.
    fn memcached_users(&self) -> Result<MemcachedUsers, ConfigError> {
        let Some(path) = &self.memcached_auth_file else { return Ok(MemcachedUsers::default()) };
        let problem = |problem: String| {
            ConfigError::new("memcached_auth_file", format!("{}: {problem}", path.display()))
        };
        let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        MemcachedUsers::parse(&text).map_err(problem)
    }

    /// How many workers to start.
    pub fn worker_threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(DEFAULT_THREADS_MAX),
            threads => threads,
        }
    }

    /// What CONFIG SET can change, as it is at the start.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let mut settings = Settings {
            enable_debug: self.enable_debug,
            config_file: self.config_file.clone(),
            ..Settings::default()
        };
        settings.requirepass.clone_from(&self.requirepass);
        settings.memcached_users = Arc::new(self.memcached_users()?);
        if self.maxmemory.is_empty() {
            settings.maxmemory =
                torc_runtime::cgroup::memory_limit_bytes().map_or(0, |n| n / 100 * CGROUP_SHARE);
        } else {
            settings.maxmemory = parse_memory(&self.maxmemory).ok_or_else(|| {
                ConfigError::new("maxmemory", format!("'{}' is no size such as 100mb", self.maxmemory))
            })?;
        }
        for (name, value) in &self.redis {
            settings.set_option(name, value).map_err(|error| {
                let problem = match error {
                    SetError::Unknown => "there is no such option".to_owned(),
                    SetError::Invalid(problem) => format!("'{value}': {problem}"),
                };
                ConfigError::new(format!("redis.{name}"), problem)
            })?;
        }
        settings.changed.clear();
        Ok(settings)
    }
}
