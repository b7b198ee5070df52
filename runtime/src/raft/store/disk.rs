//! The thread that owns the file (`torc-raft-disk`), and the handle to it.
//!
//! Changes reach it through a bounded channel, are committed in order, several to a commit when
//! several wait, and are answered after the commit is durable. The first failed commit is final:
//! every later change is refused with the same error, because after a failed sync nobody knows
//! what the disk holds.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::file::{Change, Contents, ControlFile};
use crate::clock::boottime_ns;
use crate::metrics::LatencyHistogram;
use crate::raft::bugs::{Bug, planted};

/// Changes that may wait for the thread.
const QUEUE: usize = 256;
/// Changes of one commit.
const BATCH: usize = 64;

/// A commit that takes longer than this is told of: elections and leases wait behind it.
const SLOW_COMMIT_NS: u64 = 100_000_000;

/// Told once the change is durable, or that it never will be.
pub(super) type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

enum Job {
    Change(Change, Done),
    Close(oneshot::Sender<()>),
}

/// A handle to the disk thread. Clones share it.
#[derive(Clone)]
pub(in crate::raft) struct Disk {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    /// The newest committed id, written along with the next change or at the end. It is only a
    /// hint of how far the log may be applied at the next start, so it is worth no sync.
    committed: Mutex<Option<Vec<u8>>>,
    failure: watch::Sender<Option<StoreError>>,
    commit_ns: LatencyHistogram,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            committed: Mutex::new(None),
            failure: watch::Sender::new(None),
            commit_ns: LatencyHistogram::new(),
        }
    }
}

type Opener = Box<dyn FnOnce() -> Result<(ControlFile, Contents), StoreError> + Send>;

impl Disk {
    /// Starts the thread, which opens (or makes) and reads the file.
    pub(in crate::raft) async fn open(path: PathBuf, node_id: u64) -> Result<(Self, Contents), StoreError> {
        let file = path.clone();
        Self::start(path, Box::new(move || ControlFile::open(&file, node_id))).await
    }

    /// The disk of a simulation: a task of its executor instead of a thread, and `pause` for the time that each
    /// commit takes.
    #[cfg(test)]
    pub(in crate::raft) fn start_as_task<R, P>(
        file: ControlFile,
        pause: impl Fn() -> P + Send + 'static,
    ) -> Self
    where
        R: openraft::AsyncRuntime,
        P: Future<Output = ()> + Send + 'static,
    {
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let (mut file, state) = (file, Arc::clone(&shared));
        drop(R::spawn(async move {
            let mut failure = None;
            while let Some(first) = queue.recv().await {
                let batch = Batch::gather(first, &mut queue);
                pause().await;
                if let Some(closed) = batch.write(&mut file, &state, &mut failure) {
                    drop(file);
                    let _ = closed.send(());
                    return;
                }
            }
        }));
        Self { jobs, shared }
    }

    pub(super) async fn start(path: PathBuf, open: Opener) -> Result<(Self, Contents), StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, wait) = oneshot::channel();
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("torc-raft-disk".to_owned())
            .spawn(move || match open() {
                Ok((file, contents)) => {
                    if opened.send(Ok(contents)).is_ok() {
                        run(file, queue, &thread);
                    }
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|cause| StoreError::Io { path, what: cause.to_string() })?;
        let contents = wait.await.map_err(|_| StoreError::Closed)??;
        Ok((Self { jobs, shared }, contents))
    }

    /// Hands a change over; `done` is called from the disk thread.
    pub(super) async fn submit(&self, change: Change, done: Done) {
        if let Err(mpsc::error::SendError(Job::Change(_, done))) =
            self.jobs.send(Job::Change(change, done)).await
        {
            done(Err(StoreError::Closed));
        }
    }

    /// Makes a change durable.
    pub(super) async fn write(&self, change: Change) -> Result<(), StoreError> {
        let (done, wait) = oneshot::channel();
        let answer = move |result| {
            let _ = done.send(result);
        };
        self.submit(change, Box::new(answer)).await;
        wait.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Notes how far the log is committed.
    pub(super) fn note_committed(&self, log_id: Option<Vec<u8>>) {
        *self.shared.committed.lock() = log_id;
    }

    /// The error that ended storage, once there is one.
    pub(in crate::raft) fn failure(&self) -> watch::Receiver<Option<StoreError>> {
        self.shared.failure.subscribe()
    }

    /// How long commits took.
    pub(in crate::raft) fn commit_latency(&self) -> crate::metrics::HistogramSnapshot {
        self.shared.commit_ns.snapshot()
    }

    /// Ends the thread after what waits, and returns once the file is closed.
    pub(in crate::raft) async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.jobs.send(Job::Close(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Changes of one commit, and who waits for it.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    waiting: Vec<Done>,
    closed: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// The first job, and what waits behind it.
    fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> Self {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Change(change, done) => {
                    batch.changes.push(change);
                    batch.waiting.push(done);
                }
                Job::Close(done) => batch.closed = Some(done),
            }
            let more = batch.changes.len() < BATCH && batch.closed.is_none();
            next = if more { queue.try_recv().ok() } else { None };
        }
        batch
    }

    /// Commits and answers; gives who wants to hear that the file is closed.
    fn write(
        self,
        file: &mut ControlFile,
        shared: &Shared,
        failure: &mut Option<StoreError>,
    ) -> Option<oneshot::Sender<()>> {
        if !self.changes.is_empty() {
            let result = commit(file, self.changes, shared, failure);
            self.waiting.into_iter().for_each(|done| done(result.clone()));
        }
        self.closed
    }
}

fn run(mut file: ControlFile, mut queue: mpsc::Receiver<Job>, shared: &Shared) {
    let mut closed = None;
    let mut failure: Option<StoreError> = None;
    while closed.is_none() {
        let Some(first) = queue.blocking_recv() else {
            break;
        };
        closed = Batch::gather(first, &mut queue).write(&mut file, shared, &mut failure);
    }
    if failure.is_none() && shared.committed.lock().is_some() {
        let _ = commit(&mut file, Vec::new(), shared, &mut failure);
    }
    // The file must be closed before the waiter hears of it: it may open it again at once.
    drop(file);
    if let Some(done) = closed {
        let _ = done.send(());
    }
}

fn commit(
    file: &mut ControlFile,
    mut changes: Vec<Change>,
    shared: &Shared,
    failure: &mut Option<StoreError>,
) -> Result<(), StoreError> {
    if let Some(error) = failure {
        return Err(error.clone());
    }
    let committed = shared.committed.lock().take();
    changes.extend(committed.map(Change::Committed));
    let started = boottime_ns();
    let result = file.commit(&changes);
    let took_ns = boottime_ns().saturating_sub(started);
    shared.commit_ns.record(took_ns);
    if took_ns >= SLOW_COMMIT_NS {
        let ms = took_ns / 1_000_000;
        tracing::warn!(
            ms,
            "the disk is slow: a commit of the control plane took this long, and leases wait behind it"
        );
    }
    if planted(Bug::FailedSyncForgotten) {
        return Ok(());
    }
    if let Err(error) = &result {
        tracing::error!(%error, "consensus storage failed: this voter stops");
        *failure = Some(error.clone());
        shared.failure.send_replace(Some(error.clone()));
    }
    result
}
