//! Real clients that write down what they ask and what they are told: the material of a [`History`].
//!
//! A client is a thread with a connection of its own and one request under way. It draws its requests from a seed;
//! what it writes is unique. Answers are told apart by what they promise: an error that says "not executed" is a
//! refusal, UNCERTAIN and a broken connection are uncertain, and anything else is nothing a client should ever see
//! ([`Recording::unknown`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::{Connection, Endpoint};
use crate::frame::Node;
use crate::history::{Clock, Event, History, Kind, Op, Outcome};

/// Pause between two requests of a client: histories stay short enough to be judged at once.
const PAUSE: Duration = Duration::from_millis(2);
/// Pause after an error.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);
/// Members of a set or list before the clients turn to the next one: reading all of it stays cheap.
const MEMBERS: usize = 150;
/// Registers and counters under each tag.
const REGISTERS: usize = 3;

/// Errors that say that nothing was executed, and never will be.
const REFUSALS: [&str; 4] = ["NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "MOVED"];

/// What the clients are like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub clients: usize,
    /// Hash tags; each has keys of every kind.
    pub tags: Vec<String>,
    /// `CLIENT ACK`.
    pub ack: &'static str,
    /// `CLIENT READ`.
    pub read: &'static str,
    /// Of what they ask.
    pub seed: u64,
}

/// Running clients.
pub struct Recorder {
    threads: Vec<JoinHandle<Recording>>,
    shared: Arc<Shared>,
    plan: Plan,
    endpoint: Endpoint,
}

struct Shared {
    clock: Clock,
    stop: AtomicBool,
    acknowledged: AtomicUsize,
    /// Sets and lists: how many members were sent so far, by tag.
    members: Vec<AtomicUsize>,
}

/// What clients did.
#[derive(Debug, Default)]
pub struct Recording {
    /// All requests.
    pub history: History,
    /// Errors by their text, with their count.
    pub errors: BTreeMap<String, usize>,
    /// Of them those that no client should see.
    pub unknown: BTreeMap<String, usize>,
    /// The longest time without an acknowledged write of one client.
    pub longest_gap: Duration,
}

impl Recorder {
    /// Starts the clients.
    pub fn start(endpoint: Endpoint, plan: Plan) -> Recorder {
        let shared = Arc::new(Shared {
            clock: Clock::new(),
            stop: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            members: plan.tags.iter().map(|_| AtomicUsize::new(0)).collect(),
        });
        let threads = (0..plan.clients)
            .map(|number| {
                let mut client = Client::new(number, endpoint.clone(), plan.clone(), Arc::clone(&shared));
                std::thread::spawn(move || client.run())
            })
            .collect();
        Recorder { threads, shared, plan, endpoint }
    }

