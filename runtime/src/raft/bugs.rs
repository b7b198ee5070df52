//! Bugs planted on purpose, so that the simulation can show that it finds them. Outside of tests every one of them is
//! `false` at compile time.

/// One rule each, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// Leadership is confirmed without asking a quorum.
    ConfirmWithoutQuorum,
    /// A vote is given before it is on the disk.
    VoteNotDurable,
    /// Entries are acknowledged before they are on the disk.
    AppendNotDurable,
    /// A commit that failed is taken for done.
    FailedSyncForgotten,
    /// A leader that starts again goes on to lead without an election.
    LeadershipResumed,
    /// A voter stands for election without asking whether anybody would vote for it.
    StandsUnasked,
    /// A leader that no majority answers goes on to keep others from voting.
    LeaderNeverSilent,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in this thread, or takes it away.
#[cfg(test)]
pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}

#[cfg(test)]
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

#[cfg(not(test))]
#[inline(always)]
pub(super) const fn planted(_: Bug) -> bool {
    false
}
