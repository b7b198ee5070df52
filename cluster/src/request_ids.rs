//! Replies to request ids: who sends a request a second time gets the first reply, and nothing is done twice.
//!
//! Owned, in a server, by the stripe of the request's first key, so that the look, the execution and the note happen under one
//! lock; each note is an effect of the request's own record, so replicas and full syncs have it too.
//!
//! Per origin a *window*: replies in the order of their ids above a *floor*. An id at or below the floor is refused,
//! never executed. The floor follows what the origin itself says is settled, so an honest window holds little more
//! than what is under way. Bounded in bytes and age besides: what has to go raises the floor, and an origin that has
//! to go is noted, since then a second sending of an unknown origin may not be executed any more.

use std::collections::VecDeque;

use ahash::AHashMap;
use smallvec::SmallVec;
use torc_protocol::context::RequestId;
use torc_protocol::error::UNCERTAIN_REPLY;
use torc_protocol::slot::Slot;

use crate::bugs::{Bug, planted};

/// Bytes that the windows of one stripe may take.
const MAX_BYTES: usize = 64 * 1024;

/// A reply longer than this is remembered as having happened, not as it was.
const MAX_REPLY_BYTES: usize = 8 * 1024;

/// Replies up to this are kept without an allocation of their own: `+OK` and numbers.
const INLINE_BYTES: usize = 16;

/// What an origin takes beside its replies.
const ORIGIN_BYTES: usize = 128;

/// How long a reply is remembered, in milliseconds: far above the time in which anybody tries again.
const MAX_AGE_MS: u64 = 120_000;

/// The origin that stands for "an origin was forgotten" among the floors. Nobody numbers by it.
const FORGOTTEN: u64 = 0;

#[derive(Debug)]
struct Kept {
    seq: u64,
    at_ms: u64,
    slot: Slot,
    reply: SmallVec<[u8; INLINE_BYTES]>,
}

impl Kept {
    fn bytes(&self) -> usize {
        size_of::<Kept>() + if self.reply.spilled() { self.reply.capacity() } else { 0 }
    }
}

#[derive(Debug, Default)]
struct Window {
    floor: u64,
    /// By rising number, all above the floor.
    kept: VecDeque<Kept>,
    bytes: usize,
    touched_ms: u64,
}

impl Window {
    /// Drops the first reply.
    fn drop_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.bytes -= first.bytes();
            self.floor = self.floor.max(first.seq);
        }
    }

    /// Drops what is at or below `seq`.
    fn raise_floor(&mut self, seq: u64) {
        while self.kept.front().is_some_and(|kept| kept.seq <= seq) {
            self.drop_first();
        }
        self.floor = self.floor.max(seq);
    }
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
    windows: AHashMap<u64, Window>,
    /// Of all windows.
    bytes: usize,
    /// Whether an origin had to go, and its floor with it.
    forgot: bool,
}

