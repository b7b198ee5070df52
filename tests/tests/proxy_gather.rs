//! Commands that need all of their keys at one place, with keys on several shards: through the proxy they answer as one
//! redis-server does. CLIENT PAUSE and UNBLOCK at the proxy; scripts that outlive the primary they were loaded at.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::process::Signal;
use torc_tests::client::Connection;
use torc_tests::cluster::Cluster;
use torc_tests::frame::Node;
use torc_tests::peer::Peer;
use torc_tests::proxy::Proxy;

/// Keys of each kind: enough that each command has some on several shards.
const KEYS: usize = 6;
/// Requests that are compared.
const REQUESTS: usize = 1_500;

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A request that fills or empties a key, of all kinds of values and sizes.
fn change(random: &mut StdRng) -> Vec<String> {
    let n = random.random_range(0..KEYS);
    let member = |random: &mut StdRng| match random.random_range(0..3) {
        0 => random.random_range(0..60).to_string(),
        1 => format!("m{}", random.random_range(0..60)),
        _ => "x".repeat(random.random_range(0..90)) + &random.random_range(0..20).to_string(),
    };
    let count = if random.random_range(0..12) == 0 { 300 } else { random.random_range(1..8) };
    let mut request = match random.random_range(0..9) {
        0..=2 => words(&format!("SADD s{n}")),
        3..=4 => words(&format!("ZADD z{n}")),
        5..=6 => words(&format!("PFADD h{n}")),
        7 => words(&format!("SREM s{n}")),
        _ => return words(&format!("DEL {}{n}", ["s", "z", "h"][random.random_range(0..3)])),
    };
    for _ in 0..count {
        if request[0] == "ZADD" {
            let score = match random.random_range(0..8) {
                0 => "inf".to_owned(),
                1 => "-inf".to_owned(),
                // Exact in binary: redis-server 7.0 writes others with more digits than need be.
                2 => format!(
                    "{}.{}",
                    random.random_range(-9..9),
                    ["5", "25", "125"][random.random_range(0..3)]
                ),
                _ => random.random_range(-5..20).to_string(),
            };
            request.push(score);
        }
        request.push(member(random));
    }
    request
}

/// A request over several keys; now and then with a key of another kind, a missing one, or a wrong argument.
fn question(random: &mut StdRng) -> Vec<String> {
    let count = random.random_range(2..5);
    let mut keys = |kinds: &[&str]| -> Vec<String> {
        let one = |random: &mut StdRng| match random.random_range(0..25) {
            0 => "l0".to_owned(),
            1 => "missing".to_owned(),
            _ => format!("{}{}", kinds[random.random_range(0..kinds.len())], random.random_range(0..KEYS)),
        };
        (0..count).map(|_| one(random)).collect()
    };
    let sets = keys(&["s"]);
    let scored = keys(&["z", "z", "s"]);
    let sketches = keys(&["h"]);
    let numbered = |name: &str, keys: Vec<String>| [words(&format!("{name} {count}")), keys].concat();
    match random.random_range(0..12) {
        0 => [words("SUNION"), sets].concat(),
        1 => [words("SINTER"), sets].concat(),
        2 => [words("SDIFF"), sets].concat(),
        3 => {
            let mut request = numbered("SINTERCARD", sets);
            if random.random_range(0..2) == 0 {
                request.extend(words(&format!("LIMIT {}", random.random_range(0..5))));
            }
            request
        }
        4..=6 => {
            let name = ["ZUNION", "ZINTER", "ZDIFF"][random.random_range(0..3)];
            let mut request = numbered(name, scored);
            if name != "ZDIFF" && random.random_range(0..2) == 0 {
                request.push("WEIGHTS".into());
                let weight = |random: &mut StdRng| ["0", "1", "2.5", "-1", "inf"][random.random_range(0..5)];
                (0..count).for_each(|_| request.push(weight(random).into()));
            }
            if name != "ZDIFF" && random.random_range(0..2) == 0 {
                let how = ["SUM", "MIN", "MAX", "OFTEN"][random.random_range(0..4)];
                request.extend(words(&format!("AGGREGATE {how}")));
            }
            if random.random_range(0..3) > 0 {
                request.push("WITHSCORES".into());
            }
            request
        }
        7 => numbered("ZINTERCARD", scored),
        8 => [words("PFCOUNT"), sketches].concat(),
        9..=10 => [words("PFMERGE"), sketches].concat(),
        _ => words(&format!("LCS t{} t{} LEN", random.random_range(0..3), random.random_range(0..3))),
    }
}

