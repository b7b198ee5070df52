//! The side of the clients.
//!
//! Each client has one task ([`task`]), which owns what was read and the session, and one [`client::Client`],
//! which everybody on the worker's thread may give replies to.

pub mod client;
pub mod memcached;
pub mod outbox;
pub mod render;
pub mod request;
pub mod resp;
pub mod session;
mod task;

pub use task::welcome;
