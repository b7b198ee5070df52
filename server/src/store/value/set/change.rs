//! What was done to a set, as replicas are told.

use crate::effect::{DecodeError, Items, Reader, put_items, put_u32};

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_AND_REBUILD: u8 = 3;

/// One change of a set.
#[derive(Clone, Copy, Debug)]
pub enum SetChange<'a> {
    /// Members were added.
    Add {
        /// How many the command named: the form of the set depends on it.
        hint: u32,
        /// Those that were new.
        members: Items<'a>,
    },
    /// Members were taken out.
    Remove {
        /// The rest was put together anew.
        rebuild: bool,
        /// Those that are gone.
        members: Items<'a>,
    },
}

impl<'a> SetChange<'a> {
    /// Writes that members were added by a command that named `hint` of them.
    pub fn put_add<'i>(out: &mut Vec<u8>, hint: usize, members: impl ExactSizeIterator<Item = &'i [u8]>) {
        out.push(ADD);
        put_u32(out, u32::try_from(hint).unwrap_or(u32::MAX));
        put_items(out, members);
    }

    /// Writes that members were taken out.
    pub fn put_remove<'i>(
        out: &mut Vec<u8>,
        rebuild: bool,
        members: impl ExactSizeIterator<Item = &'i [u8]>,
    ) {
        out.push(if rebuild { REMOVE_AND_REBUILD } else { REMOVE });
        put_items(out, members);
    }

    /// Reads what was written.
    pub fn decode(body: &'a [u8]) -> Result<SetChange<'a>, DecodeError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            ADD => Ok(SetChange::Add { hint: reader.u32()?, members: reader.items()? }),
            REMOVE => Ok(SetChange::Remove { rebuild: false, members: reader.items()? }),
            REMOVE_AND_REBUILD => Ok(SetChange::Remove { rebuild: true, members: reader.items()? }),
            other => Err(DecodeError::Unknown(other)),
        }
    }
}

/// Members in one piece of memory, on their way from a set to a reply and a record.
#[derive(Clone, Debug, Default)]
pub struct MemberList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl MemberList {
    /// Adds a member.
    pub fn push(&mut self, member: &[u8]) {
        self.bytes.extend_from_slice(member);
        self.ends.push(self.bytes.len());
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All members.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| {
            let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.bytes[start..self.ends[index]]
        })
    }
}
