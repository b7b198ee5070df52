//! Changes that nobody asks for are told as well: expiry, eviction, and what a node takes from another primary.

use std::collections::BTreeSet;

use torc_protocol::context::Context;
use torc_protocol::resp::Value;

use crate::effect::{EffectWriter, effects, record};
use crate::effect_apply;
use crate::exec::testing::Harness;
use crate::store::{STRIPES, stripe_of};

fn primary() -> Harness {
    let mut t = Harness::primary();
    t.session.trusted = true;
    t
}

/// Reads as a proxy does that keeps the reply.
fn keep(t: &mut Harness, words: &[&str]) {
    let mut context = Vec::new();
    Context { track: true, ..Context::default() }.encode(&mut context);
    let args = [b"CTX", &context[..]].into_iter().chain(words.iter().map(|word| word.as_bytes()));
    let reply = t.run_args(args);
    assert!(reply.starts_with(b"|1\r\n+track\r\n"), "{words:?}: {}", reply.escape_ascii());
}

/// The keys that the connection was told of since it was asked last, in order.
fn told(t: &mut Harness) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(subscriptions) = &t.session.subscriptions {
        subscriptions.mailbox().take(&mut out);
    }
    let (mut at, mut keys) = (0, Vec::new());
    while let Some((Value::Push(words), len)) = Value::decode(&out[at..]).expect("sound") {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        assert_eq!(words[..2], ["invalidate", "0"]);
        keys.push(words[2].to_owned());
        at += len;
    }
    keys
}

#[test]
fn what_expires_is_told_of_whoever_finds_it() {
    let mut t = primary();
    for found_by in ["the sweep", "GET k", "EXISTS k", "SET k w", "DEL k", "MC get"] {
        t.run("SET k v PX 50");
        keep(&mut t, &["GET", "k"]);
        t.advance(49);
        t.sweep();
        assert!(told(&mut t).is_empty(), "{found_by}");
        t.advance(1);
        match found_by {
            "the sweep" => t.sweep(),
            "MC get" => drop(t.run_args(["MC", "get k"])),
            command => drop(t.run(command)),
        }
        assert_eq!(told(&mut t), ["k"], "{found_by}");
    }
    // Fields of a hash, and the hash with its last one.
    for found_by in ["the sweep", "HGET h f", "HLEN h"] {
        t.run("DEL h");
        t.run("HSET h f v g v");
        t.run("HPEXPIRE h 50 FIELDS 1 f");
        t.run("HPEXPIRE h 80 FIELDS 1 g");
        for ms in [50, 30] {
            keep(&mut t, &["HGETALL", "h"]);
            t.advance(ms);
            match found_by {
                "the sweep" => t.sweep(),
                command => drop(t.run(command)),
            }
            assert_eq!(told(&mut t), ["h"], "{found_by}");
        }
    }
    // A flush that was asked for before.
    t.run("SET k v");
    t.run_args(["MC", "flush_all 10"]);
    keep(&mut t, &["GET", "k"]);
    t.advance(9_999);
    t.run("PING");
    assert!(told(&mut t).is_empty());
    t.advance(1);
    t.run("GET other");
    assert_eq!(told(&mut t), ["k"]);
}

#[test]
fn what_is_evicted_is_told_of() {
    for policy in ["allkeys-random", "allkeys-lru", "allkeys-lfu", "allkeys-s3fifo", "volatile-ttl"] {
        let mut t = primary();
        t.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        let keys: BTreeSet<String> = (0..1_000).map(|n| format!("k{n}")).collect();
        for key in &keys {
            t.run(&format!("SET {key} {} EX 1000", "v".repeat(200)));
            keep(&mut t, &["GET", key]);
        }
        t.run(&format!(
            "CONFIG SET maxmemory {}",
            t.node.used_bytes() - t.node.store.used_bytes() as u64 / 4
        ));
        t.run("SET {new}1 v");
        t.sweep();
        let there: BTreeSet<String> =
            keys.iter().filter(|key| t.run(&format!("EXISTS {key}")) == ":1\r\n").cloned().collect();
        let told: Vec<String> = told(&mut t);
        let gone: BTreeSet<String> = keys.difference(&there).cloned().collect();
        assert!(!gone.is_empty(), "{policy}");
        assert_eq!(told.len(), gone.len(), "{policy}: once each");
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), gone, "{policy}");
    }
}

/// A primary that is deposed may serve the same connection again in a later term: whatever it took from the primary
/// between has been told.
#[test]
fn what_another_primary_changed_is_told_of() {
    let mut other = Harness::primary();
    let mut t = primary();
    for (before, change) in [
        ("SET k v", "SET k w"),
        ("SET k v", "DEL k"),
        ("SET k v", "APPEND k w"),
        ("SET k v", "SETRANGE k 3 w"),
        ("SET k v", "EXPIRE k 100"),
        ("SET k v", "RENAME k {k}j"),
        ("SET k v", "FLUSHALL"),
        ("SET k v", "SWAPDB 0 1"),
        ("SET k v", "INVALIDATE k"),
        ("SET k v", r#"EVAL "redis.call('set',KEYS[1],'x')" 1 k"#),
    ] {
        for line in ["FLUSHALL", before] {
            other.run(line);
            t.run(line);
        }
        other.records();
        keep(&mut t, &["GET", "k"]);
        told(&mut t);
        keep(&mut t, &["GET", "k"]);
        other.run(change);
        let records = other.records();
        let mut at = 0;
        while let Some((record, len)) = record(&records[at..]).expect("sound") {
            for effect in effects(record.body) {
                effect_apply::apply(&t.node, &effect.expect("sound"), t.now.boottime_ns);
            }
            at += len;
        }
        assert!(at > 0, "{change}");
        assert_eq!(told(&mut t), ["k"], "{change}");
    }
    // A full sync drops all, then brings what there is; keys that were missing may be there now.
    let mut full = Harness::primary();
    full.run("SET new v");
    t.run("FLUSHALL");
    t.run("SET k v");
    keep(&mut t, &["GET", "k"]);
    keep(&mut t, &["GET", "new"]);
    told(&mut t);
    let index = stripe_of(t.node.store.key(b"new").slot);
    t.node.clear_store();
    let mut expected = vec!["k".to_owned(), "new".to_owned()];
    let mut dropped = told(&mut t);
    dropped.sort();
    expected.sort();
    assert_eq!(dropped, expected);
    keep(&mut t, &["GET", "new"]);
    let mut writer = EffectWriter::new(true);
    assert!((index as usize) < STRIPES);
    let stripe = full.node.store.stripe(index);
    effect_apply::snapshot_stripe(&full.node, &stripe, index, &mut writer, t.now.boottime_ns);
    drop(stripe);
    for effect in effects(&writer.take_bytes()) {
        effect_apply::apply(&t.node, &effect.expect("sound"), t.now.boottime_ns);
    }
    assert_eq!(told(&mut t), ["new"]);
}
