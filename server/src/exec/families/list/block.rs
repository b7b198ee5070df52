//! Commands that wait for elements: BLPOP, BRPOP, BLMPOP.

use torc_protocol::resp::Args;

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
    let timeout = timeout_seconds(&args[1])?;
    let asked = Mpop::parse(args.tail(2))?;
    if !asked.take(cx)? {
        cx.block(Block::on(asked.keys(), Kind::List, timeout, Null::Array));
    }
    Ok(())
}
