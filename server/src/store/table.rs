//! A hash table of things with keys, in [`Segments`]: it grows in steps and can be walked in hash order. All keys under
//! one hash tag end in one table, so this also holds for tables of millions.
//!
//! Owner: whoever owns the table (a stripe, a hash value); no locks inside.

use super::hash::KeyHasher;
use super::segments::Segments;

/// What a table holds: something with a key.
pub trait Keyed {
    /// The bytes that identify the entry.
    fn key(&self) -> &[u8];
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Table<T> {
    hasher: KeyHasher,
    segments: Segments<T>,
}

impl<T: Keyed> Table<T> {
    /// An empty table; it allocates at the first insertion.
    pub const fn new(hasher: KeyHasher) -> Self {
        Table { hasher, segments: Segments::new() }
    }

    /// The hash function that callers must use for this table.
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// True when nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes of the table itself: buckets, control bytes and directory, without what entries point to.
    pub fn table_bytes(&self) -> usize {
        self.segments.table_bytes()
    }

    /// [`Table::table_bytes`] counted anew: tests compare.
    pub fn recount_bytes(&self) -> usize {
        self.segments.recount_bytes()
    }

    /// The entry with this key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&T> {
        self.segments.get(hash, |item| item.key() == key)
    }

    /// The entry with this key, to change. Its key must stay the same.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        self.segments.get_mut(hash, |item| item.key() == key)
    }

    /// The entry that a lookup of this hash most likely finds: the first whose tag agrees; nothing of it is read.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<&T> {
        self.segments.likely(hash)
    }

    /// An entry with this hash for which `matches` holds, whatever its key.
    pub fn find_by_hash(&self, hash: u64, mut matches: impl FnMut(&T) -> bool) -> Option<&T> {
        self.segments.get(hash, |item| self.hasher.hash(item.key()) == hash && matches(item))
    }

    /// Puts an entry whose key is not in the table yet.
    pub fn insert_new(&mut self, hash: u64, item: T) -> &mut T {
        let hasher = self.hasher;
        self.segments.insert_new(hash, item, |other| hasher.hash(other.key()))
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let hasher = self.hasher;
        self.segments.remove(hash, |item| item.key() == key, |other| hasher.hash(other.key()))
    }

    /// Forgets everything, giving memory back.
    pub fn clear(&mut self) {
        self.segments.clear();
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter()
    }

    /// See [`Segments::scan`].
    pub fn scan<'t>(&'t self, from: u64, count: usize, visit: impl FnMut(&'t T)) -> Option<u64> {
        self.segments.scan(from, count, |item| self.hasher.hash(item.key()), visit)
    }

    /// An entry picked with the random number `r`; each is about equally likely.
    pub fn sample(&self, r: u64) -> Option<&T> {
        self.segments.sample(r)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::hash::DEFAULT_SEED;
    use super::super::segments::SEGMENT_MAX;
    use super::*;

    impl Keyed for Vec<u8> {
        fn key(&self) -> &[u8] {
            self
        }
    }

    fn table() -> Table<Vec<u8>> {
        Table::new(KeyHasher::new(DEFAULT_SEED))
    }

    fn insert(t: &mut Table<Vec<u8>>, n: u32) {
        let key = n.to_string().into_bytes();
        let hash = t.hasher().hash(&key);
        t.insert_new(hash, key);
    }

    #[test]
    fn grows_by_splitting_and_finds_everything() {
        let mut t = table();
        for n in 0..20_000 {
            insert(&mut t, n);
        }
        assert_eq!(t.len(), 20_000);
        assert!(t.segments.longest() <= SEGMENT_MAX);
        for n in 0..20_000u32 {
            let key = n.to_string().into_bytes();
            assert!(t.get(t.hasher().hash(&key), &key).is_some());
        }
        for n in 0..20_000u32 {
            let key = n.to_string().into_bytes();
            assert_eq!(t.remove(t.hasher().hash(&key), &key), Some(key));
        }
        assert!(t.is_empty());
        assert_eq!(t.table_bytes(), 0);
    }

    #[test]
    fn a_scan_survives_growth_between_its_calls() {
        let mut t = table();
        for n in 0..2_000 {
            insert(&mut t, n);
        }
        let mut seen = BTreeSet::new();
        let mut from = Some(0);
        let mut extra = 100_000;
        while let Some(position) = from {
            from = t.scan(position, 10, |k| {
                seen.insert(k.clone());
            });
            for _ in 0..50 {
                insert(&mut t, extra);
                extra += 1;
            }
        }
        for n in 0..2_000u32 {
            assert!(seen.contains(n.to_string().as_bytes()), "{n} was there all the time");
        }
    }

    #[test]
    fn a_sample_is_fair() {
        for n in [3u32, 5000] {
            let mut t = table();
            (0..n).for_each(|i| insert(&mut t, i));
            let mut counts = std::collections::BTreeMap::new();
            let mut r = 1u64;
            for _ in 0..n * 20 {
                r = r.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *counts.entry(t.sample(r ^ (r >> 31)).cloned()).or_insert(0u32) += 1;
            }
            assert_eq!(counts.len(), n as usize);
            let most = counts.values().max().copied().unwrap_or_default();
            assert!(most < 60, "{most} times of 20 expected");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn scan_gives_each_entry_once(n in 0u32..3000, count in 1usize..40) {
            let mut t = table();
            for i in 0..n {
                insert(&mut t, i);
            }
            let mut seen = Vec::new();
            let mut from = Some(0);
            while let Some(position) = from {
                from = t.scan(position, count, |k| seen.push(k.clone()));
            }
            prop_assert_eq!(seen.len(), n as usize);
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), n as usize);
        }
    }
}
