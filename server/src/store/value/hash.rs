//! The value of a hash: packed while it is small, a table when it grows.
//!
//! The thresholds are Redis's (`hash-max-listpack-entries` 128, `hash-max-listpack-value` 64); as there, a hash
//! that became a table stays one. The packed form keeps insertion order.

use std::ops::Range;

use smallvec::SmallVec;

use super::packed::{Items, MAX_ITEMS, Packed};
use super::{Collection, Env, Kind, PackedLimits, variant};
use crate::effect::{self, DecodeError, Reader, put_items};
use crate::store::entry::allocated;
use crate::store::hash::KeyHasher;
use crate::store::records::{Records, Shape, Slab, Thrift};
use crate::store::varint;

/// A field with its value as a record: length of the field as a varint, field, value.
#[derive(Debug)]
pub enum Field {}

impl Shape for Field {
    type Value = ();

    #[inline]
    fn key(record: &[u8]) -> &[u8] {
        split(record).0
    }

    fn carry(_record: &mut [u8], _from: &mut Slab<()>, _to: &mut Slab<()>) {}
}

#[inline]
fn split(record: &[u8]) -> (&[u8], &[u8]) {
    let (len, used) = varint::read(record);
    record[used..].split_at(len)
}

fn write(out: &mut [u8], field: &[u8], value: &[u8]) {
    let (len, rest) = out.split_at_mut(varint::len(field.len()));
    varint::write(len, field.len());
    let (name, rest) = rest.split_at_mut(field.len());
    name.copy_from_slice(field);
    rest.copy_from_slice(value);
}

fn insert(fields: &mut Records<Field>, hash: u64, field: &[u8], value: &[u8]) {
    let len = varint::len(field.len()) + field.len() + value.len();
    fields.insert_new(hash, len, |out, _| write(out, field, value));
}

/// Bytes for which changing a field needs no allocation.
const SCRATCH: usize = 256;

/// A hash value; see the module's text.
#[derive(Clone, Debug)]
pub enum HashValue {
    /// Fields and values in turn.
    Packed(Packed),
    /// A table of fields.
    Table(Box<Records<Field>>),
}

impl Default for HashValue {
    fn default() -> Self {
        HashValue::Packed(Packed::default())
    }
}

/// The pairs of a packed hash.
struct Pairs<'a>(Items<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

/// Where a pair stands: its field begins at `field`, its value takes the bytes of `value`.
struct Place {
    field: usize,
    value: Range<usize>,
}

/// The pair of this field.
fn find(pairs: &Packed, field: &[u8]) -> Option<Place> {
    let mut items = pairs.iter();
    loop {
        let start = items.offset();
        let name = items.next()?;
        let value = items.offset();
        items.next()?;
        if name == field {
            return Some(Place { field: start, value: value..items.offset() });
        }
    }
}

