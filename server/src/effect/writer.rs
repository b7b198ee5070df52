//! Writing effects.

use torc_protocol::context::RequestId;

use super::records::header;
use super::{
    APPEND, CHANGE, DELETE, EXPIRE, FENCE, FENCE_FLOOR, FLUSH, FLUSH_LATER, FLUSH_STRIPE, LOCK,
    LONG_RECORD_BYTES, LongRecord, MARK, PATCH, PUT, PUT_STRING, REMEMBER, Records, SCRIPT, SCRIPT_FLUSH,
    SWAP,
};
use crate::rdb;
use crate::store::value::{Kind, ValueRef};
use crate::store::{Entry, Meta};

/// Appends a number, little-endian.
pub fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a number, little-endian.
pub fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// Appends several pieces of bytes behind their number.
pub fn put_items<'i>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'i [u8]>) {
    put_u32(out, items.len() as u32);
    for item in items {
        put_bytes(out, item);
    }
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

    /// One that records into a buffer that was used before.
    pub fn reusing(mut buf: Vec<u8>) -> Self {
        buf.clear();
        EffectWriter { enabled: true, buf }
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
        out.extend_from_slice(&header(offset, term, self.buf.len()));
        out.append(&mut self.buf);
    }

    /// As [`EffectWriter::take_record`]; a long record goes as it is.
    #[inline]
    pub fn take_into(&mut self, term: u64, offset: u64, out: &mut Records) {
        if self.buf.len() < LONG_RECORD_BYTES {
            self.take_record(term, offset, &mut out.short);
        } else {
            let mut body = self.take_bytes();
            // It is kept for long, and counted by its length. Of a buffer that grew as it was filled half may be empty.
            if body.capacity() - body.len() > body.len() / 8 {
                body.shrink_to_fit();
            }
            out.long.push(LongRecord { offset, term, body });
        }
    }

    /// The bytes recorded so far: for a full sync, which sends effects without records.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buf)
    }

    /// The bytes recorded so far, which stay.
    pub fn recorded(&self) -> &[u8] {
        &self.buf
    }

    /// Gives memory back that is above as many bytes, when nothing is recorded.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.buf.shrink_to(bytes);
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
        put_u32(&mut self.buf, n);
    }

    fn u64(&mut self, n: u64) {
        put_u64(&mut self.buf, n);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        put_bytes(&mut self.buf, bytes);
    }

    fn head(&mut self, opcode: u8, db: u8, key: &[u8]) {
        self.buf.extend_from_slice(&[opcode, db]);
        self.bytes(key);
    }

    fn meta(&mut self, meta: &Meta) {
        self.u64(meta.expire_ms.unwrap_or(0));
        self.u32(meta.mc_flags);
        self.u32(meta.version);
        meta.marks.encode(&mut self.buf);
    }

    /// The key holds what `entry` holds.
    pub fn put(&mut self, db: u8, key: &[u8], entry: Entry<'_>) {
        if !self.enabled {
            return;
        }
        match entry.value() {
            ValueRef::String(value) => {
                self.head(PUT_STRING, db, key);
                self.meta(&entry.meta());
                self.bytes(value);
            }
            collection => {
                self.head(PUT, db, key);
                self.meta(&entry.meta());
                self.sized(|out| rdb::write_value(collection, out));
            }
        }
    }

    /// Writes a length in front of what `write` writes.
    fn sized(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.buf.len();
        self.u32(0);
        write(&mut self.buf);
        let len = (self.buf.len() - at - 4) as u32;
        self.buf[at..at + 4].copy_from_slice(&len.to_le_bytes());
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

    /// The key's expiry, version and marks are these now; its value stays.
    pub fn mark(&mut self, db: u8, key: &[u8], meta: &Meta) {
        if self.enabled {
            self.head(MARK, db, key);
            self.u32(meta.version);
            self.u64(meta.expire_ms.unwrap_or(0));
            meta.marks.encode(&mut self.buf);
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

    /// The collection was changed: `body` writes what was done to it.
    pub fn change(&mut self, db: u8, key: &[u8], version: u32, kind: Kind, body: impl FnOnce(&mut Vec<u8>)) {
        if self.enabled {
            self.head(CHANGE, db, key);
            self.u32(version);
            self.buf.push(kind as u8);
            self.sized(body);
        }
    }

    /// A database, or all, were emptied.
    pub fn flush(&mut self, db: Option<u8>) {
        if self.enabled {
            self.buf.extend_from_slice(&[FLUSH, db.unwrap_or(u8::MAX)]);
        }
    }

    /// A database is to be emptied at a later moment, or nothing is.
    pub fn flush_later(&mut self, db: u8, at_ms: Option<u64>) {
        if self.enabled {
            self.buf.extend_from_slice(&[FLUSH_LATER, db]);
            self.u64(at_ms.unwrap_or(0));
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
