//! Handlers of the set family.

mod change;
mod combine;
mod random;
mod read;

use torc_protocol::command::SetCommand;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use combine::Operation;

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SetCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SetCommand::Sadd => change::sadd(cx, args),
        SetCommand::Scard => read::scard(cx, args),
        SetCommand::Sdiff => combine::reply(cx, args, Operation::Difference),
        SetCommand::Sdiffstore => combine::store(cx, args, Operation::Difference),
        SetCommand::Sinter => combine::reply(cx, args, Operation::Intersection),
        SetCommand::Sintercard => combine::sintercard(cx, args),
        SetCommand::Sinterstore => combine::store(cx, args, Operation::Intersection),
        SetCommand::Sismember => read::sismember(cx, args),
        SetCommand::Smembers => read::smembers(cx, args),
        SetCommand::Smismember => read::smismember(cx, args),
        SetCommand::Smove => change::smove(cx, args),
        SetCommand::Spop => random::spop(cx, args),
        SetCommand::Srandmember => random::srandmember(cx, args),
        SetCommand::Srem => change::srem(cx, args),
        SetCommand::Sscan => read::sscan(cx, args),
        SetCommand::Sunion => combine::reply(cx, args, Operation::Union),
        SetCommand::Sunionstore => combine::store(cx, args, Operation::Union),
    }
}
