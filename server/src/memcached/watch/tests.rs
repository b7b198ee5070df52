//! What watchers see, and what they do not hold up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::exec::Session;
use crate::exec::testing::{Harness, START_MS};
use crate::pubsub::WATCHER_BYTES;
use crate::settings::Settings;

/// Another connection that watches.
fn watcher(t: &mut Harness, kinds: &str) -> Session {
    let node = t.node.clone();
    let client =
        Client::new(node.clients.next_id(), "[::1]:77".into(), "[::1]:1".into(), 9, false, 0, START_MS);
    let client = node.clients.add(client);
    let mut session = Session { client: Some(client.clone()), ..Session::new(client.id, true) };
    std::mem::swap(&mut t.session, &mut session);
    let reply = t.memcached(format!("watch {kinds}\r\nget nothing of this is looked at\r\n"));
    std::mem::swap(&mut t.session, &mut session);
    assert_eq!(reply, "OK\r\n");
    session
}

/// The lines since the last call, without what begins each.
fn lines(watcher: &Session) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(subscriptions) = &watcher.subscriptions {
        subscriptions.mailbox().take(&mut out);
    }
    let text = String::from_utf8_lossy(&out).into_owned();
    text.lines().map(|line| line.split_once(" type=").map_or(line, |(_, rest)| rest).to_owned()).collect()
}

#[test]
fn requests_of_items() {
    let mut t = Harness::new();
    let seen = watcher(&mut t, "fetchers mutations deletions");
    for (request, wanted) in [
        (
            "set k% 0 100 2\nab\n",
            &[
                "item_get key=k%25 status=not_found clsid=0 cfd=3 size=0",
                "item_store key=k%25 status=stored cmd=set ttl=100 clsid=1 cfd=3 size=2",
            ][..],
        ),
        (
            "append k% 0 0 1 noreply\nc\n",
            &[
                "item_get key=k%25 status=found clsid=1 cfd=3 size=2",
                "item_store key=k%25 status=stored cmd=append ttl=100 clsid=1 cfd=3 size=3",
            ],
        ),
        ("get k%\n", &["item_get key=k%25 status=found clsid=1 cfd=3 size=3"]),
        (
            "md k% x q\n",
            &[
                "item_get key=k%25 status=found clsid=1 cfd=3 size=3",
                "item_get key=k%25 status=found clsid=1 cfd=3 size=3",
                "item_store key=k%25 status=stored cmd=set ttl=0 clsid=1 cfd=3 size=0",
                "deleted key=k%25 cmd=md clsid=1 size=0",
            ],
        ),
        (
            "delete k%\n",
            &[
                "item_get key=k%25 status=found clsid=1 cfd=3 size=0",
                "deleted key=k%25 cmd=delete clsid=1 size=0",
            ],
        ),
        ("delete k%\n", &["item_get key=k%25 status=not_found clsid=0 cfd=3 size=0"]),
        (
            "ms k 1 C9 T30\nx\n",
            &[
                "item_get key=k status=not_found clsid=0 cfd=3 size=0",
                "item_store key=k status=not_found cmd=cas ttl=30 clsid=1 cfd=3 size=1",
            ],
        ),
        (
            "set k 0 -1 1\nx\n",
            &[
                "item_get key=k status=not_found clsid=0 cfd=3 size=0",
                "item_store key=k status=stored cmd=set ttl=4294967295 clsid=1 cfd=3 size=1",
            ],
        ),
        ("flush_all\nverbosity 1\nnosuch\nmn\n", &[]),
    ] {
        t.memcached(request.replace('\n', "\r\n"));
        assert_eq!(lines(&seen), wanted, "{request:?}");
    }
    // Only what was asked for.
    let only = watcher(&mut t, "mutations");
    let default = watcher(&mut t, "");
    t.memcached("add k 0 0 1\r\nx\r\nget k\r\n");
    assert_eq!(lines(&only).len(), 1);
    assert_eq!(lines(&default).len(), 2);
    // What proxies send is seen as well.
    t.through_proxy();
    t.run_args(["MC", "get k"]);
    assert_eq!(lines(&default), ["item_get key=k status=found clsid=1 cfd=3 size=1"]);
}

#[test]
fn what_has_expired_is_not_found() {
    let mut t = Harness::new();
    t.memcached("set k 0 1 1\r\nx\r\n");
    let seen = watcher(&mut t, "");
    t.advance(1_000);
    t.memcached("get k\r\n");
    assert_eq!(lines(&seen), ["item_get key=k status=not_found clsid=0 cfd=3 size=0"]);
}

