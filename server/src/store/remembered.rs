//! Replies to request ids: who sends a request a second time gets the first reply, and nothing is done twice.
//!
//! Owned by the stripe of the request's first key, so that the look, the execution and the note happen under one
//! lock; each note is an effect of the request's own record. Bounded in bytes and age: what has to go raises its
//! origin's *floor*, and an id at or below the floor that is not remembered is refused, never executed.

use std::collections::VecDeque;

use ahash::AHashMap;
use torc_protocol::context::RequestId;
use torc_protocol::error::UNCERTAIN;
use torc_protocol::slot::Slot;

/// Bytes that the replies of one stripe may take.
const MAX_BYTES: usize = 64 * 1024;

/// A reply longer than this is remembered as having happened, not as it was.
const MAX_REPLY_BYTES: usize = 8 * 1024;

/// What an entry takes beside its reply.
const OVERHEAD_BYTES: usize = 96;

/// How long a reply is remembered, in milliseconds: far above the time in which anybody tries again.
const MAX_AGE_MS: u64 = 120_000;

/// Origins whose floor is kept; the one that was raised longest ago goes.
const MAX_ORIGINS: usize = 256;

#[derive(Debug)]
struct Kept {
    slot: Slot,
    reply: Box<[u8]>,
    at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Floor {
    seq: u64,
    at_ms: u64,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// Nothing: execute it.
    New,
    /// It was executed, with this reply.
    Again(&'a [u8]),
    /// It may have been, long ago.
    TooOld,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Remembered {
    replies: AHashMap<RequestId, Kept>,
    /// Oldest first.
    order: VecDeque<RequestId>,
    bytes: usize,
    floors: AHashMap<u64, Floor>,
}

impl Remembered {
    /// What is known of `id`.
    pub fn look(&self, id: RequestId) -> Seen<'_> {
        match self.replies.get(&id) {
            Some(kept) => Seen::Again(&kept.reply),
            None if self.floors.get(&id.origin).is_some_and(|floor| id.seq <= floor.seq) => Seen::TooOld,
            None => Seen::New,
        }
    }

    /// The request was executed and answered so. `now_ms` is CLOCK_BOOTTIME.
    pub fn keep(&mut self, slot: Slot, id: RequestId, reply: &[u8], now_ms: u64) {
        let reply: Box<[u8]> = if reply.len() <= MAX_REPLY_BYTES {
            reply.into()
        } else {
            format!("-{UNCERTAIN}\r\n").into_bytes().into()
        };
        self.bytes += OVERHEAD_BYTES + reply.len();
        match self.replies.insert(id, Kept { slot, reply, at_ms: now_ms }) {
            Some(old) => self.bytes -= OVERHEAD_BYTES + old.reply.len(),
            None => self.order.push_back(id),
        }
        self.shrink(now_ms);
    }

    /// Ids of `origin` up to `seq` are refused unless they are remembered.
    pub fn raise_floor(&mut self, origin: u64, seq: u64, now_ms: u64) {
        let floor = self.floors.entry(origin).or_insert(Floor { seq: 0, at_ms: now_ms });
        *floor = Floor { seq: floor.seq.max(seq), at_ms: now_ms };
        if self.floors.len() > MAX_ORIGINS
            && let Some(oldest) =
                self.floors.iter().min_by_key(|(_, floor)| floor.at_ms).map(|(origin, _)| *origin)
        {
            self.floors.remove(&oldest);
        }
    }

    fn shrink(&mut self, now_ms: u64) {
        while let Some(&id) = self.order.front() {
            let too_old =
                self.replies.get(&id).is_none_or(|kept| now_ms.saturating_sub(kept.at_ms) > MAX_AGE_MS);
            if !too_old && self.bytes <= MAX_BYTES {
                return;
            }
            self.order.pop_front();
            if let Some(kept) = self.replies.remove(&id) {
                self.bytes -= OVERHEAD_BYTES + kept.reply.len();
            }
            self.raise_floor(id.origin, id.seq, now_ms);
        }
    }

    /// All replies, oldest first, with their slots: for a full sync.
    pub fn replies(&self) -> impl Iterator<Item = (Slot, RequestId, &[u8])> {
        self.order.iter().filter_map(|id| self.replies.get(id).map(|kept| (kept.slot, *id, &*kept.reply)))
    }

    /// Origins with their floors.
    pub fn floors(&self) -> impl Iterator<Item = (u64, u64)> {
        self.floors.iter().map(|(origin, floor)| (*origin, floor.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> RequestId {
        RequestId { origin: 7, seq }
    }

    #[test]
    fn the_first_reply_is_given_again() {
        let mut table = Remembered::default();
        assert_eq!(table.look(id(1)), Seen::New);
        table.keep(3, id(1), b"+OK\r\n", 0);
        assert_eq!(table.look(id(1)), Seen::Again(b"+OK\r\n"));
        assert_eq!(table.look(id(2)), Seen::New);
        table.keep(3, id(2), &[b'x'; MAX_REPLY_BYTES + 1], 0);
        assert!(matches!(table.look(id(2)), Seen::Again(reply) if reply.starts_with(b"-UNCERTAIN")));
    }

    #[test]
    fn what_has_to_go_is_refused_afterwards() {
        let mut table = Remembered::default();
        table.keep(3, id(5), b"+OK\r\n", 0);
        table.keep(3, id(9), b"+OK\r\n", MAX_AGE_MS + 1);
        assert_eq!(table.look(id(5)), Seen::TooOld);
        assert_eq!(table.look(id(4)), Seen::TooOld);
        assert_eq!(table.look(id(6)), Seen::New);
        let other = RequestId { origin: 8, seq: 1 };
        assert_eq!(table.look(other), Seen::New);
        for seq in 10..2000 {
            table.keep(3, id(seq), b"+OK\r\n", MAX_AGE_MS + 1);
        }
        assert!(table.bytes <= MAX_BYTES);
        assert_eq!(
            table.bytes,
            table.replies().map(|(_, _, reply)| OVERHEAD_BYTES + reply.len()).sum::<usize>()
        );
        assert_eq!(table.look(id(10)), Seen::TooOld);
        assert!(matches!(table.look(id(1999)), Seen::Again(_)));
    }

    #[test]
    fn floors_are_bounded() {
        let mut table = Remembered::default();
        for origin in 0..2 * MAX_ORIGINS as u64 {
            table.raise_floor(origin, 1, origin);
        }
        assert_eq!(table.floors().count(), MAX_ORIGINS);
        assert_eq!(table.look(RequestId { origin: 0, seq: 1 }), Seen::New);
    }
}
