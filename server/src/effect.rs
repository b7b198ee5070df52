//! Effects: what a command did, so that a replica does the same without deciding anything.
//!
//! Times are absolute, expiry and eviction are explicit deletions. All effects of one command, transaction or
//! script form one record with one offset. The encoding below is also that of a full sync's entries.
//!
//! ```text
//! record  : offset u64 | term u64 | length u32 | effect …
//! effect  : opcode u8 | fields; bytes are `length u32 | bytes`, integers little-endian
//! ```

use torc_protocol::context::RequestId;

use crate::store::{Entry, Meta, ValueRef};

/// Header bytes of a record.
pub const RECORD_HEADER: usize = 20;

/// A record longer than this is refused by replicas as damage.
pub const MAX_RECORD_BYTES: usize = 1 << 30;

/// No string is longer, whatever `proto-max-bulk-len` says.
const MAX_STRING_BYTES: u64 = 1 << 34;

const PUT_STRING: u8 = 1;
const PUT_HASH: u8 = 2;
const DELETE: u8 = 3;
const EXPIRE: u8 = 4;
const APPEND: u8 = 5;
const HASH_SET: u8 = 6;
const HASH_DELETE: u8 = 7;
const FLUSH: u8 = 8;
const SWAP: u8 = 9;
const SCRIPT: u8 = 10;
const LOCK: u8 = 11;
const FENCE: u8 = 12;
const REMEMBER: u8 = 13;
const FLUSH_STRIPE: u8 = 14;
const SCRIPT_FLUSH: u8 = 15;
const FENCE_FLOOR: u8 = 17;
const PATCH: u8 = 16;

/// Pairs of bytes in an effect, read one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'a> {
    count: u32,
    rest: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let mut reader = Reader { rest: self.rest };
        let item = reader.bytes().ok()?;
        self.rest = reader.rest;
        Some(item)
    }
}

