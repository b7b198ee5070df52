//! The node's heartbeats: they renew its lease, and carry what it knows to the controller.
//!
//! Owner: one task on `torc-agent`. A heartbeat is sent every `renew_ms` whether the last one was answered or
//! not; the lease counts from the moment of sending.

use std::sync::Arc;
use std::time::Duration;

use torc_cluster::message::{Heartbeat, HeartbeatReply};
use torc_runtime::bus::{CallError, FrameKind};
use torc_runtime::clock::boottime_ns;
use torc_runtime::shutdown::Shutdown;

use super::Agent;
use super::peers::AskError;

/// Pause after a heartbeat that went to a wrong or dead controller.
const NEXT_CONTROLLER: Duration = Duration::from_millis(10);

/// Renewals without any answer after which heartbeats go to others as well: a leader whose host is cut off does not refuse.
const SILENT_RENEWALS: u32 = 2;

/// Heartbeats that may be under way at once.
const IN_FLIGHT: usize = 8;

/// Sends heartbeats until shut down.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) {
    let mut under_way = tokio::task::JoinSet::new();
    let mut attempt = 0;
    let mut answered_ns = boottime_ns();
    while !shutdown.triggered() {
        while under_way.try_join_next().is_some() {}
        let renew = Duration::from_millis(agent.map().settings.renew_ms.max(1));
        let silent = Duration::from_nanos(boottime_ns().saturating_sub(answered_ns));
        if silent >= renew * SILENT_RENEWALS {
            attempt += 1;
        }
        let address = agent.controller_address(attempt);
        if let Some(address) = address
            && under_way.len() < IN_FLIGHT
        {
            let (agent, heartbeat) = (agent.clone(), make(&agent));
            // An answer that takes longer than the lease is worth nothing.
            let limit = Duration::from_millis(agent.map().settings.lease_ms.max(1));
            under_way.spawn(async move { beat(&agent, &address, &heartbeat, limit).await });
        }
        // A promotion, a hand-back or a controller that is none: at once; else at the interval.
        tokio::select! {
            () = tokio::time::sleep(renew) => {}
            () = agent.beat_now.notified() => {}
            Some(answered) = under_way.join_next(), if !under_way.is_empty() => match answered {
                Ok(true) => {
                    attempt = 0;
                    answered_ns = boottime_ns();
                    tokio::select! {
                        () = tokio::time::sleep(renew) => {}
                        () = agent.beat_now.notified() => {}
                        () = shutdown.wait() => return,
                    }
                }
                _ => {
                    attempt += 1;
                    tokio::time::sleep(NEXT_CONTROLLER).await;
                }
            },
            () = shutdown.wait() => return,
        }
    }
}

/// The heartbeat of now; the lease counts from here.
fn make(agent: &Agent) -> Heartbeat {
    let sent_id = agent.next_heartbeat_id();
    let now_ns = boottime_ns();
    let map = agent.map();
    agent.node.shard.set_replication(agent.repl.summary(&agent.node));
    Heartbeat {
        from: agent.me,
        sent_id,
        epoch: map.epoch,
        healthy: agent.node.workers_progress(now_ns, map.settings.worker_stall_ms),
        leaving: agent.is_leaving(),
        shards: agent.repl.report(&agent.node, sent_id, now_ns).into_iter().collect(),
    }
}

/// Sends one heartbeat and takes its answer. False when it must go somewhere else.
async fn beat(agent: &Agent, address: &str, heartbeat: &Heartbeat, limit: Duration) -> bool {
    let asked: Result<HeartbeatReply, AskError> =
        agent.peers.ask(address, FrameKind::Heartbeat, heartbeat, limit).await;
    match asked {
        Ok(reply) => {
            agent.learn_controller(address.to_owned());
            take(agent, &reply);
            true
        }
        // Not the leader; the reason is the leader's address, if it is known there.
        Err(AskError::Call(CallError::Refused { reason, .. })) => {
            agent.learn_controller(reason);
            false
        }
        Err(error) => {
            tracing::debug!(%address, %error, "no answer to a heartbeat");
            agent.forget_controller(address);
            false
        }
    }
}

fn take(agent: &Agent, reply: &HeartbeatReply) {
    if reply.to != agent.me {
        return;
    }
    for grant in &reply.grants {
        agent.repl.granted(&agent.node, grant, reply.sent_id);
    }
    for (shard, denial) in &reply.denials {
        tracing::debug!(shard = shard.0, %denial, "no lease");
    }
    for (_, term) in &reply.step_down {
        agent.repl.step_down(&agent.node, *term, boottime_ns());
        agent.step_now.notify_one();
    }
}
