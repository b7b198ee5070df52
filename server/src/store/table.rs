//! A hash table that grows in steps and can be walked in hash order.
//!
//! Entries live in segments of at most [`SEGMENT_MAX`] entries; the upper bits of the hash choose the segment
//! through a directory (extendible hashing). A full segment splits in two, so no insertion ever waits for the
//! resize of a big table, and a walk in hash order (SCAN) visits one small segment at a time and stays valid
//! across growth. All keys under one hash tag end in one table, so this also holds for tables of millions.
//!
//! Owner: whoever owns the table (a stripe, a hash value); no locks inside.

use hashbrown::HashTable;

use super::hash::{CURSOR_HASH_BITS, KeyHasher, scan_position};

/// A segment that holds this many entries splits before it takes one more.
pub const SEGMENT_MAX: usize = 896;

/// Segments stop splitting at this depth: entries that share so many hash bits stay together.
const MAX_DEPTH: u32 = 24;

/// Places that are looked at for a random entry before any is taken.
const SAMPLE_TRIES: usize = 32;

/// What a table holds: something with a key.
pub trait Keyed {
    /// The bytes that identify the entry.
    fn key(&self) -> &[u8];
}

#[derive(Clone, Debug)]
struct Segment<T> {
    depth: u32,
    items: HashTable<T>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Table<T> {
    hasher: KeyHasher,
    depth: u32,
    directory: Vec<u32>,
    segments: Vec<Segment<T>>,
    len: usize,
    /// Bytes of all segments' buckets, kept so that accounting need not walk them.
    bucket_bytes: usize,
}

/// Within a segment all upper bits are alike; hashbrown wants its tag from bits that differ.
#[inline]
const fn inner(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl<T: Keyed> Table<T> {
    /// An empty table; it allocates at the first insertion.
    pub const fn new(hasher: KeyHasher) -> Self {
        Table { hasher, depth: 0, directory: Vec::new(), segments: Vec::new(), len: 0, bucket_bytes: 0 }
    }

    /// The hash function that callers must use for this table.
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the table itself: buckets, control bytes and directory, without what entries point to.
    pub fn table_bytes(&self) -> usize {
        self.bucket_bytes
            + self.segments.capacity() * size_of::<Segment<T>>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// [`Table::table_bytes`] counted anew: tests compare.
    pub fn recount_bytes(&self) -> usize {
        self.segments.iter().map(|s| s.items.allocation_size()).sum::<usize>() + self.table_bytes()
            - self.bucket_bytes
    }

    #[inline]
    fn segment_index(&self, hash: u64) -> Option<usize> {
        if self.depth == 0 {
            return if self.segments.is_empty() { None } else { Some(0) };
        }
        Some(self.directory[(hash >> (64 - self.depth)) as usize] as usize)
    }

    /// The entry with this key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.find(inner(hash), |item| item.key() == key)
    }

    /// The entry with this key, to change. Its key must stay the same.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.find_mut(inner(hash), |item| item.key() == key)
    }

    /// The entry that a lookup of this hash most likely finds: the first whose tag agrees; nothing of it is read.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<&T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.iter_hash(inner(hash)).next()
    }

    /// An entry with this hash for which `matches` holds, whatever its key.
    pub fn find_by_hash(&self, hash: u64, mut matches: impl FnMut(&T) -> bool) -> Option<&T> {
        let index = self.segment_index(hash)?;
        self.segments[index]
            .items
            .find(inner(hash), |item| self.hasher.hash(item.key()) == hash && matches(item))
    }

    /// Puts an entry whose key is not in the table yet.
    pub fn insert_new(&mut self, hash: u64, item: T) -> &mut T {
        if self.segments.is_empty() {
            self.segments.push(Segment { depth: 0, items: HashTable::new() });
        }
        let mut index = self.segment_index(hash).unwrap_or(0);
        while self.segments[index].items.len() >= SEGMENT_MAX && self.segments[index].depth < MAX_DEPTH {
            self.split(index);
            index = self.segment_index(hash).unwrap_or(0);
        }
        self.len += 1;
        let hasher = self.hasher;
        let items = &mut self.segments[index].items;
        if items.len() == items.capacity() {
            let before = items.allocation_size();
            items.reserve(1, |other| inner(hasher.hash(other.key())));
            self.bucket_bytes = self.bucket_bytes - before + items.allocation_size();
        }
        items.insert_unique(inner(hash), item, |other| inner(hasher.hash(other.key()))).into_mut()
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<T> {
        let index = self.segment_index(hash)?;
        let segment = &mut self.segments[index];
        let (item, _) = segment.items.find_entry(inner(hash), |item| item.key() == key).ok()?.remove();
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        } else if segment.items.capacity() > 64 && segment.items.len() < segment.items.capacity() / 8 {
            let hasher = self.hasher;
            let before = segment.items.allocation_size();
            segment.items.shrink_to(0, |other| inner(hasher.hash(other.key())));
            self.bucket_bytes = self.bucket_bytes - before + segment.items.allocation_size();
        }
        Some(item)
    }

