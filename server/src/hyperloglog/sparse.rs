//! The sparse encoding: runs of registers of one value.
//!
//! ```text
//! 00nnnnnn           : n + 1 registers are 0
//! 01nnnnnn nnnnnnnn  : n + 1 registers are 0
//! 1vvvvvnn           : n + 1 registers are v + 1
//! ```

use smallvec::SmallVec;

use super::{Corrupted, DENSE_BYTES, HEADER, Histogram, REGISTERS, Registers, empty, make_dense};

/// The highest value that a run can have.
const VALUE_MAX: u8 = 32;

/// The longest run of a value.
const RUN_MAX: usize = 4;

/// The longest run of zeros in one byte.
const SHORT_ZEROS: usize = 64;

/// Runs that are looked at after a change for two that can be joined.
const JOIN_RUNS: usize = 5;

/// A run of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode {
    /// Their value.
    pub value: u8,
    /// How many.
    pub run: usize,
    /// Bytes of the opcode.
    pub len: usize,
}

/// The opcode at the front. One that is cut off ends with a zero byte, as Redis's strings do.
#[inline]
fn opcode(bytes: &[u8]) -> Option<Opcode> {
    let first = *bytes.first()?;
    Some(match first >> 6 {
        0 => Opcode { value: 0, run: usize::from(first) + 1, len: 1 },
        1 => {
            let second = bytes.get(1).copied().unwrap_or(0);
            Opcode { value: 0, run: (usize::from(first & 0x3f) << 8 | usize::from(second)) + 1, len: 2 }
        }
        _ => Opcode { value: (first >> 2 & 0x1f) + 1, run: usize::from(first & 3) + 1, len: 1 },
    })
}

/// All runs, whatever they come to.
pub fn opcodes(registers: &[u8]) -> impl Iterator<Item = Opcode> + '_ {
    let mut rest = registers;
    std::iter::from_fn(move || {
        let found = opcode(rest)?;
        rest = rest.get(found.len..).unwrap_or_default();
        Some(found)
    })
}

/// Appends a run of zeros, of any length up to all registers; nothing for none.
pub fn push_zeros(out: &mut impl Extend<u8>, run: usize) {
    match run {
        0 => {}
        1..=SHORT_ZEROS => out.extend([run as u8 - 1]),
        _ => {
            let n = (run - 1) as u16;
            out.extend([0x40 | (n >> 8) as u8, n as u8]);
        }
    }
}

fn value_byte(value: u8, run: usize) -> u8 {
    0x80 | (value - 1) << 2 | (run as u8 - 1)
}

/// Appends a run, which is not longer than an opcode of its value can say; nothing for none.
fn push_run(out: &mut impl Extend<u8>, value: u8, run: usize) {
    match (value, run) {
        (0, _) => push_zeros(out, run),
        (_, 0) => {}
        _ => out.extend([value_byte(value, run)]),
    }
}

/// Raises a register; see [`super::raise`].
pub fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, max_bytes: usize) -> Result<bool, Corrupted> {
    if value > VALUE_MAX {
        return promote(bytes, index, value);
    }
    let (mut at, mut first, mut before) = (HEADER, 0, HEADER);
    let found = loop {
        let found = opcode(bytes.get(at..).unwrap_or_default()).ok_or(Corrupted)?;
        if index < first + found.run {
            break found;
        }
        before = at;
        at += found.len;
        first += found.run;
    };
    if found.value >= value {
        return Ok(false);
    }
    let mut new: SmallVec<[u8; 8]> = SmallVec::new();
    push_run(&mut new, found.value, index - first);
    new.push(value_byte(value, 1));
    push_run(&mut new, found.value, first + found.run - 1 - index);
    if new.len() > found.len && bytes.len() + new.len() - found.len > max_bytes {
        return promote(bytes, index, value);
    }
    let end = (at + found.len).min(bytes.len());
    bytes.splice(at..end, new);
    join(bytes, before);
    super::invalidate(bytes);
    Ok(true)
}

/// Joins neighbouring runs of one value, where the sum can still be one run: looks at a few from `at` on.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_RUNS {
        let Some(this) = opcode(bytes.get(at..).unwrap_or_default()) else { return };
        let next = opcode(bytes.get(at + this.len..).unwrap_or_default());
        match next {
            Some(next) if this.value > 0 && next.value == this.value && this.run + next.run <= RUN_MAX => {
                bytes[at] = value_byte(this.value, this.run + next.run);
                bytes.remove(at + 1);
            }
            _ => at += this.len,
        }
    }
}

fn promote(bytes: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, Corrupted> {
    make_dense(bytes)?;
    Ok(super::dense::raise(bytes.get_mut(HEADER..).unwrap_or_default(), index, value))
}

/// How many registers have each value.
pub fn histogram(registers: &[u8]) -> Result<Histogram, Corrupted> {
    let mut histogram = Histogram::default();
    let mut total = 0;
    for Opcode { value, run, .. } in opcodes(registers) {
        histogram.add(value, run as u32);
        total += run;
        if total > REGISTERS {
            return Err(Corrupted);
        }
    }
    if total == REGISTERS { Ok(histogram) } else { Err(Corrupted) }
}

/// See [`super::sparse_of`].
pub fn encode(registers: &Registers, max_bytes: usize) -> Option<Vec<u8>> {
    let mut out = empty();
    out.truncate(HEADER);
    let mut run = (0, 0);
    for value in registers.iter() {
        if value > VALUE_MAX {
            return None;
        }
        let full = run.0 > 0 && run.1 == RUN_MAX;
        if value == run.0 && !full {
            run.1 += 1;
            continue;
        }
        push_run(&mut out, run.0, run.1);
        run = (value, 1);
        // On the way to this string up to five bytes more are needed for a moment.
        if out.len() + 5 > max_bytes.min(DENSE_BYTES) {
            return None;
        }
    }
    push_run(&mut out, run.0, run.1);
    super::invalidate(&mut out);
    Some(out)
}
