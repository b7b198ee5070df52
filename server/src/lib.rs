//! The in-memory store of Torc: RESP and memcached on the same keys.
//!
//! ```text
//! conn (sockets, parsing) → exec (checks, locks, handlers) → store (stripes, tables, entries)
//!                                └── effect records → shard (sequence, outboxes) → replication
//! ```

pub mod clients;
pub mod effect;
pub mod exec;
pub mod memcached;
pub mod node;
pub mod script;
pub mod settings;
pub mod shard;
pub mod stats;
pub mod store;

mod eviction;
