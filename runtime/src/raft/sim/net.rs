//! The network between voters, and who listens where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::AsyncRuntime;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::super::rpc::{Answer, Request, decode};
use super::super::{BoxFuture, Consensus, RaftTransport, TransportError, VoterId};
use super::check::Check;
use super::executor::{Host, MS, NET, chance, now, range, sleep_ns, spawn_on};
use super::journal::Journal;
use super::runtime::SimRuntime;

/// What may happen to messages, and what did.
#[derive(Default)]
pub(super) struct Links {
    /// Cut links, one way each, with how many cuts they are part of.
    pub(super) cut: BTreeMap<(Host, Host), u32>,
    pub(super) delay_us: u64,
    pub(super) loss_permille: u64,
    pub(super) repeat_permille: u64,
    pub(super) slow_permille: u64,
    pub(super) slow_ms: u64,
    /// A frame arrives cut short.
    pub(super) tear_permille: u64,
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) slow: u64,
    pub(super) torn: u64,
}

impl Links {
    pub(super) fn cut(&mut self, links: &[(Host, Host)]) {
        links.iter().for_each(|link| *self.cut.entry(*link).or_default() += 1);
    }

    pub(super) fn uncut(&mut self, links: &[(Host, Host)]) {
        for link in links {
            if let Some(cuts) = self.cut.get_mut(link) {
                *cuts -= 1;
                if *cuts == 0 {
                    self.cut.remove(link);
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.loss_permille = 0;
        self.repeat_permille = 0;
        self.slow_permille = 0;
        self.tear_permille = 0;
    }

    /// How long a message takes; `None`: for ever.
    fn delay_ns(&mut self, from: Host, to: Host) -> Option<u64> {
        self.sent += 1;
        if self.cut.contains_key(&(from, to)) || chance(self.loss_permille) {
            self.lost += 1;
            return None;
        }
        let mut delay = range(50, self.delay_us.max(51)) * 1_000;
        if chance(self.slow_permille) {
            self.slow += 1;
            delay += range(0, self.slow_ms * MS);
        }
        Some(delay)
    }
}

/// Shared by the driver and all transports.
#[derive(Clone)]
pub(super) struct Net {
    pub(super) links: Arc<Mutex<Links>>,
    /// Who listens on each host.
    pub(super) voters: Arc<Mutex<BTreeMap<Host, Consensus<Journal>>>>,
    pub(super) check: Arc<Mutex<Check>>,
}

impl Net {
    pub(super) fn voter(&self, host: Host) -> Option<Consensus<Journal>> {
        self.voters.lock().get(&host).cloned()
    }

    /// A request is there; its answer goes back to `answer`.
    fn deliver(
        &self,
        from: Host,
        to: Host,
        target: VoterId,
        request: Bytes,
        answer: Option<oneshot::Sender<Bytes>>,
    ) {
        // Another life of the host is another voter: the handshake would have told.
        let Some(voter) = self.voter(to).filter(|voter| voter.id() == target) else { return };
        let net = self.clone();
        spawn_on(to, async move {
            let Ok(reply) = voter.handle_rpc(&request).await else { return };
            net.votes(target, &request, &reply);
            if taken(&request, &reply) {
                net.check.lock().hearing.heard(target, now());
            }
            let delay = net.links.lock().delay_ns(to, from);
            spawn_on(NET, async move {
                match delay {
                    Some(delay) => {
                        sleep_ns(delay).await;
                        if let Some(answer) = answer {
                            let _ = answer.send(reply);
                        }
                    }
                    None => hold(answer).await,
                }
            });
        });
    }

    /// Tells the checker that a voter asks for votes.
    fn stands(&self, host: Host, request: &Bytes) {
        if !request.starts_with(b"{\"Vote\"") {
            return;
        }
        if let (Some(voter), Ok(Request::Vote(asked))) =
            (self.voter(host), decode::<Request<Journal>>(request))
        {
            let term = asked.vote.leader_id().term;
            self.check.lock().stands(voter.id(), term, &voter.voter_sets(), now());
        }
    }

    /// Tells the checker of a vote.
    fn votes(&self, voter: VoterId, request: &Bytes, reply: &Bytes) {
        if !request.starts_with(b"{\"Vote\"") {
            return;
        }
        if let (Ok(Request::Vote(asked)), Ok(Answer::Vote(Ok(answer)))) =
            (decode::<Request<Journal>>(request), decode::<Answer>(reply))
            && answer.vote_granted
        {
            let leader = asked.vote.leader_id();
            self.check.lock().voted(voter, leader.term, leader.node_id);
        }
    }
}

/// Whether a voter took what its leader said.
fn taken(request: &Bytes, reply: &Bytes) -> bool {
    request.starts_with(b"{\"Append\"")
        && reply.starts_with(b"{\"Append\":{\"Ok\"")
        && !reply.windows(10).any(|window| window == b"HigherVote")
}

/// Keeps an answer's place open: who waits runs into its time-out.
async fn hold(answer: Option<oneshot::Sender<Bytes>>) {
    sleep_ns(60_000 * MS).await;
    drop(answer);
}

/// The transport of the voter on one host.
pub(super) struct SimTransport {
    pub(super) host: Host,
    pub(super) net: Net,
}

impl RaftTransport for SimTransport {
    fn call(
        &self,
        target: VoterId,
        address: &str,
        request: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Bytes, TransportError>> {
        let to: Option<Host> = address.parse().ok();
        Box::pin(async move {
            let Some(to) = to else { return Err(TransportError::Unreachable("no such host".to_owned())) };
            let (answer, wait) = oneshot::channel();
            let (net, from) = (self.net.clone(), self.host);
            let (sent, asked) = (now(), request.clone());
            net.stands(from, &request);
            let (delay, again, torn) = {
                let mut links = net.links.lock();
                let delay = links.delay_ns(from, to);
                let again = chance(links.repeat_permille).then(|| links.delay_ns(from, to)).flatten();
                links.repeated += u64::from(again.is_some());
                let torn = chance(links.tear_permille);
                links.torn += u64::from(torn);
                (delay, again, torn)
            };
            let request =
                if torn { request.slice(..range(0, request.len() as u64) as usize) } else { request };
            if let Some(again) = again {
                let (net, request) = (net.clone(), request.clone());
                spawn_on(NET, async move {
                    sleep_ns(again).await;
                    net.deliver(from, to, target, request, None);
                });
            }
            spawn_on(NET, async move {
                match delay {
                    Some(delay) => {
                        sleep_ns(delay).await;
                        net.deliver(from, to, target, request, Some(answer));
                    }
                    None => hold(Some(answer)).await,
                }
            });
            match SimRuntime::timeout(timeout, wait).await {
                Ok(Ok(bytes)) => {
                    if taken(&asked, &bytes)
                        && let Some(leader) = self.net.voter(self.host)
                    {
                        let (id, configs) = (leader.id(), leader.voter_sets());
                        self.net.check.lock().hearing.answered(id, target, sent, &configs, now());
                    }
                    Ok(bytes)
                }
                Ok(Err(_)) => Err(TransportError::Unreachable("the connection broke".to_owned())),
                Err(_) => Err(TransportError::Timeout(timeout)),
            }
        })
    }
}
