//! The primary's end of a replication stream: one task per replica on `torc-repl`.
//!
//! Owner of the connection: this task. It reads the backlog and takes stripes' snapshots; the pump and the
//! workers do not know of it.

use std::sync::Arc;
use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;
use torc_cluster::ids::{Member, Offset, StreamId};
use torc_cluster::message::{HelloReply, ReplicaHello};
use torc_runtime::bus::{BusConn, BusReader, ConnError, FrameKind};
use torc_runtime::clock::boottime_ns;

use super::Replication;
use super::backlog::{Place, Read};
use super::digest::DigestKey;
use super::feed::{SlotFeed, Step, Wanted};
use super::proofs::Proofs;
use super::state::Greeted;
use super::stream::{self, Accept, COMMON, END, FRAME_BYTES, KEPT_SNAPSHOT_BYTES, Progress};
use super::transit::{Sender, Transit};
use crate::effect::{EffectWriter, LongRecord};
use crate::effect_apply;
use crate::node::Node;
use crate::shard::Role;
use crate::store::STRIPES;

/// How often a quiet stream carries the mark.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// A replica that acknowledges nothing for this long is gone: it answers each frame, and one comes every 50 ms. Longer
/// than applying the largest value takes.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Bus(#[from] ConnError),
    #[error("the replica sent something malformed")]
    Malformed(#[from] stream::Malformed),
    #[error("the replica said nothing for {SILENCE:?}")]
    Silent,
    #[error("the replica said hello on another connection")]
    Replaced,
    #[error(
        "the replica lacked more than the backlog keeps: it has to come back by slots, or by a full sync"
    )]
    TooOld,
    #[error("the node is no longer primary of the term")]
    Deposed,
    #[error("cannot write the greeting: {0}")]
    Json(#[from] serde_json::Error),
}

/// Serves a replica that has said hello, until the connection or the term ends.
pub async fn serve(node: Arc<Node>, repl: Arc<Replication>, mut conn: BusConn, hello: ReplicaHello) {
    let Greeted { stream: id, reply, history, replaced } = repl.hello(&node, &hello, boottime_ns());
    let follower = hello.from;
    let slots = matches!(reply, HelloReply::Compare { .. }).then(draw_key).flatten();
    let digest_key = slots.as_ref().map(|(key, _)| *key);
    let accept = Accept { reply: reply.clone(), history: history.clone(), digest_key };
    let sent = match serde_json::to_vec(&accept) {
        Ok(json) => {
            match tokio::time::timeout(SILENCE, conn.write_frame(FrameKind::ReplicaAccept, &json)).await {
                Ok(sent) => sent.map_err(StreamError::from),
                Err(_) => Err(StreamError::Silent),
            }
        }
        Err(error) => Err(error.into()),
    };
    let start = match reply {
        HelloReply::Continue { after } => {
            tracing::info!(%follower, after = after.0, "a replica continues");
            repl.fed(|fed| fed.partial_syncs += 1);
            Some((after.0, Feed::Records))
        }
        HelloReply::Resync { common } => {
            let after = history.last().offset.0;
            tracing::info!(%follower, after, reason = reason(&hello, common), "a replica needs a full sync");
            repl.fed(|fed| fed.full_syncs += 1);
            Some((after, Feed::Everything))
        }
        HelloReply::Compare { common, after } => {
            let (after, reason) = (after.0, reason(&hello, common));
            tracing::info!(%follower, after, reason, "a replica is compared slot by slot");
            repl.fed(|fed| fed.slot_syncs += 1);
            slots.map(|(key, wanted)| (after, Feed::Slots(key, wanted)))
        }
        HelloReply::Wait | HelloReply::NotPrimary { .. } => None,
    };
    let result = match (sent, start) {
        (Ok(()), Some((after, feed))) => {
            let (reader, writer, _) = conn.split();
            let (proofs, transit) = (Proofs::default(), Transit::default());
            let stream =
                Stream { node: &node, repl: &repl, hello: &hello, id, proofs: &proofs, transit: &transit };
            let wanted = feed.wanted();
            tokio::select! {
                _ = replaced => Err(StreamError::Replaced),
                result = receive(&stream, reader, wanted.as_deref()) => result,
                result = send(&stream, Sender::new(writer, &transit), (after, feed)) => result,
            }
        }
        (sent, _) => sent,
    };
    match result {
        Err(error @ StreamError::TooOld) => {
            let most_bytes = repl.cut_off();
            tracing::warn!(%follower, %error, most_bytes, "replication stream ended");
        }
        Err(error) => tracing::info!(%follower, %error, "replication stream ended"),
        Ok(()) => {}
    }
    repl.disconnected(&node, follower, id);
}

/// What both halves of a stream go by.
struct Stream<'a> {
    node: &'a Node,
    repl: &'a Replication,
    hello: &'a ReplicaHello,
    id: StreamId,
    proofs: &'a Proofs,
    transit: &'a Transit,
}

