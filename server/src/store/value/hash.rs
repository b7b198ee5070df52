//! The value of a hash: packed while it is small, a table when it grows.
//!
//! The thresholds are Redis's (`hash-max-listpack-entries` 128, `hash-max-listpack-value` 64); as there, a hash
//! that became a table stays one. The packed form keeps insertion order.

use super::{Collection, Env, Kind, PackedLimits, variant};
use crate::effect::{DecodeError, Items, Reader, put_items};
use crate::store::entry::allocated;
use crate::store::hash::KeyHasher;
use crate::store::table::{Keyed, Table};

/// A field with its value in one allocation: field length as four bytes, field, value.
#[derive(Clone, Debug)]
pub struct Field(Box<[u8]>);

impl Field {
    fn new(field: &[u8], value: &[u8]) -> Field {
        let mut bytes = Vec::with_capacity(4 + field.len() + value.len());
        bytes.extend_from_slice(&(field.len() as u32).to_le_bytes());
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(value);
        Field(bytes.into_boxed_slice())
    }

    fn split(&self) -> (&[u8], &[u8]) {
        let mut len = [0; 4];
        len.copy_from_slice(&self.0[..4]);
        self.0[4..].split_at(u32::from_le_bytes(len) as usize)
    }
}

impl Keyed for Field {
    fn key(&self) -> &[u8] {
        self.split().0
    }
}

/// A hash value; see the module's text.
#[derive(Clone, Debug)]
pub enum HashValue {
    /// Pairs one after another, each as `length u32 | bytes` twice.
    Packed {
        /// The pairs.
        bytes: Vec<u8>,
        /// How many.
        len: usize,
    },
    /// A table of fields.
    Table {
        /// The fields.
        fields: Table<Field>,
        /// Heap bytes of the fields.
        bytes: usize,
    },
}

impl Default for HashValue {
    fn default() -> Self {
        HashValue::Packed { bytes: Vec::new(), len: 0 }
    }
}

struct PackedIter<'a> {
    rest: &'a [u8],
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (item, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = tail;
    Some(item)
}

impl<'a> Iterator for PackedIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((take(&mut self.rest)?, take(&mut self.rest)?))
    }
}

fn push(out: &mut Vec<u8>, field: &[u8], value: &[u8]) {
    for part in [field, value] {
        out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        out.extend_from_slice(part);
    }
}

impl HashValue {
    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            HashValue::Packed { .. } => "listpack",
            HashValue::Table { .. } => "hashtable",
        }
    }

    /// The value of a field.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        match self {
            HashValue::Packed { bytes, .. } => {
                PackedIter { rest: bytes }.find(|(f, _)| *f == field).map(|(_, v)| v)
            }
            HashValue::Table { fields, .. } => {
                fields.get(fields.hasher().hash(field), field).map(|f| f.split().1)
            }
        }
    }

    /// Sets a field; true when it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &PackedLimits, hasher: KeyHasher) -> bool {
        if let HashValue::Packed { bytes, len } = self {
            if field.len() <= limits.value_bytes && value.len() <= limits.value_bytes {
                if let Some((start, end)) = find(bytes, field) {
                    bytes.splice(start..end, encoded(value));
                    return false;
                }
                if *len < limits.entries {
                    push(bytes, field, value);
                    *len += 1;
                    return true;
                }
            }
            self.unpack(hasher);
        }
        match self {
            HashValue::Packed { .. } => false,
            HashValue::Table { fields, bytes } => {
                let hash = fields.hasher().hash(field);
                let new = Field::new(field, value);
                *bytes += allocated(new.0.len());
                match fields.get_mut(hash, field) {
                    Some(old) => {
                        *bytes -= allocated(old.0.len());
                        *old = new;
                        false
                    }
                    None => {
                        fields.insert_new(hash, new);
                        true
                    }
                }
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
            HashValue::Packed { bytes, len } => match find(bytes, field) {
                Some((start, end)) => {
                    bytes.drain(start - 4 - field.len()..end);
                    *len -= 1;
                    true
                }
                None => false,
            },
            HashValue::Table { fields, bytes } => match fields.remove(fields.hasher().hash(field), field) {
                Some(old) => {
                    *bytes -= allocated(old.0.len());
                    true
                }
                None => false,
            },
        }
    }

    /// All pairs; in insertion order while packed.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match self {
            HashValue::Packed { bytes, .. } => Box::new(PackedIter { rest: bytes }),
            HashValue::Table { fields, .. } => Box::new(fields.iter().map(Field::split)),
        }
    }

    /// HSCAN: a packed hash is given whole; a table from `from` on as [`Table::scan`] does.
    pub fn scan<'h>(
        &'h self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'h [u8], &'h [u8]),
    ) -> Option<u64> {
        match self {
            HashValue::Packed { bytes, .. } => {
                PackedIter { rest: bytes }.for_each(|(f, v)| visit(f, v));
                None
            }
            HashValue::Table { fields, .. } => fields.scan(from, count, |item| {
                let (f, v) = item.split();
                visit(f, v);
            }),
        }
    }

    /// A pair picked with the random number `r`.
    pub fn sample(&self, r: u64) -> Option<(&[u8], &[u8])> {
        match self {
            HashValue::Packed { len: 0, .. } => None,
            HashValue::Packed { bytes, len } => PackedIter { rest: bytes }.nth(r as usize % len),
            HashValue::Table { fields, .. } => fields.sample(r).map(Field::split),
        }
    }

    fn unpack(&mut self, hasher: KeyHasher) {
        let HashValue::Packed { bytes, .. } = self else { return };
        let packed = std::mem::take(bytes);
        let mut fields = Table::new(hasher);
        let mut total = 0;
        for (field, value) in (PackedIter { rest: &packed }) {
            let item = Field::new(field, value);
            total += allocated(item.0.len());
            fields.insert_new(hasher.hash(field), item);
        }
        *self = HashValue::Table { fields, bytes: total };
    }
}

/// What was done to a hash.
#[derive(Clone, Copy, Debug)]
pub enum HashChange<'a> {
    /// Fields were set; fields and values alternate.
    Set(Items<'a>),
    /// Fields were removed.
    Delete(Items<'a>),
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
            HashValue::Packed { len, .. } => *len,
            HashValue::Table { fields, .. } => fields.len(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            HashValue::Packed { bytes, .. } => allocated(bytes.capacity()),
            HashValue::Table { fields, bytes } => fields.table_bytes() + bytes,
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

/// Where the encoded value of `field` starts and ends.
fn find(bytes: &[u8], field: &[u8]) -> Option<(usize, usize)> {
    let mut rest = bytes;
    loop {
        let name = take(&mut rest)?;
        let start = bytes.len() - rest.len();
        take(&mut rest)?;
        if name == field {
            return Some((start, bytes.len() - rest.len()));
        }
    }
}

fn encoded(value: &[u8]) -> impl Iterator<Item = u8> + '_ {
    (value.len() as u32).to_le_bytes().into_iter().chain(value.iter().copied())
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
