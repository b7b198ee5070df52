//! Ziplists: the packed form of small collections before Redis 7.0. They are only read.
//!
//! ```text
//! ziplist : bytes u32 | offset of the last entry u32 | elements u16 (65535: count them) | entry … | 0xff
//! entry   : length of the entry before (one byte, or 254 and u32) | encoding | data
//! ```

use super::elements::{END, Element, Elements, chunk, integer, take};
use crate::effect::DecodeError;

/// A length of the entry before that does not fit its byte.
const LONG: u8 = 254;

/// Looks through a ziplist.
pub fn read(bytes: &[u8]) -> Result<Elements<'_>, DecodeError> {
    // The place of the last entry: nobody here walks backwards.
    Elements::framed(bytes, 4, step)
}

fn step<'a>(rest: &mut &'a [u8]) -> Option<Element<'a>> {
    // Nobody here walks backwards: the length of the entry before is passed over.
    match chunk(rest)? {
        [LONG] => chunk::<4>(rest).map(drop)?,
        [END] => return None,
        [_] => {}
    }
    let [first] = chunk(rest)?;
    Some(match first {
        0..0x40 => Element::String(take(rest, usize::from(first))?),
        0x40..0x80 => {
            let [low] = chunk(rest)?;
            Element::String(take(rest, usize::from(u16::from_be_bytes([first & 0x3f, low])))?)
        }
        0x80 => {
            let len = chunk(rest).map(u32::from_be_bytes)?;
            Element::String(take(rest, len as usize)?)
        }
        0xc0 => Element::Integer(integer(rest, 2)?),
        0xd0 => Element::Integer(integer(rest, 4)?),
        0xe0 => Element::Integer(integer(rest, 8)?),
        0xf0 => Element::Integer(integer(rest, 3)?),
        0xf1..=0xfd => Element::Integer(i64::from(first & 0x0f) - 1),
        0xfe => Element::Integer(integer(rest, 1)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::elements::UNCOUNTED;
    use super::*;

    /// A ziplist of these entries, each already encoded with the length of the one before.
    fn ziplist(entries: &[u8], count: u16) -> Vec<u8> {
        let total = 10 + entries.len() as u32 + 1;
        let mut bytes = total.to_le_bytes().to_vec();
        bytes.extend_from_slice(&10u32.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(entries);
        bytes.push(END);
        bytes
    }

    #[test]
    fn all_encodings() {
        let mut entries = b"\0\x02hi\x04\x40\x03abc\x06\x80\0\0\0\x01z".to_vec();
        entries.extend_from_slice(b"\x07\xc0\xff\xff\x04\xd0\0\0\0\x80\x06\xe0\x01\0\0\0\0\0\0\0");
        entries.extend_from_slice(b"\x0a\xf0\xfe\xff\xff\x05\xf1\x02\xfd\x02\xfe\x80\xfe\x02\0\0\0\xf2");
        let bytes = ziplist(&entries, 11);
        let found: Vec<_> = read(&bytes).unwrap().collect();
        let strings = [&b"hi"[..], b"abc", b"z"].map(Element::String);
        let integers = [-1, -0x8000_0000, 1, -2, 0, 12, -128, 1].map(Element::Integer);
        assert_eq!(found[..3], strings);
        assert_eq!(found[3..], integers[..]);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(entries in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&entries);
            let _ = read(&ziplist(&entries, UNCOUNTED)).map(Iterator::count);
        }
    }
}
