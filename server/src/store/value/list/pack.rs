//! Entries of a node: those of Redis's listpacks, so that a node is dumped as it is.
//!
//! ```text
//! entry : encoding and data | length of that in 7-bit groups, to be read from behind
//! ```

use torc_protocol::resp::parse_i64;

use crate::rdb::Element;

/// The longest text of an integer.
const MAX_INTEGER_TEXT: usize = 20;

/// Most bytes in front of a string's own.
const MAX_FRONT: usize = 9;

/// An entry in the making: what stands in front, the string's own bytes (none for an integer), what stands behind.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'i> {
    front: [u8; MAX_FRONT],
    front_len: u8,
    body: &'i [u8],
    back: [u8; 5],
    back_len: u8,
}

impl<'i> Entry<'i> {
    /// The entry of an element; the text of an integer becomes an integer.
    #[inline]
    pub fn of(item: &'i [u8]) -> Entry<'i> {
        let number = if item.len() <= MAX_INTEGER_TEXT { parse_i64(item) } else { None };
        let mut front = [0; MAX_FRONT];
        let (front_len, body) = match number {
            Some(n) => (put_integer(n, &mut front), &[][..]),
            None => (put_length(item.len(), &mut front), item),
        };
        let mut back = [0; 5];
        let back_len = put_back(front_len + body.len(), &mut back);
        Entry { front, front_len: front_len as u8, body, back, back_len: back_len as u8 }
    }

    /// Bytes of the whole entry.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.front_len) + self.body.len() + usize::from(self.back_len)
    }

    /// Writes it into a room of its length.
    #[inline]
    pub fn write(&self, room: &mut [u8]) {
        let (front, rest) = room.split_at_mut(usize::from(self.front_len));
        front.copy_from_slice(&self.front[..usize::from(self.front_len)]);
        let (body, back) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        back.copy_from_slice(&self.back[..usize::from(self.back_len)]);
    }
}

fn put_length(len: usize, front: &mut [u8; MAX_FRONT]) -> usize {
    match len {
        0..0x40 => {
            front[0] = 0x80 | len as u8;
            1
        }
        0x40..0x1000 => {
            front[..2].copy_from_slice(&(0xe000 | len as u16).to_be_bytes());
            2
        }
        _ => {
            front[0] = 0xf0;
            front[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        }
    }
}

fn put_integer(n: i64, front: &mut [u8; MAX_FRONT]) -> usize {
    let width = match n {
        0..0x80 => {
            front[0] = n as u8;
            return 1;
        }
        -0x1000..0x1000 => {
            front[..2].copy_from_slice(&(0xc000 | (n as u16 & 0x1fff)).to_be_bytes());
            return 2;
        }
        -0x8000..0x8000 => 2,
        -0x80_0000..0x80_0000 => 3,
        -0x8000_0000..0x8000_0000 => 4,
        _ => 8,
    };
    front[0] = if width == 8 { 0xf4 } else { 0xf1 + (width as u8 - 2) };
    front[1..=width].copy_from_slice(&n.to_le_bytes()[..width]);
    width + 1
}

/// Writes the length that stands behind an entry of `len` bytes; answers how many bytes that took. The widths change
/// one step before they must: so Redis has it.
#[inline]
fn put_back(len: usize, back: &mut [u8; 5]) -> usize {
    let width = match len {
        0..=127 => {
            back[0] = len as u8;
            return 1;
        }
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for (at, byte) in back[..width].iter_mut().rev().enumerate() {
        let more = if at + 1 < width { 0x80 } else { 0 };
        *byte = (len >> (7 * at)) as u8 & 0x7f | more;
    }
    width
}

/// The entry at the beginning of `bytes`: its element and its length; `None` where there is none.
#[inline]
pub fn first(bytes: &[u8]) -> Option<(Element<'_>, usize)> {
    let (&lead, rest) = bytes.split_first()?;
    let (element, len) = match lead {
        0..0x80 => (Element::Integer(i64::from(lead)), 1),
        0x80..0xc0 => {
            let len = usize::from(lead & 0x3f);
            (Element::String(rest.get(..len)?), 1 + len)
        }
        0xc0..0xe0 => {
            let bits = u16::from_be_bytes([lead, *rest.first()?]) << 3;
            (Element::Integer(i64::from(bits as i16 >> 3)), 2)
        }
        0xe0..0xf0 => {
            let len = usize::from(u16::from_be_bytes([lead & 0x0f, *rest.first()?]));
            (Element::String(rest.get(1..1 + len)?), 2 + len)
        }
        0xf0 => {
            let len = u32::from_le_bytes(*rest.first_chunk()?) as usize;
            (Element::String(rest.get(4..4 + len)?), 5 + len)
        }
        0xf1..=0xf4 => {
            let width = if lead == 0xf4 { 8 } else { usize::from(lead - 0xf1) + 2 };
            let mut wide = [0; 8];
            let (low, high) = wide.split_at_mut(width);
            low.copy_from_slice(rest.get(..width)?);
            if low[width - 1] & 0x80 != 0 {
                high.fill(0xff);
            }
            (Element::Integer(i64::from_le_bytes(wide)), 1 + width)
        }
        _ => return None,
    };
    Some((element, len + back_width(len)))
}

fn back_width(len: usize) -> usize {
    match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The length of the entry at the end of `bytes`.
#[inline]
pub fn last_len(bytes: &[u8]) -> Option<usize> {
    let mut len = 0;
    for (at, byte) in bytes.iter().rev().take(5).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(len + at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_those_of_listpacks() {
        let long = [vec![b'x'; 63], vec![b'x'; 64], vec![b'y'; 4095], vec![b'z'; 4096], vec![b'z'; 20_000]];
        let numbers =
            ["0", "127", "128", "-1", "-4096", "4095", "4096", "32767", "-8388608", "8388607", "2147483647"];
        let more = [
            "-2147483648",
            "2147483648",
            "9223372036854775807",
            "-9223372036854775808",
            "",
            "007",
            "+1",
            "1.0",
        ];
        let short = numbers.iter().chain(&more).map(|n| n.as_bytes().to_vec());
        let items: Vec<Vec<u8>> = long.into_iter().chain(short).collect();
        let (mut bytes, mut writer) = (Vec::new(), crate::rdb::ListpackWriter::new());
        let mut lens = Vec::new();
        for item in &items {
            let entry = Entry::of(item);
            let at = bytes.len();
            bytes.resize(at + entry.len(), 0);
            entry.write(&mut bytes[at..]);
            lens.push(entry.len());
            writer.push(item);
        }
        let listpack = writer.finish();
        assert_eq!(listpack[6..listpack.len() - 1], bytes);
        let (mut rest, mut room) = (&bytes[..], itoa::Buffer::new());
        for item in &items {
            let (element, len) = first(rest).expect("an entry");
            assert_eq!(element.bytes(&mut room), item);
            rest = &rest[len..];
        }
        let mut end = bytes.len();
        for len in lens.iter().rev() {
            assert_eq!(last_len(&bytes[..end]), Some(*len));
            end -= len;
        }
        assert_eq!((end, first(&[]), last_len(&[])), (0, None, None));
    }
}
