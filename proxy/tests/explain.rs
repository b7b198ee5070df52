//! PROXY EXPLAIN says what sending does, and sends nothing.

mod common;

use common::client::Client;
use common::{World, key_on};
use torc_protocol::context::{Ack, ReadLevel};
use torc_protocol::resp::Value;
use torc_protocol::slot::key_slot;
use torc_proxy::ProxyConfig;

/// A reply as `name=value` lines, those of the parts with their numbers.
async fn explain(client: &mut Client, line: &str) -> Vec<String> {
    client.send(&format!("PROXY EXPLAIN {line}")).await;
    let reply = client.reply().await;
    assert!(!reply.is_error(), "{line}: {:?}", reply.as_error());
    let mut lines = Vec::new();
    flatten("", &reply, &mut lines);
    lines
}

/// RESP2: names and values in turn.
fn flatten(before: &str, value: &Value, lines: &mut Vec<String>) {
    for pair in value.as_array().expect("pairs").chunks(2) {
        let name = format!("{before}{}", pair[0].as_str().expect("a name"));
        match (&pair[1], name.as_str()) {
            (parts, "parts") => {
                for (at, part) in parts.as_array().expect("parts").iter().enumerate() {
                    flatten(&format!("{at}."), part, lines);
                }
            }
            (value, _) => lines.push(format!("{name}={}", text(value))),
        }
    }
}

fn text(value: &Value) -> String {
    match (value.as_int(), value.as_str(), value.as_array()) {
        (Some(number), ..) => number.to_string(),
        (_, Some(text), _) => text.to_owned(),
        (_, _, Some(items)) => items.iter().map(text).collect::<Vec<_>>().join(","),
        _ => "?".to_owned(),
    }
}

fn has(lines: &[String], wanted: &[&str]) {
    for wanted in wanted {
        assert!(lines.iter().any(|line| line == wanted), "no {wanted:?} in {lines:#?}");
    }
}

fn begins(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line.starts_with(wanted)), "no {wanted:?} in {lines:#?}");
}

#[tokio::test]
async fn a_single_key_and_its_policy() {
    let policy = torc_cluster::map::Policy {
        prefix: "safe:".into(),
        ack: Some(Ack::InSync),
        read: Some(ReadLevel::Strong),
        ..Default::default()
    };
    let world = World::new(2, ProxyConfig { policy: vec![policy], ..ProxyConfig::default() }).await;
    let mut client = world.client().await;
    let key = key_on(1, 2, "k");
    let lines = explain(&mut client, &format!("GET {key}")).await;
    let port = world.nodes[1].port;
    has(
        &lines,
        &[
            "command=get",
            "route=key",
            "merge=",
            "decision=sent to one shard as it is",
            "epoch=1",
            "prefix=",
            "ack=default",
            "read=default",
            "connection=shared",
            "retry=sent again if the connection breaks",
            "copies=no: switched off",
            "coalesce=no: switched off",
            "timeout-ms=5000",
            "wait-ms=-1",
            "0.shard=1",
            "0.term=1",
            &format!("0.slots={}", key_slot(key.as_bytes())),
            &format!("0.node={port}"),
            &format!("0.address=127.0.0.1:{port}"),
            &format!("0.keys={key}"),
        ],
    );
    let lines = explain(&mut client, "INCR safe:a").await;
    has(&lines, &["prefix=safe:", "ack=in-sync", "read=strong", "connection=shared, slow lane"]);
    has(&lines, &["retry=sent again under its request id if the connection breaks"]);
    // What the client chose holds before the rule.
    assert_eq!(client.ask("CLIENT ACK none").await, "+OK\r\n");
    assert_eq!(client.ask("CLIENT READ any").await, "+OK\r\n");
    has(&explain(&mut client, "GET safe:a").await, &["ack=none", "read=any", "connection=shared"]);
    has(&explain(&mut client, "LOCK.ACQUIRE l TTL 5").await, &["connection=shared, slow lane"]);
    assert!(world.nodes.iter().all(|node| node.seen().is_empty()), "nothing is sent");
    world.end().await;
}

