//! What `docs/memcached.md` says of one keyspace and of the differences from memcached: a test for each row that no other
//! test shows, and the check that every row names one.

use std::path::Path;

use super::tests::{replica_of, talk};
use crate::effect::EffectWriter;
use crate::exec::testing::Harness;
use crate::shard::Role;
use crate::store::STRIPES;
use torc_cluster::ids::Term;
use torc_runtime::shutdown::Shutdown;

#[test]
fn client_flags_outlive_changes_by_resp() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 7 0 1\n1\n", "STORED\n")]);
    for command in ["APPEND k 2", "INCR k", "EXPIRE k 100", "PERSIST k"] {
        t.run(command);
        assert!(t.memcached("get k\r\n").starts_with("VALUE k 7 "), "{command}");
    }
    t.run("SET k 1");
    talk(&mut t, &[("get k\n", "VALUE k 0 1\n1\nEND\n")]);
}

#[test]
fn a_padded_number_is_none_for_resp() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 0 2\n10\ndecr k 1\n", "STORED\n9\n")]);
    assert_eq!(t.run("GET k"), "$2\r\n9 \r\n");
    assert_eq!(t.run("INCR k"), "-ERR value is not an integer or out of range\r\n");
    talk(&mut t, &[("incr k 1\n", "10\n")]);
    assert_eq!(t.run("INCR k"), ":11\r\n");
}

#[test]
fn items_are_in_database_0() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 0 1\nx\n", "STORED\n")]);
    assert_eq!(t.run("GET k"), "$1\r\nx\r\n");
    t.run("SELECT 1");
    assert_eq!(t.run("GET k"), "$-1\r\n");
}

#[test]
fn the_version_names_both() {
    let version = format!("VERSION 1.6.18-torc-{}\n", env!("CARGO_PKG_VERSION"));
    talk(&mut Harness::new(), &[("version\n", &version)]);
}

#[test]
fn binary_requests_are_unknown_commands() {
    let mut t = Harness::new();
    assert_eq!(
        t.memcached(b"\x80\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\r\nmn\r\n"),
        "ERROR\r\nMN\r\n"
    );
}

#[test]
fn too_large_is_answered_at_once() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 0 2000000\n", "SERVER_ERROR object too large for cache\n")]);
    // Lengths are taken modulo 2^32, as memcached does; what is then negative is refused.
    talk(&mut t, &[("set k 0 0 4294967297\nx\nget k\n", "STORED\nVALUE k 0 1\nx\nEND\n")]);
    for length in ["2147483646", "2147483648", "-1"] {
        let refused = "CLIENT_ERROR bad command line format\nMN\n";
        talk(&mut t, &[(&format!("set k 0 0 {length}\nmn\n"), refused)]);
    }
}

#[test]
fn a_count_with_a_long_opaque_token_is_none() {
    let mut t = Harness::new();
    let request = format!("set n 0 0 1\n5\nma n O{}\nget n\n", "1".repeat(32));
    let reply = "STORED\nCLIENT_ERROR opaque token too long\nVALUE n 0 1\n5\nEND\n";
    talk(&mut t, &[(&request, reply)]);
}

#[test]
fn a_longer_number_keeps_what_was_asked_for() {
    let mut t = Harness::new();
    talk(&mut t, &[("set n 0 0 1\n9\nma n E77 T100 v\nmg n c t\n", "STORED\nVA 2\n10\nHD c77 t100\n")]);
}

#[test]
fn a_quiet_count_that_creates_is_quiet() {
    talk(&mut Harness::new(), &[("ma n N0 J5 q\nmn\nget n\n", "MN\nVALUE n 0 1\n5\nEND\n")]);
}

#[test]
fn created_items_know_that_their_key_is_base64() {
    let mut t = Harness::new();
    talk(
        &mut t,
        &[
            ("mg Zm9v N60 b k\nmg Zm9v b k\n", "HD kZm9v b W\nHD kZm9v b Z\n"),
            ("ma YmFy N60 b k\nlru_crawler mgdump all\n", "HD kYmFy b\nmg YmFy b\nmg Zm9v b\nEN\n"),
        ],
    );
}

#[test]
fn one_error_for_a_key_that_is_too_long() {
    let mut t = Harness::new();
    let long = "k".repeat(251);
    let request = format!("set a 0 0 1\nx\nget a\nget a {long}\nget a\n");
    let value = "VALUE a 0 1\nx\nEND\n";
    talk(&mut t, &[(&request, &format!("STORED\n{value}CLIENT_ERROR bad command line format\n{value}"))]);
}

#[test]
fn browsers_are_shown_the_door() {
    let mut t = Harness::new();
    for line in ["GET / HTTP/1.1", "abc HTTP/1.1", "mX / HTTP/1.0"] {
        talk(&mut t, &[(&format!("{line}\nmn\n"), "<closed>")]);
    }
    talk(&mut t, &[("get HTTP/1.1\nGET HTTP/1.1 x\nmn\n", "END\nERROR\nMN\n")]);
}

