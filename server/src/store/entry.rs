//! One key with its value, its expiry and what eviction and memcached need to know of it.
//!
//! Everything stands in one record of [`super::records`]. A value that is neither a short string nor a small hash is kept
//! beside, and the record holds its number. A small hash stands in the record as it was made, and goes beside with the
//! first change that its bytes have no room for: a record that grew again and again would leave a hole each time. Nobody
//! outside this file knows: the accessors are the door behind which the layout may change.
//!
//! ```text
//! flags u8 | access u32 | version u32 | key length varint | [expiry u48 or u64] [memcached flags u32] [marks]
//!          | key | value
//! ```

mod object;

use smallvec::SmallVec;

pub use object::ObjectMut;

use super::marks::Marks;
use super::records::{Record, RecordMut, Shape, Slab};
use super::value::packed::PackedRef;
use super::value::{Collection, HashRef, HashValue, Value, ValueRef, View};
use super::varint;

const HAS_EXPIRY: u8 = 1;
const HAS_MC_FLAGS: u8 = 2;
/// The string was changed in place (APPEND, SETRANGE …): OBJECT ENCODING says `raw` from then on.
const MODIFIED: u8 = 4;
/// The string is not taken for an integer, whatever it looks like (INCRBYFLOAT): OBJECT ENCODING alone shows it.
const TEXT: u8 = 8;
/// The entry was read since it was stored.
const FETCHED: u8 = 16;
const HAS_MARKS: u8 = 32;
/// The value is no string in this record: it is kept beside, and its number takes [`NUMBER`] bytes, or it is a small hash.
const OBJECT: u8 = 64;
/// The expiry takes eight bytes, not six.
const LATE: u8 = 128;

/// What only OBJECT ENCODING shows.
const LOOKS: u8 = MODIFIED | TEXT;

/// What decides where things stand.
const OPTIONS: u8 = HAS_EXPIRY | HAS_MC_FLAGS | HAS_MARKS | LATE;

const HEADER: usize = 9;

/// Bytes of the number of a value that is kept beside. A hash in a record is longer.
const NUMBER: usize = 4;

/// Strings longer than this are kept beside, so that APPEND to them is amortized.
pub const COMPACT_VALUE_MAX: usize = 768;

/// The last moment (Unix milliseconds) that six bytes can tell: the year 10889.
const SOON_MAX: u64 = (1 << 48) - 1;

/// Bytes for which changing a record needs no allocation.
const SCRATCH: usize = 256;

type Scratch = SmallVec<[u8; SCRATCH]>;

/// What an entry carries beside key and value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Absolute expiry, Unix milliseconds.
    pub expire_ms: Option<u64>,
    /// memcached's client flags.
    pub mc_flags: u32,
    /// memcached's CAS value of this entry; changes with each write.
    pub version: u32,
    /// Eviction's view: seconds (LRU) or counter and minutes (LFU).
    pub access: u32,
    /// What leases and memcached's meta commands know of it.
    pub marks: Marks,
}

/// Where the parts of a record are.
struct Layout {
    options: usize,
    marks: usize,
    key: usize,
    value: usize,
}

#[inline]
fn expiry_bytes(flags: u8) -> usize {
    if flags & HAS_EXPIRY == 0 {
        0
    } else if flags & LATE == 0 {
        6
    } else {
        8
    }
}

/// Bytes of expiry and memcached flags.
#[inline]
fn option_bytes(flags: u8) -> usize {
    expiry_bytes(flags) + usize::from(flags & HAS_MC_FLAGS != 0) * 4
}

/// Bytes of all that stands between the length of the key and the key.
#[inline]
fn options_len(meta: &Meta) -> usize {
    option_bytes(options_of(meta)) + if meta.marks.is_plain() { 0 } else { encoded(meta.marks).len() }
}

#[cold]
fn encoded(marks: Marks) -> Vec<u8> {
    let mut out = Vec::new();
    marks.encode(&mut out);
    out
}

#[inline]
fn layout(bytes: &[u8]) -> Layout {
    let (key_len, used) = varint::read(&bytes[HEADER..]);
    let options = HEADER + used;
    let flags = bytes[0];
    let marks = options + option_bytes(flags);
    let key = if flags & HAS_MARKS == 0 { marks } else { marks + Marks::encoded_len(bytes[marks]) };
    Layout { options, marks, key, value: key + key_len }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut b = [0; 4];
    b.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(b)
}

