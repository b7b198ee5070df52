//! The form of a big sorted set: each member once, a table to find it, a tree to order it.
//!
//! ```text
//! member ─hash→ Segments<u32> ─number→ Records (member, score)
//! rank   ─────→ Tree (score, number) ──number→ Records
//! ```

use super::records::Records;
use super::tree::{Tree, TreeIter};
use crate::store::hash::KeyHasher;
use crate::store::segments::Segments;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Indexed {
    hasher: KeyHasher,
    table: Segments<u32>,
    records: Records,
    tree: Tree,
}

/// Whether an element stands behind (score, member).
#[inline]
fn is_after(records: &Records, score: f64, member: &[u8], s: f64, id: u32) -> bool {
    s > score || (s == score && records.member(id) > member)
}

impl Indexed {
    /// An empty one.
    pub fn new(hasher: KeyHasher) -> Indexed {
        Indexed { hasher, table: Segments::new(), records: Records::default(), tree: Tree::default() }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.table.table_bytes() + self.records.heap_bytes() + self.tree.heap_bytes()
    }

    /// [`Indexed::heap_bytes`] counted anew: tests compare.
    pub fn recount_bytes(&self) -> usize {
        self.table.recount_bytes() + self.records.recount_bytes() + self.tree.heap_bytes()
    }

    #[inline]
    fn find(&self, member: &[u8]) -> Option<u32> {
        let records = &self.records;
        self.table.get(self.hasher.hash(member), |&id| records.member(id) == member).copied()
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        Some(self.records.score(self.find(member)?))
    }

    /// Rank and score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let id = self.find(member)?;
        let score = self.records.score(id);
        let records = &self.records;
        let before = |s, i| s < score || (s == score && i != id && records.member(i) < member);
        Some((self.tree.partition(before), score))
    }

    /// Sets the score of a member, which may be new; answers the one it had.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let Some(id) = self.find(member) else {
            self.insert_new(member, score);
            return None;
        };
        let old = self.records.score(id);
        if old != score {
            self.rescore(id, member, old, score);
        }
        Some(old)
    }

    /// Adds a member that is not there yet.
    pub fn insert_new(&mut self, member: &[u8], score: f64) {
        let (hasher, hash) = (self.hasher, self.hasher.hash(member));
        let id = self.records.push(member, score);
        let records = &self.records;
        self.table.insert_new(hash, id, |&id| hasher.hash(records.member(id)));
        self.tree.insert((score, id), |s, i| is_after(records, score, member, s, i));
    }

    fn rescore(&mut self, id: u32, member: &[u8], old: f64, score: f64) {
        let records = &self.records;
        let here = |s: f64, i: u32| s > old || (s == old && i != id && records.member(i) > member);
        let fits = |(bs, bi): (f64, u32), (ns, ni): (f64, u32)| {
            (bs < score || (bs == score && records.member(bi) < member))
                && (ns > score || (ns == score && records.member(ni) > member))
        };
        if !self.tree.rescore(here, score, fits) {
            self.tree.remove(here);
            self.tree.insert((score, id), |s, i| is_after(records, score, member, s, i));
        }
        self.records.set_score(id, score);
    }

    /// Takes a member out; answers its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let (hasher, hash) = (self.hasher, self.hasher.hash(member));
        let records = &self.records;
        let id = self.table.remove(
            hash,
            |&id| records.member(id) == member,
            |&i| hasher.hash(records.member(i)),
        )?;
        let score = records.score(id);
        self.tree.remove(|s, i| s > score || (s == score && i != id && records.member(i) > member));
        let next = self.records.successor(id);
        if next != id {
            // The last record of this size takes the place: whatever names it is told.
            self.records.overwrite(id, next);
            let records = &self.records;
            let (moved, at) = (records.member(id), records.score(id));
            if let Some(entry) = self.table.get_mut(hasher.hash(moved), |&i| i == next) {
                *entry = id;
            }
            let after = |s, i| s > at || (s == at && i != next && records.member(i) > moved);
            self.tree.renumber(after, next, id);
        }
        self.records.pop(next);
        Some(score)
    }

    /// How many elements are before: they are the first ones.
    pub fn partition(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        self.tree.partition(|score, id| before(score, self.records.member(id)))
    }

    /// As [`Indexed::partition`], by scores alone: no member is looked at.
    pub fn partition_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        self.tree.partition(|score, _| before(score))
    }

    /// `count` elements from rank `start` on, counted from the end and downwards when `reverse`.
    pub fn range(&self, start: usize, count: usize, reverse: bool) -> IndexedIter<'_> {
        IndexedIter { records: &self.records, elements: self.tree.range(start, count, reverse) }
    }

    /// Visits members as [`Segments::scan`] does.
    pub fn scan<'s>(&'s self, from: u64, count: usize, mut visit: impl FnMut(&'s [u8], f64)) -> Option<u64> {
        let (hasher, records) = (self.hasher, &self.records);
        let hash_of = |&id: &u32| hasher.hash(records.member(id));
        self.table.scan(from, count, hash_of, |&id| visit(records.member(id), records.score(id)))
    }

    #[cfg(test)]
    pub fn check(&self) {
        self.tree.check();
        assert_eq!(self.heap_bytes(), self.recount_bytes());
        assert_eq!(self.table.len(), self.tree.len());
    }
}

/// See [`Indexed::range`].
#[derive(Clone, Debug)]
pub struct IndexedIter<'a> {
    records: &'a Records,
    elements: TreeIter<'a>,
}

impl<'a> Iterator for IndexedIter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (score, id) = self.elements.next()?;
        Some((self.records.member(id), score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.elements.size_hint()
    }
}
