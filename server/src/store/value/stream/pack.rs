//! The pieces that entries are packed of: Redis's listpack elements, byte for byte, so that a node goes into a dump
//! as it is and is full after as many entries as there.
//!
//! ```text
//! element: encoding and length | bytes | length of what stands before, written so that it can be read backwards
//! ```
//!
//! Whatever the bytes are, reading them ends with a piece or with `None`.

use torc_protocol::resp::parse_i64;

/// The longest text that could be a number in the packed form.
const MAX_NUMBER_BYTES: usize = 20;

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes as they are.
    Text(&'a [u8]),
    /// A number; as bytes its decimal text.
    Number(i64),
}

impl Piece<'_> {
    /// Calls `then` with the bytes that the element stands for.
    #[inline]
    pub fn with_bytes<R>(self, then: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Piece::Text(bytes) => then(bytes),
            Piece::Number(number) => then(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// Whether it stands for these bytes.
    #[inline]
    pub fn is(self, bytes: &[u8]) -> bool {
        match self {
            Piece::Text(text) => text == bytes,
            Piece::Number(_) => self.with_bytes(|text| text == bytes),
        }
    }
}

/// Appends a number.
#[inline]
pub fn put_number(out: &mut Vec<u8>, number: i64) {
    match number {
        0..=127 => out.extend_from_slice(&[number as u8, 1]),
        -4096..=4095 => {
            let bits = (number as u16) & 0x1fff;
            out.extend_from_slice(&[0xc0 | (bits >> 8) as u8, bits as u8, 2]);
        }
        _ => put_long_number(out, number),
    }
}

fn put_long_number(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_le_bytes();
    let (code, len) = match number {
        -0x8000..=0x7fff => (0xf1, 2),
        -0x80_0000..=0x7f_ffff => (0xf2, 3),
        -0x8000_0000..=0x7fff_ffff => (0xf3, 4),
        _ => (0xf4, 8),
    };
    out.push(code);
    out.extend_from_slice(&bytes[..len]);
    out.push(len as u8 + 1);
}

/// Bytes that [`put_number`] appends for a number that is not negative.
pub fn number_bytes(number: u64) -> usize {
    match number {
        0..=127 => 2,
        128..=4095 => 3,
        4096..=0x7fff => 4,
        0x8000..=0x7f_ffff => 5,
        0x80_0000..=0x7fff_ffff => 6,
        _ => 10,
    }
}

/// Appends bytes; as a number where they are one.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= MAX_NUMBER_BYTES
        && bytes.first().is_some_and(|first| first.is_ascii_digit() || *first == b'-')
        && let Some(number) = parse_i64(bytes)
    {
        return put_number(out, number);
    }
    let head = match bytes.len() {
        len @ 0..64 => {
            out.push(0x80 | len as u8);
            1
        }
        len @ 64..4096 => {
            out.extend_from_slice(&[0xe0 | (len >> 8) as u8, len as u8]);
            2
        }
        len => {
            out.push(0xf0);
            out.extend_from_slice(&(len as u32).to_le_bytes());
            5
        }
    };
    out.extend_from_slice(bytes);
    put_back_length(out, head + bytes.len());
}

/// Bytes that the length of an element of `len` bytes takes behind it.
#[inline]
fn back_length_bytes(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

#[inline]
fn put_back_length(out: &mut Vec<u8>, len: usize) {
    let bytes = back_length_bytes(len);
    if bytes == 1 {
        return out.push(len as u8);
    }
    for n in (0..bytes).rev() {
        let bits = (len >> (7 * n)) as u8 & 0x7f;
        out.push(if n + 1 == bytes { bits } else { bits | 0x80 });
    }
}

/// The element at `at`, and where the next one begins.
#[inline]
pub fn read(bytes: &[u8], at: usize) -> Option<(Piece<'_>, usize)> {
    let rest = bytes.get(at..)?;
    let (&code, tail) = rest.split_first()?;
    match code {
        0..=0x7f => Some((Piece::Number(i64::from(code)), at + 2)),
        0x80..=0xbf => {
            let len = usize::from(code & 0x3f);
            Some((Piece::Text(tail.get(..len)?), at + 1 + len + 1))
        }
        _ => read_rare(code, tail, at),
    }
}

fn read_rare(code: u8, tail: &[u8], at: usize) -> Option<(Piece<'_>, usize)> {
    let text = |head: usize, len: usize| {
        let text = tail.get(head - 1..)?.get(..len)?;
        Some((Piece::Text(text), at + head + len + back_length_bytes(head + len)))
    };
    let number = |len: usize| {
        let low = tail.get(..len)?;
        let negative = low.last()? & 0x80 != 0;
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..len].copy_from_slice(low);
        Some((Piece::Number(i64::from_le_bytes(wide)), at + 1 + len + 1))
    };
    match code {
        0xc0..=0xdf => {
            let bits = u16::from(code & 0x1f) << 8 | u16::from(*tail.first()?);
            // Thirteen bits with a sign.
            Some((Piece::Number(i64::from((bits << 3) as i16 >> 3)), at + 3))
        }
        0xe0..=0xef => text(2, usize::from(code & 0x0f) << 8 | usize::from(*tail.first()?)),
        0xf0 => text(5, u32::from_le_bytes(*tail.first_chunk()?) as usize),
        0xf1 => number(2),
        0xf2 => number(3),
        0xf3 => number(4),
        0xf4 => number(8),
        _ => None,
    }
}

/// Where the element after the one at `at` begins. It may lie behind the end of damaged bytes.
#[inline]
pub fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at)? {
        0..=0x7f => Some(at + 2),
        code @ 0x80..=0xbf => Some(at + 2 + usize::from(code & 0x3f)),
        _ => read(bytes, at).map(|(_, next)| next),
    }
}

/// The number at `at`, and where the next element begins.
#[inline]
pub fn read_number(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    match read(bytes, at)? {
        (Piece::Number(number), next) => Some((number, next)),
        (Piece::Text(_), _) => None,
    }
}

/// Where the element that ends at `end` begins.
#[inline]
pub fn back(bytes: &[u8], end: usize) -> Option<usize> {
    let mut at = end.checked_sub(1)?;
    let (mut len, mut shift) = (0usize, 0);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return at.checked_sub(len);
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
        at = at.checked_sub(1)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comes_back(text: &[u8]) {
        let mut out = vec![9; 3];
        put_bytes(&mut out, text);
        let (piece, next) = read(&out, 3).expect("an element");
        assert!(piece.is(text), "{piece:?}");
        assert_eq!(next, out.len());
        assert_eq!(skip(&out, 3), Some(out.len()));
        assert_eq!(back(&out, out.len()), Some(3));
        if let Piece::Number(number @ 0..) = piece {
            assert_eq!(number_bytes(number as u64), out.len() - 3);
        }
    }

    #[test]
    fn lengths_of_all_sizes() {
        for len in [0, 1, 63, 64, 125, 126, 127, 4095, 4096, 16_377, 16_378, 16_379, 2_097_146, 2_097_151] {
            comes_back(&vec![b'x'; len]);
        }
    }

    #[test]
    fn numbers_of_all_sizes() {
        for bits in 0..64 {
            for number in [1i64 << bits, -(1i64 << bits.min(62)), (1i64 << bits.min(62)) - 1] {
                comes_back(number.to_string().as_bytes());
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in prop::collection::vec(any::<u8>(), 0..200), number in any::<i64>()) {
            comes_back(&text);
            comes_back(number.to_string().as_bytes());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), at in 0usize..50) {
            let _ = (read(&bytes, at), skip(&bytes, at), back(&bytes, at));
        }
    }
}
