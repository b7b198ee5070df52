//! The database file: reading it whole at the start, and committing batches of changes.
//!
//! Commits are durable and in two phases: redb then never falls back to an older commit by itself
//! after a crash, because that could forget a vote. Owned by the disk thread.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};

use super::backend::SealedHeader;
use super::guard::guarded;
use super::{StoreError, record};
use crate::datadir;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const IDENTITY: &str = "identity";
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const SNAPSHOT_META: &str = "snapshot meta";
const SNAPSHOT_STATE: &str = "snapshot state";

/// Bound of redb's page cache: room for the whole file as it usually is.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Version of what the tables hold.
const FORMAT: u32 = 1;

/// What the file held at the start; bytes are the payloads, verified.
#[derive(Debug, Default)]
pub(in crate::raft) struct Contents {
    pub vote: Option<Vec<u8>>,
    pub committed: Option<Vec<u8>>,
    pub purged: Option<Vec<u8>>,
    pub snapshot: Option<(Vec<u8>, Vec<u8>)>,
    /// Entries by index, ascending.
    pub entries: Vec<(u64, Vec<u8>)>,
}

/// One change to the file.
#[derive(Debug)]
pub(in crate::raft) enum Change {
    Vote(Vec<u8>),
    Committed(Vec<u8>),
    /// Entries by index.
    Append(Vec<(u64, Vec<u8>)>),
    /// Drops entries from this index on.
    Truncate(u64),
    /// Drops entries up to and including `upto`, and remembers the last one's id.
    Purge {
        upto: u64,
        last: Vec<u8>,
    },
    Snapshot {
        meta: Vec<u8>,
        state: Vec<u8>,
    },
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Identity {
    format: u32,
    node_id: u64,
}

/// redb's error, boxed: it is large.
struct Failure(Box<redb::Error>);

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// redb's error over the file, as ours.
fn named(path: &Path, error: redb::DatabaseError) -> StoreError {
    use redb::StorageError as Redb;
    let path = path.to_owned();
    match error {
        redb::DatabaseError::Storage(Redb::Corrupted(what)) => StoreError::Corrupt { path, what },
        redb::DatabaseError::Storage(Redb::Io(cause))
            if matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Corrupt { path, what: format!("it is not a whole database file ({cause})") }
        }
        other => StoreError::Io { path, what: other.to_string() },
    }
}

/// The open file.
pub(in crate::raft) struct ControlFile {
    database: Database,
    path: PathBuf,
}