    /// Waits until `more` further writes are acknowledged.
    ///
    /// # Panics
    /// When that takes longer than any test waits.
    pub fn wait_more(&self, more: usize) {
        let wanted = self.shared.acknowledged.load(Ordering::Relaxed) + more;
        crate::cluster::wait_for(&format!("{more} more acknowledged writes"), || {
            (self.shared.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    /// Stops the clients, then reads every key once more.
    ///
    /// # Panics
    /// When a client panicked, or the last reads fail.
    pub fn finish(self) -> Recording {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Recording::default();
        for thread in self.threads {
            all.add(thread.join().expect("a client does not panic"));
        }
        let number = self.plan.clients;
        let mut client = Client::new(number, self.endpoint, self.plan, self.shared);
        let keys: Vec<(String, Kind)> = all
            .history
            .by_key()
            .into_iter()
            .map(|(key, events)| (key.to_owned(), events[0].op.kind()))
            .collect();
        for (key, kind) in keys {
            let read = match kind {
                Kind::Register => Op::Get,
                Kind::Counter => Op::Count,
                Kind::Set => Op::Members,
                Kind::List => Op::List,
            };
            client.ask(key, read);
        }
        let last = std::mem::take(&mut client.done);
        assert_eq!(last.errors, BTreeMap::new(), "the last reads");
        all.add(last);
        all
    }
}

impl Recording {
    fn add(&mut self, other: Recording) {
        self.history.extend(other.history.0);
        for (from, to) in [(other.errors, &mut self.errors), (other.unknown, &mut self.unknown)] {
            from.into_iter().for_each(|(text, count)| *to.entry(text).or_default() += count);
        }
        self.longest_gap = self.longest_gap.max(other.longest_gap);
    }

    /// Numbers for a person.
    pub fn summary(&self) -> String {
        format!(
            "{}; longest time of a client without an acknowledged write {:.2} s; errors {:?}",
            self.history.summary(),
            self.longest_gap.as_secs_f64(),
            self.errors
        )
    }

    /// Everything is as a correct store would have it.
    ///
    /// # Panics
    /// With what is not.
    pub fn check(&self) {
        assert_eq!(self.unknown, BTreeMap::new(), "errors that no client should see");
        let violations = self.history.violations();
        let texts: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.key, v.what)).collect();
        assert!(texts.is_empty(), "{} violations:\n{}", texts.len(), texts.join("\n"));
    }
}

struct Client {
    number: usize,
    endpoint: Endpoint,
    plan: Plan,
    shared: Arc<Shared>,
    random: StdRng,
    open: Option<Connection>,
    next: u64,
    last_ok_ns: u64,
    done: Recording,
}

impl Client {
    fn new(number: usize, endpoint: Endpoint, plan: Plan, shared: Arc<Shared>) -> Client {
        let random = StdRng::seed_from_u64(plan.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        let last_ok_ns = shared.clock.now_ns();
        Client {
            number,
            endpoint,
            plan,
            shared,
            random,
            open: None,
            next: 0,
            last_ok_ns,
            done: Recording::default(),
        }
    }

    fn run(&mut self) -> Recording {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let (key, op) = self.draw();
            let well = self.ask(key, op);
            std::thread::sleep(if well { PAUSE } else { PAUSE_AFTER_ERROR });
        }
        std::mem::take(&mut self.done)
    }

    /// The next request.
    fn draw(&mut self) -> (String, Op) {
        let index = self.random.random_range(0..self.plan.tags.len());
        let tag = self.plan.tags[index].clone();
        let unique = ((self.number as u64) << 32) | self.next;
        self.next += 1;
        let which = self.random.random_range(0..REGISTERS);
        let era = |sent: &AtomicUsize, adds: usize| sent.fetch_add(adds, Ordering::Relaxed) / MEMBERS;
        match self.random.random_range(0..100) {
            0..35 => (format!("{tag}r{which}"), Op::Set(unique)),
            35..65 => (format!("{tag}r{which}"), Op::Get),
            65..80 => (format!("{tag}c{which}"), Op::Incr),
            80..84 => (format!("{tag}c{which}"), Op::Count),
            84..90 => (format!("{tag}s{}", era(&self.shared.members[index], 1)), Op::Add(unique)),
            90..92 => (format!("{tag}s{}", era(&self.shared.members[index], 0)), Op::Members),
            92..98 => (format!("{tag}l{}", era(&self.shared.members[index], 1)), Op::Push(unique)),
            _ => (format!("{tag}l{}", era(&self.shared.members[index], 0)), Op::List),
        }
    }

    /// Asks and notes the answer. False for an error.
    fn ask(&mut self, key: String, op: Op) -> bool {
        let invoked_ns = self.shared.clock.now_ns();
        let answer = self.send(&key, op);
        let returned_ns = self.shared.clock.now_ns();
        let outcome = answer.unwrap_or_else(|error| {
            let refused = REFUSALS.iter().any(|known| error.starts_with(known));
            let known = refused || error.starts_with("UNCERTAIN") || error.starts_with("connection");
            if !known {
                *self.done.unknown.entry(error.clone()).or_default() += 1;
            }
            *self.done.errors.entry(error).or_default() += 1;
            // An error that is not known may mean anything.
            if refused { Outcome::Refused } else { Outcome::Uncertain }
        });
        let event = Event { client: self.number, key, op, invoked_ns, returned_ns, outcome };
        let well = event.is_ok();
        if well && op.is_write() {
            self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
            let gap = Duration::from_nanos(returned_ns.saturating_sub(self.last_ok_ns));
            self.done.longest_gap = self.done.longest_gap.max(gap);
            self.last_ok_ns = returned_ns;
        }
        self.done.history.0.push(event);
        well
    }

    fn send(&mut self, key: &str, op: Op) -> Result<Outcome, String> {
        let io = |error: std::io::Error| format!("connection: {error}");
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect().map_err(io)?,
        };
        let value = |value: u64| value.to_string();
        let reply = match op {
            Op::Set(v) => open.call(&["SET", key, &value(v)]),
            Op::Get | Op::Count => open.call(&["GET", key]),
            Op::Incr => open.call(&["INCR", key]),
            Op::Add(v) => open.call(&["SADD", key, &value(v)]),
            Op::Members => open.call(&["SMEMBERS", key]),
            Op::Push(v) => open.call(&["RPUSH", key, &value(v)]),
            Op::List => open.call(&["LRANGE", key, "0", "-1"]),
        }
        .map_err(io)?;
        self.open = Some(open);
        if reply.is_error() {
            return Err(reply.text().unwrap_or_else(|| format!("{reply:?}")));
        }
        outcome(op, &reply).ok_or_else(|| format!("no answer to {op:?}: {reply:?}"))
    }

    fn connect(&self) -> std::io::Result<Connection> {
        let mut open = Connection::open(&self.endpoint)?;
        for (what, level) in [("ACK", self.plan.ack), ("READ", self.plan.read)] {
            let reply = open.call(&["CLIENT", what, level])?;
            assert!(!reply.is_error(), "CLIENT {what} {level}: {reply:?}");
        }
        Ok(open)
    }
}

/// What a reply says; `None` when it is no reply to that request.
fn outcome(op: Op, reply: &Node) -> Option<Outcome> {
    let number = |node: &Node| node.text()?.parse::<u64>().ok();
    match op {
        Op::Set(_) => (reply.text()? == "OK").then_some(Outcome::Done),
        Op::Get if matches!(reply, Node::Null(_)) => Some(Outcome::Value(None)),
        Op::Get => Some(Outcome::Value(Some(number(reply)?))),
        Op::Count if matches!(reply, Node::Null(_)) => Some(Outcome::Number(0)),
        Op::Incr | Op::Count => Some(Outcome::Number(number(reply)?)),
        // Every member is added once: a 0 says that it was there already, a doubled write.
        Op::Add(_) => (number(reply)? == 1).then_some(Outcome::Done),
        Op::Push(_) => number(reply).map(|_| Outcome::Done),
        Op::Members | Op::List => {
            reply.children()?.iter().map(number).collect::<Option<_>>().map(Outcome::All)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;

    fn of(op: Op, bytes: &[u8]) -> Option<Outcome> {
        outcome(op, &decode(bytes).expect("RESP").expect("a whole frame").0)
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(of(Op::Set(1), b"+OK\r\n"), Some(Outcome::Done));
        assert_eq!(of(Op::Get, b"$-1\r\n"), Some(Outcome::Value(None)));
        assert_eq!(of(Op::Get, b"$1\r\n7\r\n"), Some(Outcome::Value(Some(7))));
        assert_eq!(of(Op::Count, b"$-1\r\n"), Some(Outcome::Number(0)));
        assert_eq!(of(Op::Incr, b":3\r\n"), Some(Outcome::Number(3)));
        assert_eq!(of(Op::Add(1), b":1\r\n"), Some(Outcome::Done));
        assert_eq!(of(Op::Add(1), b":0\r\n"), None, "doubled");
        assert_eq!(of(Op::List, b"*2\r\n$1\r\n4\r\n$1\r\n5\r\n"), Some(Outcome::All(vec![4, 5])));
        assert_eq!(of(Op::Get, b"$1\r\nx\r\n"), None);
    }
}
