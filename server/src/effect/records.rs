//! Records on their way: short ones behind each other in one buffer, each long one in a buffer of its own, so that it is
//! moved from hand to hand and never copied.

use super::{RECORD_HEADER, Record};

/// Records with at least so many bytes of effects are long.
pub const LONG_RECORD_BYTES: usize = 1 << 20;

/// Of a buffer for short records no more is kept: those of one batch.
pub const KEPT_RECORD_BYTES: usize = 4 << 20;

/// A long record.
#[derive(Debug, PartialEq, Eq)]
pub struct LongRecord {
    /// Its place in the shard's history.
    pub offset: u64,
    /// The term of the primary that made it.
    pub term: u64,
    /// Its effects.
    pub body: Vec<u8>,
}

impl LongRecord {
    /// One with a copy of the effects.
    pub fn of(record: &Record<'_>) -> LongRecord {
        LongRecord { offset: record.offset, term: record.term, body: record.body.to_vec() }
    }

    /// As it is read.
    pub fn view(&self) -> Record<'_> {
        Record { offset: self.offset, term: self.term, body: &self.body }
    }

    /// What stands before its effects in a stream of records.
    pub fn header(&self) -> [u8; RECORD_HEADER] {
        header(self.offset, self.term, self.body.len())
    }

    /// Bytes that it takes in a stream of records.
    pub fn bytes(&self) -> usize {
        RECORD_HEADER + self.body.len()
    }
}

/// The header of a record.
pub(super) fn header(offset: u64, term: u64, body_bytes: usize) -> [u8; RECORD_HEADER] {
    let mut out = [0; RECORD_HEADER];
    out[..8].copy_from_slice(&offset.to_le_bytes());
    out[8..16].copy_from_slice(&term.to_le_bytes());
    out[16..].copy_from_slice(&(body_bytes as u32).to_le_bytes());
    out
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Records {
    /// Whole short ones.
    pub short: Vec<u8>,
    /// Long ones.
    pub long: Vec<LongRecord>,
}

/// Bytes of records, by whether they are of short or of long ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Of short ones.
    pub short: usize,
    /// Of long ones.
    pub long: usize,
}

impl Amount {
    /// Of both.
    pub fn total(self) -> usize {
        self.short + self.long
    }

    /// This and another amount.
    #[must_use]
    pub fn plus(self, other: Amount) -> Amount {
        Amount { short: self.short + other.short, long: self.long + other.long }
    }

    /// What is left of this beside another amount.
    #[must_use]
    pub fn minus(self, other: Amount) -> Amount {
        Amount { short: self.short.saturating_sub(other.short), long: self.long.saturating_sub(other.long) }
    }
}

impl Records {
    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.short.is_empty() && self.long.is_empty()
    }

    /// How much they are.
    pub fn amount(&self) -> Amount {
        Amount { short: self.short.len(), long: self.long.iter().map(LongRecord::bytes).sum() }
    }

    /// Takes all out of `other`, which keeps a small buffer only.
    pub fn append(&mut self, other: &mut Records) {
        self.short.append(&mut other.short);
        self.long.append(&mut other.long);
        other.short.shrink_to(KEPT_RECORD_BYTES);
    }

    /// All of them behind each other, in no order.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.short;
        for record in self.long {
            bytes.extend_from_slice(&record.header());
            bytes.extend_from_slice(&record.body);
        }
        bytes
    }
}
