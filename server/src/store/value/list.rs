//! The value of a list.

use std::collections::VecDeque;

use super::{Collection, Env, Kind, variant};
use crate::effect::{DecodeError, Reader};
use crate::store::entry::allocated;

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

    /// Adds an element at the end.
    pub fn push(&mut self, item: &[u8]) {
        self.bytes += allocated(item.len());
        self.items.push_back(item.into());
    }

    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
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
        let mut reader = Reader::new(body);
        while !reader.is_empty() {
            self.push(reader.bytes()?);
        }
        Ok(())
    }
}
