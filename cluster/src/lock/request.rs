//! What is asked of a lock table, and its typed answers.

use super::{LockEffect, Token};
use serde::{Deserialize, Serialize};

/// Chosen by the server: which parked request to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    Exclusive,
    Shared,
}

/// `LOCK.ACQUIRE`.
#[derive(Clone, Debug)]
pub struct Acquire<'a> {
    pub name: &'a [u8],
    pub mode: Mode,
    pub ttl_ms: u64,
    /// 0: do not wait.
    pub wait_ms: u64,
    /// Empty: nobody in particular.
    pub owner: &'a [u8],
    /// The same request again gets the same answer while its grant lives. Empty: none.
    pub request_id: &'a [u8],
    /// Whom to wake when it has to wait.
    pub waiter: WaiterId,
}

/// A grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub token: Token,
    pub remaining_ms: u64,
}

/// The immediate answer to an acquire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    Granted(Granted),
    /// Held by another, and not waited for. `remaining_ms`: until the last holder's time is over.
    Busy {
        remaining_ms: u64,
    },
    /// Parked: an [`Outcome`] wakes it, at the latest at `deadline_ms`.
    Queued {
        deadline_ms: u64,
    },
}

/// What a step brought about beside its own answer; it may be the gatherer of several steps. To be carried out
/// even when the answer is an error: a holder's time may have ended on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To be replicated, in this order.
    pub effects: Vec<LockEffect>,
    /// Parked requests that are granted now.
    pub granted: Vec<(WaiterId, Granted)>,
    /// Parked requests whose wait is over.
    pub timed_out: Vec<WaiterId>,
}

impl Outcome {
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty() && self.granted.is_empty() && self.timed_out.is_empty()
    }
}

/// `LOCK.INFO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    pub token: Token,
    pub mode: Mode,
    pub holders: Vec<HolderInfo>,
    pub waiters: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    pub owner: Vec<u8>,
    pub remaining_ms: u64,
}

/// Why nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    #[error("the TTL must be between 1 and {max_ttl_ms} ms")]
    Ttl { max_ttl_ms: u64 },
    #[error("the wait must not be above {max_wait_ms} ms")]
    Wait { max_wait_ms: u64 },
    #[error("locks are closed for another {remaining_ms} ms: the shard lost its memory")]
    Closed { remaining_ms: u64 },
    #[error("too many locks, holders or waiters")]
    Full,
    #[error("locks take more than {max_bytes} bytes of memory already")]
    Memory { max_bytes: usize },
    #[error("owner and request id must not be above {max_bytes} bytes")]
    TextTooLong { max_bytes: usize },
    #[error("all tokens of this term are used up")]
    TokensExhausted,
    /// Not held (any more) under that token by that owner.
    #[error("not the holder")]
    NotHolder,
}
