//! Commands that wait at a node for a key: on connections of their own, sent again when nothing was executed.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::Act;
use common::{PATIENCE, World};
use torc_proxy::ProxyConfig;

const POPPED: &str = "*2\r\n$1\r\nq\r\n$1\r\nx\r\n";

#[tokio::test]
async fn who_waits_holds_nobody_up() {
    let world = World::new(1, ProxyConfig::default()).await;
    world.nodes[0].hook(
        |seen| {
            if seen.args[0].eq_ignore_ascii_case("blpop") { Act::Never } else { Act::Usual }
        },
    );
    let (mut waits, mut other) = (world.client().await, world.client().await);
    waits.send_raw(b"SET a 1\r\nBLPOP q 0\r\nGET a\r\n").await;
    assert_eq!(waits.reply_bytes().await, "+OK\r\n");
    for _ in 0..10 {
        assert_eq!(other.ask("GET a").await, "$1\r\n1\r\n");
    }
    let seen = world.nodes[0].seen();
    let waiting = seen.iter().find(|seen| seen.args[0] == "BLPOP").expect("it was sent");
    assert_eq!((waiting.deadline_ms, waiting.id), (0, None));
    assert!(seen.iter().all(|seen| seen.args[0] == "BLPOP" || seen.connection != waiting.connection));
    // The GET behind it waits for its answer.
    assert_eq!(seen.iter().filter(|seen| seen.args[0] == "GET").count(), 10);
    world.end().await;
}

#[tokio::test]
async fn what_was_not_executed_is_sent_again_with_the_time_that_is_left() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut times = 0;
    world.nodes[0].hook(move |seen| {
        if !seen.args[0].eq_ignore_ascii_case("blpop") {
            return Act::Usual;
        }
        times += 1;
        let reply = if times < 3 { "-TRYAGAIN the shard has a new primary\r\n" } else { POPPED };
        std::thread::sleep(Duration::from_millis(20));
        Act::Reply(reply.into())
    });
    let mut client = world.client().await;
    assert_eq!(client.ask("BLPOP q 30").await, POPPED);
    let asked: Vec<f64> =
        world.nodes[0].seen().iter().filter_map(|seen| seen.args.get(2)?.parse().ok()).collect();
    assert_eq!((asked.len(), asked[0]), (3, 30.0));
    assert!(asked[1] < 30.0 && asked[2] < asked[1] && asked[2] > 1.0, "{asked:?}");
    world.end().await;
}

#[tokio::test]
async fn what_may_have_been_executed_is_uncertain() {
    let world = World::new(1, ProxyConfig::default()).await;
    world.nodes[0].hook(
        |seen| {
            if seen.args[0].eq_ignore_ascii_case("blpop") { Act::Drop } else { Act::Usual }
        },
    );
    let mut client = world.client().await;
    assert!(client.ask("BLPOP q 30").await.starts_with("-UNCERTAIN "));
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_pause_of_writes_holds_what_may_write() {
    let world = World::new(1, ProxyConfig::default()).await;
    let (mut client, mut held, mut other) =
        (world.client().await, world.client().await, world.client().await);
    let eval = |script: &str| format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len());
    let (reads, writes) = (eval("#!lua flags=no-writes\nreturn 1"), eval("#!lua\nreturn 1"));
    assert_eq!(other.ask("CLIENT PAUSE 60000 WRITE").await, "+OK\r\n");
    client.send_raw(reads.as_bytes()).await;
    client.reply_bytes().await;
    assert_eq!(client.ask("MULTI").await, "+OK\r\n");
    client.send_raw(reads.as_bytes()).await;
    assert_eq!(client.reply_bytes().await, "+QUEUED\r\n");
    assert!(client.ask("EXEC").await.starts_with("*1\r\n"));
    held.send_raw(writes.as_bytes()).await;
    let blocked = async |client: &mut Client, count: usize| {
        let line = format!("\r\nblocked_clients:{count}\r\n");
        while !client.ask("INFO clients").await.contains(&line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, blocked(&mut other, 1)).await.expect("it is held");
    assert!(held.is_silent(100).await);
    // Nobody waits from the moment on when the pause ends.
    assert_eq!(other.ask("CLIENT UNPAUSE").await, "+OK\r\n");
    assert!(other.ask("INFO clients").await.contains("\r\nblocked_clients:0\r\n"));
    held.reply_bytes().await;
    world.end().await;
}
