//! Listeners, bus, HTTP, logging, signals and the raft transport and storage of Torc.
//!
//! What a server and a proxy both need and neither should own. Nothing here knows a command.
//!
//! | module | holds |
//! | --- | --- |
//! | [`cgroup`] | the memory limit of the container |
//! | [`clock`] | `CLOCK_BOOTTIME` and wall time, as functions and behind a trait |
//! | [`current_thread`] | runtimes of one thread, and their end |
//! | [`logging`] | the one place that installs a `tracing` subscriber |
//! | [`shutdown`] | the token that SIGTERM and SIGINT trip |
//! | [`listen`] | addresses, listeners, the `Stream` of TCP and unix sockets, the acceptor |
//! | [`http`] | `/metrics`, `/healthz`, `/readyz` and status pages; a tiny client |
//! | [`map_watch`] | following the cluster map over the bus |
//! | [`metrics`] | collectors over plain counters, latency histograms |
//! | [`random`] | seeded random numbers |
//! | [`process`] | what the system knows of this process and machine |
//! | [`datadir`], [`lockfile`] | the data folder: mode, atomic writes, secret, node id, lock |
//! | [`threads`] | what happens when a worker begins |
//! | [`bus`] | connections between nodes: handshake, frames, calls |
//! | [`raft`] | consensus over `openraft`: storage, transport, the handle |

pub mod bus;
pub mod cgroup;
pub mod clock;
pub mod current_thread;
pub mod datadir;
pub mod http;
pub mod listen;
pub mod lockfile;
pub mod logging;
pub mod map_watch;
pub mod metrics;
pub mod process;
pub mod raft;
pub mod random;
pub mod shutdown;
pub mod threads;

use std::future::Future;
use std::pin::Pin;

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
