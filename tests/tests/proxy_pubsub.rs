//! Listening through the proxy of a real cluster: one subscription at each node for many clients, and a primary that is
//! killed under them.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use rustix::process::Signal;
use torc_tests::client::Connection;
use torc_tests::cluster::Cluster;
use torc_tests::frame::{self, Node};
use torc_tests::scrape::Scrape;

const LISTENERS: usize = 50;

/// Reads messages until one with this text comes.
fn hears(listener: &mut Connection, text: &str) {
    loop {
        let bytes = listener.read_frame().expect("a message");
        let (message, _) = frame::decode(&bytes).expect("a frame").expect("a whole one");
        let message = words(&message);
        assert_eq!(message[..2], ["message", "news"], "{message:?}");
        if message[2] == text {
            return;
        }
    }
}

fn words(frame: &Node) -> Vec<String> {
    frame.children().unwrap_or_default().iter().filter_map(Node::text).collect()
}

fn number(connection: &mut Connection, args: &[&str]) -> i64 {
    connection.call(args).expect("an answer").integer().expect("a number")
}

#[test]
fn many_listen_by_one_subscription_and_a_failover_keeps_them() {
    let mut cluster = Cluster::start(2);
    let proxy = cluster.proxy();
    let mut listeners: Vec<Connection> = (0..LISTENERS).map(|_| proxy.connect()).collect();
    for listener in &mut listeners {
        let reply = listener.call(&["SUBSCRIBE", "news"]).expect("an answer");
        assert_eq!(words(&reply)[..2], ["subscribe", "news"]);
    }
    let mut speaker = cluster.connect();
    assert_eq!(number(&mut speaker, &["PUBLISH", "news", "one"]), LISTENERS as i64);
    for shard in 0..2 {
        let list =
            cluster.primary(shard).connect().call(&["CLIENT", "LIST", "TYPE", "pubsub"]).expect("an answer");
        let text = list.text().expect("a text");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(" sub=1 "), "{text}");
    }
    for listener in &mut listeners {
        hears(listener, "one");
    }
    // Whichever shard the channel is published at: both primaries die in turn.
    for shard in 0..2 {
        let victim = cluster.primary(shard);
        cluster.wait_in_sync(shard, 2);
        victim.signal(Signal::KILL);
        cluster
            .wait("another primary", || Some(cluster.primary(shard)).filter(|now| now.name != victim.name));
        let told = format!("again {shard}");
        // What is published before the new primary was told is lost, as the documentation says.
        cluster.wait("all listeners at the new primary", || {
            let reply = speaker.call(&["PUBLISH", "news", &told]).ok()?;
            (reply.integer() == Some(LISTENERS as i64)).then_some(())
        });
        for listener in &mut listeners {
            hears(listener, &told);
        }
        let tag = cluster.tag(shard);
        cluster.wait("scripts of the shard reach them too", || {
            let script = "return redis.call('PUBLISH', 'news', 'script')";
            let reply = speaker.call(&["EVAL", script, "1", &tag]).ok()?;
            (reply.integer() == Some(LISTENERS as i64)).then_some(())
        });
        for listener in &mut listeners {
            hears(listener, "script");
        }
    }
    let metrics = Scrape::of(proxy.http());
    let resubscribed = metrics.sum("torc_proxy_resubscriptions_total", &[]);
    assert!(resubscribed >= 2.0, "{resubscribed}");
    drop(listeners);
    cluster.wait("nobody listens", || {
        let reply = speaker.call(&["PUBLISH", "news", "x"]).ok()?;
        (reply.integer() == Some(0)).then_some(())
    });
    cluster.stop(Signal::INT);
}

#[test]
fn monitor_shows_what_all_shards_get() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let proxy = cluster.proxy();
    let keys: Vec<String> = (0..2).map(|shard| format!("{}k", cluster.tag(shard))).collect();
    let (mut watcher, mut client) = (proxy.connect(), proxy.connect());
    assert_eq!(watcher.call_raw(&["MONITOR"]).expect("an answer"), b"+OK\r\n");
    for key in &keys {
        client.call(&["SET", key.as_str(), "v"]).expect("an answer");
        let line = String::from_utf8(watcher.read_frame().expect("a line")).expect("text");
        assert!(line.starts_with('+') && line.contains(&format!("\"SET\" \"{key}\" \"v\"")), "{line}");
    }
    // A line is as long as its request; one that is too long is left out, and what comes behind it is shown.
    let mut shown = |bytes: usize| {
        client.call(&["SET", keys[0].as_str(), &"b".repeat(bytes)]).expect("an answer");
        client.call(&["SET", keys[0].as_str(), "behind"]).expect("an answer");
        let behind = b"\"behind\"\r\n";
        watcher.read_until(|lines| lines.ends_with(behind)).expect("lines").0.len()
    };
    assert!(shown(3 << 20) > 3 << 20);
    assert!(shown(20 << 20) < 1 << 20);
    assert_eq!(watcher.call_raw(&["RESET"]).expect("an answer"), b"+RESET\r\n");
    client.call(&["SET", keys[0].as_str(), "v"]).expect("an answer");
    assert_eq!(watcher.call_raw(&["PING"]).expect("an answer"), b"+PONG\r\n");
    cluster.stop(Signal::INT);
}
