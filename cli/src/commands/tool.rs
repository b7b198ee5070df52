//! What all tools that speak to a running cluster share: where its nodes are and the secret that opens them.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use torc_protocol::handshake::{Role, Secret};
use torc_runtime::bus::BusIdentity;
use torc_runtime::{current_thread, datadir};
use torc_server::agent::Peers;
use torc_server::agent::bootstrap::Tool;

use super::up::state::ClusterFile;

/// Folder of `torc up` when none is given.
pub const DEFAULT_DIR: &str = ".torc";

/// How long a tool tries.
const TIME: Duration = Duration::from_secs(30);

/// Where the cluster is.
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Folder of a cluster that `torc up` runs on this machine
    #[arg(long, env = "TORC_DIR", value_name = "FOLDER", default_value = DEFAULT_DIR)]
    pub dir: PathBuf,
    /// Bus addresses of nodes, instead of a folder
    #[arg(long, env = "TORC_JOIN", value_name = "HOST:PORT", value_delimiter = ',')]
    pub join: Vec<String>,
    /// File with the cluster secret [default: cluster.secret in the folder]
    #[arg(long, env = "TORC_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}

impl ClusterArgs {
    /// The secret, from its file.
    pub fn secret(&self) -> Result<Secret, Box<dyn Error>> {
        let file = self.secret_file.clone().unwrap_or_else(|| self.dir.join(datadir::SECRET_FILE));
        let text = datadir::read_secret(&file)?.ok_or_else(|| {
            format!("there is no cluster secret at {}: give --dir or --secret-file", file.display())
        })?;
        Ok(Secret::from_hex(&text).map_err(|error| format!("{}: {error}", file.display()))?)
    }

    /// Bus addresses of the nodes.
    pub fn addresses(&self) -> Result<Vec<String>, Box<dyn Error>> {
        if !self.join.is_empty() {
            return Ok(self.join.clone());
        }
        let file = ClusterFile::read(&self.dir)?.ok_or_else(|| {
            format!(
                "no cluster runs in {}: start one with `torc up`, or name its nodes with --join HOST:PORT,…",
                self.dir.display()
            )
        })?;
        Ok(file.bus_addresses())
    }

    /// A connection of sorts; to be made inside a runtime.
    pub fn tool(&self) -> Result<(Tool, Peers, Vec<String>), Box<dyn Error>> {
        let addresses = self.addresses()?;
        let peers = peers(self.secret()?);
        Ok((Tool::new(peers.clone(), addresses.clone(), TIME), peers, addresses))
    }
}

/// Connections of a tool.
pub fn peers(secret: Secret) -> Peers {
    Peers::new(BusIdentity { secret, role: Role::Tool, name: format!("torc-{}", std::process::id()) })
}

/// Runs a tool's future to its end.
pub fn block_on<T>(future: impl Future<Output = Result<T, Box<dyn Error>>>) -> Result<T, Box<dyn Error>> {
    current_thread::block_on(current_thread::new()?, future)
}
