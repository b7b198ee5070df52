//! The value of a hash: packed while it is small, a table when it grows.
//!
//! The thresholds are Redis's (`hash-max-listpack-entries` 128, `hash-max-listpack-value` 64); as there, a hash
//! that became a table stays one. The packed form keeps insertion order. A hash with fields that expire has their times
//! beside its fields, in a third form that goes with the last of them.
//!
//! A primary removes fields whose time has come before anything looks at the hash; a replica waits for its primary's
//! word and hides them ([`HashValue::hide`]): what shows fields does not show those.

mod change;
mod look;

use smallvec::SmallVec;

pub use change::HashChange;
pub use look::HashRef;

use super::field_times::FieldTimes;
use super::packed::{Building, MAX_PAIRS, Packed};
use super::{Collection, Env, Kind, PackedLimits, variant};
use crate::effect::DecodeError;
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
    /// Fields with their values.
    Packed(Packed),
    /// What is not that, in a box: there is room for a pointer.
    Boxed(Box<Form>),
}

/// The forms of a hash that are not packed.
#[derive(Clone, Debug)]
pub enum Form {
    /// A table of fields.
    Table(Records<Field>),
    /// Fields of which some expire.
    Timed(Box<Timed>),
}

/// A hash with fields that expire.
#[derive(Clone, Debug)]
pub struct Timed {
    /// All fields, in one of the other forms.
    fields: HashValue,
    times: FieldTimes,
    /// Fields that expire at this time or before are not shown.
    hidden_ms: u64,
}

impl Timed {
    #[inline]
    fn hides_some(&self) -> bool {
        self.hidden_ms > 0 && self.times.next().is_some_and(|at| at <= self.hidden_ms)
    }

    fn hides(&self, field: &[u8]) -> bool {
        self.hides_some() && self.times.get(field).is_some_and(|at| at <= self.hidden_ms)
    }
}

