//! The lease as a primary of one term of one shard holds it.

use crate::ids::Term;
use std::collections::VecDeque;

/// Renewals that may be on their way at once; older ones are forgotten (a late grant of them is no use).
pub const MAX_RENEWALS: usize = 32;

/// Times are ns of CLOCK_BOOTTIME, read freshly by the caller.
#[derive(Clone, Debug)]
pub struct LeaseHolder {
    term: Term,
    /// (heartbeat id, when it was sent), ascending.
    renewals: VecDeque<(u64, u64)>,
    valid_until_ns: u64,
    handed_back: bool,
}

impl LeaseHolder {
    /// No lease yet.
    pub fn new(term: Term) -> Self {
        LeaseHolder { term, renewals: VecDeque::new(), valid_until_ns: 0, handed_back: false }
    }

    pub fn term(&self) -> Term {
        self.term
    }

    /// A renewal is about to be sent; read the clock before sending.
    pub fn requested(&mut self, sent_id: u64, sent_ns: u64) {
        if self.handed_back {
            return;
        }
        if self.renewals.len() >= MAX_RENEWALS {
            self.renewals.pop_front();
        }
        self.renewals.push_back((sent_id, sent_ns));
    }

    /// A renewal was granted. Answers whether the lease is longer now. A grant of what was not asked, or of
    /// another term, is none.
    pub fn granted(&mut self, term: Term, sent_id: u64, lease_ms: u64) -> bool {
        if self.handed_back || term != self.term {
            return false;
        }
        let Some(index) = self.renewals.iter().position(|(id, _)| *id == sent_id) else { return false };
        let sent_ns = self.renewals[index].1;
        self.renewals.drain(..=index);
        let until = sent_ns.saturating_add(lease_ms.saturating_mul(1_000_000));
        if until <= self.valid_until_ns {
            return false;
        }
        self.valid_until_ns = until;
        true
    }

    /// Whether the primary may serve. Ask before a batch is executed, and with a fresh clock before its
    /// replies leave.
    pub fn valid_at(&self, now_ns: u64) -> bool {
        now_ns < self.valid_until_ns
    }

    /// What is left, in ns.
    pub fn remaining_ns(&self, now_ns: u64) -> u64 {
        self.valid_until_ns.saturating_sub(now_ns)
    }

    /// The first moment at which the lease is over, for those who look at it from other threads.
    pub fn valid_until_ns(&self) -> u64 {
        self.valid_until_ns
    }

    /// Gives the lease back: from here on it is never valid again in this term. Whoever calls this has seen to
    /// it that nothing is served by it any more.
    pub fn hand_back(&mut self) {
        self.handed_back = true;
        self.valid_until_ns = 0;
        self.renewals.clear();
    }

    pub fn is_handed_back(&self) -> bool {
        self.handed_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn counts_from_the_sending() {
        let mut lease = LeaseHolder::new(Term(1));
        lease.requested(1, 100 * MS);
        assert!(!lease.valid_at(100 * MS));
        assert!(lease.granted(Term(1), 1, 500));
        assert!(lease.valid_at(600 * MS - 1));
        assert!(!lease.valid_at(600 * MS));
    }

    #[test]
    fn grants_of_unknown_or_older_renewals_do_nothing() {
        let mut lease = LeaseHolder::new(Term(1));
        lease.requested(1, 100 * MS);
        lease.requested(2, 200 * MS);
        assert!(!lease.granted(Term(1), 9, 500));
        assert!(!lease.granted(Term(2), 2, 500));
        assert!(lease.granted(Term(1), 2, 500));
        assert!(!lease.granted(Term(1), 1, 500), "late");
        assert_eq!(lease.valid_until_ns(), 700 * MS);
    }

    #[test]
    fn handed_back_is_for_good() {
        let mut lease = LeaseHolder::new(Term(1));
        lease.requested(1, 0);
        lease.hand_back();
        assert!(!lease.granted(Term(1), 1, 500));
        lease.requested(2, 0);
        assert!(!lease.granted(Term(1), 2, 500));
        assert!(!lease.valid_at(0));
    }
}
