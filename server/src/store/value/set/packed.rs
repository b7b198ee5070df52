//! A small set: its members one after another in one piece of memory, in the order in which they came.
//!
//! ```text
//! member: length varint | bytes
//! ```

use crate::store::entry::allocated;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    len: u32,
}

/// Reads the next member; `None` at the end.
#[inline]
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&first, mut tail) = rest.split_first()?;
    let mut len = usize::from(first & 0x7f);
    let mut more = first >= 0x80;
    let mut shift = 7;
    while more {
        let (&next, after) = tail.split_first()?;
        tail = after;
        len |= usize::from(next & 0x7f) << shift;
        shift += 7;
        more = next >= 0x80;
    }
    let (member, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some(member)
}

/// The members, one after another.
#[derive(Clone, Debug)]
pub struct PackedIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PackedIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        take(&mut self.rest)
    }
}

impl Packed {
    /// Number of members.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        allocated(self.bytes.capacity())
    }

    /// All members.
    pub fn iter(&self) -> PackedIter<'_> {
        PackedIter { rest: &self.bytes }
    }

    /// Whether the member is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        self.iter().any(|other| other == member)
    }

    /// Adds a member that is not in the set yet.
    pub fn push(&mut self, member: &[u8]) {
        let needed = self.bytes.len() + member.len() + 5;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(allocated(needed) - self.bytes.len());
        }
        let mut len = member.len();
        while len >= 0x80 {
            self.bytes.push((len as u8 & 0x7f) | 0x80);
            len >>= 7;
        }
        self.bytes.push(len as u8);
        self.bytes.extend_from_slice(member);
        self.len += 1;
    }

    /// Takes a member out; false when it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        let mut rest = &self.bytes[..];
        loop {
            let start = self.bytes.len() - rest.len();
            match take(&mut rest) {
                None => return false,
                Some(found) if found == member => {
                    let end = self.bytes.len() - rest.len();
                    self.bytes.drain(start..end);
                    self.len -= 1;
                    if self.bytes.capacity() > 2 * self.bytes.len().max(32) {
                        self.bytes.shrink_to_fit();
                    }
                    return true;
                }
                Some(_) => {}
            }
        }
    }
}
