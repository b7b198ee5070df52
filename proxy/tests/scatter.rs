//! Commands that take from the first of several keys, which are on several shards.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::node::{Act, FakeNode};
use common::{World, key_on};
use torc_proxy::ProxyConfig;

const POPPED: &str = "*2\r\n$1\r\nq\r\n$1\r\nx\r\n";

/// The node has nothing; who awaits is told when `ready` is set, and then a pop finds something once.
fn list(node: &FakeNode, ready: &Arc<AtomicBool>) {
    let ready = Arc::clone(ready);
    node.hook(move |seen| match seen.args[0].as_str() {
        "TORC.AWAIT" if ready.load(Ordering::Relaxed) => Act::Reply(format!("$1\r\n{}\r\n", "q")),
        "TORC.AWAIT" => Act::Never,
        "BLPOP" | "XREAD" if ready.swap(false, Ordering::Relaxed) => Act::Reply(POPPED.into()),
        "BLPOP" | "LMPOP" => Act::Reply("_\r\n".into()),
        _ => Act::Usual,
    });
}

fn asked(node: &FakeNode, name: &str) -> Vec<Vec<String>> {
    node.seen().iter().filter(|seen| seen.args[0] == name).map(|seen| seen.args[1..].to_vec()).collect()
}

#[tokio::test]
async fn the_first_key_that_has_something_is_taken_from() {
    let world = World::new(2, ProxyConfig::default()).await;
    let (empty, ready) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    list(&world.nodes[0], &empty);
    list(&world.nodes[1], &ready);
    let [a, b, c] = [key_on(0, 2, "a"), key_on(1, 2, "b"), key_on(0, 2, "c")];
    let mut client = world.client().await;
    assert_eq!(client.ask(&format!("BLPOP {a} {b} {c} 0")).await, POPPED);
    // In the order of the keys, one after the other, as numbered writes that do not wait.
    assert_eq!(asked(&world.nodes[0], "BLPOP"), [[a.clone(), "0".into()]]);
    assert_eq!(asked(&world.nodes[1], "BLPOP"), [[b.clone(), "0".into()]]);
    assert!(world.nodes.iter().all(|node| asked(node, "TORC.AWAIT").is_empty()));
    let seen = world.nodes[1].seen();
    assert!(seen[0].id.is_some() && seen[0].no_wait && seen[0].deadline_ms > 0);
    // What does not wait gets nothing.
    assert_eq!(client.ask(&format!("LMPOP 3 {a} {b} {c} LEFT")).await, "*-1\r\n");
    assert_eq!(asked(&world.nodes[0], "LMPOP"), [["1", &a, "LEFT"], ["1", &c, "LEFT"]]);
    world.end().await;
}

