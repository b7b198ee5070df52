//! A map in the order of IDs, for keys that nearly always come at the end and often go at the front.
//!
//! Chunks of up to 64 pairs in a row. What is appended fills them whole; one that becomes small joins its neighbour.
//! Unlike a `BTreeMap` it knows its bytes to the byte.

use std::collections::VecDeque;

use super::id::StreamId;
use crate::store::entry::allocated;

/// Most pairs of a chunk.
const CHUNK_PAIRS: usize = 64;

/// Two neighbours with so few pairs together become one.
const JOIN_PAIRS: usize = CHUNK_PAIRS / 2;

type Chunk<V> = Vec<(StreamId, V)>;

/// A map by ID; see the module's text.
#[derive(Debug)]
pub struct IdMap<V> {
    chunks: VecDeque<Chunk<V>>,
    len: usize,
    chunk_bytes: usize,
}

/// A place in a map, valid until the map changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: usize,
    index: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        IdMap { chunks: VecDeque::new(), len: 0, chunk_bytes: 0 }
    }
}

impl<V: Clone> Clone for IdMap<V> {
    fn clone(&self) -> Self {
        let chunks: VecDeque<_> = self.chunks.clone();
        let chunk_bytes = chunks.iter().map(bytes_of).sum();
        IdMap { chunks, len: self.len, chunk_bytes }
    }
}

fn bytes_of<V>(chunk: &Chunk<V>) -> usize {
    allocated(chunk.capacity() * size_of::<(StreamId, V)>())
}

impl<V> IdMap<V> {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the map itself; what its values hold on the heap is the owner's account.
    pub fn heap_bytes(&self) -> usize {
        self.chunk_bytes + allocated(self.chunks.capacity() * size_of::<Chunk<V>>())
    }

