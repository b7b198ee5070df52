//! What a shard replicates beside its entries: scripts, locks, fencing registers, replies to request ids.

use crate::effect::EffectWriter;
use crate::node::Node;
use crate::store::STRIPES;

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

    /// The reply to a request id of this slot.
    pub fn apply_remember(&self, _slot: u16, _origin: u64, _seq: u64, _reply: &[u8]) {}

    /// Writes what belongs to no stripe: scripts.
    pub fn snapshot_common(&self, writer: &mut EffectWriter) {
        self.scripts.snapshot_into(writer);
    }

    /// Drops all entries, locks, registers and replies: a full sync begins, or the shard starts empty.
    pub fn clear_store(&self) {
        for index in 0..STRIPES as u16 {
            let mut stripe = self.store.stripe(index);
            let taken = stripe.flush(None);
            stripe.clear_fences();
            let growth = stripe.take_growth();
            drop(stripe);
            self.store.report_growth(growth);
            if !taken.is_empty() {
                self.free(Box::new(taken));
            }
        }
        self.locks.forget_all();
    }
}