/// The texts of a reply.
fn texts(node: &Node) -> Vec<String> {
    match node {
        Node::Aggregate(_, children) => children.iter().flat_map(texts).collect(),
        Node::Scalar(_, text) => vec![String::from_utf8_lossy(text).into_owned()],
        Node::Null(_) => vec!["(null)".to_owned()],
    }
}

/// A set's members have no order.
fn comparable(request: &[String], reply: Node) -> Node {
    match reply {
        Node::Aggregate(kind, mut members) if request[0].starts_with('S') => {
            members.sort();
            Node::Aggregate(kind, members)
        }
        other => other,
    }
}

#[test]
fn values_of_several_shards_are_put_together_as_one_redis_does() {
    let Some(peer) = Peer::redis() else { return };
    let mut cluster = Cluster::start_with(&["--shards", "3", "--replicas", "0"]);
    for protocol in ["2", "3"] {
        let seed = 0x6174 + u64::from(protocol == "3");
        let mut random = StdRng::seed_from_u64(seed);
        let mut ours = cluster.proxy().connect();
        let mut theirs = Connection::open(peer.endpoint()).expect("it listens");
        for open in [&mut ours, &mut theirs] {
            open.call(&["HELLO", protocol]).expect("an answer");
            open.call(&["FLUSHALL"]).expect("an answer");
            for line in ["RPUSH l0 a b", "SET t0 ohmytext", "SET t1 mynewtext", "SET t2 {}"] {
                open.call(&words(line)).expect("an answer");
            }
        }
        let (mut questions, mut elsewhere) = (0, 0);
        while questions < REQUESTS {
            let request = match random.random_range(0..3) {
                0 => change(&mut random),
                _ => question(&mut random),
            };
            let ask = |open: &mut Connection| open.call(&request).expect("an answer");
            let (got, wanted) = (ask(&mut ours), ask(&mut theirs));
            let (got, wanted) = (comparable(&request, got), comparable(&request, wanted));
            if got != wanted {
                let (ours, theirs) = (texts(&got), texts(&wanted));
                let at = ours.iter().zip(&theirs).position(|(a, b)| a != b);
                let part = |all: &[String]| {
                    let from = at.unwrap_or(all.len().saturating_sub(3)).saturating_sub(2);
                    format!(
                        "{} elements, from {from}: {:?}",
                        all.len(),
                        all.iter().skip(from).take(6).collect::<Vec<_>>()
                    )
                };
                let line = request.join(" ");
                panic!("seed {seed}, RESP{protocol}: {line}\n{}\n{}", part(&ours), part(&theirs));
            }
            questions += 1;
            if request[0] == "PFMERGE" {
                let key = [words("GET"), vec![request[1].clone()]].concat();
                let got = ours.call_raw(&key).expect("an answer");
                elsewhere += usize::from(got == theirs.call_raw(&key).expect("an answer"));
            }
        }
        println!(
            "RESP{protocol}: {questions} requests alike; of PFMERGEs {elsewhere} left the very same bytes"
        );
    }
    cluster.stop(Signal::INT);
}

#[test]
fn what_is_brought_together_is_bounded() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let proxy = Proxy::start(&cluster, "gather_bytes = 20000\n");
    let mut open = proxy.connect();
    let tags = [cluster.tag(0), cluster.tag(1)];
    let keys = tags.map(|tag| format!("{tag}set"));
    for key in &keys {
        for part in 0..10 {
            let members: Vec<String> = (0..100).map(|n| format!("member:{part}:{n}")).collect();
            open.call(&[words(&format!("SADD {key}")), members].concat()).expect("an answer");
        }
    }
    let reply = open.call(&["SINTERCARD", "2", &keys[0], &keys[1]]).expect("an answer");
    let text = reply.text().unwrap_or_default();
    assert!(reply.is_error() && text.starts_with("CROSSSLOT ") && text.contains("gather_bytes"), "{text}");
    assert_eq!(open.call(&["PING"]).expect("an answer").text().as_deref(), Some("PONG"));
    // The proxy of the cluster has the bound that is the default.
    let mut usual = cluster.connect();
    let reply = usual.call(&["SINTERCARD", "2", &keys[0], &keys[1]]).expect("an answer");
    assert_eq!(reply.text().as_deref(), Some("1000"));
    // What cannot be put together says what to do.
    let reply = usual.call(&["SUNIONSTORE", "d", &keys[0], &keys[1]]).expect("an answer");
    assert!(reply.text().unwrap_or_default().contains("give them one {hash tag}"), "{reply:?}");
    cluster.stop(Signal::INT);
}

