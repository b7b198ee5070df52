//! What is done to a hash, in the form in which replicas hear of it.

use crate::effect::{self, DecodeError, Reader, put_items};

/// What was done to a hash.
#[derive(Clone, Copy, Debug)]
pub enum HashChange<'a> {
    /// Fields were set; fields and values alternate.
    Set(effect::Items<'a>),
    /// Fields were removed.
    Delete(effect::Items<'a>),
    /// The values of fields were set, which expire as before; fields and values alternate.
    SetValue(effect::Items<'a>),
    /// Fields expire at this time, Unix milliseconds.
    Expire(u64, effect::Items<'a>),
    /// Fields expire no more.
    Persist(effect::Items<'a>),
}

const SET: u8 = 1;
const DELETE: u8 = 2;
const SET_VALUE: u8 = 3;
const EXPIRE: u8 = 4;
const PERSIST: u8 = 5;

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

    /// Writes that the values of fields were set, which expire as before; `items` alternates fields and values.
    pub fn put_set_value<'i>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(SET_VALUE);
        put_items(out, items);
    }

    /// Writes that fields expire at `at_ms`.
    pub fn put_expire<'i>(out: &mut Vec<u8>, at_ms: u64, fields: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(EXPIRE);
        effect::put_u64(out, at_ms);
        put_items(out, fields);
    }

    /// Writes that fields expire no more.
    pub fn put_persist<'i>(out: &mut Vec<u8>, fields: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(PERSIST);
        put_items(out, fields);
    }

    /// Reads what was written.
    pub fn decode(body: &'a [u8]) -> Result<HashChange<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            SET => Ok(HashChange::Set(reader.items()?)),
            DELETE => Ok(HashChange::Delete(reader.items()?)),
            SET_VALUE => Ok(HashChange::SetValue(reader.items()?)),
            EXPIRE => Ok(HashChange::Expire(reader.u64()?, reader.items()?)),
            PERSIST => Ok(HashChange::Persist(reader.items()?)),
            other => Err(DecodeError::Unknown(other)),
        }
    }
}
