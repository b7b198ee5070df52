//! Values of the types beside plain strings, and the changes that replicate them. A register hides a record that is
//! applied twice, or late; these do not: most of their changes say what to do, not what comes out, as a server's do.
//!
//! The primary decides (what is there, what has expired, what is evicted) and writes down what it did; replicas
//! decide nothing.

use super::message::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Elements of a list, entries of a stream, bytes of a text: what is longer is cut.
const LONGEST: usize = 12;
/// Members, fields.
const NAMES: u64 = 6;
/// The longest time to live.
const MAX_TTL_MS: u64 = 8_000;

/// All that one key holds, by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Values {
    list: VecDeque<Value>,
    set: BTreeSet<u8>,
    hash: BTreeMap<u8, u64>,
    scores: BTreeMap<u8, u64>,
    stream: VecDeque<Value>,
    text: Vec<u8>,
    /// By the wall clock.
    expires_at_ms: Option<u64>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    PushBack(Value),
    PushFront(Value),
    PopBack,
    PopFront,
    Add(u8),
    Remove(u8),
    /// The field has this value now, whatever was added to what.
    Field(u8, u64),
    DropField(u8),
    Score(u8, u64),
    DropLowest,
    Entry(Value),
    TrimTo(usize),
    Append(u8),
    Expire(u64),
    Persist,
    /// Deleted, expired or evicted.
    Gone,
}

impl Values {
    /// What a write does here, drawn from its name.
    pub(super) fn decide(&self, write: Value, wall_ms: u64) -> Vec<Change> {
        let expired = self.expires_at_ms.is_some_and(|at| at <= wall_ms);
        if expired {
            let mut changes = vec![Change::Gone];
            changes.extend(Values::default().decide(write, wall_ms));
            return changes;
        }
        let drawn = write.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let name = (drawn % NAMES) as u8;
        match drawn / NAMES % 18 {
            0..3 if self.list.len() >= LONGEST => vec![Change::PopBack],
            0..2 => vec![Change::PushBack(write)],
            2 => vec![Change::PushFront(write)],
            3 | 4 if self.list.is_empty() => vec![Change::PushFront(write), Change::PushBack(write)],
            3 => vec![Change::PopFront],
            4 => vec![Change::PopBack],
            5 if self.set.contains(&name) => vec![Change::Remove(name)],
            5 => vec![Change::Add(name)],
            6 | 7 => vec![Change::Field(name, self.hash.get(&name).copied().unwrap_or(0) + drawn % 100)],
            8 if self.hash.contains_key(&name) => vec![Change::DropField(name)],
            8 | 9 => vec![Change::Score(name, self.scores.get(&name).copied().unwrap_or(0) + drawn % 100)],
            10 if !self.scores.is_empty() => vec![Change::DropLowest],
            10..13 => vec![Change::Entry(write), Change::TrimTo(LONGEST)],
            13 | 14 | 17 if self.text.len() >= LONGEST => vec![Change::Gone],
            13 | 14 => vec![Change::Append(name)],
            15 => vec![Change::Expire(wall_ms + drawn % MAX_TTL_MS)],
            16 if self.expires_at_ms.is_some() => vec![Change::Persist],
            16 => vec![Change::PushBack(write), Change::Entry(write)],
            _ if drawn.is_multiple_of(5) => vec![Change::Gone],
            _ => vec![Change::Append(name)],
        }
    }

    /// What the front of a list goes to in a transaction with another key.
    pub(super) fn front(&self) -> Option<Value> {
        self.list.front().copied()
    }

    pub(super) fn change(&mut self, change: Change) {
        match change {
            Change::PushBack(value) => self.list.push_back(value),
            Change::PushFront(value) => self.list.push_front(value),
            Change::PopBack => {
                self.list.pop_back();
            }
            Change::PopFront => {
                self.list.pop_front();
            }
            Change::Add(member) => {
                self.set.insert(member);
            }
            Change::Remove(member) => {
                self.set.remove(&member);
            }
            Change::Field(field, value) => {
                self.hash.insert(field, value);
            }
            Change::DropField(field) => {
                self.hash.remove(&field);
            }
            Change::Score(member, score) => {
                self.scores.insert(member, score);
            }
            Change::DropLowest => {
                let lowest = self.scores.iter().min_by_key(|(member, score)| (**score, **member));
                if let Some(member) = lowest.map(|(member, _)| *member) {
                    self.scores.remove(&member);
                }
            }
            Change::Entry(value) => self.stream.push_back(value),
            Change::TrimTo(entries) => {
                let surplus = self.stream.len().saturating_sub(entries);
                self.stream.drain(..surplus);
            }
            Change::Append(byte) => self.text.push(byte),
            Change::Expire(at_ms) => self.expires_at_ms = Some(at_ms),
            Change::Persist => self.expires_at_ms = None,
            Change::Gone => *self = Values::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a primary decides, a replica that applies the changes has as well; all kinds occur, and nothing grows.
    #[test]
    fn changes_replay_to_the_same() {
        let (mut primary, mut replica) = (Values::default(), Values::default());
        let mut kinds = BTreeSet::new();
        for write in 1..5_000 {
            for change in primary.decide(write, write * 10) {
                let text = format!("{change:?}");
                kinds.insert(text.split('(').next().unwrap_or_default().to_owned());
                primary.change(change);
                replica.change(change);
            }
            assert_eq!(primary, replica);
            assert!(primary.list.len() <= 2 * LONGEST && primary.stream.len() <= LONGEST + 1);
            assert!(primary.text.len() <= LONGEST, "{primary:?}");
        }
        assert_eq!(kinds.len(), 16, "{kinds:?}");
    }
}
