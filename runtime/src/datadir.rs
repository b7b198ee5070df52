//! The data folder of a process: its mode, whole-file writes, the cluster secret, the node id.
//!
//! Files are replaced whole: written under a temporary name in the same folder, synced, renamed
//! over the old one, and the folder synced, so that a reader or a crash sees the old or the new
//! text and never a part. One process owns a folder at a time (see [`crate::lockfile`]).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;

/// Name of the file with the cluster secret.
pub const SECRET_FILE: &str = "cluster.secret";
/// Name of the file with the node id.
pub const NODE_ID_FILE: &str = "node.id";

/// Random bytes in a new secret; the file holds twice as many hex digits.
const SECRET_BYTES: usize = 32;
/// Largest file that [`read_small`] returns.
const SMALL_FILE_BYTES: u64 = 1024 * 1024;

/// What went wrong with the folder or a file in it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system refused.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What we wanted to do.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A folder was expected.
    #[error("{0} is not a folder")]
    NotAFolder(PathBuf),
    /// A file is too large to be what it should be.
    #[error("{path} has more than {limit_bytes} bytes: it is not the file that was expected")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit_bytes: u64,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold {expected}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The secret can be read by others.
    #[error("{path} can be read by other users (mode {mode:04o}): run 'chmod 600 {path}'")]
    SecretExposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |cause| DataDirError::Io { action, path, cause }
}

/// Makes the folder (and missing parents) with mode 0700 unless it is there, and checks that a
/// file can be written into it.
pub fn create(dir: &Path) -> Result<(), DataDirError> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(DataDirError::NotAFolder(dir.to_owned())),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(io_error("create the folder", dir))?;
        }
        Err(cause) => return Err(io_error("look at the folder", dir)(cause)),
    }
    let probe = dir.join(format!(".write-test.{}", std::process::id()));
    File::create(&probe).map_err(io_error("write into the folder", dir))?;
    fs::remove_file(&probe).map_err(io_error("write into the folder", dir))
}

/// Replaces `path` by `bytes`, whole and durable, with the given mode.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
    let temporary = temporary_name(path);
    let written = write_and_sync(&temporary, bytes, mode)
        .map_err(io_error("write", &temporary))
        .and_then(|()| fs::rename(&temporary, path).map_err(io_error("replace", path)));
    if written.is_err() {
        // Best effort: the error that matters is the one above.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder_of(path)
}

/// Reads a file of at most 1 MiB; `None` when there is none.
pub fn read_small(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(io_error("read", path)(cause)),
    };
    let mut bytes = Vec::new();
    file.take(SMALL_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > SMALL_FILE_BYTES {
        return Err(DataDirError::TooLarge { path: path.to_owned(), limit_bytes: SMALL_FILE_BYTES });
    }
    Ok(Some(bytes))
}

/// Makes a new secret file (64 hex digits from the system's random source, mode 0600) and answers
/// its text. A file that exists is left alone and read instead.
pub fn create_secret(path: &Path) -> Result<String, DataDirError> {
    if let Some(text) = read_secret(path)? {
        return Ok(text);
    }
    let mut random = [0_u8; SECRET_BYTES];
    random_bytes(&mut random).map_err(io_error("draw random bytes for", path))?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    write_atomic(path, format!("{text}\n").as_bytes(), 0o600)?;
    Ok(text)
}

/// Reads the secret's text (trimmed); `None` when there is no file. A file that other users can
/// read is refused.
pub fn read_secret(path: &Path) -> Result<Option<String>, DataDirError> {
    let Some(bytes) = read_small(path)? else {
        return Ok(None);
    };
    let mode = fs::metadata(path).map_err(io_error("read", path))?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(DataDirError::SecretExposed { path: path.to_owned(), mode });
    }
    let text = String::from_utf8(bytes).unwrap_or_default().trim().to_owned();
    if text.is_empty() {
        return Err(DataDirError::Malformed { path: path.to_owned(), expected: "a secret" });
    }
    Ok(Some(text))
}

/// The node id kept in `dir`; `None` when the folder has none yet.
pub fn read_node_id(dir: &Path) -> Result<Option<u64>, DataDirError> {
    let path = dir.join(NODE_ID_FILE);
    let Some(bytes) = read_small(&path)? else {
        return Ok(None);
    };
    let id = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse::<u64>().ok());
    match id {
        Some(id) if id != 0 => Ok(Some(id)),
        _ => Err(DataDirError::Malformed { path, expected: "a node id (a number above 0)" }),
    }
}

/// The node id kept in `dir`; where there is none, `wanted` or else a random one becomes it. An id
/// stays below 2^53, so that it is exact in every JSON reader.
pub fn node_id(dir: &Path, wanted: Option<u64>) -> Result<u64, DataDirError> {
    if let Some(id) = read_node_id(dir)? {
        return Ok(id);
    }
    let path = dir.join(NODE_ID_FILE);
    let id = match wanted {
        Some(id) => id,
        None => random_id().map_err(io_error("draw random bytes for", &path))?,
    };
    write_atomic(&path, format!("{id}\n").as_bytes(), 0o644)?;
    Ok(id)
}

/// A random number in 1..2^53 from the system's random source: node ids, incarnations.
pub fn random_id() -> io::Result<u64> {
    loop {
        let mut bytes = [0_u8; 8];
        random_bytes(&mut bytes)?;
        let id = u64::from_le_bytes(bytes) >> 11;
        if id != 0 {
            return Ok(id);
        }
    }
}

/// Fills `into` from the system's random source.
pub fn random_bytes(into: &mut [u8]) -> io::Result<()> {
    OsRng.try_fill_bytes(into).map_err(io::Error::other)
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".tmp.{}", std::process::id()));
    path.with_file_name(name)
}

fn write_and_sync(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A leftover of a crash may have another mode: start afresh.
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a rename or a new file in the folder of `path` durable.
pub fn sync_folder_of(path: &Path) -> Result<(), DataDirError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error("sync", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folders_are_private_and_checked() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("a/b");
        create(&dir).unwrap();
        create(&dir).unwrap();
        assert_eq!(mode_of(&dir), 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        let file = base.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(create(&file), Err(DataDirError::NotAFolder(_))));
    }

    #[test]
    fn files_are_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(read_small(&path).unwrap().unwrap(), b"two");
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = dir.path().join("no/such");
        assert!(write_atomic(&missing, b"", 0o600).unwrap_err().to_string().contains("no/such"));
    }

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRET_FILE);
        assert_eq!(read_secret(&path).unwrap(), None);
        let first = create_secret(&path).unwrap();
        assert_eq!(first.len(), 2 * SECRET_BYTES);
        assert_eq!(create_secret(&path).unwrap(), first);
        assert_eq!(mode_of(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read_secret(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains(&first), "{error}");
    }

    #[test]
    fn a_node_id_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_node_id(dir.path()).unwrap(), None);
        assert_eq!(node_id(dir.path(), Some(7)).unwrap(), 7);
        assert_eq!(node_id(dir.path(), Some(9)).unwrap(), 7);
        fs::write(dir.path().join(NODE_ID_FILE), "many").unwrap();
        assert!(matches!(node_id(dir.path(), None), Err(DataDirError::Malformed { .. })));
        let other = tempfile::tempdir().unwrap();
        let id = node_id(other.path(), None).unwrap();
        assert!(id > 0 && id < 1 << 53);
    }
}
