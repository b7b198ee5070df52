//! FUNCTION and FCALL of a server without functions: nothing can be loaded, and all else is answered as Redis does when
//! nothing has been. Functions have their place here when they come.

use torc_protocol::command::{ScriptingCommand, help};
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::rdb::payload;

/// Runs one command about functions.
pub fn run(cx: &mut Cx<'_, '_>, command: ScriptingCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ScriptingCommand::Fcall | ScriptingCommand::FcallRo => Err(text::NO_FUNCTION.into()),
        ScriptingCommand::FunctionDelete => Err(text::NO_LIBRARY.into()),
        ScriptingCommand::FunctionDump => dump(cx),
        ScriptingCommand::FunctionFlush => flush(cx, args),
        ScriptingCommand::FunctionKill => Err(text::NOTBUSY.into()),
        ScriptingCommand::FunctionList => list(cx, args),
        ScriptingCommand::FunctionRestore => restore(cx, args),
        ScriptingCommand::FunctionStats => stats(cx),
        ScriptingCommand::FunctionLoad => Err(text::NO_FUNCTIONS.into()),
        _ => {
            help(command.into(), &mut cx.reply());
            Ok(())
        }
    }
}

/// The payload without libraries, which RESTORE takes.
fn dump(cx: &mut Cx<'_, '_>) -> CommandResult {
    let mut empty = Vec::new();
    payload::seal(&mut empty);
    cx.reply().bulk(&empty);
    Ok(())
}

/// FUNCTION FLUSH \[ASYNC | SYNC\]: there is nothing to forget.
fn flush(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(
            "ERR unknown subcommand or wrong number of arguments for 'FLUSH'. Try FUNCTION HELP.".into()
        );
    }
    let is_known = |mode: &[u8]| mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC");
    if !args.get(2).is_none_or(is_known) {
        return Err("ERR FUNCTION FLUSH only supports SYNC|ASYNC option".into());
    }
    cx.reply().ok();
    Ok(())
}

/// FUNCTION LIST \[LIBRARYNAME pattern\] \[WITHCODE\]
fn list(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut options = args.tail(2).iter();
    let (mut code, mut name) = (false, false);
    while let Some(option) = options.next() {
        if !code && option.eq_ignore_ascii_case(b"WITHCODE") {
            code = true;
        } else if !name && option.eq_ignore_ascii_case(b"LIBRARYNAME") {
            name = true;
            options.next().ok_or(CommandError::from("ERR library name argument was not given"))?;
        } else {
            // As Redis writes it: up to the first zero.
            let shown = option.split(|byte| *byte == 0).next().unwrap_or_default();
            return Err(CommandError::Bytes([b"ERR Unknown argument ", shown].concat().into()));
        }
    }
    cx.reply().array(0);
    Ok(())
}

/// FUNCTION RESTORE payload \[FLUSH | APPEND | REPLACE\]
fn restore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len() > 4 {
        return Err(
            "ERR unknown subcommand or wrong number of arguments for 'RESTORE'. Try FUNCTION HELP.".into()
        );
    }
    let is_known = |policy: &[u8]| {
        [&b"FLUSH"[..], b"APPEND", b"REPLACE"].iter().any(|known| policy.eq_ignore_ascii_case(known))
    };
    if !args.get(3).is_none_or(is_known) {
        return Err("ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.".into());
    }
    match payload::open(&args[2]) {
        None => Err("ERR DUMP payload version or checksum are wrong".into()),
        Some([]) => {
            cx.reply().ok();
            Ok(())
        }
        Some(_) => Err(text::NO_FUNCTIONS.into()),
    }
}

/// As Redis says it with no library loaded.
fn stats(cx: &mut Cx<'_, '_>) -> CommandResult {
    let mut reply = cx.reply();
    reply.map(2);
    reply.bulk(b"running_script");
    reply.null();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    for name in [&b"libraries_count"[..], b"functions_count"] {
        reply.bulk(name);
        reply.integer(0);
    }
    Ok(())
}
