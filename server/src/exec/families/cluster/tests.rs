//! What a node tells cluster-aware clients of the map.

use std::sync::Arc;

use torc_cluster::ids::{Epoch, Incarnation, Member, NodeId, ShardId, Term};
use torc_cluster::map::{ClusterMap, NodeInfo, ShardState};
use torc_protocol::context::{Context, ReplicaRead};
use torc_protocol::slot::SLOTS;

use crate::exec::testing::Harness;
use crate::shard::{Role, View};

fn info(id: u64, host: &str) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        incarnation: Incarnation(1),
        host: host.to_owned(),
        port: 7000 + id as u16,
        memcached_port: 0,
        bus_port: 17000 + id as u16,
        http_port: 0,
        zone: String::new(),
        weight: 100,
        control_voter: false,
    }
}

/// Two shards: the first with a primary (this node) and a replica in its set, the second without a primary.
fn cluster() -> Harness {
    let t = Harness::primary();
    let member = |id| Member::new(NodeId(id), Incarnation(1));
    let mut map = ClusterMap { epoch: Epoch(9), cluster_name: "c".into(), ..ClusterMap::default() };
    for (id, host) in [(1, "127.0.0.1"), (2, "127.0.0.1"), (3, "node-three")] {
        map.nodes.insert(NodeId(id), info(id, host));
    }
    let first = ShardState {
        id: ShardId(1),
        members: vec![NodeId(1), NodeId(2)],
        term: Term(1),
        primary: Some(member(1)),
        in_sync: [member(1), member(2)].into(),
        ..ShardState::default()
    };
    let second = ShardState { id: ShardId(2), members: vec![NodeId(3)], ..ShardState::default() };
    map.shards = [(ShardId(1), first), (ShardId(2), second)].into();
    for slot in 0..SLOTS {
        map.slots.set(slot, if slot < 16_000 { ShardId(1) } else { ShardId(2) });
    }
    t.node.shard.set_view(View::new(Arc::new(map), member(1), Some(ShardId(1))));
    t
}

#[test]
fn a_plain_store_has_no_cluster() {
    let mut t = Harness::new();
    for command in ["CLUSTER INFO", "CLUSTER KEYSLOT k", "READONLY", "READWRITE", "ASKING", "CLUSTER HELP"] {
        assert_eq!(t.run(command), "-ERR This instance has cluster support disabled\r\n", "{command}");
    }
}

#[test]
fn slots_name_primary_and_replicas() {
    let mut t = cluster();
    let (one, two) = (format!("{:040x}", 1), format!("{:040x}", 2));
    assert_eq!(
        t.run("CLUSTER SLOTS"),
        format!(
            "*1\r\n*4\r\n:0\r\n:15999\r\n*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$40\r\n{one}\r\n*0\r\n\
             *4\r\n$9\r\n127.0.0.1\r\n:7002\r\n$40\r\n{two}\r\n*0\r\n"
        )
    );
    t.expect(&[
        ("CLUSTER KEYSLOT foo", ":12182\r\n"),
        ("CLUSTER MYID", &format!("$40\r\n{one}\r\n")),
        ("CLUSTER LINKS", "*0\r\n"),
        ("READONLY", "+OK\r\n"),
        ("READWRITE", "+OK\r\n"),
        ("ASKING", "+OK\r\n"),
    ]);
}

#[test]
fn nodes_and_info_are_lines() {
    let mut t = cluster();
    let [one, two, three] = [1, 2, 3].map(|id| format!("{id:040x}"));
    let lines = t.run("CLUSTER NODES");
    assert!(lines.ends_with(&format!(
        "{one} 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-15999\n\
         {two} 127.0.0.1:7002@17002 slave {one} 0 0 1 connected\n\
         {three} node-three:7003@17003,node-three master - 0 0 0 connected\n\r\n"
    )));
    let lines = t.run("CLUSTER INFO");
    for wanted in [
        "cluster_state:fail",
        "cluster_slots_assigned:16384",
        "cluster_slots_ok:16000",
        "cluster_known_nodes:3",
        "cluster_size:1",
        "cluster_current_epoch:9",
    ] {
        assert!(lines.contains(wanted), "{wanted} is not in {lines}");
    }
}

#[test]
fn shards_list_everybody() {
    let mut t = cluster();
    t.resp3();
    let reply = t.run("CLUSTER SHARDS");
    assert!(
        reply.starts_with("*2\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:15999\r\n$5\r\nnodes\r\n*2\r\n%7\r\n")
    );
    assert!(reply.contains("$8\r\nhostname\r\n$10\r\nnode-three\r\n"));
    assert!(reply.contains("$6\r\nhealth\r\n$7\r\nloading\r\n"));
}

#[test]
fn keys_of_a_slot() {
    let mut t = cluster();
    t.run("SET {foo}a 1");
    t.run("SET {foo}b 1");
    t.run("SET other 1");
    t.expect(&[
        ("CLUSTER COUNTKEYSINSLOT 12182", ":2\r\n"),
        ("CLUSTER COUNTKEYSINSLOT 16384", "-ERR Invalid slot\r\n"),
        ("CLUSTER GETKEYSINSLOT 12182 -1", "-ERR Invalid slot or number of keys\r\n"),
        ("CLUSTER GETKEYSINSLOT 12182 x", "-ERR value is not an integer or out of range\r\n"),
    ]);
    let keys = t.run("CLUSTER GETKEYSINSLOT 12182 10");
    assert!(keys.starts_with("*2\r\n") && keys.contains("{foo}a") && keys.contains("{foo}b"));
    assert!(t.run("CLUSTER GETKEYSINSLOT 12182 1").starts_with("*1\r\n"));
}

#[test]
fn a_replica_in_a_full_sync_shows_nothing() {
    let mut t = Harness::primary();
    t.run("SET k v");
    let closed = t.node.shard.gate.close();
    t.node.shard.set_role(&closed, Role::Replica, Term(1));
    drop(closed);
    t.run("READONLY");
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    for whole in [true, false, true] {
        t.node.shard.set_whole(whole);
        let of = |shown| if whole { shown } else { loading };
        t.expect(&[
            ("GET k", of("$1\r\nv\r\n")),
            ("DBSIZE", of(":1\r\n")),
            ("EVAL_RO \"return redis.call('get',KEYS[1])\" 1 k", of("$1\r\nv\r\n")),
            ("PING", "+PONG\r\n"),
        ]);
        assert!(t.run("INFO replication").contains("role:slave"));
    }
}

#[test]
fn a_replica_leaves_a_flush_that_is_due_to_its_primary() {
    let mut t = Harness::primary();
    t.run("SET k v");
    assert_eq!(t.memcached("flush_all 10\r\n"), "OK\r\n");
    let closed = t.node.shard.gate.close();
    t.node.shard.set_role(&closed, Role::Replica, Term(1));
    drop(closed);
    t.node.shard.set_whole(true);
    t.session.trusted = true;
    for (advance_ms, reply) in
        [(5_000, "$1\r\nv\r\n"), (5_000, "-TRYAGAIN only the primary can answer this read")]
    {
        t.advance(advance_ms);
        t.node.shard.fresh.proved(t.now.boottime_ns);
        let replica = Some(ReplicaRead { max_staleness_ms: 50, after: None });
        let mut context = Vec::new();
        Context { replica, resp2: true, ..Context::default() }.encode(&mut context);
        let said = t.run_args([&b"CTX"[..], &context, b"GET", b"k"]);
        assert!(said.starts_with(reply.as_bytes()), "{:?}", String::from_utf8_lossy(&said));
    }
}
