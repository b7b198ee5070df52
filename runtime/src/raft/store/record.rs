//! Checksummed records: `xxh3-64 of (place ‖ 0x00 ‖ payload), little-endian ‖ payload`.
//!
//! The place (table and key) is part of the sum, so a whole record in the wrong place is found
//! too. redb's own page checksums are only looked at after a crash; these are looked at always.

use xxhash_rust::xxh3::Xxh3;

const SUM_BYTES: usize = 8;

/// Wraps a payload for its place.
pub(super) fn seal(place: &str, payload: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(SUM_BYTES + payload.len());
    record.extend_from_slice(&checksum(place, payload).to_le_bytes());
    record.extend_from_slice(payload);
    record
}

/// The payload of a record, or what is wrong with it.
pub(super) fn open<'a>(place: &str, record: &'a [u8]) -> Result<&'a [u8], String> {
    let Some((sum, payload)) = record.split_first_chunk::<SUM_BYTES>() else {
        return Err(format!("{place} has only {} bytes", record.len()));
    };
    if u64::from_le_bytes(*sum) == checksum(place, payload) {
        Ok(payload)
    } else {
        Err(format!("the checksum of {place} does not match its {} bytes", payload.len()))
    }
}

fn checksum(place: &str, payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(place.as_bytes());
    hasher.update(&[0]);
    hasher.update(payload);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(payload in proptest::collection::vec(any::<u8>(), 0..64), at in any::<usize>()) {
            let mut record = seal("entry 7", &payload);
            prop_assert_eq!(open("entry 7", &record).unwrap(), &payload[..]);
            prop_assert!(open("entry 8", &record).is_err());
            let bit = at % (record.len() * 8);
            record[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open("entry 7", &record).is_err());
        }
    }

    #[test]
    fn a_short_record_is_named() {
        assert!(open("vote", b"abc").unwrap_err().contains("vote"));
    }
}
