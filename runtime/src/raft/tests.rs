//! Voters in one process over real loopback connections.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use torc_protocol::handshake::Secret;

use super::store::fallible::fallible_disk;
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
    type Runtime = TokioRuntime;

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

async fn start(dir: &Path, id: VoterId, config: ConsensusConfig, listener: Listener) -> Voter {
    let identity = BusIdentity::node(Secret::new(b"0123456789abcdef").unwrap(), id, 1);
    let transport = Arc::new(BusTransport::new(identity.clone()));
    let consensus = Consensus::<Register>::open(dir, id, config, transport).await.unwrap();
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
        Self::with_config(size, config()).await
    }

    async fn with_config(size: u64, config: ConsensusConfig) -> Self {
        let listeners: Vec<Listener> = (0..size).map(|_| listener(0)).collect();
        let ports: Vec<u16> = listeners.iter().map(|listener| listener.port().unwrap()).collect();
        let dirs: Vec<TempDir> = (0..size).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut voters = BTreeMap::new();
        for (id, listener) in (1..).zip(listeners) {
            voters.insert(id, start(dirs[id as usize - 1].path(), id, config.clone(), listener).await);
        }
        Self { dirs, ports, voters }
    }

    fn address(&self, id: VoterId) -> String {
        format!("127.0.0.1:{}", self.ports[id as usize - 1])
    }

    async fn restart(&mut self, id: VoterId) {
        let at = id as usize - 1;
        let voter = start(self.dirs[at].path(), id, config(), listener(self.ports[at])).await;
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

/// Its log may hold entries that it acknowledged and does not know to be committed: it must be elected again.
#[tokio::test]
async fn a_leader_that_starts_again_is_no_leader() {
    let mut group = Group::new(3).await;
    group.init(&[1, 2, 3]).await;
    group.set(0, 10).await;
    let leader = group.leader().await;
    let (id, term) = (leader.id(), leader.leader().borrow().term);
    for id in 1..=3 {
        group.voters.remove(&id).unwrap().stop().await;
    }

    group.restart(id).await;
    let alone = &group.voters[&id].consensus;
    assert!(matches!(alone.confirm_leadership().await, Err(ConfirmError::NotLeader { .. })));
    // Nor does it stand: there is nobody who could vote for it.
    tokio::time::sleep(3 * config().longest_election()).await;
    let status = alone.status().borrow().clone();
    assert_eq!((status.role, status.leadership.is_self), (Role::Follower, false));
    assert_eq!(status.leadership.term, term);

    group.restart(id % 3 + 1).await;
    group.set(10, 20).await;
    assert!(group.leader().await.leader().borrow().term > term);
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

fn transport(id: VoterId) -> Arc<BusTransport> {
    Arc::new(BusTransport::new(BusIdentity::node(Secret::new(b"0123456789abcdef").unwrap(), id, 1)))
}

#[tokio::test]
async fn a_full_disk_ends_the_voter() {
    let broken = Arc::new(AtomicBool::new(false));
    let (disk, contents) = fallible_disk(1, Arc::clone(&broken)).await;
    let path = PathBuf::from("in-memory.redb");
    let started = Consensus::<Register>::start(path, 1, config(), transport(1), disk, contents).await;
    let consensus = started.unwrap();
    consensus.init(BTreeMap::from([(1, "127.0.0.1:1".to_owned())])).await.unwrap();
    let mut leader = consensus.leader();
    tokio::time::timeout(WAIT, leader.wait_for(|leader| leader.is_self)).await.unwrap().unwrap();
    consensus.propose(Set { expected: 0, value: 1 }).await.unwrap().unwrap();

    broken.store(true, Ordering::SeqCst);
    match consensus.propose(Set { expected: 1, value: 2 }).await {
        Err(ProposeError::Stopped(reason)) => assert!(reason.contains("in-memory.redb"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let reason = tokio::time::timeout(WAIT, consensus.failed()).await.unwrap();
    assert!(reason.contains("storage of in-memory.redb failed"), "{reason}");
    assert_eq!(consensus.state().value, 1);
    assert_eq!(consensus.status().borrow().role, Role::Stopped);
    assert!(!consensus.leader().borrow().is_self);
    // It stays down although the disk works again.
    broken.store(false, Ordering::SeqCst);
    assert!(matches!(consensus.confirm_leadership().await, Err(ConfirmError::Stopped(_))));
    assert!(consensus.propose(Set { expected: 1, value: 3 }).await.is_err());
    consensus.shutdown().await;
}

#[tokio::test]
async fn the_map_survives_snapshot_and_restart() {
    use torc_cluster::map::{ClusterMap, MapCommand, MapReply, NodeInfo, Settings};
    use torc_cluster::{Incarnation, NodeId};

    async fn open(dir: &Path) -> Consensus<ClusterMap> {
        let consensus = Consensus::open(dir, 1, config(), transport(1)).await.unwrap();
        if !consensus.is_initialised().await {
            consensus.init(BTreeMap::from([(1, "127.0.0.1:1".to_owned())])).await.unwrap();
        }
        let mut leader = consensus.leader();
        tokio::time::timeout(WAIT, leader.wait_for(|leader| leader.is_self)).await.unwrap().unwrap();
        consensus
    }

    let dir = tempfile::tempdir().unwrap();
    let consensus = open(dir.path()).await;
    let store: &dyn MapStore = &consensus;
    for id in 1..=4 {
        let info = NodeInfo {
            id: NodeId(id),
            incarnation: Incarnation(1 << 52),
            host: "127.0.0.1".to_owned(),
            port: 7000 + id as u16,
            bus_port: 17000 + id as u16,
            weight: 1,
            ..NodeInfo::default()
        };
        let reply = store.propose(MapCommand::RegisterNode { info }).await.unwrap();
        assert!(!matches!(reply, MapReply::Refused(_)), "{reply:?}");
    }
    let name = "test".to_owned();
    let settings = Settings::default();
    let init = MapCommand::InitCluster { name, shards: 2, replicas: 1, settings };
    let reply = store.propose(init).await.unwrap();
    assert!(!matches!(reply, MapReply::Refused(_)), "{reply:?}");
    store.confirm().await.unwrap();
    let map = ClusterMap::clone(&store.watch().borrow());
    assert_eq!(map.shards.len(), 2);

    consensus.snapshot_now().await.unwrap();
    let mut status = consensus.status();
    let taken = status.wait_for(|status| status.snapshot.is_some());
    tokio::time::timeout(WAIT, taken).await.unwrap().unwrap();
    consensus.shutdown().await;

    let consensus = open(dir.path()).await;
    consensus.confirm_leadership().await.unwrap();
    assert_eq!(*consensus.state(), map);
    consensus.shutdown().await;
}

/// Prints how long things take with the default timings: `just raft-timings`. Asserts nothing, because that depends on the machine.
#[tokio::test]
#[ignore = "measures, and asserts nothing: just raft-timings"]
async fn timings_of_three_voters() {
    use crate::clock::boottime_ns;
    fn show(what: &str, mut times_ns: Vec<u64>) {
        times_ns.sort_unstable();
        let ms = |at: usize| times_ns[at.min(times_ns.len() - 1)] as f64 / 1e6;
        let (half, most) = (times_ns.len() / 2, times_ns.len() * 99 / 100);
        println!(
            "{what}: median {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            ms(half),
            ms(most),
            ms(usize::MAX)
        );
    }

    let mut failovers = Vec::new();
    for round in 0..5 {
        let mut group = Group::with_config(3, ConsensusConfig::default()).await;
        group.init(&[1, 2, 3]).await;
        let leader = group.leader().await;
        if round == 0 {
            let (mut proposals, mut confirmations) = (Vec::new(), Vec::new());
            for value in 0..300 {
                let started = boottime_ns();
                let _ = leader.propose(Set { expected: value, value: value + 1 }).await;
                proposals.push(boottime_ns() - started);
                let started = boottime_ns();
                let _ = leader.confirm_leadership().await;
                confirmations.push(boottime_ns() - started);
            }
            show("propose", proposals);
            show("confirm", confirmations);
            let commits = leader.commit_latency();
            let ms = |q: f64| commits.quantile_ns(q) as f64 / 1e6;
            println!("disk commit: median {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99));
        }
        let id = leader.id();
        let voter = group.voters.remove(&id).unwrap();
        let started = boottime_ns();
        voter.serving.abort();
        voter.shutdown.trigger();
        voter.consensus.shutdown().await;
        group.leader().await;
        failovers.push(boottime_ns() - started);
        for (_, voter) in group.voters {
            voter.stop().await;
        }
    }
    show("failover (leader stopped to next one confirmed)", failovers);
}
