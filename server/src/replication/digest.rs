//! Digests of what a stripe holds: one of each slot, one of what stands beside the keys. Two nodes whose digests are
//! equal hold the same of it, as far as a full sync carries it.
//!
//! ```text
//! slot : sum mod 2^128 of SipHash-2-4-128(key of the resync, 1 | database | key | expiry | flags | version | marks | value)
//! sides: the same of fencing registers, floors, and replies to request ids, each with its slot
//! ```
//!
//! A sum does not ask for an order: tables have one of their own on each node. What no order means anything to inside a
//! value (fields, members) is summed likewise; lists, sorted sets and streams have their order. In which form a value is kept
//! is no part of it. A sum of hashes is safe where nobody who chooses keys knows the hashes: the key of the hash is
//! drawn anew for each resync and known to the two nodes alone (Bellare and Micciancio 1997, "A New Paradigm for Collision-Free
//! Hashing", on sums; Aumasson and Bernstein 2012 on SipHash). What a read leaves behind (when a key was last used, that
//! it was read) is no part of it: replicas are not told.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use torc_cluster::lock::FenceEffect;
use torc_protocol::slot::{Slot, key_slot};

use crate::effect::{put_bytes, put_u32, put_u64};
use crate::store::value::stream::{Consumer, StreamId};
use crate::store::value::{Kind, Member, StreamValue};
use crate::store::{Collection, Entry, SLOTS_PER_STRIPE, Stripe, ValueRef};

/// Drawn for one resync.
pub type DigestKey = [u8; 16];

/// Digests of a stripe: of its slots, and of what stands beside the keys.
pub const DIGESTS: usize = SLOTS_PER_STRIPE + 1;

/// Bytes of a stripe's digests in a frame.
pub const DIGEST_BYTES: usize = DIGESTS * 16;

/// A collection of so many bytes is not compared but sent: hashing its elements one by one would take several times as
/// long as writing them down, and the stripe is locked meanwhile.
const MAX_COMPARED_BYTES: usize = 8 << 20;

/// A stripe's digests; 0 where there is nothing.
pub type Digests = [u128; DIGESTS];

/// The place of what stands beside the keys among the digests.
const SIDES: usize = SLOTS_PER_STRIPE;

// What a hash is of: the first byte that goes into it.
const ENTRY: u8 = 1;
const ELEMENT: u8 = 2;
const REGISTER: u8 = 3;
const FLOOR: u8 = 4;
const ORIGIN: u8 = 5;
const REPLY: u8 = 6;
const SENT: u8 = 7;

/// Computes digests under one key.
#[derive(Clone, Debug)]
pub struct Digester {
    /// Has taken in nothing but the key.
    keyed: SipHasher24,
    head: Vec<u8>,
}

impl Digester {
    /// One with the key of a resync.
    pub fn new(key: &DigestKey) -> Digester {
        Digester { keyed: SipHasher24::new_with_key(key), head: Vec::new() }
    }

    /// What a stripe holds. The caller holds its lock.
    pub fn stripe(&mut self, stripe: &Stripe) -> Digests {
        self.stripe_without(stripe, |_| false)
    }

