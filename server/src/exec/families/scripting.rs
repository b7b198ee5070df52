//! Handlers of the scripting family; the work is [`crate::script`]'s.

use torc_protocol::command::{Command, ScriptingCommand};
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::script::{self, KillError, Loaded, ScriptError, hex, sha_from_hex};

const HELP: &[&str] = &[
    "SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EXISTS <sha1> [<sha1> ...]",
    "    Say for each digest whether a script of it is known.",
    "FLUSH [ASYNC|SYNC]",
    "    Forget all scripts.",
    "KILL",
    "    Stop the scripts that are running and have not written.",
    "LOAD <script>",
    "    Remember a script without running it.",
    "HELP",
    "    Print this help.",
];

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ScriptingCommand, args: &Args<'_>) -> CommandResult {
    match command {
        ScriptingCommand::Eval => script::eval(cx, args, false, false),
        ScriptingCommand::EvalRo => script::eval(cx, args, false, true),
        ScriptingCommand::Evalsha => script::eval(cx, args, true, false),
        ScriptingCommand::EvalshaRo => script::eval(cx, args, true, true),
        ScriptingCommand::Fcall
        | ScriptingCommand::FcallRo
        | ScriptingCommand::Function
        | ScriptingCommand::FunctionDelete
        | ScriptingCommand::FunctionDump
        | ScriptingCommand::FunctionFlush
        | ScriptingCommand::FunctionHelp
        | ScriptingCommand::FunctionKill
        | ScriptingCommand::FunctionList
        | ScriptingCommand::FunctionLoad
        | ScriptingCommand::FunctionRestore
        | ScriptingCommand::FunctionStats => super::functions::run(cx, command, args),
        ScriptingCommand::Script => Err(text::wrong_arity(Command::Scripting(command).spec().name).into()),
        ScriptingCommand::ScriptExists => exists(cx, args),
        ScriptingCommand::ScriptFlush => flush(cx, args),
        ScriptingCommand::ScriptHelp => help(cx),
        ScriptingCommand::ScriptKill => kill(cx),
        ScriptingCommand::ScriptLoad => load(cx, args),
    }
}

fn exists(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let digests = args.tail(2);
    cx.reply().array(digests.len());
    for digest in digests.iter() {
        let known = sha_from_hex(digest).is_some_and(|sha| cx.node.scripts.contains(&sha));
        cx.reply().integer(i64::from(known));
    }
    Ok(())
}

fn flush(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let known = match args.get(2) {
        None => true,
        Some(mode) => mode.eq_ignore_ascii_case(b"SYNC") || mode.eq_ignore_ascii_case(b"ASYNC"),
    };
    if !known || args.len() > 3 {
        return Err("ERR SCRIPT FLUSH only support SYNC|ASYNC option".into());
    }
    cx.node.scripts.flush();
    cx.scripts.reset();
    cx.effects.script_flush();
    cx.dirty += 1;
    cx.reply().ok();
    Ok(())
}

fn load(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let body = args.get(2).unwrap_or_default();
    cx.scripts.check(body).map_err(|error| match error {
        ScriptError::Failed(text) => CommandError::Bytes(text.into()),
        ScriptError::WantsWholeStore => CommandError::Undeclared,
    })?;
    let Loaded::Kept(sha) = cx.node.scripts.load(body) else {
        return Err("ERR the cache of loaded scripts is full; SCRIPT FLUSH empties it".into());
    };
    cx.effects.script(body);
    cx.dirty += 1;
    cx.reply().bulk(hex(&sha).as_bytes());
    Ok(())
}

fn kill(cx: &mut Cx<'_, '_>) -> CommandResult {
    match cx.node.scripts.kill() {
        Ok(()) => {
            cx.reply().ok();
            Ok(())
        }
        Err(KillError::NotBusy) => Err(text::NOTBUSY.into()),
        Err(KillError::Unkillable) => Err(text::UNKILLABLE.into()),
    }
}

fn help(cx: &mut Cx<'_, '_>) -> CommandResult {
    let mut reply = cx.reply();
    reply.array(HELP.len());
    HELP.iter().for_each(|line| reply.simple(line));
    Ok(())
}
