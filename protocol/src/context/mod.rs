//! The context: the record that a proxy puts before each request, so that the server acts for the proxy's client.
//!
//! Layout, all integers little-endian:
//!
//! ```text
//! offset size
//!      0    2  flags, see FLAG_*; an unknown one is an error
//!      2    1  database
//!      3    1  acknowledgement: 0 not chosen, 1 none, 2 primary, 3 in-sync
//!      4    1  read level: 0 not chosen, 1 any, 2 strong
//!      5    1  reserved, 0
//!      6    8  epoch of the map that routed the request
//!     14    4  milliseconds left until the request's deadline, 0 for none
//!     18   24  request id: origin, sequence, settled   (with FLAG_REQUEST_ID)
//!      …    8  fencing token                   (with FLAG_FENCE)
//!      …  1+n  length and bytes of the user    (with FLAG_USER)
//!      …    4  milliseconds that a replica's data may be old   (with FLAG_REPLICA)
//!      …   16  term and offset that it must hold               (with FLAG_AFTER, only with FLAG_REPLICA)
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

mod position;
mod replica;
mod tracked;

pub use position::Position;
pub use replica::{ReadFrom, ReplicaRead};
pub use tracked::Tracked;

/// The server puts the position of the reply's effect before it.
const FLAG_WANT_POSITION: u16 = 1 << 0;
const FLAG_REQUEST_ID: u16 = 1 << 1;
const FLAG_FENCE: u16 = 1 << 2;
const FLAG_USER: u16 = 1 << 3;
/// The client speaks RESP2: the reply is to be written so.
const FLAG_RESP2: u16 = 1 << 4;
/// An earlier sending of the request may have been executed.
const FLAG_REPEATED: u16 = 1 << 5;
/// A blocking command does not wait: it finds something, or answers that there is nothing.
const FLAG_NO_WAIT: u16 = 1 << 6;
/// The connection is to be told when the key of the request changes.
const FLAG_TRACK: u16 = 1 << 11;
/// A replica may answer, within limits.
const FLAG_REPLICA: u16 = 1 << 9;
/// The replica must hold the position that follows.
const FLAG_AFTER: u16 = 1 << 10;
const KNOWN_FLAGS: u16 = FLAG_WANT_POSITION
    | FLAG_REQUEST_ID
    | FLAG_FENCE
    | FLAG_USER
    | FLAG_RESP2
    | FLAG_REPEATED
    | FLAG_NO_WAIT
    | FLAG_REPLICA
    | FLAG_AFTER
    | FLAG_TRACK;

/// Bytes of the part that is always there.
pub const FIXED_BYTES: usize = 18;
/// Where the request id begins in a record that has one.
pub const REQUEST_ID_AT: usize = FIXED_BYTES;
/// The longest user name, in bytes.
pub const MAX_USER_BYTES: usize = u8::MAX as usize;
/// The longest encoded context, in bytes.
pub const MAX_CONTEXT_BYTES: usize =
    FIXED_BYTES + RequestId::BYTES + 8 + 1 + MAX_USER_BYTES + ReplicaRead::MAX_BYTES;

/// What must have happened before a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// Nothing: the reply does not wait, and the effect may be lost.
    None,
    /// The primary has executed it.
    Primary,
    /// Every member of the in-sync set has it.
    InSync,
}

/// What a read may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadLevel {
    /// Whatever the primary has, also what could still be lost.
    Any,
    /// Only what every later primary will have.
    Strong,
}

/// A word that names no level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LevelError {
    #[error("ERR the acknowledgement level must be none, primary or in-sync")]
    Ack,
    #[error("ERR the read level must be any or strong")]
    Read,
    #[error("ERR reads go to primary, nearest, replica or any")]
    From,
}

impl Ack {
    pub const ALL: [Ack; 3] = [Ack::None, Ack::Primary, Ack::InSync];

