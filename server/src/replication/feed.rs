//! The primary's part in a resync by slots: digests of one stripe after another, then what the replica wants of them,
//! each behind the records that it holds.
//!
//! ```text
//! stripe ─lock─▶ piece, as of record `at` ─▶ queue ─records up to `at` are sent─▶ bus
//! ```
//!
//! A piece is taken under its stripe's lock, as a chunk of a full sync is, and nothing else stops for it. Owner: the task of the
//! replica's connection; [`Wanted`] is what its two halves share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use torc_runtime::bus::{ConnError, FrameKind};
use torc_runtime::clock::boottime_ns;

use super::Replication;
use super::digest::{DigestKey, Digester, Digests, Parts};
use super::stream::{self, END, FRAME_BYTES, KEPT_SNAPSHOT_BYTES, Malformed, Progress};
use super::transit::Sender;
use crate::effect::EffectWriter;
use crate::effect_apply;
use crate::node::Node;
use crate::store::STRIPES;

/// Pieces that may wait for records that go before them.
const MAX_AHEAD: usize = 64;

/// No further piece is taken while those that wait have so many bytes.
const MAX_AHEAD_BYTES: usize = 1 << 20;

/// After so many stripes it is looked at how many of their slots differ …
const SAMPLE_STRIPES: usize = 64;

/// … and from this share on (of those that are not empty on both sides; numerator, denominator) the rest is sent
/// without being compared: comparing costs both sides about as much time as sending.
const WORTHLESS: (u64, u64) = (3, 4);

/// A stripe, as it is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    /// Its digests are sent, or about to be; in these parts there is something.
    Digests(Parts),
    Answered,
}

#[derive(Debug)]
struct Answers {
    stripes: Box<[Asked]>,
    /// At most one of each stripe.
    wanted: VecDeque<(u16, Parts)>,
    open: usize,
    answered: usize,
    /// Slots of the stripes that were answered: those in which there is something on either side, and that differ.
    filled: u64,
    differing: u64,
}

/// What a replica wants; shared by the task that takes its answers and the one that sends.
#[derive(Debug)]
pub struct Wanted {
    answers: Mutex<Answers>,
    news: Notify,
}

impl Default for Wanted {
    fn default() -> Self {
        let answers = Answers {
            stripes: vec![Asked::No; STRIPES].into(),
            wanted: VecDeque::new(),
            open: STRIPES,
            answered: 0,
            filled: 0,
            differing: 0,
        };
        Wanted { answers: Mutex::new(answers), news: Notify::new() }
    }
}

impl Wanted {
    /// The replica has compared a stripe.
    pub fn answer(&self, stripe: u16, parts: Parts) -> Result<(), Malformed> {
        let mut answers = self.answers.lock();
        let asked = answers.stripes.get_mut(usize::from(stripe)).ok_or(Malformed)?;
        let Asked::Digests(filled) = *asked else { return Err(Malformed) };
        if !Parts::COMPARED.has(parts) {
            return Err(Malformed);
        }
        *asked = Asked::Answered;
        answers.open -= 1;
        answers.answered += 1;
        answers.filled += u64::from(filled.with(parts).slots());
        answers.differing += u64::from(parts.slots());
        if !parts.is_empty() {
            answers.wanted.push_back((stripe, parts));
        }
        drop(answers);
        self.news.notify_one();
        Ok(())
    }

    /// Resolves when there may be an answer.
    pub async fn answered(&self) {
        self.news.notified().await;
    }

    fn sends_digests(&self, stripe: u16, filled: Parts) {
        if let Some(asked) = self.answers.lock().stripes.get_mut(usize::from(stripe)) {
            *asked = Asked::Digests(filled);
        }
    }

    fn sends_all(&self, stripe: u16) {
        let mut answers = self.answers.lock();
        if let Some(asked) = answers.stripes.get_mut(usize::from(stripe)) {
            *asked = Asked::Answered;
            answers.open -= 1;
        }
    }

    fn next(&self) -> Option<(u16, Parts)> {
        self.answers.lock().wanted.pop_front()
    }

