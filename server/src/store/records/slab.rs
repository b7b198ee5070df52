//! Values that do not fit into a record: the record holds a number, the value lives here.

/// Who holds nothing is on the list of free slots.
#[derive(Debug)]
enum Slot<V> {
    /// The next free slot, [`NONE`] at the end.
    Free(u32),
    Used(V),
}

const NONE: u32 = u32::MAX;

/// See the module's text. Owned by a segment, so it holds at most as many values as that has entries.
#[derive(Debug)]
pub struct Slab<V> {
    slots: Vec<Slot<V>>,
    free: u32,
    used: u32,
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: NONE, used: 0 }
    }
}

impl<V> Slab<V> {
    /// Takes a value in; answers its number.
    pub fn put(&mut self, value: V) -> u32 {
        self.used += 1;
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let number = self.free;
            if let Slot::Free(next) = std::mem::replace(slot, Slot::Used(value)) {
                self.free = next;
            }
            return number;
        }
        if self.slots.len() == self.slots.capacity() {
            // Less than the doubling of a vector: there is one slab for each few hundred keys.
            self.slots.reserve_exact(1 + self.slots.len() / 4);
        }
        self.slots.push(Slot::Used(value));
        self.slots.len() as u32 - 1
    }

    /// The value with this number.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&V> {
        match self.slots.get(number as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// The same, to change.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut V> {
        match self.slots.get_mut(number as usize) {
            Some(Slot::Used(value)) => Some(value),
            _ => None,
        }
    }

    /// Takes the value with this number out.
    pub fn take(&mut self, number: u32) -> Option<V> {
        let slot = self.slots.get_mut(number as usize)?;
        if matches!(slot, Slot::Free(_)) {
            return None;
        }
        let taken = std::mem::replace(slot, Slot::Free(self.free));
        self.free = number;
        self.used -= 1;
        if self.used == 0 {
            *self = Slab::default();
        }
        match taken {
            Slot::Used(value) => Some(value),
            Slot::Free(_) => None,
        }
    }

    /// Bytes of the slots, without what the values own elsewhere.
    #[inline]
    pub fn bytes(&self) -> usize {
        crate::store::entry::allocated(self.slots.capacity() * size_of::<Slot<V>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_until_taken_and_come_back() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..20).map(|n| slab.put(n.to_string())).collect();
        for n in [3, 7, 19] {
            assert_eq!(slab.take(numbers[n]), Some(n.to_string()));
            assert_eq!((slab.take(numbers[n]), slab.get(numbers[n])), (None, None));
        }
        let again: Vec<u32> = (0..3).map(|_| slab.put("x".into())).collect();
        assert_eq!(again, [19, 7, 3]);
        assert_eq!(slab.get(5).map(String::as_str), Some("5"));
        (0..20).for_each(|n| drop(slab.take(n)));
        assert_eq!(slab.bytes(), 0);
    }
}
