//! Subscriptions through the proxy: one at a node for many clients, kept through failovers, bounded per client.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::FakeNode;
use common::{World, key_on, secret};
use torc_proxy::ProxyConfig;

fn told(node: &FakeNode, kind: &str, name: &str) -> Vec<String> {
    let seen = node.seen();
    let of = seen.iter().filter(|seen| seen.args[0] == "TORC.LISTEN" && seen.args[1..3] == [kind, name]);
    of.map(|seen| seen.args[3].clone()).collect()
}

fn confirmed(word: &str, name: &str, count: usize) -> String {
    format!("*3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:{count}\r\n", word.len(), name.len())
}

fn message(first: char, parts: &[&str]) -> String {
    let mut text = format!("{first}{}\r\n", parts.len());
    parts.iter().for_each(|part| text.push_str(&format!("${}\r\n{part}\r\n", part.len())));
    text
}

async fn resp3(world: &World) -> Client {
    let mut client = world.client().await;
    client.ask("HELLO 3").await;
    client
}

#[tokio::test]
async fn one_subscription_stands_for_many_clients() {
    let world = World::new(2, ProxyConfig::default()).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = world.client().await;
        assert_eq!(client.ask("SUBSCRIBE news").await, confirmed("subscribe", "news", 1));
        clients.push(client);
    }
    let mut new = resp3(&world).await;
    assert_eq!(
        new.ask("PSUBSCRIBE n*").await,
        confirmed("psubscribe", "n*", 1).replace('*', ">").replace("n>", "n*")
    );
    for node in &world.nodes {
        assert_eq!(told(node, "channel", "news").last().map(String::as_str), Some("20"));
        assert_eq!(told(node, "pattern", "n*"), ["1"]);
        let seen = node.seen();
        let mut connections: Vec<_> =
            seen.iter().filter(|seen| seen.args[0] == "TORC.LISTEN").map(|seen| seen.connection).collect();
        connections.dedup();
        assert_eq!(connections.len(), 1);
    }
    world.nodes[1].push(&["message", "news", "hello"]);
    world.nodes[0].push(&["pmessage", "n*", "news", "hello"]);
    for client in &mut clients {
        assert_eq!(client.reply_bytes().await, message('*', &["message", "news", "hello"]));
    }
    assert_eq!(new.reply_bytes().await, message('>', &["pmessage", "n*", "news", "hello"]));
    // Who has gone, or listens no more, is not counted.
    clients.truncate(10);
    assert_eq!(clients[0].ask("UNSUBSCRIBE").await, confirmed("unsubscribe", "news", 0));
    world
        .until(|world| told(&world.nodes[0], "channel", "news").last().is_some_and(|last| last == "9"))
        .await;
    drop((clients, new));
    world
        .until(|world| told(&world.nodes[1], "channel", "news").last().is_some_and(|last| last == "0"))
        .await;
    world.until(|world| told(&world.nodes[1], "pattern", "n*").last().is_some_and(|last| last == "0")).await;
    world.end().await;
}

