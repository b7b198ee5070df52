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

use crate::call::Call;
use crate::dispatch;
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
