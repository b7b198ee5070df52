//! A primary's end of the stream against a replica that is played, over real bus connections; and a replica's state.

use std::sync::Arc;
use std::time::Duration;

use torc_cluster::history::History;
use torc_cluster::ids::{Incarnation, Member, NodeId, Offset, ShardId, Term};
use torc_cluster::map::{ClusterMap, MapCommand, NodeInfo, Settings as ClusterSettings};
use torc_cluster::member::Next;
use torc_cluster::message::{HelloReply, ReplicaHello};
use torc_protocol::handshake::Secret;
use torc_protocol::resp::OwnedArgs;
use torc_runtime::bus::{BusConn, BusIdentity, BusLimits, BusServer, FrameKind, dial};
use torc_runtime::clock::{boottime_ns, unix_ms};
use torc_runtime::listen::{Address, SocketOptions, bind};
use torc_runtime::shutdown::Shutdown;

use super::digest::{DIGESTS, Digester, Digests, Parts};
use super::pending::Whole;
use super::stream::{self, Accept, Content};
use super::{Replication, primary};
use crate::effect;
use crate::exec::{Batch, Executor, Now, Session};
use crate::node::Node;
use crate::settings::Settings;
use crate::shard::View;
use crate::store::{KeyHasher, STRIPES, stripe_of};

const PATIENCE: Duration = Duration::from_secs(20);

fn member(id: u64) -> Member {
    Member::new(NodeId(id), Incarnation(1))
}

/// One shard of two nodes, n1 its primary in term 1.
fn map() -> ClusterMap {
    let mut map = ClusterMap::default();
    for id in 1..=2 {
        let (id, incarnation) = (NodeId(id), Incarnation(1));
        let info = NodeInfo { id, incarnation, host: "h".to_owned(), weight: 1, ..NodeInfo::default() };
        map.apply(MapCommand::RegisterNode { info });
    }
    let (shard, settings) = (ShardId(0), ClusterSettings::default());
    map.apply(MapCommand::InitCluster { name: "t".to_owned(), shards: 1, replicas: 1, settings });
    map.apply(MapCommand::AllocateTerm { shard, expected_term: Term(0) });
    let (expected_term, new_term, primary) = (Term(0), Term(1), member(1));
    map.apply(MapCommand::ResetShard { reign: 0, shard, expected_term, new_term, primary });
    map
}

struct Primary {
    node: Arc<Node>,
    repl: Arc<Replication>,
    address: String,
    shutdown: Shutdown,
}

impl Primary {
    fn start() -> Primary {
        let secret = Secret::new(&[7; 32]).expect("long enough");
        let node =
            Node::new(Settings::default(), 1, true, KeyHasher::new(1), unix_ms(), [0; 20], Some(secret));
        let repl = Replication::new(member(1), super::Bounds::default());
        repl.on_map(&node, &map(), boottime_ns());
        node.shard.set_view(View::new(Arc::new(map()), member(1), Some(ShardId(0))));
        let (served, of) = (node.clone(), repl.clone());
        let server = BusServer::new(identity(1), BusLimits::default()).on_stream(
            FrameKind::ReplicaHello,
            move |conn, first| {
                let hello = serde_json::from_slice(&first.payload).expect("a greeting");
                primary::serve(served.clone(), of.clone(), conn, hello)
            },
        );
        let listener = bind(&Address::tcp("127.0.0.1", 0), &SocketOptions::default()).expect("bound");
        let address = format!("127.0.0.1:{}", listener.port().expect("a port"));
        let shutdown = Shutdown::new();
        tokio::spawn(server.serve(listener, shutdown.clone()));
        Primary { node, repl, address, shutdown }
    }

    /// A replica's connection that has been greeted.
    async fn connect(&self) -> BusConn {
        let (conn, accept) = self.greet(History::default()).await;
        assert_eq!(accept.reply, HelloReply::Continue { after: Offset(0) });
        conn
    }

    /// A replica with this history, and data where it has one, says hello.
    async fn greet(&self, history: History) -> (BusConn, Accept) {
        let mut conn = dial(&self.address, &identity(2), PATIENCE).await.expect("a connection");
        let holds_data = history.last().offset > Offset(0);
        let (from, shard, term) = (member(2), ShardId(0), Term(1));
        let hello = ReplicaHello { from, shard, term, history, holds_data };
        let hello = serde_json::to_vec(&hello).expect("JSON");
        conn.write_frame(FrameKind::ReplicaHello, &hello).await.expect("sent");
        let accept = conn.expect_frame().await.expect("an answer");
        (conn, serde_json::from_slice(&accept.payload).expect("JSON"))
    }

