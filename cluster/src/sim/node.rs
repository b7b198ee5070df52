//! A data node: the shipped [`ShardMember`] per shard, and round it a plain key/value store, as a server has it.

use super::message::{Answer, Message, Op, Record, Store};
use super::network::{Host, MS};
use super::replication::{Link, Peer};
use super::world::{CONTROL_HOSTS, Event, World};
use crate::bugs::{Bug, planted};
use crate::ids::{Incarnation, Member, Offset, ShardId};
use crate::map::{ClusterMap, MapCommand};
use crate::member::{Change, ShardMember};
use crate::message::Heartbeat;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A request that is executed and not answered.
pub(super) struct Pending {
    pub(super) id: u64,
    pub(super) client: Host,
    op: Op,
    /// Answered when the mark is here; `None`: at once.
    needs: Option<Offset>,
    deadline: u64,
    answer: Answer,
    finishing: bool,
}

pub(super) struct NodeShard {
    pub(super) member: ShardMember,
    pub(super) store: Store,
    /// Records after `log_after`, the backlog.
    pub(super) log: VecDeque<Record>,
    pub(super) log_after: Offset,
    pub(super) peers: BTreeMap<Member, Peer>,
    pub(super) link: Option<Link>,
    pub(super) pending: Vec<Pending>,
    pub(super) last_hello: u64,
    /// Records the backlog keeps.
    pub(super) backlog: usize,
}

pub(super) struct Node {
    pub(super) me: Member,
    pub(super) map: Arc<ClusterMap>,
    pub(super) shards: BTreeMap<ShardId, NodeShard>,
    sent: u64,
    last_heartbeat: u64,
    last_registration: u64,
    backlog: usize,
}

impl Node {
    pub(super) fn new(me: Member, map: Arc<ClusterMap>, backlog: usize) -> Self {
        let mut node = Node {
            me,
            map,
            shards: BTreeMap::new(),
            sent: 0,
            last_heartbeat: 0,
            last_registration: 0,
            backlog,
        };
        node.add_shards();
        node
    }

    fn add_shards(&mut self) {
        for shard in self.map.shards_of_node(self.me.node) {
            self.shards.entry(shard.id).or_insert_with(|| NodeShard {
                member: ShardMember::new(shard.id, self.me),
                store: Store::new(),
                log: VecDeque::new(),
                log_after: Offset(0),
                peers: BTreeMap::new(),
                link: None,
                pending: Vec::new(),
                last_hello: 0,
                backlog: self.backlog,
            });
        }
    }
}

impl NodeShard {
    pub(super) fn clear(&mut self) {
        self.store.clear();
        self.log.clear();
        self.log_after = Offset(0);
    }
}

impl World {
    pub(super) fn node(&mut self, host: Host) -> Option<&mut Node> {
        self.nodes.get_mut(host - CONTROL_HOSTS)?.as_mut()
    }

    pub(super) fn node_shard(&mut self, host: Host, shard: ShardId) -> Option<&mut NodeShard> {
        self.node(host)?.shards.get_mut(&shard)
    }

    pub(super) fn node_tick(&mut self, host: Host) {
        let now = self.local(host);
        let Some(node) = self.node(host) else { return };
        let (me, map) = (node.me, node.map.clone());
        let renew = map.settings.renew_ms * MS;
        if !map.is_current(me) && now - node.last_registration >= renew {
            node.last_registration = now;
            let mut info = map.nodes.get(&me.node).cloned().unwrap_or_default();
            info.incarnation = me.incarnation;
            self.propose(host, None, 0, MapCommand::RegisterNode { info });
        }
        let Some(node) = self.node(host) else { return };
        if now - node.last_heartbeat >= renew {
            self.heartbeat(host);
        }
        let Some(node) = self.node(host) else { return };
        let shards: Vec<ShardId> = node.shards.keys().copied().collect();
        for shard in shards {
            self.replica_tick(host, shard);
            self.primary_tick(host, shard);
        }
    }