    fn stripe_without(&mut self, stripe: &Stripe, skips: impl Fn(Entry<'_>) -> bool) -> Digests {
        let mut digests: Digests = [0; DIGESTS];
        for db in stripe.databases() {
            for entry in stripe.iter(db) {
                let place = usize::from(key_slot(entry.key())) % SLOTS_PER_STRIPE;
                let digest = if skips(entry) { self.hash(&[SENT]) } else { self.entry(db, entry) };
                digests[place] = digests[place].wrapping_add(digest);
            }
        }
        digests[SIDES] = self.sides(stripe);
        digests
    }

    /// As [`Digester::stripe`], but equal to nobody's in slots that hold what is sent without being compared: what a primary
    /// says.
    pub fn stripe_to_compare(&mut self, stripe: &Stripe) -> Digests {
        self.stripe_without(stripe, |entry| match entry.value() {
            ValueRef::String(_) => false,
            _ => entry.heap_bytes() >= MAX_COMPARED_BYTES,
        })
    }

    fn sides(&mut self, stripe: &Stripe) -> u128 {
        let mut sum = 0u128;
        let head = |kind: u8, slot: Slot| {
            let mut out = vec![kind];
            out.extend_from_slice(&slot.to_le_bytes());
            out
        };
        for (slot, table) in stripe.fences() {
            for effect in table.export() {
                let bytes = match effect {
                    FenceEffect::Raise { key, token } => {
                        let mut out = head(REGISTER, slot);
                        put_u64(&mut out, token.0);
                        put_bytes(&mut out, &key);
                        out
                    }
                    FenceEffect::Floor { token } => {
                        let mut out = head(FLOOR, slot);
                        put_u64(&mut out, token.0);
                        out
                    }
                };
                sum = sum.wrapping_add(self.hash(&bytes));
            }
        }
        let Some(remembered) = stripe.remembered() else { return sum };
        for (origin, seq) in remembered.floors() {
            let mut out = head(ORIGIN, 0);
            put_u64(&mut out, origin);
            put_u64(&mut out, seq);
            sum = sum.wrapping_add(self.hash(&out));
        }
        for (slot, id, reply) in remembered.replies() {
            let mut out = head(REPLY, slot);
            out.extend_from_slice(&id.to_bytes());
            put_bytes(&mut out, reply);
            sum = sum.wrapping_add(self.hash(&out));
        }
        sum
    }

    fn hash(&self, bytes: &[u8]) -> u128 {
        let mut hasher = self.keyed;
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }

    /// A field or member, of a value in which it has no place.
    fn element(&self, parts: &[&[u8]]) -> u128 {
        let mut hasher = self.keyed;
        hasher.write(&[ELEMENT]);
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part);
        }
        hasher.finish128().as_u128()
    }

    fn entry(&mut self, db: u8, entry: Entry<'_>) -> u128 {
        let meta = entry.meta();
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        head.extend_from_slice(&[ENTRY, db]);
        put_bytes(&mut head, entry.key());
        put_u64(&mut head, meta.expire_ms.unwrap_or(0));
        put_u32(&mut head, meta.mc_flags);
        put_u32(&mut head, meta.version);
        meta.marks.with_fetched(false).encode(&mut head);
        let mut hasher = self.keyed;
        let kind = |kind: Kind| kind as u8;
        match entry.value() {
            ValueRef::String(bytes) => {
                head.push(u8::MAX);
                put_u64(&mut head, bytes.len() as u64);
                hasher.write(&head);
                hasher.write(bytes);
            }
            ValueRef::Hash(hash) => {
                let sum = hash.iter_timed().fold(0u128, |sum, (field, value, at_ms)| {
                    let time = at_ms.unwrap_or(0).to_le_bytes();
                    sum.wrapping_add(self.element(&[field, value, &time]))
                });
                head.push(kind(Kind::Hash));
                put_u64(&mut head, hash.count() as u64);
                head.extend_from_slice(&sum.to_le_bytes());
                hasher.write(&head);
            }
            ValueRef::Set(set) => {
                let sum = set.iter().fold(0u128, |sum, member| {
                    let one = match member {
                        Member::Bytes(bytes) => self.element(&[bytes]),
                        Member::Int(n) => self.element(&[itoa::Buffer::new().format(n).as_bytes()]),
                    };
                    sum.wrapping_add(one)
                });
                head.push(kind(Kind::Set));
                put_u64(&mut head, set.len() as u64);
                head.extend_from_slice(&sum.to_le_bytes());
                hasher.write(&head);
            }
            ValueRef::List(list) => {
                head.push(kind(Kind::List));
                put_u64(&mut head, list.len() as u64);
                hasher.write(&head);
                for element in list.iter() {
                    let element = element.into_cow();
                    hasher.write(&(element.len() as u64).to_le_bytes());
                    hasher.write(&element);
                }
            }
            ValueRef::SortedSet(set) => {
                head.push(kind(Kind::SortedSet));
                put_u64(&mut head, set.len() as u64);
                hasher.write(&head);
                for (member, score) in set.iter() {
                    hasher.write(&score.to_bits().to_le_bytes());
                    hasher.write(&(member.len() as u64).to_le_bytes());
                    hasher.write(member);
                }
            }
            ValueRef::Stream(stream) => {
                head.push(kind(Kind::Stream));
                put_u64(&mut head, stream.log.len());
                hasher.write(&head);
                take_stream(&mut hasher, stream);
            }
        }
        self.head = head;
        hasher.finish128().as_u128()
    }
}

fn take_bytes(hasher: &mut SipHasher24, bytes: &[u8]) {
    hasher.write(&(bytes.len() as u64).to_le_bytes());
    hasher.write(bytes);
}

