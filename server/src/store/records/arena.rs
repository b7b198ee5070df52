//! The bytes of one segment's records, in pages.
//!
//! A record is its length (a varint) and its bytes; it begins anywhere in a page, so nothing is lost to rounding. What
//! a record leaves behind is a hole, which the next record of about that length fills; when holes add up the segment
//! writes its records anew.

use super::slab::Slab;
use crate::store::entry::allocated;
use crate::store::varint;

/// Bytes of a page. A longer record has a page of its own.
const PAGE: usize = 4096;

/// Bits of a place that say where in its page a record begins.
const PAGE_BITS: u32 = PAGE.trailing_zeros();

/// The last page grows in such steps.
const STEP: usize = 512;

/// Holes that are remembered; those before them are lost until the records are written anew.
const HOLES_MAX: usize = 64;

/// Holes that are looked at for a new record.
const HOLES_LOOKED_AT: usize = 8;

/// A rest of a hole that is worth being one itself.
const HOLE_MIN: usize = 32;

/// Bytes of holes that are always put up with.
const WASTE_MIN: usize = 512;

/// Emptied pages that are always put up with.
const EMPTY_PAGES_MIN: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Hole {
    place: u32,
    len: u32,
}

/// See the module's text. Owned by a segment.
#[derive(Debug)]
pub struct Arena<V> {
    pages: Vec<Vec<u8>>,
    /// The page that new records go to.
    open: usize,
    /// Bytes of all pages.
    page_bytes: usize,
    /// Bytes in pages that belong to no record.
    holes_bytes: usize,
    /// Pages that were given back, their place in `pages` with nothing in it.
    empty_pages: usize,
    holes: Vec<Hole>,
    /// Values that do not fit into records.
    pub values: Slab<V>,
}

impl<V> Default for Arena<V> {
    fn default() -> Self {
        Arena {
            pages: Vec::new(),
            open: 0,
            page_bytes: 0,
            holes_bytes: 0,
            empty_pages: 0,
            holes: Vec::new(),
            values: Slab::default(),
        }
    }
}

/// When holes are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thrift {
    /// An eighth of the bytes: as usual.
    Easy,
    /// A thirty-second: memory is short.
    Strict,
}

