//! Slot → shard. Cheap to clone (shared until changed), written as ranges when it travels.

use crate::ids::ShardId;
use crate::{SLOTS, Slot};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// In memory only: a slot without an owner.
const NOBODY: ShardId = ShardId(u16::MAX);

/// The owner of each slot.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotTable {
    /// Always `SLOTS` long.
    owners: Arc<Vec<ShardId>>,
}

/// Neighbouring slots with one owner; both ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    pub first: Slot,
    pub last: Slot,
    pub shard: ShardId,
}

impl Default for SlotTable {
    fn default() -> Self {
        SlotTable { owners: Arc::new(vec![NOBODY; usize::from(SLOTS)]) }
    }
}

impl SlotTable {
    /// The shard that owns a slot.
    pub fn owner(&self, slot: Slot) -> Option<ShardId> {
        self.owners.get(usize::from(slot)).copied().filter(|owner| *owner != NOBODY)
    }

    /// Gives a slot to a shard. A slot out of range is ignored.
    pub fn set(&mut self, slot: Slot, shard: ShardId) {
        if let Some(owner) = Arc::make_mut(&mut self.owners).get_mut(usize::from(slot)) {
            *owner = shard;
        }
    }

    /// The table as ranges, ascending; slots without an owner are left out.
    pub fn ranges(&self) -> Vec<SlotRange> {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for (slot, owner) in (0..SLOTS).zip(self.owners.iter()) {
            match ranges.last_mut() {
                Some(range) if range.shard == *owner && range.last + 1 == slot => range.last = slot,
                _ if *owner == NOBODY => {}
                _ => ranges.push(SlotRange { first: slot, last: slot, shard: *owner }),
            }
        }
        ranges
    }

    /// Ranges of one shard, ascending.
    pub fn ranges_of(&self, shard: ShardId) -> Vec<SlotRange> {
        self.ranges().into_iter().filter(|range| range.shard == shard).collect()
    }

    /// Slots of one shard, ascending.
    pub fn slots_of(&self, shard: ShardId) -> impl Iterator<Item = Slot> {
        (0..SLOTS).zip(self.owners.iter()).filter(move |(_, owner)| **owner == shard).map(|(slot, _)| slot)
    }

    /// How many slots a shard owns.
    pub fn count_of(&self, shard: ShardId) -> usize {
        self.owners.iter().filter(|owner| **owner == shard).count()
    }

    /// How many slots have an owner.
    pub fn assigned(&self) -> usize {
        self.owners.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// Slots whose owner differs between two tables.
    pub fn moved(&self, other: &SlotTable) -> usize {
        self.owners.iter().zip(other.owners.iter()).filter(|(a, b)| a != b).count()
    }
}

impl fmt::Debug for SlotTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.ranges().iter().map(|r| format!("{}-{}:{}", r.first, r.last, r.shard)))
            .finish()
    }
}

impl Serialize for SlotTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ranges: Vec<(Slot, Slot, ShardId)> =
            self.ranges().iter().map(|range| (range.first, range.last, range.shard)).collect();
        ranges.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SlotTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(Slot, Slot, ShardId)>::deserialize(deserializer)?;
        let mut owners = vec![NOBODY; usize::from(SLOTS)];
        for (first, last, shard) in ranges {
            let range = owners.get_mut(usize::from(first)..=usize::from(last)).ok_or_else(|| {
                serde::de::Error::custom(format!("slot range {first}-{last} is out of range"))
            })?;
            range.fill(shard);
        }
        Ok(SlotTable { owners: Arc::new(owners) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn travels_as_ranges() {
        let mut table = SlotTable::default();
        for slot in 0..100 {
            table.set(slot, ShardId(1));
        }
        table.set(SLOTS - 1, ShardId(2));
        table.set(SLOTS, ShardId(3));
        let text = serde_json::to_string(&table).expect("serializes");
        assert_eq!(text, "[[0,99,1],[16383,16383,2]]");
        let back: SlotTable = serde_json::from_str(&text).expect("parses");
        assert_eq!(back, table);
        assert_eq!(table.assigned(), 101);
        assert!(serde_json::from_str::<SlotTable>("[[5,16384,1]]").is_err());
        assert!(serde_json::from_str::<SlotTable>("[[5,4,1]]").is_ok());
        assert!(serde_json::from_str::<SlotTable>("[[9,4,1]]").is_err());
    }
}
