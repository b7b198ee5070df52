//! Requests at a primary: executed, held until the in-sync set has what they need, answered under the lease.

use super::data::{Data, Effect, Record};
use super::message::{Answer, Key, Message, Op, Request};
use super::network::{Host, MS};
use super::values::{Change, Values};
use super::world::{Event, World};
use crate::bugs::{Bug, planted};
use crate::ids::{Incarnation, Offset, Position, ShardId};
use crate::lock::{Acquire, Acquired, LockError, Mode, Outcome, WaiterId};
use crate::request_ids::Seen;

/// Requests that a shard of a node may hold.
pub(super) const MAX_PENDING: usize = 256;

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

impl World {
    /// Requests of a term that is over: nobody will know what became of them.
    pub(super) fn drop_pending(&mut self, host: Host, id: ShardId) {
        let Some(shard) = self.node_shard(host, id) else { return };
        for pending in std::mem::take(&mut shard.pending) {
            self.send(host, pending.client, late_answer(&pending));
        }
    }

    pub(super) fn request(&mut self, from: Host, host: Host, request: Request) {
        let now = self.local(host);
        let Request { id, shard: shard_id, op, .. } = request;
        let slots = super::world::slot_of(op.home());
        let Some(node) = self.node(host) else { return };
        let owned = node.map.slots.owner(slots) == Some(shard_id);
        // A shard that nobody has ever heard of, from whoever sends anything.
        let Some(shard) = node.shards.get_mut(&shard_id) else {
            self.send(host, from, Message::Response { id, answer: Answer::Refused });
            return;
        };
        let enough = shard.member.set().is_some_and(|set| set.can_ack_in_sync());
        let may = owned && shard.member.may_execute(now) && (enough || op.is_read() || !op.is_held());
        if !may || shard.pending.len() >= MAX_PENDING {
            self.send(host, from, Message::Response { id, answer: Answer::Refused });
            return;
        }
        super::check::serves(self, host, shard_id, Some(slots));
        let (needs, answer) = match self.repeated(host, request) {
            Some(done) => done,
            None => self.execute(host, request),
        };
        if answer == Answer::Refused {
            self.send(host, from, Message::Response { id, answer });
            return;
        }
        let deadline = self.now + 250 * MS;
        let Some(shard) = self.node_shard(host, shard_id) else { return };
        shard.pending.push(Pending { id, client: from, op, needs, deadline, answer, finishing: false });
        self.primary_tick(host, shard_id);
        self.settle_pending(host, shard_id);
    }

    /// The answer to a request that was executed before under the same id.
    fn repeated(&mut self, host: Host, request: Request) -> Option<(Option<Offset>, Answer)> {
        let id = request.rid?;
        let shard = self.node_shard(host, request.shard)?;
        let last = shard.member.last().offset;
        let part = &shard.data.parts[super::data::part_of(request.op.home())];
        match part.ids.look(id, request.repeated) {
            Seen::New => None,
            Seen::Again(_) => Some((request.op.is_held().then_some(last), Answer::Written)),
            Seen::TooOld => Some((None, Answer::TooOld)),
        }
    }

    fn execute(&mut self, host: Host, request: Request) -> (Option<Offset>, Answer) {
        let now_ms = self.local(host) / MS;
        let executed = self.now;
        // What expires does so by the wall clock, which all hosts share well enough.
        let wall_ms = self.now / MS;
        let Some(shard) = self.node_shard(host, request.shard) else { return (None, Answer::Refused) };
        let last = shard.member.last().offset;
        let data = &mut shard.data;
        let mut effects = Vec::new();
        let answer = match request.op {
            Op::Put { key, .. } => {
                effects.push(Effect::Put(key));
                effects.extend(typed(data, key, request.value, wall_ms));
                Answer::Written
            }
            Op::Pair { keys: [from, to], .. } => {
                effects.extend([from, to].map(Effect::Put));
                match data.typed(from).and_then(Values::front) {
                    // An element moves from list to list: it is in one of them, never in both, never in none.
                    Some(element) => effects.extend([
                        Effect::Change(from, Change::PopFront),
                        Effect::Change(to, Change::PushBack(element)),
                    ]),
                    None => effects.extend(typed(data, to, request.value, wall_ms)),
                }
                Answer::Written
            }
            Op::Read { key, strong } => {
                let held = strong && !planted(Bug::StrongReadNotHeld);
                return (held.then_some(last), Answer::Value(data.get(key)));
            }
            Op::Acquire { name, ttl_ms } => {
                let (name, owner) = ([name], request.value.to_le_bytes());
                let ask = Acquire {
                    name: &name,
                    mode: Mode::Exclusive,
                    ttl_ms,
                    wait_ms: 0,
                    owner: &owner,
                    request_id: &owner,
                    waiter: WaiterId(request.id),
                };
                let mut out = Outcome::default();
                let answer = match data.locks.acquire(&ask, now_ms, &mut out) {
                    Ok(Acquired::Granted(granted)) => {
                        Answer::Granted { token: granted.token, remaining_ms: granted.remaining_ms, executed }
                    }
                    Ok(_) => Answer::Busy,
                    Err(_) => Answer::Refused,
                };
                effects.extend(out.effects.into_iter().map(Effect::Lock));
                answer
            }
            Op::Release { name, token } => {
                let mut out = Outcome::default();
                let released = data.locks.release(&[name], token, &[], now_ms, &mut out);
                effects.extend(out.effects.into_iter().map(Effect::Lock));
                match released {
                    Err(LockError::NotHolder) => Answer::Busy,
                    _ => Answer::Written,
                }
            }
            Op::Fenced { key, token } => {
                let passed = match data.locks.check_open(now_ms) {
                    Ok(()) => data.fence(key, token, now_ms),
                    Err(_) => return (None, Answer::Refused),
                };
                match passed {
                    Ok(raised) => {
                        effects.push(Effect::Put(key));
                        effects.extend(raised);
                        Answer::Written
                    }
                    Err(()) => Answer::Fenced,
                }
            }
        };
        if effects.is_empty() {
            return (request.op.is_held().then_some(last), answer);
        }
        if let Some(id) = request.rid.filter(|_| answer != Answer::Refused) {
            let home = request.op.home();
            shard.data.remember(home, id, now_ms);
            effects.push(Effect::Remember(home, id));
        }
        let value =
            if effects.iter().any(|effect| matches!(effect, Effect::Put(_))) { request.value } else { 0 };
        let at = self.append(host, request.shard, value, effects);
        // What else happened (an end that was due) stays; the request itself was refused.
        (request.op.is_held().then_some(at).flatten(), answer)
    }

