//! The differential harness itself: a peer agrees with a second one of its kind on every list (so a list
//! asks nothing that is a matter of luck), and a planted difference is found.

use torc_tests::differential::list::List;
use torc_tests::differential::{Pair, Report, files, folder, memcached, random, raw, redis};
use torc_tests::peer::{self, Peer};

#[test]
fn redis_agrees_with_itself() {
    let (Some(one), Some(two)) = (Peer::redis(), Peer::redis()) else { return };
    let pair = Pair::of_peers(one.endpoint().clone(), two.endpoint().clone());
    let mut report = Report::default();
    for file in files(&folder("redis"), "cmds") {
        report.merge(redis::run(&pair, &List::read(&file)));
    }
    for file in files(&folder("redis"), "raw") {
        report.merge(raw::run(&pair, &file));
    }
    for file in files(&folder("random"), "gen") {
        report.merge(random::run(&pair, &random::Family::read(&file), 1, 50));
    }
    report.finish("redis and redis");
}

#[test]
fn memcached_agrees_with_itself() {
    let (Some(one), Some(two)) = (Peer::memcached(), Peer::memcached()) else { return };
    let pair = Pair::of_peers(one.endpoint().clone(), two.endpoint().clone());
    let mut report = Report::default();
    for file in files(&folder("memcached"), "cmds") {
        report.merge(memcached::run(&pair, &file));
    }
    report.merge(memcached::run_random(&pair, 1, 4_000));
    report.finish("memcached and memcached");
}

/// A server without GETDEL and with another encoding of hashes: each kind of run finds one of them.
#[test]
fn a_planted_difference_is_found() {
    let Some(program) = peer::find_or_skip("redis-server", "apt-get install redis-server") else { return };
    let right = Peer::redis_at(&program, &[]);
    let wrong =
        Peer::redis_at(&program, &["--rename-command", "GETDEL", "", "--hash-max-listpack-entries", "2"]);
    let pair = Pair::of_peers(wrong.endpoint().clone(), right.endpoint().clone());

    let text = "SET a 1\nGETDEL a\nGET a\nPING\n";
    let report = redis::run_in(&pair, &List::parse("planted", text).expect("parses"), 2);
    assert_eq!(report.compared, 4);
    assert_eq!(report.differences.len(), 2, "{:?}", report.differences);
    assert!(report.differences[0].contains("planted:2 (RESP2): GETDEL a"), "{}", report.differences[0]);

    let gap = "SET a 1\n#! gap we lack it\nGETDEL a\n#! gap no longer true\nPING\n";
    let report = redis::run_in(&pair, &List::parse("planted", gap).expect("parses"), 3);
    assert_eq!((report.gaps, report.differences.len()), (1, 1), "{:?}", report.differences);

    for family in ["strings.gen", "hashes.gen"] {
        let report = random::run(&pair, &random::Family::read(&folder("random").join(family)), 7, 150);
        assert!(!report.differences.is_empty(), "{family} found nothing");
    }
}