/// The flags of an entry that say which options it has.
#[inline]
fn options_of(meta: &Meta) -> u8 {
    let expiry = match meta.expire_ms {
        None => 0,
        Some(0..=SOON_MAX) => HAS_EXPIRY,
        Some(_) => HAS_EXPIRY | LATE,
    };
    let flags = if meta.mc_flags != 0 { HAS_MC_FLAGS } else { 0 };
    expiry | flags | if meta.marks.is_plain() { 0 } else { HAS_MARKS }
}

#[inline]
fn fetched(meta: &Meta) -> u8 {
    if meta.marks.is_fetched() { FETCHED } else { 0 }
}

fn put_options(out: &mut [u8], flags: u8, meta: &Meta) {
    let (expiry, mc_flags) = out.split_at_mut(expiry_bytes(flags));
    if let Some(ms) = meta.expire_ms {
        expiry.copy_from_slice(&ms.to_le_bytes()[..expiry.len()]);
    }
    let (mc_flags, marks) = mc_flags.split_at_mut(if meta.mc_flags != 0 { 4 } else { 0 });
    if meta.mc_flags != 0 {
        mc_flags.copy_from_slice(&meta.mc_flags.to_le_bytes());
    }
    if !meta.marks.is_plain() {
        marks.copy_from_slice(&encoded(meta.marks));
    }
}

/// Length of the record with such parts.
#[inline]
fn record_len(key: &[u8], value_len: usize, meta: &Meta) -> usize {
    HEADER + varint::len(key.len()) + options_len(meta) + key.len() + value_len
}

/// Writes a record but for its value, whose place in `out` it answers.
#[inline]
fn put_record<'o>(out: &'o mut [u8], key: &[u8], meta: &Meta, looks: u8) -> &'o mut [u8] {
    let options = options_of(meta);
    out[0] = options | looks | fetched(meta);
    out[1..5].copy_from_slice(&meta.access.to_le_bytes());
    out[5..9].copy_from_slice(&meta.version.to_le_bytes());
    let (key_len, out) = out[HEADER..].split_at_mut(varint::len(key.len()));
    varint::write(key_len, key.len());
    let (option, out) = out.split_at_mut(options_len(meta));
    put_options(option, options, meta);
    let (name, value) = out.split_at_mut(key.len());
    name.copy_from_slice(key);
    value
}

/// Entries as records.
#[derive(Debug)]
pub enum EntryShape {}

impl Shape for EntryShape {
    type Value = Value;

    #[inline]
    fn key(record: &[u8]) -> &[u8] {
        let at = layout(record);
        &record[at.key..at.value]
    }

    fn carry(record: &mut [u8], from: &mut Slab<Value>, to: &mut Slab<Value>) {
        if let Some(number) = object_number(record)
            && let Some(value) = from.take(number)
        {
            let at = layout(record).value;
            record[at..at + NUMBER].copy_from_slice(&to.put(value).to_le_bytes());
        }
    }
}

/// What a record says of its value.
enum Held<'r> {
    String(&'r [u8]),
    /// The bytes of a packed hash.
    Hash(&'r [u8]),
    /// The number of one that is kept beside.
    Beside(u32),
}

#[inline]
fn held(record: &[u8]) -> Held<'_> {
    let value = &record[layout(record).value..];
    if record[0] & OBJECT == 0 {
        return Held::String(value);
    }
    match value.try_into() {
        Ok(number) => Held::Beside(u32::from_le_bytes(number)),
        Err(_) => Held::Hash(value),
    }
}

#[inline]
fn object_number(record: &[u8]) -> Option<u32> {
    if record[0] & OBJECT == 0 {
        return None;
    }
    match held(record) {
        Held::Beside(number) => Some(number),
        Held::String(_) | Held::Hash(_) => None,
    }
}

/// A hash that was in a record.
fn unpacked(bytes: &[u8]) -> Value {
    HashValue::from_packed_bytes(bytes).into_value()
}

/// An entry that is in no table: its key is what it is put under.
#[derive(Clone, Debug)]
pub struct LooseEntry {
    meta: Meta,
    looks: u8,
    value: Value,
}

impl LooseEntry {
    /// A string.
    pub fn string(value: &[u8], meta: &Meta) -> LooseEntry {
        LooseEntry { meta: *meta, looks: 0, value: Value::Bytes(value.to_vec()) }
    }

