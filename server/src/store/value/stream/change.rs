//! What is done to a stream, as its primary tells replicas: the result of each decision, never the question.
//!
//! ```text
//! change : opcode u8 | fields
//! number : seven bits a byte, the lowest first, the upper bit says that more follow
//! ids    : number of them | each as ms - ms before, then seq (from 0 on in a new millisecond, else - seq before)
//! ```

use super::StreamValue;
use super::group::{Group, Pending};
use super::id::StreamId;
use super::log::WantedId;
use crate::effect::DecodeError;
use crate::store::Env;

const ADD: u8 = 1;
const TRIM: u8 = 2;
const DELETE: u8 = 3;
const FACTS: u8 = 4;
const CREATE_GROUP: u8 = 5;
const DESTROY_GROUP: u8 = 6;
const DELETE_CONSUMER: u8 = 7;
const GROUP: u8 = 8;

/// What follows in a [`GROUP`] change.
const HAS_PROGRESS: u8 = 1;
const HAS_CONSUMER: u8 = 2;
const HAS_ACTIVE: u8 = 4;
const HAS_ASSIGNED: u8 = 8;
const HAS_DROPPED: u8 = 16;

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Numbers near zero, of both signs, are short.
fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put(out, id.ms);
    put(out, id.seq);
}

/// An ID by its distance from the one before.
fn put_near(out: &mut Vec<u8>, before: StreamId, id: StreamId) {
    put_signed(out, id.ms.wrapping_sub(before.ms) as i64);
    if id.ms == before.ms {
        put_signed(out, id.seq.wrapping_sub(before.seq) as i64);
    } else {
        put(out, id.seq);
    }
}

fn put_ids(out: &mut Vec<u8>, ids: &[StreamId]) {
    put(out, ids.len() as u64);
    let mut before = StreamId::MIN;
    for &id in ids {
        put_near(out, before, id);
        before = id;
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&byte, rest) = self.0.split_first().ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(DecodeError::Damaged)
    }

    fn signed(&mut self) -> Result<i64, DecodeError> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    fn text(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.number()?).map_err(|_| DecodeError::Truncated)?;
        let (text, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(text)
    }

    fn id(&mut self) -> Result<StreamId, DecodeError> {
        Ok(StreamId::new(self.number()?, self.number()?))
    }

    fn near(&mut self, before: StreamId) -> Result<StreamId, DecodeError> {
        let ms = before.ms.wrapping_add(self.signed()? as u64);
        let seq =
            if ms == before.ms { before.seq.wrapping_add(self.signed()? as u64) } else { self.number()? };
        Ok(StreamId::new(ms, seq))
    }

    /// As many things as are said to follow, each of at least a byte.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.number()?;
        if count > self.0.len() as u64 { Err(DecodeError::Truncated) } else { Ok(count as usize) }
    }
}

/// Writes that an entry was added, and how many at the front went for it.
pub fn put_add<'i>(
    out: &mut Vec<u8>,
    id: StreamId,
    items: impl ExactSizeIterator<Item = &'i [u8]>,
    trimmed: u64,
) {
    out.push(ADD);
    put_id(out, id);
    put(out, trimmed);
    put(out, items.len() as u64);
    items.for_each(|item| put_text(out, item));
}

/// Writes that so many entries at the front went.
pub fn put_trim(out: &mut Vec<u8>, trimmed: u64) {
    out.push(TRIM);
    put(out, trimmed);
}

/// Writes that entries were deleted.
pub fn put_delete(out: &mut Vec<u8>, ids: &[StreamId]) {
    out.push(DELETE);
    put_ids(out, ids);
}

/// Writes what XSETID set.
pub fn put_facts(out: &mut Vec<u8>, last_id: StreamId, max_deleted_id: StreamId, entries_added: u64) {
    out.push(FACTS);
    put_id(out, last_id);
    put_id(out, max_deleted_id);
    put(out, entries_added);
}

/// Writes that a group was created.
pub fn put_create_group(out: &mut Vec<u8>, name: &[u8], last_id: StreamId, reads: i64) {
    out.push(CREATE_GROUP);
    put_text(out, name);
    put_id(out, last_id);
    put_signed(out, reads);
}

/// Writes that a group was destroyed.
pub fn put_destroy_group(out: &mut Vec<u8>, name: &[u8]) {
    out.push(DESTROY_GROUP);
    put_text(out, name);
}

