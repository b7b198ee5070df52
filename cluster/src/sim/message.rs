//! What the simulated hosts send each other.

use super::data::{Chunk, Record};
use super::network::Way;
use crate::history::History;
use crate::ids::{Offset, Position, ShardId, Term};
use crate::lock::Token;
use crate::map::{ClusterMap, MapCommand, MapReply};
use crate::message::{Heartbeat, HeartbeatReply, HelloReply, ReplicaHello, SealReply, SealRequest};
use std::sync::Arc;
use torc_protocol::context::RequestId;

pub(super) type Key = u8;
/// Every write has its own value, so a value is the name of a write.
pub(super) type Value = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put {
        key: Key,
        in_sync: bool,
    },
    /// A transaction: both keys or none.
    Pair {
        keys: [Key; 2],
        in_sync: bool,
    },
    Read {
        key: Key,
        strong: bool,
    },
    /// The lock is called by the key whose slot it has.
    Acquire {
        name: Key,
        ttl_ms: u64,
    },
    Release {
        name: Key,
        token: Token,
    },
    /// A write under a fencing token.
    Fenced {
        key: Key,
        token: Token,
    },
}

impl Op {
    pub(super) fn home(self) -> Key {
        match self {
            Op::Put { key, .. } | Op::Read { key, .. } | Op::Fenced { key, .. } => key,
            Op::Pair { keys, .. } => keys[0],
            Op::Acquire { name, .. } | Op::Release { name, .. } => name,
        }
    }

    pub(super) fn is_read(self) -> bool {
        matches!(self, Op::Read { .. })
    }

    /// Answered once the in-sync set has it, and never lost from there on.
    pub(super) fn is_held(self) -> bool {
        match self {
            Op::Put { in_sync, .. } | Op::Pair { in_sync, .. } => in_sync,
            Op::Read { strong, .. } => strong,
            Op::Acquire { .. } | Op::Release { .. } | Op::Fenced { .. } => true,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Of this sending.
    pub(super) id: u64,
    pub(super) shard: ShardId,
    pub(super) op: Op,
    /// The name of the write, the same in every sending.
    pub(super) value: Value,
    pub(super) rid: Option<RequestId>,
    pub(super) repeated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not executed.
    Refused,
    /// Executed or not: not known.
    Uncertain,
    Written,
    Value(Option<(Value, Position)>),
    Granted {
        token: Token,
        remaining_ms: u64,
        executed: u64,
    },
    /// Somebody else holds the lock, or the holder is another.
    Busy,
    /// The register is above the token: not executed.
    Fenced,
    /// The request's id is below the window: executed once or not at all, long ago.
    TooOld,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    Heartbeat(Heartbeat),
    HeartbeatReply(HeartbeatReply),
    Seal(SealRequest),
    SealReply(SealReply),
    Map(Arc<ClusterMap>),
    /// A node's proposal, to the control plane.
    Propose {
        id: u64,
        shard: Option<ShardId>,
        command: MapCommand,
    },
    ProposeReply {
        id: u64,
        shard: ShardId,
        outcome: MapReply,
    },
    Hello {
        conn: u64,
        hello: ReplicaHello,
    },
    HelloReply {
        conn: u64,
        shard: ShardId,
        term: Term,
        reply: HelloReply,
    },
    /// A part of a full sync, as it was at `at`.
    Chunk {
        conn: u64,
        shard: ShardId,
        term: Term,
        seq: u64,
        part: usize,
        at: Offset,
        chunk: Chunk,
    },
    /// A part as the records up to here leave it, to compare with: it stands for its digest. A part that differs is
    /// wanted.
    Digest {
        conn: u64,
        shard: ShardId,
        term: Term,
        seq: u64,
        part: usize,
        chunk: Chunk,
    },
    Compared {
        conn: u64,
        shard: ShardId,
        term: Term,
        part: usize,
        differs: bool,
    },
    /// Every part and every record up to the history's end was sent.
    SyncEnd {
        conn: u64,
        shard: ShardId,
        term: Term,
        seq: u64,
        history: History,
        mark: Offset,
    },
    Synced {
        conn: u64,
        shard: ShardId,
        term: Term,
        at: Offset,
    },
    Records {
        conn: u64,
        shard: ShardId,
        term: Term,
        seq: u64,
        records: Vec<Record>,
        mark: Offset,
    },
    Ack {
        conn: u64,
        shard: ShardId,
        term: Term,
        offset: Offset,
    },
    Request(Request),
    Response {
        id: u64,
        answer: Answer,
    },
}

impl Message {
    pub(super) fn way(&self) -> Way {
        match self {
            Message::Hello { conn, .. }
            | Message::HelloReply { conn, .. }
            | Message::Chunk { conn, .. }
            | Message::Digest { conn, .. }
            | Message::Compared { conn, .. }
            | Message::SyncEnd { conn, .. }
            | Message::Synced { conn, .. }
            | Message::Records { conn, .. }
            | Message::Ack { conn, .. } => Way::Connection(*conn),
            Message::Request(_) | Message::Response { .. } => Way::Once,
            _ => Way::Alone,
        }
    }
}
