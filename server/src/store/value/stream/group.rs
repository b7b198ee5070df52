//! Consumer groups: how far a group has read, what its consumers have not acknowledged.

use super::id::StreamId;
use super::id_map::IdMap;
use super::log::Cursor;
use crate::store::entry::allocated;

/// A read counter that is not known.
pub const READS_UNKNOWN: i64 = -1;

/// The active time of a consumer that never got an entry.
pub const NEVER_ACTIVE: i64 = -1;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// When it was delivered last, Unix milliseconds.
    pub time_ms: i64,
    /// How often it was delivered.
    pub count: u64,
    /// Whose it is.
    pub consumer: ConsumerId,
}

/// A consumer's number in its group: stays the same while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// One consumer of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it asked last, Unix milliseconds.
    pub seen_ms: i64,
    /// When it got something last, Unix milliseconds; [`NEVER_ACTIVE`].
    pub active_ms: i64,
    pending: IdMap<()>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What it has not acknowledged.
    pub fn pending(&self) -> &IdMap<()> {
        &self.pending
    }

    fn heap_bytes(&self) -> usize {
        allocated(self.name.len()) + self.pending.heap_bytes()
    }
}

/// A consumer group.
#[derive(Debug)]
pub struct Group {
    name: Box<[u8]>,
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries of the stream the group has read; [`READS_UNKNOWN`].
    pub reads: i64,
    /// Where the next entry is, if the last one is still where it was.
    pub cursor: Option<Cursor>,
    pending: IdMap<Pending>,
    /// By number; `None`: free.
    consumers: Vec<Option<Consumer>>,
    /// Numbers in the order of the names.
    by_name: Vec<u32>,
    /// Bytes that the consumers hold on the heap.
    consumer_bytes: usize,
}

impl Clone for Group {
    fn clone(&self) -> Self {
        let consumers = self.consumers.clone();
        Group {
            name: self.name.clone(),
            last_id: self.last_id,
            reads: self.reads,
            cursor: self.cursor,
            pending: self.pending.clone(),
            consumer_bytes: consumers.iter().flatten().map(Consumer::heap_bytes).sum(),
            consumers,
            by_name: self.by_name.clone(),
        }
    }
}

impl Group {
    /// A group without consumers that has read up to `last_id`.
    pub fn new(name: &[u8], last_id: StreamId, reads: i64) -> Group {
        Group {
            name: name.into(),
            last_id,
            reads,
            cursor: None,
            pending: IdMap::default(),
            consumers: Vec::new(),
            by_name: Vec::new(),
            consumer_bytes: 0,
        }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        allocated(self.name.len())
            + self.pending.heap_bytes()
            + allocated(self.consumers.capacity() * size_of::<Option<Consumer>>())
            + allocated(self.by_name.capacity() * size_of::<u32>())
            + self.consumer_bytes
    }

    /// What nobody has acknowledged.
    pub fn pending(&self) -> &IdMap<Pending> {
        &self.pending
    }

    /// Number of consumers.
    pub fn consumer_count(&self) -> usize {
        self.by_name.len()
    }

