//! Commands that add elements at an end: LPUSH, RPUSH, LPUSHX, RPUSHX.

use torc_protocol::resp::Args;

use super::fill;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{End, ListChange, ListValue};
use crate::store::{Collection, Key};

/// Adds elements one after another at an end of the list at a key, which is made when it is missing, and tells so;
/// answers how many there are now.
pub fn add<'i>(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    end: End,
    items: impl ExactSizeIterator<Item = &'i [u8]> + Clone,
) -> Result<usize, CommandError> {
    let (copy, fill) = (items.clone(), fill(cx));
    let len = cx.modify(
        key,
        |list: &mut ListValue| {
            list.push_all(end, copy, fill);
            (list.len(), true)
        },
        |out, _| ListChange::put_push(out, end, items),
    )?;
    cx.notify(Class::LIST, if end == End::Front { "lpush" } else { "rpush" }, key.bytes);
    Ok(len)
}

/// LPUSH and RPUSH key element \[element …\]
pub fn push(cx: &mut Cx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    let key = cx.key(&args[1]);
    let len = add(cx, &key, end, args.tail(2).iter())?;
    cx.reply().integer(len as i64);
    Ok(())
}

/// LPUSHX and RPUSHX key element \[element …\]
pub fn pushx(cx: &mut Cx<'_, '_>, args: &Args<'_>, end: End) -> CommandResult {
    let key = cx.key(&args[1]);
    let len = match cx.peek_as::<&ListValue>(&key)? {
        None => 0,
        Some(_) => add(cx, &key, end, args.tail(2).iter())?,
    };
    cx.reply().integer(len as i64);
    Ok(())
}
