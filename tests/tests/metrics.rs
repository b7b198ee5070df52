//! `/metrics` of nodes and proxies, and `docs/metrics.md`: each names all that the other has.
//!
//! `TORC_UPDATE_DOCS=1` writes the document anew from what the processes say.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::Cluster;
use torc_tests::scrape::{Family, Scrape};

/// Set to rewrite the document.
const UPDATE: &str = "TORC_UPDATE_DOCS";

const HEAD: &str = "# Metrics\n\n\
Every process shows these under `/metrics` of its HTTP port, in the text format of Prometheus. Labels are in brackets; a\n\
series appears with the first event it counts. Counters begin at 0 when the process starts.\n\n\
`/healthz` answers 200 while the process works (a node: while every worker makes progress), `/readyz` while it should be\n\
asked anything: a plain store, a primary with its lease, a replica; a proxy that knows a primary of every shard.\n\
`/status` shows a member of a cluster its own state as JSON, `/map` the map that a proxy follows.\n\n\
Written by `TORC_UPDATE_DOCS=1 cargo test -p torc-tests --test metrics` from what running processes say; a test compares\n\
it with them.\n";

/// What the document must have, by what it is asked for.
const ASKED: &[&str] = &[
    "torc_server_requests_total",
    "torc_server_errors_total",
    "torc_server_request_seconds",
    "torc_server_keyspace_hits_total",
    "torc_server_keyspace_misses_total",
    "torc_server_evicted_total",
    "torc_server_expired_total",
    "torc_server_memory_used_bytes",
    "torc_server_clients",
    "torc_server_replication_lag_records",
    "torc_server_term",
    "torc_server_lease_remaining_seconds",
    "torc_server_failovers_total",
    "torc_server_lost_records_total",
    "torc_server_uncertain_total",
    "torc_server_locks_held",
    "torc_server_lock_waiters",
    "torc_proxy_requests_total",
    "torc_proxy_errors_total",
    "torc_proxy_request_seconds",
    "torc_proxy_uncertain_total",
    "torc_proxy_clients",
    "torc_proxy_upstream_requests_total",
    "torc_proxy_upstream_errors_total",
    "torc_proxy_upstream_seconds",
];

/// Sends a command to the proxy; the reply does not matter.
fn send(connection: &mut Connection, line: &str) {
    let args: Vec<&str> = line.split(' ').collect();
    connection.call(&args).unwrap_or_else(|error| panic!("{line}: {error}"));
}

fn document(families: &BTreeMap<String, Family>) -> String {
    let mut text = HEAD.to_owned();
    for (prefix, title) in [
        ("torc_server_", "Nodes"),
        ("torc_raft_", "Nodes that vote in the control plane"),
        ("torc_proxy_", "Proxies"),
    ] {
        let _ = write!(text, "\n## {title}\n\n| metric | type | meaning |\n| --- | --- | --- |\n");
        for (name, family) in families.iter().filter(|(name, _)| name.starts_with(prefix)) {
            let labels = family.labels().join(", ");
            let labels = if labels.is_empty() { labels } else { format!(" [{labels}]") };
            let _ = writeln!(text, "| `{name}`{labels} | {} | {} |", family.kind, family.help);
        }
    }
    text
}

