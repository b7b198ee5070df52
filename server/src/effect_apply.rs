//! Effects onto a store: what a replica does with what its primary did. Nothing is decided here, nothing expires
//! or is evicted. Each effect is to be applied once and in its place, which [`crate::replication::apply`] sees to in
//! a full sync: an element pushed twice is there twice.

use torc_cluster::lock::{FenceEffect, Token};
use torc_protocol::slot::key_slot;

use crate::effect::{DecodeError, Effect, EffectWriter};
use crate::node::Node;
use crate::rdb;
use crate::replication::digest::Parts;
use crate::store::value::{HashValue, Kind, ListValue, SetValue, SortedSetValue, StreamValue};
use crate::store::{Collection, Entry, EntryMut, Key, LooseEntry, Meta, STRIPES, Stripe, Updated, stripe_of};

/// What effects on collections are applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// What the primary had: one that does not fit is damage.
    Known,
    /// Whatever is there, until it was compared.
    Open,
}

/// Applies one effect. `now_ns` is this node's CLOCK_BOOTTIME: locks carry remaining durations.
pub fn apply(node: &Node, effect: &Effect<'_>, now_ns: u64) {
    apply_to(node, effect, Base::Known, now_ns);
}

/// As [`apply`], to what may be another state than the primary's.
pub fn apply_to(node: &Node, effect: &Effect<'_>, base: Base, now_ns: u64) {
    match *effect {
        Effect::PutString { db, key, meta, value } => {
            on_key(node, key, |stripe, key| {
                stripe.insert(db, key, LooseEntry::string(value, &meta));
                stripe.saw_version(meta.version);
                stripe.changed(db, key.bytes);
            });
        }
        Effect::Put { db, key, meta, value } => match rdb::read_value(value, &node.env()) {
            Ok(value) => on_key(node, key, |stripe, key| {
                stripe.insert(db, key, LooseEntry::object(value, &meta));
                stripe.saw_version(meta.version);
                stripe.changed(db, key.bytes);
            }),
            Err(error) => damaged(key, &error),
        },
        Effect::Delete { db, key } => on_key(node, key, |stripe, key| {
            node.drop_later(stripe.remove(db, key));
            stripe.changed(db, key.bytes);
        }),
        Effect::Expire { db, key, version, at_ms } => {
            update(node, db, key, version, |entry| entry.set_expire_ms(at_ms));
        }
        Effect::Mark { db, key, version, at_ms, marks } => {
            update(node, db, key, version, |entry| {
                entry.set_expire_ms(at_ms);
                entry.set_marks(marks);
            });
        }
        Effect::Append { db, key, version, value } => on_key(node, key, |stripe, key| {
            if stripe.peek(db, key).is_none() {
                let meta = Meta { version, ..Meta::default() };
                stripe.insert(db, key, LooseEntry::string(value, &meta));
            } else {
                stripe.update(db, key, |entry| {
                    entry.set_version(version);
                    entry.modify_string(|bytes| bytes.extend_from_slice(value));
                });
            }
            stripe.saw_version(version);
            stripe.changed(db, key.bytes);
        }),
        Effect::Patch { db, key, version, offset, value } => on_key(node, key, |stripe, key| {
            // The decoder has bounded the offset.
            let offset = offset as usize;
            if stripe.peek(db, key).is_none() {
                let meta = Meta { version, ..Meta::default() };
                stripe.insert(db, key, LooseEntry::string(b"", &meta));
            }
            stripe.update(db, key, |entry| {
                entry.set_version(version);
                entry.patch(offset, value);
            });
            stripe.saw_version(version);
            stripe.changed(db, key.bytes);
        }),
        Effect::Change { db, key, version, kind, body } => match kind {
            Kind::Hash => change::<HashValue>(node, db, key, version, body, base),
            Kind::List => change::<ListValue>(node, db, key, version, body, base),
            Kind::Set => change::<SetValue>(node, db, key, version, body, base),
            Kind::SortedSet => change::<SortedSetValue>(node, db, key, version, body, base),
            Kind::Stream => change::<StreamValue>(node, db, key, version, body, base),
        },
        Effect::Flush { .. } | Effect::Swap { .. } => {
            (0..STRIPES as u16).for_each(|index| apply_to_stripe(node, index, effect));
        }
        Effect::FlushLater { db, at_ms } => node.memcached.set(db, at_ms),
        Effect::FlushStripe { stripe } => {
            apply_to_stripe(node, stripe, &Effect::Flush { db: None });
            let freed = node.store.stripe(stripe.min(STRIPES as u16 - 1)).clear_sides();
            node.locks.fences_changed(freed, 0);
            node.forget_locks(stripe);
        }
        Effect::Script { body } => node.load_script(body),
        Effect::ScriptFlush => node.flush_scripts(),
        Effect::Lock { payload, .. } => node.apply_lock(payload, now_ns),
        Effect::Fence { slot, key, token } => {
            let effect = FenceEffect::Raise { key: key.to_vec(), token: Token(token) };
            node.apply_fence(slot, effect, now_ns);
        }
        Effect::FenceFloor { slot, token } => {
            node.apply_fence(slot, FenceEffect::Floor { token: Token(token) }, now_ns);
        }
        Effect::Remember { slot, id, reply } => node.apply_remember(slot, id, reply, now_ns),
    }
}