/// Writes that a consumer was deleted.
pub fn put_delete_consumer(out: &mut Vec<u8>, group: &[u8], consumer: &[u8]) {
    out.push(DELETE_CONSUMER);
    put_text(out, group);
    put_text(out, consumer);
}

/// An entry that became or stayed a consumer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The entry.
    pub id: StreamId,
    /// When it was delivered, Unix milliseconds.
    pub time_ms: i64,
    /// How often.
    pub count: u64,
}

/// What happened to one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted<'a> {
    /// Its name; it is created when it is not there.
    pub name: &'a [u8],
    /// When it asked, Unix milliseconds.
    pub seen_ms: i64,
    /// When it got something, if it did.
    pub active_ms: Option<i64>,
}

/// What happened in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChange<'a> {
    /// How far the group has read now: last entry, read counter.
    pub progress: Option<(StreamId, i64)>,
    /// What happened to one consumer.
    pub consumer: Option<Noted<'a>>,
    /// What is this consumer's now, in this order.
    pub assigned: Vec<Assigned>,
    /// What nobody has to acknowledge any more.
    pub dropped: Vec<StreamId>,
}

impl<'a> GroupChange<'a> {
    /// Writes it.
    pub fn put(&self, out: &mut Vec<u8>, group: &[u8]) {
        out.push(GROUP);
        put_text(out, group);
        let active = self.consumer.and_then(|c| c.active_ms);
        let mut parts = 0;
        for (part, is_there) in [
            (HAS_PROGRESS, self.progress.is_some()),
            (HAS_CONSUMER, self.consumer.is_some()),
            (HAS_ACTIVE, active.is_some()),
            (HAS_ASSIGNED, !self.assigned.is_empty()),
            (HAS_DROPPED, !self.dropped.is_empty()),
        ] {
            parts |= if is_there { part } else { 0 };
        }
        out.push(parts);
        if let Some((last_id, reads)) = self.progress {
            put_id(out, last_id);
            put_signed(out, reads);
        }
        if let Some(consumer) = &self.consumer {
            put_text(out, consumer.name);
            put_signed(out, consumer.seen_ms);
        }
        let seen_ms = self.consumer.map_or(0, |c| c.seen_ms);
        if let Some(active_ms) = active {
            put_signed(out, seen_ms.wrapping_sub(active_ms));
        }
        if !self.assigned.is_empty() {
            put(out, self.assigned.len() as u64);
            let (mut id, mut time_ms) = (StreamId::MIN, seen_ms);
            for entry in &self.assigned {
                put_near(out, id, entry.id);
                put_signed(out, entry.time_ms.wrapping_sub(time_ms));
                put(out, entry.count);
                (id, time_ms) = (entry.id, entry.time_ms);
            }
        }
        if !self.dropped.is_empty() {
            put_ids(out, &self.dropped);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<GroupChange<'a>, DecodeError> {
        let parts = reader.byte()?;
        let mut change = GroupChange::default();
        if parts & HAS_PROGRESS != 0 {
            change.progress = Some((reader.id()?, reader.signed()?));
        }
        if parts & HAS_CONSUMER != 0 {
            let (name, seen_ms) = (reader.text()?, reader.signed()?);
            let active_ms =
                if parts & HAS_ACTIVE != 0 { Some(seen_ms.wrapping_sub(reader.signed()?)) } else { None };
            change.consumer = Some(Noted { name, seen_ms, active_ms });
        }
        if parts & HAS_ASSIGNED != 0 {
            let (mut id, mut time_ms) = (StreamId::MIN, change.consumer.map_or(0, |c| c.seen_ms));
            for _ in 0..reader.count()? {
                id = reader.near(id)?;
                time_ms = time_ms.wrapping_add(reader.signed()?);
                change.assigned.push(Assigned { id, time_ms, count: reader.number()? });
            }
        }
        if parts & HAS_DROPPED != 0 {
            change.dropped = read_ids(reader)?;
        }
        Ok(change)
    }

    fn apply(&self, group: &mut Group) {
        self.dropped.iter().for_each(|id| {
            group.forget(*id);
        });
        if let Some((last_id, reads)) = self.progress {
            (group.last_id, group.reads) = (last_id, reads);
        }
        if let Some(Noted { name, seen_ms, active_ms }) = self.consumer {
            let (consumer, _) = group.find_or_create(name, seen_ms);
            group.note(consumer, seen_ms, active_ms);
            for &Assigned { id, time_ms, count } in &self.assigned {
                group.assign(id, Pending { time_ms, count, consumer });
            }
        }
    }
}

fn read_ids(reader: &mut Reader<'_>) -> Result<Vec<StreamId>, DecodeError> {
    let mut before = StreamId::MIN;
    let count = reader.count()?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        before = reader.near(before)?;
        ids.push(before);
    }
    Ok(ids)
}

