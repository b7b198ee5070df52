//! Locks and fencing registers as effects: what a replica takes, and what a full sync sends.

use torc_cluster::lock::{FenceEffect, LockEffect};
use torc_protocol::slot::key_slot;

use super::ms;
use crate::effect::EffectWriter;
use crate::node::Node;
use crate::store::{STRIPES, Stripe, stripe_of};

impl Node {
    /// Something happened to a lock on the primary.
    pub fn apply_lock(&self, payload: &[u8], now_ns: u64) {
        match serde_json::from_slice::<LockEffect>(payload) {
            Ok(effect) => self.locks.apply(effect, now_ns),
            Err(error) => tracing::error!(%error, "a lock effect cannot be read"),
        }
    }

    /// A fencing register or floor of a slot was raised on the primary.
    pub fn apply_fence(&self, slot: u16, effect: FenceEffect, now_ns: u64) {
        if usize::from(stripe_of(slot)) < STRIPES {
            let mut stripe = self.store.stripe(stripe_of(slot));
            let table = stripe.fences_mut(slot);
            let before = table.bytes();
            table.apply(effect, ms(now_ns));
            self.locks.fences_changed(before, table.bytes());
        }
    }

    /// Drops the locks of a stripe: its full sync begins.
    pub fn forget_locks(&self, index: u16) {
        self.locks.lock().table.forget(|name| stripe_of(key_slot(name)) == index);
    }

    /// Writes the locks of a stripe as effects. The caller holds the stripe.
    pub fn snapshot_locks(&self, index: u16, writer: &mut EffectWriter, now_ns: u64) {
        let (held, closure) = {
            let desk = self.locks.lock();
            // Once, with the first stripe.
            let closure = if index == 0 { desk.table.closure(ms(now_ns)) } else { None };
            let held = if desk.table.is_empty() {
                Vec::new()
            } else {
                desk.table.export(|name| stripe_of(key_slot(name)) == index, ms(now_ns))
            };
            (held, closure)
        };
        if let Some(payload) = closure.and_then(|closure| serde_json::to_vec(&closure).ok()) {
            writer.lock(0, &payload);
        }
        for effect in &held {
            let LockEffect::Grant { name, .. } = effect else { continue };
            if let Ok(payload) = serde_json::to_vec(effect) {
                writer.lock(key_slot(name), &payload);
            }
        }
    }

    /// Writes the registers of a stripe as effects.
    pub fn snapshot_fences(&self, stripe: &Stripe, writer: &mut EffectWriter) {
        for (slot, table) in stripe.fences() {
            for effect in table.export() {
                match effect {
                    FenceEffect::Raise { key, token } => writer.fence(slot, &key, token.0),
                    FenceEffect::Floor { token } => writer.fence_floor(slot, token.0),
                }
            }
        }
    }
}
