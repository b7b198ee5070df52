//! `torc secret new FILE`: a cluster secret for nodes on several hosts.

use std::error::Error;
use std::path::PathBuf;

use clap::Subcommand;
use torc_runtime::datadir;

/// `torc secret`.
#[derive(Subcommand, Debug)]
pub enum SecretCommand {
    /// Makes a file with a new secret (mode 0600); copy it to every node and proxy
    New {
        /// The file, which must not exist
        file: PathBuf,
    },
}

/// Runs a subcommand.
pub fn run(command: SecretCommand) -> Result<(), Box<dyn Error>> {
    let SecretCommand::New { file } = command;
    if file.exists() {
        return Err(format!("{} exists already", file.display()).into());
    }
    datadir::create_secret(&file)?;
    println!("wrote {}", file.display());
    Ok(())
}
