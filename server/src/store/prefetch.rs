//! Brings what several lookups will read into the processor's caches, before the first of them.
//!
//! A lookup in a big store is a chain of loads that miss every cache: the stripe, the table's tags, the place, the
//! entry. One after another they are most of a request's time; for several keys at once the misses overlap.
//! Nothing here changes anything or waits: a stripe that somebody holds is left out, and so is a second key of a
//! stripe, which is one of several hundred.

use parking_lot::MutexGuard;
use smallvec::SmallVec;
use torc_protocol::slot::Slot;

use super::{Store, Stripe, stripe_of};

/// Keys that are looked for together.
pub const TOGETHER: usize = 16;

/// A key that will be looked up soon.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    /// Its hash under the store's hasher.
    pub hash: u64,
    /// Its slot.
    pub slot: Slot,
    /// The database.
    pub db: u8,
}

impl Store {
    /// The stripe's own line: worth asking for as soon as a key is known.
    #[inline]
    pub fn prefetch_stripe(&self, slot: Slot) {
        line(&self.stripes[stripe_of(slot) as usize]);
    }

    /// See the module's text. Of `hints` the first [`TOGETHER`] count. No stripe may be held by the caller.
    pub fn prefetch(&self, hints: &[Hint]) {
        let mut held: SmallVec<[(MutexGuard<'_, Stripe>, &Hint); TOGETHER]> = SmallVec::new();
        for hint in hints.iter().take(TOGETHER) {
            // Never waits while it holds others, so the order does not matter.
            if let Some(stripe) = self.stripes[stripe_of(hint.slot) as usize].try_lock() {
                held.push((stripe, hint));
            }
        }
        for (stripe, hint) in &held {
            if let Some(index) = stripe.index_line(hint.db, hint.hash) {
                line(index);
            }
        }
        for (stripe, hint) in &held {
            // A record begins anywhere in its line: what is two lines long may stand in three.
            let entry = stripe.likely(hint.db, hint.hash).unwrap_or_default();
            for at in [0, LINE_BYTES, 2 * LINE_BYTES - 1] {
                if let Some(byte) = entry.get(at) {
                    line(byte);
                }
            }
        }
    }
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Asks for the first line of what is referred to.
#[inline(always)]
#[expect(unsafe_code, reason = "the instruction has no safe form")]
fn line<T: ?Sized>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing as far as the program can see and never faults; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

#[cfg(test)]
mod tests {
    use super::super::{KeyHasher, Meta};
    use super::*;

    #[test]
    fn looks_and_leaves_everything_as_it_was() {
        let store = Store::new(KeyHasher::new(1));
        let names: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
        for name in &names {
            let key = store.key(name.as_bytes());
            store.stripe(stripe_of(key.slot)).set_string(0, &key, &[7; 100], &Meta::default());
        }
        let hint = |name: &str, db| {
            let key = store.key(name.as_bytes());
            Hint { hash: key.hash, slot: key.slot, db }
        };
        // Twice the same key, a missing one, a database that is not there, a stripe that is held.
        let hints =
            [hint("k1", 0), hint("k1", 0), hint("missing", 0), hint("k2", 9), hint("k3", 0), hint("k4", 0)];
        let busy = store.stripe(stripe_of(store.key(b"k3").slot));
        store.prefetch(&hints);
        drop(busy);
        assert!(store.try_stripe(stripe_of(store.key(b"k1").slot)).is_some());
        assert_eq!(store.len(0), 100);
    }
}
