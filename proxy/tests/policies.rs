//! Requests over keys with different policies: each key is read as its own policy says, and what one shard does at once goes
//! by the strictest of them. By both protocols.

mod common;

use std::sync::Arc;

use common::node::{Act, FakeNode};
use common::{World, key_on, secret, with_replicas};
use torc_cluster::map::Policy;
use torc_protocol::context::{Ack, ReadFrom, ReadLevel};
use torc_protocol::error;
use torc_proxy::ProxyConfig;

const SHARDS: usize = 2;

fn config() -> ProxyConfig {
    let policy = |prefix: &str| Policy { prefix: prefix.into(), ..Policy::default() };
    ProxyConfig {
        policy: vec![
            Policy { read_from: Some(ReadFrom::Replica), ..policy("page:") },
            Policy { read_from: Some(ReadFrom::Replica), max_staleness_ms: Some(60_000), ..policy("old:") },
            Policy { ack: Some(Ack::InSync), ..policy("lock:") },
            Policy { ack: Some(Ack::None), ..policy("fast:") },
            Policy { read: Some(ReadLevel::Strong), ..policy("sure:") },
        ],
        ..ProxyConfig::default()
    }
}

/// A world whose shards have a primary and a replica.
async fn world() -> (World, Vec<[FakeNode; 2]>) {
    let mut world = World::new(SHARDS, config()).await;
    let mut nodes = Vec::new();
    for node in &world.nodes {
        nodes.push([node.clone(), FakeNode::start(Some(secret())).await]);
    }
    world.epoch += 1;
    let map = with_replicas(world.epoch, &nodes);
    world.maps.send_replace(Arc::new(map));
    let mut client = world.client().await;
    let page = key_on(0, SHARDS, "page:");
    while !client.ask(&format!("PROXY EXPLAIN GET {page}")).await.contains("this client's turn") {
        tokio::task::yield_now().await;
    }
    (world, nodes)
}

/// The requests that began with this word, in the order of their texts.
fn seen(node: &FakeNode, name: &str) -> Vec<String> {
    let all = node.seen().into_iter().filter(|seen| seen.args[0] == name);
    let mut all: Vec<String> = all.map(|seen| seen.args.join(" ")).collect();
    all.sort();
    all
}

fn sorted<const N: usize>(mut lines: [String; N]) -> [String; N] {
    lines.sort();
    lines
}

#[tokio::test]
async fn each_key_is_read_as_its_own_policy_says() {
    let (world, nodes) = world().await;
    let mut client = world.client().await;
    let key = |shard, salt: &str| key_on(shard, SHARDS, salt);
    let (a, page, old, sure) = (key(0, "a"), key(0, "page:"), key(0, "old:"), key(0, "sure:"));
    let (b, page_b) = (key(1, "b"), key(1, "page:"));
    for (key, nodes) in
        [(&a, 0), (&page, 0), (&old, 0), (&sure, 0), (&b, 1), (&page_b, 1)].map(|(key, at)| (key, &nodes[at]))
    {
        nodes.iter().for_each(|node| node.set(key, &format!("v{key}")));
    }
    let keys = [&page, &a, &page_b, &old, &b, &sure, &a, &page];
    let line = keys.map(|key| key.as_str()).join(" ");
    let reply = client.ask(&format!("MGET {line}")).await;
    let values: String = keys.iter().map(|key| format!("${}\r\nv{key}\r\n", key.len() + 1)).collect();
    assert_eq!(reply, format!("*8\r\n{values}"));
    let [primary, replica] = &nodes[0];
    assert_eq!(seen(replica, "MGET"), sorted([format!("MGET {page} {page}"), format!("MGET {old}")]));
    assert_eq!(seen(primary, "MGET"), sorted([format!("MGET {a} {a}"), format!("MGET {sure}")]));
    assert_eq!(seen(&nodes[1][1], "MGET"), [format!("MGET {page_b}")]);
    assert_eq!(seen(&nodes[1][0], "MGET"), [format!("MGET {b}")]);
    // Keys of one policy stay one request.
    let at = common::shard_of("{t}", SHARDS);
    client.ask("MGET page:{t}1 page:{t}2").await;
    assert_eq!(nodes[at][1].count("MGET page:{t}1 page:{t}2"), 1);
    // EXPLAIN says what sending does.
    let explained = client.ask(&format!("PROXY EXPLAIN MGET {page} {a} {b}")).await;
    assert!(explained.contains("split over 2 shards and by their policies into 3 parts"), "{explained}");
    world.end().await;
}

