//! Commands that move an element from one list to another: LMOVE, RPOPLPUSH.

use torc_protocol::resp::Args;

use super::push::add;
use super::{end, fill, pop};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::{End, ListChange, ListValue};

/// Moves an element from an end of one list to an end of another (or the same) and answers it; false when there is none.
pub fn move_one(
    cx: &mut Cx<'_, '_>,
    (from, from_end): (&[u8], End),
    (to, to_end): (&[u8], End),
) -> Result<bool, CommandError> {
    let (from, to) = (cx.key(from), cx.key(to));
    let Some(item) = cx.peek_as::<&ListValue>(&from)?.and_then(|list| list.peek(from_end)) else {
        return Ok(false);
    };
    let item = item.into_cow().into_owned();
    cx.peek_as::<&ListValue>(&to)?;
    // The element is added first, as Redis does it: a list that turns round itself is never empty between. Where both
    // ends are the same one, either of the two equal elements may go.
    add(cx, &to, to_end, [&item[..]].into_iter())?;
    let fill = fill(cx);
    let gone = cx.modify(
        &from,
        |list: &mut ListValue| {
            list.pop(from_end, 1, fill, |_| {});
            (list.is_empty(), true)
        },
        |out, _| ListChange::Pop(from_end, 1).put(out),
    )?;
    // One change for both lists.
    cx.dirty -= 1;
    pop::tell(cx, &from, from_end, gone);
    cx.reply().bulk(&item);
    Ok(true)
}

/// LMOVE source destination LEFT | RIGHT LEFT | RIGHT
pub fn lmove(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (end(&args[3])?, end(&args[4])?);
    if !move_one(cx, (&args[1], from), (&args[2], to))? {
        cx.reply().null();
    }
    Ok(())
}

/// RPOPLPUSH source destination
pub fn rpoplpush(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if !move_one(cx, (&args[1], End::Back), (&args[2], End::Front))? {
        cx.reply().null();
    }
    Ok(())
}
