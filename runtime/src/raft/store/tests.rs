//! The store against openraft's own suite, and against restarts, damage and failing disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::{RaftLogReaderExt, RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite, log_id};
use openraft::{Entry, EntryPayload, RaftSnapshotBuilder};
use tempfile::TempDir;
use tokio::sync::watch;

use super::disk::Disk;
use super::fallible::fallible_disk;
use super::{CONTROL_FILE, LogStore, StateMachine, StoreError};
use crate::raft::types::{LogEntry, RaftApp, StorageError, StorageIOError, TokioRuntime, Types, Vote};

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Words(Vec<String>);

impl RaftApp for Words {
    type Command = String;
    type Reply = usize;
    type Runtime = TokioRuntime;

    fn apply(&mut self, command: String) -> usize {
        self.0.push(command);
        self.0.len()
    }
}

struct Store {
    log: LogStore<Words>,
    machine: StateMachine<Words>,
    disk: Disk,
    state: watch::Receiver<Arc<Words>>,
}

async fn open(dir: &Path) -> Result<Store, StoreError> {
    let path = dir.join(CONTROL_FILE);
    let (disk, contents) = Disk::open(path.clone(), 1).await?;
    let corrupt = |what| StoreError::Corrupt { path: path.clone(), what };
    let (published, state) = watch::channel(Arc::default());
    let log = LogStore::new(disk.clone(), &contents).map_err(corrupt)?;
    let machine = StateMachine::new(disk.clone(), &contents, published).map_err(corrupt)?;
    Ok(Store { log, machine, disk, state })
}

struct Builder;

impl StoreBuilder<Types<Words>, LogStore<Words>, StateMachine<Words>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore<Words>, StateMachine<Words>), StorageError> {
        let dir = tempfile::tempdir().map_err(|cause| StorageIOError::write(&cause))?;
        let store = open(dir.path()).await.map_err(|cause| StorageIOError::write(&cause))?;
        Ok((dir, store.log, store.machine))
    }
}

// openraft's suite makes its own entries, without commands, so it needs no `From<u64>` of ours.
#[test]
fn openrafts_own_suite() {
    Suite::<Types<Words>, LogStore<Words>, StateMachine<Words>, Builder, TempDir>::test_all(Builder).unwrap();
}

fn entry(term: u64, index: u64, word: &str) -> LogEntry<Words> {
    Entry { log_id: log_id(term, 1, index), payload: EntryPayload::Normal(word.to_owned()) }
}

fn blank(index: u64) -> LogEntry<Words> {
    Entry { log_id: log_id(1, 1, index), payload: EntryPayload::Blank }
}

#[tokio::test]
async fn a_restart_keeps_vote_log_and_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await.unwrap();
    let vote = Vote::new_committed(3, 1);
    store.log.save_vote(&vote).await.unwrap();
    let entries = [blank(0), entry(1, 1, "a"), entry(1, 2, "b"), entry(1, 3, "c"), entry(1, 4, "lost")];
    store.log.blocking_append(entries.clone()).await.unwrap();
    store.log.truncate(log_id(1, 1, 4)).await.unwrap();
    store.machine.apply(entries[..3].to_vec()).await.unwrap();
    let snapshot = store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    store.log.purge(log_id(1, 1, 1)).await.unwrap();
    store.log.save_committed(Some(log_id(1, 1, 3))).await.unwrap();
    store.disk.close().await;

    let mut store = open(dir.path()).await.unwrap();
    assert_eq!(store.log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.log.read_committed().await.unwrap(), Some(log_id(1, 1, 3)));
    let state = store.log.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 1, 1)));
    assert_eq!(state.last_log_id, Some(log_id(1, 1, 3)));
    assert_eq!(store.log.get_log_entries(2..4).await.unwrap().len(), 2);
    assert_eq!(store.machine.applied_state().await.unwrap().0, Some(log_id(1, 1, 2)));
    assert_eq!(store.state.borrow().0, ["a", "b"]);
    let kept = store.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!((kept.meta, kept.snapshot), (snapshot.meta, snapshot.snapshot));
    store.disk.close().await;
}

#[tokio::test]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await.unwrap();
    store.machine.apply([entry(1, 1, "a")]).await.unwrap();
    let mut early = store.machine.get_snapshot_builder().await;
    store.machine.apply([entry(1, 2, "b")]).await.unwrap();
    let newer = store.machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    early.build_snapshot().await.unwrap();
    let kept = store.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(kept.meta, newer.meta);
    store.disk.close().await;
}

/// A folder with a small log, closed in good order or as if the process had been killed.
async fn folder_with_a_log(killed: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).await.unwrap();
    store.log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    for index in 0..20 {
        store.log.blocking_append([entry(1, index, &format!("word number {index}"))]).await.unwrap();
    }
    if !killed {
        store.disk.close().await;
        return dir;
    }
    // What is on the disk while the process still has the file open is what a kill leaves.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join(CONTROL_FILE), copy.path().join(CONTROL_FILE)).unwrap();
    store.disk.close().await;
    copy
}

