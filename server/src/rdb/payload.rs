//! What DUMP answers and RESTORE takes: a value, the version of the format, a checksum.
//!
//! ```text
//! payload : type byte and body of the value | version u16 | crc64 of all before u64       little-endian
//! ```

use super::crc64::crc64;

/// The version that is written: Redis 7.0's, so that it and all later ones read it.
const WRITTEN_VERSION: u16 = 10;

/// The newest version that is read: Redis 7.2's.
const NEWEST_VERSION: u16 = 11;

/// Version and checksum behind a value.
const FOOTER: usize = 10;

/// Appends the footer to a value.
pub fn seal(payload: &mut Vec<u8>) {
    payload.extend_from_slice(&WRITTEN_VERSION.to_le_bytes());
    let crc = crc64(0, payload);
    payload.extend_from_slice(&crc.to_le_bytes());
}

/// The value in a payload; `None` when its version is too new or its checksum another.
pub fn open(payload: &[u8]) -> Option<&[u8]> {
    let value = payload.get(..payload.len().checked_sub(FOOTER)?)?;
    let (sealed, crc) = payload.split_last_chunk()?;
    let (_, version) = sealed.split_last_chunk()?;
    let fits = u16::from_le_bytes(*version) <= NEWEST_VERSION && u64::from_le_bytes(*crc) == crc64(0, sealed);
    fits.then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_redis_seals() {
        // DUMP of redis-server 7.0 for a hash.
        let theirs =
            b"\x10\x14\x14\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x83xyz\x04\xff\n\x00.,\"ne=\x1f\xc4";
        let mut ours = open(theirs).unwrap().to_vec();
        seal(&mut ours);
        assert_eq!(ours, theirs);
        for at in 0..ours.len() {
            ours[at] ^= 1;
            assert_eq!(open(&ours), None);
            ours[at] ^= 1;
        }
        assert_eq!((open(b""), open(&[0; 9])), (None, None));
        let mut newer = b"\0\x01a\x0c\0".to_vec();
        let crc = crc64(0, &newer);
        newer.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(open(&newer), None);
    }
}
