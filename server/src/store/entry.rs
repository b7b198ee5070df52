//! One key with its value, its expiry and what eviction and memcached need to know of it.
//!
//! A string lives in one allocation with its key and header ([`Entry::Compact`]); everything else in an
//! [`Object`]. Nobody outside this file knows which: the accessors are the door behind which the layout may
//! change.
//!
//! ```text
//! compact: flags u8 | access u32 | version u32 | key length varint | [expiry u64] [memcached flags u32] [marks]
//!          | key | value
//! ```

use super::marks::{MAX_MARKS_BYTES, Marks};
use super::table::Keyed;
use super::value::{Collection, Value, ValueRef};

const HAS_EXPIRY: u8 = 1;
const HAS_MC_FLAGS: u8 = 2;
/// The string was changed in place (APPEND, SETRANGE …): OBJECT ENCODING says `raw` from then on.
const MODIFIED: u8 = 4;

/// The string is not taken for an integer, whatever it looks like (INCRBYFLOAT): OBJECT ENCODING alone shows it.
const TEXT: u8 = 8;

/// The entry was read since it was stored.
const FETCHED: u8 = 16;

const HAS_MARKS: u8 = 32;

/// What only OBJECT ENCODING shows.
const LOOKS: u8 = MODIFIED | TEXT;

const HEADER: usize = 9;

/// Strings longer than this live in an [`Object`], so that APPEND to them is amortized.
pub const COMPACT_VALUE_MAX: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub enum Entry {
    /// A short string with its key, in one allocation.
    Compact(Box<[u8]>),
    /// Everything else.
    Object(Box<Object>),
}

/// A key whose value does not fit the compact form.
#[derive(Debug)]
pub struct Object {
    key: Box<[u8]>,
    expire_ms: Option<u64>,
    mc_flags: u32,
    access: u32,
    version: u32,
    modified: bool,
    fetched: bool,
    marks: Option<Box<Marks>>,
    value: Value,
}

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

fn varint_len(n: usize) -> usize {
    match n {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

fn put_varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

#[inline]
fn read_varint(bytes: &[u8]) -> (usize, usize) {
    let mut n = 0usize;
    let mut used = 0;
    for (i, &b) in bytes.iter().take(5).enumerate() {
        n |= ((b & 0x7f) as usize) << (7 * i);
        used = i + 1;
        if b & 0x80 == 0 {
            break;
        }
    }
    (n, used)
}

/// Where the parts of a compact entry are.
struct Layout {
    options: usize,
    marks: usize,
    key: usize,
    value: usize,
}

#[inline]
fn layout(bytes: &[u8]) -> Layout {
    let (key_len, used) = read_varint(&bytes[HEADER..]);
    let options = HEADER + used;
    let flags = bytes[0];
    let marks = options + usize::from(flags & HAS_EXPIRY) * 8 + usize::from((flags & HAS_MC_FLAGS) >> 1) * 4;
    let key = if flags & HAS_MARKS == 0 { marks } else { marks + Marks::encoded_len(bytes[marks]) };
    Layout { options, marks, key, value: key + key_len }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut b = [0; 4];
    b.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(b)
}

/// The flags of a compact entry that say which options it has.
#[inline]
fn options_of(meta: &Meta) -> u8 {
    let expiry = if meta.expire_ms.is_some() { HAS_EXPIRY } else { 0 };
    let flags = if meta.mc_flags != 0 { HAS_MC_FLAGS } else { 0 };
    let fetched = if meta.marks.is_fetched() { FETCHED } else { 0 };
    expiry | flags | fetched | if meta.marks.is_plain() { 0 } else { HAS_MARKS }
}

fn compact(key: &[u8], value: &[u8], meta: &Meta, looks: u8) -> Box<[u8]> {
    let options = usize::from(meta.expire_ms.is_some()) * 8 + usize::from(meta.mc_flags != 0) * 4;
    let marks = if meta.marks.is_plain() { 0 } else { MAX_MARKS_BYTES };
    let mut out =
        Vec::with_capacity(HEADER + varint_len(key.len()) + options + marks + key.len() + value.len());
    out.push(options_of(meta) | looks);
    out.extend_from_slice(&meta.access.to_le_bytes());
    out.extend_from_slice(&meta.version.to_le_bytes());
    put_varint(&mut out, key.len());
    if let Some(ms) = meta.expire_ms {
        out.extend_from_slice(&ms.to_le_bytes());
    }
    if meta.mc_flags != 0 {
        out.extend_from_slice(&meta.mc_flags.to_le_bytes());
    }
    if !meta.marks.is_plain() {
        meta.marks.encode(&mut out);
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out.into_boxed_slice()
}

impl Keyed for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Entry::Compact(bytes) => {
                let at = layout(bytes);
                &bytes[at.key..at.value]
            }
            Entry::Object(object) => &object.key,
        }
    }
}

