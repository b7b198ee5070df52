//! What the node holds of its shard's history, and what it is allowed to do with it.
//!
//! One lock ([`Replication`]) guards backlog, history, seal and in-sync set. Who takes it:
//!
//! | who | for |
//! | --- | --- |
//! | `torc-repl`, the pump | the workers' records: sequencer → backlog, history, set |
//! | `torc-repl`, a sender per replica | reading the backlog, acknowledgements |
//! | `torc-repl`, the follower | applying a primary's records |
//! | `torc-agent`, the agent | sealing, promotion, demotion, map changes, proposals |
//!
//! Lock order: the closed gate, then this lock, then stripes. Workers never take it.

mod following;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{oneshot, watch};
use torc_cluster::history::History;
use torc_cluster::ids::{Member, Offset, Position, ShardId, StreamId, Term};
use torc_cluster::map::{ClusterMap, MapReply};
use torc_cluster::member::{Change, RecordRefused, ShardMember};
use torc_cluster::message::{Grant, HelloReply, ReplicaHello, SealReply, SealRequest, ShardReport};
use torc_cluster::replica_set::{Proposal, ReplicaSet};

use super::apply::Filter;
use super::backlog::{Backlog, Bounds, Place, Read};
use super::sequencer::{Next, Sequencer};
use super::settle::{OutOfPlace, Settling};
use super::stream::Progress;
use super::summary::{Dropped, Fed, ReplicaSummary, Summary, SyncKind};
use crate::effect::{DecodeError, Records};
use crate::node::Node;
use crate::shard::Role;
use crate::shard::gate::Exclusive;