#[test]
fn the_document_lists_what_processes_show() {
    let mut cluster = Cluster::start(1);
    let mut proxy = cluster.connect();
    // Something of each kind, so that every family has a series.
    for n in 0..20 {
        send(&mut proxy, &format!("SET key:{n} {n}"));
        send(&mut proxy, &format!("GET key:{n}"));
    }
    for line in [
        "GET nosuch",
        "HGET key:1 f",
        "NOSUCH",
        "SET short x PX 1",
        "GET",
        "EVAL return 1 0",
        "LOCK.ACQUIRE l TTL 30000",
        "SET guarded x EX 1000",
        "HSET h f v",
    ] {
        send(&mut proxy, line);
    }
    // The proxy would refuse it by itself.
    send(&mut cluster.primary(0).connect(), "GET");
    let mut memcached = Connection::open(&Endpoint::Tcp(cluster.proxy().memcached())).expect("it listens");
    memcached.send(b"get key:1\r\n").expect("sent");
    memcached.read_until(|bytes| bytes.ends_with(b"END\r\n")).expect("an answer");

    let (node, at) = (cluster.primary(0), cluster.proxy().http());
    let primary = cluster.wait("the key's expiry in the metrics", || {
        Some(Scrape::of(node.http())).filter(|scrape| scrape.sum("torc_server_expired_total", &[]) >= 1.0)
    });
    let replica = Scrape::of(cluster.replica(0).http());
    let of_proxy = Scrape::of(at);

    // Figures are what they should be.
    let is = |scrape: &Scrape, name: &str, labels: &[(&str, &str)], wanted: f64| {
        assert_eq!(scrape.sum(name, labels), wanted, "{name} {labels:?}");
    };
    let at_least = |scrape: &Scrape, name: &str, labels: &[(&str, &str)], least: f64| {
        let found = scrape.sum(name, labels);
        assert!(found >= least, "{name} {labels:?} is {found}, below {least}");
    };
    at_least(&primary, "torc_server_requests_total", &[("command", "get")], 21.0);
    at_least(&primary, "torc_server_request_seconds", &[("command", "set")], 20.0);
    at_least(&primary, "torc_server_keyspace_hits_total", &[], 20.0);
    at_least(&primary, "torc_server_keyspace_misses_total", &[], 1.0);
    at_least(&primary, "torc_server_errors_total", &[("code", "WRONGTYPE")], 1.0);
    at_least(&primary, "torc_server_memory_used_bytes", &[], 1000.0);
    at_least(&primary, "torc_server_clients", &[], 1.0);
    at_least(&primary, "torc_server_lease_remaining_seconds", &[], 0.001);
    is(&primary, "torc_server_locks_held", &[], 1.0);
    is(&primary, "torc_server_lock_waiters", &[], 0.0);
    is(&primary, "torc_server_evicted_total", &[], 0.0);
    is(&primary, "torc_server_uncertain_total", &[], 0.0);
    is(&primary, "torc_server_lost_records_total", &[], 0.0);
    is(&primary, "torc_server_role", &[("role", "primary")], 1.0);
    is(&replica, "torc_server_role", &[("role", "replica")], 1.0);
    is(&replica, "torc_server_lease_remaining_seconds", &[], 0.0);
    for scrape in [&primary, &replica] {
        is(scrape, "torc_server_term", &[], cluster.term(0) as f64);
        is(scrape, "torc_server_in_sync_members", &[("shard", "0")], 2.0);
        is(scrape, "torc_server_keys", &[("db", "0")], 22.0);
    }
    is(&of_proxy, "torc_proxy_requests_total", &[("command", "set")], 22.0);
    at_least(&of_proxy, "torc_proxy_errors_total", &[("command", "hget")], 1.0);
    at_least(&of_proxy, "torc_proxy_request_seconds", &[("command", "get")], 20.0);
    is(&of_proxy, "torc_proxy_clients", &[("protocol", "resp")], 1.0);
    is(&of_proxy, "torc_proxy_clients", &[("protocol", "memcached")], 1.0);
    at_least(&of_proxy, "torc_proxy_upstream_requests_total", &[("shard", "0")], 40.0);
    at_least(&of_proxy, "torc_proxy_upstream_seconds", &[("shard", "0")], 40.0);

    // A failover is counted, wherever one asks.
    let before = primary.sum("torc_server_failovers_total", &[("shard", "0")]);
    let output = cluster.torc(&["cluster", "failover", "0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for entry in [cluster.named("node-1"), cluster.named("node-2")] {
        cluster.wait("the failover in the metrics", || {
            let found = Scrape::of(entry.http()).sum("torc_server_failovers_total", &[("shard", "0")]);
            (found >= before + 1.0).then_some(())
        });
    }

    // The document and the processes name the same.
    let mut families = primary.0;
    for scrape in [replica, of_proxy, Scrape::of(cluster.named("node-1").http()), Scrape::of(at)] {
        for (name, family) in scrape.0 {
            families.entry(name).or_default().merge(family);
        }
    }
    for name in ASKED {
        assert!(families.contains_key(*name), "{name} is missing");
    }
    let right = document(&families);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &right).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let missing: Vec<&str> = right.lines().filter(|line| !written.contains(line)).collect();
    let too_much: Vec<&str> = written.lines().filter(|line| !right.contains(line)).collect();
    assert!(
        missing.is_empty() && too_much.is_empty(),
        "docs/metrics.md lacks {missing:#?}\nand has {too_much:#?}\nwrite it anew with {UPDATE}=1"
    );
    cluster.stop(Signal::INT);
}
