//! When keys of one stripe expire.
//!
//! A heap of (time, database, hash) with lazy deletion: an entry whose time no longer agrees with the key's is
//! skipped when it comes up. When more entries are stale than not they are taken out, so the heap is bounded by
//! twice the number of keys with an expiry (and some).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Below this many entries the heap is not worth tidying.
const TIDY_MIN: usize = 256;

/// A moment at which a key may have expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// The key's hash.
    pub hash: u64,
    /// The key's database.
    pub db: u8,
}

/// See the module's text. Owned by its stripe.
#[derive(Debug, Default)]
pub struct ExpiryIndex {
    heap: BinaryHeap<Reverse<Due>>,
}

impl ExpiryIndex {
    /// A key expires at this moment.
    pub fn push(&mut self, due: Due) {
        self.heap.push(Reverse(due));
    }

    /// Whether some moment of the index has come: when not, no key of the stripe has expired.
    #[inline]
    pub fn any_due(&self, now_ms: u64) -> bool {
        self.heap.peek().is_some_and(|due| due.0.at_ms <= now_ms)
    }

    /// The next moment that is not after `now_ms`, taken out.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Due> {
        if self.heap.peek()?.0.at_ms > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(due)| due)
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
        all.retain(|Reverse(due)| current(due));
        all.shrink_to(all.len() + TIDY_MIN);
        self.heap = all.into();
    }

    /// Two databases were exchanged.
    pub fn swap(&mut self, a: u8, b: u8) {
        let mut all = std::mem::take(&mut self.heap).into_vec();
        for Reverse(due) in &mut all {
            due.db = if due.db == a {
                b
            } else if due.db == b {
                a
            } else {
                due.db
            };
        }
        self.heap = all.into();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = ExpiryIndex::default();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Reverse<Due>>()
    }
}
