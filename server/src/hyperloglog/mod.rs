//! HyperLogLog: how many different elements were seen, in a string of at most 12 KiB.
//!
//! The string is byte for byte what Redis keeps, so that either can go on with the other's. The estimate is Otmar Ertl's
//! ("New cardinality estimation algorithms for HyperLogLog sketches", arXiv:1702.01284).
//!
//! ```text
//! string : "HYLL" | encoding u8 (0 dense, 1 sparse) | 3 zero bytes | cached estimate u64 little-endian | registers
//! ```
//! The highest bit of the cached estimate says that it is out of date.

mod dense;
mod estimate;
mod murmur;
mod sparse;

pub use dense::{DENSE_BYTES, Registers};
pub use estimate::Histogram;
pub use murmur::murmur64a;
pub use sparse::{Opcode, opcodes};

/// Registers of a HyperLogLog.
pub const REGISTERS: usize = 1 << REGISTER_BITS;

/// Bits of an element's hash that choose its register.
const REGISTER_BITS: u32 = 14;

/// Bits of the hash in which a run of zeros is looked for.
const RUN_BITS: u32 = 64 - REGISTER_BITS;

/// Redis's seed of the hash.
const SEED: u64 = 0xadc8_3b19;

/// Bytes in front of the registers.
pub const HEADER: usize = 16;

/// Where the cached estimate stands.
pub const CACHE: std::ops::Range<usize> = 8..HEADER;

/// In the last byte of the cached estimate: it is out of date.
const STALE: u8 = 0x80;

const DENSE: u8 = 0;
const SPARSE: u8 = 1;

/// The registers do not come out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registers of a HyperLogLog are damaged")]
pub struct Corrupted;

/// Whether a string is a HyperLogLog, as far as its header and length say.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(b"HYLL")
        && (bytes[4] == SPARSE || bytes[4] == DENSE && bytes.len() == DENSE_BYTES)
}

/// Whether a valid one has the dense encoding.
pub fn is_dense(bytes: &[u8]) -> bool {
    bytes.get(4) == Some(&DENSE)
}

/// An empty HyperLogLog, sparse.
pub fn empty() -> Vec<u8> {
    let mut bytes = b"HYLL".to_vec();
    bytes.resize(HEADER, 0);
    bytes[4] = SPARSE;
    sparse::push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// The register of an element, and the value that it asks for: the length of the run of zeros in its hash, plus one.
#[inline]
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    // A bit beyond the end bounds the run.
    let run = (hash >> REGISTER_BITS | 1 << RUN_BITS).trailing_zeros();
    (hash as usize & (REGISTERS - 1), run as u8 + 1)
}

/// The estimate that the header keeps, unless it is out of date.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let mut cache = [0; 8];
    cache.copy_from_slice(bytes.get(CACHE)?);
    if cache[7] & STALE == 0 { Some(u64::from_le_bytes(cache)) } else { None }
}

/// Keeps an estimate in the header.
pub fn set_cached(bytes: &mut [u8], estimate: u64) {
    if let Some(cache) = bytes.get_mut(CACHE) {
        cache.copy_from_slice(&estimate.to_le_bytes());
    }
}

/// The cached estimate is out of date from now on.
pub fn invalidate(bytes: &mut [u8]) {
    if let Some(last) = bytes.get_mut(HEADER - 1) {
        *last |= STALE;
    }
}

/// Raises a register to `value` in a HyperLogLog of either encoding. True when it was lower. A sparse one that would be
/// longer than `sparse_max_bytes` becomes dense.
pub fn raise(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max_bytes: usize,
) -> Result<bool, Corrupted> {
    if is_dense(bytes) {
        return Ok(dense::raise(bytes.get_mut(HEADER..).unwrap_or_default(), index, value));
    }
    sparse::raise(bytes, index, value, sparse_max_bytes)
}

/// Whether [`raise`] would change a dense HyperLogLog.
#[inline]
pub fn dense_is_below(bytes: &[u8], index: usize, value: u8) -> bool {
    dense::get(bytes.get(HEADER..).unwrap_or_default(), index) < value
}

/// Raises a register of a dense HyperLogLog in its place.
pub fn raise_dense(bytes: &mut [u8], index: usize, value: u8) {
    dense::raise(bytes.get_mut(HEADER..).unwrap_or_default(), index, value);
}

/// Makes `bytes`, which begins with a header, the dense HyperLogLog of these registers; no estimate is cached.
pub fn write_dense(bytes: &mut Vec<u8>, registers: &Registers) {
    bytes.truncate(HEADER);
    bytes[4] = DENSE;
    registers.write_dense(bytes);
    invalidate(bytes);
}

/// Where the register lies in a dense HyperLogLog: offset and bytes, for a record of its change.
pub fn dense_span(index: usize) -> std::ops::Range<usize> {
    let first = HEADER + index * 6 / 8;
    first..(first + 2).min(DENSE_BYTES)
}

/// Makes a sparse HyperLogLog dense; one that is so already stays.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupted> {
    if is_dense(bytes) {
        return Ok(());
    }
    let mut registers = Registers::default();
    registers.merge(bytes)?;
    let mut dense = Vec::with_capacity(DENSE_BYTES);
    dense.extend_from_slice(&bytes[..HEADER]);
    dense[4] = DENSE;
    registers.write_dense(&mut dense);
    *bytes = dense;
    Ok(())
}

/// Estimates how many different elements a valid HyperLogLog has seen.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let registers = bytes.get(HEADER..).unwrap_or_default();
    if is_dense(bytes) {
        return Ok(dense::histogram(registers).estimate());
    }
    Ok(sparse::histogram(registers)?.estimate())
}

/// The sparse string of these registers, as raising one after another in an empty one gives it; `None` when it is too
/// near to `sparse_max_bytes` to say, or needs the dense encoding.
pub fn sparse_of(registers: &Registers, sparse_max_bytes: usize) -> Option<Vec<u8>> {
    sparse::encode(registers, sparse_max_bytes)
}

#[cfg(test)]
mod tests;
