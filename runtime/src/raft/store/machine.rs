//! The application's state and its snapshots.
//!
//! openraft's state machine task owns the state and publishes each version through a watch; a
//! version is never changed once published. A snapshot is the whole state as JSON, kept in memory
//! (to send it) and on disk (to start from it).

use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::disk::Disk;
use super::file::{Change, Contents};
use crate::raft::types::{
    LogEntry, LogId, Membership, RaftApp, SnapshotMeta, StorageError, StorageIOError, Types,
};

/// The state machine of one voter.
pub(in crate::raft) struct StateMachine<A: RaftApp> {
    app: Arc<A>,
    applied: Option<LogId>,
    membership: Membership,
    published: watch::Sender<Arc<A>>,
    snapshots: Snapshots,
}

/// A snapshot: what it is, and the state as JSON.
type Kept = (SnapshotMeta, Vec<u8>);

/// The last snapshot, shared with the builder.
#[derive(Clone)]
struct Snapshots {
    last: Arc<Mutex<Option<Kept>>>,
    /// Held while one is written: a builder and an installation may overlap.
    writing: Arc<tokio::sync::Mutex<()>>,
    disk: Disk,
}

impl<A: RaftApp> StateMachine<A> {
    /// Starts from the snapshot in the file, or from nothing. `Err` names what cannot be
    /// understood.
    pub(in crate::raft) fn new(
        disk: Disk,
        contents: &Contents,
        published: watch::Sender<Arc<A>>,
    ) -> Result<Self, String> {
        let mut app = A::default();
        let mut meta = SnapshotMeta::default();
        let mut last = None;
        if let Some((meta_bytes, state)) = &contents.snapshot {
            meta = serde_json::from_slice(meta_bytes)
                .map_err(|cause| format!("the snapshot's description cannot be read: {cause}"))?;
            app = serde_json::from_slice(state)
                .map_err(|cause| format!("the snapshot's state cannot be read: {cause}"))?;
            last = Some((meta.clone(), state.clone()));
        }
        let app = Arc::new(app);
        published.send_replace(Arc::clone(&app));
        Ok(Self {
            app,
            applied: meta.last_log_id,
            membership: meta.last_membership,
            published,
            snapshots: Snapshots { last: Arc::new(Mutex::new(last)), writing: Arc::default(), disk },
        })
    }
}

impl<A: RaftApp> RaftStateMachine<Types<A>> for StateMachine<A> {
    type SnapshotBuilder = Builder<A>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Option<A::Reply>>, StorageError>
    where
        I: IntoIterator<Item = LogEntry<A>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut replies = Vec::new();
        let mut changed = false;
        for entry in entries {
            self.applied = Some(entry.log_id);
            replies.push(match entry.payload {
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    None
                }
                EntryPayload::Normal(command) => {
                    changed = true;
                    // Clones once per batch: readers may hold the published version.
                    Some(Arc::make_mut(&mut self.app).apply(command))
                }
            });
        }
        if changed {
            self.published.send_replace(Arc::clone(&self.app));
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<A> {
        Builder {
            app: Arc::clone(&self.app),
            applied: self.applied,
            membership: self.membership.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Vec<u8>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Vec<u8>>,
    ) -> Result<(), StorageError> {
        let app: A = serde_json::from_slice(&snapshot)
            .map_err(|cause| StorageIOError::read_snapshot(Some(meta.signature()), &cause))?;
        self.snapshots.keep(meta.clone(), *snapshot).await?;
        self.app = Arc::new(app);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.published.send_replace(Arc::clone(&self.app));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types<A>>>, StorageError> {
        let last = self.snapshots.last.lock();
        Ok(last
            .as_ref()
            .map(|(meta, state)| Snapshot { meta: meta.clone(), snapshot: Box::new(state.clone()) }))
    }
}

impl Snapshots {
    /// Makes a snapshot the last one, on disk first; keeps a newer one that came in between.
    async fn keep(&self, meta: SnapshotMeta, state: Vec<u8>) -> Result<(), StorageError> {
        let failed = |cause: AnyError| StorageIOError::write_snapshot(Some(meta.signature()), cause);
        let meta_bytes = serde_json::to_vec(&meta).map_err(|cause| failed(AnyError::new(&cause)))?;
        let _turn = self.writing.lock().await;
        let newer = |(last, _): &Kept| last.last_log_id > meta.last_log_id;
        if self.last.lock().as_ref().is_some_and(newer) {
            return Ok(());
        }
        let change = Change::Snapshot { meta: meta_bytes, state: state.clone() };
        self.disk.write(change).await.map_err(|cause| failed(AnyError::new(&cause)))?;
        *self.last.lock() = Some((meta, state));
        Ok(())
    }
}

/// Builds a snapshot of the version it was made from, while the state goes on changing.
pub(in crate::raft) struct Builder<A: RaftApp> {
    app: Arc<A>,
    applied: Option<LogId>,
    membership: Membership,
    snapshots: Snapshots,
}

impl<A: RaftApp> RaftSnapshotBuilder<Types<A>> for Builder<A> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types<A>>, StorageError> {
        let state =
            serde_json::to_vec(&*self.app).map_err(|cause| StorageIOError::read_state_machine(&cause))?;
        // The state after an entry is the same on every voter, so its id names the snapshot.
        let snapshot_id = self.applied.map_or_else(|| "empty".to_owned(), |log_id| log_id.to_string());
        let meta =
            SnapshotMeta { last_log_id: self.applied, last_membership: self.membership.clone(), snapshot_id };
        self.snapshots.keep(meta.clone(), state.clone()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(state) })
    }
}
