//! Values in the form of Redis's RDB files: one serializer for full syncs, moves, DUMP and RESTORE.
//!
//! A value is its type byte and its body, as after the key in an RDB file. Each type has a file; the lengths and
//! strings that they are made of are here. The format is that of Redis's `rdb.h` and `rdb.c`, as far as its authors
//! and others have described it; what we write, any Redis from 7.0 on can read.

mod hash;
mod list;
mod set;
mod sorted_set;
mod stream;

use crate::effect::DecodeError;
use crate::store::{Env, Value, ValueRef};

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
    /// A stream: nodes, then the groups.
    pub const STREAM: u8 = 21;
}

/// Appends a value with its type byte.
pub fn write_value(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::String(bytes) => {
            out.push(types::STRING);
            put_string(out, bytes);
        }
        ValueRef::Hash(value) => hash::write(value, out),
        ValueRef::List(value) => list::write(value, out),
        ValueRef::Set(value) => set::write(value, out),
        ValueRef::SortedSet(value) => sorted_set::write(value, out),
        ValueRef::Stream(value) => stream::write(value, out),
    }
}

/// Reads a value with its type byte; all bytes must be used.
pub fn read_value(bytes: &[u8], env: &Env) -> Result<Value, DecodeError> {
    let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    let mut source = Source { rest };
    let value = match kind {
        types::STRING => Value::Bytes(source.string()?.into_owned()),
        types::HASH => hash::read(&mut source, env)?,
        types::LIST => list::read(&mut source, env)?,
        types::SET => set::read(&mut source, env)?,
        types::SORTED_SET => sorted_set::read(&mut source, env)?,
        types::STREAM => stream::read(&mut source, env)?,
        other => return Err(DecodeError::Unknown(other)),
    };
    if source.rest.is_empty() { Ok(value) } else { Err(DecodeError::Damaged) }
}

/// Appends a length: 6, 14, 32 or 64 bits.
pub fn put_len(out: &mut Vec<u8>, len: u64) {
    match len {
        0..0x40 => out.push(len as u8),
        0x40..0x4000 => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// Appends a string: a short integer as one, anything else as it is.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= 11
        && let Some(n) = torc_protocol::resp::parse_i64(bytes)
    {
        if let Ok(n) = i8::try_from(n) {
            return out.extend_from_slice(&[0xc0, n as u8]);
        }
        if let Ok(n) = i16::try_from(n) {
            out.push(0xc1);
            return out.extend_from_slice(&n.to_le_bytes());
        }
        if let Ok(n) = i32::try_from(n) {
            out.push(0xc2);
            return out.extend_from_slice(&n.to_le_bytes());
        }
    }
    put_len(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A length as it stands in front of a string: a number of bytes, or a special encoding.
enum Len {
    Plain(u64),
    Special(u8),
}

/// Reads what the functions above (or Redis) wrote, whatever it is.
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// So many bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn any_len(&mut self) -> Result<Len, DecodeError> {
        let [first] = self.chunk()?;
        Ok(Len::Plain(match first >> 6 {
            0 => u64::from(first & 0x3f),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.chunk::<1>()?[0]),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.chunk()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.chunk()?),
            3 => return Ok(Len::Special(first & 0x3f)),
            _ => return Err(DecodeError::Damaged),
        }))
    }

    /// A length.
    pub fn length(&mut self) -> Result<u64, DecodeError> {
        match self.any_len()? {
            Len::Plain(len) => Ok(len),
            Len::Special(_) => Err(DecodeError::Damaged),
        }
    }

    /// A number of elements of which each takes at least a byte: more than there are bytes is damage, so that nobody
    /// makes room for them.
    pub fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.length()?;
        if count > self.rest.len() as u64 { Err(DecodeError::Truncated) } else { Ok(count as usize) }
    }

    /// A string.
    pub fn string(&mut self) -> Result<std::borrow::Cow<'a, [u8]>, DecodeError> {
        let number = match self.any_len()? {
            Len::Plain(len) => {
                return Ok(self.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)?.into());
            }
            Len::Special(0) => i64::from(i8::from_le_bytes(self.chunk()?)),
            Len::Special(1) => i64::from(i16::from_le_bytes(self.chunk()?)),
            Len::Special(2) => i64::from(i32::from_le_bytes(self.chunk()?)),
            Len::Special(other) => return Err(DecodeError::Unknown(other)),
        };
        Ok(number.to_string().into_bytes().into())
    }
}
