//! Handlers of the scripting family.

use torc_protocol::command::ScriptingCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: ScriptingCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        ScriptingCommand::Eval => Err("ERR 'eval' is not served yet".into()),
        ScriptingCommand::EvalRo => Err("ERR 'eval_ro' is not served yet".into()),
        ScriptingCommand::Evalsha => Err("ERR 'evalsha' is not served yet".into()),
        ScriptingCommand::EvalshaRo => Err("ERR 'evalsha_ro' is not served yet".into()),
        ScriptingCommand::Script => Err("ERR 'script' is not served yet".into()),
        ScriptingCommand::ScriptExists => Err("ERR 'script|exists' is not served yet".into()),
        ScriptingCommand::ScriptFlush => Err("ERR 'script|flush' is not served yet".into()),
        ScriptingCommand::ScriptHelp => Err("ERR 'script|help' is not served yet".into()),
        ScriptingCommand::ScriptKill => Err("ERR 'script|kill' is not served yet".into()),
        ScriptingCommand::ScriptLoad => Err("ERR 'script|load' is not served yet".into()),
    }
}
