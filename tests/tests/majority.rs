//! What is left of a cluster that lost much: the majority of the control plane's voters, every member of a shard that may
//! take over, or a voter for a while.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use serde_json::Value;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::netns::Network;
use torc_tests::scrape::Scrape;
use torc_tests::writer::Writer;

/// Writes before and after an event.
const SOME: usize = 100;

fn text(client: &mut Connection, words: &[&str]) -> String {
    let reply = client.call(words).expect("an answer");
    reply.text().unwrap_or_else(|| format!("{reply:?}"))
}

fn numbers(value: &Value) -> BTreeSet<u64> {
    value.as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
}

/// The nodes of a shard's in-sync set.
fn in_sync(fleet: &Fleet, shard: u16) -> BTreeSet<u64> {
    let state = fleet.shard(shard);
    state["in_sync"].as_array().into_iter().flatten().filter_map(|member| member["node"].as_u64()).collect()
}

/// Of two shards the one whose members vote least, and its members. Three of the nodes vote, so one of its members does at
/// most: without it the voters are a majority.
fn shard_of_few_voters(fleet: &Fleet) -> (u16, BTreeSet<u64>) {
    let map = fleet.status().expect("a status")["map"].clone();
    let votes = |id: &&u64| map["nodes"][id.to_string()]["control_voter"] == true;
    let members = |shard: u16| numbers(&map["shards"][shard.to_string()]["members"]);
    let hit = (0..2).min_by_key(|shard| members(*shard).iter().filter(votes).count()).expect("two");
    (hit, members(hit))
}

/// How many leaders the control plane has had.
fn reigns(fleet: &Fleet) -> u64 {
    fleet.wait("the map", || fleet.status()?["map"]["reign"].as_u64())
}

/// The only shard's primary is left alone by the two other voters: it serves as long as its lease lasts, and nobody
/// serves after that. What was refused was not done, and when the others are back all goes on.
#[test]
fn without_a_majority_a_shard_stops_with_its_lease_and_goes_on_after() {
    let mut fleet = Fleet::start(Plan { shards: 1, replicas: 2, hosts: 3 }, Place::Loopback);
    let writers =
        ["in-sync", "primary"].map(|ack| (ack, Writer::start(fleet.proxy(), ack, &format!("{ack}:"))));
    writers.iter().for_each(|(_, writer)| writer.wait_more(SOME));
    let primary = fleet.primary(0);
    let mut direct = Connection::open(&Endpoint::Tcp(fleet.node(primary).resp())).expect("it accepts");
    let others: Vec<u64> = fleet.nodes().iter().map(|node| node.id).filter(|id| *id != primary).collect();
    others.iter().for_each(|id| fleet.node(*id).pause());

    for words in [&["GET", "in-sync:1"][..], &["SET", "refused-by-the-node", "1"]] {
        fleet.wait("a refusal", || text(&mut direct, words).contains("CLUSTERDOWN").then_some(()));
    }
    // The proxy holds it, and refuses it when its time is over.
    for words in [&["GET", "in-sync:1"][..], &["SET", "refused-by-the-proxy", "1"]] {
        let said = text(&mut fleet.connect(), words);
        assert!(said.contains("CLUSTERDOWN") || said.contains("TRYAGAIN"), "{words:?}: {said}");
    }
    let scrape = Scrape::of(fleet.node(primary).http());
    let (leads, silent) = (scrape.sum("torc_raft_leader", &[]), scrape.sum("torc_raft_silent", &[]));
    println!("the primary leads the control plane: {leads}, and says nothing: {silent}");
    assert!(silent <= leads);

    others.iter().for_each(|id| fleet.node(*id).wake());
    fleet.wait_whole();
    writers.iter().for_each(|(_, writer)| writer.wait_more(SOME));
    for (ack, writer) in writers {
        let written = writer.finish();
        println!("{ack}: {}", written.summary());
        let lost = written.lost(&mut fleet.connect());
        assert!(lost.is_empty() || ack == "primary", "{ack}: {lost:?} are lost");
        for error in written.errors.keys() {
            const KNOWN: [&str; 4] = ["UNCERTAIN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"];
            assert!(KNOWN.iter().any(|known| error.starts_with(known)), "{ack}: {error}");
        }
    }
    let refused = ["EXISTS", "refused-by-the-proxy"];
    assert_eq!(text(&mut fleet.connect(), &refused), "0", "what was refused was done");
    fleet.wait_equal();
}

