//! How fresh the data of a replica is, for reads that it may answer within a bound.
//!
//! Written by `torc-repl` alone, after what it speaks of has been applied; read by the workers for each such read.

use std::sync::atomic::{AtomicU64, Ordering};

use torc_protocol::context::{Position, ReplicaRead};

/// Why a replica does not answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFresh {
    /// Nobody can say that its data is fresh enough.
    Stale,
    /// It does not have what the reader wrote.
    Behind,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Fresh {
    /// Everything that was executed before this moment (CLOCK_BOOTTIME of this machine, ns) is held; 0: nothing is known,
    /// or what is held is not whole.
    as_of_ns: AtomicU64,
    /// Term of the last record held.
    term: AtomicU64,
    /// Its offset.
    offset: AtomicU64,
}

impl Fresh {
    /// Nothing is known any more.
    pub fn forget(&self) {
        self.as_of_ns.store(0, Ordering::SeqCst);
        self.holds(0, 0);
    }

    /// The last record that has been applied. While the term changes the offset is 0: who reads between the stores sees
    /// less than is held, never more.
    pub fn holds(&self, term: u64, offset: u64) {
        if self.term.load(Ordering::SeqCst) != term {
            self.offset.store(0, Ordering::SeqCst);
            self.term.store(term, Ordering::SeqCst);
        }
        self.offset.store(offset, Ordering::SeqCst);
    }

    /// Everything that was executed before `as_of_ns` has been applied; 0: nothing new is known.
    pub fn proved(&self, as_of_ns: u64) {
        if as_of_ns != 0 {
            self.as_of_ns.store(as_of_ns, Ordering::SeqCst);
        }
    }

    /// The moment of [`Fresh::proved`]; 0: there is none.
    pub fn as_of_ns(&self) -> u64 {
        self.as_of_ns.load(Ordering::SeqCst)
    }

    /// The last record held.
    fn position(&self) -> Position {
        let term = self.term.load(Ordering::SeqCst);
        let offset = self.offset.load(Ordering::SeqCst);
        // An offset of another term than was read: nothing is known for the moment.
        if self.term.load(Ordering::SeqCst) == term { Position { term, offset } } else { Position::default() }
    }

    /// Whether a read within `limits` may be answered at `now_ns`.
    ///
    /// A record of a later term than the reader's write is enough: its primary had the write, or has lost it for good.
    ///
    /// # Errors
    /// What is missing.
    pub fn check(&self, limits: &ReplicaRead, now_ns: u64) -> Result<(), NotFresh> {
        let as_of_ns = self.as_of_ns();
        let bound_ns = u64::from(limits.max_staleness_ms) * 1_000_000;
        if as_of_ns == 0 || now_ns.saturating_sub(as_of_ns) > bound_ns {
            return Err(NotFresh::Stale);
        }
        match limits.after {
            Some(after) if self.position() < after => Err(NotFresh::Behind),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn read(max_staleness_ms: u32, after: Option<(u64, u64)>) -> ReplicaRead {
        ReplicaRead { max_staleness_ms, after: after.map(|(term, offset)| Position { term, offset }) }
    }

    #[test]
    fn a_replica_answers_within_the_bound_only() {
        let fresh = Fresh::default();
        assert_eq!(fresh.check(&read(1_000, None), MS), Err(NotFresh::Stale), "nothing is known");
        fresh.proved(1_000 * MS);
        assert_eq!(fresh.check(&read(50, None), 1_050 * MS), Ok(()));
        assert_eq!(fresh.check(&read(50, None), 1_051 * MS), Err(NotFresh::Stale));
        fresh.proved(0);
        assert_eq!(fresh.as_of_ns(), 1_000 * MS);
        fresh.forget();
        assert_eq!(fresh.check(&read(u32::MAX, None), 1_000 * MS), Err(NotFresh::Stale));
    }

    #[test]
    fn who_wrote_sees_it() {
        let fresh = Fresh::default();
        fresh.proved(MS);
        fresh.holds(3, 10);
        let after = |term, offset| fresh.check(&read(1, Some((term, offset))), MS);
        assert_eq!((after(3, 10), after(2, 99)), (Ok(()), Ok(())));
        assert_eq!((after(3, 11), after(4, 1)), (Err(NotFresh::Behind), Err(NotFresh::Behind)));
        fresh.holds(4, 11);
        assert_eq!(fresh.check(&read(1, Some((4, 11))), MS), Ok(()));
    }
}
