//! Handlers of the string family.

mod set;

use torc_protocol::command::StringCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: StringCommand, args: &Args<'_>) -> CommandResult {
    let _ = (&cx, args);
    match command {
        StringCommand::Append => Err("ERR 'append' is not served yet".into()),
        StringCommand::Decr => Err("ERR 'decr' is not served yet".into()),
        StringCommand::Decrby => Err("ERR 'decrby' is not served yet".into()),
        StringCommand::Get => set::get(cx, args),
        StringCommand::Getdel => Err("ERR 'getdel' is not served yet".into()),
        StringCommand::Getex => Err("ERR 'getex' is not served yet".into()),
        StringCommand::Getrange => Err("ERR 'getrange' is not served yet".into()),
        StringCommand::Getset => Err("ERR 'getset' is not served yet".into()),
        StringCommand::Incr => Err("ERR 'incr' is not served yet".into()),
        StringCommand::Incrby => Err("ERR 'incrby' is not served yet".into()),
        StringCommand::Incrbyfloat => Err("ERR 'incrbyfloat' is not served yet".into()),
        StringCommand::Lcs => Err("ERR 'lcs' is not served yet".into()),
        StringCommand::Mget => Err("ERR 'mget' is not served yet".into()),
        StringCommand::Mset => Err("ERR 'mset' is not served yet".into()),
        StringCommand::Msetnx => Err("ERR 'msetnx' is not served yet".into()),
        StringCommand::Psetex => Err("ERR 'psetex' is not served yet".into()),
        StringCommand::Set => set::set(cx, args),
        StringCommand::Setex => Err("ERR 'setex' is not served yet".into()),
        StringCommand::Setnx => Err("ERR 'setnx' is not served yet".into()),
        StringCommand::Setrange => Err("ERR 'setrange' is not served yet".into()),
        StringCommand::Strlen => Err("ERR 'strlen' is not served yet".into()),
        StringCommand::Substr => Err("ERR 'substr' is not served yet".into()),
    }
}

#[cfg(test)]
mod tests;