    pub(super) fn heartbeat(&mut self, host: Host) {
        let now = self.local(host);
        let Some(node) = self.node(host) else { return };
        node.sent += 1;
        node.last_heartbeat = now;
        let sent = node.sent;
        node.shards.values_mut().for_each(|shard| shard.member.renewal_sent(sent, now));
        let heartbeat = Heartbeat {
            from: node.me,
            sent_id: sent,
            epoch: node.map.epoch,
            healthy: true,
            leaving: false,
            shards: node.shards.values().map(|shard| shard.member.report()).collect(),
        };
        for to in 0..CONTROL_HOSTS {
            self.send(host, to, Message::Heartbeat(heartbeat.clone()));
        }
    }

    /// To whoever leads the control plane; lost while nobody does.
    pub(super) fn propose(&mut self, host: Host, shard: Option<ShardId>, id: u64, command: MapCommand) {
        if let Some(to) = self.consensus.leader {
            self.send(host, to, Message::Propose { id, shard, command });
        }
    }

    pub(super) fn node_message(&mut self, from: Host, host: Host, message: Message) {
        let now = self.local(host);
        let Some(node) = self.node(host) else { return };
        match message {
            Message::Map(map) => self.node_map(host, map),
            Message::HeartbeatReply(reply) if reply.to == node.me => {
                for grant in &reply.grants {
                    if let Some(shard) = node.shards.get_mut(&grant.shard) {
                        if planted(Bug::LeaseFromGrant) {
                            shard.member.renewal_sent(u64::MAX, now);
                            shard.member.granted(grant, u64::MAX);
                        }
                        shard.member.granted(grant, reply.sent_id);
                    }
                }
                for (shard, term) in &reply.step_down {
                    if let Some(shard) = node.shards.get_mut(shard) {
                        shard.member.step_down(*term, now);
                    }
                }
                super::check::leases(self);
            }
            Message::Seal(request) => {
                let Some(shard) = node.shards.get_mut(&request.shard) else { return };
                if let Some(reply) = shard.member.on_seal(request) {
                    let member = node.me;
                    self.check.sealed(member, reply.shard, reply.term);
                    self.send(host, from, Message::SealReply(reply));
                }
            }
            Message::ProposeReply { id, shard, outcome } => {
                if let Some(set) = node.shards.get_mut(&shard).and_then(|shard| shard.member.set_mut()) {
                    set.outcome(id, Some(&outcome), now);
                }
            }
            Message::Request { id, shard, op } => self.request(from, host, id, shard, op),
            other => self.replication_message(from, host, other),
        }
    }

    fn node_map(&mut self, host: Host, map: Arc<ClusterMap>) {
        let now = self.local(host);
        let Some(node) = self.node(host) else { return };
        if map.epoch <= node.map.epoch {
            return;
        }
        node.map = map.clone();
        node.add_shards();
        let me = node.me;
        let shards: Vec<ShardId> = node.shards.keys().copied().collect();
        for id in shards {
            let Some(shard) = self.node_shard(host, id) else { continue };
            let Some(change) = shard.member.on_map(&map, now) else {
                self.settle_pending(host, id);
                continue;
            };
            shard.peers.clear();
            shard.link = None;
            shard.last_hello = 0;
            match change {
                Change::Lead { term, empty, .. } => {
                    if empty {
                        shard.clear();
                    }
                    super::check::leads(self, me, id, term);
                    // Asks for its lease at once.
                    self.heartbeat(host);
                }
                Change::Follow { .. } => {}
                Change::Leave => shard.clear(),
            }
            self.drop_pending(host, id);
        }
    }

    /// Requests of a term that is over: nobody will know what became of them.
    fn drop_pending(&mut self, host: Host, id: ShardId) {
        let Some(shard) = self.node_shard(host, id) else { return };
        for pending in std::mem::take(&mut shard.pending) {
            let answer =
                if matches!(pending.op, Op::Write { .. }) { Answer::Uncertain } else { Answer::Refused };
            self.send(host, pending.client, Message::Response { id: pending.id, answer });
        }
    }