impl Remembered {
    /// What is known of `id`; `repeated`: its sender says that it was sent before.
    pub fn look(&self, id: RequestId, repeated: bool) -> Seen<'_> {
        let Some(window) = self.windows.get(&id.origin) else {
            return if repeated && self.forgot { Seen::TooOld } else { Seen::New };
        };
        match window.kept.back() {
            // The usual case: newer than all that is known.
            None if id.seq > window.floor => Seen::New,
            Some(last) if id.seq > last.seq => Seen::New,
            _ if id.seq <= window.floor => Seen::TooOld,
            _ => match window.kept.binary_search_by_key(&id.seq, |kept| kept.seq) {
                Ok(at) => window.kept.get(at).map_or(Seen::New, |kept| Seen::Again(&kept.reply)),
                Err(_) => Seen::New,
            },
        }
    }

    /// The request was executed and answered so. `now_ms` is CLOCK_BOOTTIME.
    pub fn keep(&mut self, slot: Slot, id: RequestId, reply: &[u8], now_ms: u64) {
        let window = self.windows.entry(id.origin).or_insert_with(|| {
            self.bytes += ORIGIN_BYTES;
            Window::default()
        });
        let before = window.bytes;
        window.touched_ms = now_ms;
        window.raise_floor(id.settled.min(id.seq.saturating_sub(1)));
        while window.kept.front().is_some_and(|kept| now_ms.saturating_sub(kept.at_ms) > MAX_AGE_MS) {
            window.drop_first();
        }
        if id.seq > window.floor {
            let reply =
                if reply.len() <= MAX_REPLY_BYTES { reply.into() } else { uncertain().as_bytes().into() };
            let kept = Kept { seq: id.seq, at_ms: now_ms, slot, reply };
            window.bytes += kept.bytes();
            match window.kept.back() {
                Some(last) if last.seq >= id.seq => {
                    match window.kept.binary_search_by_key(&id.seq, |kept| kept.seq) {
                        Err(at) => window.kept.insert(at, kept),
                        Ok(at) => {
                            if let Some(place) = window.kept.get_mut(at) {
                                window.bytes -= place.bytes();
                                *place = kept;
                            }
                        }
                    }
                }
                _ => window.kept.push_back(kept),
            }
        }
        self.bytes = self.bytes + window.bytes - before;
        if self.bytes > MAX_BYTES {
            self.shrink();
        }
    }

    /// Ids of `origin` up to `seq` are refused.
    pub fn raise_floor(&mut self, origin: u64, seq: u64, now_ms: u64) {
        if origin == FORGOTTEN {
            self.forgot = true;
            return;
        }
        let window = self.windows.entry(origin).or_insert_with(|| {
            self.bytes += ORIGIN_BYTES;
            Window::default()
        });
        let before = window.bytes;
        window.touched_ms = now_ms;
        window.raise_floor(seq);
        self.bytes = self.bytes + window.bytes - before;
        if self.bytes > MAX_BYTES {
            self.shrink();
        }
    }

    /// Makes room for a while: the largest windows lose their older halves; when none has any replies left, the
    /// origins go that were silent for longest.
    #[cold]
    fn shrink(&mut self) {
        while self.bytes > MAX_BYTES / 4 * 3 {
            let largest = self.windows.values_mut().max_by_key(|window| window.bytes);
            if let Some(window) = largest.filter(|window| !window.kept.is_empty()) {
                let before = window.bytes;
                for _ in 0..window.kept.len().div_ceil(2) {
                    window.drop_first();
                }
                self.bytes = self.bytes + window.bytes - before;
                continue;
            }
            let mut silent: Vec<(u64, u64)> =
                self.windows.iter().map(|(origin, window)| (window.touched_ms, *origin)).collect();
            silent.sort_unstable();
            for (_, origin) in silent.iter().take(silent.len().div_ceil(2)) {
                self.windows.remove(origin);
                self.bytes -= ORIGIN_BYTES;
            }
            self.forgot = true;
        }
    }

    /// All replies, those of an origin in their order, with their slots: for a full sync.
    pub fn replies(&self) -> impl Iterator<Item = (Slot, RequestId, &[u8])> {
        let windows = self.windows.iter().filter(|_| !planted(Bug::RequestIdsNotSynced));
        windows.flat_map(|(origin, window)| {
            window.kept.iter().map(|kept| {
                let id = RequestId { origin: *origin, seq: kept.seq, settled: window.floor };
                (kept.slot, id, &*kept.reply)
            })
        })
    }

    /// Origins with their floors, as far as there are any; and whether an origin was forgotten, in the same form.
    pub fn floors(&self) -> impl Iterator<Item = (u64, u64)> {
        let windows = self.windows.iter().filter(|_| !planted(Bug::RequestIdsNotSynced));
        let floors = windows.map(|(origin, window)| (*origin, window.floor));
        self.forgot.then_some((FORGOTTEN, 0)).into_iter().chain(floors)
    }
}

