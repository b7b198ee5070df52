//! The node's heartbeats: they renew its lease, and carry what it knows to the controller.
//!
//! Owner: one task on `torc-agent`. A heartbeat is sent every `renew_ms` whether the last one was answered or
//! not, and after two without an answer more often and to all voters; the lease counts from the moment of sending.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use torc_cluster::message::{Heartbeat, HeartbeatReply};
use torc_runtime::bus::{CallError, FrameKind};
use torc_runtime::clock::boottime_ns;
use torc_runtime::shutdown::Shutdown;

use super::Agent;
use super::peers::AskError;

/// Pause after a heartbeat that went to a wrong or dead controller.
const NEXT_CONTROLLER: Duration = Duration::from_millis(10);

/// Renewals without any answer after which heartbeats go to all who may lead: a leader whose host is cut off does not
/// refuse, and another is elected before the leases that it gave are over.
const SILENT_RENEWALS: u32 = 2;

/// Heartbeats in the time of one renewal in silence: who asks just before the election has ended must not wait for long.
const BEATS_IN_SILENCE: u32 = 4;

/// Nodes that are asked at once in silence: all voters of a cluster, and the one that led last.
const MAX_ASKED: usize = 8;

/// Heartbeats that may be under way at once: those of a lease's time in silence.
const IN_FLIGHT: usize = 64;

/// What became of a heartbeat.
enum Beat {
    /// By this leader.
    Answered(String),
    /// By a node that does not lead; who does, if it knows.
    Refused(String),
    Lost,
}

/// Sends heartbeats until shut down.
pub async fn run(agent: Arc<Agent>, shutdown: Shutdown) {
    let mut under_way = JoinSet::new();
    let mut attempt = 0;
    let mut answered_ns = boottime_ns();
    while !shutdown.triggered() {
        while under_way.try_join_next().is_some() {}
        let (renew, lease) = times(&agent);
        let silence = Duration::from_nanos(boottime_ns().saturating_sub(answered_ns));
        let silent = silence >= renew * SILENT_RENEWALS;
        let sent_id = send(&agent, addresses(&agent, attempt, silent), &mut under_way);
        // For as long as that may save a lease.
        let hurries = silent && silence < 2 * lease;
        let mut next = Instant::now() + if hurries { renew / BEATS_IN_SILENCE } else { renew };
        let mut answered = false;
        // A promotion, a hand-back or a controller that is none: at once; else at the interval.
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = agent.beat_now.notified() => break,
                Some(done) = under_way.join_next(), if !under_way.is_empty() => match done {
                    Ok((_, Beat::Answered(leader))) => {
                        agent.learn_controller(leader);
                        attempt = 0;
                        answered_ns = boottime_ns();
                        if !answered {
                            next = Instant::now() + renew;
                        }
                        answered = true;
                    }
                    // What was sent before, or to others as well, says nothing of where the next one is to go.
                    Ok((id, _)) if answered || Some(id) != sent_id => {}
                    Ok((_, Beat::Refused(leader))) => {
                        agent.learn_controller(leader);
                        if !silent {
                            attempt += 1;
                            next = Instant::now() + NEXT_CONTROLLER;
                        }
                    }
                    _ => if !silent {
                        attempt += 1;
                        next = Instant::now() + NEXT_CONTROLLER;
                    },
                },
                () = shutdown.wait() => return,
            }
        }
    }
}

/// The interval of renewals, and a lease's length.
fn times(agent: &Agent) -> (Duration, Duration) {
    let settings = &agent.map().settings;
    (Duration::from_millis(settings.renew_ms.max(1)), Duration::from_millis(settings.lease_ms.max(1)))
}

/// Where the next heartbeat goes: to whom is believed to lead, and in silence to all who may by now.
fn addresses(agent: &Agent, attempt: usize, silent: bool) -> Vec<String> {
    let leader = agent.controller_address(attempt);
    let mut addresses: Vec<String> = leader.iter().cloned().collect();
    if silent {
        addresses
            .extend(agent.control_addresses().into_iter().filter(|other| leader.as_ref() != Some(other)));
        addresses.truncate(MAX_ASKED);
    }
    addresses
}

/// Sends one heartbeat to each address. `None`: to nobody.
fn send(agent: &Arc<Agent>, addresses: Vec<String>, under_way: &mut JoinSet<(u64, Beat)>) -> Option<u64> {
    if addresses.is_empty() || under_way.len() >= IN_FLIGHT {
        return None;
    }
    let heartbeat = Arc::new(make(agent));
    let sent_id = heartbeat.sent_id;
    // An answer that takes longer than the lease is worth nothing.
    let (_, limit) = times(agent);
    for address in addresses {
        let (agent, heartbeat) = (agent.clone(), heartbeat.clone());
        under_way.spawn(async move { (sent_id, beat(&agent, &address, &heartbeat, limit).await) });
    }
    Some(sent_id)
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

/// Sends one heartbeat and takes its answer.
async fn beat(agent: &Agent, address: &str, heartbeat: &Heartbeat, limit: Duration) -> Beat {
    let asked: Result<HeartbeatReply, AskError> =
        agent.peers.ask(address, FrameKind::Heartbeat, heartbeat, limit).await;
    match asked {
        Ok(reply) => {
            take(agent, &reply);
            Beat::Answered(address.to_owned())
        }
        // Not the leader; the reason is the leader's address, if it is known there.
        Err(AskError::Call(CallError::Refused { reason, .. })) => Beat::Refused(reason),
        Err(error) => {
            tracing::debug!(%address, %error, "no answer to a heartbeat");
            agent.forget_controller(address);
            Beat::Lost
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