impl HashValue {
    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            HashValue::Packed(_) => "listpack",
            HashValue::Table(_) => "hashtable",
        }
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self {
            HashValue::Packed(pairs) => Pairs(pairs.iter()).find(|(f, _)| *f == field).map(|(_, v)| v),
            HashValue::Table(fields) => {
                fields.get(fields.hasher().hash(field), field).map(|r| split(r.bytes).1)
            }
        }
    }

    /// Sets a field; true when it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &PackedLimits, hasher: KeyHasher) -> bool {
        if let HashValue::Packed(pairs) = self {
            if field.len() <= limits.value_bytes && value.len() <= limits.value_bytes {
                if let Some(at) = find(pairs, field) {
                    pairs.splice(at.value, 1, [value]);
                    return false;
                }
                if pairs.len() < limits.entries.min(MAX_ITEMS / 2) * 2 {
                    pairs.push([field, value]);
                    return true;
                }
            }
            self.unpack(hasher);
        }
        match self {
            HashValue::Packed(_) => false,
            HashValue::Table(fields) => {
                let hash = fields.hasher().hash(field);
                let replaced = fields.update(hash, field, |mut record| {
                    let old = record.bytes_mut();
                    let at = varint::len(field.len()) + field.len();
                    if old.len() == at + value.len() {
                        old[at..].copy_from_slice(value);
                    } else {
                        let mut new: SmallVec<[u8; SCRATCH]> = SmallVec::from_elem(0, at + value.len());
                        write(&mut new, field, value);
                        record.replace(&new);
                    }
                });
                if replaced.is_none() {
                    insert(fields, hash, field, value);
                }
                replaced.is_none()
            }
        }
    }

    /// Sets fields that alternate with their values; answers how many were new.
    pub fn set_all<'i>(
        &mut self,
        mut items: impl Iterator<Item = &'i [u8]>,
        limits: &PackedLimits,
        hasher: KeyHasher,
    ) -> usize {
        let mut added = 0;
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            added += usize::from(self.set(field, value, limits, hasher));
        }
        added
    }

    /// Removes a field; true when it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            HashValue::Packed(pairs) => match find(pairs, field) {
                Some(at) => {
                    pairs.splice(at.field..at.value.end, 2, []);
                    true
                }
                None => false,
            },
            HashValue::Table(fields) => {
                fields.remove(fields.hasher().hash(field), field, Thrift::Easy, |_, _| ()).is_some()
            }
        }
    }

    /// All pairs; in insertion order while packed.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match self {
            HashValue::Packed(pairs) => Box::new(Pairs(pairs.iter())),
            HashValue::Table(fields) => Box::new(fields.iter().map(|r| split(r.bytes))),
        }
    }

    /// HSCAN: a packed hash is given whole; a table from `from` on as [`Records::scan`] does.
    pub fn scan<'h>(
        &'h self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'h [u8], &'h [u8]),
    ) -> Option<u64> {
        match self {
            HashValue::Packed(pairs) => {
                Pairs(pairs.iter()).for_each(|(f, v)| visit(f, v));
                None
            }
            HashValue::Table(fields) => fields.scan(from, count, |record| {
                let (f, v) = split(record.bytes);
                visit(f, v);
            }),
        }
    }

    /// A pair picked with the random number `r`.
    pub fn sample(&self, r: u64) -> Option<(&[u8], &[u8])> {
        match self {
            HashValue::Packed(pairs) => Pairs(pairs.iter()).nth(r as usize % (pairs.len() / 2).max(1)),
            HashValue::Table(fields) => fields.sample(r).map(|r| split(r.bytes)),
        }
    }

    fn unpack(&mut self, hasher: KeyHasher) {
        let HashValue::Packed(pairs) = self else { return };
        let packed = std::mem::take(pairs);
        let mut fields = Box::new(Records::new(hasher));
        for (field, value) in Pairs(packed.iter()) {
            insert(&mut fields, hasher.hash(field), field, value);
        }
        *self = HashValue::Table(fields);
    }
}

/// What was done to a hash.
#[derive(Clone, Copy, Debug)]
pub enum HashChange<'a> {
    /// Fields were set; fields and values alternate.
    Set(effect::Items<'a>),
    /// Fields were removed.
    Delete(effect::Items<'a>),
}

const SET: u8 = 1;
const DELETE: u8 = 2;

impl<'a> HashChange<'a> {
    /// Writes that fields were set; `items` alternates fields and values.
    pub fn put_set<'i>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(SET);
        put_items(out, items);
    }

    /// Writes that fields were removed.
    pub fn put_delete<'i>(out: &mut Vec<u8>, fields: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(DELETE);
        put_items(out, fields);
    }

    /// Reads what was written.
    pub fn decode(body: &'a [u8]) -> Result<HashChange<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            SET => Ok(HashChange::Set(reader.items()?)),
            DELETE => Ok(HashChange::Delete(reader.items()?)),
            other => Err(DecodeError::Unknown(other)),
        }
    }
}

impl Collection for HashValue {
    const KIND: Kind = Kind::Hash;

    variant!(Hash);

    fn len(&self) -> usize {
        match self {
            HashValue::Packed(pairs) => pairs.len() / 2,
            HashValue::Table(fields) => fields.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            HashValue::Packed(pairs) => pairs.heap_bytes(),
            HashValue::Table(fields) => allocated(size_of::<Records<Field>>()) + fields.bytes(),
        }
    }

    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError> {
        match HashChange::decode(body)? {
            HashChange::Set(items) => {
                self.set_all(items, &env.limits.hash, env.hasher);
            }
            HashChange::Delete(fields) => fields.for_each(|field| {
                self.remove(field);
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::hash::DEFAULT_SEED;

    proptest! {
        #[test]
        fn behaves_as_a_map(ops in prop::collection::vec((any::<bool>(), 0u8..40, prop::collection::vec(any::<u8>(), 0..20)), 0..200)) {
            let limits = PackedLimits { entries: 16, value_bytes: 16 };
            let hasher = KeyHasher::new(DEFAULT_SEED);
            let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
            let mut hash = HashValue::default();
            for (set, field, value) in ops {
                let field = vec![field; usize::from(field % 5)];
                if set {
                    prop_assert_eq!(hash.set(&field, &value, &limits, hasher), model.insert(field, value).is_none());
                } else {
                    prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some());
                }
                prop_assert_eq!(hash.len(), model.len());
            }
            for (field, value) in &model {
                prop_assert_eq!(hash.get(field), Some(&value[..]));
            }
            prop_assert_eq!(hash.iter().count(), model.len());
        }
    }
}
