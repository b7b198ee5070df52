//! The control plane: a log with one order, whose leader changes; and the hosts that run the controller.

use super::message::Message;
use super::network::{Host, MS};
use super::world::{CONTROL_HOSTS, Event, World};
use crate::controller::{Controller, Decision, Event as ControlEvent};
use crate::ids::{Member, ShardId};
use crate::map::{ClusterMap, MapCommand, MapReply};
use crate::message::ShardReport;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Consensus {
    pub(super) map: Arc<ClusterMap>,
    pub(super) leader: Option<Host>,
    pub(super) reign: u64,
}

impl Consensus {
    pub(super) fn new(map: Arc<ClusterMap>) -> Self {
        Consensus { map, leader: None, reign: 0 }
    }
}

pub(super) struct ControlHost {
    controller: Controller,
    /// The reign it believes in.
    reign: u64,
    /// What a node told it last of a shard: by which heartbeat, when, and whether it remembers.
    told: BTreeMap<(ShardId, Member), (u64, u64, bool)>,
}

impl ControlHost {
    pub(super) fn new(map: Arc<ClusterMap>) -> Self {
        ControlHost { controller: Controller::new(map), reign: 0, told: BTreeMap::new() }
    }

    /// When a member told it that it remembers, if that is what it said last.
    pub(super) fn told_at(&self, shard: ShardId, member: Member) -> Option<u64> {
        self.told.get(&(shard, member)).filter(|(_, _, remembers)| *remembers).map(|(_, at, _)| *at)
    }
}

impl World {
    /// Another leader, at once or after a while without any. The old one may believe in itself for long.
    pub(super) fn elect(&mut self) {
        let old = self.consensus.leader;
        if let Some(host) = old {
            self.consensus.leader = None;
            let late = self.rng.range(0, 1_500 * MS);
            self.after(late, Event::Depose { host, reign: self.consensus.reign });
            if self.rng.chance(500) {
                let gap = self.rng.range(50 * MS, 600 * MS);
                self.after(gap, Event::Elect);
                return;
            }
        }
        let up: Vec<Host> = (0..CONTROL_HOSTS).filter(|host| self.down_until[*host] <= self.now).collect();
        if up.len() < 2 {
            // No majority.
            self.after(100 * MS, Event::Elect);
            return;
        }
        let any = up[self.rng.index(up.len())];
        // Often the one before, which may not even have noticed.
        let host = self.last_leader.filter(|host| up.contains(host) && self.rng.chance(300)).unwrap_or(any);
        self.last_leader = old.or(self.last_leader);
        self.consensus.reign += 1;
        self.consensus.leader = Some(host);
        self.check.report.elections += 1;
        let reign = self.consensus.reign;
        self.check.note(self.now, || format!("c{host} is elected, reign {reign}"));
        if self.controls[host].controller.is_leading() && self.rng.chance(700) {
            self.check.note(self.now, || format!("c{host} does not notice that it was deposed"));
            self.controls[host].reign = reign;
            return;
        }
        let delay = self.rng.range(0, 30 * MS);
        self.after(delay, Event::Control { host, reign, event: ControlEvent::BecameLeader });
    }

    pub(super) fn depose(&mut self, host: Host, reign: u64) {
        if self.controls[host].reign == reign {
            self.check.note(self.now, || format!("c{host} learns that reign {reign} is over"));
            self.control_step(host, ControlEvent::LostLeadership);
        }
    }

    /// An answer of the control plane to its host, for one reign.
    pub(super) fn control_event(&mut self, host: Host, reign: u64, event: ControlEvent) {
        match event {
            ControlEvent::BecameLeader => {
                if self.consensus.reign != reign {
                    return;
                }
                self.controls[host].reign = reign;
                // Whatever was committed before is applied.
                let map = self.consensus.map.clone();
                self.control_step(host, ControlEvent::LostLeadership);
                self.control_step(host, ControlEvent::MapChanged(map));
                self.control_step(host, event);
            }
            // Of whichever reign: the controller has to know what is meant for it.
            event => self.control_step(host, event),
        }
    }

