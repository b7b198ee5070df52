//! A short list of byte strings in one allocation: what small collections are kept as.
//!
//! ```text
//! number of items u16 | item … ; an item: length varint | bytes
//! ```
//!
//! The allocation is as long as its contents (nothing is kept for later growth: the allocator's size classes leave some
//! room anyway), and the number of items is known without a walk.

use std::ops::Range;

use crate::store::entry::allocated;
use crate::store::varint;

/// Bytes of the number of items.
const HEAD: usize = 2;

/// Most items that a list can hold.
pub const MAX_ITEMS: usize = u16::MAX as usize;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Packed(Box<[u8]>);

/// Where a pair stands: its name begins at `field`, its value takes the bytes of `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub field: usize,
    pub value: Range<usize>,
}

/// The items of a list, one after another.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Items<'a> {
    /// Where the next item begins.
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let (len, used) = varint::read(rest);
        let item = rest.get(used..used + len).filter(|_| used > 0)?;
        self.at += used + len;
        Some(item)
    }
}

impl Packed {
    /// Number of items.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.first_chunk::<HEAD>().map_or(0, |head| usize::from(u16::from_le_bytes(*head)))
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        allocated(self.0.len())
    }

    /// All items in order.
    #[inline]
    pub fn iter(&self) -> Items<'_> {
        Items { bytes: &self.0, at: HEAD }
    }

    /// Where the pair of this name stands, among items that are names and values in turn.
    #[inline]
    pub fn find_pair(&self, name: &[u8]) -> Option<Pair> {
        // Names that differ mostly do so at their ends: eight bytes tell most of them apart without a call.
        let tail = name.last_chunk::<8>();
        let mut at = HEAD;
        loop {
            let field = at;
            let (len, used) = varint::read(self.0.get(at..)?);
            let found = self.0.get(at + used..at + used + len).filter(|_| used > 0)?;
            at += used + len;
            let value = at;
            let (value_len, used) = varint::read(self.0.get(at..)?);
            at += used + value_len;
            if len == name.len() && found.last_chunk::<8>() == tail && found == name {
                return Some(Pair { field, value: value..at });
            }
        }
    }

    /// The item that takes the bytes of `range`.
    #[inline]
    pub fn item(&self, range: &Range<usize>) -> Option<&[u8]> {
        let bytes = self.0.get(range.clone())?;
        let (len, used) = varint::read(bytes);
        bytes.get(used..used + len)
    }

    /// Puts another item of the same length in the place of the one that takes the bytes of `range`; false when it is of
    /// another length, and nothing was done.
    #[inline]
    pub fn overwrite(&mut self, range: &Range<usize>, item: &[u8]) -> bool {
        let head = varint::len(item.len());
        if range.len() != head + item.len() {
            return false;
        }
        let Some(place) = self.0.get_mut(range.start + head..range.end) else { return false };
        place.copy_from_slice(item);
        true
    }

    /// Adds items at the end. There must be room for their number ([`MAX_ITEMS`]).
    pub fn push<const N: usize>(&mut self, items: [&[u8]; N]) {
        let end = self.0.len().max(HEAD);
        self.splice(end..end, 0, items);
    }

    /// Puts other items in the place of `replaced` items, which take the bytes of `range`.
    pub fn splice<const N: usize>(&mut self, range: Range<usize>, replaced: usize, items: [&[u8]; N]) {
        let len = self.len() + N - replaced;
        debug_assert!(len <= MAX_ITEMS);
        let new: usize = items.iter().map(|item| varint::len(item.len()) + item.len()).sum();
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        if bytes.is_empty() {
            bytes.reserve_exact(HEAD + new);
            bytes.resize(HEAD, 0);
        }
        let (old_len, tail) = (bytes.len(), bytes.len() - range.end);
        let new_len = range.start + new + tail;
        if new_len > old_len {
            bytes.reserve_exact(new_len - old_len);
            bytes.resize(new_len, 0);
        }
        bytes.copy_within(range.end..old_len, range.start + new);
        bytes.truncate(new_len);
        let mut at = range.start;
        for item in items {
            let start = at + varint::len(item.len());
            varint::write(&mut bytes[at..start], item.len());
            at = start + item.len();
            bytes[start..at].copy_from_slice(item);
        }
        bytes[..HEAD].copy_from_slice(&(len as u16).to_le_bytes());
        if len == 0 {
            bytes = Vec::new();
        }
        self.0 = bytes.into_boxed_slice();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_are_found_by_their_names() {
        let mut packed = Packed::default();
        let long = [b'x'; 200];
        for name in [&b"field:0001"[..], b"field:0002", b"", b"a", b"\x80", &long, b"xield:0002"] {
            packed.push([name, name]);
        }
        for name in [&b"field:0001"[..], b"field:0002", b"", b"a", b"\x80", &long, b"xield:0002"] {
            let Pair { field, value } = packed.find_pair(name).expect("it is there");
            let mut items = packed.iter();
            while items.offset() < field {
                items.next();
            }
            assert_eq!(items.next(), Some(name));
            assert_eq!((items.offset(), items.next(), items.offset()), (value.start, Some(name), value.end));
        }
        for name in [&b"field:0003"[..], b"b", b"aa", &long[..199]] {
            assert_eq!(packed.find_pair(name), None);
        }
        let Pair { value, .. } = packed.find_pair(&long).expect("it is there");
        assert!(!packed.overwrite(&value, b"short"));
        assert!(packed.overwrite(&value, &[b'y'; 200]));
        let Pair { value, .. } = packed.find_pair(b"a").expect("it is there");
        assert!(packed.overwrite(&value, b"b") && !packed.overwrite(&value, b""));
        assert!(packed.iter().eq([
            &b"field:0001"[..],
            b"field:0001",
            b"field:0002",
            b"field:0002",
            b"",
            b"",
            b"a",
            b"b",
            b"\x80",
            b"\x80",
            &long,
            &[b'y'; 200],
            b"xield:0002",
            b"xield:0002",
        ]));
        assert_eq!(Packed::default().find_pair(b""), None);
    }

    proptest! {
        #[test]
        fn behaves_as_a_vector(ops in prop::collection::vec((0usize..4, any::<usize>(), prop::collection::vec(any::<u8>(), 0..300)), 0..60)) {
            let mut model: Vec<Vec<u8>> = Vec::new();
            let mut packed = Packed::default();
            for (what, at, item) in ops {
                if what < 2 || model.is_empty() {
                    packed.push([&item, b"x"]);
                    model.extend([item, b"x".to_vec()]);
                } else {
                    let at = at % model.len();
                    let mut items = packed.iter();
                    items.by_ref().take(at).for_each(drop);
                    let start = items.offset();
                    items.next();
                    let range = start..items.offset();
                    if what == 2 {
                        packed.splice(range, 1, [&item[..]]);
                        model[at] = item;
                    } else {
                        packed.splice(range, 1, []);
                        model.remove(at);
                    }
                }
                prop_assert_eq!(packed.len(), model.len());
                prop_assert!(packed.iter().eq(model.iter().map(Vec::as_slice)));
                prop_assert_eq!(packed.is_empty(), packed.heap_bytes() == 0);
            }
        }
    }
}
