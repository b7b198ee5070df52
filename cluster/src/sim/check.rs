//! The oracle and the invariants. Numbers are those of ARCHITECTURE.md.

use super::message::{Key, Record, Value};
use super::network::{Host, MS};
use super::world::{CONTROL_HOSTS, World};
use crate::ids::{Member, Position, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, PromotionReason};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;

/// Lines of the story that a violation shows.
const NOTES: usize = 80;

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub faults: u64,
    pub crashes: u64,
    pub elections: u64,
    pub promotions: u64,
    pub resets: u64,
    pub operations: u64,
    /// `in-sync` writes answered as done.
    pub acknowledged: u64,
    pub refused: u64,
    pub uncertain: u64,
    /// The same for the same seed.
    pub trace: u64,
}

/// A broken invariant, and how to see it again.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    pub at_ms: u64,
    pub what: String,
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {} at {} ms: {}", self.seed, self.at_ms, self.what)?;
        write!(
            f,
            "reproduce: TORC_SIM_SEED={} cargo test -p torc-cluster --lib sim -- --nocapture",
            self.seed
        )
    }
}

#[derive(Default)]
pub(super) struct Checker {
    seed: u64,
    pub(super) report: Report,
    violation: Option<String>,
    pub(super) keep_notes: bool,
    notes: VecDeque<String>,
    effects: HashMap<(ShardId, Position), (Key, Value)>,
    values: HashMap<Value, (ShardId, Position)>,
    refused: HashSet<Value>,
    sealed: HashMap<(Member, ShardId), Term>,
    /// Acknowledged `in-sync`, or shown by a strong read: never to be lost.
    promised: BTreeMap<ShardId, BTreeSet<Position>>,
    /// The newest promised write of each key.
    newest: BTreeMap<(ShardId, Key), Position>,
    /// The highest term that served.
    served: BTreeMap<ShardId, Term>,
    /// Who had which term.
    terms: BTreeMap<Term, (ShardId, Member)>,
}

impl Checker {
    pub(super) fn new(seed: u64) -> Self {
        Checker { seed, ..Checker::default() }
    }

    pub(super) fn note(&mut self, now: u64, text: impl FnOnce() -> String) {
        if self.keep_notes {
            if self.notes.len() >= NOTES {
                self.notes.pop_front();
            }
            self.notes.push_back(format!("{:>6} ms  {}", now / MS, text()));
        }
    }

