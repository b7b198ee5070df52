//! Nodes of one cluster in one process, over real bus connections: they find their roles, replicate, fail over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use torc_cluster::ids::{Incarnation, Member, NodeId, ShardId};
use torc_cluster::map::Settings;
use torc_protocol::handshake::Secret;
use torc_protocol::resp::OwnedArgs;
use torc_runtime::bus::BusIdentity;
use torc_runtime::clock::{boottime_ns, unix_ms};
use torc_runtime::listen::{Address, SocketOptions, bind};
use torc_runtime::shutdown::Shutdown;
use torc_server::agent::bootstrap::{ClusterPlan, Tool};
use torc_server::agent::{AgentConfig, AgentHandle, Peers, start};
use torc_server::exec::{Batch, Executor, Now, Session};
use torc_server::node::Node;
use torc_server::replication::Bounds;
use torc_server::settings::Settings as NodeSettings;
use torc_server::shard::Role;
use torc_server::store::KeyHasher;

const PATIENCE: Duration = Duration::from_secs(60);

struct TestNode {
    handle: Option<AgentHandle>,
    node: Arc<Node>,
    shutdown: Shutdown,
    bus: String,
}

/// `TORC_TEST_LOG=info` shows what the nodes say.
fn log() {
    if let Ok(filter) = std::env::var("TORC_TEST_LOG") {
        let config = torc_runtime::logging::LogConfig { filter, ..Default::default() };
        // The other test may have been first.
        let _ = torc_runtime::logging::init(&config);
    }
}

fn secret() -> Secret {
    Secret::new(&[7; 32]).unwrap()
}

fn start_node(dir: &Path, id: u64, incarnation: u64, join: &[String]) -> TestNode {
    start_node_on(dir, id, incarnation, join, 0)
}

/// A node whose bus listens on `bus_port`: one that comes back must be where the other voters know it.
fn start_node_on(dir: &Path, id: u64, incarnation: u64, join: &[String], bus_port: u16) -> TestNode {
    let node =
        Node::new(NodeSettings::default(), 1, true, KeyHasher::new(1), unix_ms(), [0; 20], Some(secret()));
    let listener = bind(&Address::tcp("127.0.0.1", bus_port), &SocketOptions::default()).unwrap();
    let bus = format!("127.0.0.1:{}", listener.port().unwrap());
    let shutdown = Shutdown::new();
    std::fs::create_dir_all(dir).unwrap();
    let config = AgentConfig {
        cluster: "test".to_owned(),
        join: join.to_vec(),
        dir: dir.to_owned(),
        node_id: id,
        incarnation,
        host: "127.0.0.1".to_owned(),
        port: 1000 + id as u16,
        memcached_port: 0,
        http_port: 0,
        zone: String::new(),
        weight: 100,
        lease_ms: None,
        backlog: Bounds::default(),
        secret: secret(),
    };
    let handle = start(config, node.clone(), listener, shutdown.clone()).unwrap();
    TestNode { handle: Some(handle), node, shutdown, bus }
}

impl TestNode {
    fn run(&self, exec: &mut Executor, command: &[&str]) -> String {
        let mut session = Session::new(1, true);
        let mut out = Vec::new();
        let args = OwnedArgs::new(command);
        let mut batch =
            Batch::begin(&self.node, exec, Now { unix_ms: unix_ms(), boottime_ns: boottime_ns() });
        batch.run(&mut session, args.view(), &mut out);
        batch.end();
        self.node.shard.announce(0);
        String::from_utf8(out).unwrap()
    }

    fn port(&self) -> u16 {
        self.bus.rsplit(':').next().unwrap().parse().unwrap()
    }

    fn stop(&mut self) {
        self.shutdown.trigger();
        if let Some(handle) = self.handle.take() {
            handle.join();
        }
    }
}

