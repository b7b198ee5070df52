//! What is asked of the voters: proposals, confirmations, and other voters for a wiped one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::AsyncRuntime;
use tokio::sync::oneshot;

use super::super::{Consensus, InitError, ProposeError, VoterId};
use super::executor::{Host, MS, NET, chance, range, sleep_ns, spawn_on};
use super::journal::Journal;
use super::runtime::SimRuntime;
use super::world::Shared;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

impl Shared {
    /// Does something at a voter, as a process there would; `None`: it died, or took too long.
    async fn at<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        host: Host,
        patience: Duration,
        work: impl FnOnce(Consensus<Journal>) -> F,
    ) -> Option<T> {
        let voter = self.net.voter(host)?;
        let (done, wait) = oneshot::channel();
        let work = work(voter);
        spawn_on(host, async move {
            let _ = done.send(work.await);
        });
        SimRuntime::timeout(patience, wait).await.ok()?.ok()
    }

    fn hosts(&self) -> Vec<Host> {
        self.net.voters.lock().keys().copied().collect()
    }

    /// Makes the first voters one group.
    pub(super) fn init(&self, ids: BTreeMap<Host, VoterId>) {
        let shared = self.clone();
        spawn_on(NET, async move {
            let voters: BTreeMap<VoterId, String> =
                ids.iter().map(|(host, id)| (*id, host.to_string())).collect();
            loop {
                let voters = voters.clone();
                let done = shared.at(1, PATIENCE, |voter| async move { voter.init(voters).await }).await;
                if matches!(done, Some(Ok(()) | Err(InitError::AlreadyInitialised))) {
                    return;
                }
                sleep_ns(50 * MS).await;
            }
        });
    }

    /// A client: one thing at a time, at whoever it takes for the leader.
    pub(super) fn client(&self, client: u64) {
        let shared = self.clone();
        spawn_on(NET, async move {
            let mut number = client * 1_000_000;
            let mut guess: Option<Host> = None;
            while *shared.working.lock() {
                sleep_ns(range(5 * MS, 150 * MS)).await;
                let hosts = shared.hosts();
                if hosts.is_empty() {
                    continue;
                }
                let any = hosts[range(0, hosts.len() as u64) as usize];
                let host = guess.filter(|host| hosts.contains(host) && !chance(100)).unwrap_or(any);
                *shared.operations.lock() += 1;
                if chance(350) {
                    guess = shared.confirm(host).await.then_some(host);
                } else {
                    number += 1;
                    guess = shared.propose(host, number).await;
                }
            }
        });
    }

    /// Whom to ask next.
    async fn propose(&self, host: Host, number: u64) -> Option<Host> {
        let answer = self.at(host, PATIENCE, move |voter| async move { voter.propose(number).await }).await;
        let mut check = self.net.check.lock();
        match answer {
            Some(Ok(place)) => {
                check.acknowledged(number, place);
                Some(host)
            }
            Some(Err(ProposeError::NotLeader { leader })) => {
                check.refused += 1;
                leader.and_then(|leader| leader.address.parse().ok())
            }
            _ => {
                check.uncertain += 1;
                None
            }
        }
    }

    async fn confirm(&self, host: Host) -> bool {
        let newest = self.net.check.lock().newest();
        let answer = self.at(host, PATIENCE, |voter| async move {
            let confirmed = voter.confirm_leadership().await.is_ok();
            (confirmed, voter.id(), voter.state().0.len() as u64)
        });
        match answer.await {
            Some((true, voter, applied)) => {
                self.net.check.lock().confirmed(voter, newest, applied);
                true
            }
            _ => {
                self.net.check.lock().refused += 1;
                false
            }
        }
    }

    /// Another voter for one whose disk is gone, as an operator does it; again until it is done.
    pub(super) fn replace(&self, old: VoterId, new: VoterId, host: Host) {
        let shared = self.clone();
        *shared.changing.lock() = true;
        spawn_on(NET, async move {
            loop {
                sleep_ns(200 * MS).await;
                for at in shared.hosts() {
                    let done = shared
                        .at(at, Duration::from_secs(5), move |voter| replace(voter, old, new, host))
                        .await;
                    if done == Some(true) {
                        *shared.changing.lock() = false;
                        *shared.memberships.lock() += 1;
                        return;
                    }
                }
            }
        });
    }

    /// Follows a voter while it lives: what it holds, whether it leads, whether its disk failed.
    pub(super) fn watch(&self, host: Host, voter: Consensus<Journal>) {
        let (check, id) = (self.net.check.clone(), voter.id());
        let (mut states, mut leaders) = (voter.watch(), voter.leader());
        spawn_on(host, async move {
            loop {
                let state = states.borrow_and_update().clone();
                check.lock().state(id, &state.0);
                if states.changed().await.is_err() {
                    return;
                }
            }
        });
        let check = self.net.check.clone();
        spawn_on(host, async move {
            loop {
                let leadership = leaders.borrow_and_update().clone();
                if leadership.is_self {
                    check.lock().leads(id, leadership.term);
                }
                if leaders.changed().await.is_err() {
                    return;
                }
            }
        });
        let failed = self.failed.clone();
        spawn_on(host, async move {
            voter.failed().await;
            failed.lock().push(host);
        });
    }
}

/// At a leader: the new one learns, then takes the old one's place. `true`: it has.
async fn replace(leader: Consensus<Journal>, old: VoterId, new: VoterId, host: Host) -> bool {
    let status = leader.status().borrow().clone();
    let mut voters: BTreeSet<VoterId> = status.voters.keys().copied().collect();
    if voters.contains(&new) && !voters.contains(&old) {
        // An earlier attempt whose outcome was not heard; the leader's word counts.
        return leader.confirm_leadership().await.is_ok();
    }
    if !status.leadership.is_self || leader.add_learner(new, host.to_string()).await.is_err() {
        return false;
    }
    voters.remove(&old);
    voters.insert(new);
    leader.change_membership(voters).await.is_ok()
}
