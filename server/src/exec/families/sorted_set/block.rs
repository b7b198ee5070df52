//! Commands that wait for members: BZPOPMIN, BZPOPMAX, BZMPOP.

use torc_protocol::resp::Args;

use super::pop::{Request, take};
use crate::blocked::{Block, Null, timeout_seconds};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::{Kind, SortedSetValue};

/// BZPOPMIN and BZPOPMAX key \[key …\] timeout
pub fn bzpop(cx: &mut Cx<'_, '_>, args: &Args<'_>, max: bool) -> CommandResult {
    let last = args.len() - 1;
    let timeout = timeout_seconds(args.get(last).ok_or(CommandError::Syntax)?)?;
    let keys = || args.iter().take(last).skip(1);
    for name in keys() {
        let key = cx.key(name);
        if cx.peek_as::<&SortedSetValue>(&key)?.is_none() {
            continue;
        }
        let removed = take(cx, &key, 1, max)?;
        let mut reply = cx.reply();
        reply.array(removed.len() * 2 + 1);
        reply.bulk(name);
        for (member, score) in removed.iter() {
            reply.bulk(member);
            reply.double(score);
        }
        return Ok(());
    }
    cx.block(Block::on(keys(), Kind::SortedSet, timeout, Null::Array));
    Ok(())
}

/// BZMPOP timeout numkeys key \[key …\] MIN | MAX \[COUNT count\]
pub fn bzmpop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    // As Redis, which looks at the time last.
    let request = Request::parse(args, 2)?;
    let timeout = timeout_seconds(&args[1])?;
    if !request.serve(cx)? {
        cx.block(Block::on(request.keys, Kind::SortedSet, timeout, Null::Array));
    }
    Ok(())
}