    pub(super) fn control_step(&mut self, host: Host, event: ControlEvent) {
        let now = self.local(host);
        let decisions = self.controls[host].controller.step(now, event);
        let reign = self.controls[host].reign;
        for decision in decisions {
            match decision {
                Decision::ConfirmLeadership { batch } => {
                    // A round to a quorum: the question goes out now, so the answer tells of later.
                    let asked = self.rng.range(MS / 10, 3 * MS);
                    let leads = self.consensus.leader == Some(host) && self.consensus.reign == reign;
                    if leads {
                        let event = ControlEvent::Confirmed { batch };
                        self.after(asked, Event::Control { host, reign, event });
                    }
                }
                Decision::Reply(reply) => {
                    let to = self.host_of(reply.to.node);
                    self.send(host, to, Message::HeartbeatReply(reply));
                }
                Decision::Seal { to, request } => {
                    let to = self.host_of(to.node);
                    self.send(host, to, Message::Seal(request));
                }
                Decision::Propose { id, command } => {
                    let outcome = self.commit(host, reign, command);
                    let delay = self.rng.range(MS / 10, 4 * MS);
                    if outcome.is_some() {
                        let map = ControlEvent::MapChanged(self.consensus.map.clone());
                        self.after(delay, Event::Control { host, reign, event: map });
                    }
                    // Now and then the outcome is never heard of.
                    let outcome = outcome.filter(|_| !self.rng.chance(30));
                    let event = ControlEvent::Proposed { id, outcome };
                    self.after(delay, Event::Control { host, reign, event });
                }
                Decision::Story { shard, text } => {
                    self.check.note(self.now, || format!("c{host} {shard}: {text}"));
                }
            }
        }
    }

    /// A proposal reaches the log: committed when the host still leads.
    fn commit(&mut self, host: Host, reign: u64, command: MapCommand) -> Option<MapReply> {
        if self.consensus.leader != Some(host) || self.consensus.reign != reign {
            return None;
        }
        let before = self.consensus.map.clone();
        let mut map = (*before).clone();
        let reply = map.apply(command.clone());
        if map.epoch != before.epoch {
            self.check.note(self.now, || format!("committed {command:?}"));
            self.consensus.map = Arc::new(map);
            super::check::committed(self, host, &before, &command);
            self.watch(host);
        }
        Some(reply)
    }

    /// What a person orders by the leader of the control plane.
    pub(super) fn administer(&mut self, host: Host, command: MapCommand) {
        self.commit(host, self.consensus.reign, command);
    }

    /// What a status page of this host shows.
    pub(super) fn told(&self, host: Host) -> Vec<(Member, ShardReport)> {
        let reports = self.controls[host].controller.reports(self.local(host));
        reports.map(|(member, _, report)| (member, report.clone())).collect()
    }

    /// Sends the map to all who watch.
    fn watch(&mut self, from: Host) {
        let map = self.consensus.map.clone();
        for to in 0..CONTROL_HOSTS + self.nodes.len() {
            if to < CONTROL_HOSTS {
                let delay = self.rng.range(MS / 10, 5 * MS);
                let reign = self.controls[to].reign;
                let event = ControlEvent::MapChanged(map.clone());
                self.after(delay, Event::Control { host: to, reign, event });
            } else {
                self.send(from, to, Message::Map(map.clone()));
            }
        }
    }

    pub(super) fn control_message(&mut self, from: Host, host: Host, message: Message) {
        match message {
            Message::Heartbeat(heartbeat) => {
                if self.controls[host].controller.is_leading() && heartbeat.epoch < self.consensus.map.epoch {
                    let map = self.consensus.map.clone();
                    self.send(host, from, Message::Map(map));
                }
                let from = heartbeat.from;
                for report in &heartbeat.shards {
                    let told = self.controls[host].told.entry((report.shard, from)).or_default();
                    if told.0 <= heartbeat.sent_id {
                        *told = (heartbeat.sent_id, self.now, report.remembers());
                    }
                }
                self.control_step(host, ControlEvent::Heartbeat(heartbeat));
            }
            Message::SealReply(reply) => self.control_step(host, ControlEvent::SealReply(reply)),
            Message::Propose { id, shard, command } => {
                let reign = self.controls[host].reign;
                if let Some(outcome) = self.commit(host, reign, command)
                    && let Some(shard) = shard
                {
                    self.send(host, from, Message::ProposeReply { id, shard, outcome });
                }
            }
            _ => {}
        }
    }
}
