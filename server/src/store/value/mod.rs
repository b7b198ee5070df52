//! The types of values: one file for each, and what all collections have in common.
//!
//! A collection knows how to count its bytes without walking ([`Collection::heap_bytes`] is asked before and after
//! each change), how to say what was done to it in a few bytes, and how to do the same on a replica
//! ([`Collection::replay`]). How it is written whole is the business of [`crate::rdb`].

mod adopted;
mod field_times;
mod hash;
mod list;
pub mod packed;
mod set;
mod sorted_set;
pub mod stream;

pub use adopted::{ADOPT_BYTES, Adopted};
pub use field_times::MAX_MS as MAX_FIELD_TIME_MS;
pub use hash::{HashChange, HashRef, HashValue};
pub use list::{End, Fill, ListChange, ListValue, Node as ListNode, Sought};
pub use set::{Ints, Member, MemberList, SetChange, SetValue};
pub use sorted_set::{LexBound, LexRange, ScoreRange, SortedSetChange, SortedSetValue};
pub use stream::StreamValue;

use super::hash::KeyHasher;
use crate::effect::DecodeError;

/// When a packed collection becomes a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLimits {
    /// Most elements (of a hash: fields) in the packed form.
    pub entries: usize,
    /// Longest element in bytes in the packed form.
    pub value_bytes: usize,
}

impl Default for PackedLimits {
    fn default() -> Self {
        PackedLimits { entries: 128, value_bytes: 64 }
    }
}

/// The thresholds between encodings; Redis's names and defaults, all of which CONFIG SET may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `hash-max-listpack-entries`, `hash-max-listpack-value`.
    pub hash: PackedLimits,
    /// `set-max-listpack-entries`, `set-max-listpack-value`.
    pub set: PackedLimits,
    /// `set-max-intset-entries`.
    pub set_intset_entries: usize,
    /// `hll-sparse-max-bytes`: a longer sparse HyperLogLog becomes dense.
    pub hll_sparse_bytes: usize,
    /// `zset-max-listpack-entries`, `zset-max-listpack-value`.
    pub sorted_set: PackedLimits,
    /// `list-max-listpack-size`: positive: elements of a node; negative: -1 to -5 for 4, 8, 16, 32, 64 KiB.
    pub list_node_size: i64,
    /// `list-compress-depth`: kept and shown; nodes are not compressed.
    pub list_compress_depth: i64,
    /// `stream-node-max-bytes`; 0: no limit.
    pub stream_node_bytes: usize,
    /// `stream-node-max-entries`; 0: no limit.
    pub stream_node_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            hash: PackedLimits::default(),
            set: PackedLimits::default(),
            set_intset_entries: 512,
            hll_sparse_bytes: 3000,
            sorted_set: PackedLimits::default(),
            list_node_size: -2,
            list_compress_depth: 0,
            stream_node_bytes: 4096,
            stream_node_entries: 100,
        }
    }
}

/// What a change of a collection needs to know of the store.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// Thresholds between encodings.
    pub limits: Limits,
    /// The hash function of all tables.
    pub hasher: KeyHasher,
}

/// The type of a value, as effects name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A hash.
    Hash = 1,
    /// A list.
    List = 2,
    /// A set.
    Set = 3,
    /// A sorted set.
    SortedSet = 4,
    /// A stream.
    Stream = 5,
}

impl Kind {
    /// The kind of a value; `None` for a string.
    pub fn of(value: ValueRef<'_>) -> Option<Kind> {
        match value {
            ValueRef::String(_) => None,
            ValueRef::Hash(_) => Some(Kind::Hash),
            ValueRef::List(_) => Some(Kind::List),
            ValueRef::Set(_) => Some(Kind::Set),
            ValueRef::SortedSet(_) => Some(Kind::SortedSet),
            ValueRef::Stream(_) => Some(Kind::Stream),
        }
    }

