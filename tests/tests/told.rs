//! What a cluster tells of its failovers and losses: `torc status`, INFO, metrics and the log agree with what happened.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::relay::Way;
use torc_tests::scrape::Scrape;
use torc_tests::writer::Writer;

/// Writes that are to be lost.
const LOST: u64 = 50;
/// Writes before and after an event.
const SOME: usize = 100;

fn direct(fleet: &mut Fleet, id: u64) -> Connection {
    Connection::open(&Endpoint::Tcp(fleet.node(id).resp())).expect("the node accepts")
}

/// The lines of INFO.
fn info(fleet: &mut Fleet, id: u64, section: &str) -> BTreeMap<String, String> {
    let text = direct(fleet, id).call(&["INFO", section]).expect("INFO answers").text().expect("a text");
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A primary executes writes that no replica gets, and falls asleep. Somebody else goes on without them; when it wakes
/// it says which they were.
#[test]
fn what_is_lost_is_counted_and_named() {
    let mut fleet = Fleet::start(Plan { shards: 1, replicas: 2, hosts: 3 }, Place::Relayed);
    let old = fleet.primary_that_does_not_lead();
    let leader = fleet.leader();
    let mut client = direct(&mut fleet, old);
    let set = |client: &mut Connection, key: &str| {
        let reply = client.call(&["SET", key, "x"]).expect("the primary answers");
        assert!(!reply.is_error(), "{key}: {reply:?}");
    };
    set(&mut client, "kept");
    std::thread::sleep(fleet.lease() / 4);
    let before: u64 = info(&mut fleet, old, "replication")["master_repl_offset"].parse().expect("a number");
    fleet.node(old).relays()[1].cut(Way::Out);
    (0..LOST).for_each(|n| set(&mut client, &format!("lost{n}")));
    // A heartbeat tells the controller of them.
    std::thread::sleep(fleet.lease() * 3 / 10);
    fleet.node(old).pause();
    let heir = fleet.wait_other_primary(0, old);

    // While it sleeps: who leads, why, and what is known to be lost.
    let said = info(&mut fleet, heir, "replication");
    let last = &said["torc_last_promotion"];
    assert!(last.contains(&format!("from={old},to={heir},reason=lease-expired")), "{last}");
    assert!(last.ends_with(&format!("lost_records={LOST}")), "{last}");
    let standing = said.iter().filter(|(name, _)| name.starts_with("torc_member"));
    let standing: Vec<&str> = standing.map(|(_, text)| text.as_str()).collect();
    let of = |id: u64| {
        let line = standing.iter().find(|line| line.starts_with(&format!("node={id},")));
        line.unwrap_or_else(|| panic!("node {id} in {standing:?}")).to_string()
    };
    assert!(of(heir).contains("standing=primary"), "{standing:?}");
    assert!(of(old).contains("link=down") || of(old).contains("link=never"), "{standing:?}");
    let log = fleet.node(leader).log_text();
    for line in [
        "looking for another",
        "candidates sealed term",
        &format!("{LOST} records that were reported are lost"),
    ] {
        assert!(log.contains(line), "the controller's log does not say '{line}':\n{log}");
    }
    let output = fleet.torc(&["status"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(text.contains("does not answer"), "{text}");
    assert!(text.contains("last changes of primaries:"), "{text}");
    assert!(text.contains(&format!("{LOST} records acknowledged 'primary' at most are lost")), "{text}");

    // When it wakes.
    fleet.node(old).wake();
    let relays = fleet.node(old).relays();
    relays.iter().for_each(|relay| relay.break_all());
    relays.iter().for_each(|relay| relay.heal());
    // Right after it woke its own map is that of before.
    let deadline = Instant::now() + Duration::from_secs(30);
    let said = loop {
        let said = info(&mut fleet, old, "replication");
        if said["torc_dropped_records"] != "0" || Instant::now() > deadline {
            break said;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(said["torc_dropped_records"], LOST.to_string());
    fleet.wait_whole();
    let (first, last) = (before + 1, before + LOST);
    assert!(said["torc_last_dropped"].contains(&format!("first={first},last={last}")), "{said:?}");
    let log = fleet.node(old).log_text();
    assert!(log.contains("that the primary of term") && log.contains("are dropped"), "{log}");
    let scrape = Scrape::of(fleet.node(old).http());
    assert_eq!(scrape.sum("torc_server_lost_records_total", &[]), LOST as f64);
    let text = String::from_utf8_lossy(&fleet.torc(&["status"]).stdout).into_owned();
    assert!(text.contains(&format!("dropped {LOST} records in all")), "{text}");

    // And what it says is so.
    let mut client = fleet.connect();
    let lost: Vec<String> = (0..LOST).map(|n| format!("lost{n}")).collect();
    let words: Vec<&str> = ["EXISTS", "kept"].into_iter().chain(lost.iter().map(String::as_str)).collect();
    assert_eq!(client.call(&words).expect("an answer").text().as_deref(), Some("1"));
    fleet.wait_equal();
}

#[test]
fn a_drained_node_leads_nothing_and_no_write_is_lost() {
    let mut fleet = Fleet::start(Plan { shards: 2, replicas: 1, hosts: 2 }, Place::Loopback);
    let writers: Vec<(u16, Writer)> = (0..2)
        .flat_map(|shard| {
            let tag = fleet.tag(shard);
            ["in-sync", "primary"]
                .map(|ack| (shard, Writer::start(fleet.proxy(), ack, &format!("{tag}{ack}"))))
        })
        .collect();
    writers.iter().for_each(|(_, writer)| writer.wait_more(SOME));
    let drained = fleet.primary(0);
    let output = fleet.torc(&["cluster", "drain", &drained.to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("leads no shard now (1 moved)"), "{text}");
    let heir = fleet.wait_other_primary(0, drained);
    writers.iter().for_each(|(_, writer)| writer.wait_more(SOME));
    let said = info(&mut fleet, heir, "replication");
    let last = &said["torc_last_promotion"];
    assert!(last.contains("reason=handed-back") && last.ends_with("lost_records=0"), "{last}");
    for (shard, writer) in writers {
        let written = writer.finish();
        println!("shard {shard}: {}", written.summary());
        assert_eq!(written.lost(&mut fleet.connect()), Vec::<u64>::new());
        assert!(written.errors.is_empty(), "shard {shard}: {:?}", written.errors);
    }
    // It can be stopped, and there is nothing to fail over from.
    let output = fleet.torc(&["cluster", "drain", &drained.to_string()]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("(0 moved)"));
}

#[test]
fn a_shard_that_nobody_remembers_starts_empty_and_says_so() {
    let mut fleet = Fleet::start(Plan { shards: 2, replicas: 1, hosts: 2 }, Place::Loopback);
    let (gone, kept) = (format!("{}k", fleet.tag(0)), format!("{}k", fleet.tag(1)));
    let mut client = fleet.connect();
    for key in [&gone, &kept] {
        let reply = client.call(&["SET", key, "x"]).expect("an answer");
        assert!(!reply.is_error(), "{reply:?}");
    }
    let before = fleet.shard(0);
    let members: Vec<u64> =
        before["members"].as_array().expect("members").iter().filter_map(serde_json::Value::as_u64).collect();
    members.iter().for_each(|id| fleet.node(*id).kill());
    std::thread::sleep(Duration::from_millis(200));
    members.iter().for_each(|id| fleet.restart(*id));
    // Until the lease is over, the map still says what was before.
    let before_term = before["term"].as_u64();
    fleet.wait("a term after the loss", || (fleet.shard(0)["term"].as_u64() > before_term).then_some(()));
    fleet.wait_whole();
    let after = fleet.shard(0);
    assert_eq!(after["resets"], 1);
    // The proxy may have to find the new primary first.
    let answer =
        |client: &mut Connection, key: &str| client.call(&["EXISTS", key]).expect("an answer").text();
    assert_eq!(answer(&mut client, &gone).as_deref(), Some("0"));
    assert_eq!(answer(&mut client, &kept).as_deref(), Some("1"), "the other shard keeps everything");
    let primary = fleet.primary(0);
    assert!(info(&mut fleet, primary, "replication")["torc_last_promotion"].contains("reason=reset"));
    assert!(fleet.node(primary).log_text().contains("the shard starts empty"));
}