#[test]
fn a_client_is_paused_and_unblocked() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let (mut asks, mut waits) = (cluster.connect(), cluster.connect());
    let id = waits.call(&["CLIENT", "ID"]).expect("an answer").text().expect("a number");
    let (one, two) = (format!("{}q", cluster.tag(0)), format!("{}q", cluster.tag(1)));
    // At one shard, at several, and for replicas; with an error, and as if the time were over.
    for request in [
        vec!["BLPOP", &one, "0"],
        vec!["BLPOP", &one, &two, "0"],
        vec!["XREAD", "BLOCK", "0", "STREAMS", &one, &two, "$", "$"],
        vec!["WAIT", "3", "0"],
    ] {
        for how in ["TIMEOUT", "ERROR"] {
            waits.send_command(&request).expect("sent");
            cluster.wait("the client to wait, and to be woken", || {
                let reply = asks.call(&["CLIENT", "UNBLOCK", &id, how]).expect("an answer");
                (reply.text().as_deref() == Some("1")).then_some(())
            });
            let frame = waits.read_frame().expect("an answer");
            let wanted: &[u8] = match (how, request[0]) {
                ("ERROR", _) => b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n",
                (_, "WAIT") => b":0\r\n",
                _ => b"*-1\r\n",
            };
            assert_eq!(String::from_utf8_lossy(&frame), String::from_utf8_lossy(wanted), "{request:?} {how}");
        }
    }
    assert_eq!(asks.call(&["CLIENT", "UNBLOCK", &id]).expect("an answer").text().as_deref(), Some("0"));
    // Nothing that comes later is taken for who was woken.
    asks.call(&["RPUSH", &one, "x"]).expect("an answer");
    assert_eq!(asks.call(&["LLEN", &one]).expect("an answer").text().as_deref(), Some("1"));

    // Writes are held back, reads are not; UNPAUSE lets them go.
    asks.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).expect("an answer");
    waits.send_command(&["SET", &one, "2"]).expect("sent");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(asks.call(&["LLEN", &one]).expect("an answer").text().as_deref(), Some("1"));
    asks.call(&["CLIENT", "UNPAUSE"]).expect("an answer");
    assert_eq!(waits.read_frame().expect("an answer"), b"+OK\r\n");
    // All are held back until the time is over.
    asks.call(&["CLIENT", "PAUSE", "300"]).expect("an answer");
    waits.send_command(&["GET", &one]).expect("sent");
    assert_eq!(waits.read_frame().expect("an answer"), b"$1\r\n2\r\n");
    let reply = asks.call(&["CLIENT", "PAUSE", "10", "NEVER"]).expect("an answer");
    assert_eq!(reply.text().as_deref(), Some("ERR CLIENT PAUSE mode must be WRITE or ALL"));
    cluster.stop(Signal::INT);
}

#[test]
fn a_script_outlives_the_primary_that_it_was_loaded_at() {
    let mut cluster = Cluster::start(2);
    (0..2).for_each(|shard| cluster.wait_in_sync(shard, 2));
    let mut open = cluster.connect();
    let sha = open.call(&["SCRIPT", "LOAD", "return {KEYS[1], ARGV[1]}"]).expect("an answer").text();
    let sha = sha.expect("a digest");
    for shard in 0..2 {
        let key = format!("{}k", cluster.tag(shard));
        let before = cluster.primary(shard);
        let mut run = |what: &str| {
            // Again and again, from before the kill until another one leads: every answer is the script's.
            let reply = open.call(&["EVALSHA", &sha, "1", &key, "v"]).expect("an answer");
            let text = reply.text().unwrap_or_default();
            assert!(!reply.is_error() || text.starts_with("UNCERTAIN"), "{what}: {text}");
        };
        run("before");
        before.signal(Signal::KILL);
        cluster.wait("another primary", || {
            run("meanwhile");
            (cluster.primary(shard).name != before.name).then_some(())
        });
        (0..100).for_each(|_| run("afterwards"));
        cluster.wait_in_sync(shard, 2);
    }
    cluster.stop(Signal::INT);
}