impl Entry {
    /// A string.
    pub fn string(key: &[u8], value: &[u8], meta: &Meta) -> Entry {
        if value.len() <= COMPACT_VALUE_MAX {
            return Entry::Compact(compact(key, value, meta, 0));
        }
        Entry::object(key, Value::Bytes(value.to_vec()), meta)
    }

    /// A value of any type.
    pub fn of(key: &[u8], value: Value, meta: &Meta) -> Entry {
        match value {
            Value::Bytes(bytes) if bytes.len() <= COMPACT_VALUE_MAX => Entry::string(key, &bytes, meta),
            value => Entry::object(key, value, meta),
        }
    }

    /// A value outside the compact form.
    pub fn object(key: &[u8], value: Value, meta: &Meta) -> Entry {
        Entry::Object(Box::new(Object {
            key: key.into(),
            expire_ms: meta.expire_ms,
            mc_flags: meta.mc_flags,
            access: meta.access,
            version: meta.version,
            modified: false,
            fetched: meta.marks.is_fetched(),
            marks: boxed(meta.marks),
            value,
        }))
    }

    /// The first bytes that a look at the entry reads, for a prefetch.
    #[inline]
    pub fn first_bytes(&self) -> &[u8] {
        match self {
            Entry::Compact(bytes) => bytes,
            Entry::Object(object) => &object.key,
        }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        match self {
            Entry::Compact(bytes) => ValueRef::String(&bytes[layout(bytes).value..]),
            Entry::Object(object) => object.value.view(),
        }
    }

