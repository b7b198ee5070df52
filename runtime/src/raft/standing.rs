//! When a voter stands for election, and when a leader says nothing.
//!
//! openraft 0.9 has neither the pre-vote nor the check of the leader's quorum of Ongaro's thesis ("Consensus: bridging
//! theory and practice", 9.6 and 6.2). A voter that is cut off would stand again and again, each time in a higher term, and
//! once it is back depose a leader that all others follow. And a leader whom only a few hear would keep those few from
//! voting for another, for ever.
//!
//! So openraft's own elections are forbidden until a majority has said that it would vote: who hears from a leader does not,
//! nor a leader that a majority hears, nor who has a longer log. That only ever delays an election, and asking begins before
//! openraft's time-outs are over. A leader that no majority has answered for longer than any lease falls silent for as long
//! as an election takes, and tries again.
//!
//! Owner: one task per voter ([`run`]); it ends with the voter. What it learns is shared with [`Consensus`]'s handler of
//! requests through [`Standing`].
//!
//! [`Consensus`]: super::Consensus

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use openraft::{AsyncRuntime, Instant, ServerState};
use parking_lot::Mutex;

use super::Role;
use super::bugs::{Bug, planted};
use super::consensus::Inner;
use super::rpc::{Answer, Request, decode, encode};
use super::transport::RaftTransport;
use super::types::{LogId, RaftApp, VoterId};

/// Looks at the state of things in the longest election time-out.
const LOOKS: u32 = 4;

/// In longest election time-outs: a leader that no majority has answered for this long falls silent. By then no lease is
/// left that it gave.
const DEAF: u32 = 4;
/// In the same: for how long it says nothing, which is long enough for another to be elected.
const SILENT: u32 = 4;
/// In the same: for how long it tries again before it is silent once more.
const SPEAKS: u32 = 2;

/// What a voter's task and its handler of requests share.
pub(super) struct Standing<I> {
    /// When something came last from a leader that this voter follows.
    heard: Mutex<Option<I>>,
    /// This voter leads and says nothing, because no majority answers.
    silent: Arc<AtomicBool>,
}

impl<I> Default for Standing<I> {
    fn default() -> Self {
        Self { heard: Mutex::new(None), silent: Arc::default() }
    }
}

impl<I: Instant> Standing<I> {
    /// A leader said something that this voter took.
    pub(super) fn heard(&self) {
        *self.heard.lock() = Some(I::now());
    }

    /// Whether a leader was heard within this time.
    fn hears(&self, within: Duration) -> bool {
        self.heard.lock().is_some_and(|at| I::now() - at <= within)
    }

    /// For the network, which sends nothing of a silent leader.
    pub(super) fn silent(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.silent)
    }

    /// Whether this voter leads without a majority, and is silent.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }
}

impl<A: RaftApp> Inner<A> {
    /// Whether this voter would vote for one whose log ends with `last`.
    pub(super) fn would_vote(&self, last: Option<LogId>) -> bool {
        if self.status.borrow().role == Role::Stopped {
            return false;
        }
        let longest = self.config.longest_election();
        let data = self.raft.data_metrics();
        let data = data.borrow();
        // Only a leader has such a time.
        let quorum_ms = data.millis_since_quorum_ack;
        let leads = quorum_ms.is_some_and(|ms| Duration::from_millis(ms) <= longest * 2);
        !leads && !self.standing.hears(longest) && last >= data.last_log
    }
}

type Time<A> = <<A as RaftApp>::Runtime as AsyncRuntime>::Instant;

/// Answers of the others: when each was asked last, since the task began, and whether it would vote.
type Known = Arc<Mutex<BTreeMap<VoterId, (Duration, bool)>>>;

/// Whether a majority of each of the sets of voters (two while they are being changed) is for it.
fn may_stand(configs: &[BTreeSet<VoterId>], is_for: impl Fn(VoterId) -> bool) -> bool {
    let majority =
        |config: &BTreeSet<VoterId>| config.iter().filter(|id| is_for(**id)).count() * 2 > config.len();
    !configs.is_empty() && configs.iter().all(majority)
}

/// A leader's silence. Times are those since the task began.
#[derive(Default)]
struct Silence {
    leads_since: Option<Duration>,
    deaf_since: Option<Duration>,
}

impl Silence {
    /// Whether to say nothing now; `quorum_age`: since when the newest request was sent that a majority answered.
    fn now(&mut self, now: Duration, quorum_age: Option<Duration>, longest: Duration) -> bool {
        let leads_since = *self.leads_since.get_or_insert(now);
        let deaf = quorum_age.unwrap_or(now.saturating_sub(leads_since)) > longest * DEAF;
        if !deaf {
            self.deaf_since = None;
            return false;
        }
        if self.deaf_since.is_none() {
            tracing::warn!(
                "no majority of the voters answers their leader: it is silent for a while, so that another can be elected"
            );
        }
        let since = now.saturating_sub(*self.deaf_since.get_or_insert(now));
        let round = (longest * (SILENT + SPEAKS)).as_millis().max(1);
        since.as_millis() % round < (longest * SILENT).as_millis()
    }
}

/// Looks until the voter is gone.
pub(super) async fn run<A: RaftApp>(voter: Weak<Inner<A>>, transport: Arc<dyn RaftTransport>) {
    let mut watch = Watch {
        began: Time::<A>::now(),
        transport,
        known: Known::default(),
        silence: Silence::default(),
        voter,
    };
    while let Some(pause) = watch.look() {
        A::Runtime::sleep(pause).await;
    }
}

