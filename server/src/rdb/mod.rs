//! Values in the form of Redis's RDB files: one serializer for full syncs, moves, DUMP and RESTORE.
//!
//! A value is its type byte and its body, as after the key in an RDB file. Each type has a file; what they are made of has
//! files too: lengths, strings and doubles (`source`), and the packed forms, which inside an RDB are strings. All of it is
//! read without trust: whatever the bytes are, the answer is a value or an error, and what is allocated is bounded by a
//! multiple of the input's length. The format is that of Redis's `rdb.h` and `rdb.c`, as far as its authors
//! and others have described it; what we write, any Redis from 7.0 on can read (a hash with fields that
//! expire: from 7.4 on).

pub mod crc64;
pub mod elements;
mod hash;
pub mod intset;
mod list;
pub mod listpack;
pub mod lzf;
pub mod payload;
mod set;
mod sorted_set;
mod source;
mod stream;
pub mod ziplist;
pub mod zipmap;

pub use elements::{Element, Elements};
pub use listpack::ListpackWriter;
pub use source::{Source, put_double, put_len, put_string};

use crate::effect::DecodeError;
use crate::store::{Collection, Env, Value, ValueRef};

/// Type bytes.
pub mod types {
    /// A string.
    pub const STRING: u8 = 0;
    /// A list, its elements one after another.
    pub const LIST: u8 = 1;
    /// A set, its members one after another.
    pub const SET: u8 = 2;
    /// A hash, its fields and values one after another.
    pub const HASH: u8 = 4;
    /// A sorted set: members with their scores as eight bytes.
    pub const SORTED_SET: u8 = 5;
    /// A hash as a [zipmap](super::zipmap); only read.
    pub const HASH_ZIPMAP: u8 = 9;
    /// A list as one [ziplist](super::ziplist); only read.
    pub const LIST_ZIPLIST: u8 = 10;
    /// A set as an [intset](super::intset).
    pub const SET_INTSET: u8 = 11;
    /// A sorted set as a ziplist of members and scores; only read.
    pub const SORTED_SET_ZIPLIST: u8 = 12;
    /// A hash as a ziplist of fields and values; only read.
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list as ziplists; only read.
    pub const LIST_ZIPLISTS: u8 = 14;
    /// A sorted set before Redis 4.0: members with their scores as text; only read.
    pub const SORTED_SET_TEXT: u8 = 3;
    /// A stream of Redis 5.0; only read.
    pub const STREAM_V1: u8 = 15;
    /// A hash as a [listpack](super::listpack) of fields and values.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set as a listpack of members and scores.
    pub const SORTED_SET_LISTPACK: u8 = 17;
    /// A list as nodes, each a listpack or one plain element.
    pub const LIST_NODES: u8 = 18;
    /// A stream of Redis 7.0.
    pub const STREAM_V2: u8 = 19;
    /// A set as a listpack, from Redis 7.2 on.
    pub const SET_LISTPACK: u8 = 20;
    /// A stream of Redis 7.2: nodes, then the groups.
    pub const STREAM: u8 = 21;
    /// A hash with fields that expire, from Redis 7.4 on.
    pub const HASH_TIMED: u8 = 24;
    /// The same as a listpack of fields, values and times; only read.
    pub const HASH_LISTPACK_TIMED: u8 = 25;
}

/// Appends a value with its type byte.
pub fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    write_form(value, false, out);
}

/// Appends a value with its type byte, in a form that Redis 7.0 can read; it has no place for some of a stream's facts.
pub fn write_readable(value: ValueRef<'_>, out: &mut Vec<u8>) {
    write_form(value, true, out);
}

fn write_form(value: ValueRef<'_>, readable: bool, out: &mut Vec<u8>) {
    match value {
        ValueRef::String(bytes) => {
            out.push(types::STRING);
            put_string(out, bytes);
        }
        ValueRef::Hash(value) => hash::write(value, out),
        ValueRef::List(value) => list::write(value, out),
        ValueRef::Set(value) => set::write(value, out),
        ValueRef::SortedSet(value) => sorted_set::write(value, out),
        ValueRef::Stream(value) => stream::write(value, readable, out),
    }
}

/// Reads a value with its type byte; all bytes must be used, and a collection that cannot stay empty must not be so.
pub fn read_value(bytes: &[u8], env: &Env) -> Result<Value, DecodeError> {
    let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    let mut source = Source::new(rest);
    let source = &mut source;
    let value = match kind {
        types::STRING => Value::Bytes(source.string()?.into_owned()),
        types::HASH => hash::read(source, env)?,
        types::HASH_ZIPMAP => hash::read_zipmap(source, env)?,
        types::HASH_ZIPLIST => hash::read_packed(source, env, ziplist::read)?,
        types::HASH_LISTPACK => hash::read_packed(source, env, listpack::read)?,
        types::HASH_TIMED => hash::read_timed(source, env)?,
        types::HASH_LISTPACK_TIMED => hash::read_packed_timed(source, env)?,
        types::LIST => list::read(source, env)?,
        types::LIST_ZIPLIST => list::read_ziplist(source, env)?,
        types::LIST_ZIPLISTS => list::read_ziplists(source, env)?,
        types::LIST_NODES => list::read_nodes(source, env)?,
        types::SET => set::read(source, env)?,
        types::SET_INTSET => set::read_intset(source, env)?,
        types::SET_LISTPACK => set::read_listpack(source, env)?,
        types::SORTED_SET_TEXT => sorted_set::read(source, env, Source::text_double)?,
        types::SORTED_SET => sorted_set::read(source, env, Source::double)?,
        types::SORTED_SET_ZIPLIST => sorted_set::read_packed(source, env, ziplist::read)?,
        types::SORTED_SET_LISTPACK => sorted_set::read_packed(source, env, listpack::read)?,
        types::STREAM_V1 => stream::read(source, 1, env)?,
        types::STREAM_V2 => stream::read(source, 2, env)?,
        types::STREAM => stream::read(source, 3, env)?,
        other => return Err(DecodeError::Unknown(other)),
    };
    let empty = match &value {
        Value::Bytes(_) | Value::Adopted(_) | Value::Stream(_) => false,
        Value::Hash(hash) => hash.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::SortedSet(set) => set.is_empty(),
    };
    if source.is_empty() && !empty { Ok(value) } else { Err(DecodeError::Damaged) }
}

#[cfg(test)]
mod tests;
