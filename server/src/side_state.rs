//! What a shard replicates beside its entries: scripts, locks, fencing registers, replies to request ids, the moment of
//! a delayed `flush_all`.

use torc_protocol::context::RequestId;
use torc_protocol::slot::Slot;

use crate::effect::EffectWriter;
use crate::lock::ms;
use crate::node::Node;
use crate::store::{SLOTS_PER_STRIPE, STRIPES, Stripe, stripe_of};

impl Node {
    /// A script was loaded on the primary.
    pub fn load_script(&self, body: &[u8]) {
        // The bound is the primary's too: what it could keep fits here.
        let _ = self.scripts.load(body);
    }

    /// All scripts were dropped on the primary.
    pub fn flush_scripts(&self) {
        self.scripts.flush();
    }

    /// The reply to a request id of this slot; an empty one is the origin's floor.
    pub fn apply_remember(&self, slot: Slot, id: RequestId, reply: &[u8], now_ns: u64) {
        if usize::from(stripe_of(slot)) >= STRIPES {
            return;
        }
        let mut stripe = self.store.stripe(stripe_of(slot));
        if reply.is_empty() {
            stripe.remembered_mut().raise_floor(id.origin, id.seq, ms(now_ns));
        } else {
            stripe.remembered_mut().keep(slot, id, reply, ms(now_ns));
        }
    }

    /// Writes the remembered replies of a stripe, and the floors of their origins.
    pub fn snapshot_remembered(&self, stripe: &Stripe, index: u16, writer: &mut EffectWriter) {
        let Some(remembered) = stripe.remembered() else { return };
        for (origin, seq) in remembered.floors() {
            let id = RequestId { origin, seq, settled: seq };
            writer.remember(index * SLOTS_PER_STRIPE as u16, id, b"");
        }
        for (slot, id, reply) in remembered.replies() {
            writer.remember(slot, id, reply);
        }
    }

    /// Writes what belongs to no stripe: scripts, a delayed `flush_all`.
    pub fn snapshot_common(&self, writer: &mut EffectWriter) {
        self.scripts.snapshot_into(writer);
        if let Some((db, at_ms)) = self.memcached.get() {
            writer.flush_later(db, Some(at_ms));
        }
    }

    /// Drops all entries, locks, registers, replies and plans: a full sync begins, or the shard starts empty.
    pub fn clear_store(&self) {
        for index in 0..STRIPES as u16 {
            let mut stripe = self.store.stripe(index);
            let taken = stripe.flush(None);
            self.locks.fences_changed(stripe.clear_sides(), 0);
            let growth = stripe.take_growth();
            drop(stripe);
            self.store.report_growth(growth);
            if !taken.is_empty() {
                let objects = taken.iter().map(|table| table.len()).sum();
                self.free(Box::new(taken), objects);
            }
        }
        self.locks.forget_all();
        self.memcached.set(0, None);
    }
}
