//! What of a node's replication is shown: in INFO, on status pages, as metrics.

use serde::{Deserialize, Serialize};
use torc_cluster::ids::{Member, Offset, Position, Term};

use super::backlog::Bounds;
use super::stream::Progress;

/// A replica as its primary knows it.
#[derive(Clone, Debug)]
pub struct ReplicaSummary {
    /// Which one.
    pub member: Member,
    /// What it has acknowledged; `None`: it is not connected, or its sync is not done.
    pub acked: Option<Offset>,
    /// When it was heard of last (CLOCK_BOOTTIME).
    pub heard_ns: u64,
    /// A sync is being sent to it.
    pub syncing: Option<SyncKind>,
}

/// How a replica gets what it lacks, when records alone will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// Everything.
    Full,
    /// What it has is compared with its primary's, and the slots that differ are sent.
    Slots,
}

impl SyncKind {
    /// For people and labels.
    pub fn name(self) -> &'static str {
        match self {
            SyncKind::Full => "full-sync",
            SyncKind::Slots => "slot-sync",
        }
    }
}

/// What a node has sent to replicas that came back, as their primary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Replicas that went on with records of the backlog.
    pub partial_syncs: u64,
    /// Replicas that were compared slot by slot.
    pub slot_syncs: u64,
    /// Replicas that got everything.
    pub full_syncs: u64,
    /// Connected replicas that were given up, since they lacked more than the backlog keeps for them.
    pub cut_off: u64,
    /// What came of the comparisons.
    pub slots: Progress,
    /// Bytes of full syncs, without the records beside them.
    pub full_bytes: u64,
}

/// Records that a node held and a later primary did not: acknowledged `primary` at most, and lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The term of the last of them: that which the node led when it wrote them.
    pub term: Term,
    /// The first offset.
    pub first: Offset,
    /// The last offset.
    pub last: Offset,
    /// The term of the primary that goes on without them.
    pub by: Term,
}

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Dropped { term, first, last, by } = self;
        write!(f, "term={},first={},last={},by={}", term.0, first.0, last.0, by.0)
    }
}

/// What the outside may know without the lock's details.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The last record held.
    pub last: Position,
    /// The high-water mark.
    pub mark: Offset,
    /// Terms below this one are refused.
    pub sealed: Term,
    /// Whether what is held is whole.
    pub whole: bool,
    /// First offset of the backlog.
    pub backlog_first: u64,
    /// Bytes of the backlog.
    pub backlog_bytes: usize,
    /// Bytes that the backlog may take.
    pub backlog_bounds: Bounds,
    /// Bytes of records that wait for one that a worker has yet to hand over.
    pub waiting_bytes: usize,
    /// Replicas that are known (primary only).
    pub replicas: Vec<ReplicaSummary>,
    /// Whether a stream from the primary stands and all is here that it had (replica only).
    pub streaming: bool,
    /// The sync from the primary that is under way (replica only).
    pub syncing: Option<SyncKind>,
    /// When the primary was heard of last (CLOCK_BOOTTIME; replica only).
    pub heard_ns: u64,
    /// Records dropped because the primary never had them.
    pub dropped_records: u64,
    /// The last of them.
    pub last_dropped: Option<Dropped>,
    /// Full syncs finished as a replica.
    pub full_syncs: u64,
    /// Resyncs by slots finished as a replica.
    pub slot_syncs: u64,
    /// What was sent to replicas.
    pub fed: Fed,
}
