//! Which keys clients of this proxy are writing, for all of its threads.
//!
//! A copy of a key's value remembers the key's stamp from before it was fetched and is given to clients only while the
//! stamp is the same and nobody writes. A write changes the stamp when it is taken, and again when it is answered, before
//! its answer leaves: so no client of the proxy gets a copy that is older than a write which it, or any other client of the
//! proxy, has had answered, nor one while its own write is on the way.
//!
//! Keys share [`STAMPS`] stamps, by their slots: two keys with one stamp cost a copy now and then, never an old answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use torc_protocol::slot::Slot;

/// How many there are.
const STAMPS: usize = 4096;
/// Writes under way are counted below this, changes above it.
const CHANGE: u64 = 1 << 24;
/// A request that writes more keys than this counts as one that writes all.
const MOST_KEYS: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub struct Stamps {
    keys: Box<[AtomicU64]>,
    all: AtomicU64,
}

/// The stamp of a key at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    key: u64,
    all: u64,
}

impl Stamp {
    /// Whether no write was under way.
    pub fn is_quiet(self) -> bool {
        self.key.is_multiple_of(CHANGE) && self.all.is_multiple_of(CHANGE)
    }
}

impl Default for Stamps {
    fn default() -> Self {
        Stamps { keys: (0..STAMPS).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0) }
    }
}

impl Stamps {
    /// The stamp of a key in that slot now.
    pub fn of(&self, slot: Slot) -> Stamp {
        let key = self.keys.get(usize::from(slot) % STAMPS).map_or(0, |stamp| stamp.load(Ordering::SeqCst));
        Stamp { key, all: self.all.load(Ordering::SeqCst) }
    }

    fn change(&self, keys: &Keys, by: u64) {
        match keys {
            Keys::All => {
                self.all.fetch_add(by, Ordering::SeqCst);
            }
            Keys::In(slots) => {
                for stamp in slots.iter().filter_map(|slot| self.keys.get(usize::from(*slot) % STAMPS)) {
                    stamp.fetch_add(by, Ordering::SeqCst);
                }
            }
        }
    }
}

/// The keys of a write.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Any; nobody knows.
    All,
    /// Those in these slots.
    In(SmallVec<[Slot; 4]>),
}

impl Keys {
    /// None yet.
    pub fn none() -> Keys {
        Keys::In(SmallVec::new())
    }

    /// A key in that slot.
    pub fn one(slot: Slot) -> Keys {
        Keys::In(SmallVec::from_slice(&[slot]))
    }

    /// Adds a key in that slot.
    pub fn add(&mut self, slot: Slot) {
        match self {
            Keys::In(slots) if slots.len() < MOST_KEYS => slots.push(slot),
            _ => *self = Keys::All,
        }
    }

    /// Adds what another write writes.
    pub fn join(&mut self, other: &Keys) {
        match other {
            Keys::All => *self = Keys::All,
            Keys::In(slots) => slots.iter().for_each(|slot| self.add(*slot)),
        }
    }
}

/// A write under way; it ends when this is dropped.
#[derive(Debug)]
pub struct Writing {
    stamps: Arc<Stamps>,
    keys: Keys,
}

impl Writing {
    /// A write is taken.
    pub fn begin(stamps: &Arc<Stamps>, keys: Keys) -> Box<Writing> {
        stamps.change(&keys, CHANGE + 1);
        Box::new(Writing { stamps: Arc::clone(stamps), keys })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stamps.change(&self.keys, CHANGE - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_changes_the_stamps_of_its_keys_twice() {
        let stamps = Arc::new(Stamps::default());
        let before = stamps.of(7);
        assert!(before.is_quiet());
        let mut keys = Keys::none();
        keys.add(7);
        keys.add(7);
        let writing = Writing::begin(&stamps, keys);
        let during = stamps.of(7);
        assert!(during != before && !during.is_quiet() && stamps.of(8).is_quiet());
        drop(writing);
        let after = stamps.of(7);
        assert!(after != during && after != before && after.is_quiet());
        let all = Writing::begin(&stamps, Keys::All);
        assert!(!stamps.of(8).is_quiet());
        drop(all);
        assert!(stamps.of(7) != after && stamps.of(7).is_quiet());
    }

    #[test]
    fn a_write_of_very_many_keys_is_one_of_all() {
        let mut keys = Keys::none();
        (0..=MOST_KEYS as u16).for_each(|slot| keys.add(slot));
        assert!(matches!(keys, Keys::All));
    }
}
