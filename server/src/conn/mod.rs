//! Connections: from the acceptor's hand to the last flush.
//!
//! ```text
//! torc-accept: acceptor ───bounded channel──▶ torc-worker-N (one tokio current-thread runtime)
//!                                              └─ hub: one task with an epoll set, owning all of its connections
//!   look at the sockets → each reads, parses ahead, notes its keys → fetch the keys' lines
//!     → Batch::begin/run…/end for all → each checks the lease again and writes once
//! ```
//!
//! Only [`connection`] reads and writes sockets and only [`hub`] watches them: another kind of loop (io_uring) would
//! replace these. Nothing of a connection is shared but its [`crate::clients::Client`].

mod ahead;
pub mod balance;
mod buffers;
mod connection;
mod dialect;
mod hold;
mod hub;
mod lines;
mod output;
mod park;
mod pipeline;
pub mod worker;

pub(crate) use ahead::Ahead;
pub(crate) use dialect::Step;
pub(crate) use hold::Holds;
pub(crate) use lines::Lines;

use crate::settings::Settings;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2 and RESP3.
    Resp,
    /// The memcached text protocol.
    Memcached,
}

impl Protocol {
    /// Whether its clients need no password.
    pub fn is_open(self, settings: &Settings) -> bool {
        match self {
            Protocol::Resp => settings.requirepass.is_empty(),
            Protocol::Memcached => settings.memcached_is_open(),
        }
    }

    /// What a client hears when there is no place for it.
    pub fn refusal(self) -> &'static [u8] {
        match self {
            Protocol::Resp => torc_protocol::error::MAX_CLIENTS_REPLY,
            Protocol::Memcached => torc_protocol::memcached::text::MAX_CLIENTS_REPLY,
        }
    }
}
