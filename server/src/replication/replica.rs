//! The replica's end: one task on `torc-repl` that follows whoever the map names as primary.

use std::sync::Arc;
use std::time::Duration;

use torc_cluster::ids::{Member, Offset, Term};
use torc_cluster::map::ClusterMap;
use torc_cluster::member::Next;
use torc_cluster::message::{HelloReply, ReplicaHello};
use torc_runtime::bus::{BusConn, BusIdentity, ConnError, FrameKind, dial};
use torc_runtime::clock::boottime_ns;
use torc_runtime::shutdown::Shutdown;

use super::Replication;
use super::pending::{Pending, PendingError, append};
use super::state::ApplyError;
use super::stream::{self, Accept, KEPT_SNAPSHOT_BYTES};
use crate::node::Node;

/// Pause after a stream that ended or a primary that is not ready.
const RETRY: Duration = Duration::from_millis(50);

/// How long a connection to the primary may take.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// A primary that says nothing, or takes nothing, for this long is gone: its stream carries the mark every 50 ms.
const SILENCE: Duration = Duration::from_secs(2);

/// Why following ended.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Bus(#[from] ConnError),
    #[error("the primary said nothing for {SILENCE:?}")]
    Silent,
    #[error("the primary sent something malformed")]
    Malformed(#[from] stream::Malformed),
    #[error("the primary's greeting cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("the primary sent {0:?} instead of a greeting")]
    Unexpected(FrameKind),
    #[error(transparent)]
    Pending(#[from] PendingError),
}

/// Follows until shut down.
pub async fn follow(
    node: Arc<Node>,
    repl: Arc<Replication>,
    identity: BusIdentity,
    map: tokio::sync::watch::Receiver<Arc<ClusterMap>>,
    shutdown: Shutdown,
) {
    let mut news = repl.watch();
    while !shutdown.triggered() {
        news.borrow_and_update();
        let Some((primary, hello)) = repl.own_hello(&node) else {
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = shutdown.wait() => return,
            }
            continue;
        };
        let term = hello.term;
        let address = map.borrow().node(primary.node).map(|n| n.bus_address());
        if let Some(address) = address {
            let ended = tokio::select! {
                ended = follow_one(&node, &repl, &identity, &address, primary, hello) => ended,
                // In-sync writes to the next primary wait for this node: no pause.
                () = superseded(&repl, primary, term) => continue,
                () = shutdown.wait() => return,
            };
            if let Err(error) = ended {
                tracing::debug!(%primary, %term, %error, "not following now");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = superseded(&repl, primary, term) => {}
            () = shutdown.wait() => return,
        }
    }
}

/// Resolves when the node follows somebody else, or no one.
async fn superseded(repl: &Replication, primary: Member, term: Term) {
    let mut news = repl.watch();
    while repl.follows(primary, term) {
        if news.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_one(
    node: &Arc<Node>,
    repl: &Arc<Replication>,
    identity: &BusIdentity,
    address: &str,
    primary: Member,
    hello: ReplicaHello,
) -> Result<(), FollowError> {
    let term = hello.term;
    let mut conn = dial(address, identity, CONNECT_TIME).await?;
    write(&mut conn, FrameKind::ReplicaHello, &serde_json::to_vec(&hello)?).await?;
    let frame = read(&mut conn).await?;
    if frame.kind != FrameKind::ReplicaAccept {
        return Err(FollowError::Unexpected(frame.kind));
    }
    let accept: Accept = serde_json::from_slice(&frame.payload)?;
    // What is held may be dropped now: no batch that has found it fresh may still be reading.
    node.shard.fresh.forget();
    if matches!(accept.reply, HelloReply::Resync { .. } | HelloReply::Compare { .. }) {
        node.shard.set_whole(false);
    }
    drop(node.close_gate());
    match repl.on_accept(node, term, accept) {
        Next::Retry | Next::Ignore => return Ok(()),
        Next::Stream { after, .. } => tracing::info!(%primary, %term, after = after.0, "following"),
        Next::Sync { common } => {
            tracing::info!(%primary, %term, common = common.0, "full sync begins");
        }
        Next::Compare { common, after } => {
            tracing::info!(%primary, %term, common = common.0, after = after.0, "resync by slots begins");
        }
    }
    take(node, repl, &mut conn, term).await
}

async fn read(conn: &mut BusConn) -> Result<torc_runtime::bus::Frame, FollowError> {
    let frame =
        tokio::time::timeout(SILENCE, conn.expect_frame()).await.map_err(|_| FollowError::Silent)??;
    Ok(frame)
}

async fn write(conn: &mut BusConn, kind: FrameKind, payload: &[u8]) -> Result<(), FollowError> {
    tokio::time::timeout(SILENCE, conn.write_frame(kind, payload))
        .await
        .map_err(|_| FollowError::Silent)??;
    Ok(())
}

/// Takes records and chunks, acknowledging what is held.
async fn take(
    node: &Arc<Node>,
    repl: &Arc<Replication>,
    conn: &mut BusConn,
    term: Term,
) -> Result<(), FollowError> {
    let mut records = Pending::default();
    let mut chunk = Vec::new();
    let mut syncing = true;
    loop {
        let frame = read(conn).await?;
        let (last, whole) = match frame.kind {
            FrameKind::Records => {
                let (mark, proof, bytes) = stream::split_records(&frame.payload)?;
                repl.apply(node, term, (Offset(mark), proof), records.take(bytes)?, boottime_ns())?
            }
            FrameKind::SnapshotChunk => {
                let part = stream::split_chunk(&frame.payload)?;
                append(&mut chunk, part.effects)?;
                if part.more {
                    // Not held yet, but here: the primary takes silence for the end.
                    write(conn, FrameKind::ReplicaAck, &stream::ack(0, false, boottime_ns())).await?;
                    continue;
                }
                let held = repl.apply_chunk(node, term, part.stripe, part.at, &chunk, boottime_ns())?;
                empty(&mut chunk);
                held
            }
            FrameKind::SlotDigests => {
                let (stripe, at, digests) = stream::split_digests(&frame.payload)?;
                let parts = repl.compare(node, term, (stripe, at), &digests, boottime_ns())?;
                write(conn, FrameKind::SlotsWanted, &stream::wanted(stripe, parts)).await?;
                continue;
            }
            FrameKind::SlotsChunk => {
                let part = stream::split_content(&frame.payload)?;
                append(&mut chunk, part.effects)?;
                if part.more {
                    write(conn, FrameKind::ReplicaAck, &stream::ack(0, false, boottime_ns())).await?;
                    continue;
                }
                let held = repl.take_content(node, term, part, &chunk, boottime_ns())?;
                empty(&mut chunk);
                held
            }
            other => return Err(FollowError::Unexpected(other)),
        };
        if whole && syncing {
            syncing = false;
            chunk = Vec::new();
            tracing::info!(%term, last = last.0, "holds everything the primary has");
        }
        write(conn, FrameKind::ReplicaAck, &stream::ack(last.0, whole, boottime_ns())).await?;
    }
}

/// Empties a chunk that was applied, whose buffer is kept for the next one unless it is a large one.
fn empty(chunk: &mut Vec<u8>) {
    chunk.clear();
    chunk.shrink_to(KEPT_SNAPSHOT_BYTES);
}
