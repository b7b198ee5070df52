//! The last records of the shard's history, in order, bounded in bytes.
//!
//! Replicas read from it; one that has fallen behind its start needs a resync. What a connected replica has yet to be
//! sent is kept beyond the size that is kept in any case, up to a second bound.
//!
//! ```text
//!      kept while somebody reads          kept in any case
//! │◀────────────────────────────┼──────────────────────────▶│ last
//! │◀──────────────── at most `most_bytes` ─────────────────▶│ and the longest record of it
//! ```
//!
//! A long record is shared with whoever sends it: it lives until it is sent, whatever becomes of the backlog.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

use torc_cluster::ids::StreamId;

use crate::effect::{LONG_RECORD_BYTES, LongRecord, RECORD_HEADER};

/// Short records are kept in chunks of about this size.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much a backlog keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes that are kept in any case, for replicas that come back.
    pub kept_bytes: usize,
    /// Bytes that are kept at most, for replicas that are connected; one record may be beside them, however long it is: no
    /// replica is given up for what nobody can send in parts.
    pub most_bytes: usize,
}

impl Bounds {
    /// Bytes that are kept in any case unless configured otherwise.
    const KEPT_BYTES: usize = 64 << 20;

    /// The most is as many times that …
    const MOST_TIMES: usize = 4;

    /// … and no less than this, unless configured otherwise. Redis gives up a replica that lacks as much
    /// (`client-output-buffer-limit replica 256mb 64mb 60`).
    const MOST_BYTES: usize = 256 << 20;

    /// As configured.
    pub fn new(kept_bytes: Option<usize>, most_bytes: Option<usize>) -> Bounds {
        let kept_bytes = kept_bytes.unwrap_or(Bounds::KEPT_BYTES);
        let derived = || kept_bytes.saturating_mul(Bounds::MOST_TIMES).max(Bounds::MOST_BYTES);
        Bounds { kept_bytes, most_bytes: most_bytes.unwrap_or_else(derived).max(kept_bytes) }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds::new(None, None)
    }
}

#[derive(Debug)]
enum Content {
    /// Short records behind each other.
    Short(Vec<u8>),
    /// One long record.
    Long(Arc<LongRecord>),
}

#[derive(Debug)]
struct Chunk {
    /// Offset of the first record.
    first: u64,
    /// Offset of the last record.
    last: u64,
    /// Bytes of all records before the first.
    begins_at: u64,
    content: Content,
}

impl Chunk {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Short(bytes) => bytes.len(),
            Content::Long(record) => record.bytes(),
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Backlog {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Bytes of each long record, in order.
    long_bytes: VecDeque<usize>,
    /// Bytes of all records that were ever appended.
    pushed_bytes: u64,
    bounds: Bounds,
    /// Last offset that is (or was) in it.
    last: u64,
    /// The last offset that each connected replica was sent, as long as all is there that it has yet to be sent.
    readers: BTreeMap<StreamId, u64>,
    /// Long records that have left, and may be on their way to somebody. At most one of each reader lives.
    leaving: Vec<Weak<LongRecord>>,
}

/// What a reader at some offset gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Records up to this offset were appended.
    UpTo(u64),
    /// The next record is a long one; nothing was appended.
    Long(Arc<LongRecord>),
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
    /// An empty backlog.
    pub fn new(bounds: Bounds) -> Backlog {
        Backlog {
            chunks: VecDeque::new(),
            bytes: 0,
            long_bytes: VecDeque::new(),
            pushed_bytes: 0,
            bounds,
            last: 0,
            readers: BTreeMap::new(),
            leaving: Vec::new(),
        }
    }

    /// Forgets everything; the next record is the one after `last`.
    pub fn restart(&mut self, last: u64) {
        self.chunks.clear();
        self.bytes = 0;
        self.long_bytes.clear();
        self.last = last;
        self.readers.clear();
    }

    /// The last offset.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The first offset that can still be read.
    pub fn first(&self) -> u64 {
        self.chunks.front().map_or(self.last + 1, |c| c.first)
    }

    /// How much may be kept.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Bytes kept, and of records that are being sent although they are kept no more.
    pub fn bytes(&self) -> usize {
        let leaving = self.leaving.iter().filter_map(Weak::upgrade);
        self.bytes + leaving.map(|record| record.bytes()).sum::<usize>()
    }

