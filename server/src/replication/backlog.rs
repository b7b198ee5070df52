//! The last records of the shard's history, in order, bounded in bytes.
//!
//! Replicas read from it; one that has fallen behind its start needs a full sync.

use std::collections::VecDeque;

/// Records are kept in chunks of about this size.
const CHUNK_BYTES: usize = 64 * 1024;

#[derive(Debug)]
struct Chunk {
    /// Offset of the first record.
    first: u64,
    /// Offset of the last record.
    last: u64,
    bytes: Vec<u8>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Backlog {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    limit_bytes: usize,
    /// Last offset that is (or was) in it.
    last: u64,
}

/// What a reader at some offset gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Records up to this offset were appended.
    UpTo(u64),
    /// Nothing new yet.
    Nothing,
    /// The records after the reader's offset are gone.
    TooOld,
}

/// Where a reader stopped, so that it need not look for the place again. Any place is a good one to begin with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The last offset that was read.
    after: u64,
    /// The first offset of its chunk.
    chunk: u64,
    /// Bytes of the chunk that were read.
    at: usize,
}

impl Backlog {
    /// An empty backlog that keeps at most about `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Backlog {
        Backlog { chunks: VecDeque::new(), bytes: 0, limit_bytes, last: 0 }
    }

    /// Forgets everything; the next record is the one after `last`.
    pub fn restart(&mut self, last: u64) {
        self.chunks.clear();
        self.bytes = 0;
        self.last = last;
    }

    /// The last offset.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The first offset that can still be read.
    pub fn first(&self) -> u64 {
        self.chunks.front().map_or(self.last + 1, |c| c.first)
    }

    /// Bytes that may be kept.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the record with the next offset.
    pub fn push(&mut self, offset: u64, record: &[u8]) {
        debug_assert_eq!(offset, self.last + 1, "the sequencer gives each offset once, in order");
        match self.chunks.back_mut() {
            Some(chunk) if chunk.bytes.len() + record.len() <= CHUNK_BYTES => {
                chunk.bytes.extend_from_slice(record);
                chunk.last = offset;
            }
            _ => {
                let mut bytes = Vec::with_capacity(record.len().max(CHUNK_BYTES));
                bytes.extend_from_slice(record);
                self.chunks.push_back(Chunk { first: offset, last: offset, bytes });
            }
        }
        self.bytes += record.len();
        self.last = offset;
        // The newest chunk stays whatever its size: replicas that keep up can always continue.
        while self.bytes > self.limit_bytes && self.chunks.len() > 1 {
            if let Some(old) = self.chunks.pop_front() {
                self.bytes -= old.bytes.len();
            }
        }
    }

    /// Appends to `out` the records after offset `after` and up to `until`: about `max_bytes` of them, and at least
    /// one however long it is. `place` is the reader's own, of its last call.
    pub fn read(
        &self,
        after: u64,
        until: u64,
        place: &mut Place,
        max_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Read {
        if after >= self.last {
            return Read::Nothing;
        }
        if after + 1 < self.first() {
            return Read::TooOld;
        }
        if after >= until {
            return Read::Nothing;
        }
        let start = self.chunks.partition_point(|c| c.last <= after);
        let mut at = after;
        let mut next = *place;
        // What the caller had put into `out` is none of ours: a chunk is never left out for it.
        let begin = out.len();
        for chunk in self.chunks.iter().skip(start) {
            let taken = out.len() - begin;
            if taken > 0 && taken + chunk.bytes.len() > max_bytes {
                break;
            }
            let mut rest = &chunk.bytes[..];
            if chunk.first == place.chunk && after == place.after {
                rest = rest.get(place.at..).unwrap_or_default();
            } else if chunk.first <= after {
                // Begin in the middle: skip what the reader has.
                while let Ok(Some((record, len))) = crate::effect::record(rest) {
                    if record.offset > after {
                        break;
                    }
                    rest = &rest[len..];
                }
            }
            if chunk.last > until {
                let skipped = chunk.bytes.len() - rest.len();
                let mut cut = 0;
                while let Ok(Some((record, len))) = crate::effect::record(&rest[cut..]) {
                    if record.offset > until {
                        break;
                    }
                    cut += len;
                    at = record.offset;
                }
                out.extend_from_slice(&rest[..cut]);
                next = Place { after: at, chunk: chunk.first, at: skipped + cut };
                break;
            }
            out.extend_from_slice(rest);
            at = chunk.last;
            next = Place { after: at, chunk: chunk.first, at: chunk.bytes.len() };
        }
        *place = next;
        Read::UpTo(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{EffectWriter, record};

    fn filled(records: u64, value_bytes: usize, limit: usize) -> Backlog {
        let mut backlog = Backlog::new(limit);
        for offset in 1..=records {
            let mut writer = EffectWriter::new(true);
            writer.append(0, b"k", 1, &vec![b'x'; value_bytes]);
            let mut out = Vec::new();
            writer.take_record(1, offset, &mut out);
            backlog.push(offset, &out);
        }
        backlog
    }

    fn offsets(mut bytes: &[u8]) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some((r, len)) = record(bytes).unwrap() {
            all.push(r.offset);
            bytes = &bytes[len..];
        }
        all
    }

    #[test]
    fn a_reader_gets_what_it_lacks() {
        let backlog = filled(1000, 300, 1 << 30);
        let mut at = 17;
        let mut seen = Vec::new();
        let mut place = Place::default();
        loop {
            let mut out = Vec::new();
            match backlog.read(at, u64::MAX, &mut place, 100_000, &mut out) {
                Read::UpTo(to) => {
                    seen.extend(offsets(&out));
                    at = to;
                }
                Read::Nothing => break,
                Read::TooOld => panic!("nothing was dropped"),
            }
        }
        assert_eq!(seen, (18..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn a_record_above_the_limit_is_read_all_the_same() {
        // One record of 3 MB to a chunk, read in steps of 256 KiB behind what the caller has in the buffer.
        let backlog = filled(3, 3_000_000, 1 << 30);
        for after in 0..3 {
            let mut out = vec![0; 8];
            assert_eq!(
                backlog.read(after, u64::MAX, &mut Place::default(), 256 * 1024, &mut out),
                Read::UpTo(after + 1)
            );
            assert_eq!(offsets(&out[8..]), [after + 1]);
        }
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped_while_the_chunk_grows() {
        let mut backlog = Backlog::new(1 << 30);
        let (mut place, mut after, mut seen) = (Place::default(), 0, Vec::new());
        for offset in 1..=2000u64 {
            let mut writer = EffectWriter::new(true);
            writer.append(0, b"k", 1, &[b'x'; 90]);
            let mut out = Vec::new();
            writer.take_record(1, offset, &mut out);
            backlog.push(offset, &out);
            if offset % 7 == 0 {
                let mut out = Vec::new();
                assert_eq!(backlog.read(after, u64::MAX, &mut place, 100_000, &mut out), Read::UpTo(offset));
                seen.extend(offsets(&out));
                after = offset;
            }
        }
        assert_eq!(seen, (1..=after).collect::<Vec<_>>());
    }

    #[test]
    fn is_bounded_and_says_what_is_gone() {
        let backlog = filled(1000, 1000, 200_000);
        assert!(backlog.bytes() <= 200_000 + CHUNK_BYTES);
        let read = |after, out: &mut Vec<u8>| backlog.read(after, u64::MAX, &mut Place::default(), 1000, out);
        assert_eq!(read(0, &mut Vec::new()), Read::TooOld);
        assert!(backlog.first() > 1);
        let mut out = Vec::new();
        assert!(matches!(read(backlog.first() - 1, &mut out), Read::UpTo(_)));
        assert_eq!(read(1000, &mut out), Read::Nothing);
    }

    #[test]
    fn a_reader_stops_where_it_is_told() {
        let backlog = filled(1000, 300, 1 << 30);
        let (mut place, mut after, mut seen) = (Place::default(), 0, Vec::new());
        for until in [0, 1, 1, 2, 100, 217, 218, 700, 1000, 2000] {
            let mut out = Vec::new();
            while let Read::UpTo(to) = backlog.read(after, until, &mut place, 20_000, &mut out) {
                assert!(to > after && to <= until);
                after = to;
            }
            seen.extend(offsets(&out));
            assert_eq!(seen, (1..=until.min(1000)).collect::<Vec<_>>());
        }
    }
}
