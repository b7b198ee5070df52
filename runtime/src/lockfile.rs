//! The exclusive lock on a data folder: one process at a time.
//!
//! The kernel's advisory `flock` is the lock (it goes away with the process, however that ends);
//! the pid in the file is there to name the holder in the error and means nothing by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Name of the lock file inside the folder.
pub const LOCK_FILE: &str = "torc.lock";

/// Bytes read of a lock file when looking for the holder's pid.
const PID_TEXT_BYTES: u64 = 32;

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the folder.
    #[error("the folder {dir} is in use by {}: stop that process or choose another folder", holder_text(*.pid))]
    Held {
        /// The folder.
        dir: PathBuf,
        /// Who holds it, when the file says so.
        pid: Option<u32>,
    },
    /// The lock file cannot be opened or written.
    #[error("cannot lock the folder {dir}: {cause}")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

fn holder_text(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process with pid {pid}"))
}

/// The lock, held until dropped.
#[derive(Debug)]
pub struct FolderLock {
    // Closing the file releases the lock. The file itself stays: removing it would let two
    // processes lock two different files of the same name.
    _file: File,
    dir: PathBuf,
}

impl FolderLock {
    /// Locks `dir`, which must exist, without waiting.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let failed = |cause: io::Error| LockError::Io { dir: dir.to_owned(), cause };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(LOCK_FILE))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { dir: dir.to_owned(), pid: read_pid(&mut file) });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file, dir: dir.to_owned() })
    }

    /// The locked folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(PID_TEXT_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_hears_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = FolderLock::acquire(dir.path()).unwrap();
        assert_eq!(lock.dir(), dir.path());
        let error = FolderLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()));
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        FolderLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = FolderLock::acquire(Path::new("/nonexistent-torc")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent-torc"), "{error}");
    }
}
