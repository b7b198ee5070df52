//! A node: up to some hundred entries in one allocation, in Redis's form of a listpack.
//!
//! ```text
//! bytes : fields u | name … | 0 | entry …
//! entry : flags | ms - first ms | seq - first seq | (fields | name | value …) or (value …) | elements before this one
//! ```
//!
//! Every part is an element of [`super::pack`]. An entry with the same names as the node's first one leaves them out.
//! Redis keeps the numbers of live and deleted entries in front and an end mark behind; here they are fields of
//! [`Node`], but counted as if they were there, so that a node is full after as many entries as there. A deleted
//! entry keeps its bytes: what was an entry's place stays its place as long as the node lives.

use super::id::StreamId;
use super::pack::{self, Piece};
use crate::store::entry::allocated;

/// The entry was deleted.
const DELETED: u8 = 1;
/// The entry has the names of the node's first entry.
const SAME_FIELDS: u8 = 2;

/// Bytes of a listpack around its elements: total length, number of elements, end mark.
const FRAME_BYTES: usize = 7;

/// What every entry has beside its fields: flags, two differences.
const HEAD_ELEMENTS: i64 = 3;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Node {
    bytes: Vec<u8>,
    /// Names in the first entry.
    fields: u32,
    /// Where the entries begin.
    entries_at: u32,
    live: u32,
    dead: u32,
    /// The last entry, deleted or not.
    last: StreamId,
}

/// An entry in a node.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    /// How many fields it has.
    pub fields: usize,
    /// Where it begins in its node.
    pub at: usize,
    node: &'a Node,
    flags: u8,
    /// Where its fields begin.
    body: usize,
}

/// Where the entry after one that was visited begins; only [`Entry::skip`] and [`Entry::each`] tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next(Option<usize>);

impl<'a> Entry<'a> {
    /// Whether it was deleted.
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Passes over the fields.
    #[inline]
    pub fn skip(&self) -> Next {
        Next(self.end())
    }

    fn end(&self) -> Option<usize> {
        let bytes = &self.node.bytes;
        let elements =
            if self.flags & SAME_FIELDS != 0 { self.fields } else { self.fields.checked_mul(2)? };
        let mut at = self.body;
        // One more: the number of elements.
        for _ in 0..=elements {
            at = pack::skip(bytes, at)?;
        }
        Some(at)
    }

    /// Calls `visit` with each name and its value.
    #[inline]
    pub fn each(&self, visit: impl FnMut(Piece<'a>, Piece<'a>)) -> Next {
        Next(self.walk(visit))
    }

    fn walk(&self, mut visit: impl FnMut(Piece<'a>, Piece<'a>)) -> Option<usize> {
        let bytes = &self.node.bytes;
        let mut at = self.body;
        if self.flags & SAME_FIELDS != 0 {
            let mut name_at = pack::skip(bytes, 0)?;
            for _ in 0..self.fields {
                let (name, next_name) = pack::read(bytes, name_at)?;
                let (value, next) = pack::read(bytes, at)?;
                visit(name, value);
                (name_at, at) = (next_name, next);
            }
        } else {
            for _ in 0..self.fields {
                let (name, value_at) = pack::read(bytes, at)?;
                let (value, next) = pack::read(bytes, value_at)?;
                visit(name, value);
                at = next;
            }
        }
        pack::skip(bytes, at)
    }
}

impl Next {
    /// Where that is; `None` in damaged bytes.
    pub fn at(self) -> Option<usize> {
        self.0
    }
}

