//! All switches on at once: copies, shared requests, reads from replicas, gathered commands, transactions, waiting, pauses,
//! silent replies, both versions of RESP and memcached, while nodes misbehave and fail over and clients leave in the middle
//! of pipelines.
//!
//! Counters go up only, and only through the proxy, on nodes whose heirs have all they had; so each read must lie between
//! what was acknowledged before it was sent and what had been asked for when it was answered. Each counter has numbers of its
//! own, and every other reply says which request it belongs to.
//!
//! Proved by breaking it: with stamps that do not change reads are too old.
//!
//! `TORC_PROXY_SEED` and `TORC_PROXY_ROUNDS` choose the seed and how many lives each client has.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::client::Client;
use common::node::{Act, FakeNode, Seen};
use common::{PATIENCE, World, key_on, secret, with_replicas};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use torc_cluster::map::Policy;
use torc_protocol::context::ReadFrom;
use torc_protocol::error;
use torc_protocol::resp::{Value, encode_request};
use torc_proxy::ProxyConfig;

const SHARDS: usize = 2;
/// The numbers of a counter begin at its place times this.
const APART: u64 = 1_000_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A key that is only ever incremented.
struct Counter {
    key: String,
    base: u64,
    asked: AtomicU64,
    acknowledged: AtomicU64,
}

type Counters = Arc<Vec<Counter>>;

fn counters() -> Counters {
    let prefixes = ["plain:", "any:", "replica:"];
    let key = |at: usize| key_on(at % SHARDS, SHARDS, &format!("{}{at}:", prefixes[at % 3]));
    let counter = |at: usize| Counter {
        key: key(at),
        base: (at as u64 + 1) * APART,
        asked: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
    };
    Arc::new((0..6).map(counter).collect())
}

/// What a reply must be.
enum Wanted {
    Text(String),
    /// The same, or it may be UNCERTAIN: it cannot be sent again.
    Doubtful(String),
    /// It ends so.
    Ends(String),
    /// The counter of this place, which was at least this far when the request was sent.
    Read(usize, u64),
    /// Several of them.
    Reads(Vec<(usize, u64)>),
    /// The same, now one higher.
    Counted(usize, u64),
    /// EXEC of INCR and GET of it.
    Executed(usize, u64),
    /// EXEC of that after WATCH: perhaps nothing.
    Watched(usize, u64),
}

struct Life {
    counters: Counters,
    random: SmallRng,
    tag: String,
    bytes: Vec<u8>,
    wanted: Vec<Wanted>,
}

fn text(reply: &Value) -> String {
    match (reply.as_int(), reply.as_array(), reply) {
        (Some(number), ..) => number.to_string(),
        (_, Some(items), _) => items.iter().map(text).collect::<Vec<_>>().join(","),
        (.., Value::Map(pairs)) => {
            pairs.iter().map(|(key, value)| format!("{},{}", text(key), text(value))).collect()
        }
        _ => reply.as_str().unwrap_or("?").to_owned(),
    }
}

fn number(reply: &Value) -> u64 {
    text(reply).parse().unwrap_or_else(|_| panic!("no number: {reply:?}"))
}

impl Life {
    fn ask(&mut self, args: &[&str], wanted: Wanted) {
        encode_request(&mut self.bytes, args);
        self.wanted.push(wanted);
    }

    fn silent(&mut self, args: &[&str]) {
        encode_request(&mut self.bytes, args);
    }

    fn any(&mut self) -> (usize, String, u64) {
        let at = self.random.random_range(0..self.counters.len());
        let counter = &self.counters[at];
        (at, counter.key.clone(), counter.acknowledged.load(Ordering::SeqCst))
    }

    fn increments(&self, at: usize) {
        self.counters[at].asked.fetch_add(1, Ordering::SeqCst);
    }

