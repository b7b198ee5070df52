//! A store without sockets, for tests: requests in as text, replies out as bytes.
//!
//! ```
//! use torc_server::exec::testing::Harness;
//! let mut t = Harness::new();
//! assert_eq!(t.run("SET k v"), "+OK\r\n");
//! t.advance(1000);
//! assert_eq!(t.run("GET k"), "$1\r\nv\r\n");
//! ```

use std::sync::Arc;

use torc_cluster::ids::{Incarnation, Member, NodeId, ShardId, Term};
use torc_cluster::map::ClusterMap;
use torc_protocol::context::Context;
use torc_protocol::handshake::Secret;
use torc_protocol::resp::{OwnedArgs, Version, split_args};
use torc_protocol::slot::SLOTS;

#[cfg(test)]
use super::Park;
use super::{Batch, Done, Executor, Flow, Now, Session};
#[cfg(test)]
use crate::blocked::{Place, Turn};
use crate::clients::Client;
use crate::conn::{Ahead, Holds, Lines, Step};
use crate::effect::Records;
use crate::node::Node;
use crate::settings::Settings;
use crate::shard::{Role, View};
use crate::store::{KeyHasher, hash::DEFAULT_SEED};

/// Where the clock of a harness starts, Unix milliseconds.
pub const START_MS: u64 = 1_700_000_000_000;

/// Seed of the executor's random numbers.
const SEED: u64 = 0x5eed;

/// One worker on one node; see the module's text.
pub struct Harness {
    /// The process under test.
    pub node: Arc<Node>,
    /// The connection that [`Harness::run`] uses.
    pub session: Session,
    /// Both clocks; tests move them with [`Harness::advance`].
    pub now: Now,
    exec: Executor,
    proxied: bool,
}

/// Runs a request that must wait, as another connection.
#[cfg(test)]
pub(crate) fn blocked(t: &mut Harness, line: &str) -> Place {
    let mut other = Session::new(7, true);
    std::mem::swap(&mut t.session, &mut other);
    let (reply, done) = t.execute(line.split(' '));
    std::mem::swap(&mut t.session, &mut other);
    assert_eq!(reply, b"", "{line}");
    let Flow::Park(Park::Blocked { place, .. }) = done.flow else { panic!("{line} did not wait") };
    place
}

/// What a waiter was told; empty: nothing yet.
#[cfg(test)]
pub(crate) fn told(place: &mut Place) -> String {
    match place.told.try_recv() {
        Ok(Turn::Served(answer)) => String::from_utf8_lossy(&answer.bytes).into_owned(),
        Ok(Turn::Away) => "away".to_owned(),
        Err(_) => String::new(),
    }
}

impl Default for Harness {
    fn default() -> Self {
        Harness::new()
    }
}

impl Harness {
    /// A plain store with default settings.
    pub fn new() -> Harness {
        Harness::with_settings(Settings::default())
    }

    /// A plain store with these settings.
    pub fn with_settings(settings: Settings) -> Harness {
        Harness::build(settings, false)
    }

    /// The primary of a cluster with one shard, with a lease that does not end: effects are recorded. There is
    /// no replication: who wants the records takes them with [`Harness::records`].
    pub fn primary() -> Harness {
        let t = Harness::build(Settings::default(), true);
        let me = Member::new(NodeId(1), Incarnation(1));
        let mut map = ClusterMap::default();
        for slot in 0..SLOTS {
            map.slots.set(slot, ShardId(1));
        }
        let shard = &t.node.shard;
        shard.set_view(View::new(Arc::new(map), me, Some(ShardId(1))));
        let closed = shard.gate.close();
        shard.set_role(&closed, Role::Primary, Term(1));
        drop(closed);
        shard.extend_lease(Term(1), u64::MAX);
        t
    }

    /// A plain store whose peers can prove this secret.
    pub fn with_secret(secret: Secret) -> Harness {
        Harness::build_with(Settings::default(), false, Some(secret))
    }

    fn build(settings: Settings, cluster: bool) -> Harness {
        Harness::build_with(settings, cluster, None)
    }

    fn build_with(settings: Settings, cluster: bool, secret: Option<Secret>) -> Harness {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let node = Node::new(settings, 1, cluster, hasher, START_MS, [7; 20], secret);
        let exec = Executor::new(&node, 0, SEED);
        let now = Now { unix_ms: START_MS, boottime_ns: 1_000_000_000 };
        let client =
            Client::new(node.clients.next_id(), "test:0".into(), "test:1".into(), 3, false, 2, START_MS);
        let client = node.clients.add(client);
        let session = Session { client: Some(client.clone()), ..Session::new(client.id, true) };
        Harness { node, session, now, exec, proxied: false }
    }