impl Stream<'_> {
    /// Whether the node is still primary of the term that the replica follows.
    fn check_term(&self) -> Result<(), StreamError> {
        let shard = &self.node.shard;
        let stays = shard.role() == Role::Primary && shard.term() == self.hello.term;
        if stays { Ok(()) } else { Err(StreamError::Deposed) }
    }
}

/// What a replica is given beside records.
enum Feed {
    Records,
    Everything,
    Slots(DigestKey, Arc<Wanted>),
}

impl Feed {
    fn wanted(&self) -> Option<Arc<Wanted>> {
        match self {
            Feed::Slots(_, wanted) => Some(wanted.clone()),
            Feed::Records | Feed::Everything => None,
        }
    }
}

/// The key of a resync. Without the system's random numbers there is none: the replica says hello again.
fn draw_key() -> Option<(DigestKey, Arc<Wanted>)> {
    let mut key = DigestKey::default();
    match OsRng.try_fill_bytes(&mut key) {
        Ok(()) => Some((key, Arc::default())),
        Err(error) => {
            tracing::error!(%error, "no random numbers for the digests of a resync");
            None
        }
    }
}

/// Why a replica cannot go on with records alone.
fn reason(hello: &ReplicaHello, common: Offset) -> &'static str {
    let last = hello.history.last().offset;
    match (last > common, last == Offset(0), hello.holds_data) {
        (true, ..) => "it has records that this primary never had",
        (false, true, true) => "its last sync was broken off",
        (false, true, false) => "it is empty",
        (false, false, _) => "it is behind the backlog",
    }
}

/// Takes the replica's acknowledgements, and what it wants of a resync by slots.
async fn receive(
    stream: &Stream<'_>,
    mut reader: BusReader,
    wanted: Option<&Wanted>,
) -> Result<(), StreamError> {
    let Stream { node, repl, hello, id, proofs, transit } = *stream;
    let follower: Member = hello.from;
    let mut was_whole = false;
    loop {
        let frame = tokio::time::timeout(SILENCE, reader.expect_frame()).await;
        let frame = frame.map_err(|_| StreamError::Silent)??;
        if let Some(until_ns) = transit.answered(boottime_ns()) {
            repl.takes(node, follower, id, until_ns);
        }
        match (frame.kind, wanted) {
            (FrameKind::ReplicaAck, _) => {}
            (FrameKind::SlotsWanted, Some(wanted)) => {
                let (stripe, parts) = stream::split_wanted(&frame.payload)?;
                wanted.answer(stripe, parts)?;
                continue;
            }
            _ => return Err(stream::Malformed.into()),
        }
        let (offset, whole, stamp) = stream::split_ack(&frame.payload)?;
        if !whole {
            continue;
        }
        // Under the lease nobody else has executed anything for the shard since the stamp was made.
        let (now_ns, executed) = (boottime_ns(), node.shard.last_offset());
        if node.shard.may_execute(now_ns) && node.shard.term() == hello.term {
            proofs.stamped(stamp, executed);
        }
        if was_whole {
            repl.acked(node, follower, id, Offset(offset), boottime_ns());
        } else {
            was_whole = true;
            repl.synced(node, follower, id, Offset(offset), boottime_ns());
            repl.acked(node, follower, id, Offset(offset), boottime_ns());
        }
    }
}

