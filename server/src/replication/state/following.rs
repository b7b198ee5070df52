//! The replica's part: what it says to its primary, and what it takes from it.

use torc_cluster::ids::{Member, Offset, Position, Term};
use torc_cluster::member::{Next, RecordRefused, ShardMember};
use torc_cluster::message::ReplicaHello;

use super::{ApplyError, By, Replication, State, Sync};
use crate::effect::{self, DecodeError, Record};
use crate::node::Node;
use crate::replication::apply::{self, Filter};
use crate::replication::digest::{Digests, Parts};
use crate::replication::pending::Whole;
use crate::replication::settle::{OutOfPlace, Settling};
use crate::replication::stream::{Accept, COMMON, Content, END};
use crate::replication::summary::Dropped;

impl Replication {
    /// Whom to greet, and how.
    pub fn own_hello(&self, node: &Node) -> Option<(Member, ReplicaHello)> {
        let mut state = self.lock();
        state.sync = None;
        let member = state.member.as_mut()?;
        member.disconnected();
        let (primary, hello) = member.hello()?;
        // Whatever is there, and be it what a sync that was broken off has left: it is compared.
        Some((primary, ReplicaHello { holds_data: node.store.used_bytes() > 0, ..hello }))
    }

    /// Whether this is still the primary that the node follows.
    pub fn follows(&self, primary: Member, term: Term) -> bool {
        self.lock().member.as_ref().is_some_and(|m| m.following() == Some(primary) && m.term() == term)
    }

    /// The primary's answer. What must be dropped for it has been dropped.
    pub fn on_accept(&self, node: &Node, from_term: Term, accept: Accept) -> Next {
        let Accept { reply, history, digest_key } = accept;
        let mut state = self.lock();
        let state = &mut *state;
        let Some(member) = &mut state.member else { return Next::Ignore };
        // What a sync that broke off had of it was counted when that began.
        let held = if member.is_whole() { member.last() } else { Position::ZERO };
        let next = member.on_hello_reply(from_term, &reply);
        let (common, by) = match next {
            Next::Stream { after, clear } => {
                if clear {
                    node.clear_store();
                }
                if clear || state.backlog.last() != after.0 {
                    state.backlog.restart(after.0);
                }
                node.shard.set_last_offset(after.0);
                state.publish_whole(node);
                return next;
            }
            Next::Sync { common } => (common, Some(By::Chunks(Filter::default()))),
            Next::Compare { common, after } => {
                let key = digest_key.filter(|_| history.last().offset == after);
                (common, key.map(|key| By::Slots(Box::new(Settling::new(&key)))))
            }
            Next::Retry | Next::Ignore => {
                state.publish_whole(node);
                return next;
            }
        };
        let by = by.filter(|_| history.is_sound());
        if by.is_none() {
            member.disconnected();
        }
        // Now or never: from here on the member is not whole.
        if held.offset > common {
            state.note_dropped(held, common, from_term);
        }
        let Some(by) = by else {
            state.publish_whole(node);
            return Next::Retry;
        };
        match by {
            By::Chunks(_) => node.clear_store(),
            // What belongs to no stripe comes first.
            By::Slots(_) => node.memcached.set(0, None),
        }
        let after = history.last().offset.0;
        state.backlog.restart(after);
        node.shard.set_last_offset(after);
        state.sync = Some(Sync { from_term, history, mark: Offset(0), by });
        state.publish_whole(node);
        next
    }

    /// Applies a primary's records, all of one frame under the lock: a seal waits for it. `proof`: by CLOCK_BOOTTIME of
    /// this machine, the moment before which everything executed is held then; 0: nothing is said. Answers the last
    /// offset held, and whether what is held is whole.
    pub fn apply(
        &self,
        node: &Node,
        from_term: Term,
        (mark, proof): (Offset, u64),
        records: Whole<'_>,
        now_ns: u64,
    ) -> Result<(Offset, bool), ApplyError> {
        let mut state = self.lock();
        let state = &mut *state;
        state.heard_ns = now_ns;
        if let Some(record) = records.long {
            state.take_record(node, from_term, &record.view(), now_ns)?;
            state.backlog.push_long(record);
        }
        let mut rest = records.rest;
        while !rest.is_empty() {
            let (record, len) = effect::record(rest)?.ok_or(DecodeError::Truncated)?;
            state.take_record(node, from_term, &record, now_ns)?;
            state.backlog.push(record.offset, &rest[..len]);
            rest = &rest[len..];
        }
        let member = state.member.as_mut().ok_or(ApplyError::NotSyncing)?;
        let last = Offset(state.backlog.last());
        node.shard.set_last_offset(last.0);
        match &mut state.sync {
            None => {
                member.on_mark(from_term, mark);
                node.shard.set_mark(member.mark().0);
            }
            Some(sync) => sync.mark = sync.mark.max(mark),
        }
        state.finish_sync();
        // No stamp is from later than now, whatever the primary says.
        state.publish_held(node, proof.min(now_ns));
        Ok((last, state.sync.is_none()))
    }

