//! Effects: what a command did, so that a replica does the same without deciding anything.
//!
//! Times are absolute, expiry and eviction are explicit deletions. All effects of one command, transaction or
//! script form one record with one offset. The encoding below is also that of a full sync's entries.
//!
//! ```text
//! record  : offset u64 | term u64 | length u32 | effect …
//! effect  : opcode u8 | fields; bytes are `length u32 | bytes`, integers little-endian
//! ```
//!
//! A string is written as it is; a collection whole in the form of [`crate::rdb`]; a change of a collection in the
//! form of its type, which alone can read it ([`crate::store::Collection::replay`]).

mod reader;
mod records;
mod writer;

use torc_protocol::context::RequestId;
use torc_protocol::slot::{Slot, key_slot};

pub use reader::{Items, Reader};
pub use records::{Amount, KEPT_RECORD_BYTES, LONG_RECORD_BYTES, LongRecord, Records};
pub use writer::{EffectWriter, put_bytes, put_items, put_u32, put_u64};

use crate::store::value::Kind;
use crate::store::{Marks, Meta};

/// Header bytes of a record.
pub const RECORD_HEADER: usize = 20;

/// A record longer than this is refused by replicas as damage.
pub const MAX_RECORD_BYTES: usize = 1 << 30;

/// No string is longer, whatever `proto-max-bulk-len` says.
const MAX_STRING_BYTES: u64 = 1 << 34;

const PUT_STRING: u8 = 1;
const PUT: u8 = 2;
const DELETE: u8 = 3;
const EXPIRE: u8 = 4;
const APPEND: u8 = 5;
const CHANGE: u8 = 6;
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
const MARK: u8 = 18;
const FLUSH_LATER: u8 = 19;

