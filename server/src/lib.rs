//! The in-memory store of Torc: RESP and memcached on the same keys.
//!
//! ```text
//! conn (sockets, parsing) → exec (checks, locks, handlers) → store (stripes, tables, entries)
//!                                └── effect records → shard (sequence, outboxes) → replication
//! ```

pub mod agent;
pub mod clients;
pub mod effect;
pub mod effect_apply;
pub mod exec;
pub mod memcached;
pub mod node;
pub mod replication;
pub mod script;
pub mod settings;
pub mod shard;
mod side_state;
pub mod stats;
pub mod store;

mod eviction;
