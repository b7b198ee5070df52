//! Lengths, strings and doubles: what the bodies of values are made of.

use std::borrow::Cow;

use torc_protocol::resp::parse_i64;

use super::elements::parse_double;
use super::lzf;
use crate::effect::DecodeError;

/// The longest text of an integer that is written as one.
const MAX_INTEGER_TEXT: usize = 11;

/// Special encodings of strings, in the lower bits of a first byte 0b11......
const LZF: u8 = 3;

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

/// Appends a string: a short integer as one, longer bytes compressed where that makes them shorter.
pub fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= MAX_INTEGER_TEXT
        && let Some(n) = parse_i64(bytes)
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
    if bytes.len() > lzf::MIN_BYTES && put_compressed(out, bytes) {
        return;
    }
    put_len(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let start = out.len();
    if !lzf::compress(bytes, out) {
        return false;
    }
    // The lengths in front of it are known only now.
    let len = out.len() - start;
    out.push(0xc0 | LZF);
    put_len(out, len as u64);
    put_len(out, bytes.len() as u64);
    out[start..].rotate_left(len);
    true
}

/// Appends a double, as scores are.
pub fn put_double(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// A length as it stands in front of a string: a number of bytes, or a special encoding.
enum Len {
    Plain(u64),
    Special(u8),
}

/// Reads what the functions above (or Redis) wrote, whatever it is.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// Reads from the start of `rest`.
    pub fn new(rest: &'a [u8]) -> Source<'a> {
        Source { rest }
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// So many bytes as an array.
    pub fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
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

    /// A length that is kept in memory.
    fn size(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.length()?).map_err(|_| DecodeError::Truncated)
    }

    /// A double as eight bytes; never NaN.
    pub fn double(&mut self) -> Result<f64, DecodeError> {
        let number = f64::from_le_bytes(self.chunk()?);
        if number.is_nan() { Err(DecodeError::Damaged) } else { Ok(number) }
    }

    /// A double as text behind a byte with its length, as before Redis 4.0; never NaN.
    pub fn text_double(&mut self) -> Result<f64, DecodeError> {
        match self.chunk()? {
            [253] => Err(DecodeError::Damaged),
            [254] => Ok(f64::INFINITY),
            [255] => Ok(f64::NEG_INFINITY),
            [len] => parse_double(self.take(usize::from(len))?).ok_or(DecodeError::Damaged),
        }
    }

    /// A string.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let number = match self.any_len()? {
            Len::Plain(len) => {
                return Ok(self.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)?.into());
            }
            Len::Special(0) => i64::from(i8::from_le_bytes(self.chunk()?)),
            Len::Special(1) => i64::from(i16::from_le_bytes(self.chunk()?)),
            Len::Special(2) => i64::from(i32::from_le_bytes(self.chunk()?)),
            Len::Special(LZF) => {
                let (compressed, len) = (self.size()?, self.size()?);
                return Ok(lzf::decompress(self.take(compressed)?, len)?.into());
            }
            Len::Special(other) => return Err(DecodeError::Unknown(other)),
        };
        Ok(number.to_string().into_bytes().into())
    }
}