    /// Executes a request, whose record is in the backlog then.
    fn run(&self, args: &[&[u8]]) {
        self.node.shard.extend_lease(Term(1), u64::MAX);
        let mut exec = Executor::new(&self.node, 0, 1);
        let now = Now { unix_ms: unix_ms(), boottime_ns: boottime_ns() };
        let mut out = Vec::new();
        let mut batch = Batch::begin(&self.node, &mut exec, now);
        batch.run(&mut Session::new(1, true), OwnedArgs::new(args).view(), &mut out);
        batch.end();
        assert!(!out.starts_with(b"-"), "{}", out.escape_ascii());
        self.repl.pump(&self.node);
    }

    /// What the primary knows of its replica.
    fn acked(&self) -> Option<Offset> {
        self.repl.summary(&self.node).replicas.iter().find(|known| known.member == member(2))?.acked
    }
}

fn identity(id: u64) -> BusIdentity {
    BusIdentity::node(Secret::new(&[7; 32]).expect("long enough"), id, 1)
}

/// Who reads from a replica never sees a part of what a full sync brings, nor what one that was broken off has left.
#[test]
fn a_replica_is_whole_and_fresh_only_after_its_full_sync() {
    let secret = Secret::new(&[7; 32]).expect("long enough");
    let node = Node::new(Settings::default(), 1, true, KeyHasher::new(1), unix_ms(), [0; 20], Some(secret));
    let repl = Replication::new(member(2), super::Bounds::default());
    repl.on_map(&node, &map(), boottime_ns());
    assert!(node.shard.is_whole());
    let (term, now_ns) = (Term(1), boottime_ns());
    let begin = || {
        repl.own_hello(&node).expect("a primary is known");
        let mut history = History::default();
        history.extend(term, Offset(5)).expect("in order");
        let resync = HelloReply::Resync { common: Offset(0) };
        let accept = Accept { reply: resync, history, digest_key: None };
        assert_eq!(repl.on_accept(&node, term, accept), Next::Sync { common: Offset(0) });
    };
    let chunk = |stripe, at| repl.apply_chunk(&node, term, stripe, at, &[], now_ns).expect("taken").1;
    let mark =
        |proof| repl.apply(&node, term, (Offset(0), proof), Whole::default(), now_ns).expect("taken").1;
    begin();
    assert!(!node.shard.is_whole());
    assert!(!mark(1) && !chunk(0, 5));
    // Broken off: still not whole, whatever else comes in.
    repl.own_hello(&node).expect("a primary is known");
    repl.on_map(&node, &map(), boottime_ns());
    assert!(!node.shard.is_whole());
    let wait = Accept { reply: HelloReply::Wait, history: History::default(), digest_key: None };
    repl.on_accept(&node, term, wait);
    assert!(!node.shard.is_whole());
    begin();
    assert!(!chunk(stream::COMMON, 5));
    (0..STRIPES as u16).for_each(|stripe| assert!(!chunk(stripe, 5)));
    assert!(!mark(2) && !node.shard.is_whole() && node.shard.fresh.as_of_ns() == 0);
    assert!(chunk(stream::END, 5) && node.shard.is_whole());
    assert_eq!(node.shard.fresh.as_of_ns(), 0, "no stamp of before the end proves anything");
    assert!(mark(3));
    assert_eq!(node.shard.fresh.as_of_ns(), 3);
    assert!(mark(u64::MAX));
    assert_eq!(node.shard.fresh.as_of_ns(), now_ns, "nothing is known of later than now");
}

