//! What became of a request: what its connection does next, and what its reply depends on.

use crate::blocked::{Block, Place};

/// What a connection does after a request.
#[derive(Debug)]
pub enum Flow {
    /// Go on with the next request.
    Continue,
    /// Flush, then close.
    Close,
    /// No reply yet: wait for this, then write its reply; later requests wait.
    Park(Park),
}

/// What a parked request waits for.
#[derive(Debug)]
pub enum Park {
    /// WAIT: until `replicas` have acknowledged `offset`, or the time is over.
    Replicas {
        /// The offset to wait for.
        offset: u64,
        /// How many replicas must have it.
        replicas: usize,
        /// 0: no limit.
        timeout_ms: u64,
    },
    /// LOCK.ACQUIRE … WAIT: until the waiter that was queued under this ticket is granted or times out.
    Lock {
        /// The lock's name.
        name: Box<[u8]>,
        /// The waiter's number in the lock table.
        ticket: u64,
        /// How long at most.
        timeout_ms: u64,
    },
    /// A blocking command that found nothing: the executor puts it into the queues of its keys.
    Keys(Box<Block>),
    /// A blocking command that stands in its queues.
    Blocked {
        /// Its place in them.
        place: Place,
        /// `None`: no limit.
        timeout_ms: Option<u64>,
    },
    /// CLIENT PAUSE, DEBUG SLEEP: nothing but time.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
}

/// What kind of reply was written, for the checks between execution and flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// Has nothing to do with the data: never replaced.
    Local,
    /// Shows data: refused when the lease is gone at the flush.
    Read,
    /// Changed data (or tried to): UNCERTAIN when the lease is gone at the flush.
    Write,
}

/// The outcome of one request.
#[derive(Debug)]
pub struct Done {
    /// What to do next.
    pub flow: Flow,
    /// What was written.
    pub kind: ReplyKind,
    /// The reply may leave when the high-water mark has reached this offset; 0: at once.
    pub barrier: u64,
    /// How long the barrier may hold the reply, from now, in milliseconds.
    pub deadline_ms: u32,
}

impl Done {
    pub(crate) fn local() -> Done {
        Done { flow: Flow::Continue, kind: ReplyKind::Local, barrier: 0, deadline_ms: 0 }
    }
}