/// Applies what an effect on all stripes does to one of them.
pub fn apply_to_stripe(node: &Node, index: u16, effect: &Effect<'_>) {
    if index as usize >= STRIPES {
        return;
    }
    let mut stripe = node.store.stripe(index);
    match *effect {
        Effect::Flush { db } => {
            let taken = stripe.flush(db);
            if !taken.is_empty() {
                let objects = taken.iter().map(|table| table.len()).sum();
                node.free(Box::new(taken), objects);
            }
        }
        Effect::Swap { a, b } => stripe.swap(a, b),
        _ => {}
    }
    stripe.nudge_ready();
    let growth = stripe.take_growth();
    drop(stripe);
    node.store.report_growth(growth);
}

/// Writes everything that a stripe holds, after the order to drop what the other side has of it.
pub fn snapshot_stripe(node: &Node, stripe: &Stripe, index: u16, writer: &mut EffectWriter, now_ns: u64) {
    writer.flush_stripe(index);
    snapshot_parts(node, stripe, index, Parts::ALL, writer, now_ns);
}

/// Writes some of what a stripe holds.
pub fn snapshot_parts(
    node: &Node,
    stripe: &Stripe,
    index: u16,
    parts: Parts,
    writer: &mut EffectWriter,
    now_ns: u64,
) {
    if !parts.within(Parts::SLOTS).is_empty() {
        let all = parts.has(Parts::SLOTS);
        for db in stripe.databases() {
            for entry in stripe.iter(db) {
                if all || parts.has_slot(key_slot(entry.key())) {
                    writer.put(db, entry.key(), entry);
                }
            }
        }
    }
    if parts.has(Parts::LOCKS) {
        node.snapshot_locks(index, writer, now_ns);
    }
    if parts.has(Parts::SIDES) {
        node.snapshot_fences(stripe, writer);
        node.snapshot_remembered(stripe, index, writer);
    }
}

/// Drops some of what a stripe holds: it comes anew.
pub fn drop_parts(node: &Node, index: u16, parts: Parts) {
    if parts.has(Parts::SLOTS) {
        apply_to_stripe(node, index, &Effect::Flush { db: None });
    } else if !parts.within(Parts::SLOTS).is_empty() {
        drop_slots(node, index, parts);
    }
    if parts.has(Parts::SIDES) {
        let freed = node.store.stripe(index).clear_sides();
        node.locks.fences_changed(freed, 0);
    }
    if parts.has(Parts::LOCKS) {
        node.forget_locks(index);
    }
}

fn drop_slots(node: &Node, index: u16, parts: Parts) {
    let mut stripe = node.store.stripe(index);
    let databases: Vec<u8> = stripe.databases().collect();
    for db in databases {
        let keys = stripe.iter(db).map(Entry::key).filter(|key| parts.has_slot(key_slot(key)));
        let keys: Vec<Box<[u8]>> = keys.map(Box::from).collect();
        for bytes in &keys {
            let removed = stripe.remove(db, &node.store.key(bytes));
            node.drop_later(removed);
            stripe.changed(db, bytes);
        }
    }
    stripe.nudge_ready();
    let growth = stripe.take_growth();
    drop(stripe);
    node.store.report_growth(growth);
}

fn on_key(node: &Node, key: &[u8], change: impl FnOnce(&mut Stripe, &Key<'_>)) {
    let key = node.store.key(key);
    let mut stripe = node.store.stripe(stripe_of(key.slot));
    change(&mut stripe, &key);
    stripe.nudge_ready();
    let growth = stripe.take_growth();
    drop(stripe);
    node.store.report_growth(growth);
}

fn update(node: &Node, db: u8, key: &[u8], version: u32, change: impl FnOnce(&mut EntryMut<'_>)) {
    on_key(node, key, |stripe, key| {
        stripe.update(db, key, |entry| {
            entry.set_version(version);
            change(entry);
        });
        stripe.saw_version(version);
        stripe.changed(db, key.bytes);
    });
}

/// What [`Effect::Change`] does.
fn change<C: Collection>(node: &Node, db: u8, key: &[u8], version: u32, body: &[u8], base: Base) {
    let env = node.env();
    on_key(node, key, |stripe, key| {
        let replay = |collection: &mut C| {
            if let Err(error) = collection.replay(body, &env)
                && base == Base::Known
            {
                damaged(key.bytes, &error);
            }
            collection.is_empty() && !C::STAYS_EMPTY
        };
        let done = stripe.update_object(db, key, |entry| {
            entry.set_version(version);
            entry.as_collection_mut().is_some_and(replay)
        });
        match done {
            Updated::Missing => {
                let mut collection = C::default();
                if !replay(&mut collection) {
                    let meta = Meta { version, ..Meta::default() };
                    stripe.insert(db, key, LooseEntry::object(collection.into_value(), &meta));
                }
            }
            Updated::Other => {
                stripe.update(db, key, |entry| entry.set_version(version));
            }
            Updated::Object(true) => node.drop_later(stripe.remove(db, key)),
            Updated::Object(false) => {}
        }
        stripe.saw_version(version);
        stripe.changed(db, key.bytes);
    });
}

/// A primary of ours wrote what cannot be read: the replica goes on, and says so.
fn damaged(key: &[u8], error: &DecodeError) {
    tracing::error!(key = %key.escape_ascii(), %error, "an effect on a collection cannot be applied");
}
