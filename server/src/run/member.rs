//! What a server needs to be a member of a cluster.

use std::path::Path;
use std::sync::Arc;

use torc_cluster::ids::Term;
use torc_cluster::map::Settings;
use torc_protocol::handshake::Secret;
use torc_runtime::listen::Listener;
use torc_runtime::shutdown::Shutdown;
use torc_runtime::{clock, datadir};

use super::{Addresses, StartError};
use crate::agent::{self, AgentConfig, AgentHandle};
use crate::config::{ConfigError, ServerConfig};
use crate::node::Node;
use crate::replication::Bounds;
use crate::store::hash::DEFAULT_SEED;

/// File in the folder with the number of the node's last start.
const INCARNATION_FILE: &str = "incarnation";

/// File in the folder of a plain store with the term of its last start.
const PLAIN_TERM_FILE: &str = "term";

/// 2026-01-01, from which plain stores count their terms: minutes since then stay below 2^21 for four years, and
/// beyond that the folder's count goes on.
const PLAIN_TERMS_SINCE_MS: u64 = 1_767_225_600_000;

/// Share of shards that a node wants unless told otherwise.
const DEFAULT_WEIGHT: u32 = 100;

/// The cluster secret, where there is one.
pub fn read_secret(config: &ServerConfig) -> Result<Option<Secret>, StartError> {
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

/// The order of keys in SCAN must be the same on all nodes of a cluster and unknown to everybody else, who could
/// make all keys collide: it follows from the secret.
pub fn hash_seed(secret: Option<&Secret>) -> u64 {
    secret.map_or(DEFAULT_SEED, |secret| {
        let mut seed = [0; 8];
        seed.copy_from_slice(&secret.derive("hash-seed")[..8]);
        u64::from_le_bytes(seed)
    })
}

/// Starts the node's agent on the bound bus.
pub fn join(
    config: &ServerConfig,
    node: &Arc<Node>,
    bus: Listener,
    addresses: &Addresses,
    shutdown: &Shutdown,
) -> Result<AgentHandle, StartError> {
    let cluster = config.cluster.clone().unwrap_or_default();
    let Some(dir) = config.dir.clone() else {
        return Err(ConfigError::new("dir", "a member of a cluster needs a folder").into());
    };
    let Some(secret) = node.secret.clone() else {
        let file = dir.join(datadir::SECRET_FILE);
        let problem = format!("there is no cluster secret in {}: copy it from another node", file.display());
        return Err(ConfigError::new("secret_file", problem).into());
    };
    let everywhere = config.bind.iter().any(|host| matches!(host.as_str(), "0.0.0.0" | "::"));
    let host = match &config.advertise {
        Some(host) => host.clone(),
        None if config.bind.is_empty() || everywhere => {
            let problem = "say under which host others reach this node (or bind it to one address)";
            return Err(ConfigError::new("advertise", problem).into());
        }
        None => addresses.host.clone(),
    };
    let node_id = datadir::node_id(&dir, config.node_id)?;
    let agent = AgentConfig {
        cluster,
        join: config.join.clone(),
        incarnation: next_incarnation(&dir)?,
        dir,
        node_id,
        host,
        port: addresses.port,
        memcached_port: addresses.memcached_port,
        http_port: addresses.http_port,
        zone: config.zone.clone(),
        weight: config.weight.unwrap_or(DEFAULT_WEIGHT),
        lease_ms: config.lease_ms,
        backlog: Bounds::new(config.backlog_bytes, config.backlog_max_bytes),
        secret,
    };
    Ok(agent::start(agent, node.clone(), bus, shutdown.clone())?)
}

/// A plain store counts its starts as a cluster counts terms, so that its fencing tokens rise over restarts: from
/// the minutes of the wall clock, and with a folder never below the last one.
pub fn begin_plain_term(config: &ServerConfig, node: &Node) -> Result<(), StartError> {
    let minutes = clock::unix_ms().saturating_sub(PLAIN_TERMS_SINCE_MS) / 60_000;
    let term = match &config.dir {
        None => minutes,
        Some(dir) => {
            let file = dir.join(PLAIN_TERM_FILE);
            let last = datadir::read_small(&file)?
                .and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse::<u64>().ok());
            let term = minutes.max(last.map_or(0, |last| last + 1));
            datadir::write_atomic(&file, format!("{term}\n").as_bytes(), 0o644)?;
            term
        }
    };
    let term = Term(term.clamp(1, Term::MAX.0));
    node.shard.set_plain_term(term);
    node.locks.begin_term(term, 0, Settings::default().max_lock_ttl_ms);
    Ok(())
}

/// A number above that of the last start, whatever the wall clock did in between.
fn next_incarnation(dir: &Path) -> Result<u64, StartError> {
    let file = dir.join(INCARNATION_FILE);
    let last =
        datadir::read_small(&file)?.and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok());
    let next = last.map_or(0, |last: u64| last.saturating_add(1)).max(clock::unix_ms());
    datadir::write_atomic(&file, format!("{next}\n").as_bytes(), 0o644)?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incarnations_rise_although_the_clock_falls() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = next_incarnation(dir.path()).expect("writable");
        let ahead = first + 1_000_000;
        std::fs::write(dir.path().join(INCARNATION_FILE), ahead.to_string()).expect("writable");
        assert_eq!(next_incarnation(dir.path()).expect("writable"), ahead + 1);
    }
}
