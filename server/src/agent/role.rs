//! Follows the map: takes the role it gives, keeps the registration true, proposes changes of the in-sync set.

use std::sync::Arc;
use std::time::Duration;

use torc_cluster::map::MapCommand;
use torc_cluster::member::Change;
use torc_runtime::clock::boottime_ns;
use torc_runtime::shutdown::Shutdown;

use super::Agent;
use super::admin::AdminReply;
use crate::replication::state::shard_of;
use crate::shard::View;

/// How often a primary looks whether its in-sync set should change.
const SET_TICK: Duration = Duration::from_millis(10);

/// The same while the primary steps down: nothing is executed until the lease is handed back.
const STEP_DOWN_TICK: Duration = Duration::from_millis(1);

/// How often registration is tried.
const REGISTER_RETRY: Duration = Duration::from_millis(100);

/// How long the map of a registration may take to come back before it is tried again.
const MAP_TIME: Duration = Duration::from_secs(1);

/// Takes each map as it comes.
pub async fn follow_maps(agent: Arc<Agent>, shutdown: Shutdown) {
    let mut maps = agent.maps();
    maps.mark_changed();
    loop {
        tokio::select! {
            changed = maps.changed() => if changed.is_err() { return },
            () = shutdown.wait() => return,
        }
        let map = maps.borrow_and_update().clone();
        let view = View::new(map.clone(), agent.me, shard_of(&map, agent.me));
        let (worker, shard) = (agent.clone(), view.shard);
        let taken = tokio::task::spawn_blocking(move || {
            worker.node.shard.set_view(view);
            let change = worker.repl.on_map(&worker.node, &map, boottime_ns());
            // Slots may have gone elsewhere: who waits for a key of theirs asks there.
            worker.node.blocked.nudge_all();
            // And who listens to a shard channel of theirs is told.
            let slots = &map.slots;
            worker.node.pubsub.end_shard_subscriptions(|slot| shard.is_some() && slots.owner(slot) == shard);
            change
        });
        match taken.await {
            Ok(Some(Change::Lead { term, empty, .. })) => {
                tracing::info!(term = term.0, empty, "this node is primary");
                if empty {
                    tracing::warn!(
                        term = term.0,
                        "the shard starts empty: its data was in memory only and nobody kept it"
                    );
                }
                agent.beat_now.notify_one();
            }
            Ok(Some(Change::Follow { term, primary })) => {
                let primary = primary.map_or("nobody".to_owned(), |p| p.to_string());
                tracing::info!(term = term.0, %primary, "this node is replica");
                agent.beat_now.notify_one();
            }
            Ok(Some(Change::Leave)) => tracing::info!("this node has no shard any more"),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "taking a map failed"),
        }
    }
}

/// Keeps the node registered under its current addresses and incarnation.
pub async fn register(agent: Arc<Agent>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(REGISTER_RETRY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.wait() => return,
        }
        let wanted = agent.registration();
        if agent.map().node(agent.me.node) == Some(&wanted) || agent.is_leaving() {
            continue;
        }
        match agent.propose(MapCommand::RegisterNode { info: wanted }).await {
            Ok(AdminReply::Proposed { reply }) => match reply.into_result() {
                Ok(_) => {
                    tracing::info!(node = %agent.me.node, "registered");
                    // The map that says so is on its way.
                    tokio::time::sleep(MAP_TIME).await;
                }
                Err(refusal) => tracing::warn!(%refusal, "registration refused"),
            },
            Ok(AdminReply::Failed { error }) => tracing::debug!(%error, "not registered yet"),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "not registered yet"),
        }
    }
}

/// As primary: proposes changes of the in-sync set, hands the lease back when asked to.
pub async fn keep_set(agent: Arc<Agent>, shutdown: Shutdown) {
    let mut tick = tokio::time::interval(SET_TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stepping_down = agent.repl.is_stepping_down();
        tokio::select! {
            _ = tick.tick(), if !stepping_down => {}
            () = tokio::time::sleep(STEP_DOWN_TICK), if stepping_down => {}
            () = agent.step_now.notified() => {}
            () = shutdown.wait() => return,
        }
        let now_ns = boottime_ns();
        let patience_ns = agent.map().settings.lease_bound_ns();
        if agent.repl.tick(&agent.node, now_ns, patience_ns) {
            tracing::info!("the lease was handed back");
            agent.beat_now.notify_one();
        }
        if let Some(proposal) = agent.repl.propose(now_ns) {
            let agent = agent.clone();
            tokio::spawn(async move {
                tracing::info!(change = ?proposal.command, "proposing another in-sync set");
                let reply = match agent.propose(proposal.command).await {
                    Ok(AdminReply::Proposed { reply }) => Some(reply),
                    _ => None,
                };
                agent.repl.outcome(&agent.node, proposal.id, reply.as_ref(), boottime_ns());
            });
        }
    }
}
