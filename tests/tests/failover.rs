//! Primaries die, hang and hand over under writing clients.
//!
//! What must hold: service comes back by itself, no write acknowledged in-sync is lost, a primary that was asleep
//! shows nothing stale, and clients of other shards notice nothing. Times are printed, not judged.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::process::Command;
use std::time::Instant;

use rustix::process::Signal;
use torc_tests::client::Endpoint;
use torc_tests::cluster::{self, Cluster, Entry};
use torc_tests::counter::Counter;
use torc_tests::process::Process;
use torc_tests::writer::{Writer, Written};

/// Writes before and after the event, so that there is something to lose.
const SOME: usize = 200;

fn proxy(cluster: &Cluster) -> Endpoint {
    Endpoint::Tcp(cluster.proxy().resp())
}

/// Waits until the shard has another primary than this process.
fn wait_other_primary(cluster: &Cluster, shard: u16, old: &Entry) -> Entry {
    cluster.wait("another primary", || Some(cluster.primary(shard)).filter(|now| now.name != old.name))
}

/// Waits until a process of this name is an in-sync replica of the shard.
fn wait_replica(cluster: &Cluster, shard: u16, name: &str) {
    cluster.wait(&format!("{name} as an in-sync replica"), || {
        let entry = cluster.named(name);
        let (node, state) = (entry.node?, cluster.shard(shard));
        let in_sync = state["in_sync"].as_array()?.iter().any(|member| member["node"] == node);
        (entry.role == "replica" && in_sync).then_some(())
    });
}

fn nothing_lost(cluster: &Cluster, what: &str, written: &Written) {
    println!("{what}: {}", written.summary());
    let lost = written.lost(&mut cluster.connect());
    assert!(lost.is_empty(), "{what}: {} acknowledged writes are lost: {:?}", lost.len(), first(&lost));
}

fn first(lost: &[u64]) -> &[u64] {
    &lost[..lost.len().min(20)]
}

