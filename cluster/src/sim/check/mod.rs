//! The oracle and the invariants. Numbers are those of ARCHITECTURE.md; `locks` has 12, `cluster` what is looked up
//! in the world.

mod cluster;
mod locks;

pub(super) use cluster::{committed, converged, leads, leases, serves, sweep};

use super::data::{Data, Effect, Record};
use super::message::{Key, Value};
use super::network::MS;
use super::report::{Report, Violation};
use super::values::Values;
use crate::history::History;
use crate::ids::{Member, Position, ShardId, Term};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Lines of the story that a violation shows.
const NOTES: usize = 100;

/// A write: its keys and where it happened.
struct Write {
    shard: ShardId,
    at: Position,
    keys: Vec<Key>,
}

/// What one write was in the history: its name, its half, and all that it did.
type Told = (Value, u8, Arc<[Effect]>);

#[derive(Default)]
pub(super) struct Checker {
    seed: u64,
    pub(super) report: Report,
    violation: Option<(u8, String)>,
    /// Clocks are beyond their bound: what rests on them is only counted.
    pub(super) excuses: bool,
    pub(super) keep_notes: bool,
    notes: VecDeque<String>,
    effects: HashMap<(ShardId, Position), Told>,
    writes: HashMap<(Value, u8), Write>,
    refused: HashSet<Value>,
    /// Who asked what.
    asked: HashMap<u64, usize>,
    sealed: HashMap<(Member, ShardId), Term>,
    /// Acknowledged `in-sync`, or shown by a strong read: never to be lost. The first and last place of each term;
    /// who holds both holds what lies between.
    promised: BTreeMap<ShardId, BTreeMap<Term, (Position, Position)>>,
    /// Rises when a shard lost its memory.
    life: u64,
    /// The newest promised write of each key.
    newest: BTreeMap<(ShardId, Key), Position>,
    /// The highest term that served.
    served: BTreeMap<ShardId, Term>,
    /// Who had which term.
    terms: BTreeMap<Term, (ShardId, Member)>,
    /// Whom a person wanted.
    unclean: HashSet<(ShardId, Member)>,
    /// Who became eligible by a proposal.
    eligible: HashSet<(ShardId, Member)>,
    locks: locks::Locks,
}

impl Checker {
    pub(super) fn new(seed: u64, excuses: bool) -> Self {
        Checker { seed, excuses, ..Checker::default() }
    }

    pub(super) fn note(&mut self, now: u64, text: impl FnOnce() -> String) {
        if self.keep_notes {
            if self.notes.len() >= NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back(format!("{:>6} ms  {}", now / MS, text()));
        }
    }

    pub(super) fn demand(&mut self, rule: u8, holds: bool, what: impl FnOnce() -> String) {
        if holds || self.violation.is_some() {
            return;
        }
        if self.excuses && matches!(rule, 2 | 6 | 11 | 12) {
            self.report.excused += 1;
        } else {
            self.violation = Some((rule, what()));
        }
    }

    pub(super) fn result(&self, now: u64) -> Result<(), Violation> {
        match &self.violation {
            None => Ok(()),
            Some((rule, what)) => Err(Violation {
                seed: self.seed,
                rule: *rule,
                at_ms: now / MS,
                what: what.clone(),
                story: self.notes.iter().cloned().collect(),
            }),
        }
    }

    pub(super) fn fault(&mut self, kind: &'static str) {
        *self.report.faults.entry(kind).or_default() += 1;
    }

    /// A person wants this member to lead, whatever is lost.
    pub(super) fn unclean_asked(&mut self, shard: ShardId, to: Member) {
        self.unclean.insert((shard, to));
    }

    /// 13: every answer goes to who asked.
    pub(super) fn asks(&mut self, client: usize, id: u64) {
        self.asked.insert(id, client);
    }

    pub(super) fn asked_by(&self, id: u64, client: usize) -> bool {
        self.asked.get(&id) == Some(&client)
    }

    /// 4 and 9: a place in a history is one effect; a write happens at most once in the history of who does it; a
    /// refused one never.
    pub(super) fn effect(&mut self, shard: ShardId, record: &Record, history: &History) {
        let (at, value, half) = (record.at, record.value, record.half);
        if let Some(known) = self.effects.get(&(shard, at)) {
            let same = known.0 == value && known.1 == half && known.2 == record.effects;
            if !same {
                let text = format!("{shard} {at} is {known:?} and {record:?}");
                self.demand(4, false, || text);
            }
            return;
        }
        self.effects.insert((shard, at), (value, half, record.effects.clone()));
        if value == 0 {
            return;
        }
        let place = self.writes.insert((value, half), Write { shard, at, keys: record.keys().collect() });
        if let Some(Write { shard: other, at: before, .. }) = place {
            // Done again by someone who does not hold the first: that one is lost, or the sets are wrong.
            let again = other == shard && history.holds(before);
            self.demand(9, !again, || format!("write {value} happened at {before} and at {at} of {shard}"));
        }
        let refused = self.refused.contains(&value);
        self.demand(9, !refused, || format!("write {value} was refused and happened at {at}"));
    }

