//! The elements of Redis's packed forms (listpack, ziplist, intset, zipmap), as one iterator.
//!
//! Each form has a file with a function `read` that looks at all of its bytes first, so that the iterator which it gives
//! can be trusted. Whatever the bytes are: no panic, nothing is allocated.

use std::borrow::Cow;

use torc_protocol::resp::parse_i64;

use crate::effect::DecodeError;

/// An element: the packed forms keep integers as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element<'a> {
    /// An integer; as a string it is its decimal text.
    Integer(i64),
    /// A string.
    String(&'a [u8]),
}

impl<'a> Element<'a> {
    /// The element as a string; `room` is where the text of an integer goes.
    pub fn bytes<'r>(self, room: &'r mut itoa::Buffer) -> &'r [u8]
    where
        'a: 'r,
    {
        match self {
            Element::Integer(n) => room.format(n).as_bytes(),
            Element::String(bytes) => bytes,
        }
    }

    /// The element as a string that lives by itself.
    pub fn into_cow(self) -> Cow<'a, [u8]> {
        match self {
            Element::Integer(n) => n.to_string().into_bytes().into(),
            Element::String(bytes) => bytes.into(),
        }
    }

    /// The element as an integer, if it is one or the text of one.
    pub fn integer(self) -> Option<i64> {
        match self {
            Element::Integer(n) => Some(n),
            Element::String(bytes) => parse_i64(bytes),
        }
    }

    /// The element as a number, if it is one or the text of one (`inf`, `-inf` too); never NaN.
    pub fn double(self) -> Option<f64> {
        match self {
            Element::Integer(n) => Some(n as f64),
            Element::String(bytes) => parse_double(bytes),
        }
    }
}

/// Reads a double from its text; NaN is none.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    str::from_utf8(text).ok()?.parse::<f64>().ok().filter(|number| !number.is_nan())
}

/// Takes one element off the front of the entries of a packed form; `None` when there is no whole one.
pub(super) type Step = for<'a> fn(&mut &'a [u8]) -> Option<Element<'a>>;

/// The elements of a packed form that was looked through.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
    step: Step,
}

/// The last byte of a packed form.
pub(super) const END: u8 = 0xff;

/// A number of elements that says: count them.
pub(super) const UNCOUNTED: u16 = u16::MAX;

impl<'a> Elements<'a> {
    /// Looks through a whole packed form: its length, `skipped` bytes of its header, its number of elements, the
    /// elements, its end.
    pub(super) fn framed(bytes: &'a [u8], skipped: usize, step: Step) -> Result<Elements<'a>, DecodeError> {
        let mut rest = bytes;
        let total = chunk(&mut rest).map(u32::from_le_bytes).ok_or(DecodeError::Truncated)?;
        take(&mut rest, skipped).ok_or(DecodeError::Truncated)?;
        let count = chunk(&mut rest).map(u16::from_le_bytes).ok_or(DecodeError::Truncated)?;
        let Some((&END, entries)) = rest.split_last() else { return Err(DecodeError::Damaged) };
        if total as usize != bytes.len() {
            return Err(DecodeError::Damaged);
        }
        let elements = Elements::check(entries, step)?;
        if count == UNCOUNTED || usize::from(count) == elements.len() {
            Ok(elements)
        } else {
            Err(DecodeError::Damaged)
        }
    }

    /// Looks through `entries`, all of which must be whole elements.
    pub(super) fn check(entries: &'a [u8], step: Step) -> Result<Elements<'a>, DecodeError> {
        let (mut rest, mut left) = (entries, 0);
        while !rest.is_empty() {
            step(&mut rest).ok_or(DecodeError::Damaged)?;
            left += 1;
        }
        Ok(Elements { rest: entries, left, step })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        self.left = self.left.checked_sub(1)?;
        (self.step)(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Elements<'_> {}

/// Takes `len` bytes off the front.
pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(head)
}

/// Takes an array off the front.
pub(super) fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// Takes a signed integer of `len` bytes (up to eight), little-endian, off the front.
pub(super) fn integer(rest: &mut &[u8], len: usize) -> Option<i64> {
    let mut wide = [0; 8];
    wide.get_mut(8 - len..)?.copy_from_slice(take(rest, len)?);
    // The sign bit is at the top; shifting it down brings its copies.
    Some(i64::from_le_bytes(wide) >> (64 - 8 * len))
}