/// What a stream says, in whatever nodes it is kept: a primary and a replica may part them differently.
fn take_stream(hasher: &mut SipHasher24, stream: &StreamValue) {
    let log = &stream.log;
    log.each(StreamId::MIN, StreamId::MAX, None, |entry| {
        hasher.write(&entry.id.to_bytes());
        let next = entry.each(|field, value| {
            for piece in [field, value] {
                hasher.write(&[1]);
                piece.with_bytes(|bytes| take_bytes(hasher, bytes));
            }
        });
        hasher.write(&[0]);
        (next, true)
    });
    hasher.write(&log.last_id().to_bytes());
    hasher.write(&log.max_deleted_id().to_bytes());
    hasher.write(&log.entries_added().to_le_bytes());
    hasher.write(&(stream.groups.len() as u64).to_le_bytes());
    for group in stream.groups.iter() {
        take_bytes(hasher, group.name());
        hasher.write(&group.last_id.to_bytes());
        hasher.write(&group.reads.to_le_bytes());
        hasher.write(&(group.consumer_count() as u64).to_le_bytes());
        for consumer in group.consumers() {
            take_bytes(hasher, consumer.name());
            hasher.write(&consumer.seen_ms.to_le_bytes());
            hasher.write(&consumer.active_ms.to_le_bytes());
        }
        hasher.write(&(group.pending().len() as u64).to_le_bytes());
        for (id, pending) in group.pending().iter() {
            hasher.write(&id.to_bytes());
            hasher.write(&pending.time_ms.to_le_bytes());
            hasher.write(&pending.count.to_le_bytes());
            take_bytes(hasher, group.consumer(pending.consumer).map(Consumer::name).unwrap_or_default());
        }
    }
}

/// Which of a stripe's parts: a bit per slot, one for what stands beside the keys, one for its locks. These are not
/// compared (what remains of their time differs from node to node), but always sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(u32);

impl Parts {
    /// None.
    pub const NONE: Parts = Parts(0);
    /// Fencing registers and replies to request ids.
    pub const SIDES: Parts = Parts(1 << SIDES);
    /// Locks.
    pub const LOCKS: Parts = Parts(2 << SIDES);
    /// All slots.
    pub const SLOTS: Parts = Parts((1 << SLOTS_PER_STRIPE) - 1);
    /// What is compared.
    pub const COMPARED: Parts = Parts(Parts::SLOTS.0 | Parts::SIDES.0);
    /// Everything.
    pub const ALL: Parts = Parts(Parts::COMPARED.0 | Parts::LOCKS.0);

    /// From a frame; `None` when there is a bit that means nothing.
    pub fn from_bits(bits: u32) -> Option<Parts> {
        (bits & !Parts::ALL.0 == 0).then_some(Parts(bits))
    }

    /// For a frame.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Those in which the digests of two nodes differ.
    pub fn differing(ours: &Digests, theirs: &Digests) -> Parts {
        let differ = ours.iter().zip(theirs).enumerate().filter(|(_, (ours, theirs))| ours != theirs);
        Parts(differ.fold(0, |bits, (place, _)| bits | 1 << place))
    }

    /// Those of a stripe in which there is something.
    pub fn filled(digests: &Digests) -> Parts {
        Parts::differing(digests, &[0; DIGESTS])
    }

    /// How many slots are among them.
    pub fn slots(self) -> u32 {
        (self.0 & Parts::SLOTS.0).count_ones()
    }

    /// Whether none is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` are among them.
    pub fn has(self, other: Parts) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a slot of the stripe is.
    #[inline]
    pub fn has_slot(self, slot: Slot) -> bool {
        self.0 & 1 << (usize::from(slot) % SLOTS_PER_STRIPE) != 0
    }

    /// These and others.
    #[must_use]
    pub fn with(self, other: Parts) -> Parts {
        Parts(self.0 | other.0)
    }

    /// These without others.
    #[must_use]
    pub fn without(self, other: Parts) -> Parts {
        Parts(self.0 & !other.0)
    }

    /// Those that are among others too.
    #[must_use]
    pub fn within(self, other: Parts) -> Parts {
        Parts(self.0 & other.0)
    }
}

/// Appends digests as a frame has them.
pub fn put_digests(out: &mut Vec<u8>, digests: &Digests) {
    digests.iter().for_each(|digest| out.extend_from_slice(&digest.to_le_bytes()));
}

/// Reads digests; `None` when there are more bytes, or fewer.
pub fn read_digests(bytes: &[u8]) -> Option<Digests> {
    if bytes.len() != DIGEST_BYTES {
        return None;
    }
    let mut digests = [0; DIGESTS];
    for (digest, bytes) in digests.iter_mut().zip(bytes.as_chunks::<16>().0) {
        *digest = u128::from_le_bytes(*bytes);
    }
    Some(digests)
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