    /// Any value.
    pub fn object(value: Value, meta: &Meta) -> LooseEntry {
        LooseEntry { meta: *meta, looks: 0, value }
    }

    /// Everything beside key and value.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// The same value with other meta data.
    pub fn with_meta(self, meta: &Meta) -> LooseEntry {
        LooseEntry { meta: *meta, ..self }
    }

    /// Changes a string while it is in no table, as [`EntryMut::patch`] does; answers its length.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let Some(value) = self.value.as_bytes_mut() else { return 0 };
        let end = offset + bytes.len();
        value.resize(end.max(value.len()), 0);
        value[offset..end].copy_from_slice(bytes);
        self.looks |= MODIFIED;
        value.len()
    }

    /// Bytes of the value outside its record.
    fn beside(&self) -> usize {
        if self.inline().is_some() { 0 } else { self.value.heap_bytes() }
    }

    /// What stands in the record, if the value does.
    fn inline(&self) -> Option<&[u8]> {
        match &self.value {
            Value::Bytes(bytes) => Some(&bytes[..]).filter(|bytes| bytes.len() <= COMPACT_VALUE_MAX),
            Value::Hash(hash) => {
                hash.packed_bytes().filter(|bytes| (NUMBER + 1..=COMPACT_VALUE_MAX).contains(&bytes.len()))
            }
            _ => None,
        }
    }

    /// What its record takes, once it is written under `key`.
    pub(super) fn weight(&self) -> Weight {
        let field_ms = self.value.next_field_expiry();
        Weight { beside: self.beside(), expire_ms: self.meta.expire_ms, field_ms }
    }

    /// Length of its record under `key`.
    pub(super) fn record_len(&self, key: &[u8]) -> usize {
        record_len(key, self.inline().map_or(NUMBER, <[u8]>::len), &self.meta)
    }

    /// Writes its record.
    pub(super) fn write(self, key: &[u8], out: &mut [u8], values: &mut Slab<Value>) {
        if let Some(bytes) = self.inline() {
            let kind = if matches!(self.value, Value::Bytes(_)) { 0 } else { OBJECT };
            put_record(out, key, &self.meta, self.looks | kind).copy_from_slice(bytes);
        } else {
            let value = put_record(out, key, &self.meta, self.looks | OBJECT);
            value.copy_from_slice(&values.put(self.value).to_le_bytes());
        }
    }
}

/// What the account needs to know of an entry beside its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Heap bytes of a value that is not in the record.
    pub beside: usize,
    pub expire_ms: Option<u64>,
    /// When the next field of a hash expires.
    pub field_ms: Option<u64>,
}

/// What is left of an entry that was taken out or replaced: a value to drop, unless it was in the record.
#[derive(Debug)]
pub struct Removed {
    value: Option<Value>,
}

impl Removed {
    /// Bytes that dropping it gives back.
    pub fn heap_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, Value::heap_bytes)
    }

    /// Nodes of a stream; 1 for anything else, which is big when it has many parts.
    pub fn pieces(&self) -> usize {
        match &self.value {
            Some(Value::Stream(stream)) => stream.log.node_count(),
            _ => 1,
        }
    }
}

/// Writes the record of a short string.
#[inline]
pub(super) fn write_string(out: &mut [u8], key: &[u8], value: &[u8], meta: &Meta) {
    put_record(out, key, meta, 0).copy_from_slice(value);
}

/// Length of the record of a short string.
#[inline]
pub(super) fn string_len(key: &[u8], value: &[u8], meta: &Meta) -> usize {
    record_len(key, value.len(), meta)
}

/// See the module's text.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    record: &'a [u8],
    values: &'a Slab<Value>,
}

impl<'a> From<Record<'a, Value>> for Entry<'a> {
    #[inline]
    fn from(record: Record<'a, Value>) -> Self {
        Entry { record: record.bytes, values: record.values }
    }
}