    /// The string's bytes, if it is a string.
    #[inline]
    pub fn as_string(&self) -> Option<&[u8]> {
        match self.value() {
            ValueRef::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The collection, if it is one of this type.
    #[inline]
    pub fn as_collection<C: Collection>(&self) -> Option<&C> {
        C::of(self.value())
    }

    /// The collection to change, if it is one of this type.
    pub fn as_collection_mut<C: Collection>(&mut self) -> Option<&mut C> {
        match self {
            Entry::Object(object) => C::of_mut(&mut object.value),
            Entry::Compact(_) => None,
        }
    }

    /// Replaces whatever the value was by a string; the rest of the entry stays.
    pub fn set_string(&mut self, value: &[u8]) {
        if let Entry::Compact(bytes) = self {
            let at = layout(bytes).value;
            if bytes.len() - at == value.len() && bytes[0] & HAS_MARKS == 0 {
                bytes[at..].copy_from_slice(value);
                bytes[0] &= !(LOOKS | FETCHED);
                return;
            }
        }
        let meta = Meta { marks: Marks::default(), ..self.meta() };
        *self = Entry::string(self.key(), value, &meta);
    }

    /// Writes a string of the same length over this one, with its meta data; false (and nothing done) when the
    /// entry has another shape: another length, or an expiry or flags where the new one has none.
    #[inline]
    pub fn overwrite(&mut self, value: &[u8], meta: &Meta) -> bool {
        let Entry::Compact(bytes) = self else { return false };
        let options = options_of(meta);
        let at = layout(bytes);
        const SHAPE: u8 = HAS_EXPIRY | HAS_MC_FLAGS | HAS_MARKS;
        let same_shape = bytes[0] & SHAPE == options & SHAPE && options & HAS_MARKS == 0;
        if !same_shape || bytes.len() - at.value != value.len() {
            return false;
        }
        bytes[0] = options;
        bytes[1..5].copy_from_slice(&meta.access.to_le_bytes());
        bytes[5..9].copy_from_slice(&meta.version.to_le_bytes());
        let mut option = at.options;
        if let Some(ms) = meta.expire_ms {
            bytes[option..option + 8].copy_from_slice(&ms.to_le_bytes());
            option += 8;
        }
        if meta.mc_flags != 0 {
            bytes[option..option + 4].copy_from_slice(&meta.mc_flags.to_le_bytes());
        }
        bytes[at.value..].copy_from_slice(value);
        true
    }

    /// Changes the bytes of a string in place, growing or shrinking it as `change` does. False when the
    /// value is not a string.
    pub fn modify_string(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.clear_marks();
        match self {
            Entry::Object(object) => match &mut object.value {
                Value::Bytes(bytes) => {
                    change(bytes);
                    object.modified = true;
                    true
                }
                _ => false,
            },
            Entry::Compact(bytes) => {
                let mut value = bytes[layout(bytes).value..].to_vec();
                change(&mut value);
                let meta = self.meta();
                *self = if value.len() <= COMPACT_VALUE_MAX {
                    Entry::Compact(compact(self.key(), &value, &meta, MODIFIED))
                } else {
                    Entry::object(self.key(), Value::Bytes(value), &meta)
                };
                if let Entry::Object(object) = self {
                    object.modified = true;
                }
                true
            }
        }
    }

    /// True when a string was changed in place since it was set.
    pub fn is_modified(&self) -> bool {
        match self {
            Entry::Compact(bytes) => bytes[0] & MODIFIED != 0,
            Entry::Object(object) => object.modified,
        }
    }

    /// The bytes of a string, to change in place without changing their number. `None` when the value is not a
    /// string.
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.clear_marks();
        match self {
            Entry::Object(object) => match &mut object.value {
                Value::Bytes(bytes) => {
                    object.modified = true;
                    Some(bytes)
                }
                _ => None,
            },
            Entry::Compact(bytes) => {
                bytes[0] |= MODIFIED;
                let at = layout(bytes).value;
                Some(&mut bytes[at..])
            }
        }
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

    /// A copy of the value under another key.
    pub fn copy_as(&self, key: &[u8], meta: &Meta) -> Entry {
        match self {
            Entry::Compact(bytes) => {
                let value = self.as_string().unwrap_or_default();
                Entry::Compact(compact(key, value, meta, bytes[0] & LOOKS))
            }
            Entry::Object(object) => {
                let mut copy = Entry::object(key, object.value.clone(), meta);
                if let Entry::Object(copy) = &mut copy {
                    copy.modified = object.modified;
                }
                copy
            }
        }
    }

    /// The same value under another key.
    pub fn rename(self, key: &[u8], meta: &Meta) -> Entry {
        match self {
            Entry::Compact(_) => self.copy_as(key, meta),
            Entry::Object(object) => {
                let modified = object.modified;
                let mut renamed = Entry::object(key, object.value, meta);
                if let Entry::Object(renamed) = &mut renamed {
                    renamed.modified = modified;
                }
                renamed
            }
        }
    }

    /// OBJECT ENCODING says `raw`, as of a string that was changed in place.
    pub fn mark_modified(&mut self) {
        match self {
            Entry::Compact(bytes) => bytes[0] |= MODIFIED,
            Entry::Object(object) => object.modified = true,
        }
    }

    /// OBJECT ENCODING does not say `int` of this string.
    pub fn mark_text(&mut self) {
        if let Entry::Compact(bytes) = self {
            bytes[0] |= TEXT;
        }
    }

    /// Whether a string is no integer, whatever it looks like.
    pub fn is_text(&self) -> bool {
        matches!(self, Entry::Compact(bytes) if bytes[0] & TEXT != 0)
    }

    /// Everything beside key and value.
    pub fn meta(&self) -> Meta {
        Meta {
            expire_ms: self.expire_ms(),
            mc_flags: self.mc_flags(),
            version: self.version(),
            access: self.access(),
            marks: self.marks(),
        }
    }

    /// What leases and memcached's meta commands know of it.
    pub fn marks(&self) -> Marks {
        match self {
            Entry::Compact(bytes) => {
                let kept = if bytes[0] & HAS_MARKS == 0 {
                    Marks::default()
                } else {
                    Marks::decode(&bytes[layout(bytes).marks..]).map_or(Marks::default(), |(marks, _)| marks)
                };
                kept.with_fetched(bytes[0] & FETCHED != 0)
            }
            Entry::Object(object) => {
                object.marks.as_deref().copied().unwrap_or_default().with_fetched(object.fetched)
            }
        }
    }

    /// Gives the entry other marks.
    pub fn set_marks(&mut self, marks: Marks) {
        if self.marks() == marks {
            return;
        }
        match self {
            Entry::Object(object) => {
                object.fetched = marks.is_fetched();
                object.marks = boxed(marks);
            }
            Entry::Compact(bytes) => {
                let looks = bytes[0] & LOOKS;
                let meta = Meta { marks, ..self.meta() };
                let value = self.as_string().unwrap_or_default();
                *self = Entry::Compact(compact(self.key(), value, &meta, looks));
            }
        }
    }

    /// A changed value has none.
    fn clear_marks(&mut self) {
        match self {
            Entry::Compact(bytes) if bytes[0] & HAS_MARKS == 0 => bytes[0] &= !FETCHED,
            _ => self.set_marks(Marks::default()),
        }
    }

    /// Notes that the entry was read.
    #[inline]
    pub fn set_fetched(&mut self) {
        match self {
            Entry::Compact(bytes) => {
                if bytes[0] & FETCHED == 0 {
                    bytes[0] |= FETCHED;
                }
            }
            Entry::Object(object) => object.fetched = true,
        }
    }

    /// memcached's CAS value: the version, unless a client gave another.
    #[inline]
    pub fn cas(&self) -> u64 {
        let marks = match self {
            Entry::Compact(bytes) if bytes[0] & HAS_MARKS == 0 => None,
            Entry::Object(object) if object.marks.is_none() => None,
            _ => self.marks().cas(),
        };
        marks.unwrap_or_else(|| u64::from(self.version()))
    }

    /// Whether it is marked in any way but as read.
    #[inline]
    pub fn is_marked(&self) -> bool {
        match self {
            Entry::Compact(bytes) => bytes[0] & HAS_MARKS != 0,
            Entry::Object(object) => object.marks.is_some(),
        }
    }

    /// Absolute expiry in Unix milliseconds.
    #[inline]
    pub fn expire_ms(&self) -> Option<u64> {
        match self {
            Entry::Compact(bytes) => {
                if bytes[0] & HAS_EXPIRY == 0 {
                    return None;
                }
                let at = layout(bytes).options;
                let mut b = [0; 8];
                b.copy_from_slice(&bytes[at..at + 8]);
                Some(u64::from_le_bytes(b))
            }
            Entry::Object(object) => object.expire_ms,
        }
    }

    /// Sets or clears the expiry.
    pub fn set_expire_ms(&mut self, expire_ms: Option<u64>) {
        match self {
            Entry::Object(object) => object.expire_ms = expire_ms,
            Entry::Compact(bytes) => {
                let at = layout(bytes);
                match expire_ms {
                    Some(ms) if bytes[0] & HAS_EXPIRY != 0 => {
                        bytes[at.options..at.options + 8].copy_from_slice(&ms.to_le_bytes());
                    }
                    None if bytes[0] & HAS_EXPIRY == 0 => {}
                    _ => {
                        let looks = bytes[0] & LOOKS;
                        let meta = Meta { expire_ms, ..self.meta() };
                        let value = self.as_string().unwrap_or_default();
                        *self = Entry::Compact(compact(self.key(), value, &meta, looks));
                    }
                }
            }
        }
    }

    /// memcached's client flags.
    pub fn mc_flags(&self) -> u32 {
        match self {
            Entry::Compact(bytes) if bytes[0] & HAS_MC_FLAGS != 0 => {
                let at = layout(bytes).options + usize::from(bytes[0] & HAS_EXPIRY) * 8;
                u32_at(bytes, at)
            }
            Entry::Compact(_) => 0,
            Entry::Object(object) => object.mc_flags,
        }
    }

    /// Sets memcached's client flags.
    pub fn set_mc_flags(&mut self, mc_flags: u32) {
        if self.mc_flags() == mc_flags {
            return;
        }
        match self {
            Entry::Object(object) => object.mc_flags = mc_flags,
            Entry::Compact(bytes) => {
                let looks = bytes[0] & LOOKS;
                let meta = Meta { mc_flags, ..self.meta() };
                let value = self.as_string().unwrap_or_default();
                *self = Entry::Compact(compact(self.key(), value, &meta, looks));
            }
        }
    }

    /// The entry's version: memcached's CAS value.
    pub fn version(&self) -> u32 {
        match self {
            Entry::Compact(bytes) => u32_at(bytes, 5),
            Entry::Object(object) => object.version,
        }
    }

    /// Gives the entry a new version; a CAS value that a client gave goes with the old one.
    pub fn set_version(&mut self, version: u32) {
        if self.is_marked() && self.version() != version {
            let marks = self.marks();
            if marks.cas().is_some() {
                self.set_marks(marks.with_cas(None));
            }
        }
        match self {
            Entry::Compact(bytes) => bytes[5..9].copy_from_slice(&version.to_le_bytes()),
            Entry::Object(object) => object.version = version,
        }
    }

    /// Eviction's view of the last uses.
    pub fn access(&self) -> u32 {
        match self {
            Entry::Compact(bytes) => u32_at(bytes, 1),
            Entry::Object(object) => object.access,
        }
    }

    /// Notes a use.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        match self {
            Entry::Compact(bytes) => bytes[1..5].copy_from_slice(&access.to_le_bytes()),
            Entry::Object(object) => object.access = access,
        }
    }

