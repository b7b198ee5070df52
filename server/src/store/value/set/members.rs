//! A big set: members in small buckets, each one piece of memory, that split one at a time (linear hashing).
//!
//! The upper bits of a member's hash choose the bucket, so that the buckets in the order of their intervals are in
//! hash order: a walk (SSCAN) visits one bucket at a time and stays valid while the set grows and shrinks. With about
//! [`LOAD`] members in a bucket a member costs its bytes, two more, and its share of the bucket's header and slack.
//! No insertion and no removal does more than split or join one bucket.
//!
//! ```text
//! bucket: member …        member: length u8 | tag (lowest byte of the hash) | bytes
//! ```
//!
//! Members of more than [`SHORT_MAX`] bytes would make their neighbours' moves expensive; they live in a table beside
//! the buckets, one allocation each.

use smallvec::SmallVec;

use crate::store::entry::allocated;
use crate::store::hash::{CURSOR_HASH_BITS, KeyHasher, scan_position};
use crate::store::table::{Keyed, Table};

/// Members of a bucket, on average, at which the next bucket splits.
const LOAD: usize = 6;

/// Buckets are joined when there are fewer members than this in each on average.
const LOAD_MIN: usize = 2;

/// The longest member that a bucket takes.
const SHORT_MAX: usize = 255;

/// Buckets in one piece of the directory, so that it grows in steps.
const CHUNK: usize = 512;

/// Places of a bucket that a random choice looks at: hardly any bucket has more members.
const SAMPLE_PLACES: usize = 20;

/// Throws of a random choice before it takes the next member that there is.
const SAMPLE_TRIES: usize = 64;

/// In a cursor: the buckets are done, what follows are the long members.
const LONG_PHASE: u64 = 1 << CURSOR_HASH_BITS;

/// Bytes in front of a member in a bucket.
const HEADER: usize = 2;

#[derive(Clone, Debug)]
struct Long(Box<[u8]>);

impl Keyed for Long {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

type Bucket = Vec<u8>;

/// See the module's text.
#[derive(Debug)]
pub struct Members {
    hasher: KeyHasher,
    /// Pieces of [`CHUNK`] buckets; the last one may have fewer.
    chunks: Vec<Vec<Bucket>>,
    /// Number of buckets, at least one.
    buckets: usize,
    /// Members in the buckets.
    short_len: usize,
    /// Heap bytes of the buckets.
    bucket_bytes: usize,
    long: Option<Box<Table<Long>>>,
    /// Heap bytes of the long members themselves.
    long_bytes: usize,
}

impl Clone for Members {
    fn clone(&self) -> Self {
        let mut copy = Members {
            hasher: self.hasher,
            chunks: self.chunks.clone(),
            buckets: self.buckets,
            short_len: self.short_len,
            bucket_bytes: 0,
            long: self.long.clone(),
            long_bytes: self.long_bytes,
        };
        // A copy has no slack.
        copy.bucket_bytes = copy.chunks.iter().flatten().map(|bucket| allocated(bucket.capacity())).sum();
        copy
    }
}

/// Where a bucket's interval of the hash space begins, and how many upper bits its members share.
struct Interval {
    start: u64,
    depth: u32,
}

/// The bucket of a hash among `count` (linear hashing on the reversed bits).
#[inline]
fn bucket_of(hash: u64, count: usize) -> usize {
    let level = count.ilog2();
    let reversed = hash.reverse_bits() as usize;
    let index = reversed & ((2usize << level) - 1);
    if index < count { index } else { index & ((1 << level) - 1) }
}

fn interval(index: usize, count: usize) -> Interval {
    let level = count.ilog2();
    let split = index >= 1 << level || index + (1 << level) < count;
    Interval { start: (index as u64).reverse_bits(), depth: level + u32::from(split) }
}

/// The members of a bucket.
#[derive(Clone, Debug, Default)]
pub struct BucketIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for BucketIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (&[len, _], tail) = self.rest.split_first_chunk::<HEADER>()?;
        let (member, tail) = tail.split_at_checked(usize::from(len))?;
        self.rest = tail;
        Some(member)
    }
}

fn in_bucket(bucket: &[u8]) -> BucketIter<'_> {
    BucketIter { rest: bucket }
}