impl<'a> Entry<'a> {
    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        EntryShape::key(self.record)
    }

    /// The value kept beside.
    #[inline]
    fn object(self) -> Option<&'a Value> {
        self.values.get(object_number(self.record)?)
    }

    /// When the next field of a hash expires, Unix milliseconds.
    #[inline]
    pub fn field_ms(self) -> Option<u64> {
        self.object()?.next_field_expiry()
    }

    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        match held(self.record) {
            Held::String(bytes) => ValueRef::String(bytes),
            Held::Hash(bytes) => ValueRef::Hash(HashRef::Packed(PackedRef::new(bytes))),
            // A number that stands for nothing is in no record.
            Held::Beside(number) => self.values.get(number).map_or(ValueRef::String(&[]), Value::view),
        }
    }

    /// The string's bytes, if it is a string.
    #[inline]
    pub fn as_string(self) -> Option<&'a [u8]> {
        match self.value() {
            ValueRef::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The collection, if it is one of this type.
    #[inline]
    pub fn as_collection<V: View<'a>>(self) -> Option<V> {
        V::of(self.value())
    }

    /// True when a string was changed in place since it was set.
    pub fn is_modified(self) -> bool {
        self.record[0] & MODIFIED != 0
    }

    /// Whether a string is no integer, whatever it looks like.
    pub fn is_text(self) -> bool {
        self.record[0] & TEXT != 0
    }

    /// Everything beside key and value.
    pub fn meta(self) -> Meta {
        Meta {
            expire_ms: self.expire_ms(),
            mc_flags: self.mc_flags(),
            version: self.version(),
            access: self.access(),
            marks: self.marks(),
        }
    }

    /// What leases and memcached's meta commands know of it.
    #[inline]
    pub fn marks(self) -> Marks {
        let flags = self.record[0];
        let kept = if flags & HAS_MARKS == 0 { Marks::default() } else { self.kept_marks() };
        kept.with_fetched(flags & FETCHED != 0)
    }

    #[cold]
    fn kept_marks(self) -> Marks {
        let bytes = &self.record[layout(self.record).marks..];
        Marks::decode(bytes).map_or(Marks::default(), |(marks, _)| marks)
    }

    /// Whether it is marked in any way but as read.
    #[inline]
    pub fn is_marked(self) -> bool {
        self.record[0] & HAS_MARKS != 0
    }

    /// memcached's CAS value: the version, unless a client gave another.
    #[inline]
    pub fn cas(self) -> u64 {
        let given = if self.is_marked() { self.marks().cas() } else { None };
        given.unwrap_or_else(|| u64::from(self.version()))
    }

    /// Absolute expiry in Unix milliseconds.
    #[inline]
    pub fn expire_ms(self) -> Option<u64> {
        let bytes = self.record;
        if bytes[0] & HAS_EXPIRY == 0 {
            return None;
        }
        let (at, len) = (layout(bytes).options, expiry_bytes(bytes[0]));
        let mut b = [0; 8];
        b[..len].copy_from_slice(&bytes[at..at + len]);
        Some(u64::from_le_bytes(b))
    }

    /// memcached's client flags.
    pub fn mc_flags(self) -> u32 {
        if self.record[0] & HAS_MC_FLAGS == 0 {
            return 0;
        }
        u32_at(self.record, layout(self.record).options + expiry_bytes(self.record[0]))
    }

    /// The entry's version: memcached's CAS value.
    #[inline]
    pub fn version(self) -> u32 {
        u32_at(self.record, 5)
    }

    /// Eviction's view of the last uses.
    #[inline]
    pub fn access(self) -> u32 {
        u32_at(self.record, 1)
    }

    /// Whether the value is in the buffer that it was received in.
    #[cfg(test)]
    pub fn is_adopted(self) -> bool {
        matches!(self.object(), Some(Value::Adopted(_)))
    }

    /// A copy of the value with other meta data.
    pub fn copy(self, meta: &Meta) -> LooseEntry {
        let value = match held(self.record) {
            Held::String(bytes) => Value::Bytes(bytes.to_vec()),
            Held::Hash(bytes) => unpacked(bytes),
            Held::Beside(number) => self.values.get(number).cloned().unwrap_or(Value::Bytes(Vec::new())),
        };
        LooseEntry { meta: *meta, looks: self.record[0] & LOOKS, value }
    }

    /// Bytes this entry takes, without its place in the table.
    pub fn heap_bytes(self) -> usize {
        varint::len(self.record.len()) + self.record.len() + self.object().map_or(0, Value::heap_bytes)
    }

    #[inline]
    pub(super) fn weight(self) -> Weight {
        let (beside, field_ms) =
            self.object().map_or((0, None), |value| (value.heap_bytes(), value.next_field_expiry()));
        Weight { beside, expire_ms: self.expire_ms(), field_ms }
    }
}