    fn request(&mut self, from: Host, host: Host, id: u64, shard_id: ShardId, op: Op) {
        let now = self.local(host);
        let real = self.now;
        let Some(shard) = self.node_shard(host, shard_id) else { return };
        let may = shard.member.may_execute(now);
        let enough = shard.member.set().is_some_and(|set| set.can_ack_in_sync());
        let refused = !may || (matches!(op, Op::Write { in_sync: true, .. }) && !enough);
        if refused {
            self.send(host, from, Message::Response { id, answer: Answer::Refused });
            return;
        }
        let (needs, answer) = match op {
            Op::Write { key, value, in_sync } => {
                let Some(at) = shard.member.next_position() else { return };
                let record = Record { at, key, value };
                shard.store.insert(key, (value, at));
                shard.log.push_back(record);
                let fits = shard.member.wrote(at.offset).is_ok();
                self.check.effect(shard_id, record);
                self.check.demand(fits, || format!("the primary's own record {at} does not fit"));
                (in_sync.then_some(at.offset), Answer::Written)
            }
            Op::Read { key, strong } => {
                let value = shard.store.get(&key).copied();
                let held = strong && !planted(Bug::StrongReadNotHeld);
                (held.then_some(shard.member.last().offset), Answer::Value(value))
            }
        };
        super::check::serves(self, host, shard_id);
        let Some(shard) = self.node_shard(host, shard_id) else { return };
        let deadline = real + 250 * MS;
        shard.pending.push(Pending { id, client: from, op, needs, deadline, answer, finishing: false });
        self.primary_tick(host, shard_id);
        self.settle_pending(host, shard_id);
    }

    /// Lets requests finish whose records are held, and gives up on those whose time is over.
    pub(super) fn settle_pending(&mut self, host: Host, id: ShardId) {
        let real = self.now;
        let Some(node) = self.node(host) else { return };
        let incarnation = node.me.incarnation;
        let Some(shard) = node.shards.get_mut(&id) else { return };
        let mark = shard.member.mark();
        let mut finish = Vec::new();
        let mut late = Vec::new();
        for pending in shard.pending.iter_mut().filter(|pending| !pending.finishing) {
            if pending.needs.is_none_or(|needs| needs <= mark) {
                pending.finishing = true;
                finish.push(pending.id);
            } else if real >= pending.deadline {
                late.push(pending.id);
            }
        }
        for request in finish {
            let flush = self.rng.range(0, 2 * MS);
            self.after(flush, Event::Finish { host, incarnation, shard: id, request });
        }
        for request in late {
            self.answer_late(host, id, request);
        }
    }

    fn answer_late(&mut self, host: Host, id: ShardId, request: u64) {
        let Some(shard) = self.node_shard(host, id) else { return };
        let Some(index) = shard.pending.iter().position(|pending| pending.id == request) else { return };
        let pending = shard.pending.swap_remove(index);
        let answer = if matches!(pending.op, Op::Write { .. }) { Answer::Uncertain } else { Answer::Refused };
        self.send(host, pending.client, Message::Response { id: pending.id, answer });
    }

    /// The reply leaves, if the lease is still good by a clock read now.
    pub(super) fn finish(&mut self, host: Host, incarnation: Incarnation, id: ShardId, request: u64) {
        let now = self.local(host);
        let Some(node) = self.node(host).filter(|node| node.me.incarnation == incarnation) else { return };
        let Some(shard) = node.shards.get_mut(&id) else { return };
        let Some(index) = shard.pending.iter().position(|pending| pending.id == request) else { return };
        if !shard.member.may_reply(now) && !planted(Bug::LeaseCheckedOnce) {
            self.answer_late(host, id, request);
            return;
        }
        let pending = shard.pending.swap_remove(index);
        let strong = matches!(pending.op, Op::Read { strong: true, .. } | Op::Write { in_sync: true, .. });
        if strong {
            // From here on it must never be lost.
            let held = match (pending.op, pending.answer) {
                (Op::Write { .. }, _) => pending.needs.and_then(|needs| {
                    shard.member.history().term_of(needs).map(|term| crate::ids::Position::new(term, needs))
                }),
                (_, Answer::Value(value)) => value.map(|(_, at)| at),
                _ => None,
            };
            self.check.promised(id, held);
        }
        super::check::serves(self, host, id);
        self.send(host, pending.client, Message::Response { id: pending.id, answer: pending.answer });
    }
}
