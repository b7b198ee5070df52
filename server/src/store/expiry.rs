//! When keys of one stripe expire.
//!
//! A heap of (time, database, hash) with lazy deletion: an entry whose time no longer agrees with the key's is
//! skipped when it comes up. When more entries are stale than not they are taken out, so the heap is bounded by
//! twice the number of keys with an expiry (and some).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Below this many entries the heap is not worth tidying.
const TIDY_MIN: usize = 256;

/// Bits for the database in [`Packed::when`].
const DB_BITS: u32 = 16;

/// A moment at which a key, or a field of a hash, may have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Unix milliseconds; what is later than the year 10889 comes up then.
    pub at_ms: u64,
    /// The key's hash.
    pub hash: u64,
    /// The key's database.
    pub db: u8,
}

/// A [`Due`] in sixteen bytes, in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Packed {
    /// Milliseconds and database.
    when: u64,
    hash: u64,
}

impl From<Due> for Packed {
    fn from(due: Due) -> Packed {
        let at_ms = due.at_ms.min(u64::MAX >> DB_BITS);
        Packed { when: at_ms << DB_BITS | u64::from(due.db), hash: due.hash }
    }
}

impl From<Packed> for Due {
    fn from(packed: Packed) -> Due {
        Due { at_ms: packed.at_ms(), hash: packed.hash, db: packed.when as u8 }
    }
}

impl Packed {
    fn at_ms(self) -> u64 {
        self.when >> DB_BITS
    }
}

/// See the module's text. Owned by its stripe.
#[derive(Clone, Debug, Default)]
pub struct ExpiryIndex {
    heap: BinaryHeap<Reverse<Packed>>,
}

impl ExpiryIndex {
    /// A key expires at this moment.
    pub fn push(&mut self, due: Due) {
        if self.heap.len() == self.heap.capacity() {
            // Not the doubling of a vector: this is as much as a fifth of what a small key takes.
            self.heap.reserve_exact(4 + self.heap.len() / 8);
        }
        self.heap.push(Reverse(due.into()));
    }

    /// Whether some moment of the index has come: when not, no key of the stripe has expired.
    #[inline]
    pub fn any_due(&self, now_ms: u64) -> bool {
        self.heap.peek().is_some_and(|due| due.0.at_ms() <= now_ms)
    }

    /// The first moment.
    #[inline]
    pub fn first(&self) -> Option<Due> {
        self.heap.peek().map(|Reverse(due)| (*due).into())
    }

    /// About `count` moments with their databases, taken evenly from the whole index: some may be stale.
    pub fn sample(&self, count: usize) -> impl Iterator<Item = (u8, u64)> + '_ {
        let all = self.heap.as_slice();
        let step = (all.len() / count.max(1)).max(1);
        all.iter().rev().step_by(step).map(|Reverse(due)| (Due::from(*due).db, due.at_ms()))
    }

    /// The next moment that is not after `now_ms`, taken out.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Due> {
        if !self.any_due(now_ms) {
            return None;
        }
        let due = self.heap.pop().map(|Reverse(due)| due.into());
        if self.heap.capacity() > TIDY_MIN && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
        due
    }

    /// True when the stale entries outweigh those of the `live` keys that have an expiry.
    #[inline]
    pub fn is_stale(&self, live: usize) -> bool {
        self.heap.len() > TIDY_MIN && self.heap.len() > 2 * live
    }

    /// Takes out what is there twice and what is not `current` any more.
    pub fn tidy(&mut self, current: impl Fn(&Due) -> bool) {
        let mut all = std::mem::take(&mut self.heap).into_sorted_vec();
        all.dedup();
        all.retain(|Reverse(due)| current(&Due::from(*due)));
        all.shrink_to(all.len() + TIDY_MIN.min(all.len() / 8 + 1));
        self.heap = all.into();
    }

    /// Two databases were exchanged.
    pub fn swap(&mut self, a: u8, b: u8) {
        let mut all = std::mem::take(&mut self.heap).into_vec();
        for Reverse(due) in &mut all {
            let old = Due::from(*due);
            let db = match old.db {
                db if db == a => b,
                db if db == b => a,
                db => db,
            };
            *due = Due { db, ..old }.into();
        }
        self.heap = all.into();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = ExpiryIndex::default();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        super::entry::allocated(self.heap.capacity() * size_of::<Packed>())
    }
}
