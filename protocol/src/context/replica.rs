//! Reads that a replica may answer.

use std::fmt;
use std::str::FromStr;

use super::{ContextError, LevelError, Position, Reader};

/// Which members of a shard answer reads that need not be strong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadFrom {
    /// The primary.
    #[default]
    Primary,
    /// Members in the proxy's own zone, the primary if it is one of them; the primary where there is none.
    Nearest,
    /// Replicas; the primary where none is fresh enough.
    Replica,
    /// All members alike.
    Any,
}

impl ReadFrom {
    pub const ALL: [ReadFrom; 4] = [ReadFrom::Primary, ReadFrom::Nearest, ReadFrom::Replica, ReadFrom::Any];

    pub const fn as_str(self) -> &'static str {
        match self {
            ReadFrom::Primary => "primary",
            ReadFrom::Nearest => "nearest",
            ReadFrom::Replica => "replica",
            ReadFrom::Any => "any",
        }
    }
}

impl fmt::Display for ReadFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReadFrom {
    type Err = LevelError;

    /// The choice of that name, in any case.
    fn from_str(name: &str) -> Result<ReadFrom, LevelError> {
        ReadFrom::ALL
            .into_iter()
            .find(|from| from.as_str().eq_ignore_ascii_case(name))
            .ok_or(LevelError::From)
    }
}

/// What a replica must be able to say of its data before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaRead {
    /// It holds everything that was executed more than so many milliseconds before the read was.
    pub max_staleness_ms: u32,
    /// It holds this position, or belongs to a later term that has decided about it.
    pub after: Option<Position>,
}

impl ReplicaRead {
    /// Bytes in a record at most.
    pub(super) const MAX_BYTES: usize = 4 + 16;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.max_staleness_ms.to_le_bytes());
        if let Some(after) = self.after {
            out.extend_from_slice(&after.term.to_le_bytes());
            out.extend_from_slice(&after.offset.to_le_bytes());
        }
    }

    /// `after`: whether a position follows.
    pub(super) fn decode(after: bool, bytes: &mut Reader<'_>) -> Result<ReplicaRead, ContextError> {
        let max_staleness_ms = u32::from_le_bytes(bytes.take()?);
        let after = match after {
            true => {
                let (term, offset) = (bytes.take()?, bytes.take()?);
                Some(Position { term: u64::from_le_bytes(term), offset: u64::from_le_bytes(offset) })
            }
            false => None,
        };
        Ok(ReplicaRead { max_staleness_ms, after })
    }
}
