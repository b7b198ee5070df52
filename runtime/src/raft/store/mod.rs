//! Where a voter keeps what it must not forget: its vote, its log, its last snapshot.
//!
//! One `redb` file, [`CONTROL_FILE`], owned by one thread ([`disk::Disk`]). Each record carries a
//! checksum over its place and its bytes, so a flipped bit, or a record in another's place, is
//! found when the file is read at the start, and named.

mod backend;
mod disk;
#[cfg(test)]
pub(super) mod fallible;
mod file;
mod guard;
mod log;
mod machine;
mod record;
#[cfg(test)]
mod tests;

pub(super) use disk::Disk;
pub(super) use file::Contents;
#[cfg(test)]
pub(super) use file::ControlFile;
pub(super) use log::LogStore;
pub(super) use machine::StateMachine;

use std::path::PathBuf;

/// Name of the file inside the data folder.
pub const CONTROL_FILE: &str = "control.redb";

/// Why the file cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file is damaged.
    #[error(
        "{path} is damaged: {what}. This voter cannot go on with it: remove the file and let the \
         node join again as a new voter, while the other voters are a majority"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which record, and how.
        what: String,
    },
    /// The file was made by another node, or by another version.
    #[error("{path} cannot be used: {what}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Reading or writing failed.
    #[error("storage of {path} failed: {what}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        what: String,
    },
    /// The disk thread is gone.
    #[error("storage is closed")]
    Closed,
}
