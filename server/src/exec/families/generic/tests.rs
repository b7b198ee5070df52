//! Expiry, SCAN, RANDOMKEY, OBJECT and whole databases.

use std::collections::BTreeSet;

use crate::exec::testing::Harness;

/// The elements of a flat array reply.
fn elements(reply: &str) -> Vec<&str> {
    reply.split("\r\n").skip(1).filter(|l| !l.is_empty() && !l.starts_with('$')).collect()
}

fn scan_all(t: &mut Harness, options: &str) -> Vec<String> {
    let (mut cursor, mut found) = ("0".to_string(), Vec::new());
    loop {
        let reply = t.run(&format!("SCAN {cursor} {options}"));
        let mut lines = reply.split("\r\n").skip(2);
        cursor = lines.next().unwrap_or_default().to_string();
        let keys = lines.skip(1).filter(|l| !l.is_empty() && !l.starts_with('$'));
        found.extend(keys.map(String::from));
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn times_pass() {
    let mut t = Harness::new();
    t.run("SET k v");
    t.expect(&[("PEXPIRE k 1500", ":1\r\n"), ("TTL k", ":2\r\n"), ("PTTL k", ":1500\r\n")]);
    t.advance(1499);
    t.expect(&[("EXISTS k", ":1\r\n"), ("TTL k", ":0\r\n")]);
    t.advance(1);
    t.expect(&[("EXISTS k", ":0\r\n"), ("TTL k", ":-2\r\n"), ("TYPE k", "+none\r\n"), ("DEL k", ":0\r\n")]);
    t.run("SET k v PX 10");
    t.advance(10);
    t.expect(&[("RENAME k l", "-ERR no such key\r\n"), ("COPY k l", ":0\r\n"), ("MOVE k 1", ":0\r\n")]);
    t.run("SET k v PX 10");
    t.run("SET l v PX 1000");
    t.expect(&[("RENAME k l", "+OK\r\n"), ("PTTL l", ":10\r\n")]);
    t.advance(10);
    t.expect(&[("KEYS *", "*0\r\n"), ("RANDOMKEY", "$-1\r\n")]);
}

#[test]
fn a_scan_finds_each_key_once() {
    let mut t = Harness::new();
    let names: BTreeSet<String> = (0..3000).map(|n| format!("key:{n}")).collect();
    for name in &names {
        t.run(&format!("SET {name} v"));
    }
    for n in 0..2000 {
        // All in one stripe, more than one segment holds.
        t.run(&format!("HSET {{tag}}:{n} f v"));
    }
    for options in ["TYPE string COUNT 7", "TYPE STRING COUNT 5000", "MATCH key:*"] {
        let found = scan_all(&mut t, options);
        assert_eq!(found.len(), 3000, "{options}");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), names, "{options}");
    }
    assert_eq!(scan_all(&mut t, "TYPE hash").len(), 2000);
    assert_eq!(scan_all(&mut t, "MATCH {tag}:1?").len(), 10);
    assert_eq!(elements(&t.run("KEYS {tag}:199?")).len(), 10);
    // A cursor beyond the end, a shard number above the position.
    assert!(t.run("SCAN 1125899906842623").starts_with("*2\r\n$1\r\n0\r\n"));
    let first = t.run("SCAN 0");
    assert_eq!(t.run(&format!("SCAN {}", 5u64 << 50)), first);
}

#[test]
fn a_random_key_is_any_key() {
    let mut t = Harness::new();
    t.run("MSET a 1 b 2 c 3");
    t.run("SET d 4 PX 1");
    t.advance(1);
    let seen: BTreeSet<String> = (0..200).map(|_| t.run("RANDOMKEY")).collect();
    let all = ["$1\r\na\r\n", "$1\r\nb\r\n", "$1\r\nc\r\n"].map(String::from);
    assert_eq!(seen, BTreeSet::from(all));
    for n in 0..100 {
        t.run(&format!("SET {{x}}{n} 1"));
    }
    let seen: BTreeSet<String> = (0..2000).map(|_| t.run("RANDOMKEY")).collect();
    assert!(seen.len() > 90, "{}", seen.len());
}

#[test]
fn uses_are_noted() {
    let mut t = Harness::new();
    t.run("SET k v");
    t.advance(30_000);
    t.expect(&[("OBJECT IDLETIME k", ":30\r\n"), ("TTL k", ":-1\r\n"), ("OBJECT IDLETIME k", ":30\r\n")]);
    t.expect(&[("GET k", "$1\r\nv\r\n"), ("OBJECT IDLETIME k", ":0\r\n")]);
    t.advance(7_000);
    t.session.no_touch = true;
    t.expect(&[("GET k", "$1\r\nv\r\n"), ("OBJECT IDLETIME k", ":7\r\n")]);
    t.session.no_touch = false;
    t.expect(&[("TOUCH k", ":1\r\n"), ("OBJECT IDLETIME k", ":0\r\n")]);
    let lfu = crate::settings::EvictionPolicy::AllKeysLfu;
    let settings = crate::settings::Settings { maxmemory_policy: lfu, ..Default::default() };
    let mut t = Harness::with_settings(settings);
    t.run("SET k v");
    t.expect(&[("OBJECT FREQ k", ":5\r\n"), ("GET k", "$1\r\nv\r\n"), ("OBJECT FREQ k", ":6\r\n")]);
    assert!(t.run("OBJECT IDLETIME k").starts_with("-ERR An LFU maxmemory policy is selected"));
}

#[test]
fn databases_are_counted_emptied_and_exchanged() {
    let mut t = Harness::new();
    t.run("MSET a 1 b 2");
    t.run("COPY a c DB 1");
    t.expect(&[
        ("DBSIZE", ":2\r\n"),
        ("SWAPDB 0 1", "+OK\r\n"),
        ("DBSIZE", ":1\r\n"),
        ("GET c", "$1\r\n1\r\n"),
        ("SWAPDB x 1", "-ERR invalid first DB index\r\n"),
        ("SWAPDB 0 x", "-ERR invalid second DB index\r\n"),
        ("SWAPDB 0 16", "-ERR DB index is out of range\r\n"),
        ("FLUSHDB", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("SWAPDB 1 0", "+OK\r\n"),
        ("DBSIZE", ":2\r\n"),
        ("MEMORY USAGE nokey", "$-1\r\n"),
        ("MEMORY USAGE a SAMPLES", "-ERR syntax error\r\n"),
        ("MEMORY USAGE a SAMPLES -1", "-ERR syntax error\r\n"),
        ("FLUSHALL foo", "-ERR syntax error\r\n"),
        ("FLUSHALL ASYNC", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
    t.run_args([&b"SET"[..], b"big", &[b'x'; 5000]]);
    let reply = t.run("MEMORY USAGE big SAMPLES 0");
    let bytes: usize = reply.trim_start_matches(':').trim_end().parse().unwrap_or(0);
    assert!((5000..6500).contains(&bytes), "{reply}");
    t.run("FLUSHALL");
    assert_eq!(t.node.store.used_bytes(), 0);
}