#[tokio::test]
async fn what_is_written_at_once_goes_by_the_strictest_policy() {
    let (world, nodes) = world().await;
    let mut client = world.client().await;
    // Of one slot: a transaction may have all of them.
    let (fast, plain, lock) = ("fast:{t}", "{t}", "lock:{t}");
    let [node, replica] = &nodes[common::shard_of(plain, SHARDS)];
    let ack = |name: &str| node.seen().iter().rev().find(|seen| seen.args[0] == name).map(|seen| seen.ack);
    client.ask(&format!("DEL {fast}")).await;
    assert_eq!(ack("DEL"), Some(Some(Ack::None)));
    client.ask(&format!("DEL {fast} {plain}")).await;
    assert_eq!(ack("DEL"), Some(None));
    client.ask(&format!("MSET {fast} 1 {plain} 2 {lock} 3")).await;
    assert_eq!(ack("MSET"), Some(Some(Ack::InSync)));
    assert_eq!(node.count(&format!("MSET {fast} 1 {plain} 2 {lock} 3")), 1);
    for (line, reply) in [
        ("MULTI".to_owned(), "+OK\r\n"),
        (format!("SET {fast} 1"), "+QUEUED\r\n"),
        (format!("SET {lock} 2"), "+QUEUED\r\n"),
        ("EXEC".to_owned(), "*2\r\n+OK\r\n+OK\r\n"),
    ] {
        assert_eq!(client.ask(&line).await, reply);
    }
    assert_eq!(ack("EXEC"), Some(Some(Ack::InSync)));
    // What is read in a transaction that writes counts as well, whichever comes first.
    let sure = "sure:{t}";
    let lines = [format!("GET {lock}"), format!("GET {sure}"), format!("SET {fast} 1")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        client.ask("MULTI").await;
        for line in order {
            assert_eq!(client.ask(&lines[line]).await, "+QUEUED\r\n");
        }
        assert!(client.ask("EXEC").await.starts_with("*3\r\n"));
        let last = node.seen().into_iter().rev().find(|seen| seen.args[0] == "EXEC").expect("an EXEC");
        assert_eq!((last.ack, last.read), (Some(Ack::InSync), Some(ReadLevel::Strong)), "{order:?}");
    }
    // A read that cannot be split is answered by a replica only where all keys allow it.
    for node in [node, replica] {
        node.hook(|seen| if seen.args[0] == "SUNION" { Act::Reply("*0\r\n".into()) } else { Act::Usual });
    }
    for line in ["SUNION page:{t} old:{t}", "SUNION page:{t} {t}", "SUNION old:{t} sure:{t}"] {
        assert_eq!(client.ask(line).await, "*0\r\n");
    }
    assert_eq!(seen(replica, "SUNION"), ["SUNION page:{t} old:{t}"]);
    assert_eq!(seen(node, "SUNION"), ["SUNION old:{t} sure:{t}", "SUNION page:{t} {t}"]);
    world.end().await;
}

#[tokio::test]
async fn memcached_reads_go_by_policies_too() {
    let (world, nodes) = world().await;
    let mut client = world.memcached().await;
    let (a, page, old) = (key_on(0, SHARDS, "a"), key_on(0, SHARDS, "page:"), key_on(0, SHARDS, "old:"));
    let [primary, replica] = &nodes[0];
    for key in [&a, &page, &old] {
        [primary, replica].iter().for_each(|node| node.set(key, "1"));
    }
    let value = |key: &str| format!("VALUE {key} 0 1\r\n1\r\n");
    client.send_raw(format!("get {page} {a} {old} {page}\r\n").as_bytes()).await;
    let wanted = [value(&page), value(&a), value(&old), value(&page)].concat();
    assert_eq!(client.until("END\r\n").await, wanted + "END\r\n");
    assert_eq!(seen(replica, "MC"), sorted([format!("MC get {page} {page}"), format!("MC get {old}")]));
    assert_eq!(seen(primary, "MC"), [format!("MC get {a}")]);
    // What tells of an item's use, or changes it, is the primary's.
    for (line, elsewhere) in
        [("v", true), ("t f s k O1", true), ("h", false), ("l v", false), ("v N30", false), ("v R3", false)]
    {
        client.send_raw(format!("mg {page} {line}\r\nmn\r\n").as_bytes()).await;
        client.until("MN\r\n").await;
        let line = format!("MC mg {page} {line}");
        assert_eq!(
            [primary.count(&line), replica.count(&line)],
            [usize::from(!elsewhere), usize::from(elsewhere)]
        );
    }
    // Behind a write that is not answered yet only the primary can show it.
    client.send_raw(format!("set {page} 0 0 1\r\n1\r\nget {page}\r\nmn\r\n").as_bytes()).await;
    client.until("MN\r\n").await;
    let line = format!("MC get {page}");
    assert_eq!([primary.count(&line), replica.count(&line)], [1, 0]);
    client.send_raw(format!("get {page}\r\nmn\r\n").as_bytes()).await;
    client.until("MN\r\n").await;
    assert_eq!([primary.count(&line), replica.count(&line)], [1, 1]);
    // What a replica cannot answer the primary does, and the replica is asked the next time.
    replica.hook(|_| Act::Reply(format!("-{}\r\n", error::REPLICA_CANNOT)));
    let line = format!("MC gets {page}");
    for times in 1..3 {
        client.send_raw(format!("gets {page}\r\n").as_bytes()).await;
        assert!(client.until("END\r\n").await.starts_with("VALUE "));
        assert_eq!([primary.count(&line), replica.count(&line)], [times, times]);
    }
    world.end().await;
}