    fn add(&mut self, n: usize) {
        let tag = format!("{}.{n}", self.tag);
        let (at, key, least) = self.any();
        match self.random.random_range(0..24) {
            0..8 => self.ask(&["GET", &key], Wanted::Read(at, least)),
            8 | 9 => {
                self.increments(at);
                self.ask(&["INCR", &key], Wanted::Counted(at, least));
            }
            10 => {
                let others: Vec<_> = (0..4).map(|_| self.any()).collect();
                let args: Vec<&str> =
                    std::iter::once("MGET").chain(others.iter().map(|(_, key, _)| key.as_str())).collect();
                self.ask(&args, Wanted::Reads(others.iter().map(|(at, _, least)| (*at, *least)).collect()));
            }
            11 => {
                self.increments(at);
                self.ask(&["MULTI"], Wanted::Text("OK".into()));
                self.ask(&["INCR", &key], Wanted::Text("QUEUED".into()));
                self.ask(&["GET", &key], Wanted::Text("QUEUED".into()));
                self.ask(&["EXEC"], Wanted::Executed(at, least));
            }
            12 => {
                self.increments(at);
                self.ask(&["WATCH", &key], Wanted::Doubtful("OK".into()));
                self.ask(&["GET", &key], Wanted::Read(at, least));
                self.ask(&["MULTI"], Wanted::Text("OK".into()));
                self.ask(&["INCR", &key], Wanted::Text("QUEUED".into()));
                self.ask(&["GET", &key], Wanted::Text("QUEUED".into()));
                self.ask(&["EXEC"], Wanted::Watched(at, least));
            }
            13 => {
                let (a, b) = (key_on(0, SHARDS, &tag), key_on(1, SHARDS, &tag));
                self.ask(&["SINTER", &a, &b], Wanted::Ends(format!("SINTER {a} {b}")));
            }
            14 => {
                self.silent(&["CLIENT", "REPLY", "SKIP"]);
                self.silent(&["GET", &key]);
                self.ask(&["PING", &tag], Wanted::Text(tag.clone()));
            }
            15 => {
                self.silent(&["CLIENT", "REPLY", "OFF"]);
                self.increments(at);
                self.silent(&["INCR", &key]);
                self.silent(&["GET", &key]);
                self.ask(&["CLIENT", "REPLY", "ON"], Wanted::Text("OK".into()));
            }
            16 => self.ask(&["BLPOP", &tag, "7"], Wanted::Doubtful(format!("BLPOP {tag}"))),
            17 => {
                let mode = if self.random.random() { "WRITE" } else { "ALL" };
                self.ask(&["CLIENT", "PAUSE", "15", mode], Wanted::Text("OK".into()));
            }
            18 | 19 => self.ask(&["HGETALL", &key], Wanted::Text(format!("field,{key}"))),
            20 => self.ask(&["STRLEN", &key], Wanted::Text(format!("STRLEN {key}"))),
            _ => self.ask(&["GETRANGE", &key, "0", "9"], Wanted::Text(format!("GETRANGE {key} 0 9"))),
        }
    }

    /// A number of a counter that was at least `least`.
    fn lies(&self, at: usize, least: u64, shown: u64) {
        let counter = &self.counters[at];
        let most = counter.asked.load(Ordering::SeqCst);
        let count = shown.checked_sub(counter.base).filter(|count| (least..=most).contains(count));
        assert!(
            count.is_some(),
            "{} of {}: {shown}, not {least} to {most} above {}",
            self.tag,
            counter.key,
            counter.base
        );
    }

    fn counted(&self, at: usize, shown: u64) {
        let counter = &self.counters[at];
        counter.acknowledged.fetch_max(shown - counter.base, Ordering::SeqCst);
    }

    fn check(&self, wanted: &Wanted, reply: &Value) {
        let uncertain = |reply: &Value| reply.as_error().is_some_and(|text| text.starts_with("UNCERTAIN"));
        match wanted {
            Wanted::Doubtful(_) | Wanted::Watched(..) if uncertain(reply) => {}
            // What was to be watched has lost its node, or that refused a command of the transaction.
            Wanted::Doubtful(_) | Wanted::Watched(..) if reply.is_error() => {
                let text = reply.as_error().unwrap_or_default();
                assert!(
                    ["CLUSTERDOWN", "TRYAGAIN", "EXECABORT"].iter().any(|code| text.starts_with(code)),
                    "{}: {text}",
                    self.tag
                );
            }
            Wanted::Text(wanted) => assert_eq!(&text(reply), wanted, "{}", self.tag),
            // A second sending of a command that waits says how long it may still do so.
            Wanted::Doubtful(wanted) => assert!(text(reply).starts_with(wanted), "{}: {reply:?}", self.tag),
            Wanted::Ends(wanted) => assert!(text(reply).ends_with(wanted), "{}: {reply:?}", self.tag),
            Wanted::Read(at, least) => self.lies(*at, *least, number(reply)),
            Wanted::Reads(all) => {
                let shown = reply.as_array().unwrap_or_else(|| panic!("{}: {reply:?}", self.tag));
                assert_eq!(shown.len(), all.len());
                all.iter().zip(shown).for_each(|((at, least), reply)| self.lies(*at, *least, number(reply)));
            }
            Wanted::Counted(at, least) => {
                self.lies(*at, *least + 1, number(reply));
                self.counted(*at, number(reply));
            }
            Wanted::Watched(..) if reply.as_array().is_none() => {
                assert!(matches!(reply, Value::Null | Value::NullArray), "{}: {reply:?}", self.tag);
            }
            Wanted::Executed(at, least) | Wanted::Watched(at, least) => {
                let both = reply.as_array().unwrap_or_else(|| panic!("{}: {reply:?}", self.tag));
                self.lies(*at, *least + 1, number(&both[0]));
                assert_eq!(number(&both[0]), number(&both[1]), "{}", self.tag);
                self.counted(*at, number(&both[0]));
            }
        }
    }
}

