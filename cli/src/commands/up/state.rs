//! `cluster.json`: which processes a cluster on this machine has, for people, scripts and the other tools.

use std::error::Error;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use torc_runtime::datadir;

/// The file's name in the cluster's folder.
pub const CLUSTER_FILE: &str = "cluster.json";

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterFile {
    /// The cluster's name.
    pub name: String,
    /// Process id of `torc up`.
    pub pid: u32,
    /// Epoch of the map that the roles were taken from.
    pub epoch: u64,
    /// Number of shards.
    pub shards: u16,
    /// Replicas beside each primary.
    pub replicas: u8,
    /// All processes.
    pub processes: Vec<ProcessEntry>,
}

/// One process of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessEntry {
    /// `node-1`, `proxy-1` …
    pub name: String,
    /// `primary`, `replica`, `proxy`, or `joining`.
    pub role: String,
    /// The node's shard.
    pub shard: Option<u16>,
    /// The node's id in the map.
    pub node: Option<u64>,
    /// Process id; `null` while it does not run, and never 0: `kill 0` is for the caller's own process group.
    pub pid: Option<u32>,
    /// Host of all ports.
    pub host: String,
    /// RESP port; 0: none.
    pub port: u16,
    /// memcached port; 0: none.
    pub memcached_port: u16,
    /// HTTP port; 0: none.
    pub http_port: u16,
    /// Bus port; 0: none.
    pub bus_port: u16,
    /// Its log.
    pub log: PathBuf,
}

impl ClusterFile {
    /// Reads the file of a folder; `None` when there is none.
    pub fn read(dir: &Path) -> Result<Option<ClusterFile>, Box<dyn Error>> {
        let path = dir.join(CLUSTER_FILE);
        let Some(bytes) = datadir::read_small(&path)? else { return Ok(None) };
        let file = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(Some(file))
    }

    /// Replaces the file.
    pub fn write(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(datadir::write_atomic(&dir.join(CLUSTER_FILE), text.as_bytes(), 0o644)?)
    }

    /// Where the nodes' buses are.
    pub fn bus_addresses(&self) -> Vec<String> {
        self.processes
            .iter()
            .filter(|p| p.bus_port != 0)
            .map(|p| format!("{}:{}", p.host, p.bus_port))
            .collect()
    }
}
