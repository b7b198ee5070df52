//! The side of the nodes: connections, what is under way on them, and what waits.
//!
//! ```text
//! Routes ── per shard ──▶ Link (one per node and worker) ── Connection, Connection, …
//!                                                             │  replies
//! Hold ◀── refused, lost and homeless requests ───────────────┘
//! ```
//! All of it belongs to one worker.

pub mod body;
pub mod breaker;
pub mod connection;
pub mod handshake;
pub mod hold;
pub mod ids;
pub mod link;
pub mod outlier;
pub mod pending;
pub mod refusal;
