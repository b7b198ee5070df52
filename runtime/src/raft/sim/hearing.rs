//! Who hears a leader: no voter may stand for election while those who do leave it no majority.

use std::collections::{BTreeMap, BTreeSet};

use super::super::VoterId;
use super::executor::MS;

/// Pauses that do not break a streak (true ns): shorter than a voter listens, by the slowest clock.
const PAUSE_NS: u64 = 100 * MS;
/// Streaks that count (true ns): longer than a voter goes by an answer, by the slowest clock.
const STREAK_NS: u64 = 500 * MS;

/// A time in which something happened again and again.
#[derive(Clone, Copy)]
struct Streak {
    since: u64,
    last: u64,
}

#[derive(Default)]
pub(super) struct Hearing {
    /// Followers that took something from a leader.
    heard: BTreeMap<VoterId, Streak>,
    /// Leaders that a majority answered.
    led: BTreeMap<VoterId, Streak>,
    /// When a leader sent the newest request that another voter has answered.
    answered: BTreeMap<VoterId, BTreeMap<VoterId, u64>>,
    /// Voters that slept lately, until when they may go by what they knew before.
    slept: BTreeMap<VoterId, u64>,
    stood: BTreeSet<(u64, VoterId)>,
}

fn touch(streaks: &mut BTreeMap<VoterId, Streak>, voter: VoterId, now: u64) {
    let streak = streaks.entry(voter).or_insert(Streak { since: now, last: now });
    if now > streak.last + PAUSE_NS {
        streak.since = now;
    }
    streak.last = now;
}

fn goes_on(streaks: &BTreeMap<VoterId, Streak>, voter: VoterId, now: u64) -> bool {
    let long = |streak: &Streak| streak.since + STREAK_NS <= now && now <= streak.last + PAUSE_NS;
    streaks.get(&voter).is_some_and(long)
}

/// Whether these are a majority of each set of voters.
fn majority(configs: &[BTreeSet<VoterId>], is_one: impl Fn(VoterId) -> bool) -> bool {
    configs.iter().all(|config| config.iter().filter(|id| is_one(**id)).count() * 2 > config.len())
}

impl Hearing {
    pub(super) fn heard(&mut self, voter: VoterId, now: u64) {
        touch(&mut self.heard, voter, now);
    }

    /// A leader got an answer to what it had sent then.
    pub(super) fn answered(
        &mut self,
        leader: VoterId,
        by: VoterId,
        sent: u64,
        configs: &[BTreeSet<VoterId>],
        now: u64,
    ) {
        let answered = self.answered.entry(leader).or_default();
        let newest = answered.entry(by).or_default();
        *newest = sent.max(*newest);
        let lately = |id: VoterId| id == leader || answered.get(&id).is_some_and(|at| now <= at + PAUSE_NS);
        if majority(configs, lately) {
            touch(&mut self.led, leader, now);
        } else {
            self.led.remove(&leader);
        }
    }

    /// How many stood, each term's counted by itself.
    pub(super) fn candidacies(&self) -> u64 {
        self.stood.len() as u64
    }

    /// Its memory is gone.
    pub(super) fn restarted(&mut self, voter: VoterId) {
        self.heard.remove(&voter);
        self.led.remove(&voter);
        self.answered.remove(&voter);
    }

    pub(super) fn slept(&mut self, voter: VoterId, until: u64) {
        self.slept.insert(voter, until + STREAK_NS);
    }

    /// A voter asks for votes in a term. Whether it may: somebody could have told it so.
    pub(super) fn stands(
        &mut self,
        voter: VoterId,
        term: u64,
        configs: &[BTreeSet<VoterId>],
        now: u64,
    ) -> bool {
        let again = !self.stood.insert((term, voter));
        if again || self.slept.get(&voter).is_some_and(|until| now < *until) {
            return true;
        }
        let free = |id| id == voter || !(goes_on(&self.heard, id, now) || goes_on(&self.led, id, now));
        majority(configs, free)
    }
}
