//! What a member of a shard holds, as a server holds it: values, fencing registers and replies to request ids by
//! parts (a server's stripes), and the shard's locks. Locks, registers and replies are the shipped types.

use super::message::{Key, Value};
use super::values::{Change, Values};
use crate::bugs::{Bug, planted};
use crate::ids::{Offset, Position};
use crate::lock::{FenceEffect, FenceLimits, FenceTable, LockEffect, LockLimits, LockTable};
use crate::request_ids::Remembered;
use std::collections::BTreeMap;
use std::sync::Arc;
use torc_protocol::context::RequestId;

/// Parts with keys; the locks are one more part of a full sync.
pub(super) const KEY_PARTS: usize = 3;
pub(super) const PARTS: usize = KEY_PARTS + 1;
/// The longest TTL in a run.
pub(super) const MAX_TTL_MS: u64 = 4_000;
/// What a remembered reply says.
const REPLY: &[u8] = b"+OK\r\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The key has the record's value.
    Put(Key),
    /// What the key holds of other types changed.
    Change(Key, Change),
    Lock(LockEffect),
    Fence(Key, FenceEffect),
    /// The request was executed; home is its first key.
    Remember(Key, RequestId),
}

/// All that one request did; applied whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: Position,
    /// The write's name; 0: what the shard does by itself.
    pub(super) value: Value,
    /// 1 for the second half of a request that was torn (a planted bug).
    pub(super) half: u8,
    pub(super) effects: Arc<[Effect]>,
}

impl Record {
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Put(key) => Some(*key),
            _ => None,
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) values: BTreeMap<Key, (Value, Position)>,
    pub(super) types: BTreeMap<Key, Values>,
    pub(super) fences: FenceTable,
    pub(super) ids: Remembered,
}

pub(super) struct Data {
    pub(super) parts: [Part; KEY_PARTS],
    pub(super) locks: LockTable,
}

/// A part as it was at some offset, on its way to a replica.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    values: BTreeMap<Key, (Value, Position)>,
    types: BTreeMap<Key, Values>,
    fences: Vec<FenceEffect>,
    floors: Vec<(u64, u64)>,
    replies: Vec<RequestId>,
    locks: Vec<LockEffect>,
}

/// A part of a replica that compares what it holds with its primary's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not compared yet. Records are applied to whatever is there: if nothing else has changed it becomes equal.
    Open,
    /// It differs; what it is to be is on its way.
    Awaited,
    /// As the primary's was at this place of the stream.
    Same,
}

/// To which parts of a replica a record is applied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Takes<'a> {
    All,
    /// In a full sync: those that were sent, as they were before it.
    Above(&'a [Option<Offset>; PARTS]),
    /// In a resync by slots.
    Standing(&'a [Standing; PARTS]),
}

impl Takes<'_> {
    fn takes(self, part: usize, offset: Offset) -> bool {
        match self {
            Takes::All => true,
            Takes::Above(after) => after[part].is_some_and(|after| offset > after),
            // Locks are not compared but sent: what remains of their time differs.
            Takes::Standing(parts) => match parts[part] {
                Standing::Open => part < KEY_PARTS,
                Standing::Awaited => false,
                Standing::Same => true,
            },
        }
    }

    fn has_come(self, part: usize) -> bool {
        matches!(self, Takes::Above(after) if after[part].is_some())
    }
}

/// What two members must agree on when they hold the same records.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    values: BTreeMap<Key, (Value, Position)>,
    types: BTreeMap<Key, Values>,
    fences: Vec<String>,
    replies: Vec<(u64, u64)>,
    locks: Vec<String>,
}

pub(super) fn part_of(key: Key) -> usize {
    usize::from(key) % KEY_PARTS
}

fn limits() -> LockLimits {
    LockLimits { max_ttl_ms: MAX_TTL_MS, ..LockLimits::default() }
}

pub(super) fn fence_name(key: Key) -> [u8; 1] {
    [key]
}

impl Chunk {
    /// Whether both say the same of a part with keys, in whatever order.
    pub(super) fn agrees(&self, other: &Chunk) -> bool {
        let sides = |chunk: &Chunk| {
            let mut fences: Vec<String> = chunk.fences.iter().map(|effect| format!("{effect:?}")).collect();
            fences.sort_unstable();
            let mut floors = chunk.floors.clone();
            floors.sort_unstable();
            let mut replies: Vec<(u64, u64)> = chunk.replies.iter().map(|id| (id.origin, id.seq)).collect();
            replies.sort_unstable();
            (fences, floors, replies)
        };
        (&self.values, &self.types, sides(self)) == (&other.values, &other.types, sides(other))
    }
}

impl Data {
    pub(super) fn new() -> Self {
        Data { parts: Default::default(), locks: LockTable::new(limits()) }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.parts = Default::default();
        self.locks.forget(|_| true);
    }

    pub(super) fn get(&self, key: Key) -> Option<(Value, Position)> {
        self.parts[part_of(key)].values.get(&key).copied()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (Key, (Value, Position))> + '_ {
        self.parts.iter().flat_map(|part| part.values.iter().map(|(key, entry)| (*key, *entry)))
    }

    pub(super) fn put(&mut self, key: Key, value: Value, at: Position) {
        self.parts[part_of(key)].values.insert(key, (value, at));
    }

    /// What a key holds of the types beside plain strings.
    pub(super) fn typed(&self, key: Key) -> Option<&Values> {
        self.parts[part_of(key)].types.get(&key)
    }