/// What is held is kept, and shown to nobody before each slot is known to be as the primary's.
#[test]
fn a_replica_that_compares_is_whole_when_every_slot_is_settled() {
    let secret = Secret::new(&[7; 32]).expect("long enough");
    let node = Node::new(Settings::default(), 1, true, KeyHasher::new(1), unix_ms(), [0; 20], Some(secret));
    let repl = Replication::new(member(2), super::Bounds::default());
    repl.on_map(&node, &map(), boottime_ns());
    let (term, now_ns) = (Term(1), boottime_ns());
    let begin = |digest_key| {
        repl.own_hello(&node).expect("a primary is known");
        let mut history = History::default();
        history.extend(term, Offset(5)).expect("in order");
        let reply = HelloReply::Compare { common: Offset(0), after: Offset(5) };
        repl.on_accept(&node, term, Accept { reply, history, digest_key })
    };
    assert_eq!(begin(None), Next::Retry, "nothing to compare with");
    assert_eq!(begin(Some([1; 16])), Next::Compare { common: Offset(0), after: Offset(5) });
    assert!(!node.shard.is_whole());
    let compare = |stripe, at, digests: &Digests| repl.compare(&node, term, (stripe, at), digests, now_ns);
    let (empty, last) = ([0; DIGESTS], STRIPES as u16 - 1);
    assert!(compare(0, 4, &empty).is_err(), "another place of the stream");
    assert!(compare(last + 1, 5, &empty).is_err(), "no such stripe");
    for stripe in 0..last {
        assert_eq!(compare(stripe, 5, &empty).ok(), Some(Parts::NONE));
    }
    let mut other = empty;
    other[3] = 7;
    let wanted = compare(last, 5, &other).expect("compared");
    assert_eq!(wanted.slots(), 1);
    assert!(compare(last, 5, &other).is_err(), "compared before");
    let content = |parts, at| {
        let content = Content { stripe: last, at, parts, more: false, effects: &[] };
        repl.take_content(&node, term, content, &[], now_ns).map(|(_, whole)| whole).ok()
    };
    let end = || repl.apply_chunk(&node, term, stream::END, 5, &[], now_ns).expect("taken").1;
    assert_eq!(content(Parts::SIDES, 5), None, "not wanted");
    assert_eq!(content(wanted, 6), None, "another place of the stream");
    assert_eq!(content(Parts::LOCKS, 5), Some(false));
    assert!(repl.apply_chunk(&node, term, 0, 5, &[], now_ns).is_err(), "a chunk of a full sync");
    assert!(!end() && !node.shard.is_whole(), "one slot is awaited");
    assert_eq!(content(wanted, 5), Some(true));
    assert!(node.shard.is_whole());
    let summary = repl.summary(&node);
    assert_eq!((summary.slot_syncs, summary.full_syncs, summary.last.offset), (1, 0, Offset(5)));
    // Another one breaks off, and is begun again: the node has lost nothing that its primary had.
    begin(Some([1; 16]));
    let lost = repl.summary(&node).dropped_records;
    begin(Some([1; 16]));
    assert!(!node.shard.is_whole());
    assert_eq!(repl.summary(&node).dropped_records, lost, "counted once");
}

