//! The server family, as far as the proxy has something of its own to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use torc_protocol::command::ServerCommand;
use torc_protocol::error;
use torc_protocol::resp::request_arg;

use super::{Local, config, wait};
use crate::dispatch::{self, MAX_WAIT_MS};
use crate::downstream::resp::Step;
use crate::info::{self, TORC_VERSION};
use crate::join::How;
use crate::text;
use crate::upstream::pending::Dest;

pub(super) fn answer(local: &mut Local<'_>, command: ServerCommand) -> Step {
    match command {
        ServerCommand::Info => about(local),
        ServerCommand::Time => {
            let now = wall_time();
            local.reply(|reply| {
                reply.array(2);
                reply.bulk_fmt(now.as_secs());
                reply.bulk_fmt(now.subsec_micros());
            })
        }
        ServerCommand::Lolwut => {
            let text = format!(
                "\n   /\\_/\\   one address\n  ( o.o )  in front of many\n   > ^ <\n\nTorc ver. {TORC_VERSION}\n"
            );
            local.reply(|reply| reply.verbatim(b"txt", text.as_bytes()))
        }
        ServerCommand::Role => local.reply(|reply| {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(0);
            reply.array(0);
        }),
        ServerCommand::Wait => wait::answer(local),
        ServerCommand::Waitaof => {
            local.refuse("ERR WAITAOF cannot be used: there is no append-only file; WAIT waits for replicas")
        }
        ServerCommand::DebugSleep => sleep(local),
        ServerCommand::ConfigGet => config::get(local),
        ServerCommand::ConfigSet => config::set(local),
        ServerCommand::ConfigRewrite => local.refuse(error::NO_CONFIG_FILE),
        ServerCommand::Command
        | ServerCommand::CommandCount
        | ServerCommand::CommandDocs
        | ServerCommand::CommandGetkeys
        | ServerCommand::CommandInfo
        | ServerCommand::CommandList
        | ServerCommand::CommandHelp => {
            let args = local.request.args;
            local.reply(|reply| {
                torc_protocol::command::answer_command(command, &args, reply);
            })
        }
        _ if local.request.spec.name.ends_with("|help") => {
            local.reply(|reply| torc_protocol::command::help(command.into(), reply))
        }
        _ => local.forward(),
    }
}

/// Wall time since 1970: here it is what is asked for.
#[allow(clippy::disallowed_methods, reason = "the edge, and milliseconds are not fine enough")]
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// DEBUG SLEEP holds its connection up: it gets one of its own.
fn sleep(local: &mut Local<'_>) -> Step {
    let seconds = std::str::from_utf8(local.request.arg(2)).ok().and_then(|text| text.parse::<f64>().ok());
    let wait_ms = (seconds.unwrap_or(0.0) * 1000.0).clamp(0.0, f64::from(MAX_WAIT_MS)) as u32;
    let shards = local.routes.shards();
    if shards == 0 {
        return local.refuse(text::NO_MAP);
    }
    let dest = Dest::Shard(local.routes.shard_id(local.client.id() as usize % shards));
    let Local { worker, client, session, routes, request, scratch } = local;
    dispatch::alone(worker, client, session, routes, request, dest, wait_ms, scratch)
}

/// INFO: the proxy's own sections, and the keyspace of all shards.
fn about(local: &mut Local<'_>) -> Step {
    let wanted: Vec<String> = local
        .request
        .args
        .tail(1)
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let sections = info::Sections::new(&wanted);
    let text = info::render(&local.worker.shared, &local.routes.table, &sections);
    if !sections.has("keyspace") || local.routes.shards() == 0 {
        return local.reply(|reply| reply.verbatim(b"txt", text.as_bytes()));
    }
    let mut args = Vec::new();
    request_arg(&mut args, b"INFO");
    request_arg(&mut args, b"keyspace");
    let how = How::Keyspace(text);
    dispatch::all_of(
        local.worker,
        local.client,
        local.session,
        local.routes,
        local.request,
        how,
        0,
        (2, &args),
    )
}
