//! Intsets: the packed form of sets of integers.
//!
//! ```text
//! intset : width of an integer u32 (2, 4 or 8) | how many u32 | the integers, rising       little-endian
//! ```

use super::elements::{Element, Elements, chunk, integer};
use crate::effect::DecodeError;

/// Looks through an intset. Its integers must rise, so that none is there twice.
pub fn read(bytes: &[u8]) -> Result<Elements<'_>, DecodeError> {
    let mut rest = bytes;
    let width = chunk(&mut rest).map(u32::from_le_bytes).ok_or(DecodeError::Truncated)?;
    let count = chunk(&mut rest).map(u32::from_le_bytes).ok_or(DecodeError::Truncated)?;
    let step: super::elements::Step = match width {
        2 => |rest| integer(rest, 2).map(Element::Integer),
        4 => |rest| integer(rest, 4).map(Element::Integer),
        8 => |rest| integer(rest, 8).map(Element::Integer),
        _ => return Err(DecodeError::Damaged),
    };
    if count as usize as u64 * u64::from(width) != rest.len() as u64 {
        return Err(DecodeError::Damaged);
    }
    let elements = Elements::check(rest, step)?;
    if elements.is_sorted_by(|a, b| a.integer() < b.integer()) {
        Ok(elements)
    } else {
        Err(DecodeError::Damaged)
    }
}

/// Appends the intset of `integers`, which must rise; the width is the smallest that holds the first and the last.
pub fn write(integers: impl ExactSizeIterator<Item = i64> + Clone, out: &mut Vec<u8>) {
    let fits = |n: i64, width: usize| n << (64 - 8 * width) >> (64 - 8 * width) == n;
    let width = integers
        .clone()
        .map(|n| {
            if fits(n, 2) {
                2
            } else if fits(n, 4) {
                4
            } else {
                8
            }
        })
        .max()
        .unwrap_or(2);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(integers.len() as u32).to_le_bytes());
    for n in integers {
        out.extend_from_slice(&n.to_le_bytes()[..width]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn widths_and_order() {
        for (set, len) in
            [(vec![-3, 7], 12), (vec![-40_000, 7], 16), (vec![i64::MIN, 0, i64::MAX], 32), (vec![], 8)]
        {
            let mut bytes = Vec::new();
            write(set.iter().copied(), &mut bytes);
            assert_eq!(bytes.len(), len);
            assert!(read(&bytes).unwrap().eq(set.into_iter().map(Element::Integer)));
        }
        for wrong in [[2, 1], [1, 1]] {
            let mut bytes = Vec::new();
            write(wrong.into_iter(), &mut bytes);
            assert_eq!(read(&bytes).map(Iterator::count), Err(DecodeError::Damaged));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), width in 0u32..9, count in 0u32..9) {
            let _ = read(&bytes);
            let _ = read(&[&width.to_le_bytes()[..], &count.to_le_bytes(), &bytes].concat());
        }
    }
}
