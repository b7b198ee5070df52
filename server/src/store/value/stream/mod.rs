//! The value of a stream: entries in packed nodes, and consumer groups.
//!
//! ```text
//! StreamValue ─ log ─ nodes by first ID (IdMap) ─ entries (node, pack)
//!             └ groups by name ─ pending entries by ID, consumers by name ─ their pending entries
//! ```

mod change;
mod group;
mod id;
mod id_map;
mod log;
mod node;
mod pack;

pub use change::{
    Assigned, GroupChange, Noted, put_add, put_create_group, put_delete, put_delete_consumer,
    put_destroy_group, put_facts, put_trim,
};
pub use group::{Consumer, ConsumerId, Group, Groups, NEVER_ACTIVE, Pending, READS_UNKNOWN};
pub use id::StreamId;
pub use id_map::IdMap;
pub use log::{AddError, Cursor, Keep, Log, Trim, WantedId};
pub use node::{Entry, Next, Node};
pub use pack::Piece;

use super::{Collection, Env, Kind, variant};
use crate::effect::DecodeError;

/// A stream value; see the module's text.
#[derive(Clone, Debug, Default)]
pub struct StreamValue {
    /// The entries.
    pub log: Log,
    /// The consumer groups.
    pub groups: Groups,
}

impl StreamValue {
    /// What OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }
}

impl Collection for StreamValue {
    const KIND: Kind = Kind::Stream;
    const STAYS_EMPTY: bool = true;
    variant!(Stream);

    fn len(&self) -> usize {
        self.log.len() as usize
    }

    fn heap_bytes(&self) -> usize {
        self.log.heap_bytes() + self.groups.heap_bytes()
    }

    fn replay(&mut self, body: &[u8], env: &Env) -> Result<(), DecodeError> {
        change::replay(self, body, env)
    }
}

#[cfg(test)]
mod tests;
