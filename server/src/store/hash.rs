//! The hash that orders keys inside a stripe.
//!
//! Every node of a cluster uses the same seed, so a SCAN cursor that one node gave is understood by the node
//! that takes over from it. The function is fixed (XXH3, 64 bits, seeded): its values travel in cursors.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The seed that nodes use unless their cluster gave them another one.
pub const DEFAULT_SEED: u64 = 0x746f_7263_2d68_6173;

/// How many of a hash's upper bits a SCAN cursor carries.
pub const CURSOR_HASH_BITS: u32 = 40;

/// A seeded hash of key bytes; `Copy`, handed to whoever needs to find keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHasher {
    seed: u64,
}

impl KeyHasher {
    /// A hasher with the cluster's seed.
    pub const fn new(seed: u64) -> Self {
        KeyHasher { seed }
    }

    /// The 64-bit hash of `key`.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        xxh3_64_with_seed(key, self.seed)
    }
}

/// The part of a hash that orders entries in SCAN: its upper [`CURSOR_HASH_BITS`] bits.
#[inline]
pub const fn scan_position(hash: u64) -> u64 {
    hash >> (64 - CURSOR_HASH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_pinned_because_cursors_carry_them() {
        let h = KeyHasher::new(DEFAULT_SEED);
        assert_eq!(h.hash(b"foo"), KeyHasher::new(DEFAULT_SEED).hash(b"foo"));
        assert_ne!(h.hash(b"foo"), KeyHasher::new(1).hash(b"foo"));
        assert_eq!(scan_position(u64::MAX), (1 << CURSOR_HASH_BITS) - 1);
    }
}
