//! Drives [`torc_cluster::controller`] on a node that votes: events from the bus, consensus and the clock go in,
//! its decisions are carried out.
//!
//! Owner: one task on `torc-agent`; everything else talks to it through [`ControllerHandle`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use torc_cluster::controller::{Controller, Decision, Event};
use torc_cluster::ids::{Member, NodeId, ShardId, Term};
use torc_cluster::map::ClusterMap;
use torc_cluster::message::{Heartbeat, HeartbeatReply, SealReply, SealRequest};
use torc_runtime::clock::boottime_ns;
use torc_runtime::raft::Consensus;

use super::admin::Report;
use super::peers::Peers;

/// Events that may wait for the controller; more heartbeats than that are dropped (they come again).
const EVENT_QUEUE: usize = 4096;

/// Heartbeats whose answer is still being made; beyond it the oldest askers are let go.
const MAX_WAITING: usize = torc_cluster::controller::MAX_WAITING_HEARTBEATS;

/// How often one confirmation is tried; the controller begins another batch after a lease's time anyway.
const MAX_CONFIRMS: u32 = 16;

/// Pause between two tries.
const CONFIRM_PAUSE: Duration = Duration::from_millis(5);

type ReplySender = oneshot::Sender<HeartbeatReply>;

enum Input {
    Heartbeat(Heartbeat, ReplySender),
    Event(Event),
    Reports(oneshot::Sender<Vec<Report>>),
    /// This voter leads; everything before its reign is applied.
    Reign(Arc<ClusterMap>),
}

/// The door to the controller.
#[derive(Clone)]
pub struct ControllerHandle {
    inputs: mpsc::Sender<Input>,
}

impl ControllerHandle {
    /// Hands a heartbeat over and waits for its answer. `None` when this node does not lead (any more) or the
    /// controller is swamped: the next heartbeat follows in `renew_ms`.
    pub async fn heartbeat(&self, heartbeat: Heartbeat) -> Option<HeartbeatReply> {
        let (sender, answer) = oneshot::channel();
        self.inputs.try_send(Input::Heartbeat(heartbeat, sender)).ok()?;
        answer.await.ok()
    }

    /// A person's wish. False when the controller is swamped or gone.
    pub async fn failover(&self, shard: ShardId, to: Option<NodeId>, term: Option<Term>) -> bool {
        self.inputs.send(Input::Event(Event::FailoverRequested { shard, to, term })).await.is_ok()
    }

    /// A person gives up what the candidates hold.
    pub async fn unclean(&self, shard: ShardId, to: Member, term: Option<Term>) -> bool {
        self.inputs.send(Input::Event(Event::UncleanRequested { shard, to, term })).await.is_ok()
    }

    /// What the members said last.
    pub async fn reports(&self) -> Vec<Report> {
        let (sender, receiver) = oneshot::channel();
        if self.inputs.send(Input::Reports(sender)).await.is_err() {
            return Vec::new();
        }
        receiver.await.unwrap_or_default()
    }
}

struct Driver {
    controller: Controller,
    consensus: Consensus<ClusterMap>,
    peers: Peers,
    inputs: mpsc::Sender<Input>,
    replies: HashMap<(Member, u64), ReplySender>,
}

/// Starts the driver on this runtime.
pub fn start(consensus: Consensus<ClusterMap>, peers: Peers) -> ControllerHandle {
    let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
    let driver = Driver {
        controller: Controller::new(consensus.state()),
        consensus,
        peers,
        inputs: sender.clone(),
        replies: HashMap::new(),
    };
    tokio::spawn(driver.run(receiver));
    ControllerHandle { inputs: sender }
}

