//! Commands that the proxy answers itself, from the state of the client or of its own.

mod client;
mod cluster;
mod config;
mod connection;
mod explain;
mod hot;
mod server;
mod slowlog;
mod wait;

pub use connection::{enter_if_open, may_enter};

use torc_protocol::command::{self, Command, GenericCommand, ScriptingCommand};
use torc_protocol::error;
use torc_protocol::resp::parse_i64;

use crate::call::Call;
use crate::dispatch;
use crate::downstream::request::Request;
use crate::downstream::resp::Step;
use crate::join::How;

/// Answers, or has shards answer, a command that is not routed by its keys.
pub fn answer(call: &mut Call<'_>) -> Step {
    match call.request.command {
        Command::Connection(command) => connection::answer(call, command),
        Command::Server(command) => server::answer(call, command),
        Command::Pubsub(command) => crate::pubsub::answer(call, command),
        Command::Cluster(command) => cluster::answer(call, command),
        // It must not stand behind the script.
        Command::Scripting(ScriptingCommand::ScriptKill) => dispatch::all_beside(call, How::AnyOk),
        Command::Generic(GenericCommand::Randomkey) => {
            // An empty shard has none: the others are asked too, another one first each time.
            let shards = call.routes.shards().max(1);
            let first = usize::try_from(call.worker.random() % shards as u64).unwrap_or(0);
            dispatch::all(call, How::First, first)
        }
        command if call.request.spec.name.ends_with("|help") => {
            call.reply(|reply| command::help(command, reply))
        }
        _ => dispatch::by_table(call),
    }
}

/// Entries that are given unless told otherwise.
const DEFAULT_COUNT: usize = 10;

/// `[count | RESET]` of `PROXY SLOWLOG` and `PROXY HOT`: how many entries are asked for; `None`: they are to be forgotten.
///
/// # Errors
/// The error's text.
fn count_or_reset(request: &Request<'_>) -> Result<Option<usize>, &'static str> {
    match request.args.len() {
        2 => Ok(Some(DEFAULT_COUNT)),
        3 if request.is_word(2, "RESET") => Ok(None),
        3 => match parse_i64(request.arg(2)) {
            Some(-1) => Ok(Some(usize::MAX)),
            Some(count) if count >= 0 => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
            _ => Err("ERR count should be greater than or equal to -1"),
        },
        _ => Err(error::SYNTAX),
    }
}
