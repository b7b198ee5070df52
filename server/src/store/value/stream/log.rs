//! The entries of a stream in their nodes, and what is known about those that are gone.

use super::id::StreamId;
use super::id_map::IdMap;
use super::node::{Entry, Next, Node};
use crate::store::Limits;

/// Redis's bound of a node where the configuration has none, in bytes.
const MAX_NODE_BYTES: usize = 1 << 30;

/// Why no entry can be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// The last possible ID was used.
    Exhausted,
    /// The ID is not above the last one.
    NotAbove,
    /// Names and values are too long together.
    TooLarge,
}

/// The ID that a client wants a new entry to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WantedId {
    /// `*`: the time, or what follows the last one.
    Auto,
    /// `ms-*`: the next one in this millisecond.
    Within(u64),
    /// This one.
    Exact(StreamId),
}

/// What a trim leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// So many entries.
    Newest(u64),
    /// Entries from this ID on.
    From(StreamId),
}

/// A trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What it leaves.
    pub keep: Keep,
    /// Only whole nodes go (`~`).
    pub whole_nodes: bool,
    /// Most entries that go; 0: no bound.
    pub limit: u64,
}

/// A place behind an entry that was read: where the next one is looked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The first ID of the node.
    node: StreamId,
    /// Where in the node.
    at: usize,
    /// The [`Log::epoch`] in which that is true.
    epoch: u32,
    /// The entry before that place.
    behind: StreamId,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Log {
    nodes: IdMap<Node>,
    /// Bytes that the nodes hold on the heap.
    node_bytes: usize,
    len: u64,
    last_id: StreamId,
    first_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    /// Changes when IDs may come a second time.
    epoch: u32,
}

impl Clone for Log {
    fn clone(&self) -> Self {
        let nodes = self.nodes.clone();
        Log { node_bytes: nodes.iter().map(|(_, node)| node.heap_bytes()).sum(), nodes, ..*self }
    }
}

impl Log {
    /// A log read from a dump: nodes in ascending order. What is known beside the nodes is set by
    /// [`Log::set_facts`]. `None` when the nodes are not in order.
    pub fn from_nodes(nodes: impl Iterator<Item = Option<(StreamId, Node)>>) -> Option<Log> {
        let mut log = Log::default();
        for node in nodes {
            let (first, node) = node?;
            if log.nodes.last().is_some_and(|(_, last)| last.last() >= first) {
                return None;
            }
            log.len += node.live();
            log.node_bytes += node.heap_bytes();
            log.last_id = node.last();
            log.nodes.insert(first, node);
        }
        log.refresh_first();
        Some(log)
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.node_bytes + self.nodes.heap_bytes()
    }

    /// The greatest ID that was ever given, or what XSETID said.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The first entry that is there; 0-0 when none is.
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The greatest ID that XDEL deleted.
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// Entries ever added.
    pub fn entries_added(&self) -> u64 {
        self.entries_added
    }

    /// The nodes with their first IDs.
    pub fn nodes(&self) -> impl Iterator<Item = (StreamId, &Node)> {
        self.nodes.iter()
    }