    pub const fn as_str(self) -> &'static str {
        match self {
            Ack::None => "none",
            Ack::Primary => "primary",
            Ack::InSync => "in-sync",
        }
    }

    /// The level of that name, in any case.
    pub fn from_bytes(name: &[u8]) -> Result<Ack, LevelError> {
        Ack::ALL
            .into_iter()
            .find(|ack| ack.as_str().as_bytes().eq_ignore_ascii_case(name))
            .ok_or(LevelError::Ack)
    }
}

impl ReadLevel {
    pub const ALL: [ReadLevel; 2] = [ReadLevel::Any, ReadLevel::Strong];

    pub const fn as_str(self) -> &'static str {
        match self {
            ReadLevel::Any => "any",
            ReadLevel::Strong => "strong",
        }
    }

    /// The level of that name, in any case.
    pub fn from_bytes(name: &[u8]) -> Result<ReadLevel, LevelError> {
        ReadLevel::ALL
            .into_iter()
            .find(|level| level.as_str().as_bytes().eq_ignore_ascii_case(name))
            .ok_or(LevelError::Read)
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Ack {
    type Err = LevelError;

    fn from_str(name: &str) -> Result<Ack, LevelError> {
        Ack::from_bytes(name.as_bytes())
    }
}

impl fmt::Display for ReadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ReadLevel {
    type Err = LevelError;

    fn from_str(name: &str) -> Result<ReadLevel, LevelError> {
        ReadLevel::from_bytes(name.as_bytes())
    }
}

/// Names a request for good: a server that has executed it once gives the same reply again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestId {
    /// Who numbers: one worker of one life of a proxy.
    pub origin: u64,
    /// Rises by one with each request of that origin; the first one is 1.
    pub seq: u64,
    /// All ids of the origin up to this one are settled: answered or given up, and never sent again.
    pub settled: u64,
}

impl RequestId {
    /// Bytes in a record.
    pub const BYTES: usize = 24;

    /// As in a record.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.origin.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..].copy_from_slice(&self.settled.to_le_bytes());
        bytes
    }
}

/// For whom and how a request is executed. The default is what a plain client of a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context<'a> {
    pub db: u8,
    /// `None`: what the server's policies say.
    pub ack: Option<Ack>,
    /// `None`: what the server's policies say.
    pub read: Option<ReadLevel>,
    /// The version of the map that routed the request.
    pub epoch: u64,
    /// Milliseconds left until nobody waits for the reply any more; 0 for no deadline.
    pub deadline_ms: u32,
    /// Put the attribute `|1 +pos +<term>:<offset>` before the reply.
    pub want_position: bool,
    /// The client speaks RESP2: the reply is to be written so, whatever the connection speaks.
    pub resp2: bool,
    /// The user that the proxy has authenticated; `None` for the default user.
    pub user: Option<&'a str>,
    pub request_id: Option<RequestId>,
    /// An earlier sending of it may have been executed, or may still be.
    pub repeated: bool,
    /// A blocking command does not wait: it finds something, or answers that there is nothing.
    pub no_wait: bool,
    /// A fencing token that the keys of the request must not have seen surpassed.
    pub fence: Option<u64>,
    /// Tell the connection when the only key of the request, which reads it, changes; see [`Tracked`].
    pub track: bool,
    /// A replica may answer if it is fresh enough; a primary answers in any case.
    pub replica: Option<ReplicaRead>,
}

/// Why bytes are no context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ContextError {
    #[error("ERR the context ends too early")]
    Truncated,
    #[error("ERR the context has bytes behind its end")]
    TrailingBytes,
    #[error("ERR the context has flags that this version does not know: {0:#06x}")]
    UnknownFlags(u16),
    #[error("ERR the context names an unknown level")]
    UnknownLevel,
    #[error("ERR the context's user is not UTF-8")]
    UserNotUtf8,
}

