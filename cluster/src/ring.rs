//! Consistent hashing of slots to shards, with bounded load.
//!
//! Runs only when the map changes; a request looks its slot up in the [`SlotTable`]. The ring itself is
//! `hashring`'s, with an own hash over explicit little-endian bytes: where a slot lies must not change with a
//! release of a library, a platform or a process. The files in `cluster/vectors/` pin it.

use crate::ids::ShardId;
use crate::map::SlotTable;
use crate::{SLOTS, Slot};
use hashring::HashRing;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};

/// Virtual nodes per unit of weight. More of them even out the shares of shards.
pub const VIRTUAL_NODES: u32 = 256;
/// The largest weight of a shard.
pub const MAX_WEIGHT: u32 = 64;
/// No shard holds more than `1 + ε` of its fair share, rounded up.
pub const DEFAULT_EPSILON: f64 = 0.1;

/// FNV-1a over the bytes, then the 64-bit finalizer of MurmurHash3 (FNV alone leaves neighbours close).
#[derive(Clone, Copy, Debug, Default)]
pub struct RingHashBuilder;

/// See [`RingHashBuilder`].
#[derive(Clone, Copy, Debug)]
pub struct RingHasher(u64);

impl BuildHasher for RingHashBuilder {
    type Hasher = RingHasher;

    fn build_hasher(&self) -> RingHasher {
        RingHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for RingHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

/// One of a shard's places on the ring. Hashed as `'v'`, the shard and the number, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct VirtualNode {
    shard: ShardId,
    number: u32,
}

impl Hash for VirtualNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"v");
        state.write(&self.shard.0.to_le_bytes());
        state.write(&self.number.to_le_bytes());
    }
}

/// A slot as a key of the ring. Hashed as `'s'` and the slot, little-endian.
struct SlotKey(Slot);

impl Hash for SlotKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(b"s");
        state.write(&self.0.to_le_bytes());
    }
}

/// How many slots a shard may hold: `ceil((1 + ε) · SLOTS · weight / all weights)`.
pub fn bound(weight: u32, all_weights: u64, epsilon: f64) -> usize {
    if all_weights == 0 {
        return 0;
    }
    // In millionths and whole numbers, so that every machine rounds alike.
    let epsilon_ppm = (epsilon.clamp(0.0, 16.0) * 1e6).round() as u128;
    let slots = u128::from(SLOTS) * u128::from(weight) * (1_000_000 + epsilon_ppm);
    usize::try_from(slots.div_ceil(u128::from(all_weights) * 1_000_000)).unwrap_or(usize::MAX)
}

/// Assigns every slot to a shard. The same shards and weights give the same table in whatever order they are
/// named; a weight of 0 gets nothing, one above [`MAX_WEIGHT`] counts as that. Without a shard nobody owns a slot.
pub fn assign(shards: &[(ShardId, u32)], epsilon: f64) -> SlotTable {
    let weights: BTreeMap<ShardId, u32> = shards
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(shard, weight)| (*shard, (*weight).min(MAX_WEIGHT)))
        .collect();
    let all_weights: u64 = weights.values().map(|weight| u64::from(*weight)).sum();

    // In ascending order: both sorts are stable, so two virtual nodes with one hash lie alike everywhere.
    let mut order: Vec<VirtualNode> = weights
        .iter()
        .flat_map(|(shard, weight)| {
            (0..weight * VIRTUAL_NODES).map(|number| VirtualNode { shard: *shard, number })
        })
        .collect();
    let mut ring = HashRing::with_hasher(RingHashBuilder);
    ring.batch_add(order.clone());
    // The ring's order, once (it does not give it away): we find by `get` and walk on in this.
    order.sort_by_key(|node| RingHashBuilder.hash_one(node));
    let places: HashMap<VirtualNode, usize, RingHashBuilder> =
        order.iter().enumerate().map(|(place, node)| (*node, place)).collect();

    let bounds: BTreeMap<ShardId, usize> =
        weights.iter().map(|(shard, weight)| (*shard, bound(*weight, all_weights, epsilon))).collect();
    let mut loads: BTreeMap<ShardId, usize> = BTreeMap::new();
    let mut table = SlotTable::default();
    for slot in 0..SLOTS {
        let Some(first) = ring.get(&SlotKey(slot)).and_then(|node| places.get(node)) else { break };
        for node in order[*first..].iter().chain(&order[..*first]) {
            let load = loads.entry(node.shard).or_default();
            if *load < bounds.get(&node.shard).copied().unwrap_or(0) {
                *load += 1;
                table.set(slot, node.shard);
                break;
            }
        }
    }
    table
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