/// One client's lives: pipelines and single requests, each reply checked; sometimes it leaves without reading.
async fn live(port: u16, counters: Counters, seed: u64, rounds: u64) {
    for round in 0..rounds {
        let mut client = Client::connect(port).await;
        let mut life = Life {
            counters: Arc::clone(&counters),
            random: SmallRng::seed_from_u64(seed * 1_000 + round),
            tag: format!("{seed}.{round}"),
            bytes: Vec::new(),
            wanted: Vec::new(),
        };
        if life.random.random_range(0..3) == 0 {
            client.send_raw(b"HELLO 3\r\n").await;
            client.reply().await;
        }
        if life.random.random_range(0..6) == 0 {
            assert_eq!(client.ask("READONLY").await, "+OK\r\n");
        }
        for batch in 0..life.random.random_range(4..24) {
            (life.bytes, life.wanted) = (Vec::new(), Vec::new());
            // Mostly one by one: only then are requests shared.
            let count = if life.random.random_range(0..4) == 0 { life.random.random_range(2..20) } else { 1 };
            (0..count).for_each(|n| life.add(batch * 100 + n));
            client.send_raw(&life.bytes).await;
            let wanted = std::mem::take(&mut life.wanted);
            let leaves = life.random.random_range(0..24) == 0;
            let reads = if leaves { life.random.random_range(0..wanted.len()) } else { wanted.len() };
            for wanted in &wanted[..reads] {
                let reply = client.reply().await;
                life.check(wanted, &reply);
            }
            if leaves {
                break;
            }
        }
    }
}

/// The same of memcached, which only reads.
async fn live_memcached(port: u16, counters: Counters, seed: u64, rounds: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for round in 0..rounds {
        let mut client = Client::connect(port).await;
        for _ in 0..random.random_range(1..30) {
            let places: Vec<usize> = match random.random_range(0..3) {
                0 => vec![0, 3, 1],
                _ => vec![random.random_range(0..counters.len())],
            };
            let least: Vec<u64> =
                places.iter().map(|at| counters[*at].acknowledged.load(Ordering::SeqCst)).collect();
            let keys: Vec<&str> = places.iter().map(|at| counters[*at].key.as_str()).collect();
            client.send_raw(format!("get {}\r\n", keys.join(" ")).as_bytes()).await;
            if random.random_range(0..20) == 0 {
                break;
            }
            let reply = client.until("END\r\n").await;
            let lines: Vec<&str> = reply.split("\r\n").collect();
            for (n, at) in places.iter().enumerate() {
                let counter = &counters[*at];
                assert_eq!(
                    lines[2 * n],
                    format!("VALUE {} 0 {}", counter.key, lines[2 * n + 1].len()),
                    "{reply}"
                );
                let shown: u64 = lines[2 * n + 1].parse().expect("a number");
                let most = counter.asked.load(Ordering::SeqCst);
                let lies = shown.checked_sub(counter.base).is_some_and(|it| (least[n]..=most).contains(&it));
                assert!(lies, "round {round}: {shown} of {}, not {} to {most}", counter.key, least[n]);
            }
        }
    }
}

/// Nodes that misbehave at random.
fn misbehave(node: &FakeNode, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    node.hook(move |seen| {
        let usual = usual(seen);
        let inside = matches!(seen.args[0].as_str(), "MULTI" | "EXEC" | "WATCH" | "TORC.TRACK" | "CLIENT");
        match random.random_range(0..600) {
            0 => Act::Drop,
            1 if seen.args[0] != "TORC.COLLECT" => Act::ExecuteAndDrop,
            2..6 if !inside => Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into()),
            6..12 if matches!(usual, Act::Usual) => Act::Late(Duration::from_millis(3)),
            12..40 if seen.replica => {
                let text = if random.random() { error::REPLICA_STALE } else { error::REPLICA_BEHIND };
                Act::Reply(format!("-{text}\r\n"))
            }
            _ => usual,
        }
    });
}

