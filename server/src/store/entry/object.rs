//! An entry whose value changes in place, wherever it stands.

use super::{HAS_MARKS, Held, Weight, held, u32_at, unpacked};
use crate::store::records::Slab;
use crate::store::value::{Collection, PackedLimits, Value, packed};

/// An entry whose value is no string of its record, taken apart for a change of that value in place: where the record is
/// and what is in it is worked out once.
#[derive(Debug)]
pub struct ObjectMut<'a> {
    record: &'a mut [u8],
    object: Object<'a>,
    /// The version of an entry that is marked: the marks may go with the old one, which is not done in place.
    late_version: Option<u32>,
}

/// Where the value of an [`ObjectMut`] is.
#[derive(Debug)]
enum Object<'a> {
    Beside(&'a mut Value),
    /// A hash in the record, where its bytes begin at `at`; `copy` is what is changed where their length may change.
    Here {
        at: usize,
        copy: Option<Value>,
    },
}

impl<'a> ObjectMut<'a> {
    /// The entry of a record; `None` when its value is a string in the record.
    #[inline]
    pub(in crate::store) fn of(record: &'a mut [u8], values: &'a mut Slab<Value>) -> Option<ObjectMut<'a>> {
        let object = match held(record) {
            Held::String(_) => return None,
            Held::Hash(bytes) => Object::Here { at: record.len() - bytes.len(), copy: None },
            Held::Beside(number) => Object::Beside(values.get_mut(number)?),
        };
        Some(ObjectMut { record, object, late_version: None })
    }

    /// The collection to change, if it is one of this type.
    #[inline]
    pub fn as_collection_mut<C: Collection>(&mut self) -> Option<&mut C> {
        match &mut self.object {
            Object::Beside(value) => C::of_mut(value),
            Object::Here { at, copy } => C::of_mut(copy.get_or_insert_with(|| unpacked(&self.record[*at..]))),
        }
    }

    /// Sets fields (`items` alternates fields and values) of a hash in the record, all of which are there already, with
    /// values of the same length. False: something else is to be done; nothing was, or a part of it.
    #[inline]
    pub fn overwrite_fields<'i>(
        &mut self,
        mut items: impl Iterator<Item = &'i [u8]>,
        limits: &PackedLimits,
    ) -> bool {
        let Object::Here { at, copy: None } = self.object else { return false };
        let fields = &mut self.record[at..];
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let fits = field.len() <= limits.value_bytes && value.len() <= limits.value_bytes;
            if !fits || !packed::overwrite(fields, field, value) {
                return false;
            }
        }
        true
    }

    /// Writes a hash back into the record that is as long as before; answers one for which
    /// [`super::EntryMut::put_beside`] is still to be called.
    #[inline]
    pub(in crate::store) fn finish(self) -> Option<Value> {
        let Object::Here { at, copy: Some(value) } = self.object else { return None };
        let here = &mut self.record[at..];
        if let Value::Hash(hash) = &value
            && let Some(bytes) = hash.packed_bytes()
            && bytes.len() == here.len()
        {
            here.copy_from_slice(bytes);
            return None;
        }
        Some(value)
    }

    /// See [`super::Entry::version`].
    #[inline]
    pub fn version(&self) -> u32 {
        self.late_version.unwrap_or_else(|| u32_at(self.record, 5))
    }

    /// See [`super::EntryMut::set_version`].
    #[inline]
    pub fn set_version(&mut self, version: u32) {
        if self.record[0] & HAS_MARKS == 0 {
            self.record[5..9].copy_from_slice(&version.to_le_bytes());
        } else {
            self.late_version = Some(version);
        }
    }

    /// The version that [`super::EntryMut::set_version`] is still to give to the entry.
    #[inline]
    pub(in crate::store) fn late_version(&self) -> Option<u32> {
        self.late_version
    }

    /// Notes a use: `access` makes the new view of it from the old one.
    #[inline]
    pub fn note_use(&mut self, access: impl FnOnce(u32) -> u32) {
        let new = access(u32_at(self.record, 1));
        self.record[1..5].copy_from_slice(&new.to_le_bytes());
    }

    /// What the value takes and when it changes by itself; of the expiry, which stays, nothing is said.
    #[inline]
    pub(in crate::store) fn weight(&self) -> Weight {
        match &self.object {
            Object::Beside(value) => {
                Weight { beside: value.heap_bytes(), expire_ms: None, field_ms: value.next_field_expiry() }
            }
            Object::Here { .. } => Weight::default(),
        }
    }
}