#[tokio::test]
async fn who_waits_takes_when_a_shard_has_something() {
    let world = World::new(2, ProxyConfig::default()).await;
    let (empty, ready) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    list(&world.nodes[0], &empty);
    list(&world.nodes[1], &ready);
    let [a, b, c] = [key_on(0, 2, "a"), key_on(1, 2, "b"), key_on(0, 2, "c")];
    let mut client = world.client().await;
    client.send(&format!("BLPOP {a} {b} {c} 0")).await;
    client.send("GET k").await;
    world.until(|world| world.nodes.iter().all(|node| !asked(node, "TORC.AWAIT").is_empty())).await;
    assert!(client.is_silent(50).await);
    assert_eq!(asked(&world.nodes[0], "TORC.AWAIT"), [["0", "list", "-", &a, &c]]);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn who_finds_nothing_after_all_waits_on() {
    let world = World::new(2, ProxyConfig::default()).await;
    list(&world.nodes[0], &Arc::new(AtomicBool::new(false)));
    let mut times = 0;
    world.nodes[1].hook(move |seen| match seen.args[0].as_str() {
        // Somebody else is quicker, twice.
        "BLPOP" => {
            times += 1;
            Act::Reply(if times < 4 { "_\r\n".into() } else { POPPED.into() })
        }
        "TORC.AWAIT" => Act::Reply("$1\r\nq\r\n".into()),
        _ => Act::Usual,
    });
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    assert_eq!(client.ask(&format!("BLPOP {a} {b} 20")).await, POPPED);
    assert_eq!((asked(&world.nodes[0], "BLPOP").len(), asked(&world.nodes[1], "BLPOP").len()), (4, 4));
    assert_eq!(
        (asked(&world.nodes[0], "TORC.AWAIT").len(), asked(&world.nodes[1], "TORC.AWAIT").len()),
        (1, 3)
    );
    // The connection that waited in vain has ended; the client goes on.
    assert_eq!(client.ask("SET k v").await, "+OK\r\n");
    world.end().await;
}

#[tokio::test]
async fn the_end_of_the_time_is_nothing() {
    let world = World::new(2, ProxyConfig::default()).await;
    for node in &world.nodes {
        node.hook(|seen| match seen.args[0].as_str() {
            "BZPOPMIN" => Act::Reply("_\r\n".into()),
            "TORC.AWAIT" => {
                std::thread::sleep(Duration::from_millis(60));
                Act::Reply("_\r\n".into())
            }
            _ => Act::Usual,
        });
    }
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    assert_eq!(client.ask(&format!("BZPOPMIN {a} {b} 0.05")).await, "*-1\r\n");
    assert_eq!(client.ask("SET k v").await, "+OK\r\n");
    client.ask("HELLO 3").await;
    assert_eq!(client.ask(&format!("BZPOPMIN {a} {b} 0.05")).await, "_\r\n");
    world.end().await;
}

#[tokio::test]
async fn nothing_is_tried_for_who_has_gone() {
    let world = World::new(2, ProxyConfig::default()).await;
    for node in &world.nodes {
        node.hook(move |seen| match seen.args[0].as_str() {
            // The client goes meanwhile.
            "TORC.AWAIT" => Act::Late(Duration::from_millis(100)),
            "BLPOP" => Act::Reply("_\r\n".into()),
            _ => Act::Usual,
        });
    }
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    client.send(&format!("BLPOP {a} {b} 0")).await;
    world
        .until(|world| {
            !asked(&world.nodes[0], "BLPOP").is_empty() && !asked(&world.nodes[1], "BLPOP").is_empty()
        })
        .await;
    world.until(|world| world.nodes.iter().all(|node| !asked(node, "TORC.AWAIT").is_empty())).await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(asked(&world.nodes[0], "BLPOP").len() + asked(&world.nodes[1], "BLPOP").len(), 2);
    world.end().await;
}

#[tokio::test]
async fn streams_are_read_at_all_shards_at_once() {
    let world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    for (node, name) in world.nodes.iter().zip([&a, &b]) {
        let name = name.clone();
        node.hook(move |seen| match seen.args[0].as_str() {
            "XREAD" => Act::Reply(format!("*1\r\n*2\r\n${}\r\n{name}\r\n*0\r\n", name.len())),
            _ => Act::Usual,
        });
    }
    let mut client = world.client().await;
    let pair = |name: &str| format!("*2\r\n${}\r\n{name}\r\n*0\r\n", name.len());
    assert_eq!(
        client.ask(&format!("XREAD COUNT 2 BLOCK 0 STREAMS {b} {a} 0-1 0-2")).await,
        format!("*2\r\n{}{}", pair(&b), pair(&a))
    );
    assert_eq!(asked(&world.nodes[0], "XREAD"), [["COUNT", "2", "BLOCK", "0", "STREAMS", &a, "0-2"]]);
    assert_eq!(asked(&world.nodes[1], "XREAD"), [["COUNT", "2", "BLOCK", "0", "STREAMS", &b, "0-1"]]);
    assert!(client.ask(&format!("SUNIONSTORE {a} {b}")).await.starts_with("-CROSSSLOT"));
    world.end().await;
}

#[tokio::test]
async fn those_who_wait_and_those_who_watch_have_their_own_bounds() {
    let config = ProxyConfig { blocking_connections: 1, dedicated_connections: 1, ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    world.nodes[0].hook(|seen| if seen.args[0] == "BLPOP" { Act::Never } else { Act::Usual });
    let (mut waits, mut watches, mut late) =
        (world.client().await, world.client().await, world.client().await);
    waits.send("BLPOP q 0").await;
    world.until(|world| world.nodes[0].count("BLPOP q 0") == 1).await;
    let refused = late.ask("BLPOP q 0").await;
    assert!(refused.starts_with("-BUSY ") && refused.contains("blocking_connections"), "{refused}");
    assert_eq!(watches.ask("WATCH a").await, "+OK\r\n");
    let refused = late.ask("WATCH a").await;
    assert!(refused.starts_with("-BUSY ") && refused.contains("dedicated_connections"), "{refused}");
    assert_eq!(watches.ask("UNWATCH").await, "+OK\r\n");
    assert_eq!(late.ask("WATCH a").await, "+OK\r\n");
    world.end().await;
}
