//! A short list of names with values in one allocation: what small hashes are kept as.
//!
//! ```text
//! number of pairs u16 | pair … ; a pair: lengths | name | value
//!
//! lengths: 0nnnvvvv                   name of 1 to 8 bytes, value of 1 to 16
//!          1nnnnnnn vvvvvvvv          name of 0 to 126 bytes, value of 0 to 255
//!          11111111 varint varint     any
//! ```
//!
//! The allocation is as long as its contents (nothing is kept for later growth: the allocator's size classes leave some
//! room anyway), and the number of pairs is known without a walk. Names are short and so are most values, hence one byte
//! for both: with two, ten values of 16 bytes were just too long for a size class. The same bytes may stand elsewhere, as
//! in a key's record: [`PackedRef`] looks at them there, and [`overwrite`] changes what keeps its length.

use std::ops::Range;

use smallvec::SmallVec;

use crate::store::entry::allocated;
use crate::store::varint;

/// Bytes of the number of pairs.
const HEAD: usize = 2;

/// Most pairs that a list can hold.
pub const MAX_PAIRS: usize = u16::MAX as usize;

/// Longest name and value whose lengths take one byte together.
const SHORT_NAME: usize = 8;
const SHORT_VALUE: usize = 16;

/// The shortest name whose lengths never take one byte.
const SHORT_END: usize = SHORT_NAME + 1;

/// Marks the lengths that take more than one byte.
const LONGER: u8 = 0x80;

/// Longest name and value whose lengths take a byte each.
const MIDDLE_NAME: usize = 126;
const MIDDLE_VALUE: usize = u8::MAX as usize;

/// Bytes of a list for whose making no memory is asked for but its own.
const SCRATCH: usize = 512;

/// Bytes of the lengths of a pair.
#[inline]
fn lengths_len(name: usize, value: usize) -> usize {
    match (name, value) {
        (1..=SHORT_NAME, 1..=SHORT_VALUE) => 1,
        (..=MIDDLE_NAME, ..=MIDDLE_VALUE) => 2,
        _ => 1 + varint::len(name) + varint::len(value),
    }
}

/// Writes the lengths of a pair into exactly so many bytes.
#[inline]
fn write_lengths(out: &mut [u8], name: usize, value: usize) {
    match out {
        [one] => *one = ((name - 1) << 4 | (value - 1)) as u8,
        [first, second] => (*first, *second) = (LONGER | name as u8, value as u8),
        [first, rest @ ..] => {
            *first = u8::MAX;
            let (names, values) = rest.split_at_mut(varint::len(name));
            varint::write(names, name);
            varint::write(values, value);
        }
        [] => {}
    }
}

/// The lengths at the start of `bytes`, and how many of them they take; `None` at the end.
#[inline]
fn read_lengths(bytes: &[u8]) -> Option<(usize, usize, usize)> {
    match bytes {
        [one, ..] if *one < LONGER => Some((usize::from(one >> 4) + 1, usize::from(one & 15) + 1, 1)),
        [first, second, ..] if *first < u8::MAX => {
            Some((usize::from(first & !LONGER), usize::from(*second), 2))
        }
        [_, rest @ ..] => {
            let (name, used) = varint::read(rest);
            let (value, more) = varint::read(&rest[used..]);
            Some((name, value, 1 + used + more))
        }
        [] => None,
    }
}

/// Bytes of a pair.
#[inline]
fn pair_len(name: &[u8], value: &[u8]) -> usize {
    lengths_len(name.len(), value.len()) + name.len() + value.len()
}

/// Writes a pair into exactly so many bytes.
#[inline]
fn write_pair(out: &mut [u8], name: &[u8], value: &[u8]) {
    let (lengths, rest) = out.split_at_mut(lengths_len(name.len(), value.len()));
    write_lengths(lengths, name.len(), value.len());
    let (names, values) = rest.split_at_mut(name.len());
    names.copy_from_slice(name);
    values.copy_from_slice(value);
}

/// Where a pair stands: it begins at `start`, its value takes the bytes of `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    start: usize,
    value: Range<usize>,
}

/// Where the pair of this name stands in a list.
#[inline]
fn find(bytes: &[u8], name: &[u8]) -> Option<Pair> {
    let mut rest = bytes.get(HEAD..)?;
    // Names that differ mostly do so at their ends: eight bytes tell most of them apart without a call.
    let tail = name.last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail));
    if let SHORT_END..=MIDDLE_NAME = name.len() {
        // The usual lengths of names and values: most pairs are passed over by a look at two bytes and at the name's end.
        let lengths = LONGER | name.len() as u8;
        while let [first, second, ..] = *rest
            && (LONGER..u8::MAX).contains(&first)
        {
            let end = 2 + usize::from(first & !LONGER);
            if first == lengths
                && let Some(found) = rest.get(2..end)
                && found.last_chunk().is_some_and(|end| u64::from_le_bytes(*end) == tail)
                && found == name
            {
                return Some(pair_at(bytes, rest, end, usize::from(second)));
            }
            rest = rest.get(end + usize::from(second)..)?;
        }
    }
    loop {
        let (name_len, value_len, used) = read_lengths(rest)?;
        let end = used + name_len;
        let found = rest.get(used..end)?;
        let agrees = |found: &[u8]| found.last_chunk().is_none_or(|end| u64::from_le_bytes(*end) == tail);
        if name_len == name.len() && agrees(found) && found == name {
            return Some(pair_at(bytes, rest, end, value_len));
        }
        rest = rest.get(end + value_len..)?;
    }
}

