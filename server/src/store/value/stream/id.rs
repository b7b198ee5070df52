//! The IDs of entries.

use std::fmt;

/// Digits of the longest ID: two numbers of twenty digits and the dash.
const MAX_ID_BYTES: usize = 41;

/// The ID of an entry: milliseconds, and a number within the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Unix milliseconds, or whatever the client gave.
    pub ms: u64,
    /// The number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The smallest ID; no entry has it.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The greatest ID.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The ID of these two numbers.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The ID after this one; `None` after the greatest.
    #[must_use]
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The ID before this one; `None` before the smallest.
    #[must_use]
    pub fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// Sixteen bytes that sort as the IDs do: both numbers big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The ID of sixteen such bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let number = u128::from_be_bytes(bytes);
        StreamId { ms: (number >> 64) as u64, seq: number as u64 }
    }

    /// Calls `then` with the text `ms-seq`.
    #[inline]
    pub fn with_text<R>(self, then: impl FnOnce(&[u8]) -> R) -> R {
        let mut text = [0; MAX_ID_BYTES];
        let mut len = 0;
        let (mut ms, mut seq) = (itoa::Buffer::new(), itoa::Buffer::new());
        for part in [ms.format(self.ms).as_bytes(), b"-", seq.format(self.seq).as_bytes()] {
            text[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        then(&text[..len])
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours() {
        let id = StreamId::new;
        assert_eq!(id(1, 2).next(), Some(id(1, 3)));
        assert_eq!(id(1, u64::MAX).next(), Some(id(2, 0)));
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(id(1, 0).previous(), Some(id(0, u64::MAX)));
        assert_eq!(StreamId::MIN.previous(), None);
        assert_eq!(StreamId::from_bytes(id(7, 9).to_bytes()), id(7, 9));
        assert_eq!(StreamId::MAX.with_text(<[u8]>::len), MAX_ID_BYTES);
        assert_eq!(id(12, 3).with_text(<[u8]>::to_vec), b"12-3");
    }
}
