//! When fields of a hash expire: only a hash that has such fields has this beside them.
//!
//! The times by field are a table; a heap with lazy deletion, as the keys of a stripe have one, gives the next of them.

use super::super::expiry::{Due, ExpiryIndex};
use crate::store::hash::KeyHasher;
use crate::store::records::{Records, Shape, Slab, Thrift};

/// The latest moment at which a field can expire, Unix milliseconds: Redis's bound.
pub const MAX_MS: u64 = (1 << 46) - 1;

/// Bytes of a time in its record.
const HEAD: usize = size_of::<u64>();

/// A field with its time as a record: Unix milliseconds in eight bytes, field.
#[derive(Debug)]
enum FieldTime {}

impl Shape for FieldTime {
    type Value = ();

    #[inline]
    fn key(record: &[u8]) -> &[u8] {
        record.get(HEAD..).unwrap_or_default()
    }

    fn carry(_record: &mut [u8], _from: &mut Slab<()>, _to: &mut Slab<()>) {}
}

fn time(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct FieldTimes {
    times: Records<FieldTime>,
    order: ExpiryIndex,
}

impl FieldTimes {
    /// No field expires.
    pub fn new(hasher: KeyHasher) -> FieldTimes {
        FieldTimes { times: Records::new(hasher), order: ExpiryIndex::default() }
    }

    /// True when no field expires.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.times.bytes() + self.order.heap_bytes()
    }

    /// When the first field expires, Unix milliseconds.
    #[inline]
    pub fn next(&self) -> Option<u64> {
        self.order.first().map(|due| due.at_ms)
    }

    /// When a field expires.
    pub fn get(&self, field: &[u8]) -> Option<u64> {
        self.times.get(self.times.hasher().hash(field), field).map(|record| time(record.bytes))
    }

    /// Number of fields whose time has come at `now_ms`.
    pub fn due(&self, now_ms: u64) -> usize {
        if self.next().is_none_or(|at| at > now_ms) {
            return 0;
        }
        self.times.iter().filter(|record| time(record.bytes) <= now_ms).count()
    }

    /// A field expires at `at_ms` (not after [`MAX_MS`]), whenever it was to expire before.
    pub fn set(&mut self, field: &[u8], at_ms: u64) {
        let at_ms = at_ms.min(MAX_MS);
        let hash = self.times.hasher().hash(field);
        let old = self.times.update(hash, field, |mut record| {
            let old = time(record.get().bytes);
            if let Some(head) = record.bytes_mut().first_chunk_mut() {
                *head = at_ms.to_le_bytes();
            }
            old
        });
        if old.is_none() {
            self.times.insert_new(hash, HEAD + field.len(), |out, _| {
                let (head, name) = out.split_at_mut(HEAD);
                head.copy_from_slice(&at_ms.to_le_bytes());
                name.copy_from_slice(field);
            });
        }
        if old != Some(at_ms) {
            self.order.push(Due { at_ms, hash, db: 0 });
            self.settle();
        }
    }

    /// A field expires no more; true when it would have.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let hash = self.times.hasher().hash(field);
        let had = self.times.remove(hash, field, Thrift::Easy, |_, _| ()).is_some();
        if had {
            self.settle();
        }
        had
    }

    /// The next field whose time has come at `now_ms`; it expires no more.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<Box<[u8]>> {
        let due = self.order.first().filter(|due| due.at_ms <= now_ms)?;
        let record = self.times.find_by_hash(due.hash, |record| time(record.bytes) == due.at_ms)?;
        let field: Box<[u8]> = FieldTime::key(record.bytes).into();
        self.remove(&field);
        Some(field)
    }

    /// The head of the heap is always the time of a field.
    fn settle(&mut self) {
        let times = &self.times;
        let current =
            |due: &Due| times.find_by_hash(due.hash, |record| time(record.bytes) == due.at_ms).is_some();
        if self.order.is_stale(times.len()) {
            self.order.tidy(current);
        }
        while self.order.first().is_some_and(|due| !current(&due)) {
            self.order.pop_due(u64::MAX);
        }
    }
}
