//! A node: entries one after another in one allocation, with room at either end.

use super::End;
use super::pack::{Entry, first, last_len};
use crate::rdb::Element;
use crate::store::entry::allocated;

/// Bytes of a listpack beside its entries: what `list-max-listpack-size` counts as well.
const FRAME: usize = 7;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Node {
    room: Box<[u8]>,
    start: usize,
    end: usize,
    count: usize,
}

impl Node {
    /// The entries.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    /// Number of entries.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that a listpack of the entries has.
    #[inline]
    pub fn listpack_len(&self) -> usize {
        self.end - self.start + FRAME
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
            End::Front => self.start,
            End::Back => self.room.len() - self.end,
        };
        if free < more {
            self.rearrange(end, more);
        }
    }

    #[cold]
    fn rearrange(&mut self, end: End, more: usize) {
        let len = self.end - self.start;
        // A queue that goes in at one end and out at the other moves now and then, and need not grow.
        let capacity =
            if self.room.len() - len >= more + len / 2 { self.room.len() } else { allocated(len + more) };
        let start = match end {
            End::Front => capacity - len,
            End::Back => 0,
        };
        self.move_to(capacity, start);
    }

    fn move_to(&mut self, capacity: usize, start: usize) {
        let len = self.end - self.start;
        if capacity == self.room.len() {
            self.room.copy_within(self.start..self.end, start);
        } else {
            let mut room = vec![0; capacity].into_boxed_slice();
            room[start..start + len].copy_from_slice(self.bytes());
            self.room = room;
        }
        (self.start, self.end) = (start, start + len);
    }

    /// Gives back room that is not needed.
    pub fn fit(&mut self) {
        let capacity = allocated(self.end - self.start);
        if capacity < self.room.len() {
            self.move_to(capacity, 0);
        }
    }

    /// Gives back room when most of it is not needed.
    fn shrink(&mut self) {
        let len = self.end - self.start;
        if self.room.len() > 128 && len < self.room.len() / 4 {
            self.move_to(allocated(len * 2), 0);
        }
    }

    /// Adds an entry at an end.
    #[inline]
    pub fn push(&mut self, end: End, entry: &Entry<'_>) {
        let len = entry.len();
        self.reserve(end, len);
        let at = match end {
            End::Front => {
                self.start -= len;
                self.start
            }
            End::Back => {
                self.end += len;
                self.end - len
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
            End::Front => self.start += len,
            End::Back => self.end -= len,
        }
        self.count -= 1;
        self.shrink();
    }

    /// Where the entry of this index begins (the end, for the number of entries).
    pub fn offset(&self, index: usize) -> usize {
        let bytes = self.bytes();
        if index < self.count / 2 {
            let mut at = 0;
            for _ in 0..index {
                at += first(&bytes[at..]).map_or(0, |(_, len)| len);
            }
            return at;
        }
        let mut at = bytes.len();
        for _ in index..self.count {
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
        let at = self.start + at;
        self.room.copy_within(at + removed..self.end, at + added);
        self.end = self.end + added - removed;
        if let Some(entry) = entry {
            entry.write(&mut self.room[at..at + added]);
        }
        self.count = self.count - entries + usize::from(entry.is_some());
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
            self.start += end;
            self.count -= count;
            self.shrink();
        } else {
            self.splice(at, end - at, count, None);
        }
    }

    /// Splits the entries from this index on off.
    pub fn split_off(&mut self, index: usize) -> Node {
        let at = self.offset(index);
        let tail = &self.bytes()[at..];
        let (len, capacity) = (tail.len(), allocated(tail.len()));
        let mut room = vec![0; capacity].into_boxed_slice();
        room[..len].copy_from_slice(tail);
        let other = Node { room, start: 0, end: len, count: self.count - index };
        self.end = self.start + at;
        self.count = index;
        self.shrink();
        other
    }

    /// Adds the entries of another one behind its own.
    pub fn append(&mut self, other: &Node) {
        self.reserve(End::Back, other.bytes().len());
        self.room[self.end..self.end + other.bytes().len()].copy_from_slice(other.bytes());
        self.end += other.bytes().len();
        self.count += other.count;
    }

    /// Removes the entries at these indexes, which rise.
    pub fn remove_all(&mut self, indexes: &[usize]) {
        let (mut read, mut write, mut index) = (self.start, self.start, 0);
        let mut doomed = indexes.iter().peekable();
        while let Some((_, len)) = first(&self.room[read..self.end]) {
            if doomed.next_if_eq(&&index).is_none() {
                if read != write {
                    self.room.copy_within(read..read + len, write);
                }
                write += len;
            }
            read += len;
            index += 1;
        }
        self.end = write;
        self.count -= indexes.len();
        self.shrink();
    }
}
