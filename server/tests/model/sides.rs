//! What a shard replicates beside its entries, as a primary would record it: locks, fencing registers, replies to request
//! ids, a delayed `flush_all`, everything emptied.

use proptest::prelude::*;
use torc_cluster::lock::{LockEffect, Mode, Token};
use torc_protocol::context::RequestId;
use torc_protocol::slot::key_slot;
use torc_server::effect::{EffectWriter, effects};
use torc_server::effect_apply;
use torc_server::node::Node;

/// Something that a primary did; `token` rises with each.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    kind: u8,
    name: u8,
    token: u16,
}

/// A few of them, with how many steps go before each.
pub fn sides() -> impl Strategy<Value = Vec<(usize, Side)>> {
    let side = (0u8..20, 0u8..6, 1u16..200).prop_map(|(kind, name, token)| Side { kind, name, token });
    prop::collection::vec((0usize..250, side), 0..40)
}

impl Side {
    /// Does it on its primary; the effects, to be told.
    pub fn run(self, primary: &Node) -> Vec<u8> {
        let name = format!("side:{}", self.name);
        let (slot, token) = (key_slot(name.as_bytes()), u64::from(self.token));
        let mut writer = EffectWriter::new(true);
        let mut lock = |effect: &LockEffect| {
            writer.lock(slot, &serde_json::to_vec(effect).expect("plain data"));
        };
        let (owner, request_id) = (b"me".to_vec(), Vec::new());
        match self.kind {
            0..4 => {
                let (token, mode) = (Token(token), Mode::Exclusive);
                let name = name.into_bytes();
                lock(&LockEffect::Grant { name, token, mode, owner, request_id, remaining_ms: 9_000 });
            }
            4 => {
                let (name, token) = (name.into_bytes(), Token(token));
                lock(&LockEffect::Release { name, token, owner, request_id });
            }
            5..9 => writer.fence(slot, name.as_bytes(), token),
            9 => writer.fence_floor(slot, token / 4),
            10..16 => {
                let id = RequestId { origin: u64::from(self.name % 3) + 1, seq: token, settled: token / 2 };
                writer.remember(slot, id, b"+OK\r\n");
            }
            16 => writer.flush_later(self.name % 2, Some(token)),
            17 => writer.flush_later(0, None),
            18 => writer.flush(Some(self.name % 2)),
            _ => writer.flush(None),
        }
        let bytes = writer.recorded().to_vec();
        for effect in effects(&bytes).flatten() {
            effect_apply::apply(primary, &effect, 0);
        }
        let mut record = Vec::new();
        // Its offset is nothing that replicas of this test ask for.
        writer.take_record(1, 1, &mut record);
        record
    }
}

/// The locks that a node has, in an order of their own.
pub fn locks(node: &Node) -> Vec<String> {
    let desk = node.locks.lock();
    let mut all: Vec<String> =
        desk.table.export(|_| true, 0).iter().map(|effect| format!("{effect:?}")).collect();
    all.sort_unstable();
    all
}
