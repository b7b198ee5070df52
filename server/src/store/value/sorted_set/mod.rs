//! The value of a sorted set: packed while it is small, members with an index when it grows.
//!
//! The thresholds are Redis's (`zset-max-listpack-entries` 128, `zset-max-listpack-value` 64); as there, a set that has
//! left the packed form stays so. Elements are ordered by score, those of one score by the bytes of the member.
//! Scores are never NaN: callers see to that.

mod bounds;
mod change;
mod indexed;
mod node;
mod packed;
mod records;
#[cfg(test)]
mod tests;
mod tree;

pub use bounds::{LexBound, LexRange, ScoreRange};
pub use change::SortedSetChange;

use self::indexed::{Indexed, IndexedIter};
use self::packed::{Packed, PackedIter};
use super::{Collection, Env, Kind, PackedLimits, variant};
use crate::effect::DecodeError;
use crate::store::entry::allocated;
use crate::store::hash::KeyHasher;

/// See the module's text.
#[derive(Clone, Debug)]
pub enum SortedSetValue {
    /// One run of bytes.
    Packed(Packed),
    /// Members with a table and a tree.
    Indexed(Box<Indexed>),
}

impl Default for SortedSetValue {
    fn default() -> Self {
        SortedSetValue::Packed(Packed::default())
    }
}

impl SortedSetValue {
    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            SortedSetValue::Packed(_) => "listpack",
            SortedSetValue::Indexed(_) => "skiplist",
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSetValue::Packed(packed) => packed.find(member).map(|place| place.score),
            SortedSetValue::Indexed(indexed) => indexed.score(member),
        }
    }

    /// Rank (from the lowest score on) and score of a member.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            SortedSetValue::Packed(packed) => packed.find(member).map(|place| (place.rank, place.score)),
            SortedSetValue::Indexed(indexed) => indexed.rank(member),
        }
    }

    /// Sets the score of a member, which may be new; answers the one it had.
    pub fn set(
        &mut self,
        member: &[u8],
        score: f64,
        limits: &PackedLimits,
        hasher: KeyHasher,
    ) -> Option<f64> {
        if let SortedSetValue::Packed(packed) = self {
            if let Some(place) = packed.find(member) {
                if place.score != score {
                    packed.set_score(place, member, score);
                }
                return Some(place.score);
            }
            if packed.len() < limits.entries && member.len() <= limits.value_bytes {
                packed.insert(member, score);
                return None;
            }
            let mut indexed = Indexed::new(hasher);
            packed.iter().for_each(|(member, score)| indexed.insert_new(member, score));
            *self = SortedSetValue::Indexed(Box::new(indexed));
        }
        match self {
            SortedSetValue::Packed(_) => None,
            SortedSetValue::Indexed(indexed) => indexed.set(member, score),
        }
    }

    /// Takes a member out; answers its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSetValue::Packed(packed) => {
                let place = packed.find(member)?;
                packed.remove(place);
                Some(place.score)
            }
            SortedSetValue::Indexed(indexed) => indexed.remove(member),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> Elements<'_> {
        self.range(0, self.len(), false)
    }

    /// `count` elements (fewer at the end) from rank `start` on; when `reverse`, ranks count from the highest score and
    /// it goes downwards.
    pub fn range(&self, start: usize, count: usize, reverse: bool) -> Elements<'_> {
        match self {
            SortedSetValue::Packed(packed) if reverse => {
                let mut all: Vec<_> = packed.backwards().skip(start).take(count).collect();
                all.reverse();
                Elements::Backwards(all)
            }
            SortedSetValue::Packed(packed) => {
                let mut rest = packed.iter();
                if start > 0 {
                    rest.nth(start - 1);
                }
                Elements::Packed(rest.take(count))
            }
            SortedSetValue::Indexed(indexed) => Elements::Indexed(indexed.range(start, count, reverse)),
        }
    }

    /// The element of a rank.
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.range(rank, 1, false).next()
    }

    /// Ranks of the elements whose scores are in the range: the first, and the one behind the last.
    pub fn by_score(&self, range: &ScoreRange) -> (usize, usize) {
        let (start, end) = match self {
            SortedSetValue::Packed(packed) => (
                packed.iter().take_while(|(_, score)| range.is_above(*score)).count(),
                packed.iter().take_while(|(_, score)| range.reaches(*score)).count(),
            ),
            SortedSetValue::Indexed(indexed) => (
                indexed.partition_scores(|score| range.is_above(score)),
                indexed.partition_scores(|score| range.reaches(score)),
            ),
        };
        (start, end.max(start))
    }

    /// Ranks of the members in the range (all scores being the same): the first, and the one behind the last.
    pub fn by_lex(&self, range: &LexRange<'_>) -> (usize, usize) {
        let (start, end) = match self {
            SortedSetValue::Packed(packed) => (
                packed.iter().take_while(|(member, _)| range.is_above(member)).count(),
                packed.iter().take_while(|(member, _)| range.reaches(member)).count(),
            ),
            SortedSetValue::Indexed(indexed) => (
                indexed.partition(|_, member| range.is_above(member)),
                indexed.partition(|_, member| range.reaches(member)),
            ),
        };
        (start, end.max(start))
    }

    /// ZSCAN: a packed set is given whole; a big one from `from` on in the order of hashes.
    pub fn scan<'s>(&'s self, from: u64, count: usize, mut visit: impl FnMut(&'s [u8], f64)) -> Option<u64> {
        match self {
            SortedSetValue::Packed(packed) => {
                packed.iter().for_each(|(member, score)| visit(member, score));
                None
            }
            SortedSetValue::Indexed(indexed) => indexed.scan(from, count, visit),
        }
    }

    /// [`Collection::heap_bytes`] counted anew: tests compare.
    pub fn recount_bytes(&self) -> usize {
        match self {
            SortedSetValue::Packed(_) => self.heap_bytes(),
            SortedSetValue::Indexed(indexed) => allocated(size_of::<Indexed>()) + indexed.recount_bytes(),
        }
    }
}

/// See [`SortedSetValue::range`].
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    /// Of a packed set.
    Packed(std::iter::Take<PackedIter<'a>>),
    /// Of a packed set from its end: the next is the last.
    Backwards(Vec<(&'a [u8], f64)>),
    /// Of a big set.
    Indexed(IndexedIter<'a>),
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Packed(elements) => elements.next(),
            Elements::Backwards(elements) => elements.pop(),
            Elements::Indexed(elements) => elements.next(),
        }
    }
}

impl Collection for SortedSetValue {
    const KIND: Kind = Kind::SortedSet;

    variant!(SortedSet);

    fn len(&self) -> usize {
        match self {
            SortedSetValue::Packed(packed) => packed.len(),
            SortedSetValue::Indexed(indexed) => indexed.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            SortedSetValue::Packed(packed) => allocated(packed.capacity()),
            SortedSetValue::Indexed(indexed) => allocated(size_of::<Indexed>()) + indexed.heap_bytes(),
        }
    }

    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError> {
        for change in SortedSetChange::decode(body)? {
            match change? {
                SortedSetChange::Set(member, score) => {
                    self.set(member, score, &env.limits.sorted_set, env.hasher);
                }
                SortedSetChange::Remove(member) => {
                    self.remove(member);
                }
            }
        }
        Ok(())
    }
}