    pub(super) fn refused(&mut self, value: Value) {
        let happened = self.writes.get(&(value, 0)).map(|write| write.at);
        self.demand(9, happened.is_none(), || {
            format!("write {value} was refused and happened: {happened:?}")
        });
        self.refused.insert(value);
    }

    pub(super) fn sealed(&mut self, member: Member, shard: ShardId, term: Term) {
        let sealed = self.sealed.entry((member, shard)).or_default();
        *sealed = (*sealed).max(term);
    }

    /// 3: nothing below the sealed term is taken.
    pub(super) fn accepted(&mut self, member: Member, shard: ShardId, from_term: Term) {
        let sealed = self.sealed.get(&(member, shard)).copied().unwrap_or_default();
        self.demand(3, from_term >= sealed, || {
            format!("{member} took a record from term {from_term} after sealing {sealed}")
        });
    }

    /// Somebody was told: this must not be lost from here on.
    pub(super) fn promised(&mut self, shard: ShardId, at: Option<Position>) {
        let Some(at) = at else { return };
        let Some((_, _, effects)) = self.effects.get(&(shard, at)).cloned() else { return };
        let span = self.promised.entry(shard).or_default().entry(at.term).or_insert((at, at));
        *span = (span.0.min(at), span.1.max(at));
        for effect in effects.iter() {
            if let Effect::Put(key) = effect {
                let newest = self.newest.entry((shard, *key)).or_default();
                *newest = (*newest).max(at);
            }
        }
    }

    /// What was known in another life binds nobody.
    pub(super) fn life(&self) -> u64 {
        self.life
    }

    pub(super) fn newest(&self, shard: ShardId, key: Key) -> Option<Position> {
        self.newest.get(&(shard, key)).copied()
    }

    pub(super) fn acknowledged(&mut self, value: Value) {
        let known = self.writes.contains_key(&(value, 0));
        self.demand(9, known, || format!("write {value} was acknowledged and never happened"));
    }

    /// 6: a strong read shows what was promised before it was asked, or something newer.
    pub(super) fn strong_read(
        &mut self,
        shard: ShardId,
        key: Key,
        newest: Option<Position>,
        shown: Option<(Value, Position)>,
    ) {
        let Some(newest) = newest else { return };
        let fresh = shown.is_some_and(|(_, at)| at >= newest);
        self.demand(6, fresh, || {
            format!("a strong read of key {key} of {shard} showed {shown:?}, older than {newest}")
        });
    }

    /// 4, 10: what a member holds of all types is what its history says, each record once and in its place. The
    /// oracle does not look at what was sent: it has each record from the primary that made it.
    pub(super) fn replayed(&mut self, shard: ShardId, data: &Data, history: &History, who: Member) {
        let mut records: Vec<(Position, &Arc<[Effect]>)> = self
            .effects
            .iter()
            .filter(|((of, at), _)| *of == shard && history.holds(*at))
            .map(|((_, at), (_, _, effects))| (*at, effects))
            .collect();
        if records.len() as u64 != history.last().offset.0 {
            // Older terms are forgotten.
            return;
        }
        records.sort_unstable_by_key(|(at, _)| *at);
        let mut expected: BTreeMap<Key, Values> = BTreeMap::new();
        for effect in records.iter().flat_map(|(_, effects)| effects.iter()) {
            if let Effect::Change(key, change) = effect {
                expected.entry(*key).or_default().change(*change);
            }
        }
        self.report.replayed += records.len() as u64;
        let has = data.types();
        let wrong = expected.iter().find(|(key, values)| has.get(key) != Some(values));
        let surplus = has.keys().find(|key| !expected.contains_key(key));
        let text = wrong.map(|(key, values)| format!("{:?} in key {key}, not {values:?}", has.get(key)));
        let text = text.or(surplus.map(|key| format!("key {key}, which nobody wrote")));
        if let Some(text) = text {
            self.demand(10, false, || format!("{who} of {shard} has {text}"));
        }
    }

    /// 14: of a transaction both keys are there, or newer ones.
    pub(super) fn whole(&mut self, shard: ShardId, data: &super::data::Data, who: Member) {
        for (key, (value, at)) in data.values() {
            let Some(write) = self.writes.get(&(value, 0)) else { continue };
            let other_half = self.writes.get(&(value, 1));
            let keys: Vec<Key> = write
                .keys
                .iter()
                .chain(other_half.into_iter().flat_map(|write| &write.keys))
                .copied()
                .collect();
            let torn = keys
                .iter()
                .find(|other| data.get(**other).is_none_or(|(other, has)| other != value && has < at));
            if let Some(other) = torn {
                let text =
                    format!("{who} of {shard} shows write {value} in key {key} and not in key {other}");
                self.demand(14, false, || text);
                return;
            }
        }
    }

    /// The shard lost its memory: promises are off.
    fn forget(&mut self, shard: ShardId) {
        self.life += 1;
        self.promised.remove(&shard);
        self.newest.retain(|(of, _), _| *of != shard);
        self.locks.forget_fences();
    }
}
