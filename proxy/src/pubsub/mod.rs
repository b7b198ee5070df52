//! Subscriptions of clients, passed on to the nodes: one of the worker for all its clients that want the same.
//!
//! ```text
//! clients ─ SUBSCRIBE ─▶ Hub: topics (who listens) ─ tells ─▶ Feed (one per shard) ═ TORC.LISTEN ═▶ its primary
//!         ◀═ messages ═══ each to its listeners ◀═══════════ Feed ◀═ pushes ══════════════════════
//! ```
//! A channel or pattern is listened to at the primary of every shard, since a script, a transaction or a client of a
//! node may publish anywhere, and keyspace events come from where the key is; each message is published at one node, so
//! it comes once. A shard channel is listened to at the primary of its slot. A node is told how many clients a
//! subscription stands for, so that PUBLISH and PUBSUB NUMSUB count clients.
//!
//! A client is answered when the nodes have confirmed. A feed whose connection breaks, or whose shard has another
//! primary, tells the new one everything again: what was published meanwhile is lost, as it is with Redis.
//!
//! All of it belongs to the worker's thread. Borrows: a feed's state is never borrowed while the hub or a client is
//! called.

mod ask;
mod commands;
mod feed;
mod hub;
mod listener;

pub use ask::Ask;
pub use commands::{answer, reset};
pub use hub::Hub;
pub use listener::Listens;

use std::rc::Rc;

/// The name of a channel, or a pattern.
pub type Name = Rc<[u8]>;

/// What is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel, by its name.
    Channel,
    /// Channels, by a pattern.
    Pattern,
    /// A channel of the shard of its name's slot.
    Shard,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

    /// As `TORC.LISTEN` calls it.
    fn word(self) -> &'static [u8] {
        match self {
            Kind::Channel => b"channel",
            Kind::Pattern => b"pattern",
            Kind::Shard => b"shard",
        }
    }

    /// The word of a confirmation.
    fn confirms(self, joins: bool) -> &'static [u8] {
        match (self, joins) {
            (Kind::Channel, true) => b"subscribe",
            (Kind::Channel, false) => b"unsubscribe",
            (Kind::Pattern, true) => b"psubscribe",
            (Kind::Pattern, false) => b"punsubscribe",
            (Kind::Shard, true) => b"ssubscribe",
            (Kind::Shard, false) => b"sunsubscribe",
        }
    }
}