impl Driver {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut maps = self.consensus.watch();
        let mut leadership = self.consensus.leader();
        let settings = self.consensus.state().settings.clone();
        let mut tick = tokio::time::interval(Duration::from_millis((settings.renew_ms / 10).max(2)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        leadership.mark_changed();
        loop {
            tokio::select! {
                biased;
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let leads = leadership.borrow_and_update().is_self;
                    self.leadership_changed(leads);
                }
                changed = maps.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let map = maps.borrow_and_update().clone();
                    self.step(Event::MapChanged(map));
                }
                input = inputs.recv() => match input {
                    Some(input) => self.input(input),
                    None => return,
                },
                _ = tick.tick() => if self.controller.is_leading() { self.step(Event::Tick) },
            }
        }
    }

    fn leadership_changed(&mut self, leads: bool) {
        if !leads {
            if self.controller.is_leading() {
                tracing::info!("this node no longer leads the control plane");
            }
            self.replies.clear();
            self.step(Event::LostLeadership);
            return;
        }
        // The reign begins once everything that was committed before it is applied here.
        let (consensus, inputs) = (self.consensus.clone(), self.inputs.clone());
        tokio::spawn(async move {
            if confirm(&consensus).await {
                let _ = inputs.send(Input::Reign(consensus.state())).await;
            }
        });
    }

    fn input(&mut self, input: Input) {
        match input {
            Input::Heartbeat(heartbeat, reply) => {
                if self.controller.is_leading() {
                    if self.replies.len() >= MAX_WAITING {
                        self.replies.retain(|_, sender| !sender.is_closed());
                    }
                    if self.replies.len() < MAX_WAITING {
                        self.replies.insert((heartbeat.from, heartbeat.sent_id), reply);
                    }
                    self.step(Event::Heartbeat(heartbeat));
                }
            }
            Input::Event(event) => self.step(event),
            Input::Reign(map) => {
                if self.consensus.leader().borrow().is_self && !self.controller.is_leading() {
                    tracing::info!(epoch = map.epoch.0, "this node leads the control plane");
                    self.step(Event::MapChanged(map));
                    self.step(Event::BecameLeader);
                }
            }
            Input::Reports(reply) => {
                let reports = self
                    .controller
                    .reports(boottime_ns())
                    .map(|(member, age_ns, report)| Report {
                        member,
                        shard: report.shard,
                        age_ms: age_ns / 1_000_000,
                        term: report.term,
                        last: report.last,
                        whole: report.whole,
                        mark: report.mark,
                    })
                    .collect();
                let _ = reply.send(reports);
            }
        }
    }

    fn step(&mut self, event: Event) {
        for decision in self.controller.step(boottime_ns(), event) {
            self.carry_out(decision);
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::ConfirmLeadership { batch } => {
                let (consensus, inputs) = (self.consensus.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    if confirm(&consensus).await {
                        let _ = inputs.send(Input::Event(Event::MapChanged(consensus.state()))).await;
                        let _ = inputs.send(Input::Event(Event::Confirmed { batch })).await;
                    }
                });
            }
            Decision::Reply(reply) => {
                if let Some(sender) = self.replies.remove(&(reply.to, reply.sent_id)) {
                    // Who asked may have given up meanwhile.
                    let _ = sender.send(reply);
                }
            }
            Decision::Seal { to, request } => self.seal(to, request),
            Decision::Propose { id, command } => {
                let (consensus, inputs) = (self.consensus.clone(), self.inputs.clone());
                tokio::spawn(async move {
                    let outcome = consensus.propose(command).await.ok();
                    let _ = inputs.send(Input::Event(Event::MapChanged(consensus.state()))).await;
                    let _ = inputs.send(Input::Event(Event::Proposed { id, outcome })).await;
                });
            }
            Decision::Story { shard, text } => tracing::info!(shard = shard.0, "{text}"),
        }
    }

    fn seal(&self, to: Member, request: SealRequest) {
        let map = self.consensus.state();
        let Some(address) = map.node(to.node).map(|n| n.bus_address()) else { return };
        let (peers, inputs) = (self.peers.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let reply: Option<SealReply> = peers.seal(&address, to, request).await;
            if let Some(reply) = reply {
                let _ = inputs.send(Input::Event(Event::SealReply(reply))).await;
            }
        });
    }
}

/// Has a quorum confirm the leadership, trying again while this node leads by its own account: a follower that
/// was just busy with its disk must not cost every shard its lease.
async fn confirm(consensus: &Consensus<ClusterMap>) -> bool {
    for _ in 0..MAX_CONFIRMS {
        if consensus.confirm_leadership().await.is_ok() {
            return true;
        }
        if !consensus.leader().borrow().is_self {
            return false;
        }
        tokio::time::sleep(CONFIRM_PAUSE).await;
    }
    false
}
