//! The proxy's settings: every field documented, with a default, and named in the configuration file as here.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use torc_cluster::map::{Policy, ReadFrom};
use torc_protocol::login::MemcachedUsers;

use crate::upstream::breaker::BreakerLimits;

/// Settings of a proxy. Sizes are in bytes, times in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyConfig {
    /// Threads that serve connections. Each has its own connections to the nodes.
    pub threads: usize,
    /// What the proxy calls itself in handshakes and `CLUSTER NODES`.
    pub name: String,
    /// Failure domain of the proxy, as the nodes have theirs; `read_from = "nearest"` goes by it.
    pub zone: String,
    /// The host that `CLUSTER SLOTS` and its like tell clients to connect to; empty: the address that the client
    /// itself connected to.
    pub advertise: String,
    /// Password that clients must give (`AUTH`, memcached's first `set`); empty: none.
    pub requirepass: String,
    /// Most client connections at a time.
    pub max_clients: usize,
    /// A client that sends nothing for this long is closed; 0: never.
    pub idle_timeout_ms: u64,
    /// How long a request may take, held back and sent again included.
    pub request_timeout_ms: u32,
    /// How long a replica may take for a read before the primary is asked instead.
    pub replica_timeout_ms: u32,
    /// How long opening a connection to a node, handshake included, may take.
    pub connect_timeout_ms: u64,
    /// The pause before a node is tried again after a connection to it has failed; doubled with each further failure.
    pub reconnect_first_ms: u64,
    /// The longest such pause. Each is spread by a quarter either way.
    pub reconnect_last_ms: u64,
    /// Requests to a node that time out in a row, with nothing answered between them, until its connections are given up
    /// and it is probed before it gets requests again; 0: never.
    pub trip_after_timeouts: u32,
    /// Connections to the nodes are opened before a request needs them.
    pub warm_up: bool,
    /// Multiplexed connections per thread and node.
    pub connections_per_node: usize,
    /// Connections per thread and node for commands that wait there (`BLPOP`, `XREAD … BLOCK`, `WAIT`): as many clients
    /// may do so, each at one node, or at one of each shard where its keys are on several.
    pub blocking_connections: usize,
    /// Connections per thread and node for `WATCH` and for `LOCK.ACQUIRE … WAIT`.
    pub dedicated_connections: usize,
    /// Requests of one client that may be under way; then the proxy stops reading from it.
    pub max_pending_per_client: usize,
    /// Bytes under way on one connection to a node; then clients that need it are not read from.
    pub upstream_buffer_bytes: usize,
    /// Bytes of unread replies after which no further requests of a client are taken.
    pub client_output_soft_bytes: usize,
    /// Bytes of unread replies after which a client is closed.
    pub client_output_hard_bytes: usize,
    /// Bytes of unread messages and replies after which a client that listens to channels is closed; 0: the bound of all
    /// clients alone holds.
    pub pubsub_output_hard_bytes: usize,
    /// The same when it leaves so many unread for `pubsub_output_soft_ms`; 0: never.
    pub pubsub_output_soft_bytes: usize,
    /// See `pubsub_output_soft_bytes`.
    pub pubsub_output_soft_ms: u64,
    /// Bytes that all buffers of one thread may hold; above it requests are taken only as replies leave.
    pub max_buffer_bytes: usize,
    /// Requests per thread that may wait for a shard to get a primary.
    pub max_held_requests: usize,
    /// Bytes per thread of requests that wait for a shard to get a primary.
    pub max_held_bytes: usize,
    /// Bytes of one argument of a request.
    pub max_bulk_bytes: usize,
    /// Bytes of one whole request.
    pub max_request_bytes: usize,
    /// File with the users of the memcached protocol, `user:password` one a line, as memcached's own. Without it
    /// `requirepass` counts for them too.
    pub memcached_auth_file: Option<PathBuf>,
    /// Bytes of a value that memcached clients may store; a node's own limit applies as well.
    pub memcached_item_bytes: usize,
    /// Commands that one MULTI may queue.
    pub max_queued_commands: usize,
    /// A request that takes so long from its arrival to its answer is logged and kept for `PROXY SLOWLOG`; 0: none is.
    pub slow_request_ms: u64,
    /// Slow requests that are kept.
    pub slow_log_len: usize,
    /// One request in 64 is looked at to find the keys that are asked for most (`PROXY HOT`, `torc hot`).
    pub hot_keys: bool,
    /// Reads of hot keys are answered with copies that the proxy keeps for a moment and drops when it is told of a change;
    /// a copy may be older than the key by `copy_bound_ms`. A policy may say otherwise for its prefix (`copies`).
    pub local_copies: bool,
    /// Requests in a second, at one thread, from which a key is hot enough for copies.
    pub copy_rate: u64,
    /// How long a copy is kept when nobody changes the key.
    pub copy_ttl_ms: u64,
    /// How long at most a copy may be given to clients after its key was changed elsewhere, when word of the change does
    /// not get through.
    pub copy_bound_ms: u64,
    /// Bytes of copies per thread.
    pub copy_bytes: usize,
    /// Longer replies are not kept.
    pub copy_value_bytes: usize,
    /// Identical reads of several clients that are about to leave share one request. A policy may say otherwise for its
    /// prefix (`coalesce`).
    pub coalesce_reads: bool,
    /// Bytes of values that are brought together for one command over keys of several shards (`SUNION`, `PFCOUNT`, …);
    /// above it, and with 0, it is refused with `CROSSSLOT`.
    pub gather_bytes: usize,
    /// How long the proxy lets requests end when it is stopped.
    pub drain_ms: u64,
    /// Acknowledgement, read level and which members are read from by key prefix; for a prefix that the map names too, these hold.
    pub policy: Vec<Policy>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        ProxyConfig {
            threads: 1,
            name: String::from("proxy"),
            zone: String::new(),
            advertise: String::new(),
            requirepass: String::new(),
            max_clients: 10_000,
            idle_timeout_ms: 0,
            request_timeout_ms: 5_000,
            replica_timeout_ms: 250,
            connect_timeout_ms: 1_000,
            reconnect_first_ms: 25,
            reconnect_last_ms: 400,
            trip_after_timeouts: 5,
            warm_up: true,
            connections_per_node: 1,
            blocking_connections: 1_024,
            dedicated_connections: 256,
            max_pending_per_client: 1_024,
            upstream_buffer_bytes: 32 * MIB,
            client_output_soft_bytes: 4 * MIB,
            client_output_hard_bytes: 1024 * MIB,
            pubsub_output_hard_bytes: 32 * MIB,
            pubsub_output_soft_bytes: 8 * MIB,
            pubsub_output_soft_ms: 60_000,
            max_buffer_bytes: 1024 * MIB,
            max_held_requests: 10_000,
            max_held_bytes: 64 * MIB,
            max_bulk_bytes: torc_protocol::resp::Limits::default().max_bulk_bytes,
            max_request_bytes: torc_protocol::resp::Limits::default().max_frame_bytes,
            memcached_auth_file: None,
            memcached_item_bytes: MIB,
            max_queued_commands: 100_000,
            slow_request_ms: 100,
            slow_log_len: 128,
            hot_keys: true,
            local_copies: false,
            copy_rate: 1_000,
            copy_ttl_ms: 1_000,
            copy_bound_ms: 250,
            copy_bytes: 16 * MIB,
            copy_value_bytes: 64 * 1024,
            coalesce_reads: false,
            gather_bytes: 16 * MIB,
            drain_ms: 5_000,
            policy: Vec::new(),
        }
    }
}

