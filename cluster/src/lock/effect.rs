//! What a lock table tells its replicas. Applied in order, an effect gives the same holders everywhere; only
//! their ends differ, by the time the effect travelled.

use super::{Mode, Token};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockEffect {
    /// One more holder, for `remaining_ms` from receipt. With a token above the known one it replaces all
    /// holders; with the same one it joins the shared run.
    Grant { name: Vec<u8>, token: Token, mode: Mode, owner: Vec<u8>, request_id: Vec<u8>, remaining_ms: u64 },
    /// A holder's time ends `remaining_ms` from receipt.
    Extend { name: Vec<u8>, token: Token, owner: Vec<u8>, request_id: Vec<u8>, remaining_ms: u64 },
    /// Nothing is granted for `remaining_ms` from receipt: the shard lost its memory, and locks may be held that
    /// nobody here remembers.
    Closed { remaining_ms: u64 },
    /// A holder left or its time was over.
    Release { name: Vec<u8>, token: Token, owner: Vec<u8>, request_id: Vec<u8> },
}