/// A replica misses writes; then all who have them die. Nobody takes over by itself: a person promotes the replica and
/// is told what that means.
#[test]
fn an_unclean_failover_loses_what_the_promoted_node_lacks() {
    let mut fleet = Fleet::start(Plan { shards: 2, replicas: 2, hosts: 3 }, Place::Loopback);
    let (hit, members) = shard_of_few_voters(&fleet);
    let other = 1 - hit;
    let (mine, theirs) = (fleet.tag(hit), fleet.tag(other));
    let writer = Writer::start(fleet.proxy(), "in-sync", &format!("{theirs}o"));

    let mut client = fleet.connect();
    assert_eq!(text(&mut client, &["CLIENT", "ACK", "in-sync"]), "OK");
    assert_eq!(text(&mut client, &["SET", &format!("{mine}early"), "1"]), "OK");
    let primary = fleet.primary(hit);
    let behind = *members.iter().find(|id| **id != primary).expect("a replica");
    fleet.node(behind).pause();
    fleet.wait("a set without it", || (!in_sync(&fleet, hit).contains(&behind)).then_some(()));
    assert_eq!(text(&mut client, &["SET", &format!("{mine}late"), "1"]), "OK");
    let gone: Vec<u64> = members.into_iter().filter(|id| *id != behind).collect();
    gone.iter().for_each(|id| fleet.node(*id).kill());
    fleet.node(behind).wake();

    let (shard, to) = (hit.to_string(), behind.to_string());
    let unclean = ["cluster", "failover-unclean", &shard, "--to", &to];
    let said = String::from_utf8_lossy(&fleet.torc(&unclean).stderr).into_owned();
    assert!(said.contains("--lose-writes"), "{said}");
    assert_eq!(fleet.primary(hit), primary, "nobody took over by itself");
    let unclean = [&unclean[..], &["--lose-writes"]].concat();
    fleet.wait("the promotion", || fleet.torc(&unclean).status.success().then_some(()));
    assert_eq!(fleet.primary(hit), behind);

    // One of three is too few for `in-sync` yet.
    let mut client = fleet.connect();
    assert_eq!(text(&mut client, &["SET", &format!("{mine}after"), "1"]), "OK");
    assert_eq!(text(&mut client, &["EXISTS", &format!("{mine}early")]), "1");
    assert_eq!(text(&mut client, &["EXISTS", &format!("{mine}late")]), "0");
    assert_eq!(fleet.shard(hit)["unclean"], 1);
    let status = String::from_utf8_lossy(&fleet.torc(&["status"]).stdout).into_owned();
    assert!(status.contains("UNCLEAN, asked for by a person"), "{status}");
    let leader = fleet.leader();
    let log = fleet.node(leader).log_text();
    assert!(log.contains("asked for: writes may be lost"), "{log}");
    let counted = Scrape::of(fleet.node(behind).http()).sum("torc_server_unclean_failovers_total", &[]);
    assert_eq!(counted, 1.0);

    gone.iter().for_each(|id| fleet.restart(*id));
    fleet.wait_whole();
    let written = writer.finish();
    println!("the other shard: {}", written.summary());
    assert!(written.errors.is_empty(), "the other shard: {:?}", written.errors);
    assert_eq!(written.lost(&mut fleet.connect()), Vec::<u64>::new());
    assert_eq!(
        text(&mut fleet.connect(), &["EXISTS", &format!("{mine}early"), &format!("{mine}after")]),
        "2"
    );
    fleet.wait_equal();
}