impl<V> Arena<V> {
    /// Bytes on the heap that are in use: pages without their holes, and the slots of values.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.page_bytes - self.holes_bytes
            + self.pages.capacity() * size_of::<Vec<u8>>()
            + self.holes.capacity() * size_of::<Hole>()
            + self.values.bytes()
    }

    /// Bytes of all pages, holes included.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.page_bytes
    }

    /// [`Arena::bytes`] counted anew, given the lengths of all records' bytes: tests compare.
    pub fn recount(&self, records: impl Iterator<Item = usize>) -> usize {
        let pages: usize = self.pages.iter().map(|page| allocated(page.capacity())).sum();
        let filled: usize = self.pages.iter().map(Vec::len).sum();
        let whole: usize = records.map(|len| varint::len(len) + len).sum();
        pages - (filled - whole)
            + self.pages.capacity() * size_of::<Vec<u8>>()
            + self.holes.capacity() * size_of::<Hole>()
            + self.values.bytes()
    }

    /// Where the bytes of the record at `place` are: page, start, end.
    #[inline]
    fn range(&self, place: u32) -> (usize, usize, usize) {
        let (page, start) = ((place >> PAGE_BITS) as usize, place as usize & (PAGE - 1));
        let (len, used) = varint::read(&self.pages[page][start..]);
        (page, start + used, start + used + len)
    }

    /// The record at `place`.
    #[inline]
    pub fn get(&self, place: u32) -> &[u8] {
        let (page, start, end) = self.range(place);
        &self.pages[page][start..end]
    }

    /// The same, to change; its length stays.
    #[inline]
    pub fn get_mut(&mut self, place: u32) -> &mut [u8] {
        let (page, start, end) = self.range(place);
        &mut self.pages[page][start..end]
    }

    /// The record at `place` with the values, both to change.
    #[inline]
    pub fn get_with_values(&mut self, place: u32) -> (&mut [u8], &mut Slab<V>) {
        let (page, start, end) = self.range(place);
        (&mut self.pages[page][start..end], &mut self.values)
    }

    /// What begins at `place`, whatever is there: for a prefetch, which reads nothing of it.
    #[inline]
    pub fn raw(&self, place: u32) -> &[u8] {
        let page = self.pages.get((place >> PAGE_BITS) as usize);
        page.and_then(|page| page.get(place as usize & (PAGE - 1)..)).unwrap_or_default()
    }

    /// Writes a record of `len` bytes with `fill`, whose slice may hold anything before; answers its place. `fill` may
    /// add to the values.
    pub fn put(&mut self, len: usize, fill: impl FnOnce(&mut [u8], &mut Slab<V>)) -> u32 {
        let head = varint::len(len);
        let whole = head + len;
        let place = self.room(whole);
        let (page, start) = ((place >> PAGE_BITS) as usize, place as usize & (PAGE - 1));
        let bytes = &mut self.pages[page][start..start + whole];
        varint::write(&mut bytes[..head], len);
        fill(&mut bytes[head..], &mut self.values);
        place
    }

    /// Room for `whole` bytes.
    fn room(&mut self, whole: usize) -> u32 {
        let first = self.holes.len().saturating_sub(HOLES_LOOKED_AT);
        let fits = |hole: &Hole| (whole..=whole + whole / 8 + 8).contains(&(hole.len as usize));
        if let Some(at) = self.holes[first..].iter().rposition(fits) {
            let Hole { place, len } = self.holes.swap_remove(first + at);
            self.holes_bytes -= whole;
            self.keep_hole(place + whole as u32, len as usize - whole);
            return place;
        }
        if whole > PAGE {
            return self.add_page(whole, whole);
        }
        if let Some(page) = self.pages.get_mut(self.open)
            && page.len() + whole <= PAGE
        {
            let start = page.len();
            if start + whole > page.capacity() {
                let before = page.capacity();
                if before == 0 {
                    self.empty_pages -= 1;
                }
                page.reserve_exact((start + whole).next_multiple_of(STEP) - start);
                self.page_bytes += page.capacity() - before;
            }
            page.resize(start + whole, 0);
            return ((self.open << PAGE_BITS) | start) as u32;
        }
        let place = self.add_page(whole, whole.next_multiple_of(STEP));
        self.open = (place >> PAGE_BITS) as usize;
        place
    }

    /// A new page of which `whole` bytes are taken.
    fn add_page(&mut self, whole: usize, capacity: usize) -> u32 {
        let mut page = Vec::with_capacity(capacity);
        self.page_bytes += allocated(capacity);
        page.resize(whole, 0);
        if self.pages.len() == self.pages.capacity() {
            self.pages.reserve_exact(2 + self.pages.len() / 4);
        }
        self.pages.push(page);
        ((self.pages.len() - 1) << PAGE_BITS) as u32
    }

    /// The record at `place` is not needed any more.
    pub fn free(&mut self, place: u32) {
        let (page, _, end) = self.range(place);
        let whole = end - (place as usize & (PAGE - 1));
        let bytes = &mut self.pages[page];
        if whole > PAGE {
            self.page_bytes -= allocated(bytes.capacity());
            *bytes = Vec::new();
            self.empty_pages += 1;
        } else if page == self.open && end == bytes.len() {
            bytes.truncate(end - whole);
        } else {
            self.holes_bytes += whole;
            self.keep_hole(place, whole);
        }
    }

    fn keep_hole(&mut self, place: u32, len: usize) {
        if len < HOLE_MIN {
            return;
        }
        if self.holes.len() == HOLES_MAX {
            self.holes.drain(..HOLES_MAX / 2);
        }
        self.holes.push(Hole { place, len: len as u32 });
    }

    /// Whether the records should be written anew.
    #[inline]
    pub fn is_wasteful(&self, thrift: Thrift) -> bool {
        let part = match thrift {
            Thrift::Easy => 8,
            Thrift::Strict => 32,
        };
        self.holes_bytes > WASTE_MIN.max(self.page_bytes / part)
            || self.empty_pages > EMPTY_PAGES_MIN.max(self.pages.len() / 2)
    }
}
