//! Histories: which term wrote which offsets, and where two members' histories part.
//!
//! A history speaks of records that exist, never of a term that wrote nothing. Two members that hold the same
//! (term, offset) hold the same records up to it, because one primary wrote that term and started it on one
//! place of its own history.

use crate::bugs::{Bug, planted};
use crate::ids::{Offset, Position, Term};
use serde::{Deserialize, Serialize};

/// Terms a history remembers. Older ones are forgotten: a member that parted before them refetches everything.
pub const MAX_HISTORY_TERMS: usize = 512;

/// What one member holds of a shard: (term, first offset) pairs, ascending in both, and the last offset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    terms: Vec<(Term, Offset)>,
    last: Offset,
}

/// How a replica's history lies beside the primary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lineage {
    /// All the replica holds is the primary's: it goes on after this offset.
    Continue { after: Offset },
    /// The replica holds records the primary has not; up to `common` both hold the same.
    Diverged { common: Offset },
}

/// A record that does not fit after the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record} does not follow {last}")]
pub struct OutOfOrder {
    pub last: Position,
    pub record: Position,
}

impl History {
    /// A history that arrived from elsewhere, checked: ascending terms and offsets, at most
    /// [`MAX_HISTORY_TERMS`] of them. `None` when it is none.
    pub fn from_parts(terms: Vec<(Term, Offset)>, last: Offset) -> Option<History> {
        let history = History { terms, last };
        history.is_sound().then_some(history)
    }

    /// Whether the pairs ascend and end at or below the last offset. To be asked of whatever the network brought.
    pub fn is_sound(&self) -> bool {
        self.terms.len() <= MAX_HISTORY_TERMS
            && self.terms.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
            && self.terms.iter().all(|(term, first)| *term > Term::NONE && *first > Offset(0))
            && self.terms.last().map_or(self.last == Offset(0), |(_, first)| *first <= self.last)
    }

    /// The (term, first offset) pairs.
    pub fn terms(&self) -> &[(Term, Offset)] {
        &self.terms
    }

    /// The last record, [`Position::ZERO`] when there is none.
    pub fn last(&self) -> Position {
        Position { term: self.terms.last().map_or(Term::NONE, |(term, _)| *term), offset: self.last }
    }

    /// The history as it was after `offset`.
    pub fn until(&self, offset: Offset) -> History {
        let mut history = self.clone();
        history.terms.retain(|(_, first)| *first <= offset);
        history.last = history.last.min(offset);
        history
    }

    /// Notes one more record.
    pub fn append(&mut self, record: Position) -> Result<(), OutOfOrder> {
        let last = self.last();
        if record.offset != last.offset.next() || record.term < last.term || record.term == Term::NONE {
            return Err(OutOfOrder { last, record });
        }
        if record.term > last.term {
            self.terms.push((record.term, record.offset));
            if self.terms.len() > MAX_HISTORY_TERMS {
                self.terms.remove(0);
            }
        }
        self.last = record.offset;
        Ok(())
    }

    /// Notes all records of one term up to `last`: what a primary does for many records at once. A `last` that
    /// is not beyond what is known changes nothing.
    pub fn extend(&mut self, term: Term, last: Offset) -> Result<(), OutOfOrder> {
        if last <= self.last {
            return Ok(());
        }
        self.append(Position::new(term, self.last.next()))?;
        self.last = last;
        Ok(())
    }

    /// The term that wrote an offset; `None` beyond the last one or before what is remembered.
    pub fn term_of(&self, offset: Offset) -> Option<Term> {
        if offset > self.last {
            return None;
        }
        let next = self.terms.partition_point(|(_, first)| *first <= offset);
        self.terms.get(next.checked_sub(1)?).map(|(term, _)| *term)
    }

    /// Whether this history holds that very record. It holds the place before the first one always.
    pub fn holds(&self, position: Position) -> bool {
        position == Position::ZERO || self.term_of(position.offset) == Some(position.term)
    }

    /// The last offset up to which both hold the same records; 0 when there is none that both remember.
    pub fn last_common(&self, other: &History) -> Offset {
        for (index, (term, first)) in self.terms.iter().enumerate().rev() {
            let Ok(theirs) = other.terms.binary_search_by_key(term, |(term, _)| *term) else { continue };
            if other.terms.get(theirs).is_none_or(|(_, other_first)| other_first != first) {
                continue;
            }
            return self.end_of(index).min(other.end_of(theirs));
        }
        Offset(0)
    }