impl Node {
    /// A node that begins with an entry: `items` alternates names and values.
    pub fn new<'i>(id: StreamId, items: impl ExactSizeIterator<Item = &'i [u8]> + Clone) -> Node {
        let fields = items.len() / 2;
        let mut bytes = Vec::new();
        pack::put_number(&mut bytes, fields as i64);
        items.clone().step_by(2).for_each(|name| pack::put_bytes(&mut bytes, name));
        pack::put_number(&mut bytes, 0);
        let entries_at = bytes.len() as u32;
        let mut node = Node { bytes, fields: fields as u32, entries_at, live: 0, dead: 0, last: id };
        node.append(id, id, items);
        node
    }

    /// Adds an entry at the end. `first` is the ID of the node's first entry.
    pub fn append<'i>(
        &mut self,
        first: StreamId,
        id: StreamId,
        items: impl ExactSizeIterator<Item = &'i [u8]> + Clone,
    ) {
        let fields = items.len() / 2;
        let same = fields == self.fields as usize && self.has_names(items.clone().step_by(2));
        let out = &mut self.bytes;
        pack::put_number(out, if same { i64::from(SAME_FIELDS) } else { 0 });
        pack::put_number(out, id.ms.wrapping_sub(first.ms) as i64);
        pack::put_number(out, id.seq.wrapping_sub(first.seq) as i64);
        if same {
            items.skip(1).step_by(2).for_each(|value| pack::put_bytes(out, value));
            pack::put_number(out, HEAD_ELEMENTS + fields as i64);
        } else {
            pack::put_number(out, fields as i64);
            items.for_each(|item| pack::put_bytes(out, item));
            pack::put_number(out, HEAD_ELEMENTS + 1 + 2 * fields as i64);
        }
        self.live += 1;
        self.last = id;
    }

    fn has_names<'i>(&self, mut names: impl Iterator<Item = &'i [u8]>) -> bool {
        let mut at = pack::skip(&self.bytes, 0);
        names.all(|name| match at.and_then(|at| pack::read(&self.bytes, at)) {
            Some((piece, next)) => {
                at = Some(next);
                piece.is(name)
            }
            None => false,
        })
    }

    /// Bytes of the whole node in Redis's form.
    pub fn packed_bytes(&self) -> usize {
        let counts = pack::number_bytes(u64::from(self.live)) + pack::number_bytes(u64::from(self.dead));
        FRAME_BYTES + counts + self.bytes.len()
    }

    /// Gives back what was allocated for more entries.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        allocated(self.bytes.capacity())
    }

    /// Entries that are there.
    pub fn live(&self) -> u64 {
        u64::from(self.live)
    }

    /// All entries, deleted ones too.
    pub fn entries(&self) -> usize {
        self.live as usize + self.dead as usize
    }

    /// The ID of the last entry, deleted or not.
    pub fn last(&self) -> StreamId {
        self.last
    }

    /// Where the first entry begins.
    pub fn start(&self) -> usize {
        self.entries_at as usize
    }

    /// Where the last entry ends.
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The entry that begins at `at`; `None` at the end.
    #[inline]
    pub fn entry(&self, first: StreamId, at: usize) -> Option<Entry<'_>> {
        let bytes = &self.bytes;
        let flags = *bytes.get(at)?;
        let (ms, seq_at) = pack::read_number(bytes, at + 2)?;
        let (seq, mut body) = pack::read_number(bytes, seq_at)?;
        let id = StreamId::new(first.ms.wrapping_add(ms as u64), first.seq.wrapping_add(seq as u64));
        let mut fields = self.fields as usize;
        if flags & SAME_FIELDS == 0 {
            let number;
            (number, body) = pack::read_number(bytes, body)?;
            fields = usize::try_from(number).ok()?;
        }
        Some(Entry { id, fields, at, node: self, flags, body })
    }

    /// The entry that ends at `end`; `None` at the start.
    pub fn entry_before(&self, first: StreamId, end: usize) -> Option<Entry<'_>> {
        if end <= self.start() {
            return None;
        }
        let mut at = pack::back(&self.bytes, end)?;
        let (elements, _) = pack::read_number(&self.bytes, at)?;
        for _ in 0..elements {
            at = pack::back(&self.bytes, at)?;
        }
        if at < self.start() { None } else { self.entry(first, at) }
    }

    /// The entry of this ID, deleted or not.
    pub fn find(&self, first: StreamId, id: StreamId) -> Option<Entry<'_>> {
        let mut at = self.start();
        loop {
            let entry = self.entry(first, at)?;
            if entry.id >= id {
                return (entry.id == id).then_some(entry);
            }
            at = entry.end()?;
        }
    }

    /// Marks the entry that begins at `at` as deleted; false when it was already.
    pub fn delete(&mut self, at: usize) -> bool {
        match self.bytes.get_mut(at) {
            Some(flags) if *flags & DELETED == 0 => {
                *flags |= DELETED;
                self.live = self.live.saturating_sub(1);
                self.dead += 1;
                true
            }
            _ => false,
        }
    }

    /// Marks entries from the start on as deleted as long as `which` says so; answers how many.
    pub fn delete_from_start(&mut self, first: StreamId, mut which: impl FnMut(StreamId) -> bool) -> u64 {
        let (mut at, mut deleted) = (self.start(), 0);
        while let Some((entry_at, id, is_deleted, next)) =
            self.entry(first, at).and_then(|e| Some((e.at, e.id, e.is_deleted(), e.end()?)))
        {
            if !is_deleted {
                if !which(id) {
                    break;
                }
                self.delete(entry_at);
                deleted += 1;
            }
            at = next;
        }
        deleted
    }

    /// Appends the node as a listpack of Redis.
    pub fn write_listpack(&self, out: &mut Vec<u8>) {
        // The number of elements has sixteen bits; this says that they must be counted.
        const UNKNOWN: u16 = u16::MAX;
        let start = out.len();
        out.extend_from_slice(&(self.packed_bytes() as u32).to_le_bytes());
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
        pack::put_number(out, i64::from(self.live));
        pack::put_number(out, i64::from(self.dead));
        out.extend_from_slice(&self.bytes);
        out.push(0xff);
        let elements = self.elements();
        if let Some(place) = out.get_mut(start + 4..start + 6)
            && elements < usize::from(UNKNOWN)
        {
            place.copy_from_slice(&(elements as u16).to_le_bytes());
        }
    }

    fn elements(&self) -> usize {
        let (mut at, mut count) = (0, 2);
        while let Some(next) = pack::skip(&self.bytes, at) {
            count += 1;
            at = next;
        }
        count
    }

    /// Reads a listpack that Redis, or [`Node::write_listpack`], wrote; `None` when it is no node of a stream. Its
    /// entries must stand in ascending order behind `after`.
    pub fn read_listpack(first: StreamId, listpack: &[u8], after: Option<StreamId>) -> Option<Node> {
        let (head, rest) = listpack.split_first_chunk::<6>()?;
        let (len, _) = head.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*len) as usize != listpack.len() {
            return None;
        }
        let (&0xff, elements) = rest.split_last()? else { return None };
        let (live, at) = pack::read_number(elements, 0)?;
        let (dead, at) = pack::read_number(elements, at)?;
        let (live, dead) = (u32::try_from(live).ok()?, u32::try_from(dead).ok()?);
        let bytes = elements.get(at..)?.to_vec();
        let (fields, mut at) = pack::read_number(&bytes, 0)?;
        for _ in 0..fields {
            at = pack::skip(&bytes, at).filter(|at| *at < bytes.len())?;
        }
        let (0, at) = pack::read_number(&bytes, at)? else { return None };
        let fields = u32::try_from(fields).ok()?;
        let node = Node { entries_at: u32::try_from(at).ok()?, bytes, fields, live, dead, last: first };
        node.checked(first, after)
    }

    /// The node with its last ID, when every entry is as this module would write it.
    fn checked(mut self, first: StreamId, after: Option<StreamId>) -> Option<Node> {
        let (mut at, mut last, mut live, mut dead) = (self.start(), after, 0, 0);
        while at < self.end() {
            let entry = self.entry(first, at)?;
            // One byte for the flags: it is changed in place.
            let is_sound = self.bytes.get(at + 1) == Some(&1)
                && entry.flags & !(DELETED | SAME_FIELDS) == 0
                && last.is_none_or(|last| last < entry.id)
                && entry.id >= first;
            if !is_sound {
                return None;
            }
            last = Some(entry.id);
            *(if entry.is_deleted() { &mut dead } else { &mut live }) += 1;
            let (next, id) = (entry.end()?, entry.id);
            if next > self.end() || self.entry_before(first, next)?.id != id {
                return None;
            }
            self.last = id;
            at = next;
        }
        ((live, dead) == (self.live, self.dead) && live + dead > 0).then_some(self)
    }
}