    /// Of all keys.
    pub(super) fn types(&self) -> BTreeMap<Key, Values> {
        self.parts
            .iter()
            .flat_map(|part| part.types.iter().map(|(key, values)| (*key, values.clone())))
            .collect()
    }

    pub(super) fn change(&mut self, key: Key, change: Change) {
        self.parts[part_of(key)].types.entry(key).or_default().change(change);
    }

    pub(super) fn remember(&mut self, home: Key, id: RequestId, now_ms: u64) {
        self.parts[part_of(home)].ids.keep(u16::from(home), id, REPLY, now_ms);
    }

    /// Applies a primary's record, to those parts that take it.
    pub(super) fn apply(&mut self, record: &Record, takes: Takes<'_>, now_ms: u64) {
        let offset = record.at.offset;
        let wants = |part: usize| takes.takes(part, offset);
        let again = |part: usize| planted(Bug::SyncedTwice) && takes.has_come(part);
        for effect in record.effects.iter() {
            match effect {
                Effect::Put(key) if wants(part_of(*key)) => self.put(*key, record.value, record.at),
                Effect::Change(key, change) if wants(part_of(*key)) || again(part_of(*key)) => {
                    self.change(*key, *change);
                }
                Effect::Lock(effect) if wants(KEY_PARTS) => self.locks.apply(effect.clone(), now_ms),
                Effect::Fence(key, effect) if wants(part_of(*key)) => {
                    self.parts[part_of(*key)].fences.apply(effect.clone(), now_ms);
                }
                Effect::Remember(key, id) if wants(part_of(*key)) => self.remember(*key, *id, now_ms),
                _ => {}
            }
        }
    }

    pub(super) fn chunk(&self, part: usize, now_ms: u64) -> Chunk {
        let mut chunk = Chunk {
            values: BTreeMap::new(),
            types: BTreeMap::new(),
            fences: Vec::new(),
            floors: Vec::new(),
            replies: Vec::new(),
            locks: Vec::new(),
        };
        match self.parts.get(part) {
            Some(part) => {
                chunk.values = part.values.clone();
                chunk.types = part.types.clone();
                chunk.fences = part.fences.export();
                chunk.floors = part.ids.floors().collect();
                chunk.replies = part.ids.replies().map(|(_, id, _)| id).collect();
            }
            None => {
                chunk
                    .locks
                    .extend(self.locks.closure(now_ms).filter(|_| !planted(Bug::LocksOpenAfterFailover)));
                chunk.locks.extend(self.locks.export(|_| true, now_ms));
            }
        }
        chunk
    }

    pub(super) fn take_chunk(&mut self, index: usize, chunk: Chunk, now_ms: u64) {
        let Some(part) = self.parts.get_mut(index) else {
            self.locks.forget(|_| true);
            chunk.locks.into_iter().for_each(|effect| self.locks.apply(effect, now_ms));
            return;
        };
        *part = Part { values: chunk.values, types: chunk.types, ..Part::default() };
        chunk.fences.into_iter().for_each(|effect| part.fences.apply(effect, now_ms));
        chunk.floors.into_iter().for_each(|(origin, seq)| part.ids.raise_floor(origin, seq, now_ms));
        chunk.replies.into_iter().for_each(|id| part.ids.keep(index as u16, id, REPLY, now_ms));
    }

    pub(super) fn picture(&self, now_ms: u64) -> Picture {
        let mut replies: Vec<(u64, u64)> = self
            .parts
            .iter()
            .flat_map(|part| part.ids.replies().map(|(_, id, _)| (id.origin, id.seq)))
            .collect();
        replies.sort_unstable();
        let mut fences: Vec<String> = self
            .parts
            .iter()
            .enumerate()
            .flat_map(|(index, part)| {
                part.fences.export().into_iter().map(move |effect| format!("{index} {effect:?}"))
            })
            .collect();
        fences.sort_unstable();
        let mut locks: Vec<String> = self
            .locks
            .export(|_| true, now_ms)
            .into_iter()
            .map(|effect| match effect {
                LockEffect::Grant { name, token, mode, .. } => format!("{name:?} {token} {mode:?}"),
                other => format!("{other:?}"),
            })
            .collect();
        locks.sort_unstable();
        Picture { values: self.values().collect(), types: self.types(), fences, replies, locks }
    }

    /// The registers of a key let a token pass, and rise.
    pub(super) fn fence(
        &mut self,
        key: Key,
        token: crate::lock::Token,
        now_ms: u64,
    ) -> Result<Vec<Effect>, ()> {
        let mut effects = Vec::new();
        let fences = &mut self.parts[part_of(key)].fences;
        match fences.check(&fence_name(key), token, &FenceLimits::default(), now_ms, &mut effects) {
            crate::lock::FenceVerdict::Pass => {
                Ok(effects.into_iter().map(|effect| Effect::Fence(key, effect)).collect())
            }
            crate::lock::FenceVerdict::Refused { .. } => Err(()),
        }
    }

    /// A record's effects as they are streamed: whole, or torn by a planted bug.
    pub(super) fn records_of(effects: Vec<Effect>) -> Vec<(u8, Vec<Effect>)> {
        let puts = effects.iter().filter(|effect| matches!(effect, Effect::Put(_))).count();
        if puts < 2 || !planted(Bug::HalfTransaction) {
            return vec![(0, effects)];
        }
        let mut first = effects;
        let rest = first.split_off(1);
        vec![(0, first), (1, rest)]
    }
}