/// One effect, borrowed from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key holds this string now.
    PutString { db: u8, key: &'a [u8], meta: Meta, value: &'a [u8] },
    /// The key holds this hash now (fields and values alternate).
    PutHash { db: u8, key: &'a [u8], meta: Meta, items: Items<'a> },
    /// The key is gone.
    Delete { db: u8, key: &'a [u8] },
    /// The key expires then, or never.
    Expire { db: u8, key: &'a [u8], version: u32, at_ms: Option<u64> },
    /// Bytes were appended to the string (which the key holds, or held nothing).
    Append { db: u8, key: &'a [u8], version: u32, value: &'a [u8] },
    /// Bytes were written at an offset of the string (which the key holds, or held nothing); it grew with zero
    /// bytes where needed.
    Patch { db: u8, key: &'a [u8], version: u32, offset: u64, value: &'a [u8] },
    /// Fields were set (fields and values alternate); a missing hash is created.
    HashSet { db: u8, key: &'a [u8], version: u32, items: Items<'a> },
    /// Fields were removed; an empty hash goes.
    HashDelete { db: u8, key: &'a [u8], version: u32, items: Items<'a> },
    /// A database, or all, were emptied.
    Flush { db: Option<u8> },
    /// Everything in one stripe was dropped (start of its full sync).
    FlushStripe { stripe: u16 },
    /// Two databases were exchanged.
    Swap { a: u8, b: u8 },
    /// A script body was loaded.
    Script { body: &'a [u8] },
    /// All script bodies were dropped.
    ScriptFlush,
    /// What happened to a lock, encoded by the lock module.
    Lock { slot: u16, payload: &'a [u8] },
    /// A slot's fencing register of a key was raised.
    Fence { slot: u16, key: &'a [u8], token: u64 },
    /// A slot's fencing floor was raised.
    FenceFloor { slot: u16, token: u64 },
    /// The reply to a request id; an empty one: ids of the origin up to this one are gone.
    Remember { slot: u16, id: RequestId, reply: &'a [u8] },
}

/// A record or effect is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("effect is cut off")]
    Truncated,
    /// No such opcode.
    #[error("unknown effect {0}")]
    Unknown(u8),
    /// The record's length is beyond the bound.
    #[error("record or string of {0} bytes is too long")]
    TooLong(usize),
}

/// Writes effects of the running command. Disabled (it costs nothing) where there is no shard to tell.
#[derive(Debug, Default)]
pub struct EffectWriter {
    enabled: bool,
    buf: Vec<u8>,
}

impl EffectWriter {
    /// A writer that records only when `enabled`.
    pub fn new(enabled: bool) -> Self {
        EffectWriter { enabled, buf: Vec::new() }
    }

    /// Switches recording; nothing may be recorded at that moment.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Whether effects are recorded.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// True when nothing was recorded since the last [`EffectWriter::take_record`].
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Appends what was recorded to `out` as one record and starts anew.
    pub fn take_record(&mut self, term: u64, offset: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&term.to_le_bytes());
        out.extend_from_slice(&(self.buf.len() as u32).to_le_bytes());
        out.append(&mut self.buf);
    }

    /// The bytes recorded so far: for a full sync, which sends effects without records.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buf)
    }

    /// Bytes recorded so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Forgets what was recorded (the command failed without an effect).
    pub fn discard(&mut self) {
        self.buf.clear();
    }

    fn u32(&mut self, n: u32) {
        self.buf.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.buf.extend_from_slice(&n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len() as u32);
        self.buf.extend_from_slice(bytes);
    }

    fn head(&mut self, opcode: u8, db: u8, key: &[u8]) {
        self.buf.extend_from_slice(&[opcode, db]);
        self.bytes(key);
    }

    fn meta(&mut self, meta: &Meta) {
        self.u64(meta.expire_ms.unwrap_or(0));
        self.u32(meta.mc_flags);
        self.u32(meta.version);
    }

    /// The key holds what `entry` holds.
    pub fn put(&mut self, db: u8, key: &[u8], entry: &Entry) {
        if !self.enabled {
            return;
        }
        match entry.value() {
            ValueRef::String(value) => {
                self.head(PUT_STRING, db, key);
                self.meta(&entry.meta());
                self.bytes(value);
            }
            ValueRef::Hash(hash) => {
                self.head(PUT_HASH, db, key);
                self.meta(&entry.meta());
                self.u32(hash.len() as u32 * 2);
                for (field, value) in hash.iter() {
                    self.bytes(field);
                    self.bytes(value);
                }
            }
        }
    }

    /// The key is gone.
    pub fn delete(&mut self, db: u8, key: &[u8]) {
        if self.enabled {
            self.head(DELETE, db, key);
        }
    }

    /// The key's expiry changed.
    pub fn expire(&mut self, db: u8, key: &[u8], version: u32, at_ms: Option<u64>) {
        if self.enabled {
            self.head(EXPIRE, db, key);
            self.u32(version);
            self.u64(at_ms.unwrap_or(0));
        }
    }

    /// Bytes were appended to a string.
    pub fn append(&mut self, db: u8, key: &[u8], version: u32, value: &[u8]) {
        if self.enabled {
            self.head(APPEND, db, key);
            self.u32(version);
            self.bytes(value);
        }
    }

    /// Bytes were written at an offset of a string.
    pub fn patch(&mut self, db: u8, key: &[u8], version: u32, offset: u64, value: &[u8]) {
        if self.enabled {
            self.head(PATCH, db, key);
            self.u32(version);
            self.u64(offset);
            self.bytes(value);
        }
    }

    /// Fields were set; `items` alternates fields and values.
    pub fn hash_set<'i>(
        &mut self,
        db: u8,
        key: &[u8],
        version: u32,
        items: impl ExactSizeIterator<Item = &'i [u8]>,
    ) {
        self.items(HASH_SET, db, key, version, items);
    }

    /// Fields were removed.
    pub fn hash_delete<'i>(
        &mut self,
        db: u8,
        key: &[u8],
        version: u32,
        fields: impl ExactSizeIterator<Item = &'i [u8]>,
    ) {
        self.items(HASH_DELETE, db, key, version, fields);
    }

    fn items<'i>(
        &mut self,
        opcode: u8,
        db: u8,
        key: &[u8],
        version: u32,
        items: impl ExactSizeIterator<Item = &'i [u8]>,
    ) {
        if self.enabled {
            self.head(opcode, db, key);
            self.u32(version);
            self.u32(items.len() as u32);
            for item in items {
                self.bytes(item);
            }
        }
    }

    /// A database, or all, were emptied.
    pub fn flush(&mut self, db: Option<u8>) {
        if self.enabled {
            self.buf.extend_from_slice(&[FLUSH, db.unwrap_or(u8::MAX)]);
        }
    }

    /// Everything in one stripe is dropped.
    pub fn flush_stripe(&mut self, stripe: u16) {
        if self.enabled {
            self.buf.push(FLUSH_STRIPE);
            self.buf.extend_from_slice(&stripe.to_le_bytes());
        }
    }

    /// Two databases were exchanged.
    pub fn swap(&mut self, a: u8, b: u8) {
        if self.enabled {
            self.buf.extend_from_slice(&[SWAP, a, b]);
        }
    }

    /// A script was loaded.
    pub fn script(&mut self, body: &[u8]) {
        if self.enabled {
            self.buf.push(SCRIPT);
            self.bytes(body);
        }
    }

    /// All scripts were dropped.
    pub fn script_flush(&mut self) {
        if self.enabled {
            self.buf.push(SCRIPT_FLUSH);
        }
    }

    /// Something happened to a lock.
    pub fn lock(&mut self, slot: u16, payload: &[u8]) {
        if self.enabled {
            self.buf.push(LOCK);
            self.buf.extend_from_slice(&slot.to_le_bytes());
            self.bytes(payload);
        }
    }

    /// A fencing register was raised.
    pub fn fence(&mut self, slot: u16, key: &[u8], token: u64) {
        if self.enabled {
            self.buf.push(FENCE);
            self.buf.extend_from_slice(&slot.to_le_bytes());
            self.bytes(key);
            self.u64(token);
        }
    }

    /// A slot's fencing floor was raised.
    pub fn fence_floor(&mut self, slot: u16, token: u64) {
        if self.enabled {
            self.buf.push(FENCE_FLOOR);
            self.buf.extend_from_slice(&slot.to_le_bytes());
            self.u64(token);
        }
    }

    /// The reply to a request id, for a retry of it.
    pub fn remember(&mut self, slot: u16, id: RequestId, reply: &[u8]) {
        if self.enabled {
            self.buf.push(REMEMBER);
            self.buf.extend_from_slice(&slot.to_le_bytes());
            self.buf.extend_from_slice(&id.to_bytes());
            self.bytes(reply);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.chunk::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.chunk()?))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()? as usize;
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn items(&mut self) -> Result<Items<'a>, DecodeError> {
        let count = self.u32()?;
        let items = Items { count, rest: self.rest };
        for _ in 0..count {
            self.bytes()?;
        }
        Ok(items)
    }

    fn time(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(Some(self.u64()?).filter(|&ms| ms != 0))
    }

    fn string_offset(&mut self) -> Result<u64, DecodeError> {
        let offset = self.u64()?;
        if offset > MAX_STRING_BYTES { Err(DecodeError::TooLong(offset as usize)) } else { Ok(offset) }
    }

    fn meta(&mut self) -> Result<Meta, DecodeError> {
        Ok(Meta { expire_ms: self.time()?, mc_flags: self.u32()?, version: self.u32()?, access: 0 })
    }

    fn effect(&mut self) -> Result<Effect<'a>, DecodeError> {
        let opcode = self.u8()?;
        Ok(match opcode {
            PUT_STRING => Effect::PutString {
                db: self.u8()?,
                key: self.bytes()?,
                meta: self.meta()?,
                value: self.bytes()?,
            },
            PUT_HASH => Effect::PutHash {
                db: self.u8()?,
                key: self.bytes()?,
                meta: self.meta()?,
                items: self.items()?,
            },
            DELETE => Effect::Delete { db: self.u8()?, key: self.bytes()? },
            EXPIRE => Effect::Expire {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                at_ms: self.time()?,
            },
            APPEND => Effect::Append {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                value: self.bytes()?,
            },
            PATCH => Effect::Patch {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                offset: self.string_offset()?,
                value: self.bytes()?,
            },
            HASH_SET => Effect::HashSet {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                items: self.items()?,
            },
            HASH_DELETE => Effect::HashDelete {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                items: self.items()?,
            },
            FLUSH => Effect::Flush { db: Some(self.u8()?).filter(|&db| db != u8::MAX) },
            FLUSH_STRIPE => Effect::FlushStripe { stripe: self.u16()? },
            SWAP => Effect::Swap { a: self.u8()?, b: self.u8()? },
            SCRIPT => Effect::Script { body: self.bytes()? },
            SCRIPT_FLUSH => Effect::ScriptFlush,
            LOCK => Effect::Lock { slot: self.u16()?, payload: self.bytes()? },
            FENCE => Effect::Fence { slot: self.u16()?, key: self.bytes()?, token: self.u64()? },
            FENCE_FLOOR => Effect::FenceFloor { slot: self.u16()?, token: self.u64()? },
            REMEMBER => Effect::Remember {
                slot: self.u16()?,
                id: RequestId { origin: self.u64()?, seq: self.u64()?, settled: self.u64()? },
                reply: self.bytes()?,
            },
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}

/// The effects in the body of a record.
pub fn effects(body: &[u8]) -> impl Iterator<Item = Result<Effect<'_>, DecodeError>> {
    let mut reader = Reader { rest: body };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.rest.is_empty() {
            return None;
        }
        let effect = reader.effect();
        failed = effect.is_err();
        Some(effect)
    })
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its place in the shard's history.
    pub offset: u64,
    /// The term of the primary that made it.
    pub term: u64,
    /// Its effects; see [`effects`].
    pub body: &'a [u8],
}

