//! Bugs planted on purpose, so that the simulation can show that it finds them. Outside of tests and of the
//! feature `sim` every one of them is `false` at compile time.

/// One rule each, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Renewals are granted without asking a quorum first.
    GrantWithoutQuorum,
    /// Promotion does not wait for the old lease.
    LeaseIgnoredAtPromotion,
    /// A new controller does not wait for the leases of the one before.
    NoWaitAfterElection,
    /// The mark follows the committed set, not the union with the proposed one.
    CommittedSetOnly,
    /// The mark moves on while the set is below its minimum.
    MarkMovesBelowMinimum,
    /// Where a replica is gets compared by offset alone.
    OffsetWithoutTerm,
    /// A replica keeps a tail that is not the primary's.
    DivergentTailKept,
    /// A restarted node is taken for the one it was.
    IncarnationIgnored,
    /// A candidate reports where it is, but goes on taking records of the old term.
    ReportWithoutSeal,
    /// The high-water mark of a new primary starts at its own last offset.
    MarkStartsAtLast,
    /// A member that discards what it holds stays in the set meanwhile.
    DiscardWhileInSet,
    /// The lease is checked before a write is executed, not again before it is answered.
    LeaseCheckedOnce,
    /// A strong read is answered before what it saw is in the in-sync set.
    StrongReadNotHeld,
    /// The lease is counted from the grant's arrival.
    LeaseFromGrant,
    /// The refusal of a proposal's second copy is taken for the outcome of both.
    RefusalSettles,
    /// A controller that lost its leadership and has it again without noticing goes on as if nothing had been.
    ReignIgnored,
    /// What comes from a replica's earlier connection is taken for the newest one's: its acknowledgements and its end.
    OldStreamCounts,
    /// A member in the middle of a full sync says that it holds all of its history.
    HalfSyncCounts,
    /// A term is given out again.
    TermRepeats,
    /// A shard starts empty although members remember.
    ResetWhileRemembered,
    /// A shard starts empty although a member outside of the sets has said that it remembers.
    ResetWhileOutsiderRemembers,
    /// A replica becomes eligible without holding everything up to the mark.
    EligibleBelowMark,
    /// A replica becomes eligible at the mark that a new primary knows, below what others acknowledged before it.
    EligibleAtKnownMark,
    /// A replica becomes eligible although the mark moves.
    EligibleOverMinimum,
    /// An answer goes to whoever else waits.
    AnswerToAnother,
    /// The replies to request ids are missing from a full sync.
    RequestIdsNotSynced,
    /// The effects of a transaction are records of their own.
    HalfTransaction,
    /// A grant travels with the time at which it ends, by the primary's clock, not with what remains of it.
    LockTtlOnWallTime,
    /// A register that rises is not told to the replicas.
    FenceNotReplicated,
    /// Locks are granted at once after a shard lost its memory.
    LocksOpenAfterReset,
    /// A failover opens the locks that a loss of memory closed.
    LocksOpenAfterFailover,
    /// In a full sync records are applied to a part that came with them.
    SyncedTwice,
    /// In a resync by slots one that differs is taken for the same.
    DifferenceKept,
    /// In a resync by slots the content of one goes before the records that it holds.
    ContentAheadOfRecords,
}

#[cfg(any(test, feature = "sim"))]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or takes it away.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.with(|planted| planted.set(bug));
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.with(|planted| planted.get() == Some(bug))
    }
}

#[cfg(any(test, feature = "sim"))]
pub use switch::plant;
#[cfg(any(test, feature = "sim"))]
pub(crate) use switch::planted;

#[cfg(not(any(test, feature = "sim")))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