    /// The consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.by_name.iter().filter_map(|number| self.consumer(ConsumerId(*number)))
    }

    /// The consumer of a number.
    pub fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(id.0 as usize)?.as_ref()
    }

    fn place_of(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|number| {
            self.consumer(ConsumerId(*number)).map_or(std::cmp::Ordering::Less, |c| (*c.name).cmp(name))
        })
    }

    /// The number of the consumer of that name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        let place = self.place_of(name).ok()?;
        self.by_name.get(place).map(|number| ConsumerId(*number))
    }

    /// The consumer of that name; a new one, seen at `seen_ms`, when there is none. True when it is new.
    pub fn find_or_create(&mut self, name: &[u8], seen_ms: i64) -> (ConsumerId, bool) {
        let place = match self.place_of(name) {
            Ok(place) => return (ConsumerId(self.by_name.get(place).copied().unwrap_or_default()), false),
            Err(place) => place,
        };
        let consumer =
            Consumer { name: name.into(), seen_ms, active_ms: NEVER_ACTIVE, pending: IdMap::default() };
        self.consumer_bytes += consumer.heap_bytes();
        let number = if self.by_name.len() == self.consumers.len() {
            self.consumers.push(Some(consumer));
            self.consumers.len() - 1
        } else {
            let free = self.consumers.iter().position(Option::is_none).unwrap_or_default();
            if let Some(slot) = self.consumers.get_mut(free) {
                *slot = Some(consumer);
            }
            free
        };
        self.by_name.insert(place, number as u32);
        (ConsumerId(number as u32), true)
    }

    /// Notes when a consumer asked, and when it got something.
    pub fn note(&mut self, id: ConsumerId, seen_ms: i64, active_ms: Option<i64>) {
        if let Some(consumer) = self.consumers.get_mut(id.0 as usize).and_then(Option::as_mut) {
            consumer.seen_ms = seen_ms;
            consumer.active_ms = active_ms.unwrap_or(consumer.active_ms);
        }
    }

    /// Removes a consumer with what it has not acknowledged; answers how many entries that were. `None` when there is
    /// no such consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let place = self.place_of(name).ok()?;
        let number = self.by_name.remove(place);
        let consumer = self.consumers.get_mut(number as usize)?.take()?;
        self.consumer_bytes -= consumer.heap_bytes();
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        while self.consumers.last().is_some_and(Option::is_none) {
            self.consumers.pop();
        }
        Some(consumer.pending.len())
    }

    fn change_pending<R>(&mut self, id: ConsumerId, change: impl FnOnce(&mut IdMap<()>) -> R) -> Option<R> {
        let consumer = self.consumers.get_mut(id.0 as usize)?.as_mut()?;
        let before = consumer.pending.heap_bytes();
        let result = change(&mut consumer.pending);
        self.consumer_bytes = self.consumer_bytes - before + consumer.pending.heap_bytes();
        Some(result)
    }

    /// Gives an entry to a consumer, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        match self.pending.insert(id, pending) {
            Some(old) if old.consumer == pending.consumer => return,
            Some(old) => {
                self.change_pending(old.consumer, |all| all.remove(id));
            }
            None => {}
        }
        self.change_pending(pending.consumer, |all| all.insert(id, ()));
    }

    /// Forgets that an entry waits to be acknowledged; true when it did.
    pub fn forget(&mut self, id: StreamId) -> bool {
        let Some(pending) = self.pending.remove(id) else { return false };
        self.change_pending(pending.consumer, |all| all.remove(id));
        true
    }
}

/// The groups of a stream, in the order of their names.
#[derive(Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    /// Bytes that they hold on the heap, beside the list itself.
    bytes: usize,
}

impl Clone for Groups {
    fn clone(&self) -> Self {
        let groups = self.groups.clone();
        Groups { bytes: groups.iter().map(Group::heap_bytes).sum(), groups }
    }
}

impl Groups {
    /// Number of groups.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes + allocated(self.groups.capacity() * size_of::<Group>())
    }

    /// All groups in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter()
    }

    fn place_of(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| (*group.name).cmp(name))
    }

    /// The group of that name.
    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(self.place_of(name).ok()?)
    }

    /// Changes the group of that name; `None` when there is none.
    pub fn change<R>(&mut self, name: &[u8], change: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let place = self.place_of(name).ok()?;
        let group = self.groups.get_mut(place)?;
        let before = group.heap_bytes();
        let result = change(group);
        self.bytes = self.bytes - before + group.heap_bytes();
        Some(result)
    }

    /// Adds a group; false when there is one of its name.
    pub fn add(&mut self, group: Group) -> bool {
        match self.place_of(&group.name) {
            Ok(_) => false,
            Err(place) => {
                self.bytes += group.heap_bytes();
                self.groups.insert(place, group);
                true
            }
        }
    }

    /// Removes a group; true when it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Ok(place) = self.place_of(name) else { return false };
        let group = self.groups.remove(place);
        self.bytes -= group.heap_bytes();
        if self.groups.is_empty() {
            self.groups = Vec::new();
        }
        true
    }
}

#[cfg(test)]
impl Groups {
    /// [`Groups::heap_bytes`], counted anew.
    pub fn recount(&self) -> usize {
        let consumers =
            |group: &Group| group.consumers.iter().flatten().map(Consumer::heap_bytes).sum::<usize>();
        let groups =
            self.groups.iter().map(|group| group.heap_bytes() - group.consumer_bytes + consumers(group));
        allocated(self.groups.capacity() * size_of::<Group>()) + groups.sum::<usize>()
    }
}
