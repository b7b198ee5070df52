//! Records, snapshots and acknowledgements between a primary and its replicas.

use super::message::{Message, Record};
use super::network::{Host, MS};
use super::world::{Event, World};
use crate::bugs::{Bug, planted};
use crate::ids::{Member, Offset, ShardId, Term};
use crate::member::Next;
use crate::message::HelloReply;

/// Records in one message.
const BATCH: usize = 16;
const PING: u64 = 50 * MS;
const SILENCE: u64 = 250 * MS;

/// A replica as its primary's connection knows it.
pub(super) struct Peer {
    conn: u64,
    host: Host,
    /// Sent up to here; `None` while a sync is under way.
    sent: Option<Offset>,
    seq: u64,
    last_sent: u64,
}

/// The connection of a replica to its primary.
pub(super) struct Link {
    conn: u64,
    host: Host,
    seq: u64,
    heard: u64,
}

impl World {
    /// Replica side: say hello when due, give a silent connection up.
    pub(super) fn replica_tick(&mut self, host: Host, id: ShardId) {
        let now = self.local(host);
        let conn = self.next_id();
        let Some(shard) = self.node_shard(host, id) else { return };
        if let Some(link) = &shard.link
            && now.saturating_sub(link.heard) > SILENCE
        {
            shard.link = None;
            shard.member.disconnected();
        }
        if !shard.member.wants_hello() || now.saturating_sub(shard.last_hello) < 30 * MS {
            return;
        }
        let Some((primary, hello)) = shard.member.hello() else { return };
        shard.last_hello = now;
        let to = self.host_of(primary.node);
        if let Some(shard) = self.node_shard(host, id) {
            shard.link = Some(Link { conn, host: to, seq: 0, heard: now });
        }
        self.send(host, to, Message::Hello { conn, hello });
    }

    /// Primary side: send what is new, propose a set when another is wanted, step down when asked.
    pub(super) fn primary_tick(&mut self, host: Host, id: ShardId) {
        let now = self.local(host);
        let Some(shard) = self.node_shard(host, id) else { return };
        let Some(set) = shard.member.set_mut() else { return };
        let term = set.term();
        let proposal = set.propose(now);
        let mark = shard.member.mark();
        while shard.log.len() > shard.backlog {
            if let Some(record) = shard.log.pop_front() {
                shard.log_after = record.at.offset;
            }
        }
        let mut messages = Vec::new();
        for peer in shard.peers.values_mut() {
            let Some(sent) = peer.sent else { continue };
            if sent < shard.log_after {
                // Fell out of the backlog: it has to say hello again.
                peer.sent = None;
                continue;
            }
            let skip = (sent.0 - shard.log_after.0) as usize;
            let records: Vec<Record> = shard.log.iter().skip(skip).take(BATCH).copied().collect();
            if records.is_empty() && now.saturating_sub(peer.last_sent) < PING {
                continue;
            }
            peer.sent = Some(records.last().map_or(sent, |record| record.at.offset));
            peer.seq += 1;
            peer.last_sent = now;
            let (conn, seq) = (peer.conn, peer.seq);
            messages.push((peer.host, Message::Records { conn, shard: id, term, seq, records, mark }));
        }
        let handed_back = shard.member.tick(now, 300 * MS);
        for (to, message) in messages {
            self.send(host, to, message);
        }
        if let Some(proposal) = proposal {
            self.propose(host, Some(id), proposal.id, proposal.command);
        }
        if handed_back {
            self.heartbeat(host);
        }
        self.settle_pending(host, id);
    }

    pub(super) fn replication_message(&mut self, from: Host, host: Host, message: Message) {
        match message {
            Message::Hello { conn, hello } => self.hello(from, host, conn, &hello),
            Message::HelloReply { conn, shard, term, reply } => {
                self.hello_reply(from, host, conn, shard, term, &reply);
            }
            Message::Snapshot { conn, shard: id, term, store, history, mark } => {
                let now = self.local(host);
                let Some(shard) = self.node_shard(host, id) else { return };
                let Some(link) = shard.link.as_mut().filter(|link| link.conn == conn) else { return };
                link.heard = now;
                let at = history.last().offset;
                if shard.member.sync_done(term, history, mark) {
                    shard.store = store;
                    shard.log.clear();
                    shard.log_after = at;
                    self.send(host, from, Message::Synced { conn, shard: id, term, at });
                }
            }
            Message::Synced { conn, shard: id, term, at } => {
                let now = self.local(host);
                let Some(shard) = self.node_shard(host, id).filter(|s| s.member.term() == term) else {
                    return;
                };
                let Some((member, peer)) = shard.peers.iter_mut().find(|(_, peer)| peer.conn == conn) else {
                    return;
                };
                peer.sent = Some(at);
                let member = *member;
                if let Some(set) = shard.member.set_mut() {
                    set.synced(member, at, now);
                }
            }
            Message::Records { conn, shard, term, seq, records, mark } => {
                self.records(from, host, conn, shard, term, seq, &records, mark);
            }
            Message::Ack { conn, shard: id, term, offset } => {
                let now = self.local(host);
                let Some(shard) = self.node_shard(host, id).filter(|s| s.member.term() == term) else {
                    return;
                };
                let peer = shard.peers.iter().find(|(_, peer)| peer.conn == conn).map(|(member, _)| *member);
                if let (Some(member), Some(set)) = (peer, shard.member.set_mut()) {
                    set.acked(member, offset, now);
                    self.settle_pending(host, id);
                }
            }
            _ => {}
        }
    }

