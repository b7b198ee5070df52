//! Clients that come and go in the middle of pipelines, nodes that break, refuse and are replaced: no reply ever reaches
//! the wrong client or the wrong place. Every reply says which request it belongs to.
//!
//! Proved by breaking it: a connection that forgets the requests of clients who left, instead of keeping their places,
//! is found at once.
//!
//! `TORC_PROXY_SEED` and `TORC_PROXY_SEEDS` choose the seeds.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::{Act, FakeNode, Seen};
use common::{PATIENCE, World, secret};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use torc_protocol::resp::{Value, encode_request};
use torc_proxy::ProxyConfig;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a reply must be.
#[derive(Debug)]
struct Wanted {
    text: String,
    /// It may be answered UNCERTAIN as well: it cannot be sent again.
    or_uncertain: bool,
}

/// Requests and what they must be answered with.
#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    wanted: Vec<Wanted>,
}

impl Batch {
    fn ask(&mut self, args: &[&str], text: impl Into<String>) {
        encode_request(&mut self.bytes, args);
        self.wanted.push(Wanted { text: text.into(), or_uncertain: false });
    }

    /// A command that the node answers with its own text.
    fn echo(&mut self, line: &str) {
        self.ask(&line.split(' ').collect::<Vec<_>>(), line);
    }

    fn transaction(&mut self, lines: &[String]) {
        self.ask(&["MULTI"], "OK");
        for line in lines {
            self.ask(&line.split(' ').collect::<Vec<_>>(), "QUEUED");
        }
        self.ask(&["EXEC"], lines.join(","));
    }

    fn add(&mut self, random: &mut SmallRng, tag: &str) {
        match random.random_range(0..20) {
            0 => self.ask(&["PING", tag], tag),
            // Split over the shards: the answers of each come back as the keys' own values.
            1 => {
                let keys: Vec<String> = (0..4).map(|key| format!("{tag}.{key}")).collect();
                let args: Vec<&str> =
                    std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
                self.ask(&args, keys.join(","));
            }
            // The same with numbers that are added up: each key stands for the one behind its last '#'.
            2 => {
                let numbers: Vec<u64> = (0..4).map(|_| random.random_range(0..1000)).collect();
                let keys: Vec<String> =
                    numbers.iter().enumerate().map(|(at, n)| format!("{tag}.{at}#{n}")).collect();
                let args: Vec<&str> =
                    std::iter::once("EXISTS").chain(keys.iter().map(String::as_str)).collect();
                self.ask(&args, numbers.iter().sum::<u64>().to_string());
            }
            3 => self.transaction(&[format!("STRLEN {tag}"), format!("APPEND {tag} y")]),
            4 => {
                let lines: Vec<String> =
                    (0..random.random_range(1..6)).map(|_| format!("HSET {tag} f v")).collect();
                self.transaction(&lines);
            }
            // Writes that change something each time: sent again under their numbers.
            5 => self.echo(&format!("APPEND {tag} x")),
            6 => self.echo(&format!("HINCRBY {tag} f 1")),
            7 => self.echo(&format!("ZADD {tag} 1 m")),
            8 => self.echo(&format!("EVAL return 1 {tag}")),
            // On the slow lane: the client waits for its answers before it changes lanes.
            9 => self.echo(&format!("LOCK.INFO {tag}")),
            // On a connection of its own, and nobody can say whether it happened when that breaks.
            10 => {
                self.ask(&["BLPOP", tag, "7"], format!("BLPOP {tag}"));
                self.wanted.last_mut().expect("just added").or_uncertain = true;
            }
            // Neither has a number nor can be repeated.
            11 => {
                self.echo(&format!("SPUBLISH {tag} text"));
                self.wanted.last_mut().expect("just added").or_uncertain = true;
            }
            12 => self.echo(&format!("GETRANGE {tag} 0 9")),
            _ => self.echo(&format!("STRLEN {tag}")),
        }
    }
}

fn text(reply: &Value) -> String {
    match (reply.as_int(), reply.as_array()) {
        (Some(number), _) => number.to_string(),
        (_, Some(items)) => items.iter().map(text).collect::<Vec<_>>().join(","),
        _ => reply.as_str().unwrap_or("?").to_owned(),
    }
}

/// One client's life: pipelines of requests, each reply checked; sometimes it leaves without reading.
async fn live(port: u16, seed: u64, id: usize, rounds: usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..rounds {
        let mut client = Client::connect(port).await;
        if random.random_range(0..3) == 0 {
            client.send_raw(b"HELLO 3\r\n").await;
            client.reply().await;
        }
        if random.random_range(0..4) == 0 {
            assert_eq!(client.ask("CLIENT ACK in-sync").await, "+OK\r\n");
        }
        for batch in 0..random.random_range(1..4) {
            let mut requests = Batch::default();
            for n in 0..random.random_range(1..40) {
                requests.add(&mut random, &format!("{id}.{round}.{batch}.{n}"));
            }
            client.send_raw(&requests.bytes).await;
            let leaves = random.random_range(0..4) == 0;
            let reads =
                if leaves { random.random_range(0..requests.wanted.len()) } else { requests.wanted.len() };
            for wanted in &requests.wanted[..reads] {
                let reply = client.reply().await;
                if let Some(error) = reply.as_error() {
                    assert!(
                        wanted.or_uncertain && error.starts_with("UNCERTAIN"),
                        "seed {seed}: {error} for {wanted:?}"
                    );
                    continue;
                }
                // A second sending of a command that waits says how long it may still do so.
                let mut text = text(&reply);
                if text.starts_with("BLPOP ") {
                    text.truncate(text.rfind(' ').unwrap_or(0));
                }
                assert_eq!(text, wanted.text, "seed {seed}: another request's reply");
            }
            if leaves {
                break;
            }
        }
    }
}

