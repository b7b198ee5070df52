//! Commands that wait for elements: BLPOP, BRPOP, BLMPOP, BLMOVE, BRPOPLPUSH.

use torc_protocol::resp::Args;

use super::end;
use super::mv::move_one;
use super::pop::{Front, Mpop, take};
use crate::blocked::{Block, Null, timeout_seconds};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::{End, Kind};

/// BLPOP and BRPOP key \[key …\] timeout
pub fn pop(cx: &mut Cx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    let last = args.len() - 1;
    let timeout = timeout_seconds(args.get(last).ok_or(CommandError::Syntax)?)?;
    let keys = || args.iter().take(last).skip(1);
    for bytes in keys() {
        let key = cx.key(bytes);
        if take(cx, &key, end, 1, Front::Key(bytes))? {
            return Ok(());
        }
    }
    cx.block(Block::on(keys(), Kind::List, timeout, Null::Array));
    Ok(())
}

/// BLMPOP timeout numkeys key \[key …\] LEFT | RIGHT \[COUNT count\]
pub fn mpop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    // As Redis, which looks at the time last.
    let asked = Mpop::parse(args.tail(2))?;
    let timeout = timeout_seconds(&args[1])?;
    if !asked.take(cx)? {
        cx.block(Block::on(asked.keys(), Kind::List, timeout, Null::Array));
    }
    Ok(())
}

/// BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout
pub fn lmove(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (end(&args[3])?, end(&args[4])?);
    let timeout = timeout_seconds(&args[5])?;
    wait_to_move(cx, (&args[1], from), (&args[2], to), timeout)
}

/// BRPOPLPUSH source destination timeout
pub fn rpoplpush(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let timeout = timeout_seconds(&args[3])?;
    wait_to_move(cx, (&args[1], End::Back), (&args[2], End::Front), timeout)
}

fn wait_to_move(
    cx: &mut Cx<'_, '_>,
    from: (&[u8], End),
    to: (&[u8], End),
    timeout: Option<u64>,
) -> CommandResult {
    if !move_one(cx, from, to)? {
        cx.block(Block::on([from.0], Kind::List, timeout, Null::Bulk));
    }
    Ok(())
}