#[tokio::test]
async fn keys_of_several_shards() {
    let world = World::new(3, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let (a, b, c) = (key_on(0, 3, "a"), key_on(1, 3, "b"), key_on(2, 3, "c"));
    let lines = explain(&mut client, &format!("MGET {b} {a} {{{b}}}x {c}")).await;
    has(&lines, &["route=split", "merge=in order", "0.shard=1", "1.shard=0", "2.shard=2"]);
    has(&lines, &[&format!("0.keys={b},{{{b}}}x"), &format!("1.keys={a}"), &format!("2.keys={c}")]);
    begins(&lines, "decision=split over 3 shards");
    let lines = explain(&mut client, &format!("DEL {b} {{{b}}}x")).await;
    has(&lines, &["route=split", "merge=", "decision=sent to one shard as it is: all keys are there"]);
    // What it says is what sending does.
    client.ask(&format!("MGET {b} {a} {{{b}}}x {c}")).await;
    assert_eq!(world.nodes[1].count(&format!("MGET {b} {{{b}}}x")), 1);
    assert_eq!(world.nodes[0].count(&format!("MGET {a}")), 1);
    world.end().await;
}

#[tokio::test]
async fn refused_scattered_waiting_and_transactions() {
    let world = World::new(2, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    // Refused: the very words that the client would get.
    for line in ["SHUTDOWN".to_owned(), format!("RENAME {a} {b}"), format!("MSET {a} 1 {b}")] {
        let error = client.ask(&line).await;
        let error = error.trim_start_matches('-').trim_end().to_owned();
        has(&explain(&mut client, &line).await, &[&format!("decision=refused: {error}"), "connection=none"]);
    }
    // Scattered.
    let lines = explain(&mut client, "DBSIZE").await;
    has(&lines, &["route=all shards", "merge=sum", "0.shard=0", "1.shard=1"]);
    has(&lines, &["decision=sent to all 2 shards as it is"]);
    let cursor = (1_u64 << 50) | 9;
    let lines = explain(&mut client, &format!("SCAN {cursor}")).await;
    has(&lines, &["route=cursor", "0.shard=1"]);
    begins(&lines, "decision=sent to the shard that the cursor names, with the node's cursor 9");
    has(&explain(&mut client, "PING").await, &["route=local", "connection=none"]);
    // Waiting.
    let lines = explain(&mut client, &format!("BLPOP {a} 2.5")).await;
    has(&lines, &["wait-ms=2500", "connection=dedicated", "0.shard=0"]);
    has(&explain(&mut client, &format!("BLPOP {a} 0")).await, &["wait-ms=0"]);
    // Transactions.
    let lines = explain(&mut client, &format!("WATCH {b}")).await;
    has(&lines, &["route=transaction", "connection=dedicated", "0.shard=1"]);
    has(&explain(&mut client, "MULTI").await, &["route=transaction", "connection=none"]);
    assert_eq!(client.ask("MULTI").await, "+OK\r\n");
    let refusal = client.ask("PROXY EXPLAIN GET a").await;
    assert!(refusal.starts_with("-ERR ") && refusal.contains("transaction"), "{refusal}");
    assert_eq!(client.ask("DISCARD").await, "+OK\r\n");
    // Mistakes.
    let unknown = client.ask("PROXY EXPLAIN NOSUCH x").await;
    assert_eq!(unknown, "-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n");
    let few = client.ask("PROXY EXPLAIN GET").await;
    assert_eq!(few, "-ERR wrong number of arguments for 'get' command\r\n");
    assert!(client.ask("PROXY NOSUCH").await.starts_with("-ERR unknown subcommand"));
    assert!(client.ask("PROXY HELP").await.contains("EXPLAIN command [argument ...]"));
    world.end().await;
}

#[tokio::test]
async fn shards_without_a_primary_and_resp3() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    world.set_map(&[None, Some(world.nodes[1].port)]);
    world.until(|world| world.proxy.ready().is_err()).await;
    let mut client = world.client().await;
    // The workers take a new map a moment after the control thread.
    loop {
        let lines = explain(&mut client, &format!("GET {a}")).await;
        if lines.iter().any(|line| line == "epoch=2") {
            has(&lines, &["0.shard=0", "0.node=", "0.address=", "0.state=no primary: requests wait for one"]);
            break;
        }
    }
    client.ask(&format!("GET {b}")).await;
    has(&explain(&mut client, &format!("GET {b}")).await, &["0.state=open"]);
    client.ask("HELLO 3").await;
    let map = client.ask(&format!("PROXY EXPLAIN GET {b}")).await;
    assert!(map.starts_with("%17\r\n$7\r\ncommand\r\n$3\r\nget\r\n"), "{map}");
    world.end().await;
}

#[tokio::test]
async fn copies_and_shared_requests() {
    let config = ProxyConfig {
        local_copies: true,
        coalesce_reads: true,
        policy: vec![
            torc_cluster::map::Policy {
                prefix: "off:".into(),
                copies: Some(false),
                coalesce: Some(false),
                ..Default::default()
            },
            torc_cluster::map::Policy {
                prefix: "near:".into(),
                read_from: Some(torc_protocol::context::ReadFrom::Any),
                ..Default::default()
            },
        ],
        ..ProxyConfig::default()
    };
    let world = World::new(1, config).await;
    let mut client = world.client().await;
    let (copies, shares) = (
        "copies=yes: while the key is hot",
        "coalesce=yes: while no other request of this connection is under way",
    );
    has(&explain(&mut client, "GET k").await, &[copies, shares]);
    has(&explain(&mut client, "GET near:k").await, &[copies, "coalesce=no: a replica may answer it"]);
    has(&explain(&mut client, "GET off:k").await, &["copies=no: switched off", "coalesce=no: switched off"]);
    for line in ["SET k v", "MGET k", "TTL k", "PING"] {
        let lines = explain(&mut client, line).await;
        has(&lines, &["copies=no: not a plain read of one key", "coalesce=no: not a plain read of one key"]);
    }
    let guarded = "copies=no: strong reads, WATCH or locks of this connection";
    client.ask("WATCH k").await;
    has(&explain(&mut client, "GET k").await, &[guarded, shares]);
    client.ask("UNWATCH").await;
    client.ask("CLIENT READ strong").await;
    let lines = explain(&mut client, "GET k").await;
    has(&lines, &[guarded, "coalesce=no: replies may be held back by the node"]);
    client.ask("CLIENT READ any").await;
    client.ask("LOCK.INFO l").await;
    has(&explain(&mut client, "GET k").await, &[guarded, shares]);
    world.end().await;
}
