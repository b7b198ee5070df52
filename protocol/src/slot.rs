//! Keys to slots: CRC16 (XMODEM) of the key, or of its hash tag, modulo 16,384.
//!
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags".

/// A slot number, `0..SLOTS`.
pub type Slot = u16;

/// How many slots a key space has.
pub const SLOTS: u16 = 16_384;

/// The generator of CRC-16/XMODEM: x^16 + x^12 + x^5 + 1, most significant bit first.
const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[k][b]` is the CRC of the byte `b` followed by `k` zero bytes, so that eight bytes cost eight
/// independent loads instead of a chain of eight.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// CRC-16/XMODEM of `bytes` (initial value 0, no reflection, no final xor).
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        crc = TABLES[7][usize::from(chunk[0] ^ (crc >> 8) as u8)]
            ^ TABLES[6][usize::from(chunk[1] ^ crc as u8)]
            ^ TABLES[5][usize::from(chunk[2])]
            ^ TABLES[4][usize::from(chunk[3])]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for &byte in chunks.remainder() {
        crc = (crc << 8) ^ TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// The part of `key` that decides its slot: what stands between the first `{` and the next `}`, unless that
/// is empty; else the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(length) if length > 0 => &rest[..length],
        _ => key,
    }
}

/// The slot of `key`.
#[inline]
pub fn key_slot(key: &[u8]) -> Slot {
    crc16(hash_tag(key)) & (SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_value_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    #[test]
    fn slots_of_known_keys() {
        // As `CLUSTER KEYSLOT` of Redis answers.
        for (key, slot) in
            [("foo", 12182), ("bar", 5061), ("somekey", 11058), ("foo{hash_tag}", 2515), ("hash_tag", 2515)]
        {
            assert_eq!(key_slot(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn hash_tags() {
        for (key, tag) in [
            ("{user1000}.following", "user1000"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("}foo{bar}", "bar"),
            ("", ""),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn slices_as_bit_by_bit(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut crc = 0u16;
            for byte in &bytes {
                crc ^= u16::from(*byte) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 != 0 { (crc << 1) ^ POLYNOMIAL } else { crc << 1 };
                }
            }
            prop_assert_eq!(crc16(&bytes), crc);
        }
    }
}
