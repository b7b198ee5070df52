//! The server family, as far as the proxy has something of its own to say.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use torc_protocol::command::{Door, ServerCommand, answer_acl};
use torc_protocol::error;
use torc_protocol::resp::request_arg;

use torc_runtime::datadir::random_bytes;

use super::{config, explain, hot, slowlog, wait};
use crate::call::Call;
use crate::dispatch::{self, MAX_WAIT_MS};
use crate::downstream::resp::Step;
use crate::info::{self, TORC_VERSION};
use crate::join::How;
use crate::text;
use crate::upstream::pending::Dest;

pub(super) fn answer(call: &mut Call<'_>, command: ServerCommand) -> Step {
    match command {
        ServerCommand::Info => about(call),
        ServerCommand::LatencyLatest => dispatch::all(call, How::Latest, 0),
        ServerCommand::LatencyHistory => dispatch::all(call, How::History, 0),
        ServerCommand::LatencyHistogram => dispatch::all(call, How::Histogram, 0),
        ServerCommand::MemoryStats => dispatch::all(call, How::MemoryStats, 0),
        ServerCommand::LatencyDoctor
        | ServerCommand::LatencyGraph
        | ServerCommand::MemoryDoctor
        | ServerCommand::MemoryMallocStats => {
            let shards = (0..call.routes.shards()).map(|place| call.routes.shard_id(place).0).collect();
            dispatch::all(call, How::Texts(shards), 0)
        }
        // All is saved that was before the first of them.
        ServerCommand::Lastsave => dispatch::all(call, How::Min, 0),
        ServerCommand::Time => {
            let now = wall_time();
            call.reply(|reply| {
                reply.array(2);
                reply.bulk_fmt(now.as_secs());
                reply.bulk_fmt(now.subsec_micros());
            })
        }
        ServerCommand::Lolwut => {
            let text = format!(
                "\n   /\\_/\\   one address\n  ( o.o )  in front of many\n   > ^ <\n\nTorc ver. {TORC_VERSION}\n"
            );
            call.reply(|reply| reply.verbatim(b"txt", text.as_bytes()))
        }
        ServerCommand::Role => call.reply(|reply| {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(0);
            reply.array(0);
        }),
        ServerCommand::Monitor => crate::monitor::start(call),
        ServerCommand::Wait => wait::answer(call),
        ServerCommand::Waitaof => {
            call.refuse("ERR WAITAOF cannot be used: there is no append-only file; WAIT waits for replicas")
        }
        ServerCommand::ProxyExplain => explain::answer(call),
        ServerCommand::ProxyHot => hot::answer(call),
        ServerCommand::ProxySlowlog => slowlog::answer(call),
        ServerCommand::DebugSleep => sleep(call),
        ServerCommand::ConfigGet => config::get(call),
        ServerCommand::ConfigSet => config::set(call),
        ServerCommand::ConfigResetstat => {
            let step = dispatch::by_table(call);
            if step != Step::NotYet {
                let shared = &call.worker.shared;
                *shared.reset.lock() = info::Counted::ever(shared);
            }
            step
        }
        ServerCommand::ConfigRewrite => call.refuse(error::NO_CONFIG_FILE),
        ServerCommand::AclCat
        | ServerCommand::AclDeluser
        | ServerCommand::AclDryrun
        | ServerCommand::AclGenpass
        | ServerCommand::AclGetuser
        | ServerCommand::AclList
        | ServerCommand::AclLoad
        | ServerCommand::AclLog
        | ServerCommand::AclSave
        | ServerCommand::AclSetuser
        | ServerCommand::AclUsers
        | ServerCommand::AclWhoami => {
            let args = call.request.args;
            let settings = call.worker.shared.settings.load_full();
            call.reply(|reply| {
                let door = Door { password: &settings.requirepass, random: random_bytes };
                answer_acl(command, &args, &door, reply);
            })
        }
        ServerCommand::Command
        | ServerCommand::CommandCount
        | ServerCommand::CommandDocs
        | ServerCommand::CommandGetkeys
        | ServerCommand::CommandGetkeysandflags
        | ServerCommand::CommandInfo
        | ServerCommand::CommandList
        | ServerCommand::CommandHelp => {
            let args = call.request.args;
            call.reply(|reply| {
                torc_protocol::command::answer_command(command, &args, reply);
            })
        }
        _ if call.request.spec.name.ends_with("|help") || command == ServerCommand::Proxy => {
            call.reply(|reply| torc_protocol::command::help(command.into(), reply))
        }
        _ => dispatch::by_table(call),
    }
}

/// Wall time since 1970: here it is what is asked for.
#[allow(clippy::disallowed_methods, reason = "the edge, and milliseconds are not fine enough")]
fn wall_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// DEBUG SLEEP holds its connection up: it gets one of its own.
fn sleep(call: &mut Call<'_>) -> Step {
    let seconds = std::str::from_utf8(call.request.arg(2)).ok().and_then(|text| text.parse::<f64>().ok());
    let wait_ms = (seconds.unwrap_or(0.0) * 1000.0).clamp(0.0, f64::from(MAX_WAIT_MS)) as u64;
    let Some(place) = call.any_place() else { return call.refuse(text::NO_MAP) };
    dispatch::alone(call, Dest::Shard(call.routes.shard_id(place)), b"", wait_ms)
}

/// INFO: the proxy's own sections, with memory, keys and hits of all primaries.
fn about(call: &mut Call<'_>) -> Step {
    let wanted: Vec<String> = call
        .request
        .args
        .tail(1)
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let sections = info::Sections::new(&wanted);
    let text = info::render(&call.worker.shared, &call.routes.table, &sections);
    let asked = info::asked(&sections);
    if asked.is_empty() || call.routes.shards() == 0 {
        return call.reply(|reply| reply.verbatim(b"txt", text.as_bytes()));
    }
    let mut args = Vec::new();
    request_arg(&mut args, b"INFO");
    asked.iter().for_each(|section| request_arg(&mut args, section.as_bytes()));
    dispatch::all_of(call, How::Info(text), 0, (1 + asked.len(), &args))
}
