//! Reading effects: whatever the bytes are, the answer is an effect or an error.

use torc_protocol::context::RequestId;

use super::{
    APPEND, CHANGE, DELETE, DecodeError, EXPIRE, Effect, FENCE, FENCE_FLOOR, FLUSH, FLUSH_LATER,
    FLUSH_STRIPE, LOCK, MARK, MAX_STRING_BYTES, PATCH, PUT, PUT_STRING, REMEMBER, SCRIPT, SCRIPT_FLUSH, SWAP,
};
use crate::store::value::Kind;
use crate::store::{Marks, Meta};

/// Pairs of bytes in an effect, read one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Items<'a> {
    count: u32,
    rest: &'a [u8],
}

impl ExactSizeIterator for Items<'_> {}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let mut reader = Reader::new(self.rest);
        let item = reader.bytes().ok()?;
        self.rest = reader.rest;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count as usize, Some(self.count as usize))
    }
}

/// Reads the fields of an effect, one after another.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `rest`.
    pub fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    /// True when everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.chunk::<1>()?[0])
    }

    /// A number, little-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.chunk()?))
    }

    /// A number, little-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.chunk()?))
    }

    /// A number, little-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()? as usize;
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    /// Pieces of bytes behind their number.
    pub fn items(&mut self) -> Result<Items<'a>, DecodeError> {
        let count = self.u32()?;
        let items = Items { count, rest: self.rest };
        for _ in 0..count {
            self.bytes()?;
        }
        Ok(items)
    }

    fn kind(&mut self) -> Result<Kind, DecodeError> {
        let number = self.u8()?;
        Kind::from_number(number).ok_or(DecodeError::Unknown(number))
    }

    fn time(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(Some(self.u64()?).filter(|&ms| ms != 0))
    }

    fn string_offset(&mut self) -> Result<u64, DecodeError> {
        let offset = self.u64()?;
        if offset > MAX_STRING_BYTES { Err(DecodeError::TooLong(offset as usize)) } else { Ok(offset) }
    }

    fn meta(&mut self) -> Result<Meta, DecodeError> {
        Ok(Meta {
            expire_ms: self.time()?,
            mc_flags: self.u32()?,
            version: self.u32()?,
            access: 0,
            marks: self.marks()?,
        })
    }

    fn marks(&mut self) -> Result<Marks, DecodeError> {
        let (marks, rest) = Marks::decode(self.rest).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(marks)
    }

    pub(super) fn effect(&mut self) -> Result<Effect<'a>, DecodeError> {
        let opcode = self.u8()?;
        Ok(match opcode {
            PUT_STRING => Effect::PutString {
                db: self.u8()?,
                key: self.bytes()?,
                meta: self.meta()?,
                value: self.bytes()?,
            },
            PUT => {
                Effect::Put { db: self.u8()?, key: self.bytes()?, meta: self.meta()?, value: self.bytes()? }
            }
            DELETE => Effect::Delete { db: self.u8()?, key: self.bytes()? },
            EXPIRE => Effect::Expire {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                at_ms: self.time()?,
            },
            MARK => Effect::Mark {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                at_ms: self.time()?,
                marks: self.marks()?,
            },
            APPEND => Effect::Append {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                value: self.bytes()?,
            },
            PATCH => Effect::Patch {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                offset: self.string_offset()?,
                value: self.bytes()?,
            },
            CHANGE => Effect::Change {
                db: self.u8()?,
                key: self.bytes()?,
                version: self.u32()?,
                kind: self.kind()?,
                body: self.bytes()?,
            },
            FLUSH => Effect::Flush { db: Some(self.u8()?).filter(|&db| db != u8::MAX) },
            FLUSH_LATER => Effect::FlushLater { db: self.u8()?, at_ms: self.time()? },
            FLUSH_STRIPE => Effect::FlushStripe { stripe: self.u16()? },
            SWAP => Effect::Swap { a: self.u8()?, b: self.u8()? },
            SCRIPT => Effect::Script { body: self.bytes()? },
            SCRIPT_FLUSH => Effect::ScriptFlush,
            LOCK => Effect::Lock { slot: self.u16()?, payload: self.bytes()? },
            FENCE => Effect::Fence { slot: self.u16()?, key: self.bytes()?, token: self.u64()? },
            FENCE_FLOOR => Effect::FenceFloor { slot: self.u16()?, token: self.u64()? },
            REMEMBER => Effect::Remember {
                slot: self.u16()?,
                id: RequestId { origin: self.u64()?, seq: self.u64()?, settled: self.u64()? },
                reply: self.bytes()?,
            },
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}
