//! What travels between a primary and a replica after their greeting.
//!
//! ```text
//! replica → primary   ReplicaHello  JSON `cluster::message::ReplicaHello`
//! primary → replica   ReplicaAccept JSON [`Accept`]
//! primary → replica   Records       mark u64 | proof u64 | bytes of the stream of records (a record may span frames)
//! primary → replica   SnapshotChunk stripe u16 | at u64 | more u8 | effect …      (full sync only)
//! replica → primary   ReplicaAck    offset u64 | whole u8 | stamp u64
//! primary → replica   SlotDigests   stripe u16 | at u64 | digest u128 × 17         (resync by slots only, as what follows)
//! replica → primary   SlotsWanted   stripe u16 | parts u32
//! primary → replica   SlotsChunk    stripe u16 | at u64 | parts u32 | more u8 | effect …
//! ```
//!
//! In a full sync chunks and records come mixed: a chunk holds one stripe as it was after record `at`, so of the
//! records the replica applies to a stripe only those above its `at`, and none before the chunk has come.
//!
//! A *stamp* is the replica's own CLOCK_BOOTTIME (ns) as it sends the frame. The primary, still under its lease when the
//! stamp comes, gives it back as *proof* (0: none) behind all records that it had executed then: who has applied them
//! holds everything that was executed before the stamp's moment, by its own clock and however long frames lie about.
//! `more` = 1: the chunk goes on in the next chunk frame. Chunk [`COMMON`] holds what belongs to no stripe; [`END`] says that all have been sent and up to which offset
//! the records must have come before the state is whole.
//!
//! In a *resync by slots* everything stands in the stream where it belongs: digests and contents behind all records that
//! they hold (up to `at`), before all others. Each SlotDigests is answered by a SlotsWanted, which may want nothing; what was wanted comes
//! in a later SlotsChunk, the locks of a stripe right behind its digests. A stripe may come whole and uncompared. The
//! chunk [`END`] comes last. See [`super::digest`] and [`super::settle`].

use serde::{Deserialize, Serialize};
use torc_cluster::history::History;
use torc_cluster::message::HelloReply;

use super::digest::{self, DIGEST_BYTES, DigestKey, Digests, Parts};

/// The chunk of what belongs to no stripe (scripts, a delayed `flush_all`).
pub const COMMON: u16 = u16::MAX - 1;

/// The last chunk; its `at` is the offset from which on the replica's state is whole.
pub const END: u16 = u16::MAX;

/// Bytes of records or effects in one frame, about: a record that is not long goes in one.
pub const FRAME_BYTES: usize = 256 * 1024;

/// Memory for a stripe's snapshot that is kept for the next one: growing it anew would take half of the time for which
/// the stripe is locked.
pub const KEPT_SNAPSHOT_BYTES: usize = 16 << 20;

/// Bytes of a chunk or of an unfinished record that a replica buffers at most.
pub const MAX_PENDING_BYTES: usize = 2 << 30;

/// The primary's answer to a replica.
#[derive(Debug, Serialize, Deserialize)]
pub struct Accept {
    /// What to do.
    pub reply: HelloReply,
    /// For a sync: the primary's history where the stream starts.
    pub history: History,
    /// For a resync by slots: the key of its digests.
    #[serde(default)]
    pub digest_key: Option<DigestKey>,
}

/// What a resync by slots has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Slots that were compared.
    pub slots_compared: u64,
    /// Slots whose content was sent: those that differed, and those that were not compared.
    pub slots_sent: u64,
    /// Bytes of what was sent beside records: digests and contents.
    pub bytes: u64,
}

impl Progress {
    /// Counts more.
    pub fn add(&mut self, more: Progress) {
        self.slots_compared += more.slots_compared;
        self.slots_sent += more.slots_sent;
        self.bytes += more.bytes;
    }
}

/// Bytes that are no frame of this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed replication frame")]
pub struct Malformed;

/// Bytes of a Records frame before the records.
pub const RECORDS_HEADER_BYTES: usize = 16;

/// What a Records frame begins with.
pub fn records_header(mark: u64, proof: u64) -> [u8; RECORDS_HEADER_BYTES] {
    let mut out = [0; RECORDS_HEADER_BYTES];
    out[..8].copy_from_slice(&mark.to_le_bytes());
    out[8..].copy_from_slice(&proof.to_le_bytes());
    out
}

/// A Records frame's parts: mark, proof, bytes of records.
pub fn split_records(payload: &[u8]) -> Result<(u64, u64, &[u8]), Malformed> {
    let (mark, rest) = payload.split_first_chunk::<8>().ok_or(Malformed)?;
    let (proof, records) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
    Ok((u64::from_le_bytes(*mark), u64::from_le_bytes(*proof), records))
}

/// One frame of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The stripe, or [`COMMON`], or [`END`].
    pub stripe: u16,
    /// The offset that the chunk is the state of.
    pub at: u64,
    /// The chunk goes on in the next frame.
    pub more: bool,
    /// Bytes of its effects.
    pub effects: &'a [u8],
}

/// Reads a chunk frame.
pub fn split_chunk(payload: &[u8]) -> Result<Chunk<'_>, Malformed> {
    let (stripe, rest) = payload.split_first_chunk::<2>().ok_or(Malformed)?;
    let (at, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
    let (more, effects) = rest.split_first().ok_or(Malformed)?;
    Ok(Chunk { stripe: u16::from_le_bytes(*stripe), at: u64::from_le_bytes(*at), more: *more == 1, effects })
}

/// What a chunk frame begins with.
pub fn chunk_header(stripe: u16, at: u64, more: bool) -> [u8; 11] {
    let mut out = [0; 11];
    out[..2].copy_from_slice(&stripe.to_le_bytes());
    out[2..10].copy_from_slice(&at.to_le_bytes());
    out[10] = u8::from(more);
    out
}