    /// Appends the record with the next offset, header included.
    pub fn push(&mut self, offset: u64, record: &[u8]) {
        match self.chunks.back_mut() {
            Some(Chunk { last, content: Content::Short(bytes), .. })
                if bytes.len() + record.len() <= CHUNK_BYTES =>
            {
                bytes.extend_from_slice(record);
                debug_assert_eq!(*last + 1, offset, "the sequencer gives each offset once, in order");
                *last = offset;
                self.pushed(offset, record.len());
            }
            _ if record.len() >= RECORD_HEADER + LONG_RECORD_BYTES => {
                let Ok(Some((record, _))) = crate::effect::record(record) else { return };
                self.push_long(LongRecord::of(&record));
            }
            _ => {
                let mut bytes = Vec::with_capacity(record.len().max(CHUNK_BYTES));
                bytes.extend_from_slice(record);
                self.push_chunk(offset, Content::Short(bytes));
            }
        }
    }

    /// Appends the record with the next offset as it is.
    pub fn push_long(&mut self, record: LongRecord) {
        let offset = record.offset;
        self.long_bytes.push_back(record.bytes());
        self.push_chunk(offset, Content::Long(Arc::new(record)));
    }

    fn push_chunk(&mut self, offset: u64, content: Content) {
        let chunk = Chunk { first: offset, last: offset, begins_at: self.pushed_bytes, content };
        let bytes = chunk.bytes();
        debug_assert_eq!(offset, self.last + 1, "the sequencer gives each offset once, in order");
        self.chunks.push_back(chunk);
        self.pushed(offset, bytes);
    }

    fn pushed(&mut self, offset: u64, bytes: usize) {
        self.last = offset;
        self.bytes += bytes;
        self.pushed_bytes += bytes as u64;
        self.trim();
    }

    /// Somebody has been sent everything up to `after` and needs what follows.
    pub fn begin(&mut self, reader: StreamId, after: u64) {
        self.readers.insert(reader, after);
    }

    /// A reader that has begun has been sent everything up to `after`.
    pub fn sent(&mut self, reader: StreamId, after: u64) {
        if let Some(known) = self.readers.get_mut(&reader)
            && std::mem::replace(known, after) != after
        {
            self.trim();
        }
    }

    /// A reader needs nothing any more.
    pub fn end(&mut self, reader: StreamId) {
        if self.readers.remove(&reader).is_some() {
            self.trim();
        }
    }