const MIB: usize = 1024 * 1024;
/// Most threads of a proxy.
pub const MAX_THREADS: usize = 256;
/// Most multiplexed connections per thread and node.
pub const MAX_CONNECTIONS_PER_NODE: usize = 64;
/// The longest pause before a node is tried again: a minute.
const MAX_PAUSE_MS: usize = 60_000;
/// Most slow requests that are kept.
pub const MAX_SLOW_LOG: usize = 1 << 16;
/// The longest time that a copy is kept, or may be given to clients unsure: a minute.
const MAX_COPY_MS: usize = 60_000;
/// Nodes are asked four times in the bound: less than this would be nothing but asking.
const MIN_COPY_BOUND_MS: usize = 20;
/// The shortest request time-out.
pub const MIN_TIMEOUT_MS: u64 = 10;
/// The longest request time-out: a day.
pub const MAX_TIMEOUT_MS: u32 = 86_400_000;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct ConfigError {
    /// The field's name.
    pub setting: &'static str,
    /// What is wrong with its value.
    pub problem: String,
}

impl ProxyConfig {
    /// When circuits open, and for how long.
    pub(crate) fn breaker(&self) -> BreakerLimits {
        BreakerLimits {
            first_pause_ns: self.reconnect_first_ms.saturating_mul(1_000_000),
            last_pause_ns: self.reconnect_last_ms.saturating_mul(1_000_000),
            timeouts: self.trip_after_timeouts,
        }
    }