    /// Whether every stripe was answered, or sent whole, and all that was wanted was taken.
    fn is_settled(&self) -> bool {
        let answers = self.answers.lock();
        answers.open == 0 && answers.wanted.is_empty()
    }

    /// Whether so much differs that comparing is not worth it.
    fn is_worthless(&self) -> bool {
        let answers = self.answers.lock();
        let (share, of) = WORTHLESS;
        answers.answered >= SAMPLE_STRIPES && answers.differing * of > answers.filled * share
    }
}

/// Something to send behind the records up to `at`.
#[derive(Debug)]
struct Piece {
    at: u64,
    stripe: u16,
    /// For a comparison.
    digests: Option<Box<Digests>>,
    parts: Parts,
    content: Vec<u8>,
}

impl Piece {
    fn bytes(&self) -> usize {
        size_of::<Digests>() + self.content.len()
    }
}

/// What [`SlotFeed::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something: there may be more.
    Done,
    /// Nothing, until records or an answer come.
    Waits,
    /// The end was sent.
    Ended,
}

/// See the module's text.
pub struct SlotFeed {
    digester: Digester,
    wanted: Arc<Wanted>,
    next: usize,
    /// By rising `at`.
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    /// The buffer of a piece that was sent, for the next one: memory that was never written to takes time to write to, and the
    /// stripe is locked meanwhile.
    spare: Vec<u8>,
    progress: Progress,
    /// For how long a stripe was locked at most.
    longest_ns: u64,
    whole_from: Option<usize>,
}

impl SlotFeed {
    /// Begins.
    pub fn new(key: &DigestKey, wanted: Arc<Wanted>) -> SlotFeed {
        SlotFeed {
            digester: Digester::new(key),
            wanted,
            next: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            spare: Vec::new(),
            progress: Progress::default(),
            longest_ns: 0,
            whole_from: None,
        }
    }

    /// Records above this one are not to be sent yet.
    pub fn records_until(&self) -> u64 {
        self.queue.front().map_or(u64::MAX, |piece| piece.at)
    }

    /// What was compared and sent.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// For how long a stripe was locked at most; the first stripe that was sent without being compared, if one was.
    pub fn costs(&self) -> (u64, Option<usize>) {
        (self.longest_ns, self.whole_from)
    }

    /// Goes on; the records up to `sent` are sent.
    pub async fn step(
        &mut self,
        node: &Node,
        repl: &Replication,
        sender: &mut Sender<'_>,
        sent: u64,
    ) -> Result<Step, ConnError> {
        if self.records_until() <= sent
            && let Some(piece) = self.queue.pop_front()
        {
            self.queued_bytes -= piece.bytes();
            self.send(repl, sender, piece).await?;
            return Ok(Step::Done);
        }
        if self.queue.len() < MAX_AHEAD && self.queued_bytes < MAX_AHEAD_BYTES {
            if let Some((stripe, parts)) = self.wanted.next() {
                self.take(node, stripe, parts, false);
                return Ok(Step::Done);
            }
            if self.next < STRIPES {
                let stripe = self.next as u16;
                if self.whole_from.is_some() || self.wanted.is_worthless() {
                    self.whole_from.get_or_insert(self.next);
                    self.wanted.sends_all(stripe);
                    self.take(node, stripe, Parts::ALL, false);
                } else {
                    self.take(node, stripe, Parts::LOCKS, true);
                }
                self.next += 1;
                return Ok(Step::Done);
            }
        }
        if self.queue.is_empty() {
            if !self.wanted.is_settled() {
                return Ok(Step::Waits);
            }
            let end = stream::chunk_header(END, sent, false);
            sender.send(FrameKind::SnapshotChunk, &[&end]).await?;
            return Ok(Step::Ended);
        }
        // The first one waits for records that a worker has, or has yet to hand over.
        repl.pump(node);
        Ok(if repl.backlog_last() > sent { Step::Done } else { Step::Waits })
    }