    /// Those who have yet to be sent more than is kept in any case.
    pub fn lagging(&self) -> impl Iterator<Item = StreamId> + '_ {
        let lacks = |after: u64| {
            let next = self.chunks.get(self.chunks.partition_point(|chunk| chunk.last <= after));
            next.map_or(0, |chunk| self.pushed_bytes - chunk.begins_at)
        };
        let kept_bytes = self.bounds.kept_bytes;
        let readers = self.readers.iter().filter(move |_| self.bytes > kept_bytes);
        readers.filter(move |(_, after)| lacks(**after) > kept_bytes as u64).map(|(reader, _)| *reader)
    }

    /// Whether somebody has yet to be sent what is kept longest.
    fn is_held(&self) -> bool {
        let front = self.chunks.front().map_or(0, |chunk| chunk.last);
        self.readers.values().any(|after| *after < front)
    }

    /// Whether more is kept than for anybody's sake.
    fn is_too_much(&self) -> bool {
        let above = self.bytes.saturating_sub(self.bounds.most_bytes);
        above > 0 && above > self.long_bytes.iter().max().copied().unwrap_or_default()
    }

    /// Lets go what is too much. The newest chunk stays whatever its size: replicas that keep up can always continue.
    fn trim(&mut self) {
        self.leaving.retain(|record| record.strong_count() > 0);
        while self.bytes > self.bounds.kept_bytes && self.chunks.len() > 1 {
            if !self.is_too_much() && self.is_held() {
                break;
            }
            let Some(old) = self.chunks.pop_front() else { break };
            self.bytes -= old.bytes();
            let leaving = match old.content {
                Content::Long(record) => {
                    self.long_bytes.pop_front();
                    Some(Arc::downgrade(&record))
                }
                Content::Short(_) => None,
            };
            let leaving = leaving.filter(|record| record.strong_count() > 0);
            // For whom something is missing nothing need be kept: it has to begin anew. Who is being sent the record that
            // leaves goes on behind it.
            let (first, sending) = (self.first(), leaving.is_some());
            self.readers.retain(|_, after| *after + 1 >= first || sending && *after + 1 == old.first);
            self.leaving.extend(leaving);
        }
    }

    /// Appends to `out` the records after offset `after` and up to `until`: about `max_bytes` of them, and at least
    /// one however long it is, unless that is a long one, which is answered as it is. `place` is the reader's own, of
    /// its last call.
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
            let bytes = match &chunk.content {
                Content::Long(record) if taken == 0 && at == after => return Read::Long(record.clone()),
                Content::Long(_) => break,
                Content::Short(bytes) => bytes,
            };
            if taken > 0 && taken + bytes.len() > max_bytes {
                break;
            }
            let mut rest = &bytes[..];
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
                let skipped = bytes.len() - rest.len();
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
            next = Place { after: at, chunk: chunk.first, at: bytes.len() };
        }
        *place = next;
        Read::UpTo(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{EffectWriter, Records, record};

    const ENOUGH: Bounds = Bounds { kept_bytes: 1 << 30, most_bytes: 1 << 30 };
    const R: StreamId = StreamId(7);

    fn push(backlog: &mut Backlog, offset: u64, value_bytes: usize) {
        let mut writer = EffectWriter::new(true);
        writer.append(0, b"k", 1, &vec![b'x'; value_bytes]);
        let mut records = Records::default();
        writer.take_into(1, offset, &mut records);
        match records.long.pop() {
            Some(record) => backlog.push_long(record),
            None => backlog.push(offset, &records.short),
        }
    }

    fn filled(records: u64, value_bytes: usize, bounds: Bounds) -> Backlog {
        let mut backlog = Backlog::new(bounds);
        (1..=records).for_each(|offset| push(&mut backlog, offset, value_bytes));
        backlog
    }

    fn read_long(backlog: &Backlog, after: u64) -> Arc<LongRecord> {
        match backlog.read(after, u64::MAX, &mut Place::default(), 1000, &mut Vec::new()) {
            Read::Long(record) => record,
            other => panic!("{other:?}"),
        }
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
        let backlog = filled(1000, 300, ENOUGH);
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
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, (18..=1000).collect::<Vec<_>>());
    }

    #[test]
    fn long_records_are_shared_and_short_ones_beside_them_copied() {
        let mut backlog = Backlog::new(ENOUGH);
        let sizes = [10, 10, 3_000_000, LONG_RECORD_BYTES, 10, 500_000, 500_000, 3_000_000];
        (1..).zip(sizes).for_each(|(offset, bytes)| push(&mut backlog, offset, bytes));
        // As a replica has it when it came in one piece with others.
        let mut copied = Backlog::new(ENOUGH);
        copied.restart(2);
        let record = read_long(&backlog, 2);
        copied.push(3, &[&record.header()[..], &record.body].concat());
        assert_eq!(read_long(&copied, 2), record);
        let (mut place, mut after, mut seen) = (Place::default(), 0, Vec::new());
        loop {
            // What the caller has in the buffer leaves no record out.
            let mut out = vec![0; 8];
            after = match backlog.read(after, u64::MAX, &mut place, 256 * 1024, &mut out) {
                Read::UpTo(to) => {
                    seen.push((offsets(&out[8..]), false));
                    to
                }
                Read::Long(record) => {
                    assert_eq!(out.len(), 8);
                    seen.push((vec![record.offset], true));
                    record.offset
                }
                Read::Nothing => break,
                Read::TooOld => panic!("nothing was dropped"),
            };
        }
        let expected: [(&[u64], bool); 7] = [
            (&[1, 2], false),
            (&[3], true),
            (&[4], true),
            (&[5], false),
            (&[6], false),
            (&[7], false),
            (&[8], true),
        ];
        let seen: Vec<_> = seen.iter().map(|(offsets, long)| (&offsets[..], *long)).collect();
        assert_eq!(seen, expected);
        assert_eq!(backlog.read(2, 2, &mut place, 1000, &mut Vec::new()), Read::Nothing, "not yet");
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped_while_the_chunk_grows() {
        let mut backlog = Backlog::new(ENOUGH);
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
        let backlog = filled(1000, 1000, Bounds { kept_bytes: 200_000, most_bytes: 200_000 });
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
        let backlog = filled(1000, 300, ENOUGH);
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

    /// 1 MB in any case, 4 MB for readers.
    const SMALL: Bounds = Bounds { kept_bytes: 1_000_000, most_bytes: 4_000_000 };

    #[test]
    fn what_a_reader_lacks_is_kept_up_to_a_bound() {
        let mut backlog = Backlog::new(SMALL);
        backlog.begin(R, 0);
        (1..=30).for_each(|offset| push(&mut backlog, offset, 100_000));
        assert_eq!((backlog.first(), backlog.lagging().collect::<Vec<_>>()), (1, vec![R]));
        assert!(backlog.bytes() > 3_000_000);
        // As it gets on, what it was sent goes, down to what is kept in any case.
        backlog.sent(R, 10);
        assert_eq!(backlog.first(), 11);
        // One that keeps up does not lag, although more is kept for another.
        let other = StreamId(8);
        backlog.begin(other, 25);
        assert_eq!(backlog.lagging().collect::<Vec<_>>(), [R]);
        backlog.end(other);
        backlog.sent(R, 29);
        assert!(backlog.bytes() <= 1_000_000 && backlog.first() > 20, "{}", backlog.first());
        assert_eq!(backlog.lagging().next(), None);
        // It stands still: what it lacks goes when there is too much of it, and then no more than usual is kept.
        (31..=68).for_each(|offset| push(&mut backlog, offset, 100_000));
        assert!(backlog.bytes() > 3_500_000);
        (69..=72).for_each(|offset| push(&mut backlog, offset, 100_000));
        assert!(backlog.bytes() <= 1_000_000 + 200_000, "{}", backlog.bytes());
        assert_eq!(backlog.read(29, u64::MAX, &mut Place::default(), 1000, &mut Vec::new()), Read::TooOld);
    }

    #[test]
    fn a_reader_that_ends_holds_nothing() {
        let mut backlog = Backlog::new(SMALL);
        let other = StreamId(8);
        backlog.begin(R, 0);
        backlog.begin(other, 0);
        (1..=20).for_each(|offset| push(&mut backlog, offset, 100_000));
        backlog.end(R);
        assert_eq!(backlog.first(), 1, "the other one lacks it still");
        backlog.end(other);
        assert!(backlog.first() > 10 && backlog.bytes() <= 1_000_000);
        // Who has ended, or never began, is no reader.
        backlog.sent(R, 0);
        push(&mut backlog, 21, 100_000);
        assert!(backlog.bytes() <= 1_000_000);
    }

    #[test]
    fn a_record_that_is_being_sent_stays_until_it_is_sent() {
        let mut backlog = Backlog::new(SMALL);
        backlog.begin(R, 0);
        // Longer than all bounds.
        push(&mut backlog, 1, 5_000_000);
        let sending = read_long(&backlog, 0);
        push(&mut backlog, 2, 5_000_000);
        assert_eq!(backlog.first(), 2, "too much, but for what is being sent");
        assert!(backlog.bytes() > 10_000_000, "it counts until it is sent");
        assert_eq!(sending.body.iter().filter(|byte| **byte == b'x').count(), 5_000_000);
        drop(sending);
        backlog.sent(R, 1);
        assert!(backlog.bytes() < 6_000_000);
        // The next one was kept for it.
        assert_eq!(read_long(&backlog, 1).offset, 2);
        push(&mut backlog, 3, 10);
        assert_eq!(backlog.first(), 2);
        backlog.sent(R, 2);
        assert_eq!(backlog.first(), 3, "what was sent is not kept above the bound");
        // One that is not being sent yet does not live on.
        let mut backlog = Backlog::new(SMALL);
        backlog.begin(R, 0);
        (1..=3).for_each(|offset| push(&mut backlog, offset, 3_000_000));
        assert_eq!(backlog.first(), 3);
        assert_eq!(backlog.read(0, u64::MAX, &mut Place::default(), 1000, &mut Vec::new()), Read::TooOld);
        push(&mut backlog, 4, 10);
        assert_eq!(backlog.first(), 4, "nothing is kept for who has to begin anew");
    }

    #[test]
    fn no_reader_is_given_up_for_one_record_however_long() {
        let mut backlog = Backlog::new(SMALL);
        backlog.begin(R, 0);
        let (mut after, mut place) = (0, Place::default());
        // Short ones before it and behind it, of which the reader was sent none.
        for (offset, bytes) in [(1, 10), (2, 9_000_000), (3, 10), (4, 2_000_000), (5, 10)] {
            push(&mut backlog, offset, bytes);
            assert_eq!(backlog.first(), 1);
        }
        while after < 5 {
            after = match backlog.read(after, u64::MAX, &mut place, 1000, &mut Vec::new()) {
                Read::UpTo(offset) => offset,
                Read::Long(record) => record.offset,
                other => panic!("{other:?} after {after}"),
            };
            backlog.sent(R, after);
        }
        assert!(backlog.bytes() <= 1_000_000, "{}", backlog.bytes());
        assert!(backlog.long_bytes.is_empty());
    }

    #[test]
    fn bounds_are_derived() {
        let mib = |kept: usize, most: usize| Bounds { kept_bytes: kept << 20, most_bytes: most << 20 };
        assert_eq!(Bounds::default(), mib(64, 256));
        assert_eq!(Bounds::new(Some(100 << 20), None), mib(100, 400));
        assert_eq!(Bounds::new(Some(1 << 20), None), mib(1, 256));
        assert_eq!(Bounds::new(Some(8 << 20), Some(1 << 20)), mib(8, 8));
    }
}