    /// The place of the first pair at or after `id`; it may be the end.
    fn lower_bound(&self, id: StreamId) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|(last, _)| *last < id));
        let index = self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(|(key, _)| *key < id));
        Place { chunk, index }
    }

    fn find(&self, id: StreamId) -> Option<Place> {
        let place = self.lower_bound(id);
        self.at(place).is_some_and(|(key, _)| key == id).then_some(place)
    }

    /// The pair at a place.
    pub fn at(&self, place: Place) -> Option<(StreamId, &V)> {
        self.chunks.get(place.chunk)?.get(place.index).map(|(id, value)| (*id, value))
    }

    /// The place of the last pair at or before `id`.
    pub fn floor(&self, id: StreamId) -> Option<Place> {
        match self.chunks.back().and_then(|chunk| chunk.last()) {
            // Nearly always: the newest.
            Some((last, _)) if *last <= id => self.last_place(),
            _ => {
                let place = self.lower_bound(id);
                if self.at(place).is_some_and(|(key, _)| key == id) {
                    Some(place)
                } else {
                    self.before(place)
                }
            }
        }
    }

    /// The place of the last pair.
    pub fn last_place(&self) -> Option<Place> {
        let chunk = self.chunks.len().checked_sub(1)?;
        Some(Place { chunk, index: self.chunks.get(chunk)?.len().checked_sub(1)? })
    }

    /// The place of the first pair.
    pub fn first_place(&self) -> Option<Place> {
        (!self.is_empty()).then_some(Place { chunk: 0, index: 0 })
    }

    /// The next place.
    pub fn after(&self, place: Place) -> Option<Place> {
        let next = Place { chunk: place.chunk, index: place.index + 1 };
        if self.at(next).is_some() {
            return Some(next);
        }
        let next = Place { chunk: place.chunk + 1, index: 0 };
        self.at(next).is_some().then_some(next)
    }

    /// The place before.
    pub fn before(&self, place: Place) -> Option<Place> {
        if let Some(index) = place.index.checked_sub(1) {
            return Some(Place { chunk: place.chunk, index });
        }
        let chunk = place.chunk.checked_sub(1)?;
        Some(Place { chunk, index: self.chunks.get(chunk)?.len().checked_sub(1)? })
    }

    /// The value of an ID.
    pub fn get(&self, id: StreamId) -> Option<&V> {
        self.at(self.find(id)?).map(|(_, value)| value)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: StreamId) -> Option<&mut V> {
        let place = self.find(id)?;
        self.at_mut(place)
    }

    /// The value at a place, to change.
    pub fn at_mut(&mut self, place: Place) -> Option<&mut V> {
        self.chunks.get_mut(place.chunk)?.get_mut(place.index).map(|(_, value)| value)
    }

    /// The first pair.
    pub fn first(&self) -> Option<(StreamId, &V)> {
        self.chunks.front()?.first().map(|(id, value)| (*id, value))
    }

    /// The last pair.
    pub fn last(&self) -> Option<(StreamId, &V)> {
        self.chunks.back()?.last().map(|(id, value)| (*id, value))
    }

    /// The last pair, to change.
    pub fn last_mut(&mut self) -> Option<(StreamId, &mut V)> {
        self.chunks.back_mut()?.last_mut().map(|(id, value)| (*id, value))
    }

    /// All pairs from `id` on.
    pub fn from(&self, id: StreamId) -> impl Iterator<Item = (StreamId, &V)> {
        let place = self.lower_bound(id);
        let first =
            self.chunks.get(place.chunk).and_then(|chunk| chunk.get(place.index..)).unwrap_or_default();
        first.iter().chain(self.chunks.iter().skip(place.chunk + 1).flatten()).map(|(id, value)| (*id, value))
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.chunks.iter().flatten().map(|(id, value)| (*id, value))
    }

    /// Puts a value under an ID; answers what was there.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        if self.last().is_none_or(|(last, _)| last < id) {
            self.push(id, value);
            return None;
        }
        let place = self.lower_bound(id);
        let chunk = self.chunks.get_mut(place.chunk)?;
        if let Some((key, old)) = chunk.get_mut(place.index)
            && *key == id
        {
            return Some(std::mem::replace(old, value));
        }
        let before = bytes_of(chunk);
        if chunk.len() < CHUNK_PAIRS {
            chunk.insert(place.index, (id, value));
            self.chunk_bytes = self.chunk_bytes - before + bytes_of(chunk);
        } else {
            // Split in the middle.
            let mut upper = chunk.split_off(CHUNK_PAIRS / 2);
            match place.index.checked_sub(CHUNK_PAIRS / 2) {
                Some(index) if index > 0 => upper.insert(index, (id, value)),
                _ => chunk.insert(place.index, (id, value)),
            }
            self.chunk_bytes = self.chunk_bytes - before + bytes_of(chunk) + bytes_of(&upper);
            self.chunks.insert(place.chunk + 1, upper);
        }
        self.len += 1;
        None
    }

    fn push(&mut self, id: StreamId, value: V) {
        self.len += 1;
        if let Some(chunk) = self.chunks.back_mut()
            && chunk.len() < CHUNK_PAIRS
        {
            let before = bytes_of(chunk);
            chunk.push((id, value));
            self.chunk_bytes = self.chunk_bytes - before + bytes_of(chunk);
            return;
        }
        let chunk = vec![(id, value)];
        self.chunk_bytes += bytes_of(&chunk);
        self.chunks.push_back(chunk);
    }

    /// Takes a pair out.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        let place = self.find(id)?;
        let chunk = self.chunks.get_mut(place.chunk)?;
        let (_, value) = chunk.remove(place.index);
        self.len -= 1;
        if chunk.is_empty() {
            self.drop_chunk(place.chunk);
        } else if chunk.len() <= JOIN_PAIRS / 2 {
            self.join(place.chunk);
        }
        Some(value)
    }

    fn drop_chunk(&mut self, at: usize) {
        if let Some(chunk) = self.chunks.remove(at) {
            self.chunk_bytes -= bytes_of(&chunk);
        }
        if self.chunks.is_empty() {
            self.chunks = VecDeque::new();
        }
    }

    /// Joins a small chunk with a neighbour, where both together are small.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.chunks.get(at).map_or(CHUNK_PAIRS, Vec::len);
        let left = if len(at) + len(at + 1) <= JOIN_PAIRS {
            at
        } else if at > 0 && len(at - 1) + len(at) <= JOIN_PAIRS {
            at - 1
        } else {
            return;
        };
        let Some(right) = self.chunks.remove(left + 1) else { return };
        self.chunk_bytes -= bytes_of(&right);
        if let Some(chunk) = self.chunks.get_mut(left) {
            let before = bytes_of(chunk);
            chunk.extend(right);
            self.chunk_bytes = self.chunk_bytes - before + bytes_of(chunk);
        }
    }

    /// Takes the first pair out.
    pub fn pop_first(&mut self) -> Option<(StreamId, V)> {
        let (id, _) = self.first()?;
        Some((id, self.remove(id)?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn check(map: &IdMap<u64>, model: &BTreeMap<StreamId, u64>) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().map(|(id, value)| (id, *value)).eq(model.iter().map(|(id, value)| (*id, *value))));
        assert_eq!(map.chunk_bytes, map.chunks.iter().map(bytes_of).sum::<usize>());
        assert!(map.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_PAIRS));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn behaves_as_a_tree(ops in prop::collection::vec((0u8..6, 0u64..400), 0..800)) {
            let (mut map, mut model, mut top) = (IdMap::default(), BTreeMap::new(), 0);
            for (op, n) in ops {
                let id = StreamId::new(n / 7, n % 7);
                match op {
                    0 => prop_assert_eq!(map.remove(id), model.remove(&id)),
                    1 => prop_assert_eq!(map.pop_first(), model.pop_first()),
                    2 => prop_assert_eq!(map.insert(id, n), model.insert(id, n)),
                    3 => prop_assert!(map.from(id).map(|p| p.0).eq(model.range(id..).map(|p| *p.0))),
                    4 => {
                        let place = map.floor(id);
                        prop_assert_eq!(
                            place.and_then(|p| map.at(p)).map(|p| p.0),
                            model.range(..=id).next_back().map(|p| *p.0)
                        );
                        let after = place.and_then(|p| map.after(p)).and_then(|p| map.at(p)).map(|p| p.0);
                        if let Some(place) = place {
                            let at = map.at(place).expect("a pair").0;
                            prop_assert_eq!(after, model.range(at..).nth(1).map(|p| *p.0));
                            let before = map.before(place).and_then(|p| map.at(p)).map(|p| p.0);
                            prop_assert_eq!(before, model.range(..at).next_back().map(|p| *p.0));
                        }
                    }
                    _ => {
                        top += n;
                        prop_assert_eq!(map.insert(StreamId::new(1000, top), n), model.insert(StreamId::new(1000, top), n));
                    }
                }
                prop_assert_eq!(map.get(id), model.get(&id));
            }
            check(&map, &model);
            check(&map.clone(), &model);
        }
    }
}
