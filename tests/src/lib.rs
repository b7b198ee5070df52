//! Tests of Torc across its parts: differential, end to end, failover.
//!
//! The library holds what those tests share:
//! - [`process`]: child processes with their own folder, ended by pid when dropped;
//! - [`peer`]: the servers Torc is compared with, and the rule for a missing one;
//! - [`torc`]: the `torc` binary (built when missing or stale) and servers started from it;
//! - [`cluster`]: whole clusters brought up by `torc up`;
//! - [`fleet`]: clusters whose processes nobody watches; [`netns`], [`relay`]: networks of theirs that fail;
//! - [`recorder`]: clients that write down a history;
//! - [`writer`]: clients that write all the time and remember what was acknowledged;
//! - [`history`]: what clients did and were told, in one time; judged by [`linear`] and [`grows`];
//! - [`client`]: blocking connections that hand out raw reply frames;
//! - [`tools`], [`python`]: other people's clients;
//! - [`steps`]: several checks on one cluster;
//! - [`http`], [`scrape`]: pages of a server's HTTP port, and its metrics;
//! - [`differential`]: lists of commands sent to two servers, replies compared byte for byte.
//!
//! Each value belongs to the test that made it; nothing here is shared between tests except the
//! once-per-process check that the `torc` binary is fresh.

// The edge of the project: tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

pub mod client;
pub mod cluster;
pub mod counter;
pub mod differential;
pub mod fleet;
pub mod frame;
pub mod grows;
pub mod history;
pub mod http;
pub mod linear;
pub mod netns;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod python;
pub mod quote;
pub mod recorder;
pub mod relay;
pub mod scrape;
pub mod steps;
pub mod tools;
pub mod torc;
pub mod writer;
