//! Replicas that come back: what they are given is no more than what differs, and they hold the same as their primary.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::relay::Way;
use torc_tests::scrape::Scrape;

/// A backlog that is rolled over once the buffers of a socket are full, though the replica is connected.
const BACKLOG: &[&str] = &["--backlog-bytes", "1048576", "--backlog-max-bytes", "1048576"];
const PLAN: Plan = Plan { shards: 1, replicas: 2, hosts: 3 };
/// Keys of each type.
const KEYS: usize = 600;
/// Slots that change while a replica is away.
const CHANGED: usize = 5;

fn ask(open: &mut Connection, command: &[&str]) {
    let reply = open.call(command).expect("an answer");
    assert!(!reply.is_error(), "{command:?}: {reply:?}");
}

/// Keys of all types, in slots all over.
fn fill(open: &mut Connection) {
    for n in 0..KEYS {
        ask(open, &["SET", &format!("text:{n}"), "some value or other"]);
        ask(open, &["HSET", &format!("hash:{n}"), "one", "1", "two", &n.to_string()]);
        match n % 5 {
            0 => ask(open, &["RPUSH", &format!("list:{n}"), "a", "b", "c"]),
            1 => ask(open, &["SADD", &format!("set:{n}"), "a", "b", "1"]),
            2 => ask(open, &["ZADD", &format!("sorted:{n}"), "1", "a", "2.5", "b"]),
            3 => ask(open, &["XADD", &format!("stream:{n}"), "*", "field", "value"]),
            _ => ask(open, &["SET", &format!("timed:{n}"), "x", "EX", "100000"]),
        }
    }
}

fn direct(fleet: &mut Fleet, id: u64) -> Connection {
    Connection::open(&Endpoint::Tcp(fleet.node(id).resp())).expect("the node accepts")
}

/// What a node has given to replicas that came back.
struct Given {
    scrape: Scrape,
}

impl Given {
    fn by(fleet: &mut Fleet, primary: u64) -> Given {
        Given { scrape: Scrape::of(fleet.node(primary).http()) }
    }

    fn resyncs(&self, kind: &str) -> f64 {
        self.scrape.sum("torc_server_resyncs_total", &[("kind", kind)])
    }

    fn slots(&self, what: &str) -> f64 {
        self.scrape.sum("torc_server_resync_slots_total", &[("what", what)])
    }
}

fn info(open: &mut Connection) -> BTreeMap<String, String> {
    let text = open.call(&["INFO", "replication"]).expect("INFO answers").text().expect("a text");
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Has the writers stop, also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_replica_behind_the_backlog_gets_the_slots_that_differ() {
    let mut fleet = Fleet::start_with(PLAN, Place::Loopback, BACKLOG);
    let primary = fleet.primary_that_does_not_lead();
    let leader = fleet.leader();
    let away = (1..=3).find(|id| *id != primary && *id != leader).expect("a third node");
    let mut client = direct(&mut fleet, primary);
    fill(&mut client);
    fleet.wait_equal();
    let before = Given::by(&mut fleet, primary);
    fleet.node(away).pause();
    fleet.wait("a set without it", || (fleet.shard(0)["in_sync"].as_array()?.len() == 2).then_some(()));
    // Emptied, filled, and changed many times: some 19 MB, more than the sockets of who sleeps take besides.
    ask(&mut client, &["DEL", "text:0"]);
    for round in 0..600 {
        for n in 1..CHANGED {
            ask(&mut client, &["SET", &format!("{{text:{n}}}:more"), &format!("{round:08000}")]);
        }
    }
    fleet.node(away).wake();
    // What happens once must not be seen twice: writes go on while slots are compared and sent.
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let n = count % CHANGED;
                ask(&mut client, &["RPUSH", &format!("{{text:{n}}}:list"), &count.to_string()]);
                ask(&mut client, &["INCR", &format!("{{text:{n}}}:count")]);
                count += 1;
            }
        });
        let _stop = Stop(&done);
        fleet.wait_whole();
    });
    fleet.wait_equal();
    let after = Given::by(&mut fleet, primary);
    let by_slots = after.resyncs("slots") - before.resyncs("slots");
    assert!(by_slots >= 1.0, "{by_slots} by slots\n{}", fleet.last_words());
    assert_eq!(after.resyncs("full"), before.resyncs("full"), "{}", fleet.last_words());
    // Were it broken off, it began again.
    let (compared, sent) = (after.slots("compared"), after.slots("sent"));
    assert!((16_384.0..=by_slots * 16_384.0).contains(&compared), "{compared} in {by_slots}");
    assert!((CHANGED as f64..=by_slots * CHANGED as f64).contains(&sent), "{sent} in {by_slots}");
    // INFO is of a moment ago.
    let (mut of_primary, mut of_replica) = (direct(&mut fleet, primary), direct(&mut fleet, away));
    fleet.wait("the slots in INFO", || {
        let said = info(&mut of_primary);
        said["torc_resync_sent"].contains(&format!("slots_sent={sent},")).then_some(())
    });
    fleet.wait("the resync in INFO", || {
        info(&mut of_replica)["torc_syncs_taken"].starts_with("slots=1,").then_some(())
    });
    let log = fleet.node(primary).log_text();
    assert!(log.contains("is compared slot by slot") && log.contains("it is behind the backlog"), "{log}");
}

#[test]
fn a_divergent_tail_goes_and_the_rest_stays() {
    let mut fleet = Fleet::start_with(PLAN, Place::Relayed, BACKLOG);
    let old = fleet.primary_that_does_not_lead();
    let mut client = direct(&mut fleet, old);
    fill(&mut client);
    fleet.wait_equal();
    // Whatever follows, no replica gets.
    fleet.node(old).relays()[1].cut(Way::Out);
    for n in 0..CHANGED {
        ask(&mut client, &["HSET", &format!("hash:{n}"), "lost", "1"]);
        ask(&mut client, &["SADD", &format!("{{hash:{n}}}:lost"), "1"]);
    }
    fleet.node(old).pause();
    let heir = fleet.wait_other_primary(0, old);
    // Of a time that the backlog of the heir still has.
    let mut heirs = direct(&mut fleet, heir);
    fleet.wait("a write", || (!heirs.call(&["SET", "text:1", "later"]).ok()?.is_error()).then_some(()));
    fleet.node(old).wake();
    let relays = fleet.node(old).relays();
    relays.iter().for_each(|relay| relay.break_all());
    relays.iter().for_each(|relay| relay.heal());
    fleet.wait_whole();
    fleet.wait_equal();
    let given = Given::by(&mut fleet, heir);
    let by_slots = given.resyncs("slots");
    assert!(by_slots >= 1.0 && given.resyncs("full") == 0.0, "{by_slots}\n{}", fleet.last_words());
    // What the heir wrote came with its records.
    let sent = given.slots("sent");
    assert!((CHANGED as f64..=by_slots * CHANGED as f64).contains(&sent), "{sent} in {by_slots}");
    let mut of_old = direct(&mut fleet, old);
    fleet.wait("what was dropped in INFO", || {
        (info(&mut of_old)["torc_dropped_records"] == (2 * CHANGED).to_string()).then_some(())
    });
    let log = fleet.node(heir).log_text();
    assert!(log.contains("it has records that this primary never had"), "{log}");
    for n in 0..CHANGED {
        let reply = heirs.call(&["HEXISTS", &format!("hash:{n}"), "lost"]).expect("an answer");
        assert_eq!(reply.text().as_deref(), Some("0"));
    }
}
