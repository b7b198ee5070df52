//! The in-memory store of Torc: RESP and memcached on the same keys.
//!
//! ```text
//! conn (sockets, parsing) → exec (checks, locks, handlers) → store (stripes, tables, entries)
//!                                └── effect records → shard (sequence, outboxes) → replication
//! ```

pub mod agent;
pub mod blocked;
pub mod clients;
pub mod config;
pub mod conn;
pub mod digest;
pub mod effect;
pub mod effect_apply;
pub mod exec;
pub mod lock;
mod long_double;
pub mod memcached;
pub mod metrics;
pub mod node;
pub mod notify;
pub mod pubsub;
pub mod rdb;
pub mod replication;
pub mod run;
pub mod script;
pub mod settings;
pub mod shard;
pub mod slow;
pub mod stats;
pub mod store;

mod eviction;
mod expiry;
mod hyperloglog;
mod side_state;

pub use config::ServerConfig;
pub use run::{Addresses, Running, StartError, run};
