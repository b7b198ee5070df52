//! Handlers of the sorted set family.

mod add;
mod block;
mod bounds;
mod combine;
mod pop;
mod range;
mod read;
mod remove;
mod reply;
mod walk;

pub use add::add_all;
pub use reply::store;

use torc_protocol::command::SortedSetCommand;
use torc_protocol::resp::Args;

use self::combine::Operation;
use self::range::{By, Direction};
use crate::exec::{CommandResult, Cx};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: SortedSetCommand, args: &Args<'_>) -> CommandResult {
    match command {
        SortedSetCommand::Bzmpop => block::bzmpop(cx, args),
        SortedSetCommand::Bzpopmax => block::bzpop(cx, args, true),
        SortedSetCommand::Bzpopmin => block::bzpop(cx, args, false),
        SortedSetCommand::Zadd => add::zadd(cx, args, false),
        SortedSetCommand::Zcard => read::zcard(cx, args),
        SortedSetCommand::Zcount => read::zcount(cx, args),
        SortedSetCommand::Zdiff => combine::combine(cx, args, Operation::Diff, "zdiff"),
        SortedSetCommand::Zdiffstore => combine::combine_store(cx, args, Operation::Diff, "zdiffstore"),
        SortedSetCommand::Zincrby => add::zadd(cx, args, true),
        SortedSetCommand::Zinter => combine::combine(cx, args, Operation::Inter, "zinter"),
        SortedSetCommand::Zintercard => combine::zintercard(cx, args),
        SortedSetCommand::Zinterstore => combine::combine_store(cx, args, Operation::Inter, "zinterstore"),
        SortedSetCommand::Zlexcount => read::zlexcount(cx, args),
        SortedSetCommand::Zmpop => pop::zmpop(cx, args),
        SortedSetCommand::Zmscore => read::zmscore(cx, args),
        SortedSetCommand::Zpopmax => pop::zpop(cx, args, true),
        SortedSetCommand::Zpopmin => pop::zpop(cx, args, false),
        SortedSetCommand::Zrandmember => walk::zrandmember(cx, args),
        SortedSetCommand::Zrange => range::zrange(cx, args, None, Direction::AsAsked),
        SortedSetCommand::Zrangebylex => range::zrange(cx, args, Some(By::Lex), Direction::Forward),
        SortedSetCommand::Zrangebyscore => range::zrange(cx, args, Some(By::Score), Direction::Forward),
        SortedSetCommand::Zrangestore => range::zrangestore(cx, args),
        SortedSetCommand::Zrank => read::zrank(cx, args, false),
        SortedSetCommand::Zrem => remove::zrem(cx, args),
        SortedSetCommand::Zremrangebylex => remove::zremrangebylex(cx, args),
        SortedSetCommand::Zremrangebyrank => remove::zremrangebyrank(cx, args),
        SortedSetCommand::Zremrangebyscore => remove::zremrangebyscore(cx, args),
        SortedSetCommand::Zrevrange => range::zrange(cx, args, Some(By::Rank), Direction::Reverse),
        SortedSetCommand::Zrevrangebylex => range::zrange(cx, args, Some(By::Lex), Direction::Reverse),
        SortedSetCommand::Zrevrangebyscore => range::zrange(cx, args, Some(By::Score), Direction::Reverse),
        SortedSetCommand::Zrevrank => read::zrank(cx, args, true),
        SortedSetCommand::Zscan => walk::zscan(cx, args),
        SortedSetCommand::Zscore => read::zscore(cx, args),
        SortedSetCommand::Zunion => combine::combine(cx, args, Operation::Union, "zunion"),
        SortedSetCommand::Zunionstore => combine::combine_store(cx, args, Operation::Union, "zunionstore"),
    }
}
