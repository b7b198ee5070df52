//! Handlers of the string family.

mod change;
mod lcs;
mod many;
mod number;
mod set;

use torc_protocol::command::StringCommand;
use torc_protocol::resp::Args;

use crate::exec::parse::TimeUnit;
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: StringCommand, args: &Args<'_>) -> CommandResult {
    match command {
        StringCommand::Append => change::append(cx, args),
        StringCommand::Decr => number::add(cx, args, -1),
        StringCommand::Decrby => number::decrby(cx, args),
        StringCommand::Delifeq => set::delifeq(cx, args),
        StringCommand::Get => set::get(cx, args),
        StringCommand::Getdel => set::getdel(cx, args),
        StringCommand::Getex => set::getex(cx, args),
        StringCommand::Getrange => change::getrange(cx, args),
        StringCommand::Getset => set::getset(cx, args),
        StringCommand::Incr => number::add(cx, args, 1),
        StringCommand::Incrby => number::incrby(cx, args),
        StringCommand::Incrbyfloat => number::incrbyfloat(cx, args),
        StringCommand::Lcs => lcs::lcs(cx, args),
        StringCommand::Mget => many::mget(cx, args),
        StringCommand::Mset => many::mset(cx, args),
        StringCommand::Msetnx => many::msetnx(cx, args),
        StringCommand::Psetex => set::setex(cx, args, TimeUnit::PX, "psetex"),
        StringCommand::Set => set::set(cx, args),
        StringCommand::Setex => set::setex(cx, args, TimeUnit::EX, "setex"),
        StringCommand::Setnx => set::setnx(cx, args),
        StringCommand::Setrange => change::setrange(cx, args),
        StringCommand::Strlen => change::strlen(cx, args),
        StringCommand::Substr => change::getrange(cx, args),
    }
}

#[cfg(test)]
mod tests;
