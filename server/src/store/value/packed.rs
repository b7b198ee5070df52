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
