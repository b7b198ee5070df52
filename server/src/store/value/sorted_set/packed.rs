//! The packed form of a small sorted set: one run of bytes in the order of (score, member).
//!
//! ```text
//! element : length u8, or 255 and length u32 | member | score, eight bytes little-endian
//! ```

use smallvec::SmallVec;

/// A length from here on is written as four bytes behind this one.
const LONG: u8 = 255;

/// Bytes of a score.
const SCORE: usize = 8;

/// Elements that a walk from the end keeps on the stack.
const ON_STACK: usize = 128;

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    len: u32,
}

/// Where an element lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its bytes' start and end.
    start: usize,
    end: usize,
    /// How many elements stand before it.
    pub rank: usize,
    /// Its score.
    pub score: f64,
}

impl Packed {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of the buffer.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// All elements in order.
    pub fn iter(&self) -> PackedIter<'_> {
        PackedIter { rest: &self.bytes }
    }

    /// The elements, to be walked from the end.
    pub fn backwards(&self) -> impl Iterator<Item = (&[u8], f64)> + use<'_> {
        let all: SmallVec<[_; ON_STACK]> = self.iter().collect();
        all.into_iter().rev()
    }

    /// Where a member is.
    pub fn find(&self, member: &[u8]) -> Option<Place> {
        let mut rest = &self.bytes[..];
        let mut rank = 0;
        loop {
            let start = self.bytes.len() - rest.len();
            let (found, score) = take(&mut rest)?;
            if found == member {
                return Some(Place { start, end: self.bytes.len() - rest.len(), rank, score });
            }
            rank += 1;
        }
    }

    /// Puts a member that is not there yet in its place. Negative zero becomes zero: Redis keeps whole numbers as
    /// integers in this form (and only in this).
    pub fn insert(&mut self, member: &[u8], score: f64) {
        let score = if score == 0.0 { 0.0 } else { score };
        let mut rest = &self.bytes[..];
        let at = loop {
            let start = self.bytes.len() - rest.len();
            match take(&mut rest) {
                Some((m, s)) if s < score || (s == score && m < member) => {}
                _ => break start,
            }
        };
        let head = if member.len() < usize::from(LONG) { 1 } else { 5 };
        let total = head + member.len() + SCORE;
        // A vector would double: packed sets are many, and grow little.
        if self.bytes.capacity() - self.bytes.len() < total {
            let room = self.bytes.len() / 4 + total;
            self.bytes.reserve_exact(room);
        }
        let old = self.bytes.len();
        self.bytes.resize(old + total, 0);
        self.bytes.copy_within(at..old, at + total);
        let place = &mut self.bytes[at..at + total];
        if head == 1 {
            place[0] = member.len() as u8;
        } else {
            place[0] = LONG;
            place[1..5].copy_from_slice(&(member.len() as u32).to_le_bytes());
        }
        place[head..head + member.len()].copy_from_slice(member);
        place[head + member.len()..].copy_from_slice(&score.to_le_bytes());
        self.len += 1;
    }

    /// Takes out what was found.
    pub fn remove(&mut self, place: Place) {
        self.bytes.drain(place.start..place.end);
        self.len -= 1;
    }

    /// Gives an element another score; it may change its place.
    pub fn set_score(&mut self, place: Place, member: &[u8], score: f64) {
        self.remove(place);
        self.insert(member, score);
    }
}

/// See [`Packed::iter`].
#[derive(Clone, Debug)]
pub struct PackedIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PackedIter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        take(&mut self.rest)
    }
}

/// The first element of `rest`, which goes on behind it.
#[inline]
fn take<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], f64)> {
    let (&first, tail) = rest.split_first()?;
    let (len, tail) = if first == LONG {
        let (len, tail) = tail.split_first_chunk::<4>()?;
        (u32::from_le_bytes(*len) as usize, tail)
    } else {
        (usize::from(first), tail)
    };
    let (member, tail) = tail.split_at_checked(len)?;
    let (score, tail) = tail.split_first_chunk::<SCORE>()?;
    *rest = tail;
    Some((member, f64::from_le_bytes(*score)))
}