    fn hello(&mut self, from: Host, host: Host, conn: u64, hello: &crate::message::ReplicaHello) {
        let now = self.local(host);
        let id = hello.shard;
        let Some(shard) = self.node_shard(host, id) else { return };
        let reply = shard.member.on_hello(hello, shard.log_after, now);
        let term = hello.term;
        let message = Message::HelloReply { conn, shard: id, term, reply: reply.clone() };
        let mut peer = Peer { conn, host: from, sent: None, seq: 0, last_sent: now };
        match reply {
            HelloReply::Continue { after } => {
                peer.sent = Some(after);
                shard.peers.insert(hello.from, peer);
            }
            HelloReply::Resync { .. } => {
                shard.peers.insert(hello.from, peer);
                let delay = self.rng.range(5 * MS, 200 * MS);
                self.after(delay, Event::Snapshot { host, to: from, conn, shard: id, term });
            }
            HelloReply::Wait | HelloReply::NotPrimary { .. } => {
                shard.peers.remove(&hello.from);
            }
        }
        self.send(host, from, message);
    }

    /// A snapshot is ready to be sent.
    pub(super) fn snapshot(&mut self, host: Host, to: Host, conn: u64, id: ShardId, term: Term) {
        let Some(shard) = self.node_shard(host, id) else { return };
        if shard.member.term() != term || !shard.peers.values().any(|peer| peer.conn == conn) {
            return;
        }
        let message = Message::Snapshot {
            conn,
            shard: id,
            term,
            store: shard.store.clone(),
            history: shard.member.history().clone(),
            mark: shard.member.mark(),
        };
        self.send(host, to, message);
    }

    fn hello_reply(
        &mut self,
        from: Host,
        host: Host,
        conn: u64,
        id: ShardId,
        term: Term,
        reply: &HelloReply,
    ) {
        let now = self.local(host);
        let Some(shard) = self.node_shard(host, id) else { return };
        let Some(link) = shard.link.as_mut().filter(|link| link.conn == conn) else { return };
        link.heard = now;
        match shard.member.on_hello_reply(term, reply) {
            Next::Stream { after, clear } => {
                if clear {
                    shard.clear();
                }
                self.send(host, from, Message::Ack { conn, shard: id, term, offset: after });
            }
            // The whole store is taken anew here; a server keeps what neither side touched.
            Next::Sync { .. } => shard.clear(),
            Next::Retry | Next::Ignore => shard.link = None,
        }
    }

    #[allow(clippy::too_many_arguments)] // The fields of one message.
    fn records(
        &mut self,
        from: Host,
        host: Host,
        conn: u64,
        id: ShardId,
        term: Term,
        seq: u64,
        records: &[Record],
        mark: Offset,
    ) {
        let now = self.local(host);
        let Some(node) = self.node(host) else { return };
        let me: Member = node.me;
        let Some(shard) = node.shards.get_mut(&id) else { return };
        let Some(link) = shard.link.as_mut().filter(|link| link.conn == conn && link.host == from) else {
            return;
        };
        if seq != link.seq + 1 {
            // Something on the way was lost: the connection is broken.
            shard.link = None;
            shard.member.disconnected();
            return;
        }
        link.seq = seq;
        link.heard = now;
        let mut taken = Vec::new();
        let mut broken = false;
        for record in records {
            if shard.member.on_record(term, record.at).is_err() {
                broken = true;
                break;
            }
            shard.store.insert(record.key, (record.value, record.at));
            shard.log.push_back(*record);
            taken.push(*record);
        }
        while shard.log.len() > shard.backlog {
            if let Some(record) = shard.log.pop_front() {
                shard.log_after = record.at.offset;
            }
        }
        if broken {
            shard.link = None;
            shard.member.disconnected();
        } else {
            shard.member.on_mark(term, mark);
        }
        let streaming = shard.member.is_streaming() && term >= shard.member.sealed();
        let offset = shard.member.last().offset;
        for record in taken {
            self.check.accepted(me, id, term);
            self.check.effect(id, record);
        }
        if streaming || planted(Bug::ReportWithoutSeal) {
            self.send(host, from, Message::Ack { conn, shard: id, term, offset });
        }
    }
}
