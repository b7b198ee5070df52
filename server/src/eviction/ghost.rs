//! The ghost queue of S3-FIFO: fingerprints of keys that left the small queue not long ago.
//!
//! A fixed table of buckets of four; a fingerprint says when it came, in generations of evictions, and counts as
//! gone when as many evictions have happened since as the table has places. So it is bounded in bytes and in age.
//!
//! Owner: [`super::Eviction`]; any worker reads and writes it, by relaxed atomics: what is lost in a race is a hint.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::RwLock;

const WAYS: usize = 4;
/// Evictions that fill the table once are this many generations.
const GENERATIONS: u64 = 256;
/// The smallest table, in places.
const LEAST_PLACES: usize = 1 << 10;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Ghosts {
    /// A place is empty (0) or `generation << 16 | fingerprint`.
    places: RwLock<Box<[AtomicU32]>>,
    evictions: AtomicU64,
}

impl Ghosts {
    /// Makes place for about `keys` fingerprints, if it has less than half of that; what it holds is forgotten.
    pub fn reserve(&self, keys: usize, most_bytes: usize) {
        let most = (most_bytes / size_of::<AtomicU32>()).max(LEAST_PLACES);
        let wanted = keys.clamp(LEAST_PLACES, most).next_power_of_two();
        let wanted = if wanted > most { wanted / 2 } else { wanted };
        if self.places.read().len() * 2 > wanted {
            return;
        }
        let table = (0..wanted).map(|_| AtomicU32::new(0)).collect();
        *self.places.write() = table;
    }

    /// Bytes that it takes.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.places.read().len() * size_of::<AtomicU32>()
    }

    /// Gives its memory back.
    pub fn clear(&self) {
        *self.places.write() = Box::default();
    }

    /// Remembers the hash of a key that was evicted from the small queue.
    pub fn add(&self, hash: u64) {
        let places = self.places.read();
        let count = self.evictions.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(bucket) = bucket(&places, hash) else { return };
        let now = generation(count, places.len());
        let oldest = bucket.iter().max_by_key(|place| match place.load(Ordering::Relaxed) {
            0 => u32::MAX,
            held => u32::from(now.wrapping_sub((held >> 16) as u16)),
        });
        if let Some(place) = oldest {
            place.store(u32::from(now) << 16 | u32::from(fingerprint(hash)), Ordering::Relaxed);
        }
    }

    /// Whether the key with this hash was remembered; it is forgotten.
    pub fn take(&self, hash: u64) -> bool {
        let places = self.places.read();
        let Some(bucket) = bucket(&places, hash) else { return false };
        let now = generation(self.evictions.load(Ordering::Relaxed), places.len());
        for place in bucket {
            let held = place.load(Ordering::Relaxed);
            if held != 0 && held as u16 == fingerprint(hash) {
                place.store(0, Ordering::Relaxed);
                return u64::from(now.wrapping_sub((held >> 16) as u16)) <= GENERATIONS;
            }
        }
        false
    }
}

/// Not zero, so that no held place looks empty.
fn fingerprint(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

fn bucket(places: &[AtomicU32], hash: u64) -> Option<&[AtomicU32]> {
    let buckets = places.len() / WAYS;
    let index = (hash as usize).checked_rem(buckets)?;
    places.get(index * WAYS..(index + 1) * WAYS)
}

fn generation(count: u64, places: usize) -> u16 {
    (count * GENERATIONS / places.max(1) as u64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 31)
    }

    #[test]
    fn remembers_the_last_and_forgets_the_old() {
        let ghosts = Ghosts::default();
        assert!(!ghosts.take(hash(1)));
        ghosts.add(hash(1));
        assert!(!ghosts.take(hash(1)), "without a table nothing is remembered");
        ghosts.reserve(4096, 1 << 20);
        assert_eq!(ghosts.bytes(), 4096 * 4);
        (0..2048).for_each(|n| ghosts.add(hash(n)));
        let found = (0..2048).filter(|n| ghosts.take(hash(*n))).count();
        assert!(found > 1800, "{found}");
        assert!((0..2048).filter(|n| ghosts.take(hash(*n))).count() < 20, "each is taken once");
        let strangers = (10_000..20_000).filter(|n| ghosts.take(hash(*n))).count();
        assert!(strangers < 20, "{strangers}");
        ghosts.add(hash(7));
        (100_000..108_300).for_each(|n| ghosts.add(hash(n)));
        assert!(!ghosts.take(hash(7)), "a table full of evictions later it is too old");
    }

    #[test]
    fn is_bounded_in_bytes() {
        let ghosts = Ghosts::default();
        ghosts.reserve(10_000_000, 100_000);
        assert!(ghosts.bytes() <= 100_000);
        ghosts.clear();
        assert_eq!(ghosts.bytes(), 0);
    }
}
