//! Handlers of the server family.

mod config;
mod debug;
mod debug_protocol;
mod info;
mod latency;
mod memory;
mod replication;
mod slowlog;
#[cfg(test)]
mod tests;

use torc_protocol::command::{Door, ServerCommand, answer_acl, answer_command, help};
use torc_protocol::error as text;
use torc_protocol::resp::Args;
use torc_runtime::datadir::random_bytes;

use super::server_keys;
use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow};
use crate::pubsub::Subscriptions;

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ServerCommand, args: &Args<'_>) -> CommandResult {
    match command {
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
            let settings = cx.node.settings.load_full();
            let door = Door { password: &settings.requirepass, random: random_bytes };
            answer_acl(command, args, &door, &mut cx.reply());
        }
        ServerCommand::Command
        | ServerCommand::CommandCount
        | ServerCommand::CommandDocs
        | ServerCommand::CommandGetkeys
        | ServerCommand::CommandGetkeysandflags
        | ServerCommand::CommandHelp
        | ServerCommand::CommandInfo
        | ServerCommand::CommandList => {
            answer_command(command, args, &mut cx.reply());
        }
        ServerCommand::Acl
        | ServerCommand::AclHelp
        | ServerCommand::Config
        | ServerCommand::ConfigHelp
        | ServerCommand::Debug
        | ServerCommand::DebugHelp
        | ServerCommand::Module
        | ServerCommand::ModuleHelp
        | ServerCommand::Latency
        | ServerCommand::LatencyHelp
        | ServerCommand::Memory
        | ServerCommand::MemoryHelp
        | ServerCommand::Proxy
        | ServerCommand::ProxyHelp
        | ServerCommand::Slowlog
        | ServerCommand::SlowlogHelp => help(command.into(), &mut cx.reply()),
        ServerCommand::ConfigGet => return config::get(cx, args),
        ServerCommand::ConfigResetstat => return config::resetstat(cx),
        ServerCommand::ConfigRewrite => return config::rewrite(cx),
        ServerCommand::ConfigSet => return config::set(cx, args),
        ServerCommand::Dbsize => return server_keys::dbsize(cx),
        ServerCommand::DebugChangeReplId
        | ServerCommand::DebugDictResizing
        | ServerCommand::DebugPauseCron
        | ServerCommand::DebugReplybuffer
        | ServerCommand::DebugSetDisableDenyScripts => return debug::nothing(cx),
        ServerCommand::DebugDigest => return debug::digest(cx),
        ServerCommand::DebugDigestValue => return debug::digest_value(cx, args),
        ServerCommand::DebugListpack => return debug::listpack(cx, args),
        ServerCommand::DebugLoadaof => return debug::loadaof(cx),
        ServerCommand::DebugStringmatchLen => return debug::stringmatch_len(cx, args),
        ServerCommand::DebugObject => return debug::object(cx, args),
        ServerCommand::DebugPopulate => return debug::populate(cx, args),
        ServerCommand::DebugProtocol => return debug_protocol::protocol(cx, args),
        ServerCommand::DebugQuicklistPackedThreshold => return debug::packed_threshold(cx),
        ServerCommand::DebugReload => return debug::reload(cx),
        ServerCommand::DebugSetActiveExpire => return debug::set_active_expire(cx, args),
        ServerCommand::DebugSleep => return debug::sleep(cx, args),
        ServerCommand::Flushall => return server_keys::flush(cx, args, None),
        ServerCommand::Flushdb => return server_keys::flush(cx, args, Some(cx.db)),
        ServerCommand::Info => return info::info(cx, args),
        ServerCommand::Lastsave => {
            let at_s = cx.node.started_ms / 1000;
            cx.reply().integer(at_s as i64);
        }
        ServerCommand::LatencyDoctor => latency::doctor(cx),
        ServerCommand::LatencyGraph => return latency::graph(cx, args),
        ServerCommand::LatencyHistogram => latency::histogram(cx, args),
        ServerCommand::LatencyHistory => return latency::history(cx, args),
        ServerCommand::LatencyLatest => return latency::latest(cx),
        ServerCommand::LatencyReset => return latency::reset(cx, args),
        ServerCommand::Lolwut => {
            if let (Some(word), Some(version)) = (args.get(1), args.get(2))
                && word.eq_ignore_ascii_case(b"version")
            {
                crate::exec::parse::integer(version)?;
            }
            lolwut(cx);
        }
        ServerCommand::MemoryDoctor => return memory::doctor(cx),
        ServerCommand::MemoryMallocStats => memory::malloc_stats(cx),
        ServerCommand::MemoryPurge => cx.reply().ok(),
        ServerCommand::MemoryStats => return memory::stats(cx),
        ServerCommand::MemoryUsage => return server_keys::memory_usage(cx, args),
        ServerCommand::ModuleList => cx.reply().array(0),
        ServerCommand::ModuleLoad => {
            return Err("ERR modules are not served".into());
        }
        ServerCommand::Monitor => {
            return monitor(cx);
        }
        ServerCommand::ProxyExplain | ServerCommand::ProxyHot | ServerCommand::ProxySlowlog => {
            return Err(text::NOT_A_PROXY.into());
        }
        ServerCommand::Failover => return Err(text::REPLICAOF.into()),
        ServerCommand::Replicaof | ServerCommand::Slaveof => return replication::replicaof(cx, args),
        ServerCommand::Role => return replication::role(cx),
        ServerCommand::Save | ServerCommand::Bgsave => return Err(text::MEMORY_ONLY.into()),
        ServerCommand::Shutdown => return shutdown(cx, args),
        ServerCommand::SlowlogGet => return slowlog::get(cx, args),
        ServerCommand::SlowlogLen => {
            let len = cx.node.slow.len();
            cx.reply().integer(len as i64);
        }
        ServerCommand::SlowlogReset => {
            cx.node.slow.reset();
            cx.reply().ok();
        }
        ServerCommand::Swapdb => return server_keys::swapdb(cx, args),
        ServerCommand::Time => {
            let now_ms = cx.now_ms;
            let mut reply = cx.reply();
            reply.array(2);
            reply.bulk_integer((now_ms / 1000) as i64);
            reply.bulk_integer((now_ms % 1000 * 1000) as i64);
        }
        ServerCommand::Wait => return replication::wait(cx, args),
        ServerCommand::Waitaof => return replication::waitaof(cx, args),
    }
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`
fn shutdown(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (mut save, mut nosave, mut abort) = (false, false, false);
    for option in args.iter().skip(1) {
        match option {
            o if o.eq_ignore_ascii_case(b"nosave") => nosave = true,
            o if o.eq_ignore_ascii_case(b"save") => save = true,
            o if o.eq_ignore_ascii_case(b"now") || o.eq_ignore_ascii_case(b"force") => {}
            o if o.eq_ignore_ascii_case(b"abort") => abort = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    if (save && nosave) || (abort && args.len() > 2) {
        return Err(CommandError::Syntax);
    }
    if abort {
        return Err("ERR No shutdown in progress.".into());
    }
    if save {
        return Err(text::MEMORY_ONLY.into());
    }
    let Some(token) = cx.node.shutdown.get() else {
        return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
    };
    tracing::info!(client = cx.session.id, "stopping: a client asked for it");
    token.trigger();
    // As Redis: the connection ends without a reply.
    cx.flow = Flow::Close;
    Ok(())
}

/// `MONITOR`: all requests are shown from now on, until RESET or the end of the connection.
fn monitor(cx: &mut Cx<'_, '_>) -> CommandResult {
    let Some(client) = cx.session.client.clone().filter(|_| cx.depth == Depth::Command && !cx.proxied) else {
        return Err("ERR MONITOR isn't allowed for DENY BLOCKING client".into());
    };
    let (registry, version) = (cx.node.pubsub.clone(), cx.version);
    let subscriptions = cx
        .session
        .subscriptions
        .get_or_insert_with(|| Box::new(Subscriptions::new(registry, client, version)));
    subscriptions.start_monitor();
    cx.reply().ok();
    Ok(())
}

fn lolwut(cx: &mut Cx<'_, '_>) {
    const WIDTH: usize = 40;
    const HEIGHT: usize = 9;
    const INK: [char; 5] = [' ', '.', ':', 'o', 'O'];
    let (phase, tilt) = (cx.random() % 64, cx.random() % 7 + 2);
    let mut picture = String::with_capacity(WIDTH * HEIGHT * 2);
    for row in 0..HEIGHT {
        for column in 0..WIDTH {
            let (x, y) = (column as f64 / 6.0, row as f64 / 2.0);
            let wave = (x + phase as f64 / 10.0).sin() + (y * tilt as f64 / 4.0 + x / 3.0).cos();
            let shade = ((wave + 2.0) / 4.0 * INK.len() as f64) as usize;
            picture.push(INK.get(shade).copied().unwrap_or('O'));
        }
        picture.push('\n');
    }
    picture.push_str(&format!(
        "\nRedis ver. {} (Torc {})\n",
        torc_protocol::REDIS_VERSION,
        env!("CARGO_PKG_VERSION")
    ));
    cx.reply().verbatim(b"txt", picture.as_bytes());
}