impl<'a> Context<'a> {
    /// Appends the record to `out`. A user beyond [`MAX_USER_BYTES`] is cut there (no valid name is that long).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = 0;
        for (set, flag) in [
            (self.want_position, FLAG_WANT_POSITION),
            (self.request_id.is_some(), FLAG_REQUEST_ID),
            (self.fence.is_some(), FLAG_FENCE),
            (self.user.is_some(), FLAG_USER),
            (self.resp2, FLAG_RESP2),
            (self.repeated, FLAG_REPEATED),
            (self.no_wait, FLAG_NO_WAIT),
            (self.track, FLAG_TRACK),
            (self.replica.is_some(), FLAG_REPLICA),
            (self.replica.is_some_and(|replica| replica.after.is_some()), FLAG_AFTER),
        ] {
            if set {
                flags |= flag;
            }
        }
        let ack = match self.ack {
            None => 0,
            Some(Ack::None) => 1,
            Some(Ack::Primary) => 2,
            Some(Ack::InSync) => 3,
        };
        let read = match self.read {
            None => 0,
            Some(ReadLevel::Any) => 1,
            Some(ReadLevel::Strong) => 2,
        };
        let mut fixed = [0u8; FIXED_BYTES];
        fixed[0..2].copy_from_slice(&flags.to_le_bytes());
        fixed[2..6].copy_from_slice(&[self.db, ack, read, 0]);
        fixed[6..14].copy_from_slice(&self.epoch.to_le_bytes());
        fixed[14..18].copy_from_slice(&self.deadline_ms.to_le_bytes());
        out.extend_from_slice(&fixed);
        if let Some(id) = self.request_id {
            out.extend_from_slice(&id.to_bytes());
        }
        if let Some(token) = self.fence {
            out.extend_from_slice(&token.to_le_bytes());
        }
        if let Some(user) = self.user {
            let mut end = user.len().min(MAX_USER_BYTES);
            while !user.is_char_boundary(end) {
                end -= 1;
            }
            out.push(end as u8);
            out.extend_from_slice(&user.as_bytes()[..end]);
        }
        if let Some(replica) = &self.replica {
            replica.encode(out);
        }
    }

    /// Reads a record, which must fill `bytes`.
    pub fn decode(bytes: &'a [u8]) -> Result<Context<'a>, ContextError> {
        let mut bytes = Reader(bytes);
        let flags = u16::from_le_bytes(bytes.take()?);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(ContextError::UnknownFlags(flags & !KNOWN_FLAGS));
        }
        let [db, ack, read, reserved] = bytes.take()?;
        let ack = match ack {
            0 => None,
            1 => Some(Ack::None),
            2 => Some(Ack::Primary),
            3 => Some(Ack::InSync),
            _ => return Err(ContextError::UnknownLevel),
        };
        let read = match read {
            0 => None,
            1 => Some(ReadLevel::Any),
            2 => Some(ReadLevel::Strong),
            _ => return Err(ContextError::UnknownLevel),
        };
        if reserved != 0 {
            return Err(ContextError::UnknownLevel);
        }
        let mut context = Context {
            db,
            ack,
            read,
            epoch: u64::from_le_bytes(bytes.take()?),
            deadline_ms: u32::from_le_bytes(bytes.take()?),
            want_position: flags & FLAG_WANT_POSITION != 0,
            resp2: flags & FLAG_RESP2 != 0,
            repeated: flags & FLAG_REPEATED != 0,
            no_wait: flags & FLAG_NO_WAIT != 0,
            track: flags & FLAG_TRACK != 0,
            ..Context::default()
        };
        if flags & FLAG_REQUEST_ID != 0 {
            context.request_id = Some(RequestId {
                origin: u64::from_le_bytes(bytes.take()?),
                seq: u64::from_le_bytes(bytes.take()?),
                settled: u64::from_le_bytes(bytes.take()?),
            });
        }
        if flags & FLAG_FENCE != 0 {
            context.fence = Some(u64::from_le_bytes(bytes.take()?));
        }
        if flags & FLAG_USER != 0 {
            let [length] = bytes.take()?;
            let user = bytes.slice(usize::from(length))?;
            context.user = Some(std::str::from_utf8(user).map_err(|_| ContextError::UserNotUtf8)?);
        }
        let after = flags & FLAG_AFTER != 0;
        if flags & FLAG_REPLICA != 0 {
            context.replica = Some(ReplicaRead::decode(after, &mut bytes)?);
        } else if after {
            return Err(ContextError::UnknownFlags(FLAG_AFTER));
        }
        if bytes.0.is_empty() { Ok(context) } else { Err(ContextError::TrailingBytes) }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ContextError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ContextError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn slice(&mut self, count: usize) -> Result<&'a [u8], ContextError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ContextError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(context: &Context<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        context.encode(&mut out);
        out
    }

    #[test]
    fn the_layout_stays() {
        let context = Context {
            db: 3,
            ack: Some(Ack::InSync),
            read: Some(ReadLevel::Strong),
            epoch: 0x0102_0304_0506_0708,
            deadline_ms: 1000,
            want_position: true,
            resp2: true,
            user: Some("ann"),
            request_id: Some(RequestId { origin: 1, seq: 4, settled: 2 }),
            repeated: true,
            no_wait: true,
            fence: Some(3),
            track: true,
            replica: Some(ReplicaRead {
                max_staleness_ms: 500,
                after: Some(Position { term: 7, offset: 9 }),
            }),
        };
        let bytes = [
            &[0x7f, 14, 3, 3, 2, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0xe8, 3, 0, 0][..],
            &[1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            b"\x03ann",
            &[0xf4, 1, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(encode(&context), bytes);
        assert_eq!(Context::decode(&bytes), Ok(context));
        assert_eq!(encode(&Context::default()), [0; FIXED_BYTES]);
    }

    #[test]
    fn what_is_refused() {
        let mut bytes = encode(&Context { user: Some("ann"), ..Context::default() });
        for end in 0..bytes.len() {
            assert_eq!(Context::decode(&bytes[..end]), Err(ContextError::Truncated));
        }
        bytes.push(0);
        assert_eq!(Context::decode(&bytes), Err(ContextError::TrailingBytes));
        bytes[1] = 0x80;
        assert_eq!(Context::decode(&bytes), Err(ContextError::UnknownFlags(0x8000)));
        let mut bytes = encode(&Context::default());
        bytes[3] = 4;
        assert_eq!(Context::decode(&bytes), Err(ContextError::UnknownLevel));
        let mut bytes = encode(&Context::default());
        bytes[1] = 4;
        assert_eq!(Context::decode(&bytes), Err(ContextError::UnknownFlags(0x0400)));
    }

    #[test]
    fn levels_have_names() {
        for ack in Ack::ALL {
            assert_eq!(ack.to_string().to_uppercase().parse(), Ok(ack));
        }
        for level in ReadLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        for from in ReadFrom::ALL {
            assert_eq!(from.to_string().to_uppercase().parse(), Ok(from));
        }
        assert_eq!("most".parse::<Ack>(), Err(LevelError::Ack));
    }

    prop_compose! {
        fn contexts()(
            db: u8,
            ack in proptest::option::of(proptest::sample::select(Ack::ALL.to_vec())),
            read in proptest::option::of(proptest::sample::select(ReadLevel::ALL.to_vec())),
            epoch: u64,
            deadline_ms: u32,
            want_position: bool,
            resp2: bool,
            user in proptest::option::of("[a-z]{0,20}"),
            request_id: Option<(u64, u64, u64)>,
            repeated: bool,
            no_wait: bool,
            fence: Option<u64>,
            track: bool,
            replica: Option<(u32, Option<(u64, u64)>)>,
        ) -> (Context<'static>, Option<String>) {
            let replica = replica.map(|(max_staleness_ms, after)| ReplicaRead {
                max_staleness_ms,
                after: after.map(|(term, offset)| Position { term, offset }),
            });
            let request_id = request_id.map(|(origin, seq, settled)| RequestId { origin, seq, settled });
            (Context { db, ack, read, epoch, deadline_ms, want_position, resp2, user: None, request_id, repeated, no_wait, fence, track, replica }, user)
        }
    }

    proptest! {
        #[test]
        fn every_context_round_trips((context, user) in contexts()) {
            let context = Context { user: user.as_deref(), ..context };
            let bytes = encode(&context);
            prop_assert!(bytes.len() <= MAX_CONTEXT_BYTES);
            prop_assert_eq!(Context::decode(&bytes), Ok(context));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Context::decode(&bytes);
        }
    }
}
