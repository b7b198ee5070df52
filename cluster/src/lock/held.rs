//! One lock: its holders and its queue.

use super::{Mode, Token, WaiterId};
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) owner: Vec<u8>,
    pub(super) request_id: Vec<u8>,
    pub(super) expires_ms: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) mode: Mode,
    pub(super) ttl_ms: u64,
    pub(super) deadline_ms: u64,
    pub(super) owner: Vec<u8>,
    pub(super) request_id: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Lock {
    pub(super) token: Token,
    pub(super) mode: Mode,
    pub(super) holders: Vec<Holder>,
    pub(super) waiters: VecDeque<Waiter>,
}

/// What a lock, a holder or a waiter takes beside its texts, about.
const FIXED_BYTES: usize = 128;

impl Lock {
    /// Bytes that a lock of this name takes, about: its name is in two places.
    pub(super) fn bytes(&self, name: &[u8]) -> usize {
        if self.holders.is_empty() && self.waiters.is_empty() {
            return 0;
        }
        let text = |owner: &[u8], request_id: &[u8]| FIXED_BYTES + owner.len() + request_id.len();
        let holders: usize = self.holders.iter().map(|h| text(&h.owner, &h.request_id)).sum();
        let waiters: usize = self.waiters.iter().map(|w| text(&w.owner, &w.request_id)).sum();
        FIXED_BYTES + 2 * name.len() + holders + waiters
    }

    pub(super) fn new() -> Self {
        Lock { token: Token(0), mode: Mode::Exclusive, holders: Vec::new(), waiters: VecDeque::new() }
    }

    /// Whether a request of this mode may hold the lock now, the queue left aside.
    pub(super) fn admits(&self, mode: Mode) -> bool {
        self.holders.is_empty() || (mode == Mode::Shared && self.mode == Mode::Shared)
    }

    /// The holder that a request id belongs to.
    pub(super) fn by_request(&self, owner: &[u8], request_id: &[u8]) -> Option<&Holder> {
        if request_id.is_empty() {
            return None;
        }
        self.holders.iter().find(|holder| holder.request_id == request_id && holder.owner == owner)
    }

    /// The holder that this owner means: its own, or for an exclusive lock the only one when no owner is named.
    /// Among several of one owner the one that ends first.
    pub(super) fn holder_of(&self, owner: &[u8]) -> Option<usize> {
        if self.mode == Mode::Exclusive && owner.is_empty() && !self.holders.is_empty() {
            return Some(0);
        }
        self.holders
            .iter()
            .enumerate()
            .filter(|(_, holder)| holder.owner == owner)
            .min_by_key(|(_, holder)| holder.expires_ms)
            .map(|(index, _)| index)
    }

    /// The holder an effect speaks of; among several alike the one that ends first.
    pub(super) fn position(&self, token: Token, owner: &[u8], request_id: &[u8]) -> Option<usize> {
        if token != self.token {
            return None;
        }
        self.holders
            .iter()
            .enumerate()
            .filter(|(_, holder)| holder.owner == owner && holder.request_id == request_id)
            .min_by_key(|(_, holder)| holder.expires_ms)
            .map(|(index, _)| index)
    }

    /// When something happens by itself: a holder's or a waiter's end.
    pub(super) fn next_event_ms(&self) -> Option<u64> {
        let holders = self.holders.iter().map(|holder| holder.expires_ms);
        holders.chain(self.waiters.iter().map(|waiter| waiter.deadline_ms)).min()
    }

    /// When the last holder's time is over.
    pub(super) fn free_at_ms(&self) -> u64 {
        self.holders.iter().map(|holder| holder.expires_ms).max().unwrap_or(0)
    }
}
