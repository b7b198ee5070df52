//! Records, full syncs and acknowledgements between a primary and its replicas. A full sync is parts as they were
//! at some offset each, mixed with the stream of records, as a server sends it.

use super::data::{Chunk, PARTS, Record, Takes};
use super::message::Message;
use super::network::{Host, MS};
use super::resync::{Asked, Comparing};
use super::world::{CONTROL_HOSTS, Event, World};
use crate::bugs::{Bug, planted};
use crate::history::History;
use crate::ids::{Member, Offset, ShardId, StreamId, Term};
use crate::member::Next;
use crate::message::{HelloReply, ReplicaHello};

/// Records in one message at most.
const BATCH: u64 = 16;
/// Records fewer than these may wait for company.
const COLLECTED: u64 = 4;
const PING: u64 = 50 * MS;
const SILENCE: u64 = 250 * MS;
/// How long a connection that was replaced may take to end: by its number, so that what is drawn stays as it is.
const OLD_STREAM_STEPS: u64 = 40;
const OLD_STREAM_STEP: u64 = 50 * MS;
/// Of so many replicas that cannot continue one takes everything anew.
const FULL_EVERY: u64 = 3;

/// A replica as its primary's connection knows it.
pub(super) struct Peer {
    pub(super) conn: u64,
    pub(super) host: Host,
    /// Sent up to here; `None` when it fell out of the backlog.
    pub(super) sent: Option<Offset>,
    pub(super) seq: u64,
    last_sent: u64,
    /// A sync was begun and its end is not acknowledged.
    feeding: bool,
    /// It is one by slots.
    pub(super) asked: Option<Asked>,
}

/// The connection of a replica to its primary.
pub(super) struct Link {
    conn: u64,
    host: Host,
    seq: u64,
    heard: u64,
    pub(super) sync: Option<Sync>,
}

/// A sync on its way in.
pub(super) struct Sync {
    pub(super) term: Term,
    /// In a full one: from which offset on each part wants records.
    after: [Option<Offset>; PARTS],
    /// One by slots.
    pub(super) comparing: Option<Comparing>,
    /// The last record that came.
    last: Option<Offset>,
}