/// One effect, borrowed from a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key holds this string now.
    PutString { db: u8, key: &'a [u8], meta: Meta, value: &'a [u8] },
    /// The key holds this collection now, written in the form of [`crate::rdb`].
    Put { db: u8, key: &'a [u8], meta: Meta, value: &'a [u8] },
    /// The key is gone.
    Delete { db: u8, key: &'a [u8] },
    /// The key expires then, or never.
    Expire { db: u8, key: &'a [u8], version: u32, at_ms: Option<u64> },
    /// The key's expiry and marks are these now; its value stays.
    Mark { db: u8, key: &'a [u8], version: u32, at_ms: Option<u64>, marks: Marks },
    /// Bytes were appended to the string (which the key holds, or held nothing).
    Append { db: u8, key: &'a [u8], version: u32, value: &'a [u8] },
    /// Bytes were written at an offset of the string (which the key holds, or held nothing); it grew with zero
    /// bytes where needed.
    Patch { db: u8, key: &'a [u8], version: u32, offset: u64, value: &'a [u8] },
    /// The collection of this kind was changed; a missing one was created, and one that became empty is gone
    /// (unless it stays: [`crate::store::Collection::STAYS_EMPTY`]).
    Change { db: u8, key: &'a [u8], version: u32, kind: Kind, body: &'a [u8] },
    /// A database, or all, were emptied.
    Flush { db: Option<u8> },
    /// A database is to be emptied then (Unix milliseconds), which the primary does; or nothing is, later.
    FlushLater { db: u8, at_ms: Option<u64> },
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

/// What an effect is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// The keys of a slot.
    Keys(Slot),
    /// What is kept beside a slot's keys: fencing registers, replies to request ids.
    Sides(Slot),
    /// A slot's locks.
    Locks(Slot),
    /// Everything in a stripe.
    Stripe(u16),
    /// The whole store, or what belongs to no stripe.
    Store,
}

impl Effect<'_> {
    /// What it is about.
    pub fn concerns(&self) -> Concerns {
        match self {
            Effect::PutString { key, .. }
            | Effect::Put { key, .. }
            | Effect::Delete { key, .. }
            | Effect::Expire { key, .. }
            | Effect::Mark { key, .. }
            | Effect::Append { key, .. }
            | Effect::Patch { key, .. }
            | Effect::Change { key, .. } => Concerns::Keys(key_slot(key)),
            Effect::Fence { slot, .. } | Effect::FenceFloor { slot, .. } | Effect::Remember { slot, .. } => {
                Concerns::Sides(*slot)
            }
            Effect::Lock { slot, .. } => Concerns::Locks(*slot),
            Effect::FlushStripe { stripe } => Concerns::Stripe(*stripe),
            Effect::Flush { .. }
            | Effect::FlushLater { .. }
            | Effect::Swap { .. }
            | Effect::Script { .. }
            | Effect::ScriptFlush => Concerns::Store,
        }
    }
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
    /// A collection whose parts do not fit together.
    #[error("value is damaged")]
    Damaged,
    /// The record's length is beyond the bound.
    #[error("record or string of {0} bytes is too long")]
    TooLong(usize),
}

/// The effects in the body of a record.
pub fn effects(body: &[u8]) -> impl Iterator<Item = Result<Effect<'_>, DecodeError>> {
    let mut reader = Reader::new(body);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
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
    let mut reader = Reader::new(bytes);
    let (Ok(offset), Ok(term), Ok(len)) = (reader.u64(), reader.u64(), reader.u32()) else { return Ok(None) };
    let len = len as usize;
    if len > MAX_RECORD_BYTES {
        return Err(DecodeError::TooLong(len));
    }
    Ok(reader.rest().get(..len).map(|body| (Record { offset, term, body }, RECORD_HEADER + len)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::hash::DEFAULT_SEED;
    use crate::store::value::HashChange;
    use crate::store::{KeyHasher, Store, stripe_of};

    #[test]
    fn a_record_comes_back_as_it_went() {
        let mut w = EffectWriter::new(true);
        let marks = Marks::default().with_stale(true).with_cas(Some(1 << 40));
        let meta = Meta { expire_ms: Some(5), mc_flags: 6, version: 7, access: 0, marks };
        let store = Store::new(KeyHasher::new(DEFAULT_SEED));
        let key = store.key(b"k");
        let mut stripe = store.stripe(stripe_of(key.slot));
        stripe.set_string(3, &key, b"v", &meta);
        w.put(3, b"k", stripe.peek(3, &key).unwrap());
        w.change(0, b"h", 1, Kind::Hash, |out| HashChange::put_set(out, [&b"f"[..], b"v"].into_iter()));
        w.mark(2, b"k", &meta);
        w.flush(None);
        w.flush_later(1, Some(99));
        w.flush_later(1, None);
        w.remember(9, RequestId { origin: 1, seq: 2, settled: 1 }, b"+OK\r\n");
        let mut out = Vec::new();
        w.take_record(4, 8, &mut out);
        assert!(w.is_empty());
        let (r, len) = record(&out).unwrap().unwrap();
        assert_eq!((r.offset, r.term, len), (8, 4, out.len()));
        let all: Vec<_> = effects(r.body).map(Result::unwrap).collect();
        assert_eq!(all[0], Effect::PutString { db: 3, key: b"k", meta, value: b"v" });
        let Effect::Change { kind: Kind::Hash, body, .. } = all[1] else { panic!() };
        let HashChange::Set(items) = HashChange::decode(body).unwrap() else { panic!() };
        assert_eq!(items.collect::<Vec<_>>(), [b"f", b"v"]);
        let at_ms = Some(5);
        assert_eq!(all[2], Effect::Mark { db: 2, key: b"k", version: 7, at_ms, marks });
        assert_eq!(all[3], Effect::Flush { db: None });
        assert_eq!(all[4], Effect::FlushLater { db: 1, at_ms: Some(99) });
        assert_eq!(all[5], Effect::FlushLater { db: 1, at_ms: None });
        assert_eq!(
            all[6],
            Effect::Remember { slot: 9, id: RequestId { origin: 1, seq: 2, settled: 1 }, reply: b"+OK\r\n" }
        );
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = record(&bytes);
            let _ = effects(&bytes).count();
        }
    }
}
