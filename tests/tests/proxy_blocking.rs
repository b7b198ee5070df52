//! Queues on several shards, consumers that wait at all of them through the proxy, and primaries that are killed: no
//! element is given to two, and none is lost but where an answer says that it may be.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::Cluster;
use torc_tests::frame::Node;
use torc_tests::python::{self, Addresses};
use torc_tests::steps::Steps;

const CONSUMERS: usize = 6;
const ELEMENTS: usize = 600;
const KILL_AT: [usize; 2] = [200, 400];

/// What the consumers got, and how often they were told that an outcome is not known.
#[derive(Default)]
struct Taken {
    count: AtomicUsize,
    uncertain: AtomicUsize,
    stop: AtomicBool,
}

fn in_sync(endpoint: &Endpoint) -> Connection {
    let mut connection = Connection::open(endpoint).expect("it listens");
    connection.call(&["CLIENT", "ACK", "in-sync"]).expect("an answer");
    connection
}

/// Gives what it got.
fn consume(endpoint: &Endpoint, keys: &[String], taken: &Taken) -> Vec<String> {
    let mut elements = Vec::new();
    let mut connection = in_sync(endpoint);
    let mut request = vec!["BLPOP".to_owned()];
    request.extend_from_slice(keys);
    request.push("0.5".into());
    while !taken.stop.load(Ordering::Relaxed) {
        let reply = connection.call(&request).expect("an answer");
        if reply.is_error() {
            let text = reply.text().unwrap_or_default();
            if text.starts_with("UNCERTAIN") {
                taken.uncertain.fetch_add(1, Ordering::Relaxed);
            }
            assert!(
                ["UNCERTAIN", "CLUSTERDOWN", "NOREPLICAS", "TRYAGAIN"]
                    .iter()
                    .any(|code| text.starts_with(code)),
                "{text}"
            );
        } else if let Some(element) = reply.children().and_then(|pair| pair.get(1)).and_then(Node::text) {
            taken.count.fetch_add(1, Ordering::Relaxed);
            elements.push(element);
        }
    }
    elements
}

#[test]
fn no_element_is_given_twice_or_lost_when_primaries_die() {
    let mut cluster = Cluster::start(2);
    let endpoint = Endpoint::Tcp(cluster.proxy().resp());
    let keys: Vec<String> = (0..6_u16).map(|n| format!("{}q{n}", cluster.tag(n % 2))).collect();
    let taken = Arc::new(Taken::default());
    let consumers: Vec<_> = (0..CONSUMERS)
        .map(|n| {
            let (endpoint, taken, mut keys) = (endpoint.clone(), Arc::clone(&taken), keys.clone());
            keys.rotate_left(n);
            std::thread::spawn(move || consume(&endpoint, &keys, &taken))
        })
        .collect();
    let mut producer = in_sync(&endpoint);
    let mut unsure = 0;
    for n in 0..ELEMENTS {
        if let Some(shard) = KILL_AT.iter().position(|at| *at == n) {
            let shard = shard as u16;
            cluster.wait_in_sync(shard, 2);
            cluster.primary(shard).signal(Signal::KILL);
        }
        loop {
            let reply = producer
                .call(&["RPUSH", keys[n % keys.len()].as_str(), n.to_string().as_str()])
                .expect("an answer");
            if !reply.is_error() {
                break;
            }
            // Whether it is there is not known: it is left out of the account of what must come.
            if reply.text().is_some_and(|text| text.starts_with("UNCERTAIN")) {
                unsure += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let got = || taken.count.load(Ordering::Relaxed);
    let allowed = || unsure + taken.uncertain.load(Ordering::Relaxed);
    cluster.wait("all elements", || (got() + allowed() >= ELEMENTS).then_some(()));
    // What is left comes within a round of everybody.
    std::thread::sleep(Duration::from_millis(1500));
    taken.stop.store(true, Ordering::Relaxed);
    let mut elements: HashMap<String, usize> = HashMap::new();
    for element in consumers.into_iter().flat_map(|consumer| consumer.join().expect("no panic")) {
        *elements.entry(element).or_default() += 1;
    }
    let twice: Vec<_> = elements.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "given twice: {twice:?}");
    println!(
        "{} of {ELEMENTS} taken, {unsure} pushes and {} pops uncertain",
        elements.len(),
        taken.uncertain.load(Ordering::Relaxed)
    );
    assert!(elements.len() + allowed() >= ELEMENTS);
    cluster.stop(Signal::INT);
}

#[test]
fn redis_py_waits_at_several_shards() {
    let mut cluster = Cluster::start(3);
    let proxy = cluster.proxy();
    let addresses = Addresses { resp: proxy.resp(), memcached: proxy.memcached() };
    let mut steps = Steps::default();
    for (name, protocol) in [("in RESP2", "2"), ("in RESP3", "3")] {
        steps.step(name, || {
            python::run("redis_blocking", &["redis"], addresses, &[("TORC_PROTOCOL", protocol)])
        });
    }
    steps.finish();
    cluster.stop(Signal::INT);
}
