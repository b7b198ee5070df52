//! Which of the sealed candidates becomes primary, and who starts in its set.

use crate::ids::{Member, NodeId, Position};
use std::collections::{BTreeMap, BTreeSet};

/// What the choice looks at beside the positions.
pub(super) struct Wishes<'a> {
    /// Asked for by a person.
    pub(super) to: Option<NodeId>,
    /// The primary before.
    pub(super) old: Option<Member>,
    /// Nodes of the shard, preferred first.
    pub(super) order: &'a [NodeId],
    /// Alive, healthy and here to stay.
    pub(super) fit: &'a BTreeSet<Member>,
}

/// The highest (term, offset) wins. Members that are not fit stand back behind all that are. Between equals:
/// who was asked for, then anyone but the old primary, then the shard's order.
pub(super) fn primary(sealed: &BTreeMap<Member, Position>, wishes: &Wishes<'_>) -> Option<Member> {
    sealed
        .iter()
        .max_by_key(|(member, last)| {
            let place = wishes.order.iter().position(|node| *node == member.node).unwrap_or(usize::MAX);
            (
                wishes.fit.contains(member),
                **last,
                wishes.to == Some(member.node),
                wishes.old != Some(**member),
                std::cmp::Reverse(place),
                std::cmp::Reverse(**member),
            )
        })
        .map(|(member, _)| *member)
}

/// Who starts in the set of the new primary: itself, and fit sealed candidates whose last record its history is
/// known to hold, because the term of their last record is the same and their offset not above.
pub(super) fn in_sync(
    sealed: &BTreeMap<Member, Position>,
    primary: Member,
    fit: &BTreeSet<Member>,
) -> BTreeSet<Member> {
    let Some(top) = sealed.get(&primary) else { return BTreeSet::from([primary]) };
    sealed
        .iter()
        .filter(|(member, last)| {
            **member == primary
                || (fit.contains(member) && last.term == top.term && last.offset <= top.offset)
        })
        .map(|(member, _)| *member)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, Offset, Term};

    fn member(id: u64) -> Member {
        Member::new(NodeId(id), Incarnation(1))
    }

    fn sealed(of: &[(u64, u64, u64)]) -> BTreeMap<Member, Position> {
        of.iter()
            .map(|(id, term, offset)| (member(*id), Position::new(Term(*term), Offset(*offset))))
            .collect()
    }

    fn choose(of: &[(u64, u64, u64)], to: Option<u64>, fit: &[u64]) -> Option<u64> {
        let order = [NodeId(1), NodeId(2), NodeId(3)];
        let fit = fit.iter().map(|id| member(*id)).collect();
        let wishes = Wishes { to: to.map(NodeId), old: Some(member(1)), order: &order, fit: &fit };
        primary(&sealed(of), &wishes).map(|member| member.node.0)
    }

    #[test]
    fn the_term_counts_before_the_offset() {
        assert_eq!(choose(&[(2, 1, 9), (3, 2, 4)], None, &[2, 3]), Some(3));
    }

    #[test]
    fn between_equals_the_wish_then_the_order_and_the_old_one_last() {
        let all = [(1, 1, 9), (2, 1, 9), (3, 1, 9)];
        assert_eq!(choose(&all, Some(3), &[1, 2, 3]), Some(3));
        assert_eq!(choose(&all, None, &[1, 2, 3]), Some(2));
        assert_eq!(choose(&[(1, 1, 9), (2, 1, 8)], Some(2), &[1, 2]), Some(1), "a wish loses no write");
        assert_eq!(choose(&[(1, 1, 9), (2, 1, 8)], None, &[2]), Some(2), "the one that leaves stands back");
        assert_eq!(choose(&[], None, &[]), None);
    }

    #[test]
    fn the_set_holds_those_on_the_same_history() {
        let sealed = sealed(&[(1, 2, 9), (2, 2, 7), (3, 1, 9)]);
        let fit = BTreeSet::from([member(2), member(3)]);
        assert_eq!(in_sync(&sealed, member(1), &fit), BTreeSet::from([member(1), member(2)]));
        assert_eq!(in_sync(&sealed, member(1), &BTreeSet::new()), BTreeSet::from([member(1)]));
    }
}
