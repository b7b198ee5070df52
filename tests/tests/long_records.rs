//! Values of tens of megabytes in a row, beside other writes: their records are longer than the backlog, and take longer than
//! a replica may be behind. Nobody leaves the in-sync set for it, nobody has to come back, and no write fails.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::sync::atomic::{AtomicBool, Ordering};

use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::scrape::Scrape;

const BACKLOG: &[&str] = &["--backlog-bytes", "1048576"];
const PLAN: Plan = Plan { shards: 1, replicas: 2, hosts: 3 };
/// A replica whose process has no turn for that long leaves the set whatever the records are.
const PATIENT_LEASE_MS: u64 = 4_000;
const BIG_BYTES: usize = 40_000_000;
const BIG: usize = 3;

fn ask(open: &mut Connection, command: &[&str]) {
    let reply = open.call(command).expect("an answer");
    assert!(!reply.is_error(), "{:?}: {reply:?}", &command[..2]);
}

/// A line of INFO, as a number.
fn figure(open: &mut Connection, section: &str, name: &str) -> u64 {
    let text = open.call(&["INFO", section]).expect("INFO answers").text().expect("a text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// Has the writers stop, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_replica_stays_in_sync_while_long_records_go_through() {
    let mut fleet = Fleet::start_leased(PLAN, Place::Loopback, BACKLOG, PATIENT_LEASE_MS);
    let primary = fleet.primary_that_does_not_lead();
    let (resp, proxy) = (Endpoint::Tcp(fleet.node(primary).resp()), fleet.proxy());
    let before = fleet.shard(0);
    let scrape = Scrape::of(fleet.node(primary).http());
    let resyncs = |scrape: &Scrape| {
        let of = |kind| scrape.sum("torc_server_resyncs_total", &[("kind", kind)]);
        (of("partial"), of("slots"), of("full"))
    };
    let resyncs_before = resyncs(&scrape);
    let value = "x".repeat(BIG_BYTES);
    let done = AtomicBool::new(false);
    let writes = std::thread::scope(|scope| {
        let small = |number: usize, endpoint: Endpoint| {
            let done = &done;
            scope.spawn(move || {
                let (mut open, mut writes) = (Connection::open(&endpoint).expect("accepted"), 0);
                while !done.load(Ordering::Relaxed) {
                    ask(&mut open, &["INCR", &format!("count:{number}")]);
                    writes += 1;
                }
                writes
            })
        };
        let others = [small(0, resp.clone()), small(1, proxy.clone())];
        let _stop = Stop(&done);
        // Straight to the node, and through the proxy, which streams them.
        for (number, endpoint) in [resp.clone(), proxy.clone(), resp.clone()].iter().enumerate() {
            let mut open = Connection::open(endpoint).expect("accepted");
            ask(&mut open, &["CLIENT", "ACK", "primary"]);
            for n in 0..BIG {
                ask(&mut open, &["SET", &format!("big:{number}:{n}"), &value]);
            }
        }
        done.store(true, Ordering::Relaxed);
        others.map(|other| other.join().expect("no write failed"))
    });
    assert!(writes.iter().all(|writes| *writes > 0), "{writes:?}");
    let after = fleet.shard(0);
    for field in ["term", "set_version", "in_sync"] {
        assert_eq!(before[field], after[field], "{field}\n{}", fleet.last_words());
    }
    let scrape = Scrape::of(fleet.node(primary).http());
    assert_eq!(resyncs(&scrape), resyncs_before);
    assert_eq!(scrape.sum("torc_server_replicas_cut_off_total", &[]), 0.0);
    assert_eq!(scrape.sum("torc_server_replication_behind_total", &[]), 0.0);

    // What they hold is compared by a few of them: a debug build takes seconds for the others.
    let mut open = Connection::open(&resp).expect("accepted");
    for number in 0..3 {
        (0..BIG).for_each(|n| ask(&mut open, &["DEL", &format!("big:{number}:{n}")]));
        ask(&mut open, &["SET", &format!("long:{number}"), &value[..2_000_000]]);
    }
    fleet.wait_whole();
    fleet.wait_equal();

    // What is kept of it counts, and goes.
    ask(&mut open, &["SET", "big:last", &value]);
    fleet.wait("the backlog in INFO", || {
        let kept = figure(&mut open, "memory", "mem_replication_backlog");
        (kept >= BIG_BYTES as u64).then_some(())
    });
    ask(&mut open, &["DEL", "big:last"]);
    fleet.wait("a backlog of the usual size", || {
        ask(&mut open, &["INCR", "count:0"]);
        (figure(&mut open, "memory", "mem_replication_backlog") <= 2 << 20).then_some(())
    });
}

#[test]
fn a_replica_that_takes_nothing_is_given_up_at_the_bound() {
    let bounds = [BACKLOG, &["--backlog-max-bytes", "4194304"]].concat();
    let mut fleet = Fleet::start_with(PLAN, Place::Loopback, &bounds);
    let primary = fleet.primary_that_does_not_lead();
    let leader = fleet.leader();
    let asleep = (1..=3).find(|id| *id != primary && *id != leader).expect("a third node");
    let mut open = Connection::open(&Endpoint::Tcp(fleet.node(primary).resp())).expect("accepted");
    ask(&mut open, &["CLIENT", "ACK", "primary"]);
    fleet.node(asleep).pause();
    // No write fails meanwhile: once it has left the set, nobody waits for it.
    let value = "x".repeat(3_000_000);
    for n in 0..20 {
        ask(&mut open, &["SET", "big", &value[n..]]);
    }
    let kept = figure(&mut open, "memory", "mem_replication_backlog");
    assert!(kept < 20_000_000, "{kept}");
    fleet.node(asleep).wake();
    fleet.wait_whole();
    fleet.wait_equal();
    assert!(figure(&mut open, "replication", "torc_replicas_cut_off") >= 1);
    let log = fleet.node(primary).log_text();
    assert!(log.contains("the replica lacked more than the backlog keeps"), "{log}");
}