    /// The kind of this number.
    pub fn from_number(number: u8) -> Option<Kind> {
        [Kind::Hash, Kind::List, Kind::Set, Kind::SortedSet, Kind::Stream]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// What all collections have in common.
pub trait Collection: Default + Clone + std::fmt::Debug {
    /// The type's name in effects.
    const KIND: Kind;

    /// Whether it stays when it is empty (a stream does); the others go with their last element.
    const STAYS_EMPTY: bool = false;

    /// The collection in a value, to change, if it is one of this type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;

    /// The collection as a value.
    fn into_value(self) -> Value;

    /// Number of elements (of a hash: fields).
    fn len(&self) -> usize;

    /// True when nothing is in it.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap, kept so that asking costs no walk.
    fn heap_bytes(&self) -> usize;

    /// Does what a primary did: `body` was written by the type's own change.
    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError>;
}

/// How a collection is looked at: by a reference, or as [`HashRef`], since a hash may stand in its key's record.
pub trait View<'v>: Copy {
    /// The collection in a value, if it is one of this type.
    fn of(value: ValueRef<'v>) -> Option<Self>;
}

/// A value that is kept beside its key's record: small, for there is one in the slot of every key that has one.
#[derive(Clone, Debug)]
pub enum Value {
    /// A long string.
    Bytes(Vec<u8>),
    /// A long string in the buffer that it was received in.
    Adopted(Adopted),
    /// A hash.
    Hash(HashValue),
    /// A list.
    List(Box<ListValue>),
    /// A set.
    Set(Box<SetValue>),
    /// A sorted set.
    SortedSet(Box<SortedSetValue>),
    /// A stream.
    Stream(Box<StreamValue>),
}

impl Value {
    /// The bytes of a long string, to be changed.
    pub fn as_bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        if let Value::Adopted(_) = self
            && let Value::Adopted(adopted) = std::mem::replace(self, Value::Bytes(Vec::new()))
        {
            *self = Value::Bytes(adopted.into_vec());
        }
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The value, borrowed.
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Value::Bytes(bytes) => ValueRef::String(bytes),
            Value::Adopted(adopted) => ValueRef::String(adopted.as_slice()),
            Value::Hash(hash) => ValueRef::Hash(hash.view()),
            Value::List(list) => ValueRef::List(list),
            Value::Set(set) => ValueRef::Set(set),
            Value::SortedSet(set) => ValueRef::SortedSet(set),
            Value::Stream(stream) => ValueRef::Stream(stream),
        }
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Bytes(bytes) => super::entry::allocated(bytes.capacity()),
            Value::Adopted(adopted) => adopted.heap_bytes(),
            Value::Hash(hash) => hash.heap_bytes(),
            Value::List(list) => boxed(&**list),
            Value::Set(set) => boxed(&**set),
            Value::SortedSet(set) => boxed(&**set),
            Value::Stream(stream) => boxed(&**stream),
        }
    }
}

impl Value {
    /// When the next field of a hash expires, Unix milliseconds.
    #[inline]
    pub fn next_field_expiry(&self) -> Option<u64> {
        match self {
            Value::Hash(hash) => hash.next_expiry(),
            _ => None,
        }
    }
}

/// Heap bytes of a collection in a box of its own.
#[inline]
fn boxed<C: Collection>(collection: &C) -> usize {
    super::entry::allocated(size_of::<C>()) + collection.heap_bytes()
}

/// A value, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string's bytes.
    String(&'a [u8]),
    /// A hash.
    Hash(HashRef<'a>),
    /// A list.
    List(&'a ListValue),
    /// A set.
    Set(&'a SetValue),
    /// A sorted set.
    SortedSet(&'a SortedSetValue),
    /// A stream.
    Stream(&'a StreamValue),
}

impl ValueRef<'_> {
    /// What TYPE answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            ValueRef::String(_) => "string",
            ValueRef::Hash(_) => "hash",
            ValueRef::List(_) => "list",
            ValueRef::Set(_) => "set",
            ValueRef::SortedSet(_) => "zset",
            ValueRef::Stream(_) => "stream",
        }
    }
}

/// Implements [`View`] for references to collections.
macro_rules! views {
    ($($variant:ident $collection:ident),*) => {
        $(impl<'v> View<'v> for &'v $collection {
            #[inline]
            fn of(value: ValueRef<'v>) -> Option<Self> {
                match value {
                    ValueRef::$variant(value) => Some(value),
                    _ => None,
                }
            }
        })*
    };
}

views!(List ListValue, Set SetValue, SortedSet SortedSetValue, Stream StreamValue);

/// Implements the two conversions of [`Collection`] for a variant of [`Value`].
macro_rules! variant {
    ($variant:ident) => {
        #[inline]
        fn of_mut(value: &mut $crate::store::value::Value) -> Option<&mut Self> {
            match value {
                $crate::store::value::Value::$variant(value) => Some(value),
                _ => None,
            }
        }

        fn into_value(self) -> $crate::store::value::Value {
            $crate::store::value::Value::$variant(self.into())
        }
    };
}
pub(crate) use variant;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }
}
