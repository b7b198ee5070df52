//! The bus: authenticated connections between nodes, proxies and tools, carrying frames.
//!
//! A connection begins with the handshake (see [`torc_protocol::handshake`]); nothing is answered
//! before it. The first frame after it says what the connection is for:
//!
//! - a **call kind** (raft, heartbeat, seal, propose, admin): the connection carries calls.
//!   Each payload begins with a call id (`u64`, little-endian) that the answer repeats, so that many calls
//!   share a connection; a call that is refused is answered by `Refused` with the id and a text.
//! - any other kind (map watch, replication): the connection belongs to that kind's handler from
//!   then on.
//!
//! ```text
//!   BusClient::call ─▶ client task (owns the connection) ══TCP══ serve task ─▶ call handlers
//!   dial            ─▶ BusConn                            ══TCP══ serve task ─▶ stream handler
//! ```

mod call;
mod client;
mod conn;
mod error;
mod handshake;
mod identity;
mod server;
#[cfg(test)]
mod tests;

pub use call::reply_kind;
pub use client::{BusClient, ClientConfig};
pub use conn::{BusConn, BusReader, BusWriter, DetachedConn, Frame};
pub use error::{CallError, ConnError};
pub use handshake::dial;
pub use identity::{BusIdentity, BusPeer, node_name, parse_node_name};
pub use server::{BusLimits, BusServer};

pub use torc_protocol::bus::FrameKind;
