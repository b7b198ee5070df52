//! Slow requests are kept under the name that the node knows them by.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::Act;
use common::{World, key_on};
use torc_protocol::resp::Value;
use torc_proxy::ProxyConfig;

/// The entries of PROXY SLOWLOG, as `name=value` texts.
async fn entries(client: &mut Client, line: &str) -> Vec<Vec<String>> {
    client.send(line).await;
    let text = |value: &Value| {
        value.as_int().map_or_else(|| value.as_str().unwrap_or("?").to_owned(), |n| n.to_string())
    };
    let entry = |entry: &Value| {
        let pairs = entry.as_array().expect("an entry").chunks(2);
        pairs.map(|pair| format!("{}={}", text(&pair[0]), text(&pair[1]))).collect()
    };
    client.reply().await.as_array().expect("entries").iter().map(entry).collect()
}

fn slow(ms: u64) -> ProxyConfig {
    ProxyConfig { slow_request_ms: ms, request_timeout_ms: 600, ..ProxyConfig::default() }
}

#[tokio::test]
async fn the_node_knows_a_slow_request_by_the_same_name() {
    let world = World::new(2, slow(60)).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    // Something before it, and a transaction, whose frames count one by one.
    client
        .send_raw(format!("GET {a}\r\nSET {a} 1\r\nMULTI\r\nSTRLEN {a}\r\nSTRLEN {a}\r\nEXEC\r\n").as_bytes())
        .await;
    for _ in 0..6 {
        client.reply().await;
    }
    assert!(entries(&mut client, "PROXY SLOWLOG").await.is_empty());
    let late = |seen: &common::node::Seen| match seen.args[0].as_str() {
        "GET" | "MGET" | "EXEC" => Act::Late(Duration::from_millis(80)),
        _ => Act::Usual,
    };
    world.nodes.iter().for_each(|node| node.hook(late));
    client.ask(&format!("GET {a}")).await;
    client.ask(&format!("MGET {a} {b}")).await;
    client.send_raw(format!("MULTI\r\nSTRLEN {b}\r\nEXEC\r\n").as_bytes()).await;
    for _ in 0..3 {
        client.reply().await;
    }
    let log = entries(&mut client, "PROXY SLOWLOG -1").await;
    let mut commands: Vec<&str> = log.iter().map(|entry| entry[3].as_str()).collect();
    assert_eq!(commands.remove(0), "command=exec");
    assert_eq!(commands, ["command=mget", "command=mget", "command=get"]);
    for entry in &log {
        let request = entry[5].strip_prefix("request=").expect("a name");
        let (command, key) = (&entry[3]["command=".len()..], &entry[4]["key=".len()..]);
        let node = &world.nodes[usize::from(entry[6].ends_with(&world.nodes[1].port.to_string()))];
        let seen = node.seen();
        let seen = seen.iter().find(|seen| seen.trace.to_string() == request).expect("the node saw it");
        assert!(seen.args[0].eq_ignore_ascii_case(command), "{entry:?}: {seen:?}");
        assert!(command == "exec" || seen.args[1] == key, "{entry:?}: {seen:?}");
        let micros: u64 = entry[2]["microseconds=".len()..].parse().expect("a number");
        assert!(micros >= 60_000 && entry[8] == "outcome=answered", "{entry:?}");
    }
    assert_eq!(entries(&mut client, "PROXY SLOWLOG 1").await.len(), 1);
    assert_eq!(client.ask("PROXY SLOWLOG RESET").await, "+OK\r\n");
    assert!(entries(&mut client, "PROXY SLOWLOG").await.is_empty());
    assert!(client.ask("PROXY SLOWLOG -2").await.starts_with("-ERR count"));
    world.end().await;
}

#[tokio::test]
async fn what_nobody_answers_is_slow_and_what_waits_on_purpose_is_not() {
    let world = World::new(1, slow(60)).await;
    let mut client = world.client().await;
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "BLPOP" => Act::Late(Duration::from_millis(200)),
        "INCR" => Act::Never,
        _ => Act::Usual,
    });
    client.ask("BLPOP a 1").await;
    client.ask("GET a").await;
    assert!(entries(&mut client, "PROXY SLOWLOG").await.is_empty());
    assert!(client.ask("INCR a").await.starts_with("-UNCERTAIN "));
    let log = entries(&mut client, "PROXY SLOWLOG").await;
    assert!(log.len() == 1 && log[0][8] == "outcome=not in time", "{log:?}");
    let name = log[0][5].strip_prefix("request=").expect("a name");
    assert!(
        world.nodes[0].seen().iter().any(|seen| seen.trace.to_string() == name && seen.args[0] == "INCR")
    );
    // Memcached requests by their request line; and the threshold by CONFIG SET.
    assert_eq!(client.ask("CONFIG SET proxy-slow-request-ms 1 proxy-slow-log-len 1").await, "+OK\r\n");
    tokio::time::sleep(Duration::from_millis(250)).await;
    world.nodes[0].hook(|_| Act::Late(Duration::from_millis(10)));
    let mut memcached = world.memcached().await;
    memcached.send_raw(b"get one\r\n").await;
    memcached.until("END\r\n").await;
    let log = entries(&mut client, "PROXY SLOWLOG").await;
    assert!(log.len() == 1 && log[0][4] == "key=get one", "{log:?}");
    world.end().await;
}