    /// Bytes this entry owns on the heap, without its place in the table.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Entry::Compact(bytes) => allocated(bytes.len()),
            Entry::Object(object) => {
                let marks = if object.marks.is_some() { allocated(size_of::<Marks>()) } else { 0 };
                allocated(size_of::<Object>())
                    + allocated(object.key.len())
                    + marks
                    + object.value.heap_bytes()
            }
        }
    }
}

fn boxed(marks: Marks) -> Option<Box<Marks>> {
    (!marks.is_plain()).then(|| Box::new(marks))
}

/// What the allocator (jemalloc's size classes: four steps for each doubling) takes for `bytes`.
pub fn allocated(bytes: usize) -> usize {
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
    use super::*;

    #[test]
    fn is_two_words() {
        assert_eq!(size_of::<Entry>(), 16);
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
            let mut e = Entry::string(b"key", &value, &Meta { version: 9, access: 3, ..Meta::default() });
            e.set_expire_ms(Some(77));
            e.set_mc_flags(5);
            assert_eq!((e.expire_ms(), e.mc_flags(), e.version(), e.access()), (Some(77), 5, 9, 3));
            assert_eq!((e.key(), e.as_string()), (&b"key"[..], Some(&value[..])));
            e.set_expire_ms(None);
            assert_eq!((e.expire_ms(), e.mc_flags()), (None, 5));
            e.set_string(b"other");
            assert_eq!((e.as_string(), e.mc_flags(), e.is_modified()), (Some(&b"other"[..]), 5, false));
            assert!(e.modify_string(|v| v.extend_from_slice(&[1; 2000])));
            assert_eq!((e.as_string().map(<[u8]>::len), e.is_modified()), (Some(2005), true));
        }
    }

    #[test]
    fn a_string_of_the_same_shape_is_written_over() {
        let plain = Meta { version: 1, access: 2, ..Meta::default() };
        let full = Meta { expire_ms: Some(7), mc_flags: 9, version: 3, access: 4, ..plain };
        for (old, new) in [(plain, plain), (full, Meta { expire_ms: Some(8), mc_flags: 1, ..full })] {
            let mut e = Entry::string(b"key", b"old", &old);
            assert!(!e.overwrite(b"longer", &new));
            assert!(e.overwrite(b"new", &new));
            assert_eq!((e.as_string(), e.key(), e.meta()), (Some(&b"new"[..]), &b"key"[..], new));
        }
        let mut e = Entry::string(b"key", b"old", &plain);
        assert!(!e.overwrite(b"new", &full));
        assert!(!Entry::string(b"key", &[1; 5000], &plain).overwrite(&[1; 5000], &plain));
        assert_eq!(e.as_string(), Some(&b"old"[..]));
    }

    #[test]
    fn marks_stay_until_the_value_changes() {
        let marks = Marks::default().with_stale(true).with_fetched(true).with_cas(Some(u64::MAX));
        for value in [b"v".to_vec(), vec![7; 5000]] {
            let meta = Meta { version: 9, expire_ms: Some(5), mc_flags: 6, ..Meta::default() };
            let fresh = || Entry::string(b"key", &value, &meta);
            let mut e = fresh();
            e.set_fetched();
            assert!(e.marks().is_fetched() && !e.is_marked());
            assert_eq!(e.cas(), 9);
            e.set_marks(marks);
            assert_eq!((e.marks(), e.cas(), e.is_marked()), (marks, u64::MAX, true));
            assert_eq!((e.key(), e.as_string()), (&b"key"[..], Some(&value[..])));
            assert_eq!((e.expire_ms(), e.mc_flags(), e.version()), (Some(5), 6, 9));
            assert_eq!(Entry::string(b"key", &value, &e.meta()).meta(), e.meta());
            e.set_expire_ms(None);
            assert_eq!(e.marks(), marks);
            e.set_version(10);
            assert_eq!((e.marks(), e.cas()), (marks.with_cas(None), 10));
            for change in [
                (|e: &mut Entry| e.set_string(b"w")) as fn(&mut Entry),
                |e| assert!(e.modify_string(|v| v.push(1))),
                |e| assert!(e.patch(0, b"x").is_some()),
            ] {
                let mut e = fresh();
                e.set_marks(marks);
                change(&mut e);
                assert_eq!(e.marks(), Marks::default());
            }
            let mut e = fresh();
            e.set_marks(marks);
            if e.overwrite(&value, &meta) {
                panic!("written over");
            }
        }
    }

    #[test]
    fn long_keys_keep_their_length() {
        for len in [0, 127, 128, 20_000, 3_000_000] {
            let key = vec![b'k'; len];
            let e = Entry::string(&key, b"value", &Meta::default());
            assert_eq!(e.key(), &key[..]);
            assert_eq!(e.as_string(), Some(&b"value"[..]));
        }
    }
}