#[test]
fn times_left_have_no_sign() {
    let mut t = Harness::new();
    talk(&mut t, &[("set k 0 100 0\n\n", "STORED\n")]);
    assert!(t.memcached("me k\r\n").starts_with("ME k exp=100 la="));
}

#[test]
fn no_time_of_use_under_lfu_and_s3fifo() {
    for (policy, idle_s) in [("allkeys-lru", 7), ("allkeys-lfu", 0), ("allkeys-s3fifo", 0)] {
        let mut t = Harness::new();
        t.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        talk(&mut t, &[("set k 0 0 1\nx\n", "STORED\n")]);
        t.advance(7_000);
        let text = t.memcached("me k\r\n");
        assert!(text.contains(&format!(" la={idle_s} ")), "{policy}: {text}");
        talk(&mut t, &[("mg k l u\n", &format!("HD l{idle_s}\n"))]);
    }
}

#[test]
fn sizes_are_of_entries() {
    let mut t = Harness::new();
    let mut size = |value: usize| {
        t.memcached(format!("set k 0 0 {value}\r\n{}\r\n", "x".repeat(value)));
        let text = t.memcached("me k\r\n");
        let size = text.trim_end().rsplit("size=").next().and_then(|n| n.parse::<usize>().ok());
        let size = size.unwrap_or_else(|| panic!("no size: {text}"));
        assert!(t.memcached("lru_crawler metadump all\r\n").contains(&format!(" size={size}\n")));
        size
    };
    // Byte by byte, where memcached goes from chunk to chunk.
    let sizes = [size(10), size(11), size(12)];
    assert!(sizes[0] < sizes[1] && sizes[1] < sizes[2] && sizes[2] < 120, "{sizes:?}");
}

#[test]
fn a_delayed_flush_goes_on_with_the_replica() {
    let mut t = Harness::primary();
    talk(&mut t, &[("set k 0 0 1\na\nflush_all 10\n", "STORED\nOK\n")]);
    let records = t.records();
    let mut full = EffectWriter::new(true);
    t.node.snapshot_common(&mut full);
    let mut common = Vec::new();
    full.take_record(1, 1, &mut common);
    let [mut told, mut synced] = [replica_of(&records), replica_of(&common)];
    synced.memcached("set k 0 0 1\r\na\r\n");
    // Whoever is primary at that moment does it, once.
    for node in [&mut t, &mut told, &mut synced] {
        node.advance(9_999);
        talk(node, &[("get k\n", "VALUE k 0 1\na\nEND\n")]);
        node.advance(1);
        talk(node, &[("get k\nset k 0 0 1\nb\n", "END\nSTORED\n")]);
        node.advance(10_000);
        talk(node, &[("get k\n", "VALUE k 0 1\nb\nEND\n")]);
    }
    // Who follows has done what the primary did, and does not do it again.
    let mut replica = replica_of(&[records, t.records()].concat());
    replica.advance(30_000);
    talk(&mut replica, &[("get k\n", "VALUE k 0 1\nb\nEND\n")]);
    // A flush at once takes its place there, too.
    talk(&mut t, &[("flush_all 10\nflush_all\nset k 0 0 1\nc\n", "OK\nOK\nSTORED\n")]);
    let mut replica = replica_of(&t.records());
    replica.advance(30_000);
    talk(&mut replica, &[("get k\n", "VALUE k 0 1\nc\nEND\n")]);
}

#[test]
fn a_delayed_flush_waits_for_who_may_do_it() {
    let mut t = Harness::primary();
    t.run("CONFIG SET default-ack in-sync");
    t.node.shard.set_in_sync_enough(true);
    talk(&mut t, &[("set k 0 0 1\na\nflush_all 10\n", "STORED\nOK\n")]);
    let _ = t.records();
    // Too few replicas: it is refused like any write, and tried again.
    t.node.shard.set_in_sync_enough(false);
    t.advance(10_000);
    talk(&mut t, &[("get k\n", "VALUE k 0 1\na\nEND\n")]);
    assert!(t.records().is_empty());
    t.node.shard.set_in_sync_enough(true);
    talk(&mut t, &[("get k\n", "VALUE k 0 1\na\nEND\n")]);
    t.advance(100);
    talk(&mut t, &[("get k\n", "END\n")]);
    // A replica leaves it to its primary.
    talk(&mut t, &[("set k 0 0 1\na\nflush_all 10\n", "STORED\nOK\n")]);
    let closed = t.node.shard.gate.close();
    t.node.shard.set_role(&closed, Role::Replica, Term(1));
    drop(closed);
    let _ = t.records();
    t.advance(20_000);
    t.run("PING");
    assert_eq!(t.node.store.count_keys(), 1);
}