/// The same in memcached's protocol: a key's value is the key.
async fn live_memcached(port: u16, seed: u64, id: usize, rounds: usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..rounds {
        let mut client = Client::connect(port).await;
        let (mut bytes, mut wanted) = (String::new(), String::new());
        for n in 0..random.random_range(1..30) {
            let keys: Vec<String> =
                (0..random.random_range(1..5)).map(|key| format!("{id}.{round}.{n}.{key}")).collect();
            bytes += &format!("get {}\r\n", keys.join(" "));
            keys.iter().for_each(|key| wanted += &format!("VALUE {key} 0 {}\r\n{key}\r\n", key.len()));
            wanted += "END\r\n";
        }
        client.send_raw(bytes.as_bytes()).await;
        if random.random_range(0..4) == 0 {
            continue;
        }
        while client.buffer.len() < wanted.len() {
            let read = tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut client.buffer);
            assert!(tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("reads") > 0);
        }
        assert_eq!(String::from_utf8_lossy(&client.buffer), wanted, "seed {seed}: other requests' replies");
    }
}

/// A node that misbehaves at random; whatever it says tells what it was asked.
fn misbehave(node: &FakeNode, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    node.hook(move |seen| {
        let usual = usual(seen);
        match random.random_range(0..400) {
            0 => Act::Drop,
            1 => Act::ExecuteAndDrop,
            2..6 if !matches!(seen.args[0].as_str(), "MULTI" | "EXEC") => {
                Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into())
            }
            6..10 if matches!(usual, Act::Usual) => Act::Late(Duration::from_millis(3)),
            _ => usual,
        }
    });
}

fn usual(seen: &Seen) -> Act {
    match seen.args[0].as_str() {
        "MGET" => {
            let values = seen.args[1..].iter().map(|key| format!("${}\r\n{key}\r\n", key.len()));
            Act::Reply(format!("*{}\r\n{}", seen.args.len() - 1, values.collect::<String>()))
        }
        "EXISTS" => {
            let number =
                |key: &String| key.rsplit('#').next().and_then(|n| n.parse::<u64>().ok()).expect("a number");
            Act::Reply(format!(":{}\r\n", seen.args[1..].iter().map(number).sum::<u64>()))
        }
        "MC" => {
            let keys = seen.args[1].split(' ').skip(1);
            let values: String =
                keys.map(|key| format!("VALUE {key} 0 {}\r\n{key}\r\n", key.len())).collect();
            Act::Reply(format!("${}\r\n{values}\r\n", values.len()))
        }
        _ => Act::Usual,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reply_belongs_to_its_request() {
    for seed in setting("TORC_PROXY_SEED", 1)..setting("TORC_PROXY_SEED", 1) + setting("TORC_PROXY_SEEDS", 2)
    {
        let config = ProxyConfig {
            threads: 2,
            request_timeout_ms: PATIENCE.as_millis() as u32,
            ..ProxyConfig::default()
        };
        let mut world = World::new(3, config).await;
        for (n, node) in world.nodes.iter().enumerate() {
            misbehave(node, seed * 31 + n as u64);
        }
        let at = world.proxy.addresses().clone();
        let mut clients = tokio::task::JoinSet::new();
        for id in 0..12 {
            clients.spawn(live(at.port, seed * 1000 + id as u64, id, 12));
        }
        for id in 12..16 {
            clients.spawn(live_memcached(at.memcached_port, seed * 1000 + id as u64, id, 12));
        }
        let (mut random, mut failovers) = (SmallRng::seed_from_u64(seed), 0);
        loop {
            let pause = Duration::from_millis(random.random_range(20..120));
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(client) => client.expect("each reply belongs to its request"),
                    None => break,
                },
                // A primary dies, and another node takes its shard with all that it has remembered.
                () = tokio::time::sleep(pause) => {
                    failovers += 1;
                    let shard = random.random_range(0..world.nodes.len());
                    let fresh = FakeNode::start(Some(secret())).await;
                    misbehave(&fresh, seed * 77 + failovers);
                    let old = std::mem::replace(&mut world.nodes[shard], fresh);
                    // The map is new before the old one is gone, or after it.
                    if random.random() {
                        old.kill();
                    }
                    world.nodes[shard].take_over(&old);
                    world.set_map(&world.ports());
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
                    old.kill();
                }
            }
        }
        println!("seed {seed}: {failovers} failovers");
        world.end().await;
    }
}
