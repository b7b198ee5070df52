//! Zipmaps: the packed form of small hashes before Redis 2.6. They are only read.
//!
//! ```text
//! zipmap : pairs u8 (254 and more: count them) | pair … | 0xff
//! pair   : length (one byte, or 254 and u32) | field | length | unused bytes u8 | value | the unused bytes
//! ```

use super::elements::{Element, Elements, chunk, take};
use crate::effect::DecodeError;

const END: u8 = 0xff;
const LONG: u8 = 254;

/// The fields and values of a zipmap, alternating.
pub fn read(bytes: &[u8]) -> Result<Pairs<'_>, DecodeError> {
    let (&count, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    let Some((&END, entries)) = rest.split_last() else { return Err(DecodeError::Damaged) };
    let pairs = Pairs {
        fields: Elements::check(entries, |rest| pair(rest).map(|(field, _)| Element::String(field)))?,
        values: Elements::check(entries, |rest| pair(rest).map(|(_, value)| Element::String(value)))?,
    };
    if count >= LONG || usize::from(count) == pairs.fields.len() {
        Ok(pairs)
    } else {
        Err(DecodeError::Damaged)
    }
}

/// What [`read`] gives.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    fields: Elements<'a>,
    values: Elements<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Element<'a>, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.fields.next()?, self.values.next()?))
    }
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    Some(match chunk(rest)? {
        [LONG] => chunk(rest).map(u32::from_le_bytes)? as usize,
        [END] => return None,
        [short] => usize::from(short),
    })
}

fn pair<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let len = length(rest)?;
    let field = take(rest, len)?;
    let len = length(rest)?;
    let [unused] = chunk(rest)?;
    let value = take(rest, len)?;
    take(rest, usize::from(unused))?;
    Some((field, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unused_bytes_are_passed_over() {
        let bytes = b"\x02\x03foo\x03\0bar\x05hello\x05\x02world!!\xff";
        let pairs: Vec<_> = read(bytes).unwrap().collect();
        assert_eq!(pairs[1], (Element::String(b"hello"), Element::String(b"world")));
        assert_eq!(pairs.len(), 2);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(entries in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&entries);
            let _ = read(&[&[LONG], &entries[..], &[END]].concat()).map(Iterator::count);
        }
    }
}