#[test]
fn cache_memlimit_sets_maxmemory() {
    let mut t = Harness::new();
    talk(&mut t, &[("cache_memlimit 64\n", "OK\n")]);
    assert_eq!(t.run("CONFIG GET maxmemory"), "*2\r\n$9\r\nmaxmemory\r\n$8\r\n67108864\r\n");
    assert!(t.memcached("stats\r\n").contains("STAT limit_maxbytes 67108864\r\n"));
    talk(
        &mut t,
        &[
            ("cache_memlimit 7\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\n"),
            ("cache_memlimit 1000000001\n", "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\n"),
            ("cache_memlimit x\ncache_memlimit\n", "ERROR\nERROR\n"),
            ("cache_memlimit 8 noreply\nmn\n", "MN\n"),
        ],
    );
    assert_eq!(t.node.settings.load().maxmemory, 8 << 20);
}

#[test]
fn any_class_is_the_whole_database() {
    let mut t = Harness::new();
    let count = 3 * STRIPES;
    for id in 0..count {
        t.memcached(format!("set k{id} 0 0 0 noreply\r\n\r\n"));
    }
    for classes in ["all", "hash", "1", "7", "1,2,63"] {
        let lines = t.memcached(format!("lru_crawler metadump {classes}\r\n")).lines().count();
        assert_eq!(lines, count + 1, "{classes}");
    }
}

#[test]
fn sizes_are_not_counted() {
    let mut t = Harness::new();
    let disabled = "STAT sizes_status disabled\n";
    talk(
        &mut t,
        &[
            ("stats sizes_enable\nstats sizes_disable\n", &format!("{disabled}{disabled}")),
            ("stats sizes\n", &format!("{disabled}END\n")),
        ],
    );
}

#[test]
fn shutdown_must_be_enabled() {
    let mut t = Harness::new();
    let stop = Shutdown::new();
    assert!(t.node.shutdown.set(stop.clone()).is_ok());
    talk(
        &mut t,
        &[("shutdown\nshutdown graceful\nmn\n", &format!("{0}{0}MN\n", "ERROR: shutdown not enabled\n"))],
    );
    assert_eq!(t.run("CONFIG SET memcached-shutdown yes"), "+OK\r\n");
    talk(&mut t, &[("shutdown now\n", "CLIENT_ERROR invalid shutdown mode\n")]);
    assert!(!stop.triggered());
    talk(&mut t, &[("shutdown graceful\n", "<closed>")]);
    assert!(stop.triggered());
}

#[test]
fn a_replica_serves_no_items() {
    let mut t = Harness::primary();
    talk(&mut t, &[("ms k 1\na\n", "HD\n")]);
    let closed = t.node.shard.gate.close();
    t.node.shard.set_role(&closed, Role::Replica, Term(1));
    drop(closed);
    t.session.readonly = true;
    // Its map names no primary either.
    let elsewhere = "SERVER_ERROR CLUSTERDOWN Hash slot not served\n";
    talk(&mut t, &[("get k\nmg k v\nms k 1\nb\nmn\n", &format!("{}MN\n", elsewhere.repeat(3)))]);
}

#[test]
fn the_words_of_a_login_are_checked() {
    let mut t = Harness::new();
    t.run("CONFIG SET requirepass secret");
    t.session.authenticated = false;
    let no = "CLIENT_ERROR unauthenticated\n";
    talk(
        &mut t,
        &[
            ("set a x y 8\na secret\n", &no.repeat(2)),
            ("get a\nset a 0 0 8\na secret\n", &format!("{no}STORED\n")),
        ],
    );
}

/// The files that hold the tests of the rows, below the folder of the project.
const FILES: [&str; 8] = [
    "server/src/memcached/differences.rs",
    "server/src/memcached/hostile.rs",
    "server/src/memcached/tests.rs",
    "server/src/memcached/watch/tests.rs",
    "proxy/tests/memcached.rs",
    "tests/tests/leases.rs",
    "tests/tests/memcached.rs",
    "tests/tests/differential_memcached.rs",
];

/// The last cell of each row of the tables under these headings.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            inside = matches!(heading, "One keyspace" | "Differences");
        } else if inside && line.starts_with('|') && !line.starts_with("| ---") {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let (first, last) = (cells.first().copied(), cells.last().copied());
            rows.push((first.unwrap_or_default().to_owned(), last.unwrap_or_default().to_owned()));
        }
    }
    rows.retain(|(_, last)| last != "test");
    rows
}

#[test]
fn every_row_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let tests: String = FILES.iter().map(|file| read(file)).collect();
    let rows = named_tests(&read("docs/memcached.md"));
    assert!(rows.len() > 30, "{} rows", rows.len());
    for (row, cell) in &rows {
        let names: Vec<_> = cell.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "{row}: no test is called {name:?}");
        }
    }
}
