//! The consistent-hashing proxy of Torc.
//!
//! ```text
//!              acceptor (torc-control) ──▶ torc-worker-0 … N
//!  clients ══▶ downstream: turns of clients ─▶ dispatch ─▶ upstream: connections ══▶ nodes
//!          ◀══ outbox, in the order of requests ◀── replies ◀──┘
//! ```
//! A worker owns its clients and has its own connections to the nodes: a request never changes threads. The
//! control thread accepts connections, watches the cluster map, makes routing tables from it, and serves HTTP.

mod buffer;
mod call;
mod collect;
pub mod config;
mod dispatch;
mod downstream;
mod hot;
mod info;
mod join;
mod local;
mod metrics;
mod monitor;
mod pause;
mod plan;
mod policy;
mod pubsub;
mod reads;
mod reload;
mod scan;
mod scatter;
mod shared;
mod slow;
mod start;
mod table;
mod text;
mod transaction;
mod upstream;
mod worker;

pub use config::{ConfigError, ProxyConfig};
pub use reload::{ReadAgain, Reloaded};
pub use shared::Addresses;
pub use start::{Listeners, MapSource, ProxyError, ProxyHandle, Setup, start};
