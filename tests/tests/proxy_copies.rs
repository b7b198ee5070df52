//! Copies of hot keys at two proxies of a real cluster, under writers through both and at the node itself: what readers
//! may see is judged by the order of counters, through the death of a primary as well.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::Signal;
use torc_tests::client::Connection;
use torc_tests::cluster::{self, Cluster};
use torc_tests::frame::Node;
use torc_tests::proxy::Proxy;
use torc_tests::scrape::Scrape;

const KEYS: usize = 3;
/// As in the proxies' configuration.
const BOUND: Duration = Duration::from_millis(250);
/// Copies live long: only word of a change can end them in time.
const CONFIG: &str = "threads = 2\nrequest_timeout_ms = 30000\ncopy_rate = 40\ncopy_bound_ms = 250\ncopy_ttl_ms = 60000\n\n\
    [[policy]]\nprefix = \"hot:\"\nack = \"in-sync\"\ncopies = true\n";

/// What was acknowledged of one counter, oldest first.
#[derive(Default)]
struct Counter {
    acknowledged: Mutex<VecDeque<(Instant, i64)>>,
}

impl Counter {
    fn acknowledge(&self, value: i64) {
        let mut all = self.acknowledged.lock();
        all.push_back((Instant::now(), value));
    }

    /// The largest value that was acknowledged by that moment.
    fn floor(&self, at: Instant) -> i64 {
        let all = self.acknowledged.lock();
        all.iter().filter(|(when, _)| *when <= at).map(|(_, value)| *value).max().unwrap_or(0)
    }
}

#[derive(Default)]
struct World {
    counters: [Counter; KEYS],
    stop: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
}

fn key(index: usize) -> String {
    format!("hot:{index}")
}

fn number(node: &Node) -> Option<i64> {
    node.integer().or_else(|| node.text().and_then(|text| text.parse().ok()))
}

/// A connection that is opened again when it breaks.
struct Client<'a> {
    open: Box<dyn Fn() -> Option<Connection> + Send + 'a>,
    connection: Option<Connection>,
}

impl<'a> Client<'a> {
    fn new(open: impl Fn() -> Option<Connection> + Send + 'a) -> Client<'a> {
        Client { open: Box::new(open), connection: None }
    }

    fn ask(&mut self, args: &[&str]) -> Option<i64> {
        if self.connection.is_none() {
            self.connection = (self.open)();
            std::thread::sleep(Duration::from_millis(if self.connection.is_none() { 20 } else { 0 }));
        }
        match self.connection.as_mut()?.call(args) {
            Ok(answer) => number(&answer),
            Err(_) => {
                self.connection = None;
                None
            }
        }
    }
}

impl World {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Counts up, and reads what it has written over the same connection and over another one of the same proxy.
    fn write<'a>(&self, mut through: Client<'a>, mut beside: Option<Client<'a>>, salt: u64) {
        let mut turn = salt;
        while self.goes_on() {
            turn += 1;
            let (index, name) = (turn as usize % KEYS, key(turn as usize % KEYS));
            if let Some(value) = through.ask(&["INCR", &name]) {
                self.counters[index].acknowledge(value);
                self.writes.fetch_add(1, Ordering::Relaxed);
                for client in std::iter::once(&mut through).chain(beside.as_mut()) {
                    if let Some(seen) = client.ask(&["GET", &name]) {
                        assert!(seen >= value, "{name}: {seen} after the answer {value} at the same proxy");
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(8 + turn % 20));
        }
    }

    fn read(&self, mut through: Client<'_>, salt: u64) {
        let mut turn = salt;
        while self.goes_on() {
            turn += 1;
            // Each for a while, so that it is hot.
            let index = (turn / 512) as usize % KEYS;
            let began = Instant::now();
            let Some(seen) = through.ask(&["GET", &key(index)]) else { continue };
            self.reads.fetch_add(1, Ordering::Relaxed);
            let Some(settled) = began.checked_sub(BOUND) else { continue };
            let floor = self.counters[index].floor(settled);
            assert!(seen >= floor, "{}: {seen}, {BOUND:?} after {floor} was acknowledged", key(index));
        }
    }
}

#[test]
fn nobody_reads_what_was_overwritten_longer_ago_than_the_bound() {
    let cluster = Cluster::start(1);
    cluster.wait_in_sync(0, 2);
    let proxies = [Proxy::start(&cluster, CONFIG), Proxy::start(&cluster, CONFIG)];
    let world = World::default();
    let mut setup = proxies[0].connect();
    (0..KEYS).for_each(|index| drop(setup.call(&["SET", &key(index), "0"]).expect("an answer")));
    let open = |address| move || Connection::open(&torc_tests::client::Endpoint::Tcp(address)).ok();
    let at_node = || {
        let mut connection = Connection::open(&torc_tests::client::Endpoint::Tcp(
            cluster.file().processes.iter().find_map(|entry| {
                let address = entry.resp();
                let mut asked = (entry.bus_port != 0)
                    .then(|| Connection::open(&torc_tests::client::Endpoint::Tcp(address)).ok())??;
                let role = asked.call(&["ROLE"]).ok()?;
                let first = role.children()?.first()?.text()?;
                (first == "master").then_some(address)
            })?,
        ))
        .ok()?;
        connection.call(&["CLIENT", "ACK", "in-sync"]).ok()?;
        Some(connection)
    };
    let served = || -> Vec<f64> {
        let metric = |proxy: &Proxy| Scrape::of(proxy.http()).sum("torc_proxy_copies_served_total", &[]);
        proxies.iter().map(metric).collect()
    };
    std::thread::scope(|scope| {
        let world = &world;
        // Stops the others when this fails.
        struct Stop<'a>(&'a World);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.stop.store(true, Ordering::Relaxed);
            }
        }
        let stop = Stop(world);
        for (n, proxy) in proxies.iter().enumerate() {
            let address = proxy.resp();
            scope.spawn(move || {
                let _stop = Stop(world);
                world.write(Client::new(open(address)), Some(Client::new(open(address))), n as u64);
            });
            for reader in 0..4 {
                scope.spawn(move || {
                    let _stop = Stop(world);
                    world.read(Client::new(open(address)), reader * 300);
                });
            }
        }
        scope.spawn(|| {
            let _stop = Stop(world);
            world.write(Client::new(at_node), None, 2);
        });
        let phase = |what: &str| {
            let (before, writes) = (served(), world.writes.load(Ordering::Relaxed));
            cluster::wait_for(what, || {
                let enough = served().iter().zip(&before).all(|(now, before)| now - before > 500.0);
                let stopped = !world.goes_on();
                (stopped || (enough && world.writes.load(Ordering::Relaxed) > writes + 100)).then_some(())
            });
        };
        phase("copies at both proxies");
        let (term, victim) = (cluster.term(0), cluster.primary(0));
        victim.signal(Signal::KILL);
        cluster::wait_for("another primary", || (!world.goes_on() || cluster.term(0) > term).then_some(()));
        phase("copies of the new primary's");
        drop(stop);
    });
    for proxy in &proxies {
        let metrics = Scrape::of(proxy.http());
        for name in [
            "torc_proxy_invalidations_total",
            "torc_proxy_copies_fetched_total",
            "torc_proxy_copies_dropped_total",
        ] {
            assert!(metrics.sum(name, &[]) > 0.0, "{name}");
        }
    }
    assert!(world.reads.load(Ordering::Relaxed) > 0);
}
