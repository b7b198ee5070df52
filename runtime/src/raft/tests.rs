//! Voters in one process over real loopback connections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use torc_protocol::handshake::Secret;

use super::*;
use crate::bus::{BusIdentity, BusLimits, BusServer};
use crate::listen::{Address, Listener, SocketOptions, bind};
use crate::shutdown::Shutdown;

/// Far above what any step takes, for machines that are busy with other things.
const WAIT: Duration = Duration::from_secs(60);

/// A register with compare-and-set, and how often it was set.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Register {
    value: u64,
    sets: u64,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Set {
    expected: u64,
    value: u64,
}

impl RaftApp for Register {
    type Command = Set;
    type Reply = Result<u64, u64>;

    fn apply(&mut self, command: Set) -> Result<u64, u64> {
        if command.expected != self.value {
            return Err(self.value);
        }
        self.value = command.value;
        self.sets += 1;
        Ok(self.sets)
    }
}

struct Voter {
    consensus: Consensus<Register>,
    shutdown: Shutdown,
    serving: JoinHandle<std::io::Result<()>>,
}

fn listener(port: u16) -> Listener {
    bind(&Address::tcp("127.0.0.1", port), &SocketOptions::default()).unwrap()
}

/// Slow enough for a loaded machine, quick enough for a test.
fn config() -> ConsensusConfig {
    ConsensusConfig { snapshot_entries: 20, keep_entries: 5, ..ConsensusConfig::for_lease_ms(2000) }
}

async fn start(dir: &Path, id: VoterId, listener: Listener) -> Voter {
    let identity = BusIdentity::node(Secret::new(b"0123456789abcdef").unwrap(), id, 1);
    let transport = Arc::new(BusTransport::new(identity.clone()));
    let consensus = Consensus::<Register>::open(dir, id, config(), transport).await.unwrap();
    let server = consensus.serve_on(BusServer::new(identity, BusLimits::default()));
    let shutdown = Shutdown::new();
    let serving = tokio::spawn(server.serve(listener, shutdown.clone()));
    Voter { consensus, shutdown, serving }
}

impl Voter {
    async fn stop(self) {
        self.shutdown.trigger();
        self.serving.await.unwrap().unwrap();
        self.consensus.shutdown().await;
    }
}

struct Group {
    dirs: Vec<TempDir>,
    ports: Vec<u16>,
    voters: BTreeMap<VoterId, Voter>,
}