#[tokio::test]
async fn a_killed_process_finds_everything_it_promised() {
    let dir = folder_with_a_log(true).await;
    let mut store = open(dir.path()).await.unwrap();
    assert_eq!(store.log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    assert_eq!(store.log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 1, 19)));
    store.disk.close().await;
}

/// In memory only: what is on the disk never falls.
#[tokio::test]
async fn leadership_is_not_read_back() {
    let dir = folder_with_a_log(false).await;
    let mut store = open(dir.path()).await.unwrap();
    store.log.resign(2);
    assert_eq!(store.log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    store.log.resign(1);
    assert_eq!(store.log.read_vote().await.unwrap(), Some(Vote::new(1, 1)));
    store.disk.close().await;

    let mut store = open(dir.path()).await.unwrap();
    assert_eq!(store.log.read_vote().await.unwrap(), Some(Vote::new_committed(1, 1)));
    store.disk.close().await;
}

/// Flips a bit in each copy of a record's text that the file holds: the live one and those that
/// pages on redb's free list still have.
#[tokio::test]
async fn a_flipped_bit_is_found_and_named() {
    for killed in [false, true] {
        let dir = folder_with_a_log(killed).await;
        let bytes = fs::read(dir.path().join(CONTROL_FILE)).unwrap();
        let needle = b"word number 7";
        let places = bytes.windows(needle.len()).enumerate().filter(|(_, window)| window == needle);
        let mut found = 0;
        for (at, _) in places {
            let mut damaged = bytes.clone();
            damaged[at + 5] ^= 0x10;
            let other = tempfile::tempdir().unwrap();
            fs::write(other.path().join(CONTROL_FILE), &damaged).unwrap();
            match open(other.path()).await {
                Ok(mut store) => {
                    let kept = store.log.get_log_entries(0..20).await.unwrap();
                    assert_eq!(kept[7], entry(1, 7, "word number 7"), "{at}");
                    store.disk.close().await;
                }
                Err(error) => {
                    found += 1;
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                    assert!(error.to_string().contains(CONTROL_FILE), "{error}");
                }
            }
        }
        assert_eq!(found, 1, "killed: {killed}");
    }
}

/// Bits anywhere, the header's flags among them: what was promised is there, or the damage is named.
/// (Without the checksum over the header, bit 0 of byte 9 takes the last entry away in silence.)
#[tokio::test]
async fn damage_anywhere_is_harmless_or_named() {
    for killed in [false, true] {
        let dir = folder_with_a_log(killed).await;
        let bytes = fs::read(dir.path().join(CONTROL_FILE)).unwrap();
        let flags = (0..8).map(|bit| (9, 1 << bit));
        let header = (0..320).filter(|at| bytes[*at] != 0).step_by(9).map(|at| (at, 0x10));
        let body = (0..bytes.len()).filter(|at| bytes[*at] != 0);
        let body = body.clone().step_by(body.count() / 16).map(|at| (at, 0x10));
        for (at, bit) in flags.chain(header).chain(body) {
            let mut damaged = bytes.clone();
            damaged[at] ^= bit;
            let other = tempfile::tempdir().unwrap();
            fs::write(other.path().join(CONTROL_FILE), &damaged).unwrap();
            match open(other.path()).await {
                Ok(mut store) => {
                    let place = format!("byte {at}, bit {bit:#x}, killed: {killed}");
                    assert_eq!(
                        store.log.read_vote().await.unwrap(),
                        Some(Vote::new_committed(1, 1)),
                        "{place}"
                    );
                    let kept = store.log.get_log_entries(0..20).await;
                    assert_eq!(kept.expect(&place).len(), 20, "{place}");
                    store.disk.close().await;
                }
                Err(error) => assert!(error.to_string().contains(CONTROL_FILE), "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_or_foolish_file_is_named() {
    let dir = folder_with_a_log(false).await;
    let path = dir.path().join(CONTROL_FILE);
    let error = Disk::open(path.clone(), 2).await.err().unwrap();
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("node 1, this is node 2"), "{error}");

    fs::write(&path, "this is not a database").unwrap();
    let error = Disk::open(path.clone(), 1).await.err().unwrap();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");

    let error = Disk::open(PathBuf::from("/nonexistent-torc/control.redb"), 1).await.err().unwrap();
    assert!(error.to_string().contains("/nonexistent-torc"), "{error}");
}

#[tokio::test]
async fn the_first_failed_sync_is_final() {
    let broken = Arc::new(AtomicBool::new(false));
    let (disk, contents) = fallible_disk(1, Arc::clone(&broken)).await;
    let mut log = LogStore::<Words>::new(disk.clone(), &contents).unwrap();
    log.blocking_append([blank(0)]).await.unwrap();
    assert!(disk.failure().borrow().is_none());

    broken.store(true, Ordering::SeqCst);
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    // The disk works again, but nobody knows what the failed commit left behind.
    broken.store(false, Ordering::SeqCst);
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(log.blocking_append([blank(1)]).await.is_err());
    assert!(log.truncate(log_id(1, 1, 1)).await.is_err());
    let failure = disk.failure().borrow().clone().unwrap();
    assert!(matches!(failure, StoreError::Io { .. }), "{failure}");
    disk.close().await;
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
}
