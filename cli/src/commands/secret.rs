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
        /// Leave a secret that is there already as it is, instead of an error
        #[arg(long)]
        if_missing: bool,
    },
}

/// Runs a subcommand.
pub fn run(command: SecretCommand) -> Result<(), Box<dyn Error>> {
    let SecretCommand::New { file, if_missing } = command;
    if if_missing && datadir::read_secret(&file)?.is_some() {
        println!("{} is there already", file.display());
        return Ok(());
    }
    if file.exists() {
        return Err(format!("{} exists already", file.display()).into());
    }
    datadir::create_secret(&file)?;
    println!("wrote {}", file.display());
    Ok(())
}