impl Group {
    async fn new(size: u64) -> Self {
        let listeners: Vec<Listener> = (0..size).map(|_| listener(0)).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.port().unwrap()).collect();
        let dirs: Vec<TempDir> = (0..size).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut voters = BTreeMap::new();
        for (id, listener) in (1..).zip(listeners) {
            voters.insert(id, start(dirs[id as usize - 1].path(), id, listener).await);
        }
        Self { dirs, ports, voters }
    }

    fn address(&self, id: VoterId) -> String {
        format!("127.0.0.1:{}", self.ports[id as usize - 1])
    }

    async fn restart(&mut self, id: VoterId) {
        let at = id as usize - 1;
        let voter = start(self.dirs[at].path(), id, listener(self.ports[at])).await;
        self.voters.insert(id, voter);
    }

    async fn init(&self, ids: &[VoterId]) {
        let voters = ids.iter().map(|id| (*id, self.address(*id))).collect();
        self.voters[&ids[0]].consensus.init(voters).await.unwrap();
    }

    /// The voter that has just proved that it leads.
    async fn leader(&self) -> &Consensus<Register> {
        let search = async {
            loop {
                for voter in self.voters.values() {
                    if voter.consensus.leader().borrow().is_self
                        && voter.consensus.confirm_leadership().await.is_ok()
                    {
                        return &voter.consensus;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(WAIT, search).await.expect("nobody leads")
    }

    /// Sets the register through whoever leads, whatever happens to leaders meanwhile.
    async fn set(&self, expected: u64, value: u64) {
        let work = async {
            loop {
                match self.leader().await.propose(Set { expected, value }).await {
                    Ok(Ok(_)) => return,
                    // An earlier attempt whose outcome we did not hear.
                    Ok(Err(found)) if found == value => return,
                    Ok(Err(found)) => panic!("found {found} instead of {expected}"),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(WAIT, work).await.expect("nothing is agreed on");
    }
}

async fn holds(consensus: &Consensus<Register>, value: u64) {
    let mut states = consensus.watch();
    let seen = states.wait_for(|state| state.value == value);
    tokio::time::timeout(WAIT, seen).await.expect("the state did not arrive").unwrap();
}

#[tokio::test]
async fn three_voters_elect_agree_fail_over_and_restart() {
    let mut group = Group::new(3).await;
    assert!(!group.voters[&1].consensus.is_initialised().await);
    group.init(&[1, 2, 3]).await;
    assert!(matches!(
        group.voters[&1].consensus.init(BTreeMap::from([(1, group.address(1))])).await,
        Err(InitError::AlreadyInitialised)
    ));
    group.set(0, 10).await;
    let first = group.leader().await.id();
    let term = group.leader().await.leader().borrow().term;
    for voter in group.voters.values() {
        holds(&voter.consensus, 10).await;
    }

    // A follower names the leader and does not confirm.
    let follower = group.voters.values().find(|voter| voter.consensus.id() != first).unwrap();
    match follower.consensus.propose(Set { expected: 10, value: 99 }).await {
        Err(ProposeError::NotLeader { leader: Some(leader) }) => {
            assert_eq!((leader.id, leader.address), (first, group.address(first)));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(follower.consensus.confirm_leadership().await, Err(ConfirmError::NotLeader { .. })));

    group.voters.remove(&first).unwrap().stop().await;
    group.set(10, 20).await;
    let second = group.leader().await;
    assert_ne!(second.id(), first);
    assert!(second.leader().borrow().term > term);

    group.restart(first).await;
    holds(&group.voters[&first].consensus, 20).await;

    // All at once: what was agreed on is on the disks.
    for id in 1..=3 {
        group.voters.remove(&id).unwrap().stop().await;
    }
    for id in 1..=3 {
        group.restart(id).await;
    }
    let leader = group.leader().await;
    assert_eq!(*leader.state(), Register { value: 20, sets: 2 });
    group.set(20, 30).await;
    let status = group.leader().await.status().borrow().clone();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.voters.len(), 3);

    // Without a majority nobody may say that it leads.
    let leader = group.leader().await.id();
    for id in (1..=3).filter(|id| *id != leader) {
        group.voters.remove(&id).unwrap().stop().await;
    }
    let alone = &group.voters[&leader].consensus;
    assert!(alone.confirm_leadership().await.is_err());
    assert!(alone.propose(Set { expected: 30, value: 40 }).await.is_err());
    for (_, voter) in group.voters {
        voter.stop().await;
    }
}

#[tokio::test]
async fn a_late_voter_is_brought_up_by_a_snapshot() {
    let group = Group::new(2).await;
    group.init(&[1]).await;
    for value in 0..60 {
        group.set(value, value + 1).await;
    }
    let leader = group.leader().await;
    let mut status = leader.status();
    let purged = status.wait_for(|status| status.purged.is_some());
    tokio::time::timeout(WAIT, purged).await.expect("nothing was purged").unwrap();

    leader.add_learner(2, group.address(2)).await.unwrap();
    let learner = &group.voters[&2].consensus;
    holds(learner, 60).await;
    assert!(learner.status().borrow().snapshot.is_some());
    leader.change_membership(BTreeSet::from([1, 2])).await.unwrap();
    group.set(60, 61).await;
    holds(learner, 61).await;

    let registry = prometheus::Registry::new();
    leader.register_metrics(&registry).unwrap();
    let text = crate::metrics::encode(&registry).unwrap();
    assert!(text.contains("torc_raft_leader 1") && text.contains("torc_raft_commit_seconds_count"), "{text}");
    for (_, voter) in group.voters {
        voter.stop().await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let group = Group::new(1).await;
    group.init(&[1]).await;
    let consensus = &group.voters[&1].consensus;
    for bytes in [&b""[..], b"{}", b"{\"Vote\":{}}", b"\xff\xff", b"[[[[[[[["] {
        assert!(matches!(consensus.handle_rpc(bytes).await, Err(RpcError::Malformed(_))));
    }
    group.set(0, 1).await;
    for (_, voter) in group.voters {
        voter.stop().await;
    }
}
