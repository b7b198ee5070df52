//! Streams and their groups, as simply as they can be kept.

use std::collections::BTreeMap;

use super::reply::{array, bulk};
use super::words::Bytes;

/// Milliseconds and sequence.
pub type Id = (u64, u64);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stream {
    pub entries: BTreeMap<Id, Vec<Bytes>>,
    pub last: Id,
    pub max_deleted: Id,
    pub added: u64,
    pub groups: BTreeMap<Bytes, Group>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    pub last: Id,
    pub pending: BTreeMap<Id, Pending>,
    pub consumers: BTreeMap<Bytes, Consumer>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub consumer: Bytes,
    pub time_ms: i64,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    pub seen_ms: i64,
    pub active_ms: i64,
}

#[derive(Clone, Copy, Debug)]
pub enum Trim {
    MaxLen(u8),
    MinId(Id),
}

pub fn group_name(n: u8) -> Bytes {
    format!("g{n}").into_bytes()
}

pub fn consumer_name(n: u8) -> Bytes {
    format!("c{n}").into_bytes()
}

pub fn spelt((ms, seq): Id) -> Bytes {
    format!("{ms}-{seq}").into_bytes()
}

pub fn entry(id: Id, items: &[Bytes]) -> Bytes {
    array(&[bulk(spelt(id)), array(&items.iter().map(bulk).collect::<Vec<_>>())])
}

impl Stream {
    pub fn trim(&mut self, trim: Trim) -> usize {
        let before = self.entries.len();
        match trim {
            Trim::MaxLen(most) => {
                while self.entries.len() > usize::from(most) {
                    self.entries.pop_first();
                }
            }
            Trim::MinId(least) => self.entries.retain(|id, _| *id >= least),
        }
        before - self.entries.len()
    }

    pub fn next_id(&self, ms: u64, seq: Option<u64>) -> Option<Id> {
        let id = match seq {
            Some(seq) => (ms, seq),
            None if ms == self.last.0 => (ms, self.last.1 + 1),
            None => (ms, 0),
        };
        (id > self.last).then_some(id)
    }
}

impl Group {
    pub fn note(&mut self, consumer: u8, now_ms: i64) {
        let fresh = Consumer { seen_ms: now_ms, active_ms: -1 };
        self.consumers.entry(consumer_name(consumer)).or_insert(fresh).seen_ms = now_ms;
    }

    pub fn active(&mut self, consumer: u8, now_ms: i64) {
        if let Some(found) = self.consumers.get_mut(&consumer_name(consumer)) {
            found.active_ms = now_ms;
        }
    }

    pub fn read_new(
        &mut self,
        entries: &BTreeMap<Id, Vec<Bytes>>,
        step: (u8, u8, bool),
        now_ms: i64,
    ) -> Vec<Bytes> {
        let (consumer, count, no_ack) = step;
        let most = if count == 0 { usize::MAX } else { usize::from(count) };
        let behind = self.last;
        let found = entries.iter().filter(|(id, _)| **id > behind).take(most);
        let mut read = Vec::new();
        for (id, items) in found {
            self.last = *id;
            read.push(entry(*id, items));
            if !no_ack {
                let pending = Pending { consumer: consumer_name(consumer), time_ms: now_ms, count: 1 };
                self.pending.insert(*id, pending);
            }
        }
        if !read.is_empty() && !no_ack {
            self.active(consumer, now_ms);
        }
        read
    }

    pub fn read_own(
        &mut self,
        entries: &BTreeMap<Id, Vec<Bytes>>,
        step: (u8, u8, Id),
        now_ms: i64,
    ) -> Vec<Bytes> {
        let (consumer, count, behind) = step;
        let most = if count == 0 { usize::MAX } else { usize::from(count) };
        let own = |(id, pending): &(&Id, &mut Pending)| {
            **id > behind && pending.consumer == consumer_name(consumer)
        };
        let found = self.pending.iter_mut().filter(own).take(most);
        found
            .map(|(id, pending)| match entries.get(id) {
                Some(items) => {
                    pending.time_ms = now_ms;
                    pending.count += 1;
                    entry(*id, items)
                }
                None => array(&[bulk(spelt(*id)), b"*-1\r\n".to_vec()]),
            })
            .collect()
    }

    /// Gives an entry to a consumer; writes it.
    pub fn give(&mut self, id: Id, items: &[Bytes], consumer: u8, just_id: bool, now_ms: i64) -> Bytes {
        let fresh = Pending { consumer: Bytes::new(), time_ms: 0, count: 1 };
        let pending = self.pending.entry(id).or_insert(fresh);
        pending.consumer = consumer_name(consumer);
        pending.time_ms = now_ms;
        pending.count += u64::from(!just_id);
        if just_id { bulk(spelt(id)) } else { entry(id, items) }
    }
}
