//! Through the proxy, Torc answers as `redis-server` and `memcached` do: the same lists as against one node.
//!
//! A cluster of one shard, where commands over several keys mean what they mean to one Redis; and one of two shards, with
//! one hash tag in all keys.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use torc_tests::client::Endpoint;
use torc_tests::cluster::Cluster;
use torc_tests::differential::list::List;
use torc_tests::differential::{Pair, Report, files, folder, memcached, random, raw, redis};
use torc_tests::peer::Peer;

fn cluster(shards: &str) -> Cluster {
    Cluster::start_with(&["--shards", shards, "--replicas", "0"])
}

fn against_redis(what: &str, run: impl FnOnce(&Pair) -> Report) {
    let Some(peer) = Peer::redis() else { return };
    let cluster = cluster("1");
    let ours = Endpoint::Tcp(cluster.proxy().resp());
    run(&Pair::proxy(ours, peer.endpoint().clone())).finish(what);
}

fn several_shards(what: &str, run: impl FnOnce(&Pair) -> Report) {
    let Some(peer) = Peer::redis() else { return };
    let cluster = cluster("2");
    let ours = Endpoint::Tcp(cluster.proxy().resp());
    run(&Pair::proxy_of_several(ours, peer.endpoint().clone())).finish(what);
}

fn all_lists(pair: &Pair) -> Report {
    let mut report = Report::default();
    for file in files(&folder("redis"), "cmds") {
        let list = List::read(&file);
        if !list.direct {
            report.merge(redis::run(pair, &list));
        }
    }
    report
}

fn all_random(pair: &Pair) -> Report {
    let (seed, count) = random::settings();
    let mut report = Report::default();
    for file in files(&folder("random"), "gen") {
        report.merge(random::run(pair, &random::Family::read(&file), seed, count));
    }
    report
}

#[test]
fn lists() {
    against_redis("the lists through the proxy", all_lists);
}

#[test]
fn lists_on_several_shards() {
    several_shards("the lists through the proxy of two shards", all_lists);
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
    against_redis("random commands through the proxy", all_random);
}

#[test]
fn random_commands_on_several_shards() {
    several_shards("random commands through the proxy of two shards", all_random);
}

#[test]
fn memcached_lists() {
    let Some(peer) = Peer::memcached() else { return };
    let cluster = cluster("1");
    let pair = Pair::proxy(Endpoint::Tcp(cluster.proxy().memcached()), peer.endpoint().clone());
    let (seed, sequences) = random::settings();
    let mut report = memcached::run_random(&pair, seed, sequences * memcached::REQUESTS);
    for file in files(&folder("memcached"), "cmds") {
        report.merge(memcached::run(&pair, &file));
    }
    report.finish("memcached lists through the proxy");
}