    /// Takes a stripe's digests or content, as they are now.
    fn take(&mut self, node: &Node, index: u16, parts: Parts, compare: bool) {
        let mut effects = EffectWriter::reusing(std::mem::take(&mut self.spare));
        let stripe = node.store.stripe(index);
        let locked_ns = boottime_ns();
        // Under the lock: every record of this stripe up to this offset has been executed, none above it.
        let at = node.shard.last_offset();
        let digests = compare.then(|| Box::new(self.digester.stripe_to_compare(&stripe)));
        effect_apply::snapshot_parts(node, &stripe, index, parts, &mut effects, locked_ns);
        drop(stripe);
        self.longest_ns = self.longest_ns.max(boottime_ns().saturating_sub(locked_ns));
        if let Some(digests) = &digests {
            self.wanted.sends_digests(index, Parts::filled(digests));
        }
        let piece = Piece { at, stripe: index, digests, parts, content: effects.take_bytes() };
        self.queued_bytes += piece.bytes();
        self.queue.push_back(piece);
    }

    async fn send(
        &mut self,
        repl: &Replication,
        sender: &mut Sender<'_>,
        piece: Piece,
    ) -> Result<(), ConnError> {
        let Piece { at, stripe, digests, parts, content } = piece;
        let mut progress = Progress::default();
        let compared = digests.is_some();
        if let Some(digests) = digests {
            let frame = stream::digests(stripe, at, &digests);
            sender.send(FrameKind::SlotDigests, &[&frame]).await?;
            progress.slots_compared = u64::from(Parts::SLOTS.slots());
            progress.bytes = frame.len() as u64;
        }
        // Without locks there is nothing behind the digests.
        if !(compared && content.is_empty()) {
            let mut rest = &content[..];
            loop {
                let (effects, tail) = rest.split_at(rest.len().min(FRAME_BYTES));
                let header = stream::content_header(stripe, at, parts, !tail.is_empty());
                sender.send(FrameKind::SlotsChunk, &[&header, effects]).await?;
                progress.bytes += (header.len() + effects.len()) as u64;
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            progress.slots_sent = u64::from(parts.slots());
        }
        if content.capacity() > self.spare.capacity() && content.capacity() <= KEPT_SNAPSHOT_BYTES {
            self.spare = content;
        }
        self.progress.add(progress);
        repl.fed(|fed| fed.slots.add(progress));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_once_and_tell_when_comparing_is_worthless() {
        let wanted = Wanted::default();
        assert_eq!(wanted.answer(0, Parts::NONE), Err(Malformed), "not asked");
        assert_eq!(wanted.answer(STRIPES as u16, Parts::NONE), Err(Malformed), "no such stripe");
        for stripe in 0..SAMPLE_STRIPES as u16 {
            assert!(!wanted.is_worthless());
            wanted.sends_digests(stripe, Parts::SLOTS);
            assert_eq!(wanted.answer(stripe, Parts::LOCKS), Err(Malformed), "not compared");
            assert_eq!(wanted.answer(stripe, Parts::SLOTS), Ok(()));
            assert_eq!(wanted.answer(stripe, Parts::SLOTS), Err(Malformed), "answered before");
            assert_eq!(wanted.next(), Some((stripe, Parts::SLOTS)));
        }
        assert!(wanted.is_worthless());
        let equal = |stripe, filled| {
            wanted.sends_digests(stripe, filled);
            assert_eq!(wanted.answer(stripe, Parts::NONE), Ok(()));
        };
        (64..80).for_each(|stripe| equal(stripe, Parts::SLOTS));
        (80..100).for_each(|stripe| equal(stripe, Parts::NONE));
        assert!(wanted.is_worthless(), "64 of 80 differ, and what is empty on both sides does not count");
        (100..110).for_each(|stripe| equal(stripe, Parts::SLOTS));
        assert!(!wanted.is_worthless(), "64 of 90 differ");
        for stripe in 110..STRIPES as u16 {
            assert!(!wanted.is_settled());
            wanted.sends_all(stripe);
        }
        assert!(wanted.is_settled() && wanted.next().is_none());
    }
}
