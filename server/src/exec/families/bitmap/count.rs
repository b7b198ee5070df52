//! BITCOUNT and BITPOS.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::{integer, range_clamped, range_within};
use crate::exec::{CommandError, CommandResult, Cx};

/// Whether a range counts bits (BIT) or bytes (BYTE, and nothing said).
fn in_bits(unit: Option<&[u8]>) -> Result<bool, CommandError> {
    match unit {
        None => Ok(false),
        Some(unit) if unit.eq_ignore_ascii_case(b"BYTE") => Ok(false),
        Some(unit) if unit.eq_ignore_ascii_case(b"BIT") => Ok(true),
        Some(_) => Err(CommandError::Syntax),
    }
}

/// How a start and an end become a range within a length.
type Within = fn(i64, i64, usize) -> Option<(usize, usize)>;

/// The bits `start..=end` that a range of bytes or bits means in `bytes`.
fn bit_range(within: Within, bytes: &[u8], start: i64, end: i64, bits: bool) -> Option<(usize, usize)> {
    let unit = if bits { 1 } else { 8 };
    let (start, end) = within(start, end, bytes.len() * 8 / unit)?;
    Some((start * unit, end * unit + unit - 1))
}

/// The byte at `at` with all bits cleared (or set, when `filler` is 0xff) that lie outside `start..=end`.
fn clipped(bytes: &[u8], at: usize, (start, end): (usize, usize), filler: u8) -> u8 {
    let mut outside = 0u8;
    if at == start / 8 {
        outside |= !(0xff >> (start % 8));
    }
    if at == end / 8 {
        outside |= (0xffu16 >> (end % 8 + 1)) as u8;
    }
    (bytes[at] & !outside) | (filler & outside)
}

fn ones(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    chunks.iter().map(|c| u64::from(u64::from_ne_bytes(*c).count_ones())).sum::<u64>()
        + rest.iter().map(|b| u64::from(b.count_ones())).sum::<u64>()
}

/// BITCOUNT key \[start \[end \[BYTE | BIT\]\]\]
pub fn bitcount(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end, bits) = match (args.get(2), args.get(3)) {
        (None, _) => (0, -1, false),
        // As in Valkey from 8.0 on.
        (Some(start), None) => (integer(start)?, -1, false),
        (Some(start), Some(end)) if args.len() <= 5 => {
            let (start, end) = (integer(start)?, integer(end)?);
            (start, end, in_bits(args.get(4))?)
        }
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(&args[1]);
    let bytes = cx.read_string(&key)?.unwrap_or_default();
    let count = match bit_range(range_within, bytes, start, end, bits) {
        None => 0,
        Some(range) => {
            let (first, last) = (range.0 / 8, range.1 / 8);
            let edges = u64::from(clipped(bytes, first, range, 0).count_ones())
                + if last > first { u64::from(clipped(bytes, last, range, 0).count_ones()) } else { 0 };
            edges + bytes.get(first + 1..last).map_or(0, ones)
        }
    };
    cx.reply().integer(count as i64);
    Ok(())
}

/// The first bit of this value in the range.
fn find(bytes: &[u8], range: (usize, usize), bit: bool) -> Option<usize> {
    // Looked for is the first one bit of the bytes, inverted when it is a zero that is wanted.
    let (filler, flip) = if bit { (0, 0) } else { (0xff, 0xff) };
    let (first, last) = (range.0 / 8, range.1 / 8);
    let at_edge = |at: usize| (at, clipped(bytes, at, range, filler) ^ flip);
    let position = |(at, byte): (usize, u8)| (byte != 0).then(|| at * 8 + byte.leading_zeros() as usize);
    let inner = |from: usize, to: usize| {
        let at = from + bytes.get(from..to)?.iter().position(|b| *b != flip)?;
        Some((at, bytes[at] ^ flip))
    };
    position(at_edge(first))
        .or_else(|| inner(first + 1, last).and_then(position))
        .or_else(|| if last > first { position(at_edge(last)) } else { None })
}

/// BITPOS key bit \[start \[end \[BYTE | BIT\]\]\]
pub fn bitpos(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let bit = match integer(&args[2])? {
        0 => false,
        1 => true,
        _ => return Err(text::BIT_ARGUMENT.into()),
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let bits = in_bits(args.get(5))?;
    let end = args.get(4).map(integer).transpose()?;
    let key = cx.key(&args[1]);
    let position = match cx.read_string(&key)? {
        None => {
            if bit {
                -1
            } else {
                0
            }
        }
        Some(bytes) => match bit_range(range_clamped, bytes, start, end.unwrap_or(-1), bits) {
            None => -1,
            Some(range) => match find(bytes, range, bit) {
                Some(at) => at as i64,
                // Beyond the string there are zeros, unless the caller said where to stop.
                None if !bit && end.is_none() => bytes.len() as i64 * 8,
                None => -1,
            },
        },
    };
    cx.reply().integer(position);
    Ok(())
}