/// The pair at the beginning of `rest`, which is the end of `bytes`; its value begins `value` bytes from there.
#[inline]
fn pair_at(bytes: &[u8], rest: &[u8], value: usize, value_len: usize) -> Pair {
    let start = bytes.len() - rest.len();
    Pair { start, value: start + value..start + value + value_len }
}

/// Gives the pair of this name another value of the same length; false (and nothing is done) where there is none such.
#[inline]
pub fn overwrite(bytes: &mut [u8], name: &[u8], value: &[u8]) -> bool {
    let place = find(bytes, name).filter(|pair| pair.value.len() == value.len());
    let place = place.and_then(|pair| bytes.get_mut(pair.value));
    place.map(|place| place.copy_from_slice(value)).is_some()
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Packed(Box<[u8]>);

/// A list, to look at, wherever its bytes are.
#[derive(Clone, Copy, Debug)]
pub struct PackedRef<'a>(&'a [u8]);

impl<'a> PackedRef<'a> {
    /// The list of these bytes, which [`Packed::as_bytes`] gave.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> PackedRef<'a> {
        PackedRef(bytes)
    }

    /// Number of pairs.
    #[inline]
    pub fn pairs(self) -> usize {
        self.0.first_chunk::<HEAD>().map_or(0, |head| usize::from(u16::from_le_bytes(*head)))
    }

    /// All pairs in order.
    #[inline]
    pub fn iter(self) -> Pairs<'a> {
        Pairs(self.0.get(HEAD..).unwrap_or_default())
    }

    /// The value of this name.
    #[inline]
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        find(self.0, name).and_then(|pair| self.0.get(pair.value))
    }
}

/// The pairs of a list, one after another.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name_len, value_len, used) = read_lengths(self.0)?;
        let (name, rest) = self.0.get(used..)?.split_at_checked(name_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.0 = rest;
        Some((name, value))
    }
}

impl Packed {
    /// The list of these bytes, which [`Packed::as_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Packed {
        Packed(bytes.into())
    }

    /// The list as bytes; none where it is empty.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The list, to look at.
    #[inline]
    pub fn view(&self) -> PackedRef<'_> {
        PackedRef(&self.0)
    }

    /// Number of pairs.
    #[inline]
    pub fn len(&self) -> usize {
        self.view().pairs()
    }

    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        allocated(self.0.len())
    }

    /// All pairs in order.
    #[inline]
    pub fn iter(&self) -> Pairs<'_> {
        self.view().iter()
    }

    /// Where the pair of this name stands.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Pair> {
        find(&self.0, name)
    }

    /// Adds a pair at the end. There must be room for its number ([`MAX_PAIRS`]), and none of its name.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let end = self.0.len().max(HEAD);
        let len = self.len() + 1;
        self.splice(end..end, pair_len(name, value), len, |out| write_pair(out, name, value));
    }

    /// Gives a pair that was found another value.
    #[inline]
    pub fn set_value(&mut self, pair: &Pair, value: &[u8]) {
        if pair.value.len() == value.len()
            && let Some(place) = self.0.get_mut(pair.value.clone())
        {
            place.copy_from_slice(value);
            return;
        }
        self.replace_value(pair, value);
    }

    #[inline(never)]
    fn replace_value(&mut self, pair: &Pair, value: &[u8]) {
        let Some((name_len, ..)) = self.0.get(pair.start..).and_then(read_lengths) else { return };
        let name = SmallVec::<[u8; 64]>::from_slice(&self.0[pair.value.start - name_len..pair.value.start]);
        let len = self.len();
        self.splice(pair.start..pair.value.end, pair_len(&name, value), len, |out| {
            write_pair(out, &name, value)
        });
    }

    /// Takes a pair out that was found.
    pub fn remove(&mut self, pair: &Pair) {
        let len = self.len() - 1;
        self.splice(pair.start..pair.value.end, 0, len, |_| ());
    }

    /// Puts `new` bytes, which `fill` writes, in the place of others; the list holds `len` pairs from then on.
    fn splice(&mut self, range: Range<usize>, new: usize, len: usize, fill: impl FnOnce(&mut [u8])) {
        debug_assert!(len <= MAX_PAIRS);
        if len == 0 {
            self.0 = Box::default();
            return;
        }
        let mut bytes = std::mem::take(&mut self.0).into_vec();
        let old_len = bytes.len().max(HEAD);
        let new_len = range.start + new + old_len - range.end;
        if new_len > bytes.len() {
            bytes.reserve_exact(new_len - bytes.len());
            bytes.resize(new_len, 0);
        }
        bytes.copy_within(range.end..old_len, range.start + new);
        bytes.truncate(new_len);
        fill(&mut bytes[range.start..range.start + new]);
        bytes[..HEAD].copy_from_slice(&(len as u16).to_le_bytes());
        self.0 = bytes.into_boxed_slice();
    }
}