    /// Gives what happened its place in the history.
    fn append(&mut self, host: Host, id: ShardId, value: u64, effects: Vec<Effect>) -> Option<Offset> {
        let mut last = None;
        for (half, effects) in Data::records_of(effects) {
            let shard = self.node_shard(host, id)?;
            let at = shard.member.next_position()?;
            let record = Record { at, value, half, effects: effects.into() };
            record.keys().for_each(|key| shard.data.put(key, value, at));
            for effect in record.effects.iter() {
                if let Effect::Change(key, change) = effect {
                    shard.data.change(*key, *change);
                }
            }
            let history = shard.member.history().clone();
            let fits = shard.member.wrote(at.offset).is_ok();
            shard.keep(record.clone());
            self.check.effect(id, &record, &history);
            self.check.demand(4, fits, || format!("the primary's own record {at} does not fit"));
            last = Some(at.offset);
        }
        last
    }

    /// A primary ends the locks whose time is over, and says so; replicas end none by themselves.
    pub(super) fn expire_locks(&mut self, host: Host, id: ShardId) {
        let now = self.local(host);
        let Some(shard) = self.node_shard(host, id) else { return };
        if !shard.member.may_execute(now) {
            return;
        }
        let mut out = Outcome::default();
        shard.data.locks.expire(now / MS, 16, &mut out);
        if !out.effects.is_empty() {
            self.append(host, id, 0, out.effects.into_iter().map(Effect::Lock).collect());
        }
    }

    /// Lets requests finish whose records are held, and gives up on those whose time is over.
    pub(super) fn settle_pending(&mut self, host: Host, id: ShardId) {
        let real = self.now;
        let Some(node) = self.node(host) else { return };
        let incarnation = node.me.incarnation;
        let Some(shard) = node.shards.get_mut(&id) else { return };
        if shard.pending.is_empty() {
            return;
        }
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
        self.send(host, pending.client, late_answer(&pending));
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
        let other = shard.pending.first().map(|other| other.client);
        let client = other.filter(|_| planted(Bug::AnswerToAnother)).unwrap_or(pending.client);
        if pending.op.is_held() {
            // From here on it must never be lost.
            let held = match pending.answer {
                Answer::Value(value) => value.map(|(_, at)| at),
                _ => pending.needs.and_then(|needs| {
                    shard.member.history().term_of(needs).map(|term| Position::new(term, needs))
                }),
            };
            self.check.promised(id, held);
        }
        super::check::serves(self, host, id, None);
        self.send(host, client, Message::Response { id: pending.id, answer: pending.answer });
    }
}

/// What a write does to the key's values of other types.
fn typed(data: &Data, key: Key, write: u64, wall_ms: u64) -> impl Iterator<Item = Effect> {
    let changes = match data.typed(key) {
        Some(values) => values.decide(write, wall_ms),
        None => Values::default().decide(write, wall_ms),
    };
    changes.into_iter().map(move |change| Effect::Change(key, change))
}

fn late_answer(pending: &Pending) -> Message {
    let answer = if pending.op.is_read() { Answer::Refused } else { Answer::Uncertain };
    Message::Response { id: pending.id, answer }
}