async fn wait(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = boottime_ns() + PATIENCE.as_nanos() as u64;
    while !holds().await {
        assert!(boottime_ns() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn serving(nodes: &[TestNode]) -> Option<usize> {
    nodes.iter().position(|n| n.node.shard.role() == Role::Primary && n.node.shard.may_execute(boottime_ns()))
}

/// A cluster of one shard on three nodes, all of them voters, with a member in sync beside the primary. Also: where
/// their buses are, the tool that made it, and which node is primary.
async fn one_shard(dir: &Path) -> (Vec<TestNode>, Vec<String>, Tool, usize) {
    log();
    let mut nodes: Vec<TestNode> = Vec::new();
    for id in 1..=3u64 {
        let join: Vec<String> = nodes.iter().map(|n| n.bus.clone()).collect();
        nodes.push(start_node(&dir.join(id.to_string()), id, id * 10, &join));
    }
    let addresses: Vec<String> = nodes.iter().map(|n| n.bus.clone()).collect();
    let peers = Peers::new(BusIdentity {
        secret: secret(),
        role: torc_protocol::handshake::Role::Tool,
        name: "test".to_owned(),
    });
    // Node 1 was started without addresses to join: the tool's first call tells it nothing, the map will.
    let tool = Tool::new(peers, addresses.clone(), PATIENCE);
    let plan = ClusterPlan {
        name: "test".to_owned(),
        shards: 1,
        replicas: 1,
        settings: Settings::default(),
        voters: Some(3),
    };
    let map = tool.init(&plan).await.unwrap();
    assert_eq!(map.shards.len(), 1);
    wait("a primary", async || serving(&nodes).is_some()).await;
    let primary = serving(&nodes).unwrap();
    wait("an in-sync replica", async || nodes[primary].node.shard.in_sync_enough()).await;
    (nodes, addresses, tool, primary)
}

#[tokio::test]
async fn a_shard_replicates_and_fails_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, addresses, tool, primary) = one_shard(dir.path()).await;

    let mut exec = Executor::new(&nodes[primary].node, 0, 1);
    for i in 0..500 {
        assert_eq!(nodes[primary].run(&mut exec, &["SET", &format!("key:{i}"), &i.to_string()]), "+OK\r\n");
    }
    let last = nodes[primary].node.shard.last_offset();
    assert_eq!(last, 500);
    wait("the mark to follow", async || nodes[primary].node.shard.mark() >= last).await;
    let replica = nodes.iter().position(|n| n.node.shard.role() == Role::Replica).unwrap();
    assert_eq!(nodes[replica].node.store.len(0), 500);
    assert!(
        nodes[replica]
            .run(&mut Executor::new(&nodes[replica].node, 0, 1), &["GET", "key:1"])
            .starts_with("-MOVED")
    );

    // INFO says the same, as of the last heartbeat.
    let port = 1001 + replica;
    let wanted = format!("slave0:ip=127.0.0.1,port={port},state=online,offset=500,lag=0\r\n");
    wait("INFO of the primary", async || {
        let info = nodes[primary].run(&mut exec, &["INFO", "replication"]);
        info.contains("role:master\r\nconnected_slaves:1\r\n") && info.contains(&wanted)
    })
    .await;
    let info = nodes[primary].run(&mut exec, &["INFO", "replication"]);
    assert!(info.contains("repl_backlog_size:67108864\r\nrepl_backlog_first_byte_offset:1\r\n"), "{info}");
    assert!(!info.contains("repl_backlog_histlen:0\r\n"), "{info}");
    let mut on_replica = Executor::new(&nodes[replica].node, 0, 1);
    wait("INFO of the replica", async || {
        let info = nodes[replica].run(&mut on_replica, &["INFO", "replication"]);
        info.contains(
            "master_link_status:up\r\nmaster_last_io_seconds_ago:0\r\nmaster_sync_in_progress:0\r\n",
        ) && info.contains("slave_repl_offset:500\r\n")
    })
    .await;

    // The primary goes without a word; the other takes over and has everything.
    let old_term = nodes[primary].node.shard.term();
    nodes[primary].stop();
    wait("a failover", async || {
        nodes[replica].node.shard.role() == Role::Primary
            && nodes[replica].node.shard.may_execute(boottime_ns())
    })
    .await;
    assert!(nodes[replica].node.shard.term() > old_term);
    let mut exec = Executor::new(&nodes[replica].node, 0, 1);
    assert_eq!(nodes[replica].run(&mut exec, &["GET", "key:499"]), "$3\r\n499\r\n");
    assert_eq!(nodes[replica].run(&mut exec, &["SET", "after", "1"]), "+OK\r\n");
    assert!(!nodes[replica].node.shard.in_sync_enough(), "one member is below min_in_sync");
    wait("INFO without replicas", async || {
        nodes[replica]
            .run(&mut exec, &["INFO", "replication"])
            .contains("role:master\r\nconnected_slaves:0\r\n")
    })
    .await;

    // The old one comes back with nothing, and becomes a replica with everything.
    let id = primary as u64 + 1;
    let others: Vec<String> = addresses.iter().filter(|a| **a != nodes[primary].bus).cloned().collect();
    nodes[primary] =
        start_node_on(&dir.path().join(id.to_string()), id, id * 10 + 1, &others, nodes[primary].port());
    wait("the node to come back", async || {
        nodes[primary].node.shard.role() == Role::Replica && nodes[primary].node.store.len(0) == 501
    })
    .await;
    wait("it to be in sync", async || nodes[replica].node.shard.in_sync_enough()).await;
    let status = tool.status().await.unwrap();
    let shard = status.map.shard(ShardId(0)).or_else(|| status.map.shards.values().next()).unwrap();
    assert_eq!(shard.primary.map(|m| m.node), Some(NodeId(replica as u64 + 1)));
    assert_eq!(shard.failovers, 1);
    for node in &mut nodes {
        node.stop();
    }
}

#[tokio::test]
async fn locks_and_registers_survive_a_failover_and_a_full_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, addresses, _, primary) = one_shard(dir.path()).await;
    let mut exec = Executor::new(&nodes[primary].node, 0, 1);
    let got = nodes[primary].run(&mut exec, &["LOCK.ACQUIRE", "job", "TTL", "50000", "OWNER", "me"]);
    let token: u64 = got.lines().nth(1).unwrap()[1..].parse().unwrap();
    assert_eq!(
        nodes[primary].run(&mut exec, &["FENCE", "job", &token.to_string(), "SET", "data", "1"]),
        "+OK\r\n"
    );
    // A replica that has been away gets locks and registers in its full sync.
    let replica = nodes.iter().position(|n| n.node.shard.role() == Role::Replica).unwrap();
    let id = replica as u64 + 1;
    nodes[replica].stop();
    let others: Vec<String> = addresses.iter().filter(|a| **a != nodes[replica].bus).cloned().collect();
    nodes[replica] =
        start_node_on(&dir.path().join(id.to_string()), id, id * 10 + 1, &others, nodes[replica].port());
    // Not just any member in the set: the one that was there before may still stand in it.
    let again = Member::new(NodeId(id), Incarnation(id * 10 + 1));
    wait("the replica to be in sync again", async || {
        let view = nodes[primary].node.shard.view();
        let in_set = |v: &torc_server::shard::View| v.map.shards.values().any(|s| s.in_sync.contains(&again));
        nodes[replica].node.store.len(0) == 1 && (**view).as_ref().is_some_and(in_set)
    })
    .await;
    nodes[primary].stop();
    wait("a failover", async || {
        nodes[replica].node.shard.role() == Role::Primary
            && nodes[replica].node.shard.may_execute(boottime_ns())
    })
    .await;
    // Locks need the in-sync set; the old primary's node comes back for that.
    let id = primary as u64 + 1;
    let others: Vec<String> = addresses.iter().filter(|a| **a != nodes[primary].bus).cloned().collect();
    nodes[primary] =
        start_node_on(&dir.path().join(id.to_string()), id, id * 10 + 1, &others, nodes[primary].port());
    wait("a second member", async || nodes[replica].node.shard.in_sync_enough()).await;
    let mut exec = Executor::new(&nodes[replica].node, 0, 1);
    assert_eq!(
        nodes[replica].run(&mut exec, &["LOCK.ACQUIRE", "job", "TTL", "1000"]),
        "*-1\r\n",
        "still held"
    );
    let below = (token - 1).to_string();
    assert!(
        nodes[replica].run(&mut exec, &["FENCE", "job", &below, "SET", "data", "2"]).starts_with("-FENCED")
    );
    assert_eq!(
        nodes[replica].run(&mut exec, &["LOCK.RELEASE", "job", &token.to_string(), "OWNER", "me"]),
        ":1\r\n"
    );
    let again = nodes[replica].run(&mut exec, &["LOCK.ACQUIRE", "job", "TTL", "1000"]);
    let higher: u64 = again.lines().nth(1).unwrap()[1..].parse().unwrap();
    assert!(higher > token);
    for node in &mut nodes {
        node.stop();
    }
}
