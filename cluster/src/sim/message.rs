//! What the simulated hosts send each other.

use crate::history::History;
use crate::ids::{Offset, Position, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, MapReply};
use crate::message::{Heartbeat, HeartbeatReply, HelloReply, ReplicaHello, SealReply, SealRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) type Key = u8;
/// Every write has its own value, so a value is the name of a write.
pub(super) type Value = u64;
pub(super) type Store = BTreeMap<Key, (Value, Position)>;

/// One effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: Position,
    pub(super) key: Key,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write { key: Key, value: Value, in_sync: bool },
    Read { key: Key, strong: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not executed.
    Refused,
    /// Executed or not: not known.
    Uncertain,
    Written,
    Value(Option<(Value, Position)>),
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
    Snapshot {
        conn: u64,
        shard: ShardId,
        term: Term,
        store: Store,
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
    Request {
        id: u64,
        shard: ShardId,
        op: Op,
    },
    Response {
        id: u64,
        answer: Answer,
    },
}

impl Message {
    /// Carried by a connection: in order, never twice.
    pub(super) fn stream(&self) -> Option<u64> {
        match self {
            Message::Hello { conn, .. }
            | Message::HelloReply { conn, .. }
            | Message::Snapshot { conn, .. }
            | Message::Synced { conn, .. }
            | Message::Records { conn, .. }
            | Message::Ack { conn, .. } => Some(*conn),
            // Each on a connection of its own.
            Message::Request { id, .. } | Message::Response { id, .. } => Some(u64::MAX - *id),
            _ => None,
        }
    }
}
