//! The handle to consensus.
//!
//! Must be opened inside a tokio runtime: openraft's tasks run there (in a node: on
//! `torc-agent`). Clones share one voter. Two small tasks follow it: one turns openraft's
//! metrics into [`ConsensusStatus`] and [`Leadership`], the other says when to stand for election
//! and when to be silent ([`super::standing`]); both end with the voter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{CheckIsLeaderError, ClientWriteError, ForwardToLeader, InitializeError, RaftError};
use openraft::raft::AppendEntriesResponse;
use openraft::{AsyncRuntime, BasicNode, ChangeMembers, Snapshot};
use tokio::sync::watch;

use super::bugs::{Bug, planted};
use super::config::ConsensusConfig;
use super::error::{ConfirmError, InitError, MembershipError, OpenError, ProposeError, RpcError};
use super::network::PeerNetworks;
use super::rpc::{Answer, Request, decode, encode};
use super::standing::{self, Standing};
use super::status::{ConsensusStatus, Leadership, Peer};
use super::store::{CONTROL_FILE, Contents, Disk, LogStore, StateMachine, StoreError};
use super::transport::RaftTransport;
use super::types::{Raft, RaftApp, VoterId};

/// Largest command, as JSON: many of them must fit one append request.
const COMMAND_BYTES: usize = 512 * 1024;
/// How long a change of voters may take: a new one receives the state first.
const MEMBERSHIP_TIME: Duration = Duration::from_secs(30);

/// One voter (or learner) of the group that agrees on an `A`.
pub struct Consensus<A: RaftApp> {
    inner: Arc<Inner<A>>,
}

impl<A: RaftApp> Clone for Consensus<A> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

pub(super) struct Inner<A: RaftApp> {
    pub(super) id: VoterId,
    pub(super) raft: Raft<A>,
    pub(super) config: ConsensusConfig,
    disk: Disk,
    state: watch::Receiver<Arc<A>>,
    pub(super) status: watch::Receiver<ConsensusStatus>,
    leadership: watch::Receiver<Leadership>,
    pub(super) standing: Standing<<A::Runtime as AsyncRuntime>::Instant>,
}

impl<A: RaftApp> Consensus<A> {
    /// Starts the voter `id` from the folder `dir` (which must exist), or as a new one that waits
    /// for [`Self::init`] or for a leader to add it.
    pub async fn open(
        dir: &Path,
        id: VoterId,
        config: ConsensusConfig,
        transport: Arc<dyn RaftTransport>,
    ) -> Result<Self, OpenError> {
        let path = dir.join(CONTROL_FILE);
        let (disk, contents) = Disk::open(path.clone(), id).await?;
        Self::start(path, id, config, transport, disk, contents).await
    }

    /// Starts the voter on a disk that is open already.
    pub(super) async fn start(
        path: PathBuf,
        id: VoterId,
        config: ConsensusConfig,
        transport: Arc<dyn RaftTransport>,
        disk: Disk,
        contents: Contents,
    ) -> Result<Self, OpenError> {
        let settings = config.to_openraft(id)?;
        let corrupt = |what| OpenError::Store(StoreError::Corrupt { path: path.clone(), what });
        let log = LogStore::<A>::new(disk.clone(), &contents).map_err(corrupt)?;
        log.resign(id);
        let (published, state) = watch::channel(Arc::new(A::default()));
        let machine = StateMachine::new(disk.clone(), &contents, published).map_err(corrupt)?;
        let standing = Standing::default();
        let networks =
            PeerNetworks { own_id: id, transport: Arc::clone(&transport), silent: standing.silent() };
        let raft = Raft::<A>::new(id, settings, networks, log, machine)
            .await
            .map_err(|fatal| OpenError::Start(fatal.to_string()))?;
        let (status, leadership) = follow(&raft, &disk);
        let inner = Arc::new(Inner { id, raft, config, disk, state, status, leadership, standing });
        drop(A::Runtime::spawn(standing::run(Arc::downgrade(&inner), transport)));
        Ok(Self { inner })
    }

    /// This voter's node id.
    pub fn id(&self) -> VoterId {
        self.inner.id
    }

