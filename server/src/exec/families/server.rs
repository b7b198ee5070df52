//! Handlers of the server family.

use torc_protocol::command::ServerCommand;
use torc_protocol::resp::Args;

use super::server_keys;
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ServerCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        ServerCommand::Bgsave => Err("ERR 'bgsave' is not served yet".into()),
        ServerCommand::Command => Err("ERR 'command' is not served yet".into()),
        ServerCommand::CommandCount => Err("ERR 'command|count' is not served yet".into()),
        ServerCommand::CommandDocs => Err("ERR 'command|docs' is not served yet".into()),
        ServerCommand::CommandGetkeys => Err("ERR 'command|getkeys' is not served yet".into()),
        ServerCommand::CommandHelp => Err("ERR 'command|help' is not served yet".into()),
        ServerCommand::CommandInfo => Err("ERR 'command|info' is not served yet".into()),
        ServerCommand::CommandList => Err("ERR 'command|list' is not served yet".into()),
        ServerCommand::Config => Err("ERR 'config' is not served yet".into()),
        ServerCommand::ConfigGet => Err("ERR 'config|get' is not served yet".into()),
        ServerCommand::ConfigHelp => Err("ERR 'config|help' is not served yet".into()),
        ServerCommand::ConfigResetstat => Err("ERR 'config|resetstat' is not served yet".into()),
        ServerCommand::ConfigRewrite => Err("ERR 'config|rewrite' is not served yet".into()),
        ServerCommand::ConfigSet => Err("ERR 'config|set' is not served yet".into()),
        ServerCommand::Dbsize => server_keys::dbsize(cx),
        ServerCommand::Debug => Err("ERR 'debug' is not served yet".into()),
        ServerCommand::DebugObject => Err("ERR 'debug|object' is not served yet".into()),
        ServerCommand::DebugSetActiveExpire => Err("ERR 'debug|set-active-expire' is not served yet".into()),
        ServerCommand::DebugSleep => Err("ERR 'debug|sleep' is not served yet".into()),
        ServerCommand::Flushall => server_keys::flush(cx, args, None),
        ServerCommand::Flushdb => server_keys::flush(cx, args, Some(cx.db)),
        ServerCommand::Info => Err("ERR 'info' is not served yet".into()),
        ServerCommand::Lastsave => Err("ERR 'lastsave' is not served yet".into()),
        ServerCommand::Latency => Err("ERR 'latency' is not served yet".into()),
        ServerCommand::LatencyHelp => Err("ERR 'latency|help' is not served yet".into()),
        ServerCommand::LatencyHistory => Err("ERR 'latency|history' is not served yet".into()),
        ServerCommand::LatencyLatest => Err("ERR 'latency|latest' is not served yet".into()),
        ServerCommand::LatencyReset => Err("ERR 'latency|reset' is not served yet".into()),
        ServerCommand::Lolwut => Err("ERR 'lolwut' is not served yet".into()),
        ServerCommand::Memory => Err("ERR 'memory' is not served yet".into()),
        ServerCommand::MemoryDoctor => Err("ERR 'memory|doctor' is not served yet".into()),
        ServerCommand::MemoryHelp => Err("ERR 'memory|help' is not served yet".into()),
        ServerCommand::MemoryStats => Err("ERR 'memory|stats' is not served yet".into()),
        ServerCommand::MemoryUsage => server_keys::memory_usage(cx, args),
        ServerCommand::Monitor => Err("ERR 'monitor' is not served yet".into()),
        ServerCommand::Replicaof => Err("ERR 'replicaof' is not served yet".into()),
        ServerCommand::Role => Err("ERR 'role' is not served yet".into()),
        ServerCommand::Save => Err("ERR 'save' is not served yet".into()),
        ServerCommand::Shutdown => Err("ERR 'shutdown' is not served yet".into()),
        ServerCommand::Slaveof => Err("ERR 'slaveof' is not served yet".into()),
        ServerCommand::Slowlog => Err("ERR 'slowlog' is not served yet".into()),
        ServerCommand::SlowlogGet => Err("ERR 'slowlog|get' is not served yet".into()),
        ServerCommand::SlowlogHelp => Err("ERR 'slowlog|help' is not served yet".into()),
        ServerCommand::SlowlogLen => Err("ERR 'slowlog|len' is not served yet".into()),
        ServerCommand::SlowlogReset => Err("ERR 'slowlog|reset' is not served yet".into()),
        ServerCommand::Swapdb => server_keys::swapdb(cx, args),
        ServerCommand::Time => Err("ERR 'time' is not served yet".into()),
        ServerCommand::Wait => Err("ERR 'wait' is not served yet".into()),
        ServerCommand::Waitaof => Err("ERR 'waitaof' is not served yet".into()),
    }
}
