//! The value of a list.

use std::collections::VecDeque;

use super::{Collection, Env, Kind, variant};
use crate::effect::{DecodeError, Items, Reader, put_items};
use crate::store::entry::allocated;

/// One of the two ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// Left, the first element.
    Front = 0,
    /// Right, the last element.
    Back = 1,
}

/// A list value; see the module's text.
#[derive(Clone, Debug, Default)]
pub struct ListValue {
    items: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl ListValue {
    /// All elements.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.items.iter().map(|item| &**item)
    }

    /// Adds an element at one end.
    pub fn push(&mut self, end: End, item: &[u8]) {
        self.bytes += allocated(item.len());
        match end {
            End::Front => self.items.push_front(item.into()),
            End::Back => self.items.push_back(item.into()),
        }
    }

    /// Takes the element at one end.
    pub fn pop(&mut self, end: End) -> Option<Box<[u8]>> {
        let item = match end {
            End::Front => self.items.pop_front(),
            End::Back => self.items.pop_back(),
        }?;
        self.bytes -= allocated(item.len());
        Some(item)
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }
}

/// What was done to a list.
#[derive(Clone, Copy, Debug)]
pub enum ListChange<'a> {
    /// Elements were added at an end, one after another.
    Push(End, Items<'a>),
    /// So many were taken from an end.
    Pop(End, u64),
}

const PUSH_FRONT: u8 = 1;
const PUSH_BACK: u8 = 2;
const POP_FRONT: u8 = 3;
const POP_BACK: u8 = 4;

impl<'a> ListChange<'a> {
    /// Writes that elements were added.
    pub fn put_push<'i>(out: &mut Vec<u8>, end: End, items: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(if end == End::Front { PUSH_FRONT } else { PUSH_BACK });
        put_items(out, items);
    }

    /// Writes that elements were taken.
    pub fn put_pop(out: &mut Vec<u8>, end: End, count: u64) {
        out.push(if end == End::Front { POP_FRONT } else { POP_BACK });
        out.extend_from_slice(&count.to_le_bytes());
    }

    /// Reads what was written.
    pub fn decode(body: &'a [u8]) -> Result<ListChange<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        Ok(match reader.u8()? {
            PUSH_FRONT => ListChange::Push(End::Front, reader.items()?),
            PUSH_BACK => ListChange::Push(End::Back, reader.items()?),
            POP_FRONT => ListChange::Pop(End::Front, reader.u64()?),
            POP_BACK => ListChange::Pop(End::Back, reader.u64()?),
            other => return Err(DecodeError::Unknown(other)),
        })
    }
}

impl Collection for ListValue {
    const KIND: Kind = Kind::List;

    variant!(List);

    fn len(&self) -> usize {
        self.items.len()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes + allocated(self.items.capacity() * size_of::<Box<[u8]>>())
    }

    fn replay(&mut self, body: &[u8], _env: &Env) -> Result<(), DecodeError> {
        match ListChange::decode(body)? {
            ListChange::Push(end, items) => items.for_each(|item| self.push(end, item)),
            ListChange::Pop(end, count) => {
                let _ = (0..count).all(|_| self.pop(end).is_some());
            }
        }
        Ok(())
    }
}
