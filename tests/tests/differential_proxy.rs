//! Through the proxy, Torc answers as `redis-server` and `memcached` do: the same lists as against one node.
//!
//! The cluster has one shard, so that commands over several keys mean what they mean to one Redis; what
//! several shards change is tested elsewhere.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use torc_tests::client::Endpoint;
use torc_tests::cluster::Cluster;
use torc_tests::differential::list::List;
use torc_tests::differential::{Pair, Report, files, folder, memcached, random, raw, redis};
use torc_tests::peer::Peer;

fn cluster() -> Cluster {
    Cluster::start_with(&["--shards", "1", "--replicas", "0"])
}

fn against_redis(what: &str, run: impl FnOnce(&Pair) -> Report) {
    let Some(peer) = Peer::redis() else { return };
    let cluster = cluster();
    let ours = Endpoint::Tcp(cluster.proxy().resp());
    run(&Pair::proxy(ours, peer.endpoint().clone())).finish(what);
}

#[test]
fn lists() {
    against_redis("the lists through the proxy", |pair| {
        let mut report = Report::default();
        for file in files(&folder("redis"), "cmds") {
            let list = List::read(&file);
            if !list.direct {
                report.merge(redis::run(pair, &list));
            }
        }
        report
    });
}

#[test]
fn raw_bytes() {
    against_redis("byte streams through the proxy", |pair| {
        let mut report = Report::default();
        for file in files(&folder("redis"), "raw") {
            report.merge(raw::run(pair, &file));
        }
        report
    });
}

#[test]
fn random_commands() {
    against_redis("random commands through the proxy", |pair| {
        let (seed, count) = random::settings();
        let mut report = Report::default();
        for file in files(&folder("random"), "gen") {
            report.merge(random::run(pair, &random::Family::read(&file), seed, count));
        }
        report
    });
}

#[test]
fn memcached_lists() {
    let Some(peer) = Peer::memcached() else { return };
    let cluster = cluster();
    let pair = Pair::proxy(Endpoint::Tcp(cluster.proxy().memcached()), peer.endpoint().clone());
    let (seed, sequences) = random::settings();
    let mut report = memcached::run_random(&pair, seed, sequences * memcached::REQUESTS);
    for file in files(&folder("memcached"), "cmds") {
        report.merge(memcached::run(&pair, &file));
    }
    report.finish("memcached lists through the proxy");
}
