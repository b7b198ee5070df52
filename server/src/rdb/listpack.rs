//! Listpacks: the packed form of small collections from Redis 7.0 on, and of the nodes of lists and streams.
//!
//! ```text
//! listpack : bytes u32 | elements u16 (65535: count them) | entry … | 0xff       little-endian
//! entry    : encoding and data | length of that in 7-bit groups, to be read from behind
//! ```

use torc_protocol::resp::parse_i64;

use super::elements::{END, Element, Elements, UNCOUNTED, chunk, integer, take};
use crate::effect::DecodeError;

const HEADER: usize = 6;

/// The longest text of an integer.
const MAX_INTEGER_TEXT: usize = 20;

/// Looks through a listpack.
pub fn read(bytes: &[u8]) -> Result<Elements<'_>, DecodeError> {
    Elements::framed(bytes, 0, step)
}

fn step<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    let before = *rest;
    let [first] = chunk(rest)?;
    let element = match first {
        0..0x80 => Element::Integer(i64::from(first)),
        0x80..0xc0 => Element::String(take(rest, usize::from(first & 0x3f))?),
        0xc0..0xe0 => {
            // Thirteen bits with sign.
            let [low] = chunk(rest)?;
            let bits = u16::from_be_bytes([first, low]) << 3;
            Element::Integer(i64::from(bits as i16 >> 3))
        }
        0xe0..0xf0 => {
            let [low] = chunk(rest)?;
            Element::String(take(rest, usize::from(u16::from_be_bytes([first & 0x0f, low])))?)
        }
        0xf0 => {
            let len = chunk(rest).map(u32::from_le_bytes)?;
            Element::String(take(rest, len as usize)?)
        }
        0xf1..=0xf3 => Element::Integer(integer(rest, usize::from(first - 0xf1) + 2)?),
        0xf4 => Element::Integer(integer(rest, 8)?),
        _ => return None,
    };
    let len = before.len() - rest.len();
    let mut back = [0; 5];
    let back = back_len(len, &mut back);
    (take(rest, back.len())? == back).then_some(element)
}

/// The length of an entry as it stands behind it. The widths change one step before they must: so Redis has it.
fn back_len(len: usize, room: &mut [u8; 5]) -> &[u8] {
    let width = match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    let room = &mut room[..width];
    for (at, byte) in room.iter_mut().rev().enumerate() {
        let more = if at + 1 < width { 0x80 } else { 0 };
        *byte = (len >> (7 * at)) as u8 & 0x7f | more;
    }
    room
}

/// Appends a listpack of entries that are in its form already.
pub fn write_framed(entries: &[u8], count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&((HEADER + entries.len() + 1) as u32).to_le_bytes());
    out.extend_from_slice(&u16::try_from(count).unwrap_or(UNCOUNTED).to_le_bytes());
    out.extend_from_slice(entries);
    out.push(END);
}

/// Writes a listpack, element by element. It must stay below 4 GiB, which callers see to: a listpack is small.
#[derive(Clone, Debug)]
pub struct ListpackWriter {
    bytes: Vec<u8>,
    len: usize,
}

impl Default for ListpackWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ListpackWriter {
    /// One without elements.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// One with room for so many bytes of entries.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut all = Vec::with_capacity(HEADER + bytes + 1);
        all.resize(HEADER, 0);
        ListpackWriter { bytes: all, len: 0 }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the listpack, finished now.
    pub fn byte_len(&self) -> usize {
        self.bytes.len() + 1
    }