/// Only answers that say what happened: nothing of the kind "internal error" or a broken connection.
fn only_known_errors(what: &str, written: &Written) {
    const KNOWN: [&str; 4] = ["UNCERTAIN", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN"];
    for error in written.errors.keys() {
        assert!(KNOWN.iter().any(|known| error.starts_with(known)), "{what}: {error}");
    }
}

#[test]
fn a_killed_primary_is_replaced_and_comes_back() {
    let mut cluster = Cluster::start(3);
    let tags: Vec<String> = (0..3).map(|shard| cluster.tag(shard)).collect();
    // The hardest case: the node that leads the control plane too, if it is a primary.
    let leader = cluster.wait("the control plane's leader", || cluster.status()?["leader"].as_u64());
    let led = (0..3).find(|shard| cluster.primary(*shard).node == Some(leader));
    let hit = led.unwrap_or(1);
    let victim = cluster.primary(hit);
    let term = cluster.term(hit);
    println!(
        "{} is killed: primary of shard {hit}, leader of the control plane: {}",
        victim.name,
        led.is_some()
    );
    let tag = &tags[usize::from(hit)];
    let in_sync = Writer::start(proxy(&cluster), "in-sync", &format!("{tag}s"));
    let primary = Writer::start(proxy(&cluster), "primary", &format!("{tag}p"));
    let others: Vec<_> = (0..3)
        .filter(|shard| *shard != hit)
        .map(|shard| {
            let prefix = format!("{}o", tags[usize::from(shard)]);
            (shard, Writer::start(proxy(&cluster), "in-sync", &prefix))
        })
        .collect();
    in_sync.wait_more(SOME);
    primary.wait_more(SOME);

    let killed = Instant::now();
    victim.signal(Signal::KILL);
    let heir = wait_other_primary(&cluster, hit, &victim);
    primary.wait_more(1);
    println!("{} leads instead of {} after {:.2} s", heir.name, victim.name, killed.elapsed().as_secs_f64());
    // In-sync writes need a second member again: the killed node, started by torc up.
    in_sync.wait_more(SOME);
    primary.wait_more(SOME);
    wait_replica(&cluster, hit, &victim.name);
    assert_ne!(cluster.named(&victim.name).pid, victim.pid);
    assert!(cluster.term(hit) > term);
    in_sync.wait_more(SOME);

    let (in_sync, primary) = (in_sync.finish(), primary.finish());
    for (shard, writer) in others {
        let written = writer.finish();
        nothing_lost(&cluster, &format!("shard {shard}, whose primary lives"), &written);
        assert!(written.errors.is_empty(), "shard {shard}: {:?}", written.errors);
    }
    nothing_lost(&cluster, "in-sync", &in_sync);
    only_known_errors("in-sync", &in_sync);
    only_known_errors("primary", &primary);
    let lost = primary.lost(&mut cluster.connect());
    println!("primary: {}; {} of them lost", primary.summary(), lost.len());

    // The copy on the node that came back is whole: it can lead.
    let output = cluster.torc(&["cluster", "failover", &hit.to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    nothing_lost(&cluster, "in-sync, read from the node that came back", &in_sync);
    assert_eq!(primary.lost(&mut cluster.connect()), lost);
    cluster.stop(Signal::INT);
}

/// Times that the primary is killed under counting clients.
const KILLS: usize = 3;

#[test]
fn every_acknowledged_increment_counts_once_while_primaries_are_killed() {
    let mut cluster = Cluster::start(3);
    let tag = cluster.tag(0);
    let counters: Vec<Counter> =
        (0..4).map(|n| Counter::start(proxy(&cluster), "in-sync", &format!("{tag}c{n}"))).collect();
    for _ in 0..KILLS {
        counters.iter().for_each(|counter| counter.wait_more(SOME / 4));
        cluster.wait_in_sync(0, 2);
        let victim = cluster.primary(0);
        victim.signal(Signal::KILL);
        wait_other_primary(&cluster, 0, &victim);
        // The killed node, started again by torc up, makes the set whole.
        counters.iter().for_each(|counter| counter.wait_more(SOME / 4));
    }
    let counted: Vec<_> = counters.into_iter().map(Counter::finish).collect();
    for counted in &counted {
        counted.check(&mut cluster.connect());
        for error in counted.errors.keys() {
            assert!(error.starts_with("NOREPLICAS") || error.starts_with("CLUSTERDOWN"), "{error}");
        }
    }
    cluster.stop(Signal::INT);
}

#[test]
fn a_node_started_by_hand_comes_back_too() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--no-restart"]);
    // Four nodes have three voters: one may go.
    let tag = cluster.tag(0);
    let victim = cluster.primary(0);
    let line = cluster::command_line(victim.running_pid());
    let writer = Writer::start(proxy(&cluster), "primary", &format!("{tag}p"));
    writer.wait_more(SOME);
    victim.signal(Signal::KILL);
    wait_other_primary(&cluster, 0, &victim);
    cluster::wait_for("the killed process has no id", || {
        cluster.named(&victim.name).pid.is_none().then_some(())
    });
    writer.wait_more(SOME);
    let log = cluster.dir().join("by-hand.log");
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    let mut by_hand = Process::start(&victim.name, command, &log).expect("it can be started");
    cluster.wait_in_sync(0, 2);
    let written = Writer::start(proxy(&cluster), "in-sync", &format!("{tag}s"));
    written.wait_more(SOME);
    nothing_lost(&cluster, "in-sync with the node started by hand", &written.finish());
    println!("primary: {}", writer.finish().summary());
    by_hand.terminate();
    cluster.stop(Signal::INT);
}

#[test]
fn a_primary_that_slept_shows_nothing_stale() {
    let mut cluster = Cluster::start(2);
    let key = format!("{}k", cluster.tag(0));
    let key = key.as_str();
    let sleeper = cluster.primary(0);
    let set = |value: &str| {
        let reply = cluster.connect().call(&["SET", key, value]).expect("an answer");
        assert!(!reply.is_error(), "{reply:?}");
    };
    set("old");
    let others = Writer::start(proxy(&cluster), "in-sync", &format!("{}o", cluster.tag(1)));
    others.wait_more(SOME);
    let mut known = sleeper.connect();
    assert_eq!(known.call(&["GET", key]).expect("an answer").text().as_deref(), Some("old"));

    sleeper.signal(Signal::STOP);
    wait_other_primary(&cluster, 0, &sleeper);
    set("new");
    // Both wait in the sleeper's sockets when it wakes up.
    let mut fresh = sleeper.connect();
    known.send_command(&["GET", key]).expect("sent");
    fresh.send_command(&["GET", key]).expect("sent");
    known.send_command(&["SET", key, "stale"]).expect("sent");
    sleeper.signal(Signal::CONT);
    for connection in [&mut known, &mut fresh] {
        let reply = connection.read_frame().expect("it answers when it wakes");
        let text = String::from_utf8_lossy(&reply).into_owned();
        assert!(text.starts_with("-MOVED ") || text.starts_with("-CLUSTERDOWN "), "stale: {text}");
    }
    let reply = known.read_frame().expect("it answers when it wakes");
    assert!(reply.starts_with(b"-"), "a write was taken: {}", String::from_utf8_lossy(&reply));

    wait_replica(&cluster, 0, &sleeper.name);
    let others = others.finish();
    nothing_lost(&cluster, "the other shard", &others);
    assert!(others.errors.is_empty(), "the other shard: {:?}", others.errors);
    assert_eq!(cluster.named(&sleeper.name).pid, sleeper.pid, "it is the same process");
    assert_eq!(cluster.connect().call(&["GET", key]).expect("an answer").text().as_deref(), Some("new"));
    cluster.stop(Signal::INT);
}

/// A script that has written cannot be killed and never ends: the process lives and renews its lease, but its worker
/// serves nobody. After `worker_stall_ms` (10 s) that counts as a failure.
#[test]
fn a_primary_whose_worker_hangs_is_replaced() {
    const HANGS: &str = "redis.call('set', KEYS[1], 'x') while true do end";
    let mut cluster = Cluster::start(2);
    let (mine, other) = (cluster.tag(0), cluster.tag(1));
    let others = Writer::start(proxy(&cluster), "in-sync", &format!("{other}o"));
    let set = cluster.connect().call(&["SET", &format!("{mine}k"), "1"]).expect("an answer");
    assert!(!set.is_error(), "{set:?}");
    let victim = cluster.primary(0);
    let mut stuck = victim.connect();
    stuck.send_command(&["EVAL", HANGS, "1", &format!("{mine}endless")]).expect("sent");

    let heir = wait_other_primary(&cluster, 0, &victim);
    println!("{} leads instead of {}", heir.name, victim.name);
    let mut client = cluster.connect();
    assert_eq!(client.call(&["GET", &format!("{mine}k")]).expect("an answer").text().as_deref(), Some("1"));
    let set = client.call(&["SET", &format!("{mine}k"), "2"]).expect("an answer");
    assert!(!set.is_error(), "{set:?}");
    // Nothing of a script that has not ended is seen.
    let seen = client.call(&["EXISTS", &format!("{mine}endless")]).expect("an answer");
    assert_eq!(seen.text().as_deref(), Some("0"));
    let others = others.finish();
    nothing_lost(&cluster, "the other shard", &others);
    assert!(others.errors.is_empty(), "the other shard: {:?}", others.errors);
    // Nothing else ends it; torc up starts it anew.
    victim.signal(Signal::KILL);
    wait_replica(&cluster, 0, &victim.name);
    cluster.stop(Signal::INT);
}

#[test]
fn a_planned_failover_loses_nothing_and_nobody_sees_it() {
    let mut cluster = Cluster::start(2);
    let (mine, other) = (cluster.tag(0), cluster.tag(1));
    let writers = [
        ("in-sync", Writer::start(proxy(&cluster), "in-sync", &format!("{mine}s"))),
        ("primary", Writer::start(proxy(&cluster), "primary", &format!("{mine}p"))),
        ("the other shard", Writer::start(proxy(&cluster), "in-sync", &format!("{other}s"))),
    ];
    let mut terms = vec![cluster.term(0)];
    for _ in 0..3 {
        writers.iter().for_each(|(_, writer)| writer.wait_more(SOME / 4));
        cluster.wait_in_sync(0, 2);
        let before = cluster.primary(0);
        let output = cluster.torc(&["cluster", "failover", "0"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        wait_other_primary(&cluster, 0, &before);
        terms.push(cluster.term(0));
    }
    assert!(terms.is_sorted_by(|a, b| a < b), "{terms:?}");
    for (what, writer) in writers {
        writer.wait_more(SOME / 4);
        let written = writer.finish();
        nothing_lost(&cluster, what, &written);
        assert!(written.errors.is_empty(), "{what}: {:?}", written.errors);
    }
    cluster.stop(Signal::INT);
}