#[test]
fn what_is_not_taken() {
    let mut t = Harness::new();
    let seen = watcher(&mut t, "mutations");
    t.memcached(format!("set big 0 0 2000000\r\n{}\r\n", "x".repeat(2_000_000)));
    assert_eq!(lines(&seen), ["item_store key=big status=too_large cmd=set ttl=0 clsid=1 cfd=3 size=0"]);
    t.run("CONFIG SET maxmemory 1");
    t.memcached("add k 0 0 1\r\nx\r\n");
    assert_eq!(lines(&seen), ["item_store key=k status=no_memory cmd=add ttl=0 clsid=1 cfd=3 size=0"]);
}

#[test]
fn evictions_and_connections() {
    let mut t = Harness::with_settings(Settings::default());
    let seen = watcher(&mut t, "evictions connevents");
    // Its own beginning came before.
    assert_eq!(lines(&seen), [""; 0]);
    let node = t.node.clone();
    let add = |unix, resp| {
        let addr = if unix { "/tmp/x:0" } else { "1.2.3.4:5" };
        node.clients.add(Client::new(node.clients.next_id(), addr.into(), "".into(), 4, unix, resp, START_MS))
    };
    let (one, two, _redis) = (add(false, 0), add(true, 0), add(false, 2));
    one.ends_by(CloseReason::IdleTimeout);
    for client in [one, two] {
        t.node.clients.remove(client.id);
    }
    assert_eq!(
        lines(&seen),
        [
            "conn_new rip=1.2.3.4 rport=5 transport=tcp cfd=4",
            "conn_new rip=unix rport=0 transport=local cfd=4",
            "conn_close rip=1.2.3.4 rport=5 transport=tcp reason=idle_timeout cfd=4",
            "conn_close rip=unix rport=0 transport=local reason=normal cfd=4",
        ]
    );
    t.memcached("set k 0 100 3\r\nabc\r\nget k\r\n");
    t.run("CONFIG SET maxmemory-policy allkeys-lru");
    t.advance(7_000);
    t.run("CONFIG SET maxmemory 1");
    t.memcached("set other 0 0 1\r\nx\r\n");
    let stats = t.memcached("stats items\r\n");
    for stat in ["evicted_nonzero 1", "evicted_time 7", "evicted_unfetched 0"] {
        assert!(stats.contains(&format!("STAT items:1:{stat}\r\n")), "{stat}: {stats}");
    }
    let evicted = lines(&seen);
    assert_eq!(
        evicted.first().map(String::as_str),
        Some("eviction key=k fetch=yes ttl=93 la=7 clsid=1 size=3")
    );
}

#[test]
fn a_slow_watcher_misses_lines_and_is_told_how_many() {
    let mut t = Harness::new();
    let slow = watcher(&mut t, "");
    let mut asked: u64 = 0;
    while t.node.pubsub.log().skipped() < 3 {
        t.memcached("get k\r\n");
        asked += 1;
    }
    let got = lines(&slow);
    assert_eq!(got.len() as u64, asked - 3);
    assert!(got.iter().map(|line| line.len()).sum::<usize>() < WATCHER_BYTES);
    t.memcached("get k\r\n");
    assert_eq!(lines(&slow), ["skipped=3", "item_get key=k status=not_found clsid=0 cfd=3 size=0"]);
    // What its socket has not taken counts as well.
    let client = slow.client.clone().expect("a connection");
    client.output_bytes.store(WATCHER_BYTES, Ordering::Relaxed);
    t.memcached("get k\r\n");
    assert_eq!(lines(&slow), [""; 0]);
    let stats = t.memcached("stats\r\n");
    for stat in ["log_watchers 1", "log_watcher_skipped 4", &format!("log_watcher_sent {}", asked - 2)] {
        assert!(stats.contains(&format!("STAT {stat}\r\n")), "{stat}: {stats}");
    }
}

#[test]
fn who_may_watch() {
    let mut t = Harness::new();
    let reply = t.memcached("watch bogus\r\nwatch fetchers noreply\r\n");
    assert_eq!(reply, "ERROR\r\nERROR cannot pipeline other commands before watch\r\n");
    assert_eq!(
        t.memcached("get k\r\nwatch\r\n"),
        "END\r\nERROR cannot pipeline other commands before watch\r\n"
    );
    let all: Vec<_> = (0..20).map(|_| watcher(&mut t, "sysevents rawcmds proxyreqs")).collect();
    assert_eq!(t.memcached("watch\r\n"), "WATCHER_TOO_MANY log watcher limit reached\r\n");
    assert!(t.session.subscriptions.is_none());
    // Nobody asks for what there is: nothing is written.
    assert!(!t.node.pubsub.log().wants(Lines::OF_ITEMS));
    drop(all);
    assert_eq!((t.node.pubsub.log().watchers(), t.node.pubsub.log().written()), (0, 0));
    let node = Arc::clone(&t.node);
    drop(watcher(&mut t, "fetchers"));
    assert!(!node.pubsub.log().wants(Lines::FETCHERS));
}