/// A host that was cut off is back, and its replica has another connection, when the network tells the primary of the
/// end of the first one. Taken for the end of both it would leave a replica that streams and never counts again.
#[tokio::test]
async fn a_replica_counts_although_its_earlier_connection_ends_later() {
    let primary = Primary::start();
    let mut first = primary.connect().await;
    let mut second = primary.connect().await;
    assert_eq!(primary.acked(), Some(Offset(0)));
    // The primary does not wait for the end of what was replaced.
    let ended = async { while first.read_frame().await.is_ok_and(|frame| frame.is_some()) {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the first connection is closed");
    // Its task has ended when the second one has gone round.
    for _ in 0..3 {
        let frame =
            tokio::time::timeout(PATIENCE, second.expect_frame()).await.expect("a mark").expect("open");
        assert_eq!(frame.kind, FrameKind::Records);
        second.write_frame(FrameKind::ReplicaAck, &stream::ack(0, true, 0)).await.expect("sent");
    }
    assert_eq!(primary.acked(), Some(Offset(0)), "the newest connection counts");
    drop(second);
    let gone = async {
        while primary.acked().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("its end is noticed");
    primary.shutdown.trigger();
}

/// The next frame of a stream, acknowledged with `offset` unless it is answered otherwise.
async fn next(conn: &mut BusConn, offset: u64) -> (FrameKind, Vec<u8>) {
    let frame = tokio::time::timeout(PATIENCE, conn.expect_frame()).await.expect("a frame").expect("open");
    if frame.kind != FrameKind::SlotDigests {
        conn.write_frame(FrameKind::ReplicaAck, &stream::ack(offset, false, 0)).await.expect("sent");
    }
    (frame.kind, frame.payload.to_vec())
}

/// The last of the records in a frame; they follow those up to `last`.
fn last_of(payload: &[u8], mut last: u64) -> u64 {
    let (_, _, mut bytes) = stream::split_records(payload).expect("sound");
    while let Some((record, len)) = effect::record(bytes).expect("sound") {
        assert_eq!(record.offset, last + 1);
        last = record.offset;
        bytes = &bytes[len..];
    }
    last
}

/// Each piece stands in the stream behind the records that it holds and before all others, whatever is written meanwhile;
/// what is equal is not sent, but for a collection that is too large to be compared.
#[tokio::test]
async fn a_resync_by_slots_sends_what_differs_behind_its_records() {
    let primary = Primary::start();
    let slot_stripe = |key: &[u8]| stripe_of(primary.node.store.key(key).slot);
    primary.run(&[b"SET", b"same", b"1"]);
    primary.run(&[b"SET", b"differs", b"1"]);
    primary.run(&[b"HSET", b"large", b"field", &vec![b'x'; 9 << 20]]);
    primary.run(&[b"SET", b"long", &vec![b'x'; 9 << 20]]);
    let same = ["same", "long"].map(|key| slot_stripe(key.as_bytes()));
    // A tail that the primary never had.
    let mut history = History::default();
    history.extend(Term(1), Offset(9)).expect("in order");
    let (mut conn, accept) = primary.greet(history).await;
    assert_eq!(accept.reply, HelloReply::Compare { common: Offset(4), after: Offset(4) });
    let mut digester = Digester::new(&accept.digest_key.expect("drawn"));
    let (mut last, mut wanted, mut taken, mut written) = (4, Vec::new(), Vec::new(), 0);
    loop {
        let (kind, payload) = next(&mut conn, last).await;
        match kind {
            FrameKind::Records => last = last_of(&payload, last),
            FrameKind::SlotDigests => {
                let (stripe, at, theirs) = stream::split_digests(&payload).expect("sound");
                assert_eq!(at, last, "behind all records that it holds, before all others");
                // The replica holds the same, but for one key.
                let ours = if stripe == slot_stripe(b"more") {
                    theirs
                } else {
                    digester.stripe(&primary.node.store.stripe(stripe))
                };
                let mut parts = Parts::differing(&ours, &theirs);
                if stripe == slot_stripe(b"differs") {
                    parts = parts.with(Parts::filled(&theirs).within(Parts::SLOTS));
                }
                if !parts.is_empty() {
                    wanted.push((stripe, parts));
                }
                conn.write_frame(FrameKind::SlotsWanted, &stream::wanted(stripe, parts)).await.expect("sent");
                // What is changed was compared, or was not.
                if stripe % 100 == 0 {
                    primary.run(&[b"INCR", b"more"]);
                    written += 1;
                }
            }
            FrameKind::SlotsChunk => {
                let part = stream::split_content(&payload).expect("sound");
                assert_eq!(part.at, last, "behind all records that it holds, before all others");
                if !part.more && part.parts != Parts::LOCKS {
                    taken.push((part.stripe, part.parts));
                }
            }
            FrameKind::SnapshotChunk => {
                let chunk = stream::split_chunk(&payload).expect("sound");
                match chunk.stripe {
                    stream::COMMON => {}
                    stream::END => break assert_eq!(chunk.at, last),
                    other => panic!("stripe {other} of a full sync"),
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, 4 + written);
    assert_eq!(taken, wanted);
    let stripes: Vec<u16> = wanted.iter().map(|(stripe, _)| *stripe).collect();
    assert!(stripes.contains(&slot_stripe(b"differs")) && stripes.contains(&slot_stripe(b"large")));
    assert_eq!(stripes.len(), 2, "{stripes:?}");
    assert!(same.iter().all(|stripe| !stripes.contains(stripe)));
    primary.shutdown.trigger();
}

/// A record that is longer than a frame comes in frames of its own, and its proof with the last of them.
#[tokio::test]
async fn a_long_record_comes_in_parts() {
    let primary = Primary::start();
    let value = vec![b'x'; 3 << 20];
    primary.run(&[b"SET", b"before", b"1"]);
    primary.run(&[b"SET", b"long", &value]);
    primary.run(&[b"SET", b"behind", b"1"]);
    let mut conn = primary.connect().await;
    let (mut pending, mut offsets, mut parts) = (super::pending::Pending::default(), Vec::new(), 0);
    while offsets.len() < 3 {
        let (kind, payload) = next(&mut conn, 0).await;
        assert_eq!(kind, FrameKind::Records);
        assert!(payload.len() <= stream::FRAME_BYTES + 100);
        let (_, proof, bytes) = stream::split_records(&payload).expect("sound");
        parts += usize::from(bytes.len() > 1000);
        let whole = pending.take(bytes).expect("sound");
        if let Some(record) = whole.long {
            assert!(record.body.ends_with(&value[..1000]) && record.body.len() > value.len());
            offsets.push(record.offset);
        }
        offsets.extend(effect::record(whole.rest).expect("sound").map(|(record, _)| record.offset));
        assert_eq!(proof, 0, "no stamp was sent");
    }
    assert_eq!(offsets, [1, 2, 3]);
    assert!(parts >= 12, "{parts}");
    primary.shutdown.trigger();
}
