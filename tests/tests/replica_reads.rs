//! Reads from replicas through the proxy, by both protocols, under policies: what they show is never older than the bound, a client sees
//! what it wrote (over failovers too), and a replica that stands still or lags is not waited for.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::fleet::{Fleet, Place, Plan};
use torc_tests::frame::Node;
use torc_tests::relay::Way;
use torc_tests::scrape::Scrape;

/// The bound on staleness in these tests.
const BOUND: Duration = Duration::from_millis(400);
/// Clients that read, or read what they wrote; every other one speaks memcached.
const CLIENTS: usize = 4;

fn policy(fleet: &Fleet, prefix: &str, json: &str) -> (bool, String) {
    let output = fleet.torc(&["cluster", "policy", prefix, "--set", json]);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A counter of all nodes but this one.
fn of_others(fleet: &Fleet, not: u64, name: &str) -> f64 {
    let others = fleet.nodes().iter().filter(|node| node.id != not && node.is_awake());
    others.map(|node| Scrape::of(node.http()).sum(name, &[])).sum()
}

/// What PROXY EXPLAIN says under this name, at any depth.
fn explained(connection: &mut Connection, command: &[&str], field: &str) -> String {
    let reply = connection.call(&[&["PROXY", "EXPLAIN"], command].concat()).expect("an answer");
    let mut words = Vec::new();
    flatten(&reply, &mut words);
    let at = words.iter().position(|word| word == field);
    at.and_then(|at| words.get(at + 1).cloned()).unwrap_or_else(|| panic!("{field} in {words:?}"))
}

fn flatten(node: &Node, words: &mut Vec<String>) {
    match node {
        Node::Aggregate(_, children) => children.iter().for_each(|child| flatten(child, words)),
        Node::Scalar(_, text) => words.push(String::from_utf8_lossy(text).into_owned()),
        Node::Null(_) => words.push(String::new()),
    }
}

/// Waits until the proxy goes by the policy.
fn wait_policy(fleet: &Fleet, command: &[&str], words: &str) {
    let mut open = fleet.connect();
    fleet.wait(words, || explained(&mut open, command, "read-from").contains(words).then_some(()));
}

/// When each number was acknowledged.
type Acknowledged = Arc<Mutex<Vec<(Instant, u64)>>>;

fn write_numbers(proxy: Endpoint, key: &'static str, stop: Arc<AtomicBool>, acknowledged: Acknowledged) {
    let mut open = Connection::open(&proxy).expect("the proxy accepts");
    for number in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let reply = open.call(&["SET", key, &number.to_string()]).expect("an answer");
        if !reply.is_error() {
            acknowledged.lock().push((Instant::now(), number));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client of one of the protocols, which keeps numbers under keys.
struct Numbers {
    open: Connection,
    memcached: bool,
    reads: usize,
}

impl Numbers {
    fn of(fleet: &Fleet, memcached: bool) -> Numbers {
        let endpoint = if memcached { fleet.memcached() } else { fleet.proxy() };
        Numbers { open: Connection::open(&endpoint).expect("the proxy accepts"), memcached, reads: 0 }
    }

    /// Whether it was stored.
    fn set(&mut self, key: &str, number: u64) -> bool {
        let text = number.to_string();
        if !self.memcached {
            return !self.open.call(&["SET", key, &text]).expect("an answer").is_error();
        }
        self.say(&format!("set {key} 0 0 {}\r\n{text}\r\n", text.len()));
        self.answer() == "STORED\r\n"
    }

    /// The number (0: there is none), by another command each time.
    fn get(&mut self, key: &str) -> Result<u64, String> {
        self.reads += 1;
        if !self.memcached {
            let reply = self.open.call(&["GET", key]).expect("an answer");
            return match reply.is_error() {
                true => Err(format!("{reply:?}")),
                false => Ok(reply.text().map_or(0, |text| text.parse().expect("a number"))),
            };
        }
        self.say(&match self.reads % 3 {
            0 => format!("get {key}\r\n"),
            1 => format!("gets {key}\r\n"),
            _ => format!("mg {key} v\r\n"),
        });
        let answer = self.answer();
        let mut lines = answer.split("\r\n");
        match lines.next() {
            Some("END" | "EN") => Ok(0),
            Some(head) if head.starts_with("VA") => {
                Ok(lines.next().and_then(|text| text.parse().ok()).expect("a number"))
            }
            _ => Err(answer),
        }
    }

    fn say(&mut self, text: &str) {
        self.open.send(text.as_bytes()).expect("sent");
    }

    /// A whole answer of memcached.
    fn answer(&mut self) -> String {
        let whole = |bytes: &[u8]| {
            let lines = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
            match bytes {
                [b'V', b'A', b' ', ..] => lines == 2,
                [b'V', b'A', b'L', ..] => bytes.ends_with(b"END\r\n"),
                _ => lines == 1,
            }
        };
        let (bytes, _) = self.open.read_until(whole).expect("an answer");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads until told to stop; says how many reads there were. Each must show what was acknowledged `BOUND` before it began.
fn read_numbers(
    mut client: Numbers,
    key: &'static str,
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let shown = client.get(key).expect("a number");
        let known = acknowledged.lock();
        let old = began.checked_sub(BOUND).unwrap_or(began);
        let due = known.partition_point(|(at, _)| *at <= old);
        let least = due.checked_sub(1).map_or(0, |at| known[at].1);
        assert!(shown >= least, "{shown} was read when {least} had been acknowledged {BOUND:?} before");
        drop(known);
        reads += 1;
    }
    reads
}

#[test]
fn what_is_read_is_never_older_than_the_bound() {
    let mut fleet = Fleet::start(Plan { shards: 1, replicas: 2, hosts: 3 }, Place::Relayed);
    let primary = fleet.primary_that_does_not_lead();
    // What does not go together is refused, and says why.
    for (json, names) in [
        (r#"{"read":"strong","read_from":"replica"}"#, "exclude each other"),
        (r#"{"max_staleness_ms":100}"#, "needs a read_from"),
        (r#"{"read_from":"any","max_staleness_ms":1}"#, "is not between"),
        (r#"{"read_from":"elsewhere"}"#, "primary, nearest, replica or any"),
    ] {
        let (done, text) = policy(&fleet, "x", json);
        assert!(!done && text.contains(names), "{json}: {text}");
    }
    // READONLY, as cluster clients send it: all members alike, on this connection, and not what a policy says.
    let mut open = fleet.connect();
    assert!(explained(&mut open, &["GET", "k"], "read-from").contains("primary"));
    assert_eq!(open.call(&["READONLY"]).expect("an answer").text().as_deref(), Some("OK"));
    assert!(explained(&mut open, &["GET", "k"], "read-from").contains("any"));
    open.call(&["CLIENT", "READ", "strong"]).expect("an answer");
    assert!(explained(&mut open, &["GET", "k"], "read-from").contains("primary"));
    open.call(&["CLIENT", "READ", "default"]).expect("an answer");
    open.call(&["READWRITE"]).expect("an answer");
    assert!(explained(&mut open, &["GET", "k"], "read-from").contains("primary"));

    let json = format!(r#"{{"read_from":"replica","max_staleness_ms":{}}}"#, BOUND.as_millis());
    let (done, text) = policy(&fleet, "n", &json);
    assert!(done, "{text}");
    wait_policy(&fleet, &["GET", "n"], "replica");
    assert!(explained(&mut open, &["SET", "n", "1"], "read-from").contains("primary"));
    assert!(explained(&mut open, &["GET", "n"], "why").contains("replica: this client's turn"));

    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Acknowledged::default();
    let proxy = fleet.proxy();
    let arguments = || ("n", Arc::clone(&stop), Arc::clone(&acknowledged));
    let (key, ends, told) = arguments();
    let writer = std::thread::spawn(move || write_numbers(proxy, key, ends, told));
    let readers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let ((key, ends, told), client) = (arguments(), Numbers::of(&fleet, number % 2 == 1));
            std::thread::spawn(move || read_numbers(client, key, ends, told))
        })
        .collect();
    let pause = |ms| std::thread::sleep(Duration::from_millis(ms));
    pause(1_000);
    let served = of_others(&fleet, primary, "torc_server_replica_reads_total");
    assert!(served > 50.0, "replicas answered {served} reads");
    // The stream stands still; what was sent in that time comes late, with the proofs of then.
    for _ in 0..3 {
        fleet.node(primary).relays()[1].cut(Way::Out);
        pause(900);
        fleet.node(primary).relays()[1].heal();
        pause(400);
    }
    let stale = of_others(&fleet, primary, "torc_server_replica_reads_stale_total");
    assert!(stale > 0.0, "no replica found itself stale");
    // There and back takes longer than the bound: nobody can be fresh enough.
    fleet.node(primary).relays()[1].delay(BOUND / 2);
    pause(1_500);
    let before = of_others(&fleet, primary, "torc_server_replica_reads_total");
    pause(700);
    let during = of_others(&fleet, primary, "torc_server_replica_reads_total") - before;
    assert_eq!(during, 0.0, "reads answered by replicas that cannot be fresh");
    fleet.node(primary).relays()[1].heal();
    fleet.wait_whole();
    // A replica that stands still holds no read up for good.
    let asleep = fleet.nodes().iter().map(|node| node.id).find(|id| *id != primary && *id != fleet.leader());
    if let Some(asleep) = asleep {
        fleet.node(asleep).pause();
        pause(1_500);
        fleet.node(asleep).wake();
    }
    pause(300);
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends well");
    let reads: usize = readers.into_iter().map(|reader| reader.join().expect("no read was too old")).sum();
    let served = of_others(&fleet, primary, "torc_server_replica_reads_total");
    let at_primary = Scrape::of(fleet.node(primary).http()).sum("torc_server_replica_reads_total", &[]);
    println!(
        "{reads} reads, {served} of them answered by replicas, {stale} refused as stale before the delay"
    );
    if fleet.primary(0) == primary {
        assert_eq!(at_primary, 0.0);
    }
}

#[test]
fn a_client_reads_what_it_wrote_after_a_failover_too() {
    let mut fleet = Fleet::start(Plan { shards: 1, replicas: 2, hosts: 3 }, Place::Loopback);
    let (done, text) = policy(&fleet, "", r#"{"read_from":"replica","max_staleness_ms":60000}"#);
    assert!(done, "{text}");
    wait_policy(&fleet, &["GET", "n"], "replica");
    // Whom a stale item has load it anew is the primary's to say, and one client only is told to.
    let mut owner = Numbers::of(&fleet, true);
    owner.say("ms s 1\r\na\r\n");
    assert_eq!(owner.answer(), "HD\r\n");
    owner.say("md s I T60\r\n");
    assert_eq!(owner.answer(), "HD\r\n");
    owner.say("mg s v\r\n");
    assert_eq!(owner.answer(), "VA 1 X W\r\na\r\n");
    for _ in 0..8 {
        let mut other = Numbers::of(&fleet, true);
        other.say("mg s v\r\n");
        // Who has not been told of the mark may see the item as it was: that is within the bound.
        let answer = other.answer();
        assert!(["VA 1 Z X\r\na\r\n", "VA 1\r\na\r\n"].contains(&answer.as_str()), "{answer}");
    }

    let (done, text) =
        policy(&fleet, "", r#"{"ack":"in-sync","read_from":"replica","max_staleness_ms":60000}"#);
    assert!(done, "{text}");
    let mut open = fleet.connect();
    fleet.wait("the acknowledgement", || {
        (explained(&mut open, &["SET", "n", "1"], "ack") == "in-sync").then_some(())
    });
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stop, memcached) = (Arc::clone(&stop), number % 2 == 1);
            let client = Numbers::of(&fleet, memcached);
            std::thread::spawn(move || write_and_read(client, number, &stop))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(1_000));
    let first = fleet.primary(0);
    fleet.node(first).kill();
    let second = fleet.wait_other_primary(0, first);
    std::thread::sleep(Duration::from_millis(1_500));
    fleet.restart(first);
    fleet.wait_whole();
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let pairs: usize = clients.into_iter().map(|it| it.join().expect("each saw what it wrote")).sum();
    let served = of_others(&fleet, second, "torc_server_replica_reads_total");
    println!("{pairs} writes read back, {served} of them at replicas of the second primary");
    assert!(served > 0.0);
}

/// Writes a number and reads it back, again and again, pipelined now and then; says how often.
fn write_and_read(mut client: Numbers, number: usize, stop: &AtomicBool) -> usize {
    let key = format!("mine{number}");
    let (mut pairs, mut last) = (0, 0_u64);
    for number in 1_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = number.to_string();
        let written = if number % 3 == 0 && !client.memcached {
            let open = &mut client.open;
            open.send_command(&["SET", &key, &text]).expect("sent");
            open.send_command(&["GET", &key]).expect("sent");
            let written = open.read_frame().expect("an answer") == b"+OK\r\n";
            let frame = open.read_frame().expect("an answer");
            let wanted = format!("${}\r\n{text}\r\n", text.len());
            let fits = frame == wanted.as_bytes() || frame.starts_with(b"-");
            assert!(!written || fits, "{:?}", String::from_utf8_lossy(&frame));
            written
        } else {
            client.set(&key, number)
        };
        if written {
            last = number;
            pairs += 1;
        }
        let Ok(shown) = client.get(&key) else { continue };
        assert!(shown >= last, "{shown} was read after {last} had been written by the same client");
    }
    pairs
}