struct Watch<A: RaftApp> {
    voter: Weak<Inner<A>>,
    transport: Arc<dyn RaftTransport>,
    known: Known,
    silence: Silence,
    began: Time<A>,
}

impl<A: RaftApp> Watch<A> {
    /// One look; the pause to the next. `None`: the voter is gone.
    fn look(&mut self) -> Option<Duration> {
        let voter = self.voter.upgrade()?;
        let longest = voter.config.longest_election();
        let (state, quorum_ms) = {
            let metrics = voter.raft.metrics();
            let metrics = metrics.borrow();
            metrics.running_state.as_ref().ok()?;
            (metrics.state, metrics.millis_since_quorum_ack)
        };
        let now = Time::<A>::now() - self.began;
        if state == ServerState::Leader {
            voter.raft.runtime_config().elect(false);
            let silent = self.silence.now(now, quorum_ms.map(Duration::from_millis), longest);
            let silent = silent && !planted(Bug::LeaderNeverSilent);
            voter.standing.silent.store(silent, Ordering::Relaxed);
        } else {
            self.silence = Silence::default();
            voter.standing.silent.store(false, Ordering::Relaxed);
            self.ask(&voter, now, longest);
        }
        Some(longest / LOOKS)
    }

    /// Of a voter that does not lead: when nothing comes from a leader, asks the others whether they would vote.
    fn ask(&self, voter: &Arc<Inner<A>>, now: Duration, longest: Duration) {
        let elections = voter.raft.runtime_config();
        if voter.standing.hears(longest / 2) {
            self.known.lock().clear();
            elections.elect(planted(Bug::StandsUnasked));
            return;
        }
        let membership = voter.raft.metrics().borrow().membership_config.membership().clone();
        let configs = Arc::new(membership.get_joint_config().clone());
        let own = voter.id;
        let may = move |known: &Known, configs: &[BTreeSet<VoterId>], now: Duration| {
            let known = known.lock();
            let would =
                |id| known.get(&id).is_some_and(|(at, would)| *would && now.saturating_sub(*at) <= longest);
            may_stand(configs, |id| id == own || would(id))
        };
        elections.elect(may(&self.known, &configs, now) || planted(Bug::StandsUnasked));
        let last = voter.raft.data_metrics().borrow().last_log;
        for id in membership.voter_ids().filter(|id| *id != own) {
            let address = membership.get_node(&id).map(|node| node.addr.clone()).unwrap_or_default();
            let (known, configs, transport) =
                (Arc::clone(&self.known), Arc::clone(&configs), Arc::clone(&self.transport));
            let voter = Weak::clone(&self.voter);
            drop(A::Runtime::spawn(async move {
                let Some(would) = ask::<A>(&*transport, id, &address, last, longest / 2).await else {
                    return;
                };
                {
                    let mut known = known.lock();
                    let entry = known.entry(id).or_insert((now, would));
                    *entry = (*entry).max((now, would));
                }
                // At once: an election that waits for the next look is late.
                if let Some(voter) = voter.upgrade().filter(|voter| !voter.standing.hears(longest / 2))
                    && may(&known, &configs, now)
                {
                    voter.raft.runtime_config().elect(true);
                }
            }));
        }
    }
}

/// Whether a voter would vote for one whose log ends with `last`; `None`: no answer in time.
async fn ask<A: RaftApp>(
    transport: &dyn RaftTransport,
    id: VoterId,
    address: &str,
    last: Option<LogId>,
    limit: Duration,
) -> Option<bool> {
    let request = encode(&Request::<A>::Standing(last)).ok()?;
    let answer = transport.call(id, address, request, limit).await.ok()?;
    match decode(&answer).ok()? {
        Answer::Standing(would) => Some(would),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_each_set_of_voters_is_needed() {
        let may = |configs: &[&[VoterId]], yes: &[VoterId]| {
            let configs: Vec<BTreeSet<VoterId>> =
                configs.iter().map(|config| config.iter().copied().collect()).collect();
            may_stand(&configs, |id| yes.contains(&id))
        };
        assert!(may(&[&[1]], &[1]), "alone");
        assert!(!may(&[&[1, 2, 3]], &[1]), "cut off");
        assert!(may(&[&[1, 2, 3]], &[1, 3]));
        assert!(!may(&[&[1, 2, 3, 4]], &[1, 3]), "half is no majority");
        assert!(!may(&[&[1, 2, 3, 4, 5]], &[1, 3]));
        assert!(may(&[&[1, 2, 3], &[1, 2, 4]], &[1, 2]), "two of each, of four together");
        assert!(!may(&[&[1, 2, 3], &[1, 4, 5]], &[1, 2, 3]), "not of the new ones");
        assert!(!may(&[], &[1]), "no voters yet");
    }

    #[test]
    fn a_leader_without_a_majority_is_silent_and_tries_again() {
        let ms = Duration::from_millis;
        let mut silence = Silence::default();
        let mut at = |now, age: Option<u64>| silence.now(ms(now), age.map(ms), ms(150));
        assert!(!at(0, None) && !at(600, None), "it has just been elected");
        assert!(at(601, None) && at(1_200, None));
        assert!(!at(1_201, None) && !at(1_500, None), "it tries again");
        assert!(at(1_501, None));
        assert!(!at(1_600, Some(600)), "a majority answers");
        assert!(at(1_700, Some(601)));
        assert!(!at(9_000, Some(0)));
    }
}