    pub(super) fn demand(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    pub(super) fn result(&self, now: u64) -> Result<(), Violation> {
        match &self.violation {
            None => Ok(()),
            Some(what) => Err(Violation {
                seed: self.seed,
                at_ms: now / MS,
                what: what.clone(),
                story: self.notes.iter().cloned().collect(),
            }),
        }
    }

    /// 4 and 9: a place in a history is one effect; a write happens at most once; a refused one never.
    pub(super) fn effect(&mut self, shard: ShardId, record: Record) {
        let Record { at, key, value } = record;
        let known = *self.effects.entry((shard, at)).or_insert((key, value));
        self.demand(known == (key, value), || format!("4: {shard} {at} is {known:?} and {:?}", (key, value)));
        let place = *self.values.entry(value).or_insert((shard, at));
        self.demand(place == (shard, at), || format!("9: write {value} happened at {place:?} and {at}"));
        let refused = self.refused.contains(&value);
        self.demand(!refused, || format!("9: write {value} was refused and happened at {at}"));
    }

    pub(super) fn refused(&mut self, value: Value) {
        let happened = self.values.get(&value).copied();
        self.demand(happened.is_none(), || {
            format!("9: write {value} was refused and happened: {happened:?}")
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
        self.demand(from_term >= sealed, || {
            format!("3: {member} took a record from term {from_term} after sealing {sealed}")
        });
    }

    /// Somebody was told: this must not be lost from here on.
    pub(super) fn promised(&mut self, shard: ShardId, at: Option<Position>) {
        let Some(at) = at else { return };
        let Some((key, _)) = self.effects.get(&(shard, at)).copied() else { return };
        self.promised.entry(shard).or_default().insert(at);
        let newest = self.newest.entry((shard, key)).or_default();
        *newest = (*newest).max(at);
    }

    pub(super) fn newest(&self, shard: ShardId, key: Key) -> Option<Position> {
        self.newest.get(&(shard, key)).copied()
    }

    pub(super) fn acknowledged(&mut self, shard: ShardId, key: Key, value: Value) {
        let known = self.values.get(&value).and_then(|(_, at)| self.effects.get(&(shard, *at))).copied();
        self.demand(known == Some((key, value)), || {
            format!("write {value} was acknowledged and never happened")
        });
    }

    /// A strong read shows what was promised before it was asked, or something newer.
    pub(super) fn strong_read(
        &mut self,
        shard: ShardId,
        key: Key,
        newest: Option<Position>,
        shown: Option<(Value, Position)>,
    ) {
        let Some(newest) = newest else { return };
        let still = self.promised.get(&shard).is_some_and(|promised| promised.contains(&newest));
        let fresh = shown.is_some_and(|(_, at)| at >= newest);
        self.demand(!still || fresh, || {
            format!("6: a strong read of key {key} of {shard} showed {shown:?}, older than {newest}")
        });
    }

    /// The shard lost its memory: promises are off.
    fn forget(&mut self, shard: ShardId) {
        self.promised.remove(&shard);
        self.newest.retain(|(of, _), _| *of != shard);
    }
}

/// 1, 7, 8: what a commit may change.
pub(super) fn committed(world: &mut World, before: &ClusterMap, command: &MapCommand) {
    let map = world.consensus.map.clone();
    for (id, after) in &map.shards {
        let Some(before) = before.shard(*id) else { continue };
        if before.term == after.term {
            let same = before.primary == after.primary;
            world.check.demand(same, || format!("1: {id} changed its primary within term {}", after.term));
            let added: Vec<Member> = after.in_sync.difference(&before.in_sync).copied().collect();
            for member in added {
                holds_promises(world, *id, member, "8: joined the in-sync set");
            }
            continue;
        }
        let rises = after.term > before.term;
        world
            .check
            .demand(rises, || format!("1: the term of {id} went from {} to {}", before.term, after.term));
        let Some(primary) = after.primary else { continue };
        let known = *world.check.terms.entry(after.term).or_insert((*id, primary));
        world
            .check
            .demand(known == (*id, primary), || format!("1: term {} was {known:?} before", after.term));
        world.check.report.promotions += 1;
        let reason = after.last_promotion.as_ref().map(|promotion| promotion.reason);
        match reason {
            Some(PromotionReason::Reset | PromotionReason::First) => {
                world.check.report.resets += u64::from(reason == Some(PromotionReason::Reset));
                let nobody = before.candidates().is_empty();
                world
                    .check
                    .demand(nobody, || format!("7: {id} was reset while someone remembered: {before:?}"));
                world.check.forget(*id);
            }
            _ => {
                let candidate = before.is_candidate(primary);
                world
                    .check
                    .demand(candidate, || format!("7: {primary} was no candidate of {id}: {command:?}"));
            }
        }
    }
}

/// 2: two leases of different terms at one moment.
pub(super) fn leases(world: &mut World) {
    let shards: Vec<ShardId> = world.consensus.map.shards.keys().copied().collect();
    for id in shards {
        let mut valid: Option<(Member, Term)> = None;
        for index in 0..world.nodes.len() {
            let now = world.local(CONTROL_HOSTS + index);
            let Some(node) = &world.nodes[index] else { continue };
            let Some(lease) = node.shards.get(&id).and_then(|shard| shard.member.lease()) else { continue };
            if !lease.valid_at(now) {
                continue;
            }
            let holder = (node.me, lease.term());
            if let Some(other) = valid {
                world.check.demand(false, || format!("2: {other:?} and {holder:?} hold leases of {id}"));
            }
            valid = Some(holder);
        }
    }
}

/// 2: a node executes, or answers.
pub(super) fn serves(world: &mut World, host: Host, id: ShardId) {
    let Some(shard) = world.node_shard(host, id) else { return };
    let term = shard.member.term();
    let highest = world.check.served.entry(id).or_default();
    let before = *highest;
    *highest = (*highest).max(term);
    world.check.demand(term >= before, || format!("2: {id} was served in term {term} after term {before}"));
    leases(world);
}

/// 5, 6: a new primary has everything that was promised.
pub(super) fn leads(world: &mut World, me: Member, id: ShardId, term: Term) {
    world.check.note(world.now, || format!("{me} leads {id} in term {term}"));
    if world.consensus.map.shard(id).is_some_and(|shard| shard.term == term) {
        holds_promises(world, id, me, "5: leads");
    }
    leases(world);
}

/// 5, 6, 8: every candidate holds what was promised, at any time.
pub(super) fn sweep(world: &mut World) {
    let map = world.consensus.map.clone();
    for (id, shard) in &map.shards {
        for member in shard.candidates() {
            holds_promises(world, *id, member, "5: may become primary");
        }
    }
    leases(world);
}

fn holds_promises(world: &mut World, id: ShardId, member: Member, what: &str) {
    let host = world.host_of(member.node);
    let Some(node) = world.nodes.get(host - CONTROL_HOSTS).and_then(Option::as_ref) else { return };
    if node.me != member {
        return;
    }
    let check = &mut world.check;
    let Some(promised) = check.promised.get(&id).filter(|promised| !promised.is_empty()) else { return };
    let lost = match node.shards.get(&id) {
        None => Some("everything".to_string()),
        Some(shard) if !shard.member.is_whole() => Some("what it is fetching".to_string()),
        Some(shard) => {
            let history = shard.member.history();
            let missing = promised.iter().find(|at| !history.holds(**at)).map(|at| at.to_string());
            let stale = || {
                check
                    .newest
                    .range((id, Key::MIN)..=(id, Key::MAX))
                    .find(|((_, key), at)| shard.store.get(key).is_none_or(|(_, has)| has < at))
                    .map(|((_, key), at)| format!("{at} of key {key} in its store"))
            };
            missing.or_else(stale)
        }
    };
    if let Some(lost) = lost {
        check.demand(false, || format!("{what} without what was promised: {member} of {id} lacks {lost}"));
    }
}

/// 10, and that the cluster comes back by itself.
pub(super) fn converged(world: &mut World) {
    let map = world.consensus.map.clone();
    sweep(world);
    for (id, shard) in &map.shards {
        let Some(primary) = shard.primary else {
            world.check.demand(false, || format!("{id} has no primary after the heal"));
            continue;
        };
        let host = world.host_of(primary.node);
        let now = world.local(host);
        let serves = world
            .node(host)
            .filter(|node| node.me == primary)
            .and_then(|node| node.shards.get(id))
            .map(|shard| {
                (shard.member.may_execute(now), shard.member.last(), shard.store.clone(), shard.member.mark())
            });
        let Some((true, last, store, mark)) = serves else {
            world.check.demand(false, || format!("{id}: {primary} does not serve after the heal: {shard:?}"));
            continue;
        };
        for node in &shard.members {
            let node = world.host_of(*node);
            let Some(node) = world.node(node) else { continue };
            let me = node.me;
            let Some(replica) = node.shards.get(id) else { continue };
            let (whole, at, same) =
                (replica.member.is_whole(), replica.member.last(), replica.store == store);
            let in_sync = shard.in_sync.contains(&me);
            world.check.demand(whole && at == last, || {
                format!("10: {me} is at {at} (whole: {whole}), the primary {primary} of {id} at {last}")
            });
            world.check.demand(same, || format!("10: {me} and {primary} differ at {last}"));
            world.check.demand(in_sync, || format!("{me} is not in-sync after the heal: {shard:?}"));
        }
        world.check.demand(mark == last.offset, || format!("the mark of {id} is {mark}, not {last}"));
    }
}