    /// Adds a string; the text of an integer becomes an integer, as Redis has it.
    pub fn push(&mut self, item: &[u8]) {
        if item.len() <= MAX_INTEGER_TEXT
            && let Some(n) = parse_i64(item)
        {
            return self.push_integer(n);
        }
        let start = self.bytes.len();
        match item.len() {
            len @ 0..0x40 => self.bytes.push(0x80 | len as u8),
            len @ 0x40..0x1000 => self.bytes.extend_from_slice(&(0xe000 | len as u16).to_be_bytes()),
            len => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&(len as u32).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(item);
        self.close(start);
    }

    /// Adds an integer.
    pub fn push_integer(&mut self, n: i64) {
        let start = self.bytes.len();
        match n {
            0..0x80 => self.bytes.push(n as u8),
            -0x1000..0x1000 => {
                self.bytes.extend_from_slice(&(0xc000 | (n as u16 & 0x1fff)).to_be_bytes());
            }
            _ => {
                let (code, width) = match n {
                    -0x8000..0x8000 => (0xf1, 2),
                    -0x80_0000..0x80_0000 => (0xf2, 3),
                    -0x8000_0000..0x8000_0000 => (0xf3, 4),
                    _ => (0xf4, 8),
                };
                self.bytes.push(code);
                self.bytes.extend_from_slice(&n.to_le_bytes()[..width]);
            }
        }
        self.close(start);
    }

    fn close(&mut self, start: usize) {
        let len = self.bytes.len() - start;
        self.bytes.extend_from_slice(back_len(len, &mut [0; 5]));
        self.len += 1;
    }

    /// The listpack.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = self.bytes.len() as u32;
        let count = u16::try_from(self.len).unwrap_or(UNCOUNTED);
        let (head, _) = self.bytes.split_at_mut(HEADER);
        head[..4].copy_from_slice(&total.to_le_bytes());
        head[4..].copy_from_slice(&count.to_le_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listpack(items: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = ListpackWriter::new();
        items.iter().for_each(|item| writer.push(item));
        assert_eq!(writer.len(), items.len());
        let expected = writer.byte_len();
        let bytes = writer.finish();
        assert_eq!(bytes.len(), expected);
        bytes
    }

    #[test]
    fn what_redis_wrote_is_read_and_written_the_same() {
        // DUMP of redis-server 7.0 for RPUSH l a 1 4095 -4096 70000 (the listpack inside).
        let bytes = b"\x17\0\0\0\x05\0\x81a\x02\x01\x01\xcf\xff\x02\xd0\0\x02\xf2\x70\x11\x01\x04\xff";
        let items: Vec<_> = read(bytes).unwrap().map(|e| e.into_cow().into_owned()).collect();
        assert_eq!(items, [&b"a"[..], b"1", b"4095", b"-4096", b"70000"]);
        assert_eq!(listpack(&items), bytes);
    }

    #[test]
    fn all_widths_come_back() {
        let mut items: Vec<Vec<u8>> =
            [0usize, 1, 63, 64, 124, 126, 127, 4095, 4096, 16_377, 16_383, 100_000, 2_097_150]
                .map(|len| vec![b'x'; len])
                .to_vec();
        for shift in 0..63 {
            for n in [(1i64 << shift) - 1, 1 << shift, -(1 << shift), -(1 << shift) - 1] {
                items.push(n.to_string().into_bytes());
            }
        }
        items.extend([i64::MAX, i64::MIN].map(|n| n.to_string().into_bytes()));
        let bytes = listpack(&items);
        let back: Vec<_> = read(&bytes).unwrap().map(|e| e.into_cow().into_owned()).collect();
        assert_eq!(back, items);
    }

    #[test]
    fn more_elements_than_the_header_counts() {
        let items = vec![b"1".to_vec(); 70_000];
        let bytes = listpack(&items);
        assert_eq!(bytes[4..6], [0xff, 0xff]);
        assert_eq!(read(&bytes).unwrap().len(), 70_000);
    }

    proptest! {
        #[test]
        fn mutated_bytes_never_panic(
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..20),
            places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = listpack(&items);
            let back: Vec<_> = read(&bytes).unwrap().map(|e| e.into_cow().into_owned()).collect();
            prop_assert_eq!(back, items);
            for (place, byte) in places {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(elements) = read(&bytes) {
                prop_assert_eq!(elements.count(), elements.len());
            }
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            // With a true header the entries are reached.
            let total = bytes.len() as u32;
            if let Some(head) = bytes.first_chunk_mut::<6>() {
                head[..4].copy_from_slice(&total.to_le_bytes());
                head[4..].copy_from_slice(&[0xff, 0xff]);
                *bytes.last_mut().unwrap() = 0xff;
                let _ = read(&bytes).map(Iterator::count);
            }
        }
    }
}
