//! Keys that the connections of a worker are about to look up, in the order of their turns.
//!
//! A connection that has read adds its keys and lets others of the worker read as well; the first whose turn
//! comes then has the store fetch what all of them need, a few keys at a time, so that their misses overlap.

use std::collections::VecDeque;

use crate::store::Store;
use crate::store::prefetch::{Hint, TOGETHER};

/// Keys that wait to be fetched; beyond it they are looked up without.
const MAX_WAITING: usize = 1024;

/// See the module's text. Owned by a worker.
#[derive(Debug, Default)]
pub struct Ahead {
    waiting: VecDeque<Hint>,
    /// Keys that were ever taken from `waiting`.
    fetched: u64,
}

impl Ahead {
    /// A key will be looked up.
    #[inline]
    pub fn add(&mut self, hint: Hint) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(hint);
        }
    }

    /// How many keys were ever added: what [`Ahead::fetch`] takes.
    #[inline]
    pub fn added(&self) -> u64 {
        self.fetched + self.waiting.len() as u64
    }

    /// Makes sure that the first `wanted` keys that were ever added have been fetched.
    #[inline]
    pub fn fetch(&mut self, store: &Store, wanted: u64) {
        while self.fetched < wanted && !self.waiting.is_empty() {
            let mut next = [Hint::default(); TOGETHER];
            let count = self.waiting.len().min(TOGETHER);
            for (place, hint) in next.iter_mut().zip(self.waiting.drain(..count)) {
                *place = hint;
            }
            self.fetched += count as u64;
            store.prefetch(&next[..count]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KeyHasher;

    #[test]
    fn each_key_is_fetched_once_and_in_order() {
        let store = Store::new(KeyHasher::new(1));
        let mut ahead = Ahead::default();
        (0..40).for_each(|_| ahead.add(Hint::default()));
        let first = 20;
        ahead.fetch(&store, first);
        assert_eq!((ahead.fetched, ahead.added()), (32, 40));
        ahead.fetch(&store, first);
        assert_eq!(ahead.fetched, 32);
        ahead.fetch(&store, 40);
        assert_eq!((ahead.fetched, ahead.waiting.len()), (40, 0));
        (0..2 * MAX_WAITING).for_each(|_| ahead.add(Hint::default()));
        assert_eq!(ahead.added(), 40 + MAX_WAITING as u64);
    }
}