/// The digests of a stripe as it is after record `at`.
pub fn digests(stripe: u16, at: u64, digests: &Digests) -> Vec<u8> {
    let mut out = Vec::with_capacity(10 + DIGEST_BYTES);
    out.extend_from_slice(&stripe.to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    digest::put_digests(&mut out, digests);
    out
}

/// Reads a SlotDigests frame: stripe, `at` and digests.
pub fn split_digests(payload: &[u8]) -> Result<(u16, u64, Digests), Malformed> {
    let (stripe, rest) = payload.split_first_chunk::<2>().ok_or(Malformed)?;
    let (at, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
    let digests = digest::read_digests(rest).ok_or(Malformed)?;
    Ok((u16::from_le_bytes(*stripe), u64::from_le_bytes(*at), digests))
}

/// What a replica wants of a stripe.
pub fn wanted(stripe: u16, parts: Parts) -> [u8; 6] {
    let mut out = [0; 6];
    out[..2].copy_from_slice(&stripe.to_le_bytes());
    out[2..].copy_from_slice(&parts.bits().to_le_bytes());
    out
}

/// Reads a SlotsWanted frame: stripe and parts.
pub fn split_wanted(payload: &[u8]) -> Result<(u16, Parts), Malformed> {
    let (stripe, parts) = payload.split_first_chunk::<2>().ok_or(Malformed)?;
    let parts: &[u8; 4] = parts.try_into().map_err(|_| Malformed)?;
    let parts = Parts::from_bits(u32::from_le_bytes(*parts)).ok_or(Malformed)?;
    Ok((u16::from_le_bytes(*stripe), parts))
}

/// One frame of the content of some of a stripe's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// The stripe.
    pub stripe: u16,
    /// The record after which it is so.
    pub at: u64,
    /// Which of its parts.
    pub parts: Parts,
    /// It goes on in the next frame.
    pub more: bool,
    /// Bytes of its effects.
    pub effects: &'a [u8],
}

/// What a SlotsChunk frame begins with.
pub fn content_header(stripe: u16, at: u64, parts: Parts, more: bool) -> [u8; 15] {
    let mut out = [0; 15];
    out[..2].copy_from_slice(&stripe.to_le_bytes());
    out[2..10].copy_from_slice(&at.to_le_bytes());
    out[10..14].copy_from_slice(&parts.bits().to_le_bytes());
    out[14] = u8::from(more);
    out
}

/// Reads a SlotsChunk frame.
pub fn split_content(payload: &[u8]) -> Result<Content<'_>, Malformed> {
    let (stripe, rest) = payload.split_first_chunk::<2>().ok_or(Malformed)?;
    let (at, rest) = rest.split_first_chunk::<8>().ok_or(Malformed)?;
    let (parts, rest) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
    let (more, effects) = rest.split_first().ok_or(Malformed)?;
    let parts = Parts::from_bits(u32::from_le_bytes(*parts)).ok_or(Malformed)?;
    let (stripe, at) = (u16::from_le_bytes(*stripe), u64::from_le_bytes(*at));
    Ok(Content { stripe, at, parts, more: *more == 1, effects })
}

/// An acknowledgement.
pub fn ack(offset: u64, whole: bool, stamp: u64) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&offset.to_le_bytes());
    out[8] = u8::from(whole);
    out[9..].copy_from_slice(&stamp.to_le_bytes());
    out
}

/// What an acknowledgement says: the offset, whether the replica's state is whole, and its stamp.
pub fn split_ack(payload: &[u8]) -> Result<(u64, bool, u64), Malformed> {
    let (offset, rest) = payload.split_first_chunk::<8>().ok_or(Malformed)?;
    let (whole, stamp) = rest.split_first().ok_or(Malformed)?;
    let stamp: &[u8; 8] = stamp.try_into().map_err(|_| Malformed)?;
    Ok((u64::from_le_bytes(*offset), *whole == 1, u64::from_le_bytes(*stamp)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back() {
        assert_eq!(split_ack(&ack(77, true, 5)), Ok((77, true, 5)));
        let sent = Chunk { stripe: 5, at: 9, more: true, effects: b"x" };
        assert_eq!(split_chunk(&[&chunk_header(5, 9, true)[..], b"x"].concat()), Ok(sent));
        let frame = [&records_header(1, 2)[..], &[42]].concat();
        assert_eq!(split_records(&frame), Ok((1, 2, &[42][..])));
        let digests_sent = std::array::from_fn(|n| n as u128 + 1);
        assert_eq!(split_digests(&digests(9, 8, &digests_sent)), Ok((9, 8, digests_sent)));
        assert_eq!(split_wanted(&wanted(9, Parts::SIDES)), Ok((9, Parts::SIDES)));
        let sent = Content { stripe: 5, at: 4, parts: Parts::ALL, more: false, effects: b"x" };
        let frame = [&content_header(5, 4, Parts::ALL, false)[..], b"x"].concat();
        assert_eq!(split_content(&frame), Ok(sent));
        assert_eq!(split_wanted(&[0, 0, 0, 0, 4, 0]), Err(Malformed), "no such part");
        for short in [&b""[..], b"1", b"1234567"] {
            assert_eq!(split_digests(short), Err(Malformed));
            assert_eq!(split_wanted(short), Err(Malformed));
            assert_eq!(split_content(short), Err(Malformed));
            assert_eq!(split_ack(short), Err(Malformed));
            assert_eq!(split_chunk(short), Err(Malformed));
            assert_eq!(split_records(short), Err(Malformed));
        }
    }
}