/// Why records of a primary were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Not from whom the node follows, or out of order.
    #[error(transparent)]
    Refused(#[from] RecordRefused),
    /// No such sync is under way, or another one.
    #[error("no such sync is under way")]
    NotSyncing,
    /// What a resync by slots brought was not to come now.
    #[error(transparent)]
    OutOfPlace(#[from] OutOfPlace),
    /// A gap in the records of a sync.
    #[error("record {got} of a sync does not follow {last}")]
    Gap {
        /// The last record of the sync.
        last: Position,
        /// The one that came.
        got: Position,
    },
    /// Damage.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A sync under way.
struct Sync {
    from_term: Term,
    /// The primary's history up to the last record that came.
    history: History,
    mark: Offset,
    by: By,
}

/// How a sync brings what is lacking.
enum By {
    /// Everything, stripe by stripe.
    Chunks(Filter),
    /// What differs, slot by slot.
    Slots(Box<Settling>),
}

impl By {
    fn kind(&self) -> SyncKind {
        match self {
            By::Chunks(_) => SyncKind::Full,
            By::Slots(_) => SyncKind::Slots,
        }
    }
}

/// A replica's connection, as its primary has it.
struct Stream {
    id: StreamId,
    /// A sync is being sent.
    feeding: Option<SyncKind>,
    /// Dropped when another takes its place: the task that serves it ends then.
    _stays: oneshot::Sender<()>,
}

/// What [`Replication::hello`] answers.
pub struct Greeted {
    /// The connection's number: what is said on it counts while it is the newest.
    pub stream: StreamId,
    /// What the replica is told.
    pub reply: HelloReply,
    /// This node's history where the stream starts.
    pub history: History,
    /// Resolves when the replica has said hello on another connection.
    pub replaced: oneshot::Receiver<()>,
}

/// See the module's text.
struct State {
    me: Member,
    /// The rules; `None` until the map gives this node a shard.
    member: Option<ShardMember>,
    sequencer: Sequencer,
    backlog: Backlog,
    sync: Option<Sync>,
    /// Records that this node held and its primary did not, dropped in a sync.
    dropped_records: u64,
    last_dropped: Option<Dropped>,
    /// Syncs that this node has finished as a replica.
    full_syncs: u64,
    slot_syncs: u64,
    /// What this node has sent to replicas.
    fed: Fed,
    /// The connections of replicas; at most as many as the in-sync set knows replicas.
    streams: BTreeMap<Member, Stream>,
    /// The number of the connection that said hello last.
    last_stream: StreamId,
    /// When the primary was heard of last (CLOCK_BOOTTIME).
    heard_ns: u64,
}

/// The shard's replication; see the module's text.
pub struct Replication {
    state: Mutex<State>,
    /// Rises whenever there is something new for senders and the follower: records, marks, a change of role.
    news: watch::Sender<u64>,
}

impl Replication {
    /// Nothing held, nothing sealed.
    pub fn new(me: Member, backlog: Bounds) -> Arc<Replication> {
        Arc::new(Replication {
            state: Mutex::new(State {
                me,
                member: None,
                sequencer: Sequencer::default(),
                backlog: Backlog::new(backlog),
                sync: None,
                dropped_records: 0,
                last_dropped: None,
                full_syncs: 0,
                slot_syncs: 0,
                fed: Fed::default(),
                streams: BTreeMap::new(),
                last_stream: StreamId(0),
                heard_ns: 0,
            }),
            news: watch::Sender::new(0),
        })
    }

    /// Told whenever there may be something to do.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn tell(&self) {
        self.news.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state for status pages, INFO and metrics.
    pub fn summary(&self, node: &Node) -> Summary {
        let state = self.lock();
        let Some(member) = &state.member else { return Summary::default() };
        let last = member.last();
        let drawn = Offset(node.shard.last_offset());
        let last = if node.shard.role() == Role::Primary && drawn > last.offset {
            Position::new(member.term(), drawn)
        } else {
            last
        };
        let replica = |set: &ReplicaSet, member: Member| ReplicaSummary {
            member,
            acked: set.acked_by(member),
            heard_ns: set.heard_ns(member).unwrap_or(0),
            syncing: state.streams.get(&member).and_then(|stream| stream.feeding),
        };
        Summary {
            last,
            mark: member.mark(),
            sealed: member.sealed(),
            whole: member.is_whole(),
            backlog_first: state.backlog.first(),
            backlog_bytes: state.backlog.bytes(),
            backlog_bounds: state.backlog.bounds(),
            waiting_bytes: state.sequencer.waiting().total(),
            replicas: member
                .set()
                .into_iter()
                .flat_map(|set| set.replicas().map(|member| replica(set, member)))
                .collect(),
            streaming: member.is_streaming() && state.sync.is_none(),
            syncing: state.sync.as_ref().map(|sync| sync.by.kind()),
            heard_ns: state.heard_ns,
            dropped_records: state.dropped_records,
            last_dropped: state.last_dropped,
            full_syncs: state.full_syncs,
            slot_syncs: state.slot_syncs,
            fed: state.fed,
        }
    }

    // ---- the agent ----

    /// Takes a map: the node leads, follows or leaves as it says.
    pub fn on_map(&self, node: &Node, map: &ClusterMap, now_ns: u64) -> Option<Change> {
        node.eviction.follow(&map.policies);
        let closed = node.close_gate();
        let mut state = self.lock();
        if state.member.is_none() {
            let shard = map.shards_of_node(state.me.node).next()?.id;
            state.member = Some(ShardMember::new(shard, state.me));
        }
        state.take_in(node);
        let change = state.member.as_mut()?.on_map(map, now_ns);
        match change {
            Some(Change::Lead { term, empty, locks_closed_until_ns }) => {
                state.lead(node, &closed, term, empty);
                node.locks.begin_term(term, locks_closed_until_ns, map.settings.max_lock_ttl_ms);
            }
            Some(Change::Follow { term, .. }) => {
                state.sync = None;
                // Those who read from a replica (XREAD BLOCK) may stay.
                if node.shard.role() == Role::Primary {
                    node.blocked.send_away();
                    node.pubsub.end_shard_subscriptions(|_| false);
                }
                node.shard.set_role(&closed, Role::Replica, term);
                node.locks.end_term();
            }
            Some(Change::Leave) => {
                state.sync = None;
                node.shard.set_role(&closed, Role::Joining, Term::NONE);
                node.blocked.send_away();
                node.pubsub.end_shard_subscriptions(|_| false);
                node.clear_store();
                state.backlog.restart(0);
                state.member = None;
            }
            None => {}
        }
        // A map that changes nothing for this node must not call whole what a sync is about to drop.
        if change.is_some() {
            state.publish_whole(node);
        }
        state.publish(node);
        drop(state);
        drop(closed);
        self.tell();
        change
    }

    /// Seals a term; a primary of a lower one stops. `None`: not this node's shard, or a higher term is sealed.
    pub fn seal(&self, node: &Node, request: SealRequest) -> Option<SealReply> {
        let closed = node.close_gate();
        let mut state = self.lock();
        state.take_in(node);
        let reply = state.member.as_mut()?.on_seal(request)?;
        if node.shard.role() == Role::Primary && node.shard.term() < request.term {
            let term = node.shard.term();
            node.shard.set_role(&closed, Role::Replica, term);
            node.locks.end_term();
            node.blocked.send_away();
            node.pubsub.end_shard_subscriptions(|_| false);
        }
        state.publish(node);
        drop(state);
        drop(closed);
        self.tell();
        Some(reply)
    }

    /// What the next heartbeat says; it is about to be sent under this number.
    pub fn report(&self, node: &Node, sent_id: u64, sent_ns: u64) -> Option<ShardReport> {
        let mut state = self.lock();
        let member = state.member.as_mut()?;
        member.renewal_sent(sent_id, sent_ns);
        let mut report = member.report();
        if node.shard.role() == Role::Primary {
            report.last.offset = report.last.offset.max(Offset(node.shard.last_offset()));
        }
        Some(report)
    }

    /// A renewal was granted.
    pub fn granted(&self, node: &Node, grant: &Grant, sent_id: u64) {
        let mut state = self.lock();
        let Some(member) = &mut state.member else { return };
        if member.granted(grant, sent_id)
            && let Some(lease) = member.lease()
        {
            node.shard.extend_lease(grant.term, lease.valid_until_ns());
        }
    }

    /// The primary of `term` shall step down: nothing new is executed from here on.
    pub fn step_down(&self, node: &Node, term: Term, now_ns: u64) {
        let mut state = self.lock();
        let Some(member) = &mut state.member else { return };
        if node.shard.role() == Role::Primary && member.term() == term {
            node.shard.stop_accepting();
            member.step_down(term, now_ns);
        }
    }

    /// Whether [`Replication::tick`] should be asked often: the lease is about to be handed back.
    pub fn is_stepping_down(&self) -> bool {
        self.lock().member.as_ref().is_some_and(ShardMember::is_stepping_down)
    }

    /// Time passed. True when the lease was handed back just now: say so at once.
    pub fn tick(&self, node: &Node, now_ns: u64, patience_ns: u64) -> bool {
        if !self.is_stepping_down() {
            return false;
        }
        // Batches that began before have put down what they wrote when none is under way; no other begins.
        let closed = node.shard.gate.try_close();
        if closed.is_some() {
            self.pump(node);
        }
        let mut state = self.lock();
        let Some(member) = &mut state.member else { return false };
        let handed_back = member.tick(now_ns, patience_ns, closed.is_some());
        if handed_back {
            node.shard.drop_lease();
        }
        handed_back
    }

    /// Gives the lease back now: a shutdown, a worker that hangs.
    pub fn hand_back(&self, node: &Node) {
        node.shard.drop_lease();
        if let Some(member) = &mut self.lock().member {
            member.hand_back();
        }
    }

    /// The change of the in-sync set to propose now.
    pub fn propose(&self, now_ns: u64) -> Option<Proposal> {
        self.lock().member.as_mut()?.set_mut()?.propose(now_ns)
    }

    /// What became of it.
    pub fn outcome(&self, node: &Node, id: u64, reply: Option<&MapReply>, now_ns: u64) {
        let mut state = self.lock();
        if let Some(set) = state.member.as_mut().and_then(ShardMember::set_mut) {
            set.outcome(id, reply, now_ns);
        }
        state.publish(node);
    }

    // ---- primary ----

    /// Takes what the workers handed over into the backlog; true when there was anything.
    pub fn pump(&self, node: &Node) -> bool {
        let mut state = self.lock();
        let any = node.shard.role() == Role::Primary && state.take_in(node);
        if any {
            state.publish(node);
            drop(state);
            self.tell();
        }
        any
    }

    /// A replica presents itself, on a connection that takes the place of its earlier one.
    pub fn hello(&self, node: &Node, hello: &ReplicaHello, now_ns: u64) -> Greeted {
        let mut state = self.lock();
        state.take_in(node);
        let backlog_after = Offset(state.backlog.first() - 1);
        let id = StreamId(state.last_stream.0 + 1);
        state.last_stream = id;
        let (stays, replaced) = oneshot::channel();
        let (reply, history) = match &mut state.member {
            None => (HelloReply::NotPrimary { term: Term::NONE }, History::default()),
            Some(member) => {
                let reply = member.on_hello(hello, id, backlog_after, now_ns);
                let history = match reply {
                    HelloReply::Compare { after, .. } => member.history().until(after),
                    _ => member.history().clone(),
                };
                (reply, history)
            }
        };
        let feeding = match reply {
            HelloReply::Continue { .. } => Some(None),
            HelloReply::Resync { .. } => Some(Some(SyncKind::Full)),
            HelloReply::Compare { .. } => Some(Some(SyncKind::Slots)),
            HelloReply::Wait | HelloReply::NotPrimary { .. } => None,
        };
        if let Some(feeding) = feeding {
            if let Some(earlier) = state.streams.insert(hello.from, Stream { id, feeding, _stays: stays }) {
                state.backlog.end(earlier.id);
            }
            let after = match reply {
                HelloReply::Continue { after } => after,
                _ => history.last().offset,
            };
            state.backlog.begin(id, after.0);
        }
        state.publish(node);
        drop(state);
        self.tell();
        Greeted { stream: id, reply, history, replaced }
    }

    /// Records for a sender that has sent everything up to `after` on its stream, with the mark; see [`Backlog::read`].
    pub fn read(
        &self,
        node: &Node,
        (stream, after): (StreamId, u64),
        until: u64,
        place: &mut Place,
        max_bytes: usize,
        out: &mut Vec<u8>,
    ) -> (Read, Offset) {
        let mut state = self.lock();
        state.backlog.sent(stream, after);
        state.publish_lag(node);
        let mark = state.member.as_ref().map_or(Offset(0), ShardMember::mark);
        (state.backlog.read(after, until, place, max_bytes, out), mark)
    }

    /// Counts what is sent to replicas.
    pub fn fed(&self, count: impl FnOnce(&mut Fed)) {
        count(&mut self.lock().fed);
    }

    /// Counts a replica that lacked more than is kept for it; answers how many bytes that are.
    pub fn cut_off(&self) -> usize {
        let mut state = self.lock();
        state.fed.cut_off += 1;
        state.backlog.bounds().most_bytes
    }

    /// The high-water mark.
    pub fn mark(&self) -> Offset {
        self.lock().member.as_ref().map_or(Offset(0), ShardMember::mark)
    }

    /// The last offset in the backlog.
    pub fn backlog_last(&self) -> u64 {
        self.lock().backlog.last()
    }

    /// Steps what the primary knows of its replicas.
    fn with_set(&self, node: &Node, step: impl FnOnce(&mut torc_cluster::replica_set::ReplicaSet)) {
        let mut state = self.lock();
        if let Some(set) = state.member.as_mut().and_then(ShardMember::set_mut) {
            step(set);
        }
        state.publish(node);
        drop(state);
        self.tell();
    }

    /// A replica holds everything up to `offset`.
    pub fn acked(&self, node: &Node, member: Member, stream: StreamId, offset: Offset, now_ns: u64) {
        self.with_set(node, |set| set.acked(member, stream, offset, now_ns));
    }

    /// A replica takes a long record, which it cannot acknowledge before it has all of it; `until_ns`: as of now it may
    /// take that much longer.
    pub fn takes(&self, node: &Node, member: Member, stream: StreamId, until_ns: u64) {
        self.with_set(node, |set| set.takes(member, stream, until_ns));
    }

    /// A replica's sync is done: it holds everything up to `offset`.
    pub fn synced(&self, node: &Node, member: Member, stream: StreamId, offset: Offset, now_ns: u64) {
        if let Some(known) = self.lock().streams.get_mut(&member).filter(|known| known.id == stream) {
            known.feeding = None;
        }
        self.with_set(node, |set| set.synced(member, stream, offset, now_ns));
    }

    /// A replica's connection is gone; another may be there.
    pub fn disconnected(&self, node: &Node, member: Member, stream: StreamId) {
        let mut state = self.lock();
        state.streams.retain(|of, known| *of != member || known.id != stream);
        state.backlog.end(stream);
        drop(state);
        self.with_set(node, |set| set.disconnected(member, stream));
    }
}

impl State {
    /// Moves the workers' records into backlog and history. True when there were any. Only a primary has any
    /// that count.
    fn take_in(&mut self, node: &Node) -> bool {
        let mut records = Records::default();
        node.shard.collect_records(&mut records);
        let unplaced = records.amount();
        if records.is_empty() || node.shard.role() != Role::Primary {
            node.shard.placed(unplaced);
            return false;
        }
        let waited = self.sequencer.waiting();
        let backlog = &mut self.backlog;
        let fed = self.sequencer.feed(records, |next| match next {
            Next::Short(offset, record) => backlog.push(offset, record),
            Next::Long(record) => backlog.push_long(record),
        });
        node.shard.placed(waited.plus(unplaced).minus(self.sequencer.waiting()));
        let last = Offset(self.sequencer.last());
        let wrote = self.member.as_mut().map_or(Ok(()), |member| member.wrote(last));
        // Only our own workers write here: going on would give replicas another history than ours.
        if let Err(error) = fed {
            tracing::error!(%error, "a worker handed over a damaged record");
            std::process::abort();
        }
        if let Err(error) = wrote {
            tracing::error!(%error, "the history does not fit the records");
            std::process::abort();
        }
        true
    }

    fn lead(&mut self, node: &Node, closed: &Exclusive<'_>, term: Term, empty: bool) {
        let last = self.member.as_ref().map_or(0, |m| m.last().offset.0);
        self.sync = None;
        if empty {
            node.clear_store();
        }
        if self.backlog.last() != last {
            self.backlog.restart(last);
        }
        node.shard.placed(self.sequencer.waiting());
        self.sequencer.restart(last);
        node.shard.set_last_offset(last);
        node.shard.set_role(closed, Role::Primary, term);
    }

    /// A full sync ends when all chunks have come and the records up to the highest of their offsets; one by slots when
    /// all slots are settled.
    fn finish_sync(&mut self) {
        let Some(sync) = &self.sync else { return };
        let (done, progress) = match &sync.by {
            By::Chunks(filter) => (filter.is_complete(sync.history.last().offset.0), None),
            By::Slots(settling) => (settling.is_done(), Some(settling.progress())),
        };
        if !done {
            return;
        }
        let (Some(sync), Some(member)) = (self.sync.take(), &mut self.member) else { return };
        if !member.sync_done(sync.from_term, sync.history, sync.mark) {
            return;
        }
        match progress {
            None => self.full_syncs += 1,
            Some(Progress { slots_compared, slots_sent, bytes }) => {
                self.slot_syncs += 1;
                tracing::info!(slots_compared, slots_sent, bytes, "resync by slots is done");
            }
        }
    }

    /// Tells the workers whether what is held is whole.
    fn publish_whole(&self, node: &Node) {
        let whole = self.member.as_ref().is_none_or(ShardMember::is_whole);
        node.shard.set_whole(whole && self.sync.is_none());
    }

    /// Tells the workers of a replica what it holds, once that is whole.
    fn publish_held(&self, node: &Node, proof: u64) {
        self.publish_whole(node);
        if let (Some(member), None) = (&self.member, &self.sync)
            && member.is_whole()
        {
            let last = member.last();
            node.shard.fresh.holds(last.term.0, last.offset.0);
            node.shard.fresh.proved(proof);
        }
    }

    /// Tells the workers whether the backlog grows because of a replica of the in-sync set.
    fn publish_lag(&self, node: &Node) {
        let set = self.member.as_ref().and_then(ShardMember::set);
        let lags = |reader| {
            let of = self.streams.iter().find(|(_, stream)| stream.id == reader);
            of.is_some_and(|(member, _)| set.is_some_and(|set| set.committed().contains(member)))
        };
        node.shard.set_lagging(self.backlog.lagging().any(lags));
    }

    fn publish(&self, node: &Node) {
        self.publish_lag(node);
        let Some(member) = &self.member else { return };
        match member.set() {
            Some(set) => {
                node.shard.set_mark(set.high_water_mark().0);
                node.shard.set_in_sync_enough(set.can_ack_in_sync());
                let acked: Vec<u64> =
                    set.replicas().filter_map(|m| set.acked_by(m)).map(|offset| offset.0).collect();
                node.shard.set_acked(acked.into());
            }
            None => node.shard.set_in_sync_enough(false),
        }
    }
}

/// The shard of this node, as far as the map has told it.
pub fn shard_of(map: &ClusterMap, me: Member) -> Option<ShardId> {
    map.shards_of_node(me.node).next().map(|shard| shard.id)
}
