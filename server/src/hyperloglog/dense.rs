//! The dense encoding: sixteen thousand registers of six bits, the lowest bits of each byte first.

use super::{Corrupted, HEADER, Histogram, Opcode, REGISTERS, is_dense, opcodes};

/// Length of a dense HyperLogLog.
pub const DENSE_BYTES: usize = HEADER + REGISTERS * 6 / 8;

/// The value of a register.
#[inline]
pub fn get(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let low = registers.get(at).copied().unwrap_or(0);
    let high = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([low, high]) >> shift) as u8 & 63
}

fn set(registers: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * 6 / 8, index * 6 % 8);
    let (mask, value) = (!(63u16 << shift), u16::from(value & 63) << shift);
    let pairs = mask.to_le_bytes().into_iter().zip(value.to_le_bytes());
    for (byte, (mask, bits)) in registers.iter_mut().skip(at).zip(pairs) {
        *byte = *byte & mask | bits;
    }
}

/// Raises a register; true when it was lower.
#[inline]
pub fn raise(registers: &mut [u8], index: usize, value: u8) -> bool {
    let below = get(registers, index) < value;
    if below {
        set(registers, index, value);
    }
    below
}

/// How many registers have each value.
pub fn histogram(registers: &[u8]) -> Histogram {
    let mut bytes = [0; REGISTERS];
    unpack(registers, &mut bytes);
    let mut histogram = Histogram::default();
    histogram.count_bytes(&bytes);
    histogram
}

/// Spreads six bits each over whole bytes, eight registers at a time.
fn unpack(packed: &[u8], bytes: &mut [u8; REGISTERS]) {
    let (sixes, _) = packed.as_chunks::<6>();
    let (eights, _) = bytes.as_chunks_mut::<8>();
    for (six, eight) in sixes.iter().zip(eights) {
        let x = u64::from_le_bytes([six[0], six[1], six[2], six[3], six[4], six[5], 0, 0]);
        // 48 bits in one go, then in halves of 24, quarters of 12, eighths of 6.
        let x = x & 0xff_ffff | (x & 0xffff_ff00_0000) << 8;
        let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
        let x = x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2;
        *eight = x.to_le_bytes();
    }
}

/// Registers, one in a byte: where several HyperLogLogs are merged.
#[derive(Clone, Debug)]
pub struct Registers {
    bytes: Box<[u8; REGISTERS]>,
}

impl Default for Registers {
    fn default() -> Self {
        Registers { bytes: Box::new([0; REGISTERS]) }
    }
}

impl Registers {
    /// The value of a register.
    pub fn get(&self, index: usize) -> u8 {
        self.bytes.get(index).copied().unwrap_or(0)
    }

    /// All registers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u8> + '_ {
        self.bytes.iter().copied()
    }

    /// Raises each register to that of a valid HyperLogLog.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), Corrupted> {
        let registers = hll.get(HEADER..).unwrap_or_default();
        if is_dense(hll) {
            let mut other = [0; REGISTERS];
            unpack(registers, &mut other);
            self.bytes.iter_mut().zip(&other).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
            return Ok(());
        }
        let mut index = 0;
        for Opcode { value, run, .. } in opcodes(registers) {
            if value > 0 {
                let covered = self.bytes.get_mut(index..index + run).ok_or(Corrupted)?;
                covered.iter_mut().for_each(|mine| *mine = (*mine).max(value));
            }
            index += run;
        }
        if index == REGISTERS { Ok(()) } else { Err(Corrupted) }
    }

    /// Estimates how many different elements they have seen.
    pub fn estimate(&self) -> u64 {
        let mut histogram = Histogram::default();
        histogram.count_bytes(&self.bytes);
        histogram.estimate()
    }

    /// Appends the registers in the dense encoding.
    pub fn write_dense(&self, out: &mut Vec<u8>) {
        let (eights, _) = self.bytes.as_chunks::<8>();
        for eight in eights {
            let packed = eight.iter().rev().fold(0u64, |packed, value| packed << 6 | u64::from(value & 63));
            out.extend_from_slice(&packed.to_le_bytes()[..6]);
        }
    }
}