/// A replica misses writes; all who have them die and come back empty. What the replica holds is old, and all there is: the
/// shard does not start empty on it, it waits until a person decides.
#[test]
fn a_shard_waits_for_a_person_while_a_replica_remembers() {
    // Who remembers has to be heard of within a lease.
    let plan = Plan { shards: 2, replicas: 2, hosts: 3 };
    let mut fleet = Fleet::start_leased(plan, Place::Loopback, &[], 2_500);
    let (hit, mut members) = shard_of_few_voters(&fleet);
    let mine = fleet.tag(hit);
    let mut client = fleet.connect();
    assert_eq!(text(&mut client, &["CLIENT", "ACK", "in-sync"]), "OK");
    assert_eq!(text(&mut client, &["SET", &format!("{mine}early"), "1"]), "OK");
    let primary = fleet.primary(hit);
    let behind = *members.iter().find(|id| **id != primary).expect("a replica");
    fleet.node(behind).pause();
    fleet.wait("a set without it", || (!in_sync(&fleet, hit).contains(&behind)).then_some(()));
    assert_eq!(text(&mut client, &["SET", &format!("{mine}late"), "1"]), "OK");
    members.remove(&behind);
    // It wakes when nobody is there from whom to take what it lacks.
    members.iter().for_each(|id| fleet.node(*id).kill());
    fleet.node(behind).wake();
    members.iter().for_each(|id| fleet.restart(*id));

    let status = |fleet: &Fleet| String::from_utf8_lossy(&fleet.torc(&["status"]).stdout).into_owned();
    fleet.wait("a word for a person", || status(&fleet).contains("WAITS FOR A PERSON").then_some(()));
    std::thread::sleep(fleet.lease() * 3);
    let shard = fleet.shard(hit);
    assert_eq!((shard["resets"].as_u64(), shard["unclean"].as_u64()), (Some(0), Some(0)), "{shard}");
    let said = status(&fleet);
    let command = format!("torc cluster failover-unclean {hit} --to {behind} --lose-writes");
    assert!(said.contains(&command) && said.contains(&format!("node {behind} (")), "{said}");
    let waits = |fleet: &mut Fleet, id: u64| {
        Scrape::of(fleet.node(id).http()).sum("torc_server_waits_for_person", &[])
    };
    assert_eq!(waits(&mut fleet, behind), 1.0);
    members.iter().for_each(|id| assert_eq!(waits(&mut fleet, *id), 0.0));
    let leader = fleet.leader();
    let log = fleet.node(leader).log_text();
    // Once, and again by a controller that takes over; not at each look.
    let told = log.matches("waits for a person").count();
    assert!((1..5).contains(&told) && log.contains(&command), "{told} times: {log}");

    let words: Vec<&str> = command.split(' ').skip(1).collect();
    fleet.wait("the promotion", || fleet.torc(&words).status.success().then_some(()));
    fleet.wait_whole();
    assert_eq!(waits(&mut fleet, behind), 0.0);
    let mut client = fleet.connect();
    assert_eq!(text(&mut client, &["EXISTS", &format!("{mine}early")]), "1");
    assert_eq!(text(&mut client, &["EXISTS", &format!("{mine}late")]), "0");
    assert_eq!(fleet.shard(hit)["resets"], 0);
    fleet.wait_equal();
}

/// openraft alone would have a voter stand again and again while it hears nobody, and depose the leader when it is back.
/// Clients of a shard that has no member on the host see no error, whether the leader is cut off or another voter.
#[test]
fn a_voter_that_was_cut_off_deposes_no_leader() {
    // A host for each node; the last one is the proxy's.
    const PLAN: Plan = Plan { shards: 2, replicas: 2, hosts: 6 };
    let Some(network) = Network::make(PLAN.hosts + 1) else { return };
    let mut fleet = Fleet::start(PLAN, Place::Namespaces(network));
    for (leads, leases) in [(false, 1), (false, 5), (true, 3), (false, 2)] {
        let (leader, before) = (fleet.leader(), reigns(&fleet));
        let map = fleet.status().expect("a status")["map"].clone();
        let votes = |id: &u64| map["nodes"][id.to_string()]["control_voter"] == true;
        let mut ids = fleet.nodes().iter().map(|node| node.id).filter(votes);
        let victim = ids.rfind(|id| (*id == leader) == leads).expect("a voter");
        let members = |shard: u16| numbers(&map["shards"][shard.to_string()]["members"]);
        let other = (0..PLAN.shards).find(|shard| !members(*shard).contains(&victim)).expect("another shard");
        let writer = Writer::start(fleet.proxy(), "in-sync", &format!("{}{leases}:", fleet.tag(other)));
        writer.wait_more(SOME);

        let host = fleet.node(victim).host;
        fleet.network().expect("namespaces").cut(host);
        std::thread::sleep(fleet.lease() * leases);
        fleet.network().expect("namespaces").heal(host);
        fleet.wait_whole();
        // Until its connections are there again, whatever TCP makes of it.
        std::thread::sleep(2 * fleet.lease());
        let written = writer.finish();
        let what = format!("node {victim} was cut off for {leases} leases, it led: {leads}");
        println!("{what}; shard {other}: {}", written.summary());
        assert!(written.errors.is_empty(), "{what}: {:?}", written.errors);
        assert_eq!(written.lost(&mut fleet.connect()), Vec::<u64>::new());
        if leads {
            assert_eq!(reigns(&fleet), before + 1, "{what}");
        } else {
            assert_eq!((fleet.leader(), reigns(&fleet)), (leader, before), "{what}");
        }
    }
}
