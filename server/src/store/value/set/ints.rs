//! A set of integers: a sorted array whose elements are as wide as the widest needs.

use crate::store::entry::allocated;

/// See the module's text.
#[derive(Clone, Debug)]
pub enum Ints {
    /// All fit 16 bits.
    Narrow(Vec<i16>),
    /// All fit 32 bits.
    Middle(Vec<i32>),
    /// Anything.
    Wide(Vec<i64>),
}

impl Default for Ints {
    fn default() -> Self {
        Ints::Narrow(Vec::new())
    }
}

/// Runs `$body` on the array, whatever its width.
macro_rules! each {
    ($ints:expr, $items:ident => $body:expr) => {
        match $ints {
            Ints::Narrow($items) => $body,
            Ints::Middle($items) => $body,
            Ints::Wide($items) => $body,
        }
    };
}

/// Where the value is or would be; `None` when the width cannot hold it.
fn find<T: Ord + TryFrom<i64>>(items: &[T], value: i64) -> Option<Result<usize, usize>> {
    let value = T::try_from(value).ok()?;
    // Ascending insertion is the common case.
    if items.last().is_none_or(|last| *last < value) {
        return Some(Err(items.len()));
    }
    Some(items.binary_search(&value))
}

/// Puts a value into its place; false when it is there already, `None` when the width cannot hold it.
fn insert<T: Ord + TryFrom<i64>>(items: &mut Vec<T>, value: i64) -> Option<bool> {
    let Err(at) = find(items, value)? else { return Some(false) };
    let value = T::try_from(value).ok()?;
    if items.len() == items.capacity() {
        let room = allocated((items.len() + 1) * size_of::<T>()) / size_of::<T>();
        items.reserve_exact(room - items.len());
    }
    items.insert(at, value);
    Some(true)
}

impl Ints {
    /// Number of integers.
    pub fn len(&self) -> usize {
        each!(self, items => items.len())
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Ints::Narrow(items) => allocated(items.capacity() * 2),
            Ints::Middle(items) => allocated(items.capacity() * 4),
            Ints::Wide(items) => allocated(items.capacity() * 8),
        }
    }

    /// The integer at a place, in ascending order.
    pub fn get(&self, index: usize) -> Option<i64> {
        match self {
            Ints::Narrow(items) => items.get(index).map(|n| i64::from(*n)),
            Ints::Middle(items) => items.get(index).map(|n| i64::from(*n)),
            Ints::Wide(items) => items.get(index).copied(),
        }
    }

    /// Whether the integer is in the set.
    pub fn contains(&self, value: i64) -> bool {
        each!(self, items => matches!(find(items, value), Some(Ok(_))))
    }

    /// Puts an integer in; false when it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        if let Some(done) = each!(self, items => insert(items, value)) {
            return done;
        }
        *self = if i32::try_from(value).is_ok() {
            Ints::Middle(self.iter().filter_map(|n| i32::try_from(n).ok()).collect())
        } else {
            Ints::Wide(self.iter().collect())
        };
        self.insert(value)
    }

    /// Takes an integer out; false when it was not there. The width stays.
    pub fn remove(&mut self, value: i64) -> bool {
        each!(self, items => match find(items, value) {
            Some(Ok(at)) => {
                items.remove(at);
                if items.capacity() > 2 * items.len().max(8) {
                    items.shrink_to_fit();
                }
                true
            }
            _ => false,
        })
    }

    /// All integers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