    /// How a replica with this history goes on behind a primary (self).
    pub fn lineage_of(&self, replica: &History) -> Lineage {
        let mut common = self.last_common(replica);
        if planted(Bug::OffsetWithoutTerm) {
            common = replica.last.min(self.last);
        }
        if common == replica.last {
            Lineage::Continue { after: common }
        } else {
            Lineage::Diverged { common }
        }
    }

    /// The last offset of the term at `index`.
    fn end_of(&self, index: usize) -> Offset {
        self.terms.get(index + 1).map_or(self.last, |(_, next)| Offset(next.0.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn history(records: &[u64]) -> History {
        let mut history = History::default();
        for (index, term) in records.iter().enumerate() {
            history.append(Position::new(Term(*term), Offset(index as u64 + 1))).expect("in order");
        }
        history
    }

    #[test]
    fn a_prefix_continues() {
        let primary = history(&[1, 1, 2, 2, 5]);
        assert_eq!(primary.lineage_of(&history(&[1, 1, 2])), Lineage::Continue { after: Offset(3) });
        assert_eq!(primary.lineage_of(&history(&[])), Lineage::Continue { after: Offset(0) });
        assert_eq!(primary.lineage_of(&primary.clone()), Lineage::Continue { after: Offset(5) });
    }

    #[test]
    fn a_longer_or_other_tail_is_divergent() {
        let primary = history(&[1, 1, 2, 2]);
        assert_eq!(primary.lineage_of(&history(&[1, 1, 1])), Lineage::Diverged { common: Offset(2) });
        assert_eq!(primary.lineage_of(&history(&[1, 1, 2, 2, 2])), Lineage::Diverged { common: Offset(4) });
        assert_eq!(primary.lineage_of(&history(&[3])), Lineage::Diverged { common: Offset(0) });
        // The same offset, another term.
        assert_eq!(history(&[1, 3]).lineage_of(&history(&[1, 2])), Lineage::Diverged { common: Offset(1) });
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut one = history(&[1, 2]);
        assert!(one.append(Position::new(Term(2), Offset(4))).is_err());
        assert!(one.append(Position::new(Term(1), Offset(3))).is_err());
        assert_eq!(one.last(), Position::new(Term(2), Offset(2)));
        assert_eq!(one.extend(Term(2), Offset(9)), Ok(()));
        assert_eq!(one.last(), Position::new(Term(2), Offset(9)));
    }

    #[test]
    fn an_earlier_state_of_a_history_is_one() {
        let whole = history(&[1, 1, 2, 2, 5]);
        for last in 0..=5 {
            assert_eq!(whole.until(Offset(last as u64)), history(&[1, 1, 2, 2, 5][..last]));
        }
        assert_eq!(whole.until(Offset(9)), whole);
    }

    #[test]
    fn unsound_parts_are_refused() {
        assert!(History::from_parts(vec![(Term(2), Offset(1)), (Term(1), Offset(2))], Offset(3)).is_none());
        assert!(History::from_parts(vec![(Term(1), Offset(5))], Offset(3)).is_none());
        assert!(History::from_parts(vec![], Offset(3)).is_none());
        assert!(History::from_parts(vec![(Term(1), Offset(1))], Offset(3)).is_some());
    }

    #[test]
    fn memory_of_terms_is_bounded() {
        let terms: Vec<u64> = (1..=MAX_HISTORY_TERMS as u64 + 10).collect();
        let long = history(&terms);
        assert_eq!(long.terms().len(), MAX_HISTORY_TERMS);
        assert!(long.is_sound());
        assert_eq!(long.lineage_of(&history(&[1, 2])), Lineage::Diverged { common: Offset(0) });
    }

    proptest! {
        /// Against the plain comparison record by record. Two lines that part never share a term afterwards.
        #[test]
        fn last_common_is_the_common_prefix(
            stem in proptest::collection::vec(1u64..4, 0..12),
            mine in 0usize..6,
            theirs in 0usize..6,
        ) {
            let mut stem = stem;
            stem.sort_unstable();
            let mut a = stem.clone();
            a.extend(std::iter::repeat_n(7, mine));
            let mut b = stem.clone();
            b.extend(std::iter::repeat_n(8, theirs));
            let common = a.iter().zip(&b).take_while(|(x, y)| x == y).count() as u64;
            prop_assert_eq!(history(&a).last_common(&history(&b)), Offset(common));
            prop_assert_eq!(history(&b).last_common(&history(&a)), Offset(common));
        }
    }
}
