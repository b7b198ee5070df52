//! What this node answers on the bus, after the handshake.
//!
//! Calls run on `torc-agent`; a replica's stream moves to `torc-repl` with its socket.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use torc_cluster::map::MapCommand;
use torc_cluster::message::{Heartbeat, ReplicaHello};
use torc_runtime::bus::{BusConn, BusIdentity, BusLimits, BusServer, Frame, FrameKind};
use torc_runtime::map_watch;
use torc_runtime::shutdown::Shutdown;

use super::Agent;
use super::admin::AdminRequest;
use super::peers::AddressedSeal;

/// The bus of this node.
pub fn server(agent: &Arc<Agent>, identity: BusIdentity, shutdown: &Shutdown) -> BusServer {
    let (raft, heartbeat, seal) = (agent.clone(), agent.clone(), agent.clone());
    let (propose, admin, watch, replica) = (agent.clone(), agent.clone(), agent.clone(), agent.clone());
    let shutdown = shutdown.clone();
    BusServer::new(identity, BusLimits::default())
        .on_call(FrameKind::Raft, move |_, body| {
            let agent = raft.clone();
            async move {
                let voter = agent.voter().ok_or("this node does not vote")?;
                voter.consensus.handle_rpc(&body).await.map_err(|e| e.to_string())
            }
        })
        .on_call(FrameKind::Heartbeat, move |_, body| {
            let agent = heartbeat.clone();
            async move { answer_heartbeat(&agent, &body).await }
        })
        .on_call(FrameKind::Seal, move |_, body| {
            let agent = seal.clone();
            async move { json(&agent.seal(&read::<AddressedSeal>(&body)?).await) }
        })
        .on_call(FrameKind::Propose, move |_, body| {
            let agent = propose.clone();
            async move { json(&agent.propose_as_leader(read::<MapCommand>(&body)?).await) }
        })
        .on_call(FrameKind::Admin, move |_, body| {
            let agent = admin.clone();
            async move { json(&agent.admin(read::<AdminRequest>(&body)?).await) }
        })
        .on_stream(FrameKind::Watch, move |conn, first| {
            let (maps, votes, shutdown) = (watch.maps(), watch.voter().is_some(), shutdown.clone());
            async move {
                tokio::select! {
                    () = map_watch::serve(conn, first, maps, votes) => {}
                    () = shutdown.wait() => {}
                }
            }
        })
        .on_stream(FrameKind::ReplicaHello, move |conn, first| {
            let agent = replica.clone();
            async move { greet_replica(&agent, conn, &first) }
        })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|e| format!("not understood: {e}"))
}

fn json<T: Serialize>(reply: &T) -> Result<Bytes, String> {
    serde_json::to_vec(reply).map(Bytes::from).map_err(|e| e.to_string())
}

/// Only the leader answers; others refuse with the leader's address (empty when they do not know it).
async fn answer_heartbeat(agent: &Agent, body: &[u8]) -> Result<Bytes, String> {
    let heartbeat: Heartbeat = read(body)?;
    let elsewhere = || agent.leader_address().unwrap_or_default();
    let voter = agent.leading().ok_or_else(elsewhere)?;
    let reply = voter.controller.heartbeat(heartbeat).await.ok_or_else(elsewhere)?;
    json(&reply)
}

fn greet_replica(agent: &Agent, conn: BusConn, first: &Frame) {
    let hello: ReplicaHello = match read(&first.payload) {
        Ok(hello) => hello,
        Err(error) => {
            tracing::warn!(%error, "a replica's greeting");
            return;
        }
    };
    match conn.detach() {
        Ok(conn) => agent.hand_to_repl(conn, hello),
        Err(error) => tracing::debug!(%error, "a replica's connection is gone"),
    }
}