/// Sends records; between them, in a full sync, one stripe after another, and in a resync by slots what that has next.
async fn send(
    stream: &Stream<'_>,
    mut sender: Sender<'_>,
    (mut after, feed): (u64, Feed),
) -> Result<(), StreamError> {
    let Stream { node, repl, hello, id, proofs, .. } = *stream;
    let mut news = repl.watch();
    let full = matches!(feed, Feed::Everything);
    let mut next_stripe = if full { 0 } else { STRIPES + 1 };
    let (mut slots, wanted) = match feed {
        Feed::Slots(key, wanted) => (Some(SlotFeed::new(&key, wanted.clone())), Some(wanted)),
        Feed::Records | Feed::Everything => (None, None),
    };
    let mut highest = 0;
    // About a frame, and never as much as a long record.
    let mut records = Vec::new();
    let mut place = Place::default();
    let mut effects = EffectWriter::new(true);
    let (mut longest_ns, mut sent_bytes) = (0, 0);
    if full || slots.is_some() {
        node.snapshot_common(&mut effects);
        send_chunk(&mut sender, COMMON, 0, effects.recorded()).await?;
    }
    loop {
        news.borrow_and_update();
        stream.check_term()?;
        records.clear();
        let until = slots.as_ref().map_or(u64::MAX, SlotFeed::records_until);
        let (read, mark) = repl.read(node, (id, after), until, &mut place, FRAME_BYTES, &mut records);
        let caught_up = match read {
            Read::TooOld => return Err(StreamError::TooOld),
            Read::Nothing => true,
            Read::UpTo(offset) => {
                after = offset;
                let header = stream::records_header(mark.0, proofs.take(after));
                sender.send(FrameKind::Records, &[&header, &records]).await?;
                false
            }
            Read::Long(record) => {
                send_long(stream, &mut sender, &record, mark.0).await?;
                after = record.offset;
                false
            }
        };
        // Records and stripes take turns, so that neither waits for the other's end.
        if next_stripe < STRIPES {
            let (at, locked_ns) = snapshot(node, next_stripe as u16, &mut effects);
            highest = highest.max(at);
            longest_ns = longest_ns.max(locked_ns);
            sent_bytes += effects.len();
            repl.fed(|fed| fed.full_bytes += effects.len() as u64);
            send_chunk(&mut sender, next_stripe as u16, at, effects.recorded()).await?;
            next_stripe += 1;
            continue;
        }
        if next_stripe == STRIPES {
            send_chunk(&mut sender, END, highest, &[]).await?;
            next_stripe += 1;
            effects = EffectWriter::new(true);
            let (follower, longest_us) = (hello.from, longest_ns / 1000);
            tracing::info!(%follower, bytes = sent_bytes, longest_us, "full sync sent; a stripe was locked for so long at most");
        }
        if let Some(feed) = &mut slots {
            match feed.step(node, repl, &mut sender, after).await? {
                Step::Done => {
                    // A piece that was taken has sent nothing: others on this thread have their turn too.
                    tokio::task::yield_now().await;
                    continue;
                }
                Step::Waits => {}
                Step::Ended => {
                    tell_of(feed, hello);
                    slots = None;
                }
            }
        }
        let quiet = async {
            tokio::select! {
                () = wait_for_records(repl, &mut news, after) => {}
                () = answer(slots.is_some(), wanted.as_deref()) => {}
            }
        };
        if caught_up && tokio::time::timeout(HEARTBEAT, quiet).await.is_err() {
            // The mark moves without records too, and so does the role.
            let header = stream::records_header(repl.mark().0, proofs.take(after));
            sender.send(FrameKind::Records, &[&header]).await?;
        }
    }
}

/// Says what a resync by slots has come to.
fn tell_of(feed: &SlotFeed, hello: &ReplicaHello) {
    let (follower, (longest_ns, whole_from)) = (hello.from, feed.costs());
    let (Progress { slots_compared, slots_sent, bytes }, longest_us) = (feed.progress(), longest_ns / 1000);
    tracing::info!(
        %follower, slots_compared, slots_sent, bytes, longest_us,
        "resync by slots sent; a stripe was locked for so long at most"
    );
    if let Some(stripe) = whole_from {
        tracing::info!(%follower, stripe, "most slots differed: from this stripe on all were sent uncompared");
    }
}

/// Resolves when the replica may have said what it wants; never when it is not asked.
async fn answer(asked: bool, wanted: Option<&Wanted>) {
    match wanted.filter(|_| asked) {
        Some(wanted) => wanted.answered().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the backlog has something beyond `after`, or the role may have changed.
async fn wait_for_records(repl: &Replication, news: &mut tokio::sync::watch::Receiver<u64>, after: u64) {
    while repl.backlog_last() <= after {
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// A stripe as it is now: the offset that it is the state of, and for how many ns requests had to wait for it.
fn snapshot(node: &Node, index: u16, writer: &mut EffectWriter) -> (u64, u64) {
    writer.discard();
    writer.shrink_to(KEPT_SNAPSHOT_BYTES);
    let stripe = node.store.stripe(index);
    let locked_ns = boottime_ns();
    // Under the lock: every record of this stripe up to this offset has been executed, none above it.
    let at = node.shard.last_offset();
    effect_apply::snapshot_stripe(node, &stripe, index, writer, locked_ns);
    drop(stripe);
    (at, boottime_ns().saturating_sub(locked_ns))
}

async fn send_chunk(sender: &mut Sender<'_>, stripe: u16, at: u64, effects: &[u8]) -> Result<(), ConnError> {
    let mut rest = effects;
    loop {
        let (part, tail) = rest.split_at(rest.len().min(FRAME_BYTES));
        let header = stream::chunk_header(stripe, at, !tail.is_empty());
        sender.send(FrameKind::SnapshotChunk, &[&header, part]).await?;
        rest = tail;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Sends a long record, in frames of its own. The proof stands for all records: it goes with the last part.
async fn send_long(
    stream: &Stream<'_>,
    sender: &mut Sender<'_>,
    record: &LongRecord,
    mark: u64,
) -> Result<(), StreamError> {
    let frames = record.body.len().div_ceil(FRAME_BYTES);
    stream.transit.begins(frames, record.bytes(), boottime_ns());
    let record_header = record.header();
    let mut head = &record_header[..];
    let mut parts = record.body.chunks(FRAME_BYTES).peekable();
    while let Some(part) = parts.next() {
        stream.check_term()?;
        let proof = if parts.peek().is_some() { 0 } else { stream.proofs.take(record.offset) };
        let header = stream::records_header(mark, proof);
        sender.send(FrameKind::Records, &[&header, head, part]).await?;
        head = &[];
    }
    Ok(())
}
