//! LZF, the compression of strings in RDB: an own implementation of the format.
//!
//! A compressed string is a row of two kinds of pieces. A control byte below 32 is followed by that many bytes plus
//! one, as they are. Any other control byte is a copy of earlier output: its upper three bits are the length less two
//! (7: the next byte adds to it), its lower five bits with one more byte the distance less one.

use crate::effect::DecodeError;

/// Bytes that one literal piece holds at most.
const MAX_LITERAL: usize = 32;

/// The farthest that a copy reaches back.
const MAX_DISTANCE: usize = 1 << 13;

/// The longest copy: what one control byte and one more can say.
const MAX_COPY: usize = 7 + 255 + 2;

/// The shortest copy that is found: what is hashed.
const MIN_COPY: usize = 3;

/// Output is never longer than this many times the input: three bytes make at most [`MAX_COPY`].
const MAX_RATIO: usize = MAX_COPY / 3;

/// Strings up to this length are not worth trying.
pub const MIN_BYTES: usize = 20;

/// Takes a compressed string apart. `len` is the length it had, as the RDB says; anything that does not come out at
/// exactly that length is damage. Makes no room that the input cannot fill.
pub fn decompress(mut input: &[u8], len: usize) -> Result<Vec<u8>, DecodeError> {
    if len > input.len().saturating_mul(MAX_RATIO) {
        return Err(DecodeError::Damaged);
    }
    let mut out = Vec::with_capacity(len);
    while let Some((&control, rest)) = input.split_first() {
        input = rest;
        if usize::from(control) < MAX_LITERAL {
            let (literal, rest) =
                input.split_at_checked(usize::from(control) + 1).ok_or(DecodeError::Truncated)?;
            input = rest;
            out.extend_from_slice(literal);
        } else {
            let mut next = || {
                let (&byte, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
                input = rest;
                Ok(usize::from(byte))
            };
            let mut count = usize::from(control >> 5) + 2;
            if count == 9 {
                count += next()?;
            }
            let distance = (usize::from(control & 0x1f) << 8 | next()?) + 1;
            let from = out.len().checked_sub(distance).ok_or(DecodeError::Damaged)?;
            if out.len() + count > len {
                return Err(DecodeError::Damaged);
            }
            if distance >= count {
                out.extend_from_within(from..from + count);
            } else {
                // What is copied overlaps what is written: the bytes repeat.
                for at in from..from + count {
                    out.push(out[at]);
                }
            }
        }
        if out.len() > len {
            return Err(DecodeError::Damaged);
        }
    }
    if out.len() == len { Ok(out) } else { Err(DecodeError::Damaged) }
}

/// Appends `input` in its compressed form if that has less than `input.len() - 4` bytes; otherwise `out` is left as
/// it was, and false answered.
pub fn compress(input: &[u8], out: &mut Vec<u8>) -> bool {
    // A table that is large beside the input would take longer to clear than to use.
    match input.len() {
        0..=256 => compress_with::<256>(input, out),
        257..=4096 => compress_with::<2048>(input, out),
        _ => compress_with::<8192>(input, out),
    }
}

/// Compresses with a table of `PLACES` (a power of two) for earlier sequences.
fn compress_with<const PLACES: usize>(input: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let Some(budget) = input.len().checked_sub(5) else { return false };
    // Places are kept as u32 with zero for none.
    if u32::try_from(input.len()).is_err() {
        return false;
    }
    let mut table = [0u32; PLACES];
    let shift = 32 - PLACES.trailing_zeros();
    let (mut at, mut literal) = (0, 0);
    while let Some(three) = input.get(at..at + MIN_COPY) {
        let sequence = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
        let place = &mut table[(sequence.wrapping_mul(0x9e37_79b1) >> shift) as usize];
        let before = (std::mem::replace(place, at as u32 + 1) as usize).wrapping_sub(1);
        let found = before < at && at - before <= MAX_DISTANCE && input[before..before + MIN_COPY] == *three;
        if !found {
            at += 1;
            continue;
        }
        let count = MIN_COPY
            + input[before + MIN_COPY..]
                .iter()
                .zip(&input[at + MIN_COPY..])
                .take(MAX_COPY - MIN_COPY)
                .take_while(|(a, b)| a == b)
                .count();
        put_literals(&input[literal..at], out);
        let (code, distance) = (count - 2, at - before - 1);
        if code < 7 {
            out.push((code << 5 | distance >> 8) as u8);
        } else {
            out.extend_from_slice(&[(7 << 5 | distance >> 8) as u8, (code - 7) as u8]);
        }
        out.push(distance as u8);
        at += count;
        literal = at;
        if out.len() - start > budget {
            break;
        }
    }
    if out.len() - start <= budget {
        put_literals(&input[literal..], out);
    }
    let pays = out.len() - start <= budget;
    if !pays {
        out.truncate(start);
    }
    pays
}

fn put_literals(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.chunks(MAX_LITERAL) {
        out.push(piece.len() as u8 - 1);
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_repeats_gets_short() {
        for input in [vec![b'x'; 1000], b"abcabcabcabcabcabcabcabcabcabc".to_vec(), vec![0; 100_000]] {
            let mut out = b"before".to_vec();
            assert!(compress(&input, &mut out));
            assert!(out.len() < input.len() / 2 + 6);
            assert_eq!(decompress(&out[6..], input.len()).unwrap(), input);
        }
        let mut out = Vec::new();
        assert!(!compress(b"no three bytes twice", &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn what_redis_wrote_is_read() {
        // DUMP of redis-server 7.0 for 100 times "x".
        assert_eq!(decompress(b"\x01xx\xe0W\x00\x01xx", 100).unwrap(), vec![b'x'; 100]);
    }

    #[test]
    fn a_length_that_cannot_be_makes_no_room() {
        assert_eq!(decompress(b"\xe0\xff\x00", usize::MAX), Err(DecodeError::Damaged));
    }

    proptest! {
        #[test]
        fn comes_back_as_it_went(input in prop::collection::vec(0u8..4, 0..3000), noise in any::<Vec<u8>>()) {
            for input in [&input, &noise, &[&noise[..], &input, &noise].concat()] {
                let mut out = Vec::new();
                if compress(input, &mut out) {
                    prop_assert!(out.len() + 4 < input.len());
                    prop_assert_eq!(&decompress(&out, input.len()).unwrap(), input);
                }
            }
        }

        #[test]
        fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..4000) {
            if let Ok(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
