//! What memcached clients of a whole cluster rely on while its primaries die.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::Cluster;

/// Long enough for two failovers and a full sync between them.
const DELAY: Duration = Duration::from_secs(15);

/// The answer of the proxy to requests, up to that of a last `mn`.
fn ask(cluster: &Cluster, requests: &str) -> String {
    cluster.wait("an answer of the proxy", || {
        let mut client = Connection::open(&Endpoint::Tcp(cluster.proxy().memcached())).ok()?;
        client.send(format!("{requests}\r\nmn\r\n").as_bytes()).ok()?;
        let (answer, _) = client.read_until(|bytes| bytes.ends_with(b"MN\r\n")).ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        // While there is no primary a request may be told so.
        (!text.contains("SERVER_ERROR")).then(|| text.trim_end_matches("MN\r\n").replace("\r\n", "|"))
    })
}

/// Has whatever came before on both shards.
fn settle(cluster: &Cluster, tags: &[String]) {
    for (shard, tag) in (0..).zip(tags) {
        cluster.wait_in_sync(shard, 2);
        let mut client = cluster.connect();
        for command in [&["CLIENT", "ACK", "in-sync"][..], &["SET", &format!("{tag}settled"), "1"]] {
            let reply = client.call(command).expect("an answer");
            assert_eq!(reply.text().as_deref(), Some("OK"), "{command:?}: {reply:?}");
        }
    }
}

/// The proxy's answer to one request is one answer, an error as well.
#[test]
fn a_hash_is_no_item_behind_a_proxy_either() {
    let mut cluster = Cluster::start(2);
    let tags = [cluster.tag(0), cluster.tag(1)];
    for tag in &tags {
        let reply = cluster.connect().call(&["HSET", &format!("{tag}h"), "f", "v"]).expect("an answer");
        assert!(!reply.is_error(), "{reply:?}");
        assert_eq!(ask(&cluster, &format!("set {tag}k 0 0 1\r\nx")), "STORED|");
    }
    let error = "SERVER_ERROR the key holds a value that is not a string|";
    let [[one, item], [other, far_item]] = tags.map(|tag| [format!("{tag}h"), format!("{tag}k")]);
    for request in [
        format!("get {one}"),
        format!("gat 0 {other}"),
        format!("gets {one} {other}"),
        format!("mg {one} v"),
        format!("get {item} {one}"),
        format!("get {far_item} {item} {one} {item}"),
        format!("gats 0 {one} {far_item}"),
    ] {
        let mut client = Connection::open(&Endpoint::Tcp(cluster.proxy().memcached())).expect("it listens");
        client.send(format!("{request}\r\nmn\r\n").as_bytes()).expect("sent");
        let (answer, _) = client.read_until(|bytes| bytes.ends_with(b"MN\r\n")).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer).replace("\r\n", "|"), format!("{error}MN|"), "{request}");
    }
    cluster.stop(Signal::INT);
}

#[test]
fn a_delayed_flush_survives_a_failover() {
    let mut cluster = Cluster::start(2);
    let tags = [cluster.tag(0), cluster.tag(1)];
    settle(&cluster, &tags);
    for tag in &tags {
        assert_eq!(ask(&cluster, &format!("set {tag}k 0 0 1\r\nx")), "STORED|");
    }
    let began = Instant::now();
    assert_eq!(ask(&cluster, &format!("flush_all {}", DELAY.as_secs())), "OK|");
    settle(&cluster, &tags);
    let is_there = |tag: &str| {
        let answer = ask(&cluster, &format!("get {tag}k"));
        // Not before its moment.
        let early = began.elapsed() < DELAY;
        assert!(!early || answer == format!("VALUE {tag}k 0 1|x|END|"), "{:?}: {answer}", began.elapsed());
        answer != "END|"
    };
    // The first successor was told as a replica; the second is who came back and had all in a full sync.
    for _ in 0..2 {
        let victim = cluster.primary(0);
        victim.signal(Signal::KILL);
        cluster.wait("another primary", || Some(cluster.primary(0)).filter(|now| now.name != victim.name));
        is_there(&tags[0]);
        cluster.wait_in_sync(0, 2);
    }
    println!("two primaries were replaced within {:?} of {DELAY:?}", began.elapsed());
    for tag in &tags {
        cluster.wait("everything to be gone", || (!is_there(tag)).then_some(()));
        assert_eq!(
            ask(&cluster, &format!("set {tag}k 0 0 1\r\ny\r\nget {tag}k")),
            format!("STORED|VALUE {tag}k 0 1|y|END|")
        );
    }
    cluster.stop(Signal::INT);
}
