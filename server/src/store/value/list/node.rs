//! A node: entries one after another in one allocation, with room at either end.

use super::End;
use super::pack::{Entry, first, last_len};
use crate::rdb::Element;
use crate::store::entry::allocated;

/// Bytes of a listpack beside its entries: what `list-max-listpack-size` counts as well.
pub(super) const FRAME: usize = 7;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Node {
    room: Box<[u8]>,
    /// Where the entries stand. There are no elements as long as 4 GiB: `proto-max-bulk-len` is 2 GiB at most.
    start: u32,
    end: u32,
    count: u32,
}

/// The allocation for so many bytes: what the allocator gives for them anyway, as far as places in it can be told.
fn capacity_for(bytes: usize) -> usize {
    allocated(bytes).min(bytes.max(u32::MAX as usize))
}

impl Node {
    /// An empty node with room for so many bytes, all of it in front of or behind the place where entries come.
    pub fn with_room(end: End, bytes: usize) -> Node {
        let capacity = capacity_for(bytes);
        let start = if end == End::Front { capacity as u32 } else { 0 };
        Node { room: vec![0; capacity].into_boxed_slice(), start, end: start, count: 0 }
    }

    /// The entries.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start as usize..self.end as usize]
    }

    /// Number of entries.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes of the entries.
    #[inline]
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Bytes that a listpack of the entries has.
    #[inline]
    pub fn listpack_len(&self) -> usize {
        self.len() + FRAME
    }

    /// Bytes of the allocation.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.room.len()
    }

    /// Makes room for `more` bytes at an end.
    #[inline]
    fn reserve(&mut self, end: End, more: usize) {
        let free = match end {
            End::Front => self.start as usize,
            End::Back => self.room.len() - self.end as usize,
        };
        if free < more {
            self.rearrange(end, more);
        }
    }

    #[cold]
    fn rearrange(&mut self, end: End, more: usize) {
        let len = self.len();
        // A queue that goes in at one end and out at the other moves now and then, and need not grow.
        let capacity =
            if self.room.len() - len >= more + len / 2 { self.room.len() } else { capacity_for(len + more) };
        let start = match end {
            End::Front => capacity - len,
            End::Back => 0,
        };
        self.move_to(capacity, start);
    }

    fn move_to(&mut self, capacity: usize, start: usize) {
        let len = self.len();
        if capacity == self.room.len() {
            self.room.copy_within(self.start as usize..self.end as usize, start);
        } else {
            let mut room = vec![0; capacity].into_boxed_slice();
            room[start..start + len].copy_from_slice(self.bytes());
            self.room = room;
        }
        (self.start, self.end) = (start as u32, (start + len) as u32);
    }

    /// Gives back room that is not needed.
    pub fn fit(&mut self) {
        let capacity = capacity_for(self.len());
        if capacity < self.room.len() {
            self.move_to(capacity, 0);
        }
    }

    /// Gives back room when most of it is not needed.
    fn shrink(&mut self) {
        let len = self.len();
        if self.room.len() > 128 && len < self.room.len() / 4 {
            self.move_to(capacity_for(len * 2), 0);
        }
    }

    /// Adds an entry at an end.
    #[inline]
    pub fn push(&mut self, end: End, entry: &Entry<'_>) {
        let len = entry.len();
        self.reserve(end, len);
        let at = match end {
            End::Front => {
                self.start -= len as u32;
                self.start as usize
            }
            End::Back => {
                self.end += len as u32;
                self.end as usize - len
            }
        };
        entry.write(&mut self.room[at..at + len]);
        self.count += 1;
    }

    /// The element at an end and the length of its entry.
    #[inline]
    pub fn peek(&self, end: End) -> Option<(Element<'_>, usize)> {
        let bytes = self.bytes();
        match end {
            End::Front => first(bytes),
            End::Back => first(&bytes[bytes.len().checked_sub(last_len(bytes)?)?..]),
        }
    }

    /// Drops the entry at an end, which is `len` bytes long.
    #[inline]
    pub fn drop_end(&mut self, end: End, len: usize) {
        match end {
            End::Front => self.start += len as u32,
            End::Back => self.end -= len as u32,
        }
        self.count -= 1;
        self.shrink();
    }

    /// Where the entry of this index begins (the end, for the number of entries).
    pub fn offset(&self, index: usize) -> usize {
        let bytes = self.bytes();
        if index < self.count() / 2 {
            let mut at = 0;
            for _ in 0..index {
                at += first(&bytes[at..]).map_or(0, |(_, len)| len);
            }
            return at;
        }
        let mut at = bytes.len();
        for _ in index..self.count() {
            at -= last_len(&bytes[..at]).unwrap_or(0).min(at);
        }
        at
    }

    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        Some(first(&self.bytes()[self.offset(index)..])?.0)
    }

    /// Replaces `removed` bytes at `at`, which are `entries` entries, by an entry or by nothing.
    fn splice(&mut self, at: usize, removed: usize, entries: usize, entry: Option<&Entry<'_>>) {
        let added = entry.map_or(0, Entry::len);
        if added > removed {
            self.reserve(End::Back, added - removed);
        }
        let at = self.start as usize + at;
        let end = self.end as usize;
        self.room.copy_within(at + removed..end, at + added);
        self.end = (end + added - removed) as u32;
        if let Some(entry) = entry {
            entry.write(&mut self.room[at..at + added]);
        }
        self.count = self.count - entries as u32 + u32::from(entry.is_some());
        self.shrink();
    }

    /// Puts an entry in front of that of this index.
    pub fn insert(&mut self, index: usize, entry: &Entry<'_>) {
        self.splice(self.offset(index), 0, 0, Some(entry));
    }

    /// Puts an entry in the place of that of this index.
    pub fn replace(&mut self, index: usize, entry: &Entry<'_>) {
        let (at, end) = (self.offset(index), self.offset(index + 1));
        self.splice(at, end - at, 1, Some(entry));
    }

    /// Removes `count` entries from this index on.
    pub fn remove(&mut self, index: usize, count: usize) {
        let (at, end) = (self.offset(index), self.offset(index + count));
        if at == 0 {
            self.start += end as u32;
            self.count -= count as u32;
            self.shrink();
        } else {
            self.splice(at, end - at, count, None);
        }
    }

    /// Splits the entries from this index on off.
    pub fn split_off(&mut self, index: usize) -> Node {
        let at = self.offset(index);
        let tail = &self.bytes()[at..];
        let mut other = Node::with_room(End::Back, tail.len());
        other.room[..tail.len()].copy_from_slice(tail);
        (other.end, other.count) = (tail.len() as u32, self.count - index as u32);
        self.end = self.start + at as u32;
        self.count = index as u32;
        self.shrink();
        other
    }

    /// Adds the entries of another one behind its own.
    pub fn append(&mut self, other: &Node) {
        self.reserve(End::Back, other.len());
        let end = self.end as usize;
        self.room[end..end + other.len()].copy_from_slice(other.bytes());
        self.end += other.len() as u32;
        self.count += other.count;
    }

    /// Removes the entries at these indexes, which rise.
    pub fn remove_all(&mut self, indexes: &[usize]) {
        let (mut read, mut write, mut index) = (self.start as usize, self.start as usize, 0);
        let mut doomed = indexes.iter().peekable();
        while let Some((_, len)) = first(&self.room[read..self.end as usize]) {
            if doomed.next_if_eq(&&index).is_none() {
                if read != write {
                    self.room.copy_within(read..read + len, write);
                }
                write += len;
            }
            read += len;
            index += 1;
        }
        self.end = write as u32;
        self.count -= indexes.len() as u32;
        self.shrink();
    }
}
