//! Handlers of the hash family.

mod change;
mod expiry;
mod read;
mod set_get_ex;
#[cfg(test)]
mod tests;
mod walk;

use torc_protocol::command::HashCommand;
use torc_protocol::resp::Args;

use crate::exec::parse::TimeUnit;
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: HashCommand, args: &Args<'_>) -> CommandResult {
    match command {
        HashCommand::Hdel => change::hdel(cx, args),
        HashCommand::Hexists => read::hexists(cx, args),
        HashCommand::Hexpire => expiry::hexpire(cx, args, TimeUnit::EX, "hexpire"),
        HashCommand::Hexpireat => expiry::hexpire(cx, args, TimeUnit::EXAT, "hexpireat"),
        HashCommand::Hexpiretime => expiry::httl(cx, args, TimeUnit::EXAT),
        HashCommand::Hget => read::hget(cx, args),
        HashCommand::Hgetall => read::hgetall(cx, args),
        HashCommand::Hgetdel => expiry::hgetdel(cx, args),
        HashCommand::Hgetex => set_get_ex::hgetex(cx, args),
        HashCommand::Hincrby => change::hincrby(cx, args),
        HashCommand::Hincrbyfloat => change::hincrbyfloat(cx, args),
        HashCommand::Hkeys => read::hkeys(cx, args),
        HashCommand::Hlen => read::hlen(cx, args),
        HashCommand::Hmget => read::hmget(cx, args),
        HashCommand::Hmset => change::hmset(cx, args),
        HashCommand::Hpersist => expiry::hpersist(cx, args),
        HashCommand::Hpexpire => expiry::hexpire(cx, args, TimeUnit::PX, "hpexpire"),
        HashCommand::Hpexpireat => expiry::hexpire(cx, args, TimeUnit::PXAT, "hpexpireat"),
        HashCommand::Hpexpiretime => expiry::httl(cx, args, TimeUnit::PXAT),
        HashCommand::Hpttl => expiry::httl(cx, args, TimeUnit::PX),
        HashCommand::Hrandfield => walk::hrandfield(cx, args),
        HashCommand::Hscan => walk::hscan(cx, args),
        HashCommand::Hset => change::hset(cx, args),
        HashCommand::Hsetex => set_get_ex::hsetex(cx, args),
        HashCommand::Hsetnx => change::hsetnx(cx, args),
        HashCommand::Hstrlen => read::hstrlen(cx, args),
        HashCommand::Httl => expiry::httl(cx, args, TimeUnit::EX),
        HashCommand::Hvals => read::hvals(cx, args),
    }
}