    /// Forgets everything, giving memory back.
    pub fn clear(&mut self) {
        *self = Table::new(self.hasher);
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|s| s.items.iter())
    }

    /// Visits entries in the order of their [`scan_position`], from position `from` on: at least `count` of
    /// them (all that share the last position), fewer at the table's end. Answers the position to go on from,
    /// `None` at the end. The work is bounded by `count` and one segment.
    pub fn scan<'t>(&'t self, from: u64, count: usize, mut visit: impl FnMut(&'t T)) -> Option<u64> {
        let end = 1u64 << CURSOR_HASH_BITS;
        let mut position = from;
        let mut seen = 0;
        while position < end {
            let hash = position << (64 - CURSOR_HASH_BITS);
            let index = self.segment_index(hash)?;
            let segment = &self.segments[index];
            let span = 64 - segment.depth;
            // The segment covers [base, base + 2^span) of the hash space.
            let next_segment = if segment.depth == 0 {
                end
            } else {
                ((hash >> span) + 1) << (span - (64 - CURSOR_HASH_BITS))
            };
            let mut batch: Vec<(u64, &T)> = segment
                .items
                .iter()
                .map(|item| (scan_position(self.hasher.hash(item.key())), item))
                .filter(|(p, _)| *p >= position)
                .collect();
            batch.sort_unstable_by_key(|(p, _)| *p);
            let mut last = None;
            for (p, item) in batch {
                if seen >= count && last != Some(p) {
                    return Some(p);
                }
                visit(item);
                seen += 1;
                last = Some(p);
            }
            position = next_segment;
            if seen >= count && position < end {
                return Some(position);
            }
        }
        None
    }

    /// An entry picked with the random number `r`; each is about equally likely.
    pub fn sample(&self, r: u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        let mut r = r;
        for _ in 0..SAMPLE_TRIES {
            // A place that no entry has is thrown again: so entries of full and empty segments have the same chance.
            let items = &self.segments[(r >> 32) as usize % self.segments.len()].items;
            let place = (r & 0xffff_ffff) as usize % if self.depth == 0 { self.len } else { SEGMENT_MAX };
            if place < items.len() {
                return items.iter().nth(place);
            }
            r = (r ^ (r >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17);
        }
        let start = (r >> 32) as usize % self.segments.len();
        (0..self.segments.len())
            .map(|i| &self.segments[(start + i) % self.segments.len()].items)
            .find(|items| !items.is_empty())
            .and_then(|items| items.iter().nth((r & 0xffff_ffff) as usize % items.len()))
    }

    fn split(&mut self, index: usize) {
        let depth = self.segments[index].depth + 1;
        if depth > self.depth {
            self.directory = if self.depth == 0 {
                vec![0, 0]
            } else {
                self.directory.iter().flat_map(|&s| [s, s]).collect()
            };
            self.depth += 1;
        }
        let hasher = self.hasher;
        let old = std::mem::replace(&mut self.segments[index].items, HashTable::new());
        self.bucket_bytes -= old.allocation_size();
        let mut low = HashTable::with_capacity(old.len() / 2 + 32);
        let mut high = HashTable::with_capacity(old.len() / 2 + 32);
        for item in old {
            let hash = hasher.hash(item.key());
            let half = if (hash >> (64 - depth)) & 1 == 0 { &mut low } else { &mut high };
            half.insert_unique(inner(hash), item, |other| inner(hasher.hash(other.key())));
        }
        self.bucket_bytes += low.allocation_size() + high.allocation_size();
        let new_index = self.segments.len() as u32;
        self.segments[index] = Segment { depth, items: low };
        self.segments.push(Segment { depth, items: high });
        let shift = self.depth - depth;
        for (position, slot) in self.directory.iter_mut().enumerate() {
            if *slot as usize == index && (position >> shift) & 1 == 1 {
                *slot = new_index;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::hash::DEFAULT_SEED;
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
        assert!(t.segments.iter().all(|s| s.items.len() <= SEGMENT_MAX));
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
