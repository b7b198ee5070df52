//! What consensus promises, as the simulation sees it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::VoterId;
use super::hearing::Hearing;

/// The checker of one run.
#[derive(Default)]
pub(super) struct Check {
    violation: Option<String>,
    /// What stands at each place: the same on every voter, for ever.
    journal: Vec<u64>,
    /// How far each voter's journal was compared.
    seen: BTreeMap<VoterId, usize>,
    /// Acknowledged: the command, and its place.
    acknowledged: BTreeMap<u64, u64>,
    /// The last acknowledged place.
    newest: u64,
    leaders: BTreeSet<(u64, VoterId)>,
    /// The highest vote that each voter gave: openraft orders them by term and candidate, so there may be several
    /// in one term, each above the last.
    votes: BTreeMap<VoterId, (u64, VoterId)>,
    pub(super) hearing: Hearing,
    pub(super) confirmed: u64,
    pub(super) refused: u64,
    pub(super) uncertain: u64,
}

impl Check {
    pub(super) fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub(super) fn violation(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    pub(super) fn acknowledgements(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    pub(super) fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// A voter's votes never fall, whatever it went through in between.
    pub(super) fn voted(&mut self, voter: VoterId, term: u64, candidate: VoterId) {
        let highest = self.votes.entry(voter).or_default();
        let before = *highest;
        *highest = before.max((term, candidate));
        self.demand((term, candidate) >= before, || {
            format!("voter {voter} voted for {candidate} in term {term} after {before:?}")
        });
    }

    /// A voter asks for votes, and knows these sets of voters.
    pub(super) fn stands(&mut self, voter: VoterId, term: u64, configs: &[BTreeSet<VoterId>], now: u64) {
        let may = self.hearing.stands(voter, term, configs, now);
        self.demand(may, || {
            format!("voter {voter} stands in term {term}, although too many of {configs:?} hear a leader")
        });
    }

    pub(super) fn leads(&mut self, voter: VoterId, term: u64) {
        self.leaders.insert((term, voter));
    }

    /// A voter's state: what was agreed on, or a beginning of it.
    pub(super) fn state(&mut self, voter: VoterId, journal: &[u64]) {
        let from = self.seen.get(&voter).copied().unwrap_or(0).min(journal.len());
        for (place, found) in journal.iter().copied().enumerate().skip(from) {
            match self.journal.get(place).copied() {
                None => self.journal.push(found),
                Some(known) => self.demand(known == found, || {
                    format!("voter {voter} has {found} in place {place}, others {known}")
                }),
            }
        }
        self.seen.insert(voter, journal.len());
    }

    /// A voter starts with what its disk has, which may be less than it had applied.
    pub(super) fn restarted(&mut self, voter: VoterId) {
        self.seen.remove(&voter);
        self.hearing.restarted(voter);
    }

    pub(super) fn acknowledged(&mut self, command: u64, place: u64) {
        self.acknowledged.insert(command, place);
        self.newest = self.newest.max(place);
        let found = self.journal.get(place as usize - 1).copied();
        self.demand(found.is_none_or(|found| found == command), || {
            format!("command {command} was acknowledged in place {place}, where {found:?} is")
        });
    }

    /// The last place that was acknowledged until now.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// A voter that had its leadership confirmed has applied what was acknowledged before it asked.
    pub(super) fn confirmed(&mut self, voter: VoterId, newest: u64, applied: u64) {
        self.confirmed += 1;
        self.demand(applied >= newest, || {
            format!(
                "voter {voter} was confirmed as leader at place {applied}, after {newest} was acknowledged"
            )
        });
    }

    /// After the heal: everybody has everything.
    pub(super) fn end(&mut self, states: &[(VoterId, Vec<u64>)]) {
        let distinct: BTreeSet<u64> = self.journal.iter().copied().collect();
        let (all, once) = (self.journal.len(), distinct.len());
        self.demand(all == once, || format!("{} commands were applied twice", all - once));
        for (command, place) in self.acknowledged.clone() {
            let found = self.journal.get(place as usize - 1).copied();
            self.demand(found == Some(command), || {
                format!("command {command} was acknowledged in place {place}, where {found:?} is")
            });
        }
        for (voter, state) in states {
            self.demand(state.len() == all, || {
                format!("voter {voter} has {} of {all} commands after the heal", state.len())
            });
        }
    }
}
