//! What `torc up` keeps of a cluster in its folder: its shape and the ports of its nodes.

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;

use serde::{Deserialize, Serialize};
use torc_cluster::map::Settings;
use torc_runtime::datadir;

use super::ports::Ports;

/// The file's name in the cluster's folder.
const LAYOUT_FILE: &str = "layout.json";

/// Host of everything that `torc up` starts.
pub const HOST: &str = "127.0.0.1";

/// The shape of a cluster on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The cluster's name.
    pub name: String,
    /// Replica groups.
    pub shards: u16,
    /// Replicas beside each primary.
    pub replicas: u8,
    /// The cluster's lease, milliseconds.
    #[serde(default = "default_lease_ms")]
    pub lease_ms: u64,
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<NodePorts>,
}

/// Layouts of the first version do not name their lease.
fn default_lease_ms() -> u64 {
    Settings::default().lease_ms
}

/// Ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodePorts {
    /// RESP.
    pub port: u16,
    /// memcached.
    pub memcached_port: u16,
    /// HTTP.
    pub http_port: u16,
    /// The bus.
    pub bus_port: u16,
}

impl NodePorts {
    fn all(self) -> [(&'static str, u16); 4] {
        [
            ("RESP", self.port),
            ("memcached", self.memcached_port),
            ("HTTP", self.http_port),
            ("bus", self.bus_port),
        ]
    }
}

impl Layout {
    /// A new layout on ports that are free now.
    pub fn plan(name: &str, shards: u16, replicas: u8, ports: &mut Ports) -> Result<Layout, Box<dyn Error>> {
        let count = usize::from(shards) * (usize::from(replicas) + 1);
        let mut node = || -> Result<NodePorts, Box<dyn Error>> {
            Ok(NodePorts {
                port: ports.draw()?,
                memcached_port: ports.draw()?,
                http_port: ports.draw()?,
                bus_port: ports.draw()?,
            })
        };
        let nodes = (0..count).map(|_| node()).collect::<Result<_, _>>()?;
        Ok(Layout { name: name.to_owned(), shards, replicas, lease_ms: default_lease_ms(), nodes })
    }

    /// All ports of the nodes.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().flat_map(|node| node.all()).map(|(_, port)| port)
    }

    /// The layout kept in a folder.
    pub fn read(dir: &Path) -> Result<Option<Layout>, Box<dyn Error>> {
        let path = dir.join(LAYOUT_FILE);
        let Some(bytes) = datadir::read_small(&path)? else { return Ok(None) };
        let layout = serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        Ok(Some(layout))
    }

    /// Keeps the layout.
    pub fn write(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(datadir::write_atomic(&dir.join(LAYOUT_FILE), text.as_bytes(), 0o644)?)
    }

    /// Checks that the kept ports are still free.
    pub fn check_ports(&self, dir: &Path) -> Result<(), Box<dyn Error>> {
        for (index, node) in self.nodes.iter().enumerate() {
            for (what, port) in node.all() {
                TcpListener::bind((HOST, port)).map_err(|error| {
                    format!(
                        "the {what} port {port} of node-{} cannot be used: {error}. Stop what uses it, or begin a new \
                         cluster in another folder than {} (--dir)",
                        index + 1,
                        dir.display()
                    )
                })?;
            }
        }
        Ok(())
    }
}