impl Sync {
    fn new(term: Term, comparing: Option<Comparing>, last: Option<Offset>) -> Sync {
        Sync { term, after: [None; PARTS], comparing, last }
    }
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
        let Some((primary, mut hello)) = shard.member.hello() else { return };
        // Both kinds of sync are to happen: by the connection's number, so that what is drawn stays as it is.
        hello.holds_data = !conn.is_multiple_of(FULL_EVERY);
        shard.last_hello = now;
        let to = self.host_of(primary.node);
        if let Some(shard) = self.node_shard(host, id) {
            shard.link = Some(Link { conn, host: to, seq: 0, heard: now, sync: None });
        }
        self.send(host, to, Message::Hello { conn, hello });
    }

    /// Primary side: send what is new, propose a set when another is wanted, step down when asked.
    pub(super) fn primary_tick(&mut self, host: Host, id: ShardId) {
        let now = self.local(host);
        let batch = self.rng.range(1, BATCH + 1) as usize;
        let Some(shard) = self.node_shard(host, id) else { return };
        let Some(set) = shard.member.set_mut() else { return };
        let proposal = set.propose(now);
        let handed_back = shard.member.tick(now, 300 * MS, true);
        let peers: Vec<Member> = shard.peers.keys().copied().collect();
        for peer in peers {
            self.stream(host, id, peer, batch);
        }
        if let Some(proposal) = proposal {
            self.propose(host, Some(id), proposal.id, proposal.command);
        }
        if handed_back {
            self.heartbeat(host);
        }
        self.settle_pending(host, id);
    }

    /// Sends a replica the next records, at most as many.
    pub(super) fn stream(&mut self, host: Host, id: ShardId, to: Member, batch: usize) {
        let now = self.local(host);
        let slow = self.lagging_until[self.host_of(to.node) - CONTROL_HOSTS] > self.now;
        let lag_records = self.faults.lag_records as usize;
        let Some(shard) = self.node_shard(host, id) else { return };
        let term = shard.member.term();
        let mark = shard.member.mark();
        let last = shard.member.last().offset;
        let Some(peer) = shard.peers.get_mut(&to) else { return };
        // One that is slow never has the newest.
        let lag = if slow && batch < usize::MAX { lag_records } else { 0 };
        let Some(sent) = peer.sent else { return };
        if sent < shard.log_after {
            // Fell out of the backlog: it has to say hello again.
            peer.sent = None;
            return;
        }
        let skip = (sent.0 - shard.log_after.0) as usize;
        // Records are collected: the newest are not on their way yet when a chunk of a full sync holds them already.
        let collected = if peer.feeding && batch < usize::MAX { (last.0 % COLLECTED) as usize } else { 0 };
        let ready = shard.log.len().saturating_sub(skip + collected + lag);
        let records: Vec<Record> = shard.log.iter().skip(skip).take(batch.min(ready)).cloned().collect();
        if records.is_empty() && now.saturating_sub(peer.last_sent) < PING {
            return;
        }
        peer.sent = Some(records.last().map_or(sent, |record| record.at.offset));
        peer.seq += 1;
        peer.last_sent = now;
        let (conn, seq, to) = (peer.conn, peer.seq, peer.host);
        self.send(host, to, Message::Records { conn, shard: id, term, seq, records, mark });
    }

    pub(super) fn replication_message(&mut self, from: Host, host: Host, message: Message) {
        let now = self.local(host);
        match message {
            Message::Hello { conn, hello } => self.hello(from, host, conn, &hello),
            Message::HelloReply { conn, shard, term, reply } => {
                self.hello_reply(from, host, conn, shard, term, &reply);
            }
            Message::Chunk { conn, shard, term, seq, part, at, chunk }
                if self.heard(from, host, conn, shard, seq) =>
            {
                self.chunk(host, shard, term, part, at, chunk);
            }
            Message::Digest { conn, shard, term, seq, part, chunk }
                if self.heard(from, host, conn, shard, seq) =>
            {
                self.digest(from, host, conn, shard, term, part, &chunk);
            }
            Message::Compared { conn, shard, term, part, differs } => {
                self.compared(host, conn, shard, term, part, differs);
            }
            Message::SyncEnd { conn, shard, term, seq, history, mark }
                if self.heard(from, host, conn, shard, seq) =>
            {
                self.sync_end(from, host, conn, shard, term, history, mark);
            }
            Message::Synced { conn, shard: id, term, at } => {
                let Some(shard) = self.node_shard(host, id).filter(|s| s.member.term() == term) else {
                    return;
                };
                let peer =
                    shard.peers.iter_mut().find(|(_, peer)| peer.conn == conn).map(|(member, peer)| {
                        peer.feeding = false;
                        *member
                    });
                let member = peer.or_else(|| shard.old_streams.get(&conn).copied());
                if let (Some(member), Some(set)) = (member, shard.member.set_mut()) {
                    set.synced(member, StreamId(conn), at, now);
                }
            }
            Message::Records { conn, shard, term, seq, records, mark }
                if self.heard(from, host, conn, shard, seq) =>
            {
                self.records(from, host, conn, shard, term, records, mark);
            }
            Message::Ack { conn, shard: id, term, offset } => {
                let Some(shard) = self.node_shard(host, id).filter(|s| s.member.term() == term) else {
                    return;
                };
                let peer = shard.peers.iter().find(|(_, peer)| peer.conn == conn);
                let old = || shard.old_streams.get(&conn).map(|member| (*member, false));
                let peer = peer.map(|(member, peer)| (*member, peer.feeding)).or_else(old);
                if let Some((member, true)) = peer {
                    // What said that the sync is done got lost: the connection is broken.
                    shard.peers.remove(&member);
                } else if let (Some((member, false)), Some(set)) = (peer, shard.member.set_mut()) {
                    set.acked(member, StreamId(conn), offset, now);
                    self.settle_pending(host, id);
                }
            }
            _ => {}
        }
    }

    fn hello(&mut self, from: Host, host: Host, conn: u64, hello: &ReplicaHello) {
        let now = self.local(host);
        let id = hello.shard;
        let Some(shard) = self.node_shard(host, id) else { return };
        let reply = shard.member.on_hello(hello, StreamId(conn), shard.log_after, now);
        let term = hello.term;
        let message = Message::HelloReply { conn, shard: id, term, reply: reply.clone() };
        let mut peer =
            Peer { conn, host: from, sent: None, seq: 0, last_sent: now, feeding: false, asked: None };
        let last = shard.member.last().offset;
        let before = shard.peers.get(&hello.from).map(|peer| peer.conn);
        match reply {
            HelloReply::Continue { after } => {
                peer.sent = Some(after);
                shard.peers.insert(hello.from, peer);
            }
            HelloReply::Resync { .. } => {
                peer.sent = Some(last);
                peer.feeding = true;
                let to = hello.from;
                shard.peers.insert(to, peer);
                self.check.report.syncs += 1;
                let delay = self.rng.range(5 * MS, 80 * MS);
                self.after(delay, Event::Chunk { host, to, conn, shard: id, term, part: 0 });
            }
            HelloReply::Compare { after, .. } => {
                peer.sent = Some(after);
                peer.feeding = true;
                peer.asked = Some(Asked::default());
                let to = hello.from;
                shard.peers.insert(to, peer);
                let delay = self.rng.range(5 * MS, 80 * MS);
                self.after(delay, Event::Chunk { host, to, conn, shard: id, term, part: 0 });
            }
            HelloReply::Wait | HelloReply::NotPrimary { .. } => {
                shard.peers.remove(&hello.from);
            }
        }
        if let Some(conn) = before {
            if let Some(shard) = self.node_shard(host, id) {
                shard.old_streams.insert(conn, hello.from);
            }
            let delay = conn % OLD_STREAM_STEPS * OLD_STREAM_STEP;
            self.after(delay, Event::StreamEnd { host, shard: id, conn });
        }
        self.send(host, from, message);
    }

    pub(super) fn stream_end(&mut self, host: Host, id: ShardId, conn: u64) {
        let Some(shard) = self.node_shard(host, id) else { return };
        let Some(member) = shard.old_streams.remove(&conn) else { return };
        if let Some(set) = shard.member.set_mut() {
            set.disconnected(member, StreamId(conn));
        }
    }

    /// The next part of a full sync is sent; after the last one its end.
    pub(super) fn send_chunk(
        &mut self,
        host: Host,
        to: Member,
        conn: u64,
        id: ShardId,
        term: Term,
        part: usize,
    ) {
        let now_ms = self.local(host) / MS;
        let comparing = self.node_shard(host, id).and_then(|shard| shard.peers.get(&to)?.asked.as_ref());
        if comparing.is_some() {
            self.send_compared(host, to, conn, id, term, part);
            return;
        }
        if part == PARTS {
            // All records first, so that the end speaks of what was sent.
            self.stream(host, id, to, usize::MAX);
        }
        let Some(shard) = self.node_shard(host, id).filter(|shard| shard.member.term() == term) else {
            return;
        };
        let Some(peer) = shard.peers.get_mut(&to).filter(|peer| peer.conn == conn && peer.sent.is_some())
        else {
            return;
        };
        peer.seq += 1;
        let (seq, address) = (peer.seq, peer.host);
        let at = shard.member.last().offset;
        if part == PARTS {
            let history = shard.member.history().clone();
            let mark = shard.member.mark();
            self.send(host, address, Message::SyncEnd { conn, shard: id, term, seq, history, mark });
            return;
        }
        let chunk = shard.data.chunk(part, now_ms);
        self.send(host, address, Message::Chunk { conn, shard: id, term, seq, part, at, chunk });
        let delay = self.rng.range(MS, 40 * MS);
        self.after(delay, Event::Chunk { host, to, conn, shard: id, term, part: part + 1 });
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
            Next::Sync { .. } => {
                link.sync = Some(Sync::new(term, None, None));
                shard.clear();
            }
            Next::Compare { after, .. } => {
                link.sync = Some(Sync::new(term, Some(Comparing::default()), Some(after)));
                shard.log.clear();
            }
            Next::Retry | Next::Ignore => shard.link = None,
        }
    }

    /// Whether a message is the next one of the connection to the primary. One that is missing breaks it.
    fn heard(&mut self, from: Host, host: Host, conn: u64, id: ShardId, seq: u64) -> bool {
        let now = self.local(host);
        let Some(shard) = self.node_shard(host, id) else { return false };
        let Some(link) = shard.link.as_mut().filter(|link| link.conn == conn && link.host == from) else {
            return false;
        };
        if seq != link.seq + 1 {
            self.break_link(host, id);
            return false;
        }
        link.seq = seq;
        link.heard = now;
        true
    }

    pub(super) fn break_link(&mut self, host: Host, id: ShardId) {
        if let Some(shard) = self.node_shard(host, id) {
            shard.link = None;
            shard.member.disconnected();
        }
    }

    fn chunk(&mut self, host: Host, id: ShardId, term: Term, part: usize, at: Offset, chunk: Chunk) {
        let now_ms = self.local(host) / MS;
        let Some(shard) = self.node_shard(host, id) else { return };
        let sealed = shard.member.sealed();
        let sync = shard.link.as_mut().and_then(|link| link.sync.as_mut());
        match sync.filter(|sync| sync.term == term && term >= sealed && part < PARTS) {
            Some(sync) => {
                sync.after[part] = Some(at);
                if let Some(comparing) = &mut sync.comparing {
                    comparing.came(part);
                }
                shard.data.take_chunk(part, chunk, now_ms);
            }
            None => self.break_link(host, id),
        }
    }

    #[allow(clippy::too_many_arguments)] // The fields of one message.
    fn sync_end(
        &mut self,
        from: Host,
        host: Host,
        conn: u64,
        id: ShardId,
        term: Term,
        history: History,
        mark: Offset,
    ) {
        let Some(shard) = self.node_shard(host, id) else { return };
        let at = history.last().offset;
        let sync = shard.link.as_mut().and_then(|link| link.sync.take());
        let mut by_slots = false;
        let whole = sync.is_some_and(|sync| {
            let parts = match &sync.comparing {
                None => sync.after.iter().all(|after| after.is_some_and(|after| after <= at)),
                Some(comparing) => comparing.is_done(),
            };
            by_slots = sync.comparing.is_some();
            sync.term == term && parts && sync.last.is_none_or(|last| last == at)
        });
        if whole && shard.member.sync_done(term, history, mark) {
            shard.log.clear();
            shard.log_after = at;
            self.check.report.resyncs += u64::from(by_slots);
            self.send(host, from, Message::Synced { conn, shard: id, term, at });
        } else {
            self.break_link(host, id);
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
        records: Vec<Record>,
        mark: Offset,
    ) {
        let now_ms = self.local(host) / MS;
        let Some(node) = self.node(host) else { return };
        let me: Member = node.me;
        let Some(shard) = node.shards.get_mut(&id) else { return };
        let sealed = shard.member.sealed();
        if let Some(sync) = shard.link.as_mut().and_then(|link| link.sync.as_mut()) {
            let in_order = records.iter().all(|record| {
                sync.last.replace(record.at.offset).is_none_or(|last| last.next() == record.at.offset)
            });
            if sync.term != term || term < sealed || !in_order {
                self.break_link(host, id);
                return;
            }
            let takes = match &sync.comparing {
                None => Takes::Above(&sync.after),
                Some(comparing) => Takes::Standing(comparing.parts()),
            };
            records.iter().for_each(|record| shard.data.apply(record, takes, now_ms));
            return;
        }
        let mut taken = Vec::new();
        let mut broken = false;
        for record in records {
            if shard.member.on_record(term, record.at).is_err() {
                broken = true;
                break;
            }
            shard.data.apply(&record, Takes::All, now_ms);
            shard.keep(record.clone());
            taken.push(record);
        }
        if broken {
            shard.link = None;
            shard.member.disconnected();
        } else {
            shard.member.on_mark(term, mark);
        }
        let streaming = shard.member.is_streaming() && term >= shard.member.sealed();
        let offset = shard.member.last().offset;
        let history = shard.member.history().clone();
        for record in taken {
            self.check.accepted(me, id, term);
            self.check.effect(id, &record, &history);
        }
        if streaming || planted(Bug::ReportWithoutSeal) {
            self.send(host, from, Message::Ack { conn, shard: id, term, offset });
        }
    }
}