    /// Sets the first voters (node id and bus address), this node among them. Done once in the
    /// life of a cluster, on one node; the same on several is harmless.
    pub async fn init(&self, voters: BTreeMap<VoterId, String>) -> Result<(), InitError> {
        let voters: BTreeMap<VoterId, BasicNode> =
            voters.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        self.inner.raft.initialize(voters).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => InitError::AlreadyInitialised,
            RaftError::APIError(InitializeError::NotInMembers(_)) => InitError::NotAVoter,
            RaftError::Fatal(fatal) => InitError::Stopped(self.reason(&fatal)),
        })
    }

    /// Whether this voter has a log, so that [`Self::init`] would be refused.
    pub async fn is_initialised(&self) -> bool {
        self.inner.raft.is_initialized().await.unwrap_or(false)
    }

    /// Has a command agreed on, and answers what [`RaftApp::apply`] gave on this voter.
    pub async fn propose(&self, command: A::Command) -> Result<A::Reply, ProposeError> {
        let bytes = serde_json::to_vec(&command).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit_bytes: COMMAND_BYTES });
        }
        if self.inner.standing.is_silent() {
            return Err(ProposeError::NotLeader { leader: None });
        }
        let waited_ms = self.inner.config.propose_timeout_ms;
        let write = self.inner.raft.client_write(command);
        match A::Runtime::timeout(self.inner.config.propose_timeout(), write).await {
            Err(_) => Err(ProposeError::Timeout { waited_ms }),
            Ok(Ok(response)) => response
                .data
                .ok_or_else(|| ProposeError::Stopped("a command was applied without a reply".to_owned())),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(ProposeError::NotLeader { leader: peer(forward) })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ProposeError::Stopped(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ProposeError::Stopped(self.reason(&fatal))),
        }
    }

    /// Returns once a quorum has confirmed, **after this call began**, that this voter leads, and
    /// once everything committed before the call is applied here. What the leader decided from
    /// facts it had before the call is then safe to answer.
    pub async fn confirm_leadership(&self) -> Result<(), ConfirmError> {
        if planted(Bug::ConfirmWithoutQuorum) && self.inner.leadership.borrow().is_self {
            return Ok(());
        }
        if self.inner.standing.is_silent() {
            return Err(ConfirmError::NoQuorum("no majority of the voters answers".to_owned()));
        }
        let confirm = self.inner.raft.ensure_linearizable();
        match A::Runtime::timeout(self.inner.config.confirm_timeout(), confirm).await {
            Err(_) => Err(ConfirmError::NoQuorum("no answer in time".to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(forward)))) => {
                Err(ConfirmError::NotLeader { leader: peer(forward) })
            }
            Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(error)))) => {
                Err(ConfirmError::NoQuorum(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ConfirmError::Stopped(self.reason(&fatal))),
        }
    }

    /// The state as last applied on this voter. A follower's may be old.
    pub fn state(&self) -> Arc<A> {
        Arc::clone(&self.inner.state.borrow())
    }

    /// Each version of the state as it is applied here (versions may be skipped).
    pub fn watch(&self) -> watch::Receiver<Arc<A>> {
        self.inner.state.clone()
    }

    /// Who leads; changes only when the term or the leader does.
    pub fn leader(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Whether this voter leads by its own account and says nothing, because no majority answers it: nothing is proposed
    /// or confirmed meanwhile.
    pub fn is_silent(&self) -> bool {
        self.inner.standing.is_silent()
    }

    /// Everything about this voter; changes often.
    pub fn status(&self) -> watch::Receiver<ConsensusStatus> {
        self.inner.status.clone()
    }

    /// Returns the reason once this voter has stopped by itself, because its storage failed. The
    /// process should then end: a voter that cannot write must not pretend to be one.
    pub async fn failed(&self) -> String {
        let mut status = self.inner.status.clone();
        loop {
            if let Some(failure) = &status.borrow_and_update().failure {
                return failure.clone();
            }
            if status.changed().await.is_err() {
                // Shut down in good order: there will be no failure.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Answers a request that a peer's [`RaftTransport`] sent.
    pub async fn handle_rpc(&self, request: &[u8]) -> Result<Bytes, RpcError> {
        let raft = &self.inner.raft;
        let answer = match decode::<Request<A>>(request)? {
            Request::Append(request) => {
                // Here already: a disk that is slow is no leader that is silent.
                if request.vote.is_committed() && request.vote >= raft.metrics().borrow().vote {
                    self.inner.standing.heard();
                }
                let appended = raft.append_entries(request).await;
                if !matches!(appended, Err(_) | Ok(AppendEntriesResponse::HigherVote(_))) {
                    self.inner.standing.heard();
                }
                Answer::Append(appended)
            }
            Request::Vote(request) => Answer::Vote(raft.vote(request).await),
            Request::Snapshot(request) => {
                let snapshot = Box::new(request.state.into_bytes());
                let snapshot = Snapshot { meta: request.meta, snapshot };
                let installed = raft.install_full_snapshot(request.vote, snapshot).await;
                if installed.as_ref().is_ok_and(|installed| installed.vote == request.vote) {
                    self.inner.standing.heard();
                }
                Answer::Snapshot(installed.map_err(RaftError::Fatal))
            }
            Request::Standing(last) => Answer::Standing(self.inner.would_vote(last)),
        };
        encode(&answer)
    }

    /// Adds a node that receives the log without a vote, and waits until it has caught up.
    pub async fn add_learner(&self, id: VoterId, address: String) -> Result<(), MembershipError> {
        self.change(self.inner.raft.add_learner(id, BasicNode::new(address), true)).await
    }

    /// Makes exactly these nodes the voters; new ones must be learners already. Voters that are
    /// left out leave the group.
    pub async fn change_membership(&self, voters: BTreeSet<VoterId>) -> Result<(), MembershipError> {
        self.change(self.inner.raft.change_membership(voters, false)).await
    }

    /// Changes the bus address of a member.
    pub async fn set_address(&self, id: VoterId, address: String) -> Result<(), MembershipError> {
        let nodes = BTreeMap::from([(id, BasicNode::new(address))]);
        self.change(self.inner.raft.change_membership(ChangeMembers::SetNodes(nodes), true)).await
    }

    async fn change<T>(
        &self,
        change: impl Future<Output = Result<T, RaftError<VoterId, ClientWriteError<VoterId, BasicNode>>>> + Send,
    ) -> Result<(), MembershipError> {
        if self.inner.standing.is_silent() {
            return Err(MembershipError::NotLeader { leader: None });
        }
        match A::Runtime::timeout(MEMBERSHIP_TIME, change).await {
            Err(_) => Err(MembershipError::Timeout { waited_ms: MEMBERSHIP_TIME.as_millis() as u64 }),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(MembershipError::NotLeader { leader: peer(forward) })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(MembershipError::Refused(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(MembershipError::Stopped(self.reason(&fatal))),
        }
    }

    /// The sets of voters of which each must agree by majority: two while they are being changed.
    #[cfg(test)]
    pub(super) fn voter_sets(&self) -> Vec<BTreeSet<VoterId>> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_joint_config().clone()
    }

    /// Takes a snapshot now.
    pub async fn snapshot_now(&self) -> Result<(), ProposeError> {
        let triggered = self.inner.raft.trigger().snapshot().await;
        triggered.map_err(|fatal| ProposeError::Stopped(self.reason(&fatal)))
    }

    /// Commit times of the disk.
    pub fn commit_latency(&self) -> crate::metrics::HistogramSnapshot {
        self.inner.disk.commit_latency()
    }

    /// Stops the voter; returns once its file is closed.
    pub async fn shutdown(&self) {
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "the consensus task ended badly");
        }
        self.inner.disk.close().await;
    }

    /// Why consensus has stopped; a storage error is more telling than what it led to.
    fn reason(&self, fatal: &openraft::error::Fatal<VoterId>) -> String {
        let failure = self.inner.disk.failure().borrow().as_ref().map(ToString::to_string);
        failure.unwrap_or_else(|| fatal.to_string())
    }
}

fn peer(forward: ForwardToLeader<VoterId, BasicNode>) -> Option<Peer> {
    let id = forward.leader_id?;
    Some(Peer { id, address: forward.leader_node.map(|node| node.addr).unwrap_or_default() })
}

/// Follows openraft's metrics and the disk's failure, as our own types.
fn follow<A: RaftApp>(
    raft: &Raft<A>,
    disk: &Disk,
) -> (watch::Receiver<ConsensusStatus>, watch::Receiver<Leadership>) {
    let (mut metrics, mut failures) = (raft.metrics(), disk.failure());
    let first = ConsensusStatus::from_openraft(&metrics.borrow_and_update());
    let (leaderships, leadership) = watch::channel(first.leadership.clone());
    let (statuses, status) = watch::channel(first);
    // Nobody waits for it: it ends with the voter.
    drop(A::Runtime::spawn(async move {
        let mut stopped = false;
        while !stopped {
            tokio::select! {
                biased;
                changed = metrics.changed() => stopped = changed.is_err(),
                changed = failures.changed() => stopped = changed.is_err(),
            }
            let mut next = ConsensusStatus::from_openraft(&metrics.borrow_and_update());
            if let Some(failure) = failures.borrow_and_update().as_ref() {
                next.failure = Some(failure.to_string());
            }
            if stopped || next.failure.is_some() {
                next.role = super::Role::Stopped;
                next.leadership.is_self = false;
            }
            leaderships.send_if_modified(|last| {
                let changed = *last != next.leadership;
                last.clone_from(&next.leadership);
                changed
            });
            statuses.send_if_modified(|last| {
                let changed = *last != next;
                *last = next;
                changed
            });
        }
    }));
    (status, leadership)
}