/// Does to a stream what was written.
pub fn replay(stream: &mut StreamValue, body: &[u8], env: &Env) -> Result<(), DecodeError> {
    let mut reader = Reader(body);
    match reader.byte()? {
        ADD => {
            let (id, trimmed) = (reader.id()?, reader.number()?);
            let count = reader.count()?;
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                items.push(reader.text()?);
            }
            if items.is_empty() || !items.len().is_multiple_of(2) {
                return Err(DecodeError::Damaged);
            }
            stream.log.next_id(WantedId::Exact(id), 0).map_err(|_| DecodeError::Damaged)?;
            stream.log.add(id, items.iter().copied(), &env.limits).map_err(|_| DecodeError::Damaged)?;
            stream.log.trim_first(trimmed);
        }
        TRIM => stream.log.trim_first(reader.number()?),
        DELETE => read_ids(&mut reader)?.into_iter().for_each(|id| {
            stream.log.delete(id);
        }),
        FACTS => stream.log.set_facts(reader.id()?, reader.id()?, reader.number()?),
        CREATE_GROUP => {
            let (name, last_id, reads) = (reader.text()?, reader.id()?, reader.signed()?);
            stream.groups.add(Group::new(name, last_id, reads));
        }
        DESTROY_GROUP => {
            stream.groups.remove(reader.text()?);
        }
        DELETE_CONSUMER => {
            let (group, consumer) = (reader.text()?, reader.text()?);
            stream.groups.change(group, |group| group.remove_consumer(consumer));
        }
        GROUP => {
            let name = reader.text()?;
            let change = GroupChange::read(&mut reader)?;
            stream.groups.change(name, |group| change.apply(group)).ok_or(DecodeError::Damaged)?;
        }
        other => return Err(DecodeError::Unknown(other)),
    }
    if reader.0.is_empty() { Ok(()) } else { Err(DecodeError::Damaged) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::hash::{DEFAULT_SEED, KeyHasher};
    use crate::store::{Collection, Limits};

    fn env() -> Env {
        Env { limits: Limits::default(), hasher: KeyHasher::new(DEFAULT_SEED) }
    }

    fn id() -> impl Strategy<Value = StreamId> {
        prop_oneof![
            (0u64..5, 0u64..5).prop_map(|(ms, seq)| StreamId::new(ms, seq)),
            (any::<u64>(), any::<u64>()).prop_map(|(ms, seq)| StreamId::new(ms, seq)),
        ]
    }

    fn assigned() -> impl Strategy<Value = Assigned> {
        (id(), any::<i64>(), any::<u64>()).prop_map(|(id, time_ms, count)| Assigned { id, time_ms, count })
    }

    proptest! {
        #[test]
        fn a_group_change_comes_back(
            progress in prop::option::of((id(), any::<i64>())),
            noted in prop::option::of((any::<i64>(), prop::option::of(any::<i64>()))),
            mut given in prop::collection::vec(assigned(), 0..5),
            dropped in prop::collection::vec(id(), 0..5),
        ) {
            let consumer = noted.map(|(seen_ms, active_ms)| Noted { name: b"who", seen_ms, active_ms });
            if consumer.is_none() {
                given.clear();
            }
            let change = GroupChange { progress, consumer, assigned: given, dropped };
            let mut out = Vec::new();
            change.put(&mut out, b"g");
            let mut reader = Reader(&out[3..]);
            prop_assert_eq!(GroupChange::read(&mut reader).expect("read"), change);
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut stream = StreamValue::default();
            stream.groups.add(Group::new(b"g", StreamId::MIN, 0));
            let _ = stream.replay(&bytes, &env());
        }
    }
}