    /// Number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Sets what is known beside the entries.
    pub fn set_facts(&mut self, last_id: StreamId, max_deleted_id: StreamId, entries_added: u64) {
        if self.len == 0 {
            self.nodes = IdMap::default();
            self.node_bytes = 0;
        }
        self.last_id = last_id;
        self.max_deleted_id = max_deleted_id;
        self.entries_added = entries_added;
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The ID that a new entry gets.
    pub fn next_id(&self, wanted: WantedId, now_ms: u64) -> Result<StreamId, AddError> {
        if self.last_id == StreamId::MAX {
            return Err(AddError::Exhausted);
        }
        let id = match wanted {
            WantedId::Exact(id) => Some(id),
            WantedId::Within(ms) if ms == self.last_id.ms => {
                self.last_id.seq.checked_add(1).map(|seq| StreamId::new(ms, seq))
            }
            WantedId::Within(ms) => Some(StreamId::new(ms, 0)),
            WantedId::Auto if now_ms > self.last_id.ms => Some(StreamId::new(now_ms, 0)),
            WantedId::Auto => self.last_id.next(),
        };
        id.filter(|id| *id > self.last_id).ok_or(AddError::NotAbove)
    }

    /// Adds an entry; `items` alternates names and values, `id` is above the last one.
    pub fn add<'i>(
        &mut self,
        id: StreamId,
        items: impl ExactSizeIterator<Item = &'i [u8]> + Clone,
        limits: &Limits,
    ) -> Result<(), AddError> {
        let bytes: usize = items.clone().map(<[u8]>::len).sum();
        if bytes > MAX_NODE_BYTES {
            return Err(AddError::TooLarge);
        }
        let fits = self.nodes.last_mut().is_some_and(|(first, node)| {
            let before = node.heap_bytes();
            let fits = has_room(node, bytes, limits);
            if fits {
                node.append(first, id, items.clone());
            } else {
                node.shrink();
            }
            self.node_bytes = self.node_bytes - before + node.heap_bytes();
            fits
        });
        if !fits {
            let node = Node::new(id, items);
            self.node_bytes += node.heap_bytes();
            self.nodes.insert(id, node);
        }
        self.len += 1;
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.len == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    /// Deletes an entry; true when it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        if !self.delete_entry(id) {
            return false;
        }
        self.max_deleted_id = self.max_deleted_id.max(id);
        if self.len == 0 || id == self.first_id {
            self.refresh_first();
        }
        true
    }

    fn delete_entry(&mut self, id: StreamId) -> bool {
        let Some(place) = self.nodes.floor(id) else { return false };
        let Some((first, node)) = self.nodes.at(place) else { return false };
        let at = match node.find(first, id) {
            Some(entry) if !entry.is_deleted() => entry.at,
            _ => return false,
        };
        if node.live() == 1 {
            self.drop_node(first);
        } else if let Some(node) = self.nodes.at_mut(place) {
            node.delete(at);
        }
        self.len -= 1;
        true
    }

    fn drop_node(&mut self, first: StreamId) {
        if let Some(node) = self.nodes.remove(first) {
            self.node_bytes -= node.heap_bytes();
        }
    }

    /// Whether an entry is there.
    pub fn contains(&self, id: StreamId) -> bool {
        let found = self.nodes.floor(id).and_then(|place| self.nodes.at(place));
        found.and_then(|(first, node)| node.find(first, id)).is_some_and(|entry| !entry.is_deleted())
    }

    /// Trims the front; answers how many entries went.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut gone = 0;
        while let Some((first, node)) = self.nodes.first() {
            let live = node.live();
            let is_enough = matches!(trim.keep, Keep::Newest(count) if self.len <= count);
            if is_enough || (trim.limit != 0 && gone + live > trim.limit) {
                break;
            }
            let whole = match trim.keep {
                Keep::Newest(count) => self.len - live >= count,
                Keep::From(id) => node.last() < id,
            };
            if whole {
                self.drop_node(first);
                self.len -= live;
                gone += live;
                continue;
            }
            if !trim.whole_nodes {
                gone += self.trim_node(first, trim.keep);
            }
            break;
        }
        if gone > 0 {
            self.refresh_first();
        }
        gone
    }

    /// Removes so many entries at the front: what a primary's trim did.
    pub fn trim_first(&mut self, count: u64) {
        self.trim(&Trim { keep: Keep::Newest(self.len.saturating_sub(count)), whole_nodes: false, limit: 0 });
    }

    fn trim_node(&mut self, first: StreamId, keep: Keep) -> u64 {
        let Some(node) = self.nodes.get_mut(first) else { return 0 };
        let mut len = self.len;
        let gone = node.delete_from_start(first, |id| {
            let goes = match keep {
                Keep::Newest(count) => len > count,
                Keep::From(from) => id < from,
            };
            len -= u64::from(goes);
            goes
        });
        // All that the trim would have kept was deleted before.
        if node.live() == 0 {
            self.drop_node(first);
        }
        self.len -= gone;
        gone
    }

    fn refresh_first(&mut self) {
        let mut first = StreamId::MIN;
        if self.len > 0 {
            self.each(StreamId::MIN, StreamId::MAX, None, |entry| {
                first = entry.id;
                (entry.skip(), false)
            });
        }
        self.first_id = first;
    }

    /// Visits the entries from `from` to `to` in order, until `visit` says to stop. With the cursor of an earlier
    /// visit that ended right before `from` the first one is found without a search. Answers a cursor behind the last
    /// entry that was visited.
    pub fn each<'l>(
        &'l self,
        from: StreamId,
        to: StreamId,
        cursor: Option<Cursor>,
        mut visit: impl FnMut(Entry<'l>) -> (Next, bool),
    ) -> Option<Cursor> {
        let mut behind = None;
        let mut place = self.nodes.floor(from).or_else(|| self.nodes.first_place());
        let mut known = cursor.filter(|c| c.epoch == self.epoch && c.behind.next() == Some(from));
        while let Some((first, node)) = place.and_then(|place| self.nodes.at(place)) {
            if first > to {
                break;
            }
            let mut at = known.take().filter(|c| c.node == first).map_or(node.start(), |c| c.at);
            while let Some(entry) = node.entry(first, at) {
                if entry.id > to {
                    return behind;
                }
                let skipped = entry.is_deleted() || entry.id < from;
                let (next, goes_on) = if skipped { (entry.skip(), true) } else { visit(entry) };
                let Some(next) = next.at() else { return behind };
                at = next;
                if !skipped {
                    behind = Some(Cursor { node: first, at, epoch: self.epoch, behind: entry.id });
                }
                if !goes_on {
                    return behind;
                }
            }
            place = place.and_then(|place| self.nodes.after(place));
        }
        behind
    }

    /// Visits the entries from `to` down to `from`, until `visit` says to stop.
    pub fn each_back<'l>(&'l self, from: StreamId, to: StreamId, mut visit: impl FnMut(Entry<'l>) -> bool) {
        let mut place = self.nodes.floor(to);
        while let Some((first, node)) = place.and_then(|place| self.nodes.at(place)) {
            let mut end = node.end();
            while let Some(entry) = node.entry_before(first, end) {
                if entry.id < from || (!entry.is_deleted() && entry.id <= to && !visit(entry)) {
                    return;
                }
                end = entry.at;
            }
            if first < from {
                break;
            }
            place = place.and_then(|place| self.nodes.before(place));
        }
    }

    /// The entry of an ID, if it is there.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (first, node) = self.nodes.at(self.nodes.floor(id)?)?;
        node.find(first, id).filter(|entry| !entry.is_deleted())
    }

    /// The last entry that is there.
    pub fn last_entry(&self) -> Option<StreamId> {
        let mut last = None;
        // The newest entry is nearly always the last ID.
        self.each_back(StreamId::MIN, StreamId::MAX, |entry| {
            last = Some(entry.id);
            false
        });
        last
    }

    /// Whether an entry that was deleted lay at or after `from`, as far as Redis would know.
    fn has_tombstones_from(&self, from: StreamId) -> bool {
        self.len > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && from <= self.max_deleted_id
    }

    /// How many entries were added up to `id`; `None` when that cannot be said.
    fn added_up_to(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if (self.len == 0 && id <= self.last_id) || id == self.last_id {
            return Some(self.entries_added);
        }
        if id > self.last_id {
            return None;
        }
        if self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id {
            let before = self.entries_added.wrapping_sub(self.len);
            if id < self.first_id {
                return Some(before);
            }
            if id == self.first_id {
                return Some(before.wrapping_add(1));
            }
        }
        None
    }

    /// The read counter of a group that has read up to `id`, as far as that can be said; -1: unknown.
    pub fn reads_up_to(&self, id: StreamId) -> i64 {
        self.added_up_to(id).map_or(-1, |n| n as i64)
    }

    /// The read counter of a group after it was given the entry `id`; -1: unknown.
    pub fn reads_after(&self, reads: i64, id: StreamId) -> i64 {
        if reads != -1 && !self.has_tombstones_from(id) {
            reads.wrapping_add(1)
        } else if self.entries_added > 0 {
            self.reads_up_to(id)
        } else {
            reads
        }
    }

    /// Entries that a group has not been given yet; `None` when that cannot be said.
    pub fn lag(&self, reads: i64, last_id: StreamId) -> Option<i64> {
        let added = self.entries_added as i64;
        if self.entries_added == 0 {
            return Some(0);
        }
        if reads != -1 && !self.has_tombstones_from(last_id) {
            return Some(added.wrapping_sub(reads));
        }
        self.added_up_to(last_id).map(|n| added.wrapping_sub(n as i64))
    }
}

/// Whether a node takes an entry of so many bytes more.
fn has_room(node: &Node, bytes: usize, limits: &Limits) -> bool {
    let max = match limits.stream_node_bytes {
        0 => MAX_NODE_BYTES,
        max => max.min(MAX_NODE_BYTES),
    };
    node.packed_bytes() + bytes < max
        && (limits.stream_node_entries == 0 || node.entries() < limits.stream_node_entries)
}

#[cfg(test)]
impl Log {
    /// [`Log::heap_bytes`], counted anew.
    pub fn recount(&self) -> usize {
        self.nodes.heap_bytes() + self.nodes.iter().map(|(_, node)| node.heap_bytes()).sum::<usize>()
    }
}
