//! The map with this node's place in it.

use std::sync::Arc;

use torc_cluster::ids::{Member, ShardId};
use torc_cluster::map::ClusterMap;
use torc_protocol::slot::{SLOTS, Slot};

/// Slots beside each other in one number.
const WORD: usize = u64::BITS as usize;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct View {
    /// The cluster's map.
    pub map: Arc<ClusterMap>,
    /// This process.
    pub me: Member,
    /// The shard that this node belongs to.
    pub shard: Option<ShardId>,
    /// A bit for each slot: whether that shard owns it. Each request asks, and this lies in the cache.
    owned: Box<[u64; SLOTS as usize / WORD]>,
    /// Whether it owns all slots.
    owns_all: bool,
}

impl View {
    /// As `me`, a node of `shard`, sees the map.
    pub fn new(map: Arc<ClusterMap>, me: Member, shard: Option<ShardId>) -> View {
        let mut owned = Box::new([0; SLOTS as usize / WORD]);
        if shard.is_some() {
            for slot in (0..SLOTS).filter(|slot| map.slots.owner(*slot) == shard) {
                owned[usize::from(slot) / WORD] |= 1 << (usize::from(slot) % WORD);
            }
        }
        let owns_all = owned.iter().all(|word| *word == u64::MAX);
        View { map, me, shard, owned, owns_all }
    }

    /// Whether the node's shard owns all slots.
    pub fn owns_all(&self) -> bool {
        self.owns_all
    }

    /// Whether the node's shard owns the slot.
    #[inline]
    pub fn owns(&self, slot: Slot) -> bool {
        self.owned
            .get(usize::from(slot) / WORD)
            .is_some_and(|word| word >> (usize::from(slot) % WORD) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use torc_cluster::ids::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn the_slots_are_those_of_the_map() {
        let mut map = ClusterMap::default();
        let (ours, theirs) = (ShardId(1), ShardId(2));
        for (slot, shard) in [(0, ours), (63, ours), (64, ours), (SLOTS - 1, ours), (1, theirs), (65, theirs)]
        {
            map.slots.set(slot, shard);
        }
        let me = Member { node: NodeId(1), incarnation: Incarnation(1) };
        let map = Arc::new(map);
        for shard in [None, Some(ours), Some(theirs)] {
            let view = View::new(map.clone(), me, shard);
            for slot in 0..SLOTS {
                assert_eq!(
                    view.owns(slot),
                    shard.is_some() && map.slots.owner(slot) == shard,
                    "{slot} {shard:?}"
                );
            }
            assert!(!view.owns(Slot::MAX) && !view.owns_all());
        }
        let mut whole = ClusterMap::default();
        (0..SLOTS).for_each(|slot| whole.slots.set(slot, ours));
        assert!(View::new(Arc::new(whole), me, Some(ours)).owns_all());
    }
}
