//! A small HTTP server for metrics, health and status pages, and a client for tools and tests.
//!
//! It is no place for user data: GET and HEAD only, no bodies, and everything a client can make
//! large or long is bounded by [`HttpLimits`].

mod client;
mod response;
mod server;

pub use client::{HttpError, get};
pub use response::Response;
pub use server::{HttpLimits, Routes, serve};