fn uncertain() -> String {
    format!("-{UNCERTAIN_REPLY}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> RequestId {
        RequestId { origin: 7, seq, settled: 0 }
    }

    fn counted(table: &Remembered) -> usize {
        let windows = table.windows.values();
        windows.map(|window| ORIGIN_BYTES + window.kept.iter().map(Kept::bytes).sum::<usize>()).sum()
    }

    #[test]
    fn the_first_reply_is_given_again() {
        let mut table = Remembered::default();
        assert_eq!(table.look(id(1), true), Seen::New);
        table.keep(3, id(1), b"+OK\r\n", 0);
        assert_eq!(table.look(id(1), true), Seen::Again(b"+OK\r\n"));
        assert_eq!(table.look(id(2), false), Seen::New);
        table.keep(3, id(2), &[b'x'; MAX_REPLY_BYTES + 1], 0);
        assert!(matches!(table.look(id(2), true), Seen::Again(reply) if reply.starts_with(b"-UNCERTAIN")));
        assert_eq!(table.bytes, counted(&table));
    }

    #[test]
    fn requests_may_come_in_another_order() {
        let mut table = Remembered::default();
        for seq in [5, 9, 2, 7] {
            assert_eq!(table.look(id(seq), false), Seen::New);
            table.keep(3, id(seq), format!(":{seq}\r\n").as_bytes(), 0);
        }
        for seq in 1..=10 {
            let reply = format!(":{seq}\r\n");
            let wanted = if [5, 9, 2, 7].contains(&seq) { Seen::Again(reply.as_bytes()) } else { Seen::New };
            assert_eq!(table.look(id(seq), true), wanted, "{seq}");
        }
        // What the origin says is settled goes; what is still under way below a newer one stays welcome.
        table.keep(3, RequestId { origin: 7, seq: 12, settled: 5 }, b"+OK\r\n", 0);
        assert_eq!(table.look(id(5), true), Seen::TooOld);
        assert_eq!(table.look(id(6), false), Seen::New);
        assert_eq!(table.look(id(7), true), Seen::Again(b":7\r\n"));
        assert_eq!(table.bytes, counted(&table));
    }

    #[test]
    fn what_has_to_go_is_refused_afterwards() {
        let mut table = Remembered::default();
        table.keep(3, id(5), b"+OK\r\n", 0);
        table.keep(3, id(9), b"+OK\r\n", MAX_AGE_MS + 1);
        assert_eq!(table.look(id(5), true), Seen::TooOld);
        assert_eq!(table.look(id(4), true), Seen::TooOld);
        assert_eq!(table.look(id(6), true), Seen::New);
        assert_eq!(table.look(RequestId { origin: 8, ..id(1) }, true), Seen::New);
        for seq in 10..3000 {
            let reply = vec![b'x'; 1 + seq as usize % 100];
            table.keep(3, id(seq), &reply, MAX_AGE_MS + 1);
            assert!(table.bytes <= MAX_BYTES);
        }
        assert_eq!(table.bytes, counted(&table));
        assert_eq!(table.look(id(10), true), Seen::TooOld);
        assert!(matches!(table.look(id(2999), true), Seen::Again(_)));
    }

    #[test]
    fn origins_are_bounded_and_a_forgotten_one_is_not_taken_for_new() {
        let mut table = Remembered::default();
        let of = |origin: u64| RequestId { origin, ..id(1) };
        for origin in 1..=5000 {
            assert_eq!(table.look(of(origin), false), Seen::New);
            table.keep(3, of(origin), b"+OK\r\n", origin);
            assert!(table.bytes <= MAX_BYTES);
        }
        assert_eq!(table.bytes, counted(&table));
        assert!(matches!(table.look(of(5000), true), Seen::Again(_)));
        assert_eq!(table.look(of(1), true), Seen::TooOld);
        assert_eq!(table.look(of(1), false), Seen::New);
        let mut copy = Remembered::default();
        table.floors().for_each(|(origin, seq)| copy.raise_floor(origin, seq, 0));
        table.replies().for_each(|(slot, id, reply)| copy.keep(slot, id, reply, 0));
        for origin in [1, 5000] {
            assert_eq!(copy.look(of(origin), true), table.look(of(origin), true));
        }
    }
}