    /// Lets time pass.
    pub fn advance(&mut self, ms: u64) {
        self.now.unix_ms += ms;
        self.now.boottime_ns += ms * 1_000_000;
    }

    /// Removes what is due, as the worker does in the background.
    pub fn sweep(&mut self) {
        crate::expiry::sweep_all(&self.node, self.now.unix_ms);
    }

    /// From now on what may be slow is timed by this clock (nanoseconds).
    pub fn timed_by(mut self, clock_ns: fn() -> u64) -> Harness {
        self.exec = self.exec.with_clock(clock_ns);
        self
    }

    /// From now on replies are written in RESP3.
    pub fn resp3(&mut self) {
        self.session.version = Version::Resp3;
    }

    /// From now on requests come as if from a proxy: with a context in front, and with keys of several slots.
    pub fn through_proxy(&mut self) {
        self.session.trusted = true;
        self.proxied = true;
    }

    /// Runs a request written as one line (quotes as in redis-cli); answers the reply's bytes, those that are no
    /// UTF-8 replaced. A line with unbalanced quotes runs as an empty request.
    pub fn run(&mut self, line: &str) -> String {
        let args = split_args(line.as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&self.run_args(args)).into_owned()
    }

    /// Runs a request given as its arguments.
    pub fn run_args<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Vec<u8> {
        self.execute(args).0
    }

    /// Runs a request; answers the reply and what the connection would do next.
    pub fn execute<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> (Vec<u8>, Done) {
        let args = if self.proxied {
            let mut context = Vec::new();
            Context {
                db: self.session.db,
                resp2: self.session.version == Version::Resp2,
                ..Context::default()
            }
            .encode(&mut context);
            let args: Vec<A> = args.into_iter().collect();
            let prefix = [&b"CTX"[..], &context];
            OwnedArgs::new(prefix.into_iter().chain(args.iter().map(AsRef::as_ref)))
        } else {
            OwnedArgs::new(args)
        };
        let mut out = Vec::new();
        let mut batch = Batch::begin(&self.node, &mut self.exec, self.now);
        let done = batch.run(&mut self.session, args.view(), &mut out);
        batch.end();
        (out, done)
    }

    /// Runs a request on another connection of the same worker.
    pub fn run_as(&mut self, session: &mut Session, line: &str) -> String {
        std::mem::swap(&mut self.session, session);
        let reply = self.run(line);
        std::mem::swap(&mut self.session, session);
        reply
    }

    /// Feeds bytes to a new memcached connection until it asks for more; answers what it wrote.
    pub fn memcached(&mut self, bytes: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&self.memcached_in_pieces(&[bytes.as_ref()])).into_owned()
    }

    /// Feeds bytes to a new memcached connection as they arrive; answers what it wrote.
    pub fn memcached_in_pieces(&mut self, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut input, mut out) = (Vec::new(), Vec::new());
        let (mut lines, mut ahead) = (Lines::default(), Ahead::default());
        lines.configure(&self.node.settings.load());
        let mut batch = Batch::begin(&self.node, &mut self.exec, self.now);
        'all: for piece in pieces {
            input.extend_from_slice(piece);
            let mut at = 0;
            while let Step::Done { consumed, done } = lines.step(
                &mut batch,
                &mut ahead,
                &mut self.session,
                Holds::default(),
                &input[at..],
                &mut out,
            ) {
                at += consumed;
                if matches!(done.flow, Flow::Close) {
                    out.extend_from_slice(b"<closed>");
                    break 'all;
                }
            }
            input.drain(..at);
        }
        batch.end();
        out
    }

    /// Runs lines one after another and asserts each reply; for tests that read as a dialogue.
    ///
    /// # Panics
    /// When a reply differs.
    #[track_caller]
    pub fn expect(&mut self, dialogue: &[(&str, &str)]) {
        for (line, reply) in dialogue {
            assert_eq!(self.run(line), *reply, "reply to {line:?}");
        }
    }

    /// The records that were made since the last call (primary only).
    pub fn records(&self) -> Vec<u8> {
        let mut records = Records::default();
        self.node.shard.collect_records(&mut records);
        records.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_records_what_it_does() {
        let mut t = Harness::primary();
        assert_eq!(t.run("SET k v"), "+OK\r\n");
        assert!(!t.records().is_empty());
        assert_eq!(t.run("GET k"), "$1\r\nv\r\n");
        assert!(t.records().is_empty());
    }
}
