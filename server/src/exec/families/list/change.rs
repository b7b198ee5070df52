//! Commands that change a list inside: LSET, LINSERT, LREM, LTRIM.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use super::{fill, index_within, range_within};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{ListChange, ListValue, Sought};
use crate::store::{Collection, Key};

/// Length of the list at a key that is about to be changed; `None` when there is none.
fn len(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> Result<Option<usize>, CommandError> {
    Ok(cx.peek_as::<&ListValue>(key)?.map(ListValue::len))
}

/// LSET key index element
pub fn lset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let len = len(cx, &key)?.ok_or(text::NO_SUCH_KEY)?;
    let index = index_within(integer(&args[2])?, len).ok_or("ERR index out of range")?;
    let (item, fill) = (&args[3], fill(cx));
    cx.modify(
        &key,
        |list: &mut ListValue| ((), list.set(index, item, fill)),
        |out, ()| ListChange::Set(index as u64, item).put(out),
    )?;
    cx.reply().ok();
    cx.notify(Class::LIST, "lset", key.bytes);
    Ok(())
}

/// LINSERT key BEFORE | AFTER pivot element
pub fn linsert(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let after = if args[2].eq_ignore_ascii_case(b"after") {
        1
    } else if args[2].eq_ignore_ascii_case(b"before") {
        0
    } else {
        return Err(CommandError::Syntax);
    };
    let key = cx.key(&args[1]);
    let (pivot, item, fill) = (Sought::new(&args[3]), &args[4], fill(cx));
    let Some(list) = cx.peek_as::<&ListValue>(&key)? else {
        cx.reply().integer(0);
        return Ok(());
    };
    let Some(at) = list.iter().position(|element| pivot.is(element)) else {
        cx.reply().integer(-1);
        return Ok(());
    };
    let at = at + after;
    let len = cx.modify(
        &key,
        |list: &mut ListValue| {
            list.insert(at, item, fill);
            (list.len(), true)
        },
        |out, _| ListChange::Insert(at as u64, item).put(out),
    )?;
    cx.reply().integer(len as i64);
    cx.notify(Class::LIST, "linsert", key.bytes);
    Ok(())
}

/// LREM key count element
pub fn lrem(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let count = integer(&args[2])?;
    let key = cx.key(&args[1]);
    let (item, fill) = (&args[3], fill(cx));
    let (removed, gone) = cx.modify(
        &key,
        |list: &mut ListValue| {
            let removed = list.remove_value(item, count, fill);
            ((removed, list.is_empty()), removed > 0)
        },
        |out, _| ListChange::Remove(count, item).put(out),
    )?;
    cx.reply().integer(removed as i64);
    if removed > 0 {
        tell(cx, &key, "lrem", gone);
    }
    Ok(())
}

/// LTRIM key start stop
pub fn ltrim(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let key = cx.key(&args[1]);
    if let Some(len) = len(cx, &key)? {
        let (front, back) = match range_within(start, stop, len) {
            Some((first, last)) => (first, len - last - 1),
            None => (len, 0),
        };
        let fill = fill(cx);
        cx.modify(
            &key,
            |list: &mut ListValue| {
                list.trim(front, back, fill);
                ((), front + back > 0)
            },
            |out, ()| ListChange::Trim(front as u64, back as u64).put(out),
        )?;
        tell(cx, &key, "ltrim", front + back == len);
    }
    cx.reply().ok();
    Ok(())
}

fn tell(cx: &mut Cx<'_, '_>, key: &Key<'_>, event: &'static str, gone: bool) {
    cx.notify(Class::LIST, event, key.bytes);
    if gone {
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
}
