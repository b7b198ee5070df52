//! Channels, patterns, shard channels, MONITOR and memcached's `watch`: from who speaks to who listens.
//!
//! ```text
//! publisher's worker                                          subscriber's worker
//!   PubSub::publish ─ channel's lock ─▶ Mailbox (bytes) ─▶ Post ─ one notify ─▶ task ─ wakes ─▶ connection
//!                                        └ full: the connection is closed                        └ output buffer
//! ```
//!
//! A message is written once, whatever the number of its subscribers and their protocols (RESP2 and RESP3 differ in
//! the first byte), and copied into the mailbox of each. The connection's task moves what is in its mailbox behind the
//! replies that it has written, between two requests: a message never lands inside a reply, and who publishes to itself
//! gets the reply first. All subscribers of a channel see its messages in the same order, since they are put into the
//! mailboxes under the channel's lock.
//!
//! Nothing here is replicated or kept: who does not listen at the moment misses the message.
//!
//! Lock order: a stripe, then a channel's lock, then the patterns', then a mailbox's, then a post's, then a client's.

mod log;
mod mailbox;
mod message;
mod monitor;
mod post;
mod registry;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod tracker;

pub use log::{Lines, Log, WATCHER_BYTES};
pub use mailbox::Mailbox;
pub use monitor::describe_request;
pub use registry::PubSub;
pub use subscriptions::{Subscriptions, TooMany};
pub use tracker::{Tracker, Tracking};

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}