#[tokio::test]
async fn who_listens_in_resp2_may_do_little_else() {
    let world = World::new(2, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.send("SUBSCRIBE a b a").await;
    for (name, count) in [("a", 1), ("b", 2), ("a", 2)] {
        assert_eq!(client.reply_bytes().await, confirmed("subscribe", name, count));
    }
    assert!(client.ask("GET a").await.starts_with("-ERR Can't execute 'get': only (P|S)SUBSCRIBE"));
    assert_eq!(client.ask("PING").await, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(client.ask("PING x").await, "*2\r\n$4\r\npong\r\n$1\r\nx\r\n");
    assert_eq!(client.ask("UNSUBSCRIBE b").await, confirmed("unsubscribe", "b", 1));
    assert_eq!(client.ask("PUNSUBSCRIBE").await, "*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:1\r\n");
    assert_eq!(client.ask("RESET").await, "+RESET\r\n");
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    world.until(|world| told(&world.nodes[0], "channel", "a") == ["1", "0"]).await;
    // In RESP3 it may do everything; what is pushed comes between the replies.
    let mut client = resp3(&world).await;
    client.ask("SUBSCRIBE a").await;
    assert_eq!(client.ask("SET k v").await, "+OK\r\n");
    world.nodes[0].push(&["message", "a", "x"]);
    assert_eq!(client.reply_bytes().await, message('>', &["message", "a", "x"]));
    assert_eq!(client.ask("GET k").await, "$1\r\nv\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_shard_channel_is_listened_to_where_its_slot_is() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let mut client = resp3(&world).await;
    let (first, second) = (key_on(0, 2, "x"), key_on(1, 2, "y"));
    client.send(&format!("SSUBSCRIBE {first} {second}")).await;
    client.reply_bytes().await;
    client.reply_bytes().await;
    assert_eq!(told(&world.nodes[0], "shard", &first), ["1"]);
    assert_eq!(told(&world.nodes[1], "shard", &second), ["1"]);
    assert!(told(&world.nodes[0], "shard", &second).is_empty());
    // The other way round: the slots are the other node's now.
    let ports = world.ports();
    world.set_map(&[ports[1], ports[0]]);
    world.until(|world| told(&world.nodes[0], "shard", &second) == ["1"]).await;
    world.nodes[0].push(&["smessage", &second, "x"]);
    assert_eq!(client.reply_bytes().await, message('>', &["smessage", &second, "x"]));
    assert_eq!(client.ask(&format!("SUNSUBSCRIBE {second}")).await.matches("sunsubscribe").count(), 1);
    world.end().await;
}

#[tokio::test]
async fn subscriptions_go_along_to_a_new_primary() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let (mut client, mut other) = (world.client().await, world.client().await);
    client.ask("SUBSCRIBE news").await;
    let spare = FakeNode::start(Some(secret())).await;
    world.nodes[0].kill();
    // Nobody can confirm for the shard yet.
    other.send("PSUBSCRIBE *").await;
    assert!(other.is_silent(100).await);
    let ports = world.ports();
    world.set_map(&[Some(spare.port), ports[1]]);
    assert_eq!(other.reply_bytes().await, confirmed("psubscribe", "*", 1));
    assert_eq!(told(&spare, "channel", "news"), ["1"]);
    spare.push(&["message", "news", "again"]);
    assert_eq!(client.reply_bytes().await, message('*', &["message", "news", "again"]));
    let mut asks = world.client().await;
    let page = asks.ask("CLIENT LIST TYPE pubsub").await;
    assert_eq!((page.matches("flags=P").count(), page.matches("psub=1").count()), (2, 1), "{page}");
    world.end().await;
}

#[tokio::test]
async fn a_client_is_confirmed_although_a_shard_stays_away() {
    let config = ProxyConfig { request_timeout_ms: 200, ..ProxyConfig::default() };
    let mut world = World::new(2, config).await;
    let ports = world.ports();
    world.set_map(&[ports[0], None]);
    let mut client = world.client().await;
    let ask = format!("PROXY EXPLAIN GET {}", key_on(1, 2, "k"));
    while !client.ask(&ask).await.contains("no primary") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(client.ask("SUBSCRIBE news").await, confirmed("subscribe", "news", 1));
    assert_eq!(client.ask("UNSUBSCRIBE news").await, confirmed("unsubscribe", "news", 0));
    assert_eq!(client.ask("SUBSCRIBE more").await, confirmed("subscribe", "more", 1));
    world.set_map(&ports);
    world.until(|world| told(&world.nodes[1], "channel", "more") == ["1"]).await;
    assert!(told(&world.nodes[1], "channel", "news").is_empty());
    world.end().await;
}

#[tokio::test]
async fn who_does_not_read_is_closed() {
    let config = ProxyConfig { pubsub_output_hard_bytes: 1 << 20, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    let (mut slow, mut quick) = (world.client().await, world.client().await);
    slow.ask("SUBSCRIBE news").await;
    quick.ask("SUBSCRIBE news").await;
    let text = "x".repeat(64 * 1024);
    // More than the bound and all buffers of the sockets.
    for _ in 0..1000 {
        world.nodes[0].push(&["message", "news", &text]);
        quick.reply_bytes().await;
        if told(&world.nodes[0], "channel", "news").last().is_some_and(|last| last == "1") {
            break;
        }
    }
    world
        .until(|world| told(&world.nodes[0], "channel", "news").last().is_some_and(|last| last == "1"))
        .await;
    assert!(slow.rest().await.len() < 64 << 20);
    world.nodes[0].push(&["message", "news", "end"]);
    assert!(quick.reply_bytes().await.ends_with("end\r\n"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.end().await;
}
