//! A data node: the shipped [`ShardMember`] per shard, and what drives it. `execute` has the requests.

use super::data::{Data, Record};
use super::execute::Pending;
use super::message::Message;
use super::network::{Host, MS};
use super::replication::{Link, Peer};
use super::world::{CONTROL_HOSTS, World};
use crate::bugs::{Bug, planted};
use crate::ids::{Member, Offset, ShardId};
use crate::map::{ClusterMap, MapCommand};
use crate::member::{Change, ShardMember};
use crate::message::Heartbeat;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) struct NodeShard {
    pub(super) member: ShardMember,
    pub(super) data: Data,
    /// Records after `log_after`, the backlog.
    pub(super) log: VecDeque<Record>,
    pub(super) log_after: Offset,
    pub(super) peers: BTreeMap<Member, Peer>,
    /// Connections that were replaced and have not ended yet, as a primary that is cut off from a replica has them.
    pub(super) old_streams: BTreeMap<u64, Member>,
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
                data: Data::new(),
                log: VecDeque::new(),
                log_after: Offset(0),
                peers: BTreeMap::new(),
                old_streams: BTreeMap::new(),
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
        self.data.clear();
        self.log.clear();
        self.log_after = Offset(0);
    }

    /// Keeps a record in the backlog, whose oldest go.
    pub(super) fn keep(&mut self, record: Record) {
        self.log.push_back(record);
        while self.log.len() > self.backlog {
            if let Some(record) = self.log.pop_front() {
                self.log_after = record.at.offset;
            }
        }
    }
}

impl World {
    pub(super) fn node(&mut self, host: Host) -> Option<&mut Node> {
        self.nodes.get_mut(host.checked_sub(CONTROL_HOSTS)?)?.as_mut()
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
            self.expire_locks(host, shard);
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
            Message::Request(request) => self.request(from, host, request),
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
            shard.old_streams.clear();
            shard.link = None;
            shard.last_hello = 0;
            match change {
                Change::Lead { term, empty, locks_closed_until_ns } => {
                    if empty {
                        shard.clear();
                    }
                    shard.data.locks.begin_term(term, locks_closed_until_ns.div_ceil(MS));
                    super::check::leads(self, me, id, term);
                    // Asks for its lease at once.
                    self.heartbeat(host);
                }
                Change::Follow { .. } => drop(shard.data.locks.end_term()),
                Change::Leave => shard.clear(),
            }
            self.drop_pending(host, id);
        }
    }
}
