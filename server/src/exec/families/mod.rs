//! The handlers: one file per family of the command table.
//!
//! Each file has one exhaustive `match`, so a row without a handler does not compile.

mod bitmap;
mod cluster;
mod connection;
mod functions;
mod gather;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod internal;
mod lease;
mod list;
pub(super) mod lock;
mod pubsub;
mod scripting;
mod server;
mod server_keys;
mod set;
mod sort;
mod sorted_set;
mod stream;
mod string;
mod transactions;

use torc_protocol::command::Command;
use torc_protocol::resp::Args;

use super::{CommandResult, Cx};
use crate::slow;

pub use sort::sorts_by_keys;

/// Runs a command whose stripes are locked and writes its reply.
#[inline]
pub fn dispatch(cx: &mut Cx<'_, '_>, command: Command, args: &Args<'_>) -> CommandResult {
    match command {
        Command::Connection(c) => connection::run(cx, c, args),
        Command::Generic(c) => generic::run(cx, c, args),
        Command::String(c) => string::run(cx, c, args),
        Command::Bitmap(c) => bitmap::run(cx, c, args),
        Command::Hyperloglog(c) => hyperloglog::run(cx, c, args),
        Command::Hash(c) => hash::run(cx, c, args),
        Command::List(c) => list::run(cx, c, args),
        Command::Set(c) => set::run(cx, c, args),
        Command::Sort(c) => sort::run(cx, c, args),
        Command::SortedSet(c) => sorted_set::run(cx, c, args),
        Command::Geo(c) => geo::run(cx, c, args),
        Command::Stream(c) => stream::run(cx, c, args),
        Command::Pubsub(c) => pubsub::run(cx, c, args),
        Command::Transactions(c) => transactions::run(cx, c, args),
        Command::Scripting(c) => scripting::run(cx, c, args),
        Command::Server(c) => server::run(cx, c, args),
        Command::Cluster(c) => cluster::run(cx, c, args),
        Command::Lock(c) => lock::run(cx, c, args),
        Command::Lease(c) => lease::run(cx, c, args),
        Command::Internal(c) => internal::run(cx, c, args),
    }
}

/// As [`dispatch`], for a command of a transaction or a script: it has an entry of its own in the slow log.
pub fn dispatch_inside(cx: &mut Cx<'_, '_>, command: Command, args: &Args<'_>) -> CommandResult {
    let timed = cx.node.slow.times_all() || slow::may_be_slow(command, args);
    let Some(clock) = cx.clock_ns.filter(|_| timed) else { return dispatch(cx, command, args) };
    let began = clock();
    let result = dispatch(cx, command, args);
    cx.node.slow.note(command, args, cx.session, clock().saturating_sub(began), cx.now_ms);
    result
}
