//! The side of the clients.
//!
//! Of each client the worker's driver has a [`Served`], which owns what was read and the session, and everybody on the
//! worker's thread may give replies to its [`client::Client`].

pub mod client;
pub mod memcached;
pub mod outbox;
pub mod render;
pub mod request;
pub mod resp;
pub mod session;
mod turn;
mod upload;

pub use turn::{Served, Turn, welcome};