impl ControlFile {
    /// Opens or makes the file of `node_id`, verifies all of it and reads it.
    pub(super) fn open(path: &Path, node_id: u64) -> Result<(Self, Contents), StoreError> {
        let open = |path: &Path, fresh| {
            guarded(path, || {
                let backend = SealedHeader::open(path, fresh).map_err(|error| named(path, error))?;
                Self::start(path, node_id, fresh, backend)
            })
        };
        if !path.exists() {
            // Made under another name, so that a crash meanwhile leaves nothing half made.
            let io_error =
                |cause: io::Error| StoreError::Io { path: path.to_owned(), what: cause.to_string() };
            let new = path.with_extension("new");
            match fs::remove_file(&new) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(io_error(cause)),
                _ => {}
            }
            drop(open(&new, true)?);
            fs::rename(&new, path).map_err(io_error)?;
            datadir::sync_folder_of(path).map_err(|cause| io_error(io::Error::other(cause)))?;
        }
        open(path, false)
    }

    /// As [`Self::open`], on any storage: for tests that make it fail.
    #[cfg(test)]
    pub(in crate::raft) fn open_backend(
        path: &Path,
        node_id: u64,
        backend: impl redb::StorageBackend,
    ) -> Result<(Self, Contents), StoreError> {
        let fresh = backend.len().is_ok_and(|len| len == 0);
        Self::start(path, node_id, fresh, SealedHeader::new(backend))
    }

    fn start(
        path: &Path,
        node_id: u64,
        fresh: bool,
        backend: SealedHeader<impl redb::StorageBackend>,
    ) -> Result<(Self, Contents), StoreError> {
        let corrupt = |what: String| StoreError::Corrupt { path: path.to_owned(), what };
        match backend.verify() {
            Ok(true) => {}
            Ok(false) => return Err(corrupt("its header does not match its checksum".to_owned())),
            Err(cause) => return Err(StoreError::Io { path: path.to_owned(), what: cause.to_string() }),
        }
        let mut database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(backend)
            .map_err(|error| named(path, error))?;
        // Page checksums are verified and the page structure is walked before any table is read,
        // so that what follows works on pages that are as they were written.
        if !fresh && !database.check_integrity().map_err(|error| corrupt(error.to_string()))? {
            return Err(corrupt("a page does not match its checksum".to_owned()));
        }
        let mut file = Self { database, path: path.to_owned() };
        let contents = if fresh {
            let identity = serde_json::to_vec(&Identity { format: FORMAT, node_id })
                .map_err(|cause| file.io_error(&cause))?;
            file.write(|tables| tables.put(IDENTITY, &identity))?;
            Contents::default()
        } else {
            file.read(node_id)?
        };
        Ok((file, contents))
    }

    fn io_error(&self, cause: &dyn std::fmt::Display) -> StoreError {
        StoreError::Io { path: self.path.clone(), what: cause.to_string() }
    }

    fn corrupt(&self, what: String) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), what }
    }

    fn read(&self, node_id: u64) -> Result<Contents, StoreError> {
        let transaction = self.database.begin_read().map_err(|cause| self.io_error(&cause))?;
        let meta = transaction.open_table(META).map_err(|cause| self.corrupt(cause.to_string()))?;
        let get = |name: &str| -> Result<Option<Vec<u8>>, StoreError> {
            let Some(value) = meta.get(name).map_err(|cause| self.io_error(&cause))? else {
                return Ok(None);
            };
            let payload = record::open(name, value.value()).map_err(|what| self.corrupt(what))?;
            Ok(Some(payload.to_vec()))
        };

        let identity =
            get(IDENTITY)?.ok_or_else(|| self.corrupt("it does not say whose it is".to_owned()))?;
        let identity: Identity = serde_json::from_slice(&identity)
            .map_err(|cause| self.corrupt(format!("the identity cannot be read: {cause}")))?;
        let mismatch = |what: String| StoreError::Mismatch { path: self.path.clone(), what };
        if identity.format != FORMAT {
            return Err(mismatch(format!("it has format {}, this program reads {FORMAT}", identity.format)));
        }
        if identity.node_id != node_id {
            return Err(mismatch(format!("it belongs to node {}, this is node {node_id}", identity.node_id)));
        }

        let snapshot = match (get(SNAPSHOT_META)?, get(SNAPSHOT_STATE)?) {
            (Some(meta), Some(state)) => Some((meta, state)),
            (None, None) => None,
            _ => return Err(self.corrupt("half of the snapshot is missing".to_owned())),
        };
        let entries = self.read_entries(&transaction)?;
        Ok(Contents { vote: get(VOTE)?, committed: get(COMMITTED)?, purged: get(PURGED)?, snapshot, entries })
    }

    fn read_entries(&self, transaction: &redb::ReadTransaction) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let log = transaction.open_table(LOG).map_err(|cause| self.corrupt(cause.to_string()))?;
        let mut entries: Vec<(u64, Vec<u8>)> = Vec::new();
        for row in log.iter().map_err(|cause| self.io_error(&cause))? {
            let (index, value) = row.map_err(|cause| self.io_error(&cause))?;
            let index = index.value();
            if let Some((last, _)) = entries.last()
                && index != last + 1
            {
                return Err(self.corrupt(format!("the log has a hole between entries {last} and {index}")));
            }
            let payload =
                record::open(&entry_place(index), value.value()).map_err(|what| self.corrupt(what))?;
            entries.push((index, payload.to_vec()));
        }
        Ok(entries)
    }

    /// Commits the changes in order, all or none, durably.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.write(|tables| changes.iter().try_for_each(|change| tables.change(change)))
    }

    fn write(&mut self, work: impl FnOnce(&mut Tables<'_>) -> Result<(), Failure>) -> Result<(), StoreError> {
        let run = || -> Result<(), Failure> {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate);
            transaction.set_two_phase_commit(true);
            work(&mut Tables::open(&transaction)?)?;
            transaction.commit()?;
            Ok(())
        };
        run().map_err(|Failure(cause)| self.io_error(&cause))
    }
}

/// The tables of one write transaction.
struct Tables<'t> {
    log: redb::Table<'t, u64, &'static [u8]>,
    meta: redb::Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self { log: transaction.open_table(LOG)?, meta: transaction.open_table(META)? })
    }

    fn put(&mut self, name: &str, payload: &[u8]) -> Result<(), Failure> {
        self.meta.insert(name, record::seal(name, payload).as_slice())?;
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        match change {
            Change::Vote(vote) => self.put(VOTE, vote),
            Change::Committed(log_id) => self.put(COMMITTED, log_id),
            Change::Append(entries) => {
                for (index, payload) in entries {
                    let sealed = record::seal(&entry_place(*index), payload);
                    self.log.insert(*index, sealed.as_slice())?;
                }
                Ok(())
            }
            Change::Truncate(from) => {
                self.log.retain_in(*from.., |_, _| false)?;
                Ok(())
            }
            Change::Purge { upto, last } => {
                self.log.retain_in(..=*upto, |_, _| false)?;
                self.put(PURGED, last)
            }
            Change::Snapshot { meta, state } => {
                self.put(SNAPSHOT_META, meta)?;
                self.put(SNAPSHOT_STATE, state)
            }
        }
    }
}

fn entry_place(index: u64) -> String {
    format!("entry {index}")
}
