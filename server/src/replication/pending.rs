//! What has come of a primary's stream of records and is not applied yet. A long record comes together in a buffer of its
//! own, which the backlog then keeps.

use super::stream::MAX_PENDING_BYTES;
use crate::effect::{DecodeError, KEPT_RECORD_BYTES, LONG_RECORD_BYTES, LongRecord, Reader, record};
use crate::effect::{MAX_RECORD_BYTES, RECORD_HEADER};

/// Why bytes are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PendingError {
    /// More than fits.
    #[error("a record or chunk is larger than {MAX_PENDING_BYTES} bytes, or than there is memory")]
    TooLarge,
    /// Damage.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Whole records, in their order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Whole<'a> {
    /// One that was long goes first.
    pub long: Option<LongRecord>,
    /// Those behind it.
    pub rest: &'a [u8],
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Pending {
    bytes: Vec<u8>,
    /// Bytes at the front that were handed out.
    taken: usize,
    /// A long record, and how many bytes of it are missing.
    long: Option<(LongRecord, usize)>,
}

/// Offset, term and bytes of a long record at the start of `bytes`.
fn begins_long(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let mut reader = Reader::new(bytes);
    let (offset, term, len) = (reader.u64().ok()?, reader.u64().ok()?, reader.u32().ok()? as usize);
    (LONG_RECORD_BYTES..=MAX_RECORD_BYTES).contains(&len).then_some((offset, term, len))
}

impl Pending {
    /// Takes what has come; answers what is whole now, to be applied before the next call.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Whole<'_>, PendingError> {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        if self.bytes.is_empty() {
            self.bytes.shrink_to(KEPT_RECORD_BYTES);
            if self.long.is_none()
                && let Some((offset, term, len)) = begins_long(bytes)
            {
                let mut body = Vec::new();
                body.try_reserve_exact(len).map_err(|_| PendingError::TooLarge)?;
                self.long = Some((LongRecord { offset, term, body }, len));
                bytes = &bytes[RECORD_HEADER..];
            }
        }
        if let Some((long, missing)) = &mut self.long {
            let (part, rest) = bytes.split_at(bytes.len().min(*missing));
            long.body.extend_from_slice(part);
            *missing -= part.len();
            bytes = rest;
        }
        append(&mut self.bytes, bytes)?;
        let long = self.long.take_if(|(_, missing)| *missing == 0).map(|(long, _)| long);
        if self.long.is_none() {
            while let Some((_, len)) = record(&self.bytes[self.taken..])? {
                self.taken += len;
            }
        }
        Ok(Whole { long, rest: &self.bytes[..self.taken] })
    }
}

/// Appends up to a bound.
pub fn append(pending: &mut Vec<u8>, bytes: &[u8]) -> Result<(), PendingError> {
    if pending.len() + bytes.len() > MAX_PENDING_BYTES {
        return Err(PendingError::TooLarge);
    }
    pending.try_reserve(bytes.len()).map_err(|_| PendingError::TooLarge)?;
    pending.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::Records;

    fn short(offset: u64) -> Vec<u8> {
        let mut writer = crate::effect::EffectWriter::new(true);
        writer.delete(0, b"k");
        let mut out = Vec::new();
        writer.take_record(1, offset, &mut out);
        out
    }

    fn long(offset: u64) -> Vec<u8> {
        let body = vec![offset as u8; LONG_RECORD_BYTES + 5];
        Records { short: Vec::new(), long: vec![LongRecord { offset, term: 1, body }] }.into_bytes()
    }

    /// The offsets that come out when the stream comes in pieces, and which of them in buffers of their own.
    fn offsets(pieces: &[&[u8]]) -> (Vec<u64>, Vec<u64>) {
        let (mut pending, mut all, mut apart) = (Pending::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let whole = pending.take(piece).expect("sound");
            if let Some(record) = &whole.long {
                assert!(record.body.iter().all(|byte| *byte == record.offset as u8));
                all.push(record.offset);
                apart.push(record.offset);
            }
            let mut rest = whole.rest;
            while let Some((record, len)) = record(rest).expect("sound") {
                all.push(record.offset);
                rest = &rest[len..];
            }
        }
        (all, apart)
    }

    #[test]
    fn long_records_come_together_in_buffers_of_their_own() {
        let stream = [short(1), long(2), short(3), long(4), long(5), short(6)].concat();
        let every = |bytes: usize| stream.chunks(bytes).collect::<Vec<_>>();
        for bytes in [100_000, 256 * 1024, LONG_RECORD_BYTES, stream.len()] {
            assert_eq!(offsets(&every(bytes)).0, [1, 2, 3, 4, 5, 6], "{bytes}");
        }
        // As a primary sends them: in frames of their own.
        let (one, two) = (long(1), long(2));
        let (head, tail) = one.split_at(70_000);
        let (all, apart) = offsets(&[head, tail, &two, &short(3)]);
        assert_eq!((&all[..], &apart[..]), (&[1, 2, 3][..], &[1, 2][..]));
    }

    #[test]
    fn little_is_kept_of_a_large_buffer() {
        let mut pending = Pending::default();
        // One that began behind another is taken as it comes.
        let stream = [short(1), long(2), long(3), long(4), long(5), long(6)].concat();
        assert_eq!(pending.take(&stream).expect("sound").rest.len(), stream.len());
        pending.take(&[]).expect("nothing");
        assert!(pending.bytes.capacity() <= KEPT_RECORD_BYTES);
    }
}
