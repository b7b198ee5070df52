//! From hashes to places: the index of one segment.
//!
//! Groups of twelve slots, each group one cache line: a tag byte for every slot, then the places. A lookup reads the
//! line of its home group, and the next one only where entries had to move on from there. The number of groups is any
//! that the allocator has a size for, not a power of two, so that growth goes in steps of a quarter and less.

/// Slots of a group.
const SLOTS: usize = 12;

/// Byte of a group's head that counts the entries which did not find room here; this many or more never go down again.
const PASSED: usize = SLOTS;
const PASSED_MANY: u8 = u8::MAX;

/// One bit, the lowest or the highest, of each tag in a group's head.
const LOW: u128 = 0x0001_0101_0101_0101_0101_0101_0101;
const HIGH: u128 = LOW << 7;

/// One cache line: see the module's text.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Group {
    /// Twelve tags (0: the slot is free), the counter, three bytes of nothing.
    head: [u8; 16],
    places: [u32; SLOTS],
}

const EMPTY: Group = Group { head: [0; 16], places: [0; SLOTS] };

/// Where an entry stands in the index.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    group: usize,
    slot: usize,
}

/// See the module's text. Owned by its segment.
#[derive(Debug, Default)]
pub struct Index {
    groups: Box<[Group]>,
    len: usize,
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 32) as u8).max(1)
}

impl Group {
    /// A bit for each slot with this tag, at the top of its byte; rarely one too many.
    #[inline]
    fn hits(&self, tag: u8) -> u128 {
        let differing = u128::from_le_bytes(self.head) ^ (LOW * u128::from(tag));
        differing.wrapping_sub(LOW) & !differing & HIGH
    }

    /// A slot that holds nothing.
    #[inline]
    fn free_slot(&self) -> Option<usize> {
        self.head[..SLOTS].iter().position(|tag| *tag == 0)
    }
}

/// The number of groups after `groups`: the allocator's size classes.
const fn next_size(groups: usize) -> usize {
    match groups {
        0..4 => groups + 1,
        _ => groups + (1 << (groups.ilog2() - 2)),
    }
}

/// Entries that so many groups may hold: seven slots of eight.
const fn limit(groups: usize) -> usize {
    groups * SLOTS * 7 / 8
}

/// The fewest groups for `len` entries.
fn size_for(len: usize) -> usize {
    let mut groups = 0;
    while limit(groups) < len {
        groups = next_size(groups);
    }
    groups
}

impl Index {
    /// An index with room for `len` entries.
    pub fn with_room(len: usize) -> Index {
        Index { groups: vec![EMPTY; size_for(len)].into(), len: 0 }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.groups.len() * size_of::<Group>()
    }

    /// Number of slots, free ones included.
    pub fn slots(&self) -> usize {
        self.groups.len() * SLOTS
    }

    /// What stands in the `n`th slot.
    pub fn at(&self, n: usize) -> Option<u32> {
        let group = self.groups.get(n / SLOTS)?;
        (group.head[n % SLOTS] != 0).then(|| group.places[n % SLOTS])
    }

    /// What stands at a spot.
    #[inline]
    pub fn place(&self, spot: Spot) -> u32 {
        self.groups[spot.group].places[spot.slot]
    }

    /// The same, to change.
    #[inline]
    pub fn place_mut(&mut self, spot: Spot) -> &mut u32 {
        &mut self.groups[spot.group].places[spot.slot]
    }