/// An entry to change.
#[derive(Debug)]
pub struct EntryMut<'a> {
    record: RecordMut<'a, Value>,
}

impl<'a> From<RecordMut<'a, Value>> for EntryMut<'a> {
    #[inline]
    fn from(record: RecordMut<'a, Value>) -> Self {
        EntryMut { record }
    }
}

impl EntryMut<'_> {
    /// The entry, to read.
    #[inline]
    pub fn get(&self) -> Entry<'_> {
        self.record.get().into()
    }

    /// See [`Entry::as_string`].
    pub fn as_string(&self) -> Option<&[u8]> {
        self.get().as_string()
    }

    /// See [`Entry::meta`].
    pub fn meta(&self) -> Meta {
        self.get().meta()
    }

    /// See [`Entry::marks`].
    pub fn marks(&self) -> Marks {
        self.get().marks()
    }

    /// See [`Entry::expire_ms`].
    pub fn expire_ms(&self) -> Option<u64> {
        self.get().expire_ms()
    }

    /// See [`Entry::access`].
    #[inline]
    pub fn access(&self) -> u32 {
        self.get().access()
    }

    /// See [`Entry::version`].
    pub fn version(&self) -> u32 {
        self.get().version()
    }

    #[inline]
    fn object_mut(&mut self) -> Option<&mut Value> {
        let number = object_number(self.record.get().bytes)?;
        self.record.values_mut().get_mut(number)
    }

    /// The collection to change, if it is one of this type.
    #[inline]
    pub fn as_collection_mut<C: Collection>(&mut self) -> Option<&mut C> {
        if let Held::Hash(bytes) = held(self.record.get().bytes) {
            let value = unpacked(bytes);
            self.put_beside(value);
        }
        C::of_mut(self.object_mut()?)
    }

    /// Puts the value beside the record that was in it.
    pub(super) fn put_beside(&mut self, value: Value) {
        let meta = self.meta();
        let old = self.record.get().bytes;
        let at = layout(old);
        let key = &old[at.key..at.value];
        let mut new = Scratch::from_elem(0, record_len(key, NUMBER, &meta));
        let number = put_record(&mut new, key, &meta, OBJECT);
        number.copy_from_slice(&self.record.values_mut().put(value).to_le_bytes());
        self.record.replace(&new);
    }

    /// Writes the record anew with other meta data; the value stays.
    fn set_meta(&mut self, meta: &Meta) {
        let old = self.record.get().bytes;
        let at = layout(old);
        let (key, value) = (&old[at.key..at.value], &old[at.value..]);
        let mut new = Scratch::from_elem(0, record_len(key, value.len(), meta));
        put_record(&mut new, key, meta, old[0] & (LOOKS | OBJECT)).copy_from_slice(value);
        self.record.replace(&new);
    }

    /// Puts a value in the place of the one there is; answers that.
    fn set_value(&mut self, value: &[u8], meta: &Meta, looks: u8) -> Removed {
        let removed = self.take_object();
        let old = self.record.get().bytes;
        let at = layout(old);
        let key = &old[at.key..at.value];
        let mut new: Scratch;
        if value.len() <= COMPACT_VALUE_MAX {
            new = Scratch::from_elem(0, record_len(key, value.len(), meta));
            put_record(&mut new, key, meta, looks).copy_from_slice(value);
        } else {
            new = Scratch::from_elem(0, record_len(key, NUMBER, meta));
            let number = put_record(&mut new, key, meta, looks | OBJECT);
            let beside = self.record.values_mut().put(Value::Bytes(value.to_vec()));
            number.copy_from_slice(&beside.to_le_bytes());
        }
        self.record.replace(&new);
        removed
    }

    /// The value kept beside, which the record does not refer to from here on.
    fn take_object(&mut self) -> Removed {
        let number = object_number(self.record.get().bytes);
        self.record.bytes_mut()[0] &= !OBJECT;
        Removed { value: number.and_then(|number| self.record.values_mut().take(number)) }
    }

    /// Writes a loose entry over this one.
    pub(super) fn put(&mut self, key: &[u8], entry: LooseEntry) -> Removed {
        let removed = self.take_object();
        let mut new = Scratch::from_elem(0, entry.record_len(key));
        entry.write(key, &mut new, self.record.values_mut());
        self.record.replace(&new);
        removed
    }

    /// Writes a string with its meta data over this one.
    pub(super) fn put_string(&mut self, value: &[u8], meta: &Meta) -> Removed {
        if self.overwrite(value, meta) { Removed { value: None } } else { self.set_value(value, meta, 0) }
    }

    /// Replaces whatever the value was by a string; the rest of the entry stays.
    pub fn set_string(&mut self, value: &[u8]) {
        let meta = Meta { marks: Marks::default(), ..self.get().meta() };
        self.put_string(value, &meta);
    }

    /// Writes a string of the same length over this one, with its meta data; false (and nothing done) when the
    /// entry has another shape: another length, or an expiry or flags where the new one has none.
    #[inline]
    fn overwrite(&mut self, value: &[u8], meta: &Meta) -> bool {
        let options = options_of(meta);
        let bytes = self.record.bytes_mut();
        let at = layout(bytes);
        let same_shape = bytes[0] & (OPTIONS | OBJECT) == options && options & HAS_MARKS == 0;
        if !same_shape || bytes.len() - at.value != value.len() {
            return false;
        }
        bytes[0] = options | fetched(meta);
        bytes[1..5].copy_from_slice(&meta.access.to_le_bytes());
        bytes[5..9].copy_from_slice(&meta.version.to_le_bytes());
        put_options(&mut bytes[at.options..at.key], options, meta);
        bytes[at.value..].copy_from_slice(value);
        true
    }

    /// Changes the bytes of a string in place, growing or shrinking it as `change` does. False when the
    /// value is not a string.
    pub fn modify_string(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.as_string().is_none() {
            return false;
        }
        self.clear_marks();
        match self.object_mut().map(Value::as_bytes_mut) {
            Some(Some(bytes)) => change(bytes),
            Some(None) => return false,
            None => {
                let mut value = self.as_string().unwrap_or_default().to_vec();
                change(&mut value);
                let meta = self.get().meta();
                self.set_value(&value, &meta, MODIFIED);
            }
        }
        self.mark_modified();
        true
    }

    /// The bytes of a string, to change in place without changing their number. `None` when the value is not a
    /// string.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.as_string()?;
        self.clear_marks();
        self.mark_modified();
        if object_number(self.record.get().bytes).is_some() {
            return self.object_mut()?.as_bytes_mut().map(Vec::as_mut_slice);
        }
        let bytes = self.record.bytes_mut();
        let at = layout(bytes).value;
        Some(&mut bytes[at..])
    }

    /// Writes `bytes` at `offset` of a string, which grows with zero bytes where needed; answers its length.
    /// `None` when the value is not a string.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Option<usize> {
        let len = self.as_string()?.len();
        let end = offset + bytes.len();
        if end <= len {
            self.bytes_mut()?[offset..end].copy_from_slice(bytes);
            return Some(len);
        }
        self.modify_string(|value| {
            value.resize(end, 0);
            value[offset..].copy_from_slice(bytes);
        });
        Some(end)
    }

    /// OBJECT ENCODING says `raw`, as of a string that was changed in place.
    pub fn mark_modified(&mut self) {
        self.record.bytes_mut()[0] |= MODIFIED;
    }

    /// OBJECT ENCODING does not say `int` of this string.
    pub fn mark_text(&mut self) {
        self.record.bytes_mut()[0] |= TEXT;
    }

    /// Sets or clears the expiry.
    pub fn set_expire_ms(&mut self, expire_ms: Option<u64>) {
        let meta = Meta { expire_ms, ..self.get().meta() };
        let options = options_of(&meta);
        let bytes = self.record.bytes_mut();
        if bytes[0] & OPTIONS != options {
            self.set_meta(&meta);
            return;
        }
        let at = layout(bytes);
        put_options(&mut bytes[at.options..at.key], options, &meta);
    }

    /// Sets memcached's client flags.
    pub fn set_mc_flags(&mut self, mc_flags: u32) {
        let meta = self.get().meta();
        if meta.mc_flags != mc_flags {
            self.set_meta(&Meta { mc_flags, ..meta });
        }
    }

    /// Gives the entry other marks.
    pub fn set_marks(&mut self, marks: Marks) {
        let meta = self.get().meta();
        if meta.marks == marks {
            return;
        }
        if meta.marks.is_plain() && marks.is_plain() {
            self.record.bytes_mut()[0] ^= FETCHED;
        } else {
            self.set_meta(&Meta { marks, ..meta });
        }
    }

    /// A changed value has none.
    fn clear_marks(&mut self) {
        let flags = &mut self.record.bytes_mut()[0];
        if *flags & HAS_MARKS == 0 {
            *flags &= !FETCHED;
        } else {
            self.set_marks(Marks::default());
        }
    }

    /// Notes that the entry was read.
    pub fn set_fetched(&mut self) {
        let flags = &mut self.record.bytes_mut()[0];
        if *flags & FETCHED == 0 {
            *flags |= FETCHED;
        }
    }

    /// Gives the entry a new version; a CAS value that a client gave goes with the old one.
    pub fn set_version(&mut self, version: u32) {
        let entry = self.get();
        if entry.is_marked() && entry.version() != version && entry.marks().cas().is_some() {
            let marks = entry.marks().with_cas(None);
            self.set_marks(marks);
        }
        self.record.bytes_mut()[5..9].copy_from_slice(&version.to_le_bytes());
    }

    /// Notes a use.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.record.bytes_mut()[1..5].copy_from_slice(&access.to_le_bytes());
    }

    #[inline]
    pub(super) fn weight(&self) -> Weight {
        self.get().weight()
    }
}