    /// What the file of memcached's users says.
    pub fn memcached_users(&self) -> Result<MemcachedUsers, ConfigError> {
        let Some(path) = &self.memcached_auth_file else { return Ok(MemcachedUsers::default()) };
        let problem = |problem: String| ConfigError {
            setting: "memcached_auth_file",
            problem: format!("{}: {problem}", path.display()),
        };
        let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        MemcachedUsers::parse(&text).map_err(problem)
    }

    /// Checks that the values can work; the error names the setting.
    pub fn check(&self) -> Result<(), ConfigError> {
        let within = |setting, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(ConfigError { setting, problem: format!("{value} is not between {least} and {most}") })
        };
        within("threads", self.threads, 1, MAX_THREADS)?;
        within("max_clients", self.max_clients, 1, 10_000_000)?;
        within("connections_per_node", self.connections_per_node, 1, MAX_CONNECTIONS_PER_NODE)?;
        within("blocking_connections", self.blocking_connections, 1, 65_536)?;
        within("dedicated_connections", self.dedicated_connections, 1, 65_536)?;
        within("max_pending_per_client", self.max_pending_per_client, 1, 1 << 20)?;
        within(
            "request_timeout_ms",
            self.request_timeout_ms as usize,
            MIN_TIMEOUT_MS as usize,
            MAX_TIMEOUT_MS as usize,
        )?;
        within("upstream_buffer_bytes", self.upstream_buffer_bytes, 1024, usize::MAX)?;
        within("max_request_bytes", self.max_request_bytes, 1024, u32::MAX as usize)?;
        within("max_bulk_bytes", self.max_bulk_bytes, 1024, self.max_request_bytes)?;
        within("client_output_hard_bytes", self.client_output_hard_bytes, 1024, usize::MAX)?;
        within("client_output_soft_bytes", self.client_output_soft_bytes, 1, self.client_output_hard_bytes)?;
        within("reconnect_first_ms", self.reconnect_first_ms as usize, 1, MAX_PAUSE_MS)?;
        within(
            "reconnect_last_ms",
            self.reconnect_last_ms as usize,
            self.reconnect_first_ms as usize,
            MAX_PAUSE_MS,
        )?;
        within("replica_timeout_ms", self.replica_timeout_ms as usize, 1, MAX_TIMEOUT_MS as usize)?;
        within("slow_log_len", self.slow_log_len, 0, MAX_SLOW_LOG)?;
        within("copy_rate", self.copy_rate as usize, 1, usize::MAX)?;
        within("copy_ttl_ms", self.copy_ttl_ms as usize, 1, MAX_COPY_MS)?;
        within("copy_bound_ms", self.copy_bound_ms as usize, MIN_COPY_BOUND_MS, MAX_COPY_MS)?;
        within("copy_value_bytes", self.copy_value_bytes, 1, self.copy_bytes)?;
        self.memcached_users()?;
        within("name", self.name.len(), 1, 64)?;
        for policy in &self.policy {
            let prefix = &policy.prefix;
            let wrong =
                |problem| ConfigError { setting: "policy", problem: format!("'{prefix}': {problem}") };
            policy.check().map_err(wrong)?;
            if policy.read_from == Some(ReadFrom::Nearest) && self.zone.is_empty() {
                return Err(wrong("read_from = \"nearest\" needs the proxy's zone (option 'zone')".into()));
            }
        }
        if self.name.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(ConfigError { setting: "name", problem: "has spaces or control characters".into() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_mistakes_are_named() {
        ProxyConfig::default().check().expect("defaults");
        let wrong = ProxyConfig { threads: 0, ..ProxyConfig::default() };
        assert_eq!(wrong.check().expect_err("no threads").setting, "threads");
        let policy =
            |from, read| Policy { read_from: Some(from), read, prefix: "a".into(), ..Policy::default() };
        let with = |policy: Policy, zone: &str| {
            ProxyConfig { policy: vec![policy], zone: zone.into(), ..ProxyConfig::default() }.check()
        };
        assert!(with(policy(ReadFrom::Nearest, None), "").is_err_and(|e| e.problem.contains("zone")));
        assert_eq!(with(policy(ReadFrom::Nearest, None), "a"), Ok(()));
        assert!(
            with(policy(ReadFrom::Any, Some(torc_cluster::map::ReadLevel::Strong)), "")
                .is_err_and(|e| e.problem.contains("exclude"))
        );
        let wrong = ProxyConfig { name: "a b".into(), ..ProxyConfig::default() };
        assert_eq!(wrong.check().expect_err("a space").setting, "name");
    }
}
