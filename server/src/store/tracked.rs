//! The keys of a stripe whose values proxies keep, with the connections to tell of a change.
//!
//! Owned by the stripe, under its lock. Bounded by [`MAX_BYTES`]: what has no room any more is told of as if it had
//! changed, so a proxy never keeps what is not noted here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::pubsub::Tracker;

/// Bytes that a stripe notes keys with: some 600 keys with short names. 64 MiB of a node with keys in all its stripes.
const MAX_BYTES: usize = 64 * 1024;
/// Keys with longer names are not noted.
pub const MAX_KEY_BYTES: usize = 4 * 1024;
/// What a key takes beside its name, about.
const KEY_OVERHEAD: usize = 80;
/// What a connection takes of a key's entry, about.
const TRACKER_BYTES: usize = 16;

/// The databases in which somebody keeps the key, and who.
type Keepers = SmallVec<[(u8, Arc<Tracker>); 2]>;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Tracked {
    keys: AHashMap<Box<[u8]>, Keepers>,
    bytes: usize,
}

fn cost(key: &[u8]) -> usize {
    key.len() + KEY_OVERHEAD
}

impl Tracked {
    /// Whether nothing is noted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// From now on `tracker` is told when the key changes, once. False: it cannot be noted.
    pub fn add(&mut self, db: u8, key: &[u8], tracker: &Arc<Tracker>) -> bool {
        if key.len() > MAX_KEY_BYTES {
            return false;
        }
        if self
            .keys
            .get(key)
            .is_some_and(|all| all.iter().any(|(of, t)| *of == db && Arc::ptr_eq(t, tracker)))
        {
            return true;
        }
        let wanted = cost(key) + TRACKER_BYTES;
        if self.bytes + wanted > MAX_BYTES {
            self.sweep();
        }
        while self.bytes + wanted > MAX_BYTES {
            let Some(some) = self.keys.keys().next().cloned() else { break };
            tracker.tracking().overflows.fetch_add(1, Ordering::Relaxed);
            self.forget(&some, |_| true);
        }
        if !self.keys.contains_key(key) {
            self.bytes += cost(key);
            tracker.tracking().keys.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes += TRACKER_BYTES;
        self.keys.entry(key.into()).or_default().push((db, Arc::clone(tracker)));
        true
    }

    /// The key has changed: those who keep it are told, and it is forgotten.
    pub fn changed(&mut self, db: u8, key: &[u8]) {
        self.forget(key, |of| of == db);
    }

    /// All keys of these databases may have changed.
    pub fn changed_all(&mut self, wanted: impl Fn(u8) -> bool) {
        let keys: Vec<Box<[u8]>> = self.keys.keys().cloned().collect();
        for key in keys {
            self.forget(&key, &wanted);
        }
    }

    fn forget(&mut self, key: &[u8], wanted: impl Fn(u8) -> bool) {
        let Some(keepers) = self.keys.get_mut(key) else { return };
        let before = keepers.len();
        let mut last = None;
        keepers.retain(|(db, tracker)| {
            if !wanted(*db) {
                return true;
            }
            tracker.tell(*db, key);
            last = Some(Arc::clone(tracker));
            false
        });
        self.bytes -= (before - keepers.len()) * TRACKER_BYTES;
        if keepers.is_empty() {
            self.keys.remove(key);
            self.bytes -= cost(key);
            if let Some(tracker) = last {
                tracker.tracking().keys.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Drops what connections noted that have ended.
    fn sweep(&mut self) {
        let bytes = &mut self.bytes;
        self.keys.retain(|key, keepers| {
            let (before, some) = (keepers.len(), keepers.first().map(|(_, tracker)| Arc::clone(tracker)));
            keepers.retain(|(_, tracker)| !tracker.is_gone());
            *bytes -= (before - keepers.len()) * TRACKER_BYTES;
            if !keepers.is_empty() {
                return true;
            }
            *bytes -= cost(key);
            if let Some(tracker) = some {
                tracker.tracking().keys.fetch_sub(1, Ordering::Relaxed);
            }
            false
        });
    }
}