/// Notes in a record that the entry was read. Writes only what changes: the line may be in another core's cache.
#[inline]
pub(super) fn note_use(record: &mut [u8], access: impl FnOnce(u32) -> u32) {
    let old = u32_at(record, 1);
    let new = access(old);
    if new != old {
        record[1..5].copy_from_slice(&new.to_le_bytes());
    }
    if record[0] & FETCHED == 0 {
        record[0] |= FETCHED;
    }
}

/// Takes the value that a record refers to, as the record goes.
pub(super) fn remove(record: &[u8], values: &mut Slab<Value>) -> Removed {
    Removed { value: object_number(record).and_then(|number| values.take(number)) }
}

/// Makes the record that goes an entry in no table.
pub(super) fn take(record: &[u8], values: &mut Slab<Value>) -> LooseEntry {
    let meta = Entry { record, values }.meta();
    let value = match held(record) {
        Held::String(bytes) => Value::Bytes(bytes.to_vec()),
        Held::Hash(bytes) => unpacked(bytes),
        Held::Beside(number) => values.take(number).unwrap_or_else(|| Value::Bytes(Vec::new())),
    };
    LooseEntry { meta, looks: record[0] & LOOKS, value }
}

/// What the allocator (jemalloc's size classes: four steps for each doubling) takes for `bytes`.
pub const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => {
            let step = (1usize << (usize::BITS - 1 - (bytes - 1).leading_zeros())) / 4;
            bytes.next_multiple_of(step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::DEFAULT_SEED;
    use super::super::{Key, KeyHasher, Stripe};
    use super::*;

    /// A stripe with one key, and that key.
    fn stripe<'k>(key: &'k [u8], value: &[u8], meta: &Meta) -> (Stripe, Key<'k>) {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let key = Key { bytes: key, hash: hasher.hash(key), slot: 0 };
        let mut stripe = Stripe::new(hasher);
        stripe.set_string(0, &key, value, meta);
        (stripe, key)
    }

    #[test]
    fn allocation_classes() {
        for (ask, got) in [(1, 8), (9, 16), (100, 112), (128, 128), (129, 160), (257, 320), (1025, 1280)] {
            assert_eq!(allocated(ask), got, "{ask}");
        }
    }

    #[test]
    fn options_come_and_go_without_touching_the_rest() {
        for value in [b"v".to_vec(), vec![7; 5000]] {
            for expiry in [77, SOON_MAX, SOON_MAX + 1, u64::MAX] {
                let meta = Meta { version: 9, access: 3, ..Meta::default() };
                let (mut stripe, key) = stripe(b"key", &value, &meta);
                let seen = |e: &EntryMut<'_>| {
                    let meta = e.get().meta();
                    (meta.expire_ms, meta.mc_flags, meta.version, meta.access)
                };
                stripe.update(0, &key, |e| {
                    e.set_expire_ms(Some(expiry));
                    e.set_mc_flags(5);
                    assert_eq!(seen(e), (Some(expiry), 5, 9, 3));
                    assert_eq!((e.get().key(), e.as_string()), (&b"key"[..], Some(&value[..])));
                    e.set_expire_ms(None);
                    assert_eq!(seen(e), (None, 5, 9, 3));
                    e.set_string(b"other");
                    assert_eq!((e.as_string(), e.get().is_modified()), (Some(&b"other"[..]), false));
                    assert!(e.modify_string(|v| v.extend_from_slice(&[1; 2000])));
                    assert_eq!((e.as_string().map(<[u8]>::len), e.get().is_modified()), (Some(2005), true));
                    assert_eq!(seen(e), (None, 5, 9, 3));
                });
                assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount());
            }
        }
    }

    #[test]
    fn a_string_of_the_same_shape_is_written_over() {
        let plain = Meta { version: 1, access: 2, ..Meta::default() };
        let full = Meta { expire_ms: Some(7), mc_flags: 9, version: 3, access: 4, ..plain };
        for (old, new) in [(plain, plain), (full, Meta { expire_ms: Some(8), mc_flags: 1, ..full })] {
            let (mut stripe, key) = stripe(b"key", b"old", &old);
            stripe.update(0, &key, |e| {
                assert!(!e.overwrite(b"longer", &new));
                assert!(e.overwrite(b"new", &new));
                let e = e.get();
                assert_eq!((e.as_string(), e.key(), e.meta()), (Some(&b"new"[..]), &b"key"[..], new));
            });
        }
        let (mut short, key) = stripe(b"key", b"old", &plain);
        short.update(0, &key, |e| {
            assert!(!e.overwrite(b"new", &full));
            assert_eq!(e.as_string(), Some(&b"old"[..]));
        });
        let (mut long, key) = stripe(b"key", &[1; 5000], &plain);
        long.update(0, &key, |e| assert!(!e.overwrite(&[1; 5000], &plain)));
    }

    #[test]
    fn marks_stay_until_the_value_changes() {
        let marks = Marks::default().with_stale(true).with_fetched(true).with_cas(Some(u64::MAX));
        for value in [b"v".to_vec(), vec![7; 5000]] {
            let meta = Meta { version: 9, expire_ms: Some(5), mc_flags: 6, ..Meta::default() };
            let (mut one, key) = stripe(b"key", &value, &meta);
            one.update(0, &key, |e| {
                e.set_fetched();
                assert!(e.get().marks().is_fetched() && !e.get().is_marked());
                assert_eq!(e.get().cas(), 9);
                e.set_marks(marks);
                assert_eq!((e.get().marks(), e.get().cas(), e.get().is_marked()), (marks, u64::MAX, true));
                assert_eq!((e.get().key(), e.as_string()), (&b"key"[..], Some(&value[..])));
                assert_eq!(e.get().meta(), Meta { marks, ..meta });
                let copy = e.get().copy(&e.get().meta());
                assert_eq!(copy.meta(), e.get().meta());
                e.set_expire_ms(None);
                assert_eq!(e.get().marks(), marks);
                e.set_version(10);
                assert_eq!((e.get().marks(), e.get().cas()), (marks.with_cas(None), 10));
            });
            for change in [
                (|e| e.set_string(b"w")) as fn(&mut EntryMut<'_>),
                |e| assert!(e.modify_string(|v| v.push(1))),
                |e| assert!(e.patch(0, b"x").is_some()),
            ] {
                let (mut one, key) = stripe(b"key", &value, &meta);
                one.update(0, &key, |e| {
                    e.set_marks(marks);
                    change(e);
                    assert_eq!(e.get().marks(), Marks::default());
                });
            }
            let (mut one, key) = stripe(b"key", &value, &meta);
            one.update(0, &key, |e| {
                e.set_marks(marks);
                assert!(!e.overwrite(&value, &meta));
            });
        }
    }

    #[test]
    fn long_keys_keep_their_length() {
        for len in [0, 127, 128, 5000, 20_000, 3_000_000] {
            let name = vec![b'k'; len];
            let (mut stripe, key) = stripe(&name, b"value", &Meta::default());
            let e = stripe.peek(0, &key).expect("it was just put there");
            assert_eq!((e.key(), e.as_string()), (&name[..], Some(&b"value"[..])));
            assert_eq!((stripe.used_bytes(), 0), stripe.recount());
            assert!(stripe.remove(0, &key).is_some());
            assert_eq!(stripe.used_bytes(), 0);
        }
    }
}