    /// The group that entries of this hash belong to; there must be one.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.groups.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, group: usize) -> usize {
        if group + 1 == self.groups.len() { 0 } else { group + 1 }
    }

    /// The entry of this hash for which `matches` holds.
    #[inline]
    pub fn find(&self, hash: u64, mut matches: impl FnMut(u32) -> bool) -> Option<Spot> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = &self.groups[at];
            let mut hits = group.hits(tag);
            while hits != 0 {
                let slot = hits.trailing_zeros() as usize / 8;
                // The trick of the bits may show one too many, and what a free slot says is old.
                if slot < SLOTS && group.head[slot] == tag && matches(group.places[slot]) {
                    return Some(Spot { group: at, slot });
                }
                hits &= hits - 1;
            }
            if group.head[PASSED] == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// The line that a lookup of this hash reads first, for a prefetch.
    #[inline]
    pub fn line(&self, hash: u64) -> Option<&impl Sized> {
        self.groups.get(self.home(hash))
    }

    /// Adds an entry that is not there yet; `hash_of` tells the hash of the others, should they have to move.
    #[inline]
    pub fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len >= limit(self.groups.len()) {
            self.rebuild(next_size(self.groups.len()), hash_of);
        }
        self.put(hash, place);
    }

    fn put(&mut self, hash: u64, place: u32) {
        let mut at = self.home(hash);
        // There is room: fewer entries than slots.
        loop {
            let group = &mut self.groups[at];
            if let Some(slot) = group.free_slot() {
                group.head[slot] = tag_of(hash);
                group.places[slot] = place;
                self.len += 1;
                return;
            }
            group.head[PASSED] = group.head[PASSED].saturating_add(1);
            at = self.after(at);
        }
    }

    /// Takes the entry at a spot, whose hash this is, out.
    pub fn remove(&mut self, hash: u64, spot: Spot) -> u32 {
        let mut at = self.home(hash);
        while at != spot.group {
            let passed = &mut self.groups[at].head[PASSED];
            if *passed != PASSED_MANY {
                *passed -= 1;
            }
            at = self.after(at);
        }
        self.groups[spot.group].head[spot.slot] = 0;
        self.len -= 1;
        self.groups[spot.group].places[spot.slot]
    }

    /// Gives memory back when few of the slots are used.
    pub fn shrink(&mut self, hash_of: impl Fn(u32) -> u64) {
        if self.groups.len() > 4 && self.len * 4 < limit(self.groups.len()) {
            self.rebuild(size_for(self.len + self.len / 4), hash_of);
        }
    }

    fn rebuild(&mut self, groups: usize, hash_of: impl Fn(u32) -> u64) {
        let new = Index { groups: vec![EMPTY; groups].into(), len: 0 };
        let old = std::mem::replace(self, new);
        old.iter().for_each(|place| self.put(hash_of(place), place));
    }

    /// All places.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().flat_map(|group| {
            group.head.iter().zip(&group.places).filter(|(tag, _)| **tag != 0).map(|(_, place)| *place)
        })
    }

    /// All places, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut u32> + '_ {
        self.groups.iter_mut().flat_map(|group| {
            let Group { head, places } = group;
            head.iter().zip(places).filter(|(tag, _)| **tag != 0).map(|(_, place)| place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash for a number: good enough to spread.
    fn hash(n: u32) -> u64 {
        (u64::from(n) + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn a_group_is_one_line() {
        assert_eq!((size_of::<Group>(), align_of::<Group>()), (64, 64));
        for groups in 1..200 {
            let size = size_for(groups);
            assert_eq!(crate::store::entry::allocated(size * 64), size * 64);
        }
    }

    #[test]
    fn holds_what_was_put_through_growth_and_removal() {
        for shared in [u64::MAX, 0xffff_0000_ffff_0000, 0xffff_ffff_0000_00ff] {
            let hash = |n| hash(n) & shared;
            let mut index = Index::default();
            let mut there = std::collections::BTreeSet::new();
            for round in 0..4000u32 {
                let n = (hash(round) >> 40) as u32 % 600;
                let spot = index.find(hash(n), |place| place == n);
                assert_eq!(spot.is_some(), there.contains(&n), "{n}");
                match spot {
                    Some(spot) => {
                        assert_eq!(index.remove(hash(n), spot), n);
                        index.shrink(hash);
                        there.remove(&n);
                    }
                    None => {
                        index.insert(hash(n), n, hash);
                        there.insert(n);
                    }
                }
                assert_eq!(index.len(), there.len());
            }
            assert_eq!(index.iter().collect::<std::collections::BTreeSet<_>>(), there);
            for n in there.clone() {
                let spot = index.find(hash(n), |place| place == n);
                index.remove(hash(n), spot.expect("it is there"));
                index.shrink(hash);
            }
            assert_eq!((index.len(), index.iter().next()), (0, None));
            assert!(index.slots() <= 5 * SLOTS, "{}", index.slots());
        }
    }
}
