//! Which leases may still be valid, as the controller knows it.

use crate::ids::{ShardId, Term};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Granted {
    term: Term,
    until_ns: u64,
    /// Handed back: over, and never granted again in this term.
    over: bool,
}

/// Owned by the controller of one reign. Times are ns of the controller's own CLOCK_BOOTTIME. One entry per
/// shard of the map at most.
#[derive(Clone, Debug)]
pub struct LeaseTable {
    /// Until then a lease given by a controller before may be valid.
    inherited_until_ns: u64,
    granted: BTreeMap<ShardId, Granted>,
}

impl LeaseTable {
    /// For a controller elected at `now_ns`; `lease_bound_ns` is the longest lease that may have been given,
    /// stretched by the clock-rate bound.
    pub fn new(now_ns: u64, lease_bound_ns: u64) -> Self {
        LeaseTable { inherited_until_ns: now_ns.saturating_add(lease_bound_ns), granted: BTreeMap::new() }
    }

    /// Notes a grant for a renewal received at `received_ns`. `false`: the lease of this term was handed back,
    /// nothing may be granted.
    #[must_use]
    pub fn grant(&mut self, shard: ShardId, term: Term, received_ns: u64, lease_bound_ns: u64) -> bool {
        let until_ns = received_ns.saturating_add(lease_bound_ns);
        match self.granted.get_mut(&shard) {
            Some(known) if known.term == term => {
                if known.over {
                    return false;
                }
                known.until_ns = known.until_ns.max(until_ns);
            }
            // A newer term is granted only after the older one's lease was over.
            _ => {
                self.granted.insert(shard, Granted { term, until_ns, over: false });
            }
        }
        true
    }

    /// A term began: its primary may ask for its first lease until `lease_bound_ns` from now, as if it held one.
    pub fn promoted(&mut self, shard: ShardId, term: Term, now_ns: u64, lease_bound_ns: u64) {
        if self.granted.get(&shard).is_none_or(|known| known.term < term) {
            let until_ns = now_ns.saturating_add(lease_bound_ns);
            self.granted.insert(shard, Granted { term, until_ns, over: false });
        }
    }

    /// The primary of this term gave its lease back: the caller has it from that member itself.
    pub fn handed_back(&mut self, shard: ShardId, term: Term) {
        self.granted.insert(shard, Granted { term, until_ns: 0, over: true });
    }

    /// Whether the lease of this term was handed back.
    pub fn is_handed_back(&self, shard: ShardId, term: Term) -> bool {
        self.granted.get(&shard).is_some_and(|known| known.term == term && known.over)
    }

    /// Whether somebody may still serve the shard by a lease of `term`, the shard's term in the map.
    pub fn may_be_valid(&self, shard: ShardId, term: Term, now_ns: u64) -> bool {
        now_ns < self.over_at_ns(shard, term)
    }

    /// From when on nobody serves the shard in `term` any more (as far as granted until now).
    pub fn over_at_ns(&self, shard: ShardId, term: Term) -> u64 {
        if term == Term::NONE {
            return 0;
        }
        match self.granted.get(&shard) {
            Some(known) if known.term == term && known.over => 0,
            Some(known) if known.term == term => known.until_ns.max(self.inherited_until_ns),
            // Of an older term: that lease was over before this term began.
            _ => self.inherited_until_ns,
        }
    }

    /// Forgets shards that are no more.
    pub fn retain(&mut self, keep: impl Fn(ShardId) -> bool) {
        self.granted.retain(|shard, _| keep(*shard));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: ShardId = ShardId(1);

    #[test]
    fn a_new_controller_waits_for_what_it_can_not_know() {
        let table = LeaseTable::new(1_000, 500);
        assert!(table.may_be_valid(S, Term(3), 1_499));
        assert!(!table.may_be_valid(S, Term(3), 1_500));
        assert!(!table.may_be_valid(S, Term::NONE, 1_000), "nobody ever had it");
    }

    #[test]
    fn a_grant_counts_from_receipt() {
        let mut table = LeaseTable::new(0, 500);
        assert!(table.grant(S, Term(3), 900, 500));
        assert!(table.grant(S, Term(3), 800, 500));
        assert!(table.may_be_valid(S, Term(3), 1_399));
        assert!(!table.may_be_valid(S, Term(3), 1_400));
    }

    #[test]
    fn a_new_primary_has_time_to_ask() {
        let mut table = LeaseTable::new(0, 500);
        assert!(table.grant(S, Term(3), 600, 500));
        table.promoted(S, Term(4), 2_000, 500);
        assert!(table.may_be_valid(S, Term(4), 2_499));
        assert!(!table.may_be_valid(S, Term(4), 2_500));
        assert!(table.grant(S, Term(4), 2_300, 500));
        table.promoted(S, Term(4), 9_000, 500);
        assert!(!table.may_be_valid(S, Term(4), 2_800), "a term begins once");
    }

    #[test]
    fn what_was_handed_back_is_over_at_once_and_stays_so() {
        let mut table = LeaseTable::new(1_000, 500);
        assert!(table.grant(S, Term(3), 1_100, 500));
        table.handed_back(S, Term(3));
        assert!(!table.may_be_valid(S, Term(3), 1_100));
        assert!(!table.grant(S, Term(3), 1_200, 500));
        assert!(table.grant(S, Term(4), 1_200, 500));
        assert!(table.may_be_valid(S, Term(4), 1_600));
    }
}