fn usual(seen: &Seen) -> Act {
    match seen.args[0].as_str() {
        "TORC.COLLECT" => {
            let values = seen.args[2..].iter().map(|key| format!("${}\r\n{key}\r\n", key.len()));
            Act::Reply(format!("*{}\r\n{}", seen.args.len() - 2, values.collect::<String>()))
        }
        _ => Act::Usual,
    }
}

fn config() -> ProxyConfig {
    let reads =
        |prefix: &str, from| Policy { prefix: prefix.into(), read_from: Some(from), ..Policy::default() };
    ProxyConfig {
        threads: 2,
        request_timeout_ms: PATIENCE.as_millis() as u32,
        local_copies: true,
        coalesce_reads: true,
        copy_rate: 1,
        copy_ttl_ms: 60_000,
        policy: vec![reads("any:", ReadFrom::Any), reads("replica:", ReadFrom::Replica)],
        ..ProxyConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_read_is_right_with_all_switches_on() {
    let (seed, rounds) = (setting("TORC_PROXY_SEED", 1), setting("TORC_PROXY_ROUNDS", 8));
    let (mut world, counters) = (World::new(SHARDS, config()).await, counters());
    let mut nodes: Vec<[FakeNode; 2]> = Vec::new();
    for (n, node) in world.nodes.iter().enumerate() {
        counters.iter().enumerate().filter(|(at, _)| at % SHARDS == n).for_each(|(_, counter)| {
            node.set(&counter.key, &counter.base.to_string());
        });
        misbehave(node, seed * 31 + n as u64);
        nodes.push([node.clone(), node.twin(Some(secret())).await]);
    }
    world.epoch += 1;
    world.maps.send_replace(Arc::new(with_replicas(world.epoch, &nodes)));
    let at = world.proxy.addresses().clone();
    let mut clients = tokio::task::JoinSet::new();
    for id in 0..24 {
        clients.spawn(live(at.port, Arc::clone(&counters), seed * 100 + id, rounds));
    }
    for id in 24..30 {
        clients.spawn(live_memcached(at.memcached_port, Arc::clone(&counters), seed * 100 + id, rounds));
    }
    let (mut random, mut failovers) = (SmallRng::seed_from_u64(seed), 0);
    loop {
        let pause = Duration::from_millis(random.random_range(100..500));
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(client) => client.expect("each reply is right"),
                None => break,
            },
            // The replica takes over, and gets a replica of its own.
            () = tokio::time::sleep(pause) => {
                failovers += 1;
                let shard = random.random_range(0..SHARDS);
                let fresh = nodes[shard][1].twin(Some(secret())).await;
                let [old, heir] = nodes[shard].clone();
                nodes[shard] = [heir, fresh];
                let first = random.random();
                if first {
                    old.kill();
                }
                world.epoch += 1;
                world.maps.send_replace(Arc::new(with_replicas(world.epoch, &nodes)));
                tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
                old.kill();
            }
        }
    }
    for (at, counter) in counters.iter().enumerate() {
        let shown =
            nodes[at % SHARDS][0].value(&counter.key).expect("there").parse::<u64>().expect("a number");
        let (least, most) =
            (counter.acknowledged.load(Ordering::SeqCst), counter.asked.load(Ordering::SeqCst));
        assert!(
            (least..=most).contains(&(shown - counter.base)),
            "{}: {shown}, not {least} to {most}",
            counter.key
        );
    }
    let metrics = numbers(&world).await;
    println!("seed {seed}: {failovers} failovers; {metrics}");
    world.end().await;
}

/// What the switches did.
async fn numbers(world: &World) -> String {
    let mut http = Client::connect(world.proxy.addresses().http_port).await;
    http.send_raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let text = String::from_utf8_lossy(&http.rest().await).into_owned();
    let names =
        ["torc_proxy_copies_served_total", "torc_proxy_coalesced_total", "torc_proxy_replica_reads_total"];
    let of = |name: &str| {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in {text}"));
        let number: f64 = line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(number > 0.0, "nothing of {name}");
        format!("{name} {number}")
    };
    names.map(of).join(", ")
}