    /// Applies a chunk of a full sync; in one by slots what belongs to no stripe, or the end. Answers as [`Replication::apply`] does.
    pub fn apply_chunk(
        &self,
        node: &Node,
        from_term: Term,
        stripe: u16,
        at: u64,
        effects: &[u8],
        now_ns: u64,
    ) -> Result<(Offset, bool), ApplyError> {
        let mut state = self.lock();
        match &mut state.syncing(from_term, now_ns)?.by {
            By::Chunks(filter) => apply::chunk(node, filter, stripe, at, effects, now_ns)?,
            By::Slots(settling) => match stripe {
                COMMON => apply::effects_of(node, effects, now_ns)?,
                END => settling.end(),
                _ => return Err(ApplyError::NotSyncing),
            },
        }
        Ok(state.took(node))
    }

    /// Compares a stripe in a resync by slots. Answers what is wanted of it. The lock is free while the digests are
    /// computed, which takes long where values are long: heartbeats and seals do not wait for it. Nothing is missed, since
    /// who calls this is who applies the records: the stripe stays as it is at this place of the stream, unless the node
    /// has another role meanwhile; then the sync is over.
    pub fn compare(
        &self,
        node: &Node,
        from_term: Term,
        (stripe, at): (u16, u64),
        digests: &Digests,
        now_ns: u64,
    ) -> Result<Parts, ApplyError> {
        let mut digester = self.lock().syncing(from_term, now_ns)?.settling(at)?.digester(stripe)?;
        let ours = digester.stripe(&node.store.stripe(stripe));
        let mut state = self.lock();
        let sync = state.syncing(from_term, now_ns)?;
        Ok(sync.settling(at)?.compare(node, stripe, &ours, digests)?)
    }

    /// Takes what was wanted of a stripe. Answers as [`Replication::apply`] does.
    pub fn take_content(
        &self,
        node: &Node,
        from_term: Term,
        content: Content<'_>,
        effects: &[u8],
        now_ns: u64,
    ) -> Result<(Offset, bool), ApplyError> {
        let mut state = self.lock();
        let sync = state.syncing(from_term, now_ns)?;
        sync.settling(content.at)?.content(node, content.stripe, content.parts, effects, now_ns)?;
        Ok(state.took(node))
    }
}

impl State {
    /// Applies a record of the primary of a term.
    fn take_record(
        &mut self,
        node: &Node,
        from_term: Term,
        record: &Record<'_>,
        now_ns: u64,
    ) -> Result<(), ApplyError> {
        let member = self.member.as_mut().ok_or(ApplyError::NotSyncing)?;
        let position = Position::new(Term(record.term), Offset(record.offset));
        match &mut self.sync {
            None => {
                member.on_record(from_term, position)?;
                apply::record(node, record, None, now_ns)?;
            }
            Some(sync) => sync.take(node, from_term, member.sealed(), record, position, now_ns)?,
        }
        Ok(())
    }

    /// The sync that the primary of a term sends, if it may.
    fn syncing(&mut self, from_term: Term, now_ns: u64) -> Result<&mut Sync, ApplyError> {
        self.heard_ns = now_ns;
        let sealed = self.member.as_ref().map_or(Term::NONE, ShardMember::sealed);
        let sync = self.sync.as_mut().filter(|s| s.from_term == from_term).ok_or(ApplyError::NotSyncing)?;
        if from_term < sealed {
            return Err(RecordRefused::Sealed { sealed, term: from_term }.into());
        }
        Ok(sync)
    }

    /// A part of a sync was taken: the last offset held, and whether what is held is whole now.
    fn took(&mut self, node: &Node) -> (Offset, bool) {
        self.finish_sync();
        self.publish_held(node, 0);
        (Offset(self.backlog.last()), self.sync.is_none())
    }

    /// Records go that the primary of `by` never had.
    fn note_dropped(&mut self, held: Position, common: Offset, by: Term) {
        let dropped = Dropped { term: held.term, first: common.next(), last: held.offset, by };
        let records = held.offset.0 - common.0;
        self.dropped_records += records;
        self.last_dropped = Some(dropped);
        tracing::warn!(
            records,
            first = dropped.first.0,
            last = dropped.last.0,
            "writes of term {} that the primary of term {by} never had are dropped: acknowledged 'primary' at most, \
             they are lost",
            held.term
        );
    }
}

impl Sync {
    /// What is compared; `at`: behind which record something belongs.
    fn settling(&mut self, at: u64) -> Result<&mut Settling, ApplyError> {
        let last = self.history.last().offset.0;
        match &mut self.by {
            By::Slots(_) if at != last => Err(OutOfPlace::Record { at, last }.into()),
            By::Slots(settling) => Ok(settling),
            By::Chunks(_) => Err(ApplyError::NotSyncing),
        }
    }

    fn take(
        &mut self,
        node: &Node,
        from_term: Term,
        sealed: Term,
        record: &Record<'_>,
        position: Position,
        now_ns: u64,
    ) -> Result<(), ApplyError> {
        if from_term != self.from_term || from_term < sealed {
            return Err(RecordRefused::Sealed { sealed, term: from_term }.into());
        }
        let last = self.history.last();
        self.history.append(position).map_err(|_| ApplyError::Gap { last, got: position })?;
        match &self.by {
            By::Chunks(filter) => apply::record(node, record, Some(filter), now_ns)?,
            By::Slots(settling) => settling.record(node, record, now_ns)?,
        }
        Ok(())
    }
}
