//! The segments of a hash table that grows in steps and can be walked in hash order, whatever identifies its entries.
//!
//! Entries live in segments of at most [`SEGMENT_MAX`] entries; the upper bits of the hash choose the segment
//! through a directory (extendible hashing). A full segment splits in two, so no insertion ever waits for the
//! resize of a big table, and a walk in hash order (SCAN) visits one small segment at a time and stays valid
//! across growth. Who owns the segments says what an entry's hash is and which entry is meant: an entry may be no
//! more than a number that stands for something kept elsewhere.

use hashbrown::HashTable;

use super::hash::{CURSOR_HASH_BITS, scan_position};

/// A segment that holds this many entries splits before it takes one more.
pub const SEGMENT_MAX: usize = 896;

/// Segments stop splitting at this depth: entries that share so many hash bits stay together.
const MAX_DEPTH: u32 = 24;

/// Places that are looked at for a random entry before any is taken.
const SAMPLE_TRIES: usize = 32;

#[derive(Clone, Debug)]
struct Segment<T> {
    depth: u32,
    items: HashTable<T>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Segments<T> {
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

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Segments::new()
    }
}

impl<T> Segments<T> {
    /// Nothing; it allocates at the first insertion.
    pub const fn new() -> Self {
        Segments { depth: 0, directory: Vec::new(), segments: Vec::new(), len: 0, bucket_bytes: 0 }
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

    /// The entry of this hash for which `is` holds.
    #[inline]
    pub fn get(&self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.find(inner(hash), is)
    }

    /// The entry of this hash for which `is` holds, to change. Its hash must stay the same.
    #[inline]
    pub fn get_mut(&mut self, hash: u64, is: impl FnMut(&T) -> bool) -> Option<&mut T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.find_mut(inner(hash), is)
    }

    /// The entry that a lookup of this hash most likely finds: the first whose tag agrees; nothing of it is read.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<&T> {
        let index = self.segment_index(hash)?;
        self.segments[index].items.iter_hash(inner(hash)).next()
    }

    /// Puts an entry that is not there yet; `hash_of` answers the hash of any entry.
    pub fn insert_new(&mut self, hash: u64, item: T, hash_of: impl Fn(&T) -> u64) -> &mut T {
        if self.segments.is_empty() {
            self.segments.push(Segment { depth: 0, items: HashTable::new() });
        }
        let mut index = self.segment_index(hash).unwrap_or(0);
        while self.segments[index].items.len() >= SEGMENT_MAX && self.segments[index].depth < MAX_DEPTH {
            self.split(index, &hash_of);
            index = self.segment_index(hash).unwrap_or(0);
        }
        self.len += 1;
        let items = &mut self.segments[index].items;
        if items.len() == items.capacity() {
            let before = items.allocation_size();
            items.reserve(1, |other| inner(hash_of(other)));
            self.bucket_bytes = self.bucket_bytes - before + items.allocation_size();
        }
        items.insert_unique(inner(hash), item, |other| inner(hash_of(other))).into_mut()
    }

    /// Takes the entry of this hash out for which `is` holds.
    pub fn remove(
        &mut self,
        hash: u64,
        is: impl FnMut(&T) -> bool,
        hash_of: impl Fn(&T) -> u64,
    ) -> Option<T> {
        let index = self.segment_index(hash)?;
        let segment = &mut self.segments[index];
        let (item, _) = segment.items.find_entry(inner(hash), is).ok()?.remove();
        self.len -= 1;
        if self.len == 0 {
            self.clear();
        } else if segment.items.capacity() > 64 && segment.items.len() < segment.items.capacity() / 8 {
            let before = segment.items.allocation_size();
            segment.items.shrink_to(0, |other| inner(hash_of(other)));
            self.bucket_bytes = self.bucket_bytes - before + segment.items.allocation_size();
        }
        Some(item)
    }

    /// Forgets everything, giving memory back.
    pub fn clear(&mut self) {
        *self = Segments::new();
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|s| s.items.iter())
    }

    /// Visits entries in the order of their [`scan_position`], from position `from` on: at least `count` of
    /// them (all that share the last position), fewer at the table's end. Answers the position to go on from,
    /// `None` at the end. The work is bounded by `count` and one segment.
    pub fn scan<'t>(
        &'t self,
        from: u64,
        count: usize,
        hash_of: impl Fn(&T) -> u64,
        mut visit: impl FnMut(&'t T),
    ) -> Option<u64> {
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
                .map(|item| (scan_position(hash_of(item)), item))
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

    fn split(&mut self, index: usize, hash_of: &impl Fn(&T) -> u64) {
        let depth = self.segments[index].depth + 1;
        if depth > self.depth {
            self.directory = if self.depth == 0 {
                vec![0, 0]
            } else {
                self.directory.iter().flat_map(|&s| [s, s]).collect()
            };
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.segments[index].items, HashTable::new());
        self.bucket_bytes -= old.allocation_size();
        let mut low = HashTable::with_capacity(old.len() / 2 + 32);
        let mut high = HashTable::with_capacity(old.len() / 2 + 32);
        for item in old {
            let hash = hash_of(&item);
            let half = if (hash >> (64 - depth)) & 1 == 0 { &mut low } else { &mut high };
            half.insert_unique(inner(hash), item, |other| inner(hash_of(other)));
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
impl<T> Segments<T> {
    /// How many entries the fullest segment has.
    pub(super) fn longest(&self) -> usize {
        self.segments.iter().map(|s| s.items.len()).max().unwrap_or(0)
    }
}