/// The first whole record of `bytes` and its length; `None` when more bytes are needed.
pub fn record(bytes: &[u8]) -> Result<Option<(Record<'_>, usize)>, DecodeError> {
    let mut reader = Reader { rest: bytes };
    let (Ok(offset), Ok(term), Ok(len)) = (reader.u64(), reader.u64(), reader.u32()) else { return Ok(None) };
    let len = len as usize;
    if len > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLong(len));
    }
    Ok(reader.rest.get(..len).map(|body| (Record { offset, term, body }, RECORD_HEADER + len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went() {
        let mut w = EffectWriter::new(true);
        let meta = Meta { expire_ms: Some(5), mc_flags: 6, version: 7, access: 0 };
        w.put(3, b"k", &Entry::string(b"k", b"v", &meta));
        w.hash_set(0, b"h", 1, [&b"f"[..], b"v"].into_iter());
        w.flush(None);
        w.remember(9, RequestId { origin: 1, seq: 2, settled: 1 }, b"+OK\r\n");
        let mut out = Vec::new();
        w.take_record(4, 8, &mut out);
        assert!(w.is_empty());
        let (r, len) = record(&out).unwrap().unwrap();
        assert_eq!((r.offset, r.term, len), (8, 4, out.len()));
        let all: Vec<_> = effects(r.body).map(Result::unwrap).collect();
        assert_eq!(all[0], Effect::PutString { db: 3, key: b"k", meta, value: b"v" });
        let Effect::HashSet { items, .. } = all[1] else { panic!() };
        assert_eq!(items.collect::<Vec<_>>(), [b"f", b"v"]);
        assert_eq!(all[2], Effect::Flush { db: None });
        assert_eq!(
            all[3],
            Effect::Remember { slot: 9, id: RequestId { origin: 1, seq: 2, settled: 1 }, reply: b"+OK\r\n" }
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = record(&bytes);
            for effect in effects(&bytes) {
                if let Ok(Effect::HashSet { items, .. } | Effect::PutHash { items, .. }) = effect {
                    items.for_each(drop);
                }
            }
        }
    }
}