/// The form of a hash, to change; [`HashRef`] is the same to look at.
enum ViewMut<'h> {
    Packed(&'h mut Packed),
    Table(&'h mut Records<Field>),
    Timed(&'h mut Timed),
}

impl Default for HashValue {
    fn default() -> Self {
        HashValue::Packed(Packed::default())
    }
}

impl HashValue {
    /// The fields as bytes, if that is all that the hash is: they may stand anywhere ([`super::packed::PackedRef`]).
    #[inline]
    pub fn packed_bytes(&self) -> Option<&[u8]> {
        match self {
            HashValue::Packed(pairs) => Some(pairs.as_bytes()),
            HashValue::Boxed(_) => None,
        }
    }

    /// The hash whose [`HashValue::packed_bytes`] these are.
    pub fn from_packed_bytes(bytes: &[u8]) -> HashValue {
        HashValue::Packed(Packed::from_bytes(bytes))
    }

    /// The hash, to look at.
    #[inline]
    pub fn view(&self) -> HashRef<'_> {
        match self {
            HashValue::Packed(pairs) => HashRef::Packed(pairs.view()),
            HashValue::Boxed(form) => match &**form {
                Form::Table(fields) => HashRef::Table(fields),
                Form::Timed(timed) => HashRef::Timed(timed),
            },
        }
    }

    #[inline]
    fn view_mut(&mut self) -> ViewMut<'_> {
        match self {
            HashValue::Packed(pairs) => ViewMut::Packed(pairs),
            HashValue::Boxed(form) => match &mut **form {
                Form::Table(fields) => ViewMut::Table(fields),
                Form::Timed(timed) => ViewMut::Timed(timed),
            },
        }
    }

    /// See [`HashRef::get`].
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.view().get(field)
    }

    /// See [`HashRef::expiry`].
    pub fn expiry(&self, field: &[u8]) -> Option<u64> {
        self.view().expiry(field)
    }

    /// See [`HashRef::next_expiry`].
    #[inline]
    pub fn next_expiry(&self) -> Option<u64> {
        self.view().next_expiry()
    }

    /// Sets a field, which does not expire then; true when it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &PackedLimits, hasher: KeyHasher) -> bool {
        let new = self.set_value(field, value, limits, hasher);
        self.persist(field);
        new
    }

    /// Sets the value of a field, which expires as before; true when it is new.
    pub fn set_value(
        &mut self,
        field: &[u8],
        value: &[u8],
        limits: &PackedLimits,
        hasher: KeyHasher,
    ) -> bool {
        if let HashValue::Packed(pairs) = self {
            if field.len() <= limits.value_bytes && value.len() <= limits.value_bytes {
                if let Some(at) = pairs.find(field) {
                    pairs.set_value(&at, value);
                    return false;
                }
                if pairs.len() < limits.entries.min(MAX_PAIRS) {
                    pairs.push(field, value);
                    return true;
                }
            }
            self.unpack(hasher);
        }
        match self.view_mut() {
            ViewMut::Packed(_) => false,
            ViewMut::Timed(timed) => timed.fields.set_value(field, value, limits, hasher),
            ViewMut::Table(fields) => {
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
        let set = |hash: &mut HashValue, field, value| hash.set(field, value, limits, hasher);
        if let HashValue::Packed(pairs) = self
            && pairs.is_empty()
        {
            // A new hash: as many fields as will do are put together first.
            let mut made = Building::default();
            let mut other = None;
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                let fits = field.len() <= limits.value_bytes && value.len() <= limits.value_bytes;
                if !fits || made.pairs() >= limits.entries || !made.push(field, value) {
                    other = Some((field, value));
                    break;
                }
            }
            added = made.pairs();
            *pairs = made.finish();
            if let Some((field, value)) = other {
                added += usize::from(set(self, field, value));
            }
        }
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            added += usize::from(set(self, field, value));
        }
        added
    }

    /// Removes a field; true when it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let removed = match self.view_mut() {
            ViewMut::Packed(pairs) => match pairs.find(field) {
                Some(at) => {
                    pairs.remove(&at);
                    true
                }
                None => false,
            },
            ViewMut::Table(fields) => {
                fields.remove(fields.hasher().hash(field), field, Thrift::Easy, |_, _| ()).is_some()
            }
            ViewMut::Timed(timed) => timed.fields.remove(field),
        };
        if removed {
            self.persist(field);
        }
        removed
    }

    /// A field expires at `at_ms`, whenever it was to expire before; false when there is no such field.
    pub fn set_expiry(&mut self, field: &[u8], at_ms: u64, hasher: KeyHasher) -> bool {
        if self.get(field).is_none() {
            return false;
        }
        if !matches!(self.view(), HashRef::Timed(_)) {
            let (fields, times) = (std::mem::take(self), FieldTimes::new(hasher));
            *self = HashValue::Boxed(Box::new(Form::Timed(Box::new(Timed { fields, times, hidden_ms: 0 }))));
        }
        if let ViewMut::Timed(timed) = self.view_mut() {
            timed.times.set(field, at_ms);
        }
        true
    }

    /// A field expires no more; true when it would have.
    pub fn persist(&mut self, field: &[u8]) -> bool {
        let ViewMut::Timed(timed) = self.view_mut() else { return false };
        let had = timed.times.remove(field);
        self.untime();
        had
    }

    /// Removes fields whose time has come at `now_ms`, `max` at the most; answers them.
    pub fn remove_due(&mut self, now_ms: u64, max: usize) -> Vec<Box<[u8]>> {
        let ViewMut::Timed(timed) = self.view_mut() else { return Vec::new() };
        let mut removed = Vec::new();
        while removed.len() < max
            && let Some(field) = timed.times.pop_due(now_ms)
        {
            timed.fields.remove(&field);
            removed.push(field);
        }
        self.untime();
        removed
    }

    /// From now on fields whose time has come at `now_ms` are not shown.
    pub fn hide(&mut self, now_ms: u64) {
        if let ViewMut::Timed(timed) = self.view_mut() {
            timed.hidden_ms = now_ms;
        }
    }

    /// Where no field expires the fields are all that is kept.
    fn untime(&mut self) {
        if let ViewMut::Timed(timed) = self.view_mut()
            && timed.times.is_empty()
        {
            *self = std::mem::take(&mut timed.fields);
        }
    }

    fn unpack(&mut self, hasher: KeyHasher) {
        let HashValue::Packed(pairs) = self else { return };
        let packed = std::mem::take(pairs);
        let mut fields = Records::new(hasher);
        for (field, value) in packed.iter() {
            insert(&mut fields, hasher.hash(field), field, value);
        }
        *self = HashValue::Boxed(Box::new(Form::Table(fields)));
    }
}

impl Collection for HashValue {
    const KIND: Kind = Kind::Hash;

    variant!(Hash);

    #[inline]
    fn len(&self) -> usize {
        self.view().count()
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        match self {
            HashValue::Packed(pairs) => pairs.heap_bytes(),
            HashValue::Boxed(form) => {
                allocated(size_of::<Form>())
                    + match &**form {
                        Form::Table(fields) => fields.bytes(),
                        Form::Timed(timed) => {
                            allocated(size_of::<Timed>())
                                + timed.fields.heap_bytes()
                                + timed.times.heap_bytes()
                        }
                    }
            }
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
            HashChange::SetValue(mut items) => {
                while let (Some(field), Some(value)) = (items.next(), items.next()) {
                    self.set_value(field, value, &env.limits.hash, env.hasher);
                }
            }
            // The primary's field may be one that is hidden here, until its new time is known.
            HashChange::Expire(at_ms, fields) => {
                self.hide(0);
                fields.for_each(|field| {
                    self.set_expiry(field, at_ms, env.hasher);
                });
            }
            HashChange::Persist(fields) => fields.for_each(|field| {
                self.persist(field);
            }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
