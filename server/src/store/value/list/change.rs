//! What is done to a list, in a few bytes.

use super::End;
use crate::effect::{DecodeError, Items, Reader, put_items};

/// What was done to a list.
#[derive(Clone, Copy, Debug)]
pub enum ListChange<'a> {
    /// Elements were added at an end, one after another.
    Push(End, Items<'a>),
    /// So many were taken from an end.
    Pop(End, u64),
    /// The element at this index got another value.
    Set(u64, &'a [u8]),
    /// An element was put in front of that at this index.
    Insert(u64, &'a [u8]),
    /// Elements of this value were removed: so many from the beginning (negative: from the end; 0: all).
    Remove(i64, &'a [u8]),
    /// So many were dropped at the beginning and at the end.
    Trim(u64, u64),
}

const PUSH_FRONT: u8 = 1;
const PUSH_BACK: u8 = 2;
const POP_FRONT: u8 = 3;
const POP_BACK: u8 = 4;
const SET: u8 = 5;
const INSERT: u8 = 6;
const REMOVE: u8 = 7;
const TRIM: u8 = 8;

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl<'a> ListChange<'a> {
    /// Writes that elements were added.
    pub fn put_push<'i>(out: &mut Vec<u8>, end: End, items: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(if end == End::Front { PUSH_FRONT } else { PUSH_BACK });
        put_items(out, items);
    }

    /// Writes what was done, but for [`ListChange::Push`].
    pub fn put(self, out: &mut Vec<u8>) {
        match self {
            ListChange::Push(end, items) => {
                ListChange::put_push(out, end, items.collect::<Vec<_>>().into_iter())
            }
            ListChange::Pop(end, count) => {
                out.push(if end == End::Front { POP_FRONT } else { POP_BACK });
                out.extend_from_slice(&count.to_le_bytes());
            }
            ListChange::Set(index, item) | ListChange::Insert(index, item) => {
                out.push(if matches!(self, ListChange::Set(..)) { SET } else { INSERT });
                out.extend_from_slice(&index.to_le_bytes());
                put_bytes(out, item);
            }
            ListChange::Remove(count, item) => {
                out.push(REMOVE);
                out.extend_from_slice(&count.to_le_bytes());
                put_bytes(out, item);
            }
            ListChange::Trim(front, back) => {
                out.push(TRIM);
                out.extend_from_slice(&front.to_le_bytes());
                out.extend_from_slice(&back.to_le_bytes());
            }
        }
    }

    /// Reads what was written.
    pub fn decode(body: &'a [u8]) -> Result<ListChange<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        Ok(match reader.u8()? {
            PUSH_FRONT => ListChange::Push(End::Front, reader.items()?),
            PUSH_BACK => ListChange::Push(End::Back, reader.items()?),
            POP_FRONT => ListChange::Pop(End::Front, reader.u64()?),
            POP_BACK => ListChange::Pop(End::Back, reader.u64()?),
            SET => ListChange::Set(reader.u64()?, reader.bytes()?),
            INSERT => ListChange::Insert(reader.u64()?, reader.bytes()?),
            REMOVE => ListChange::Remove(reader.u64()? as i64, reader.bytes()?),
            TRIM => ListChange::Trim(reader.u64()?, reader.u64()?),
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}