/// Where a member begins in its bucket.
#[inline]
fn find(bucket: &[u8], tag: u8, member: &[u8]) -> Option<usize> {
    let wanted = [member.len() as u8, tag];
    let mut rest = bucket;
    while let Some((header, tail)) = rest.split_first_chunk::<HEADER>() {
        let (other, tail) = tail.split_at_checked(usize::from(header[0]))?;
        if *header == wanted && other == member {
            return Some(bucket.len() - rest.len());
        }
        rest = tail;
    }
    None
}

/// Adds a member at the end of a bucket, with room for no more than the allocator gives anyway.
#[inline]
fn push(bucket: &mut Bucket, tag: u8, member: &[u8]) {
    let needed = bucket.len() + HEADER + member.len();
    if needed > bucket.capacity() {
        bucket.reserve_exact(allocated(needed) - bucket.len());
    }
    bucket.extend_from_slice(&[member.len() as u8, tag]);
    bucket.extend_from_slice(member);
}

impl Members {
    /// No members.
    pub fn new(hasher: KeyHasher) -> Members {
        Members {
            hasher,
            chunks: vec![vec![Vec::new()]],
            buckets: 1,
            short_len: 0,
            bucket_bytes: 0,
            long: None,
            long_bytes: 0,
        }
    }

    fn long_len(&self) -> usize {
        self.long.as_ref().map_or(0, |long| long.len())
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.short_len + self.long_len()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        // Every piece but the last is full.
        let last = self.chunks.last().map_or(0, Vec::capacity);
        let pieces = (self.chunks.len().max(1) - 1) * allocated(CHUNK * size_of::<Bucket>());
        let long =
            self.long.as_ref().map_or(0, |long| allocated(size_of::<Table<Long>>()) + long.table_bytes());
        allocated(self.chunks.capacity() * size_of::<Vec<Bucket>>())
            + pieces
            + allocated(last * size_of::<Bucket>())
            + self.bucket_bytes
            + long
            + self.long_bytes
    }

    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }

    /// Whether the member is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        let hash = self.hasher.hash(member);
        if member.len() > SHORT_MAX {
            return self.long.as_ref().is_some_and(|long| long.get(hash, member).is_some());
        }
        find(self.bucket(bucket_of(hash, self.buckets)), hash as u8, member).is_some()
    }

    /// Puts a member in; false when it was there.
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let hash = self.hasher.hash(member);
        if member.len() > SHORT_MAX {
            let hasher = self.hasher;
            let long = self.long.get_or_insert_with(|| Box::new(Table::new(hasher)));
            if long.get(hash, member).is_some() {
                return false;
            }
            long.insert_new(hash, Long(member.into()));
            self.long_bytes += allocated(member.len());
            return true;
        }
        let index = bucket_of(hash, self.buckets);
        let bucket = self.bucket_mut(index);
        if find(bucket, hash as u8, member).is_some() {
            return false;
        }
        let before = allocated(bucket.capacity());
        push(bucket, hash as u8, member);
        let after = allocated(bucket.capacity());
        self.bucket_bytes = self.bucket_bytes + after - before;
        self.short_len += 1;
        if self.short_len > self.buckets * LOAD {
            self.split();
        }
        true
    }

    /// Takes a member out; false when it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let hash = self.hasher.hash(member);
        if member.len() > SHORT_MAX {
            let Some(long) = &mut self.long else { return false };
            if long.remove(hash, member).is_none() {
                return false;
            }
            self.long_bytes -= allocated(member.len());
            if long.is_empty() {
                self.long = None;
            }
            return true;
        }
        let index = bucket_of(hash, self.buckets);
        let bucket = self.bucket_mut(index);
        let Some(at) = find(bucket, hash as u8, member) else { return false };
        let before = allocated(bucket.capacity());
        bucket.drain(at..at + HEADER + member.len());
        if bucket.capacity() > 2 * bucket.len() {
            bucket.shrink_to_fit();
        }
        let after = allocated(bucket.capacity());
        self.bucket_bytes = self.bucket_bytes + after - before;
        self.short_len -= 1;
        if self.buckets > 1 && self.short_len < self.buckets * LOAD_MIN {
            self.join();
        }
        true
    }

    /// Adds a bucket and gives it the upper half of its partner's interval.
    fn split(&mut self) {
        let new = self.buckets;
        let partner = new - (1 << new.ilog2());
        self.buckets += 1;
        let old = std::mem::take(self.bucket_mut(partner));
        let hashes: SmallVec<[u64; 4 * LOAD]> =
            in_bucket(&old).map(|member| self.hasher.hash(member)).collect();
        let goes_high = |hash: u64| bucket_of(hash, new + 1) == new;
        let moving = in_bucket(&old).zip(&hashes).filter(|(_, hash)| goes_high(**hash));
        let high_bytes: usize = moving.map(|(member, _)| HEADER + member.len()).sum();
        let mut low = Vec::with_capacity(allocated(old.len() - high_bytes));
        let mut high = Vec::with_capacity(allocated(high_bytes));
        for (member, hash) in in_bucket(&old).zip(&hashes) {
            push(if goes_high(*hash) { &mut high } else { &mut low }, *hash as u8, member);
        }
        self.bucket_bytes = self.bucket_bytes + allocated(low.capacity()) + allocated(high.capacity())
            - allocated(old.capacity());
        *self.bucket_mut(partner) = low;
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => {
                if last.len() == last.capacity() {
                    let more = (last.len() / 4).clamp(1, CHUNK - last.len());
                    last.reserve_exact(more);
                }
                last.push(high);
            }
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK / 8);
                chunk.push(high);
                self.chunks.push(chunk);
            }
        }
    }

    /// Gives the last bucket's members back to its partner.
    fn join(&mut self) {
        let Some(chunk) = self.chunks.last_mut() else { return };
        let Some(last) = chunk.pop() else { return };
        if chunk.is_empty() {
            self.chunks.pop();
        } else if chunk.capacity() > CHUNK / 8 && chunk.capacity() > 2 * chunk.len() {
            chunk.shrink_to_fit();
        }
        self.buckets -= 1;
        let partner = self.buckets - (1 << self.buckets.ilog2());
        let bucket = self.bucket_mut(partner);
        let before = allocated(bucket.capacity()) + allocated(last.capacity());
        if !last.is_empty() {
            bucket.reserve_exact(last.len());
            bucket.extend_from_slice(&last);
        }
        let after = allocated(bucket.capacity());
        self.bucket_bytes = self.bucket_bytes + after - before;
    }

    /// All members, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let long = self.long.iter().flat_map(|long| long.iter().map(Keyed::key));
        self.chunks.iter().flatten().flat_map(|bucket| in_bucket(bucket)).chain(long)
    }

    /// Visits members in hash order from cursor `from` on, at least `count` of them unless the end comes first.
    /// Answers the cursor to go on from, `None` at the end. A member that is there all the time is visited once.
    pub fn scan<'m>(&'m self, from: u64, count: usize, mut visit: impl FnMut(&'m [u8])) -> Option<u64> {
        let mut seen = 0;
        let mut position = from;
        while position < LONG_PHASE {
            let start = position << (64 - CURSOR_HASH_BITS);
            let index = bucket_of(start, self.buckets);
            for member in in_bucket(self.bucket(index)) {
                if scan_position(self.hasher.hash(member)) >= position {
                    visit(member);
                    seen += 1;
                }
            }
            let interval = interval(index, self.buckets);
            let span = if interval.depth == 0 { LONG_PHASE } else { LONG_PHASE >> interval.depth };
            position = scan_position(interval.start) + span;
            if seen >= count && position < LONG_PHASE {
                return Some(position);
            }
        }
        let long = self.long.as_ref()?;
        if seen >= count {
            return Some(LONG_PHASE);
        }
        long.scan(position & (LONG_PHASE - 1), count - seen, |member| visit(member.key()))
            .map(|next| next | LONG_PHASE)
    }

    /// A member picked with the random number `r`; each is about equally likely.
    pub fn sample(&self, r: u64) -> Option<&[u8]> {
        let len = self.len() as u64;
        if len == 0 {
            return None;
        }
        let mut r = r;
        if (r >> 20) % len >= self.short_len as u64 {
            return self.long.as_ref()?.sample(r.rotate_left(32)).map(Keyed::key);
        }
        for _ in 0..SAMPLE_TRIES {
            // A place that no member has is thrown again: so members of full and of empty buckets have the same chance.
            r = (r ^ (r >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17);
            let bucket = self.bucket((r >> 32) as usize % self.buckets);
            if let Some(member) = in_bucket(bucket).nth(r as usize % SAMPLE_PLACES) {
                return Some(member);
            }
        }
        let start = (r >> 32) as usize % self.buckets;
        (0..self.buckets).find_map(|step| in_bucket(self.bucket((start + step) % self.buckets)).next())
    }

    /// [`Members::heap_bytes`] counted anew: tests compare.
    #[cfg(test)]
    fn recount(&self) -> usize {
        self.chunks.iter().map(|chunk| allocated(chunk.capacity() * size_of::<Bucket>())).sum::<usize>()
            + allocated(self.chunks.capacity() * size_of::<Vec<Bucket>>())
            + self.chunks.iter().flatten().map(|bucket| allocated(bucket.capacity())).sum::<usize>()
            + self.long.as_ref().map_or(0, |long| {
                allocated(size_of::<Table<Long>>())
                    + long.table_bytes()
                    + long.iter().map(|member| allocated(member.0.len())).sum::<usize>()
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::store::hash::DEFAULT_SEED;

    fn member(n: u32) -> Vec<u8> {
        let mut bytes = format!("member:{n}").into_bytes();
        if n % 50 == 7 {
            bytes.resize(300, b'x');
        }
        bytes
    }

    fn members(n: u32) -> Members {
        let mut set = Members::new(KeyHasher::new(DEFAULT_SEED));
        (0..n).for_each(|i| assert!(set.insert(&member(i))));
        set
    }

    #[test]
    fn grows_and_shrinks_by_single_buckets() {
        let mut set = members(20_000);
        assert!(set.buckets > 1000 && set.chunks.len() > 2);
        assert_eq!((set.len(), set.heap_bytes()), (20_000, set.recount()));
        assert_eq!(set.iter().collect::<BTreeSet<_>>().len(), 20_000);
        for n in 0..20_000 {
            assert!(set.contains(&member(n)) && !set.insert(&member(n)));
        }
        let copy = set.clone();
        assert_eq!(copy.heap_bytes(), copy.recount());
        for n in 0..20_000 {
            assert!(set.remove(&member(n)) && !set.remove(&member(n)));
            if n % 1000 == 0 {
                assert_eq!(set.heap_bytes(), set.recount());
            }
        }
        assert_eq!((set.len(), set.buckets, set.heap_bytes()), (0, 1, set.recount()));
    }

    #[test]
    fn a_sample_is_fair() {
        for n in [3u32, 5000] {
            let set = members(n);
            let mut counts = std::collections::BTreeMap::new();
            let mut rng = 1u64;
            for _ in 0..n * 20 {
                let r = torc_runtime::random::split_mix(&mut rng);
                *counts.entry(set.sample(r)).or_insert(0u32) += 1;
            }
            assert_eq!(counts.len(), n as usize);
            let most = counts.values().max().copied().unwrap_or_default();
            assert!(most < 60, "{most} times of 20 expected");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn a_walk_gives_what_stays(n in 0u32..2000, count in 1usize..40, change in 0u32..60, shrink in any::<bool>()) {
            let mut set = members(n);
            let (mut seen, mut from, mut other) = (Vec::new(), Some(0), n);
            let kept = n / 2;
            while let Some(cursor) = from {
                from = set.scan(cursor, count, |m| seen.push(m.to_vec()));
                for _ in 0..change {
                    if shrink {
                        other = other.saturating_sub(1);
                        if other >= kept {
                            set.remove(&member(other));
                        }
                    } else {
                        set.insert(&member(other));
                        other += 1;
                    }
                }
            }
            let total = seen.len();
            let seen: BTreeSet<_> = seen.into_iter().collect();
            prop_assert_eq!(total, seen.len());
            for i in 0..kept {
                prop_assert!(seen.contains(&member(i)), "{} was there all the time", i);
            }
        }
    }
}