/// A list in the making, for which memory is asked for once.
#[derive(Debug)]
pub struct Building {
    bytes: SmallVec<[u8; SCRATCH]>,
    len: usize,
}

impl Default for Building {
    fn default() -> Self {
        Building { bytes: SmallVec::from_slice(&[0; HEAD]), len: 0 }
    }
}

impl Building {
    /// Number of pairs.
    pub fn pairs(&self) -> usize {
        self.len
    }

    /// Adds a pair; false (and nothing is done) when there is one of this name or no room for one more.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> bool {
        if self.len == MAX_PAIRS || find(&self.bytes, name).is_some() {
            return false;
        }
        let start = self.bytes.len();
        let mut lengths = [0; 11];
        let lengths = &mut lengths[..lengths_len(name.len(), value.len())];
        write_lengths(lengths, name.len(), value.len());
        self.bytes.reserve(lengths.len() + name.len() + value.len());
        self.bytes.extend_from_slice(lengths);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        debug_assert_eq!(self.bytes.len() - start, pair_len(name, value));
        self.len += 1;
        true
    }

    /// The list.
    pub fn finish(mut self) -> Packed {
        if self.len == 0 {
            return Packed::default();
        }
        self.bytes[..HEAD].copy_from_slice(&(self.len as u16).to_le_bytes());
        Packed(self.bytes.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_read_as_written() {
        for name in [0, 1, 8, 9, 126, 127, 128, 300, 70_000] {
            for value in [0, 1, 16, 17, 255, 256, 20_000] {
                let mut bytes = vec![0; lengths_len(name, value)];
                write_lengths(&mut bytes, name, value);
                let used = bytes.len();
                bytes.push(0xee);
                assert_eq!(read_lengths(&bytes), Some((name, value, used)));
            }
        }
        assert_eq!(
            (lengths_len(8, 16), lengths_len(9, 16), lengths_len(0, 1), lengths_len(127, 1)),
            (1, 2, 2, 3)
        );
        assert_eq!(read_lengths(&[]), None);
    }

    #[test]
    fn ten_short_fields_fit_a_size_class() {
        let mut made = Building::default();
        (0..10).for_each(|n| assert!(made.push(format!("f{n}").as_bytes(), &[b'v'; 16])));
        assert_eq!(made.finish().heap_bytes(), 192);
    }

    #[test]
    fn pairs_are_found_by_their_names() {
        let long = [b'x'; 200];
        let names = [&b"field:0001"[..], b"field:0002", b"", b"a", b"\x80", &long, b"xield:0002"];
        let mut packed = Packed::default();
        let mut made = Building::default();
        for name in names {
            packed.push(name, name);
            assert!(made.push(name, name) && !made.push(name, b"again"));
        }
        assert_eq!((packed.len(), made.pairs()), (7, 7));
        assert_eq!(packed.0, made.finish().0);
        for name in names {
            assert_eq!(packed.view().get(name), Some(name));
        }
        for name in [&b"field:0003"[..], b"b", b"aa", &long[..199]] {
            assert_eq!(packed.find(name), None);
        }
        assert_eq!(Packed::default().find(b""), None);
        assert!(Building::default().finish().is_empty());
    }

    #[test]
    fn what_keeps_its_length_is_written_over_where_it_stands() {
        let mut made = Building::default();
        assert!(made.push(b"a", b"one") && made.push(b"b", b"two"));
        let mut bytes = made.finish().as_bytes().to_vec();
        assert!(overwrite(&mut bytes, b"b", b"six"));
        assert!(!overwrite(&mut bytes, b"a", b"longer") && !overwrite(&mut bytes, b"c", b"one"));
        let pairs = [(&b"a"[..], &b"one"[..]), (b"b", b"six")];
        assert!(PackedRef::new(&bytes).iter().eq(pairs) && Packed::from_bytes(&bytes).iter().eq(pairs));
        assert!(!overwrite(&mut [], b"a", b"one"));
    }

    proptest! {
        #[test]
        fn behaves_as_a_vector(ops in prop::collection::vec((0usize..5, any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..60)) {
            let mut model: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let mut packed = Packed::default();
            for (what, name, value) in ops {
                let name = vec![name; usize::from(name) % 20 * usize::from(name % 7)];
                match (packed.find(&name), what) {
                    (Some(pair), 4) => {
                        packed.remove(&pair);
                        model.retain(|(n, _)| *n != name);
                    }
                    (Some(pair), _) => {
                        packed.set_value(&pair, &value);
                        model.iter_mut().filter(|(n, _)| *n == name).for_each(|(_, v)| v.clone_from(&value));
                    }
                    (None, _) => {
                        packed.push(&name, &value);
                        model.push((name, value));
                    }
                }
                prop_assert_eq!(packed.len(), model.len());
                prop_assert!(packed.iter().eq(model.iter().map(|(n, v)| (&n[..], &v[..]))));
                prop_assert_eq!(packed.is_empty(), packed.heap_bytes() == 0);
            }
        }
    }
}
