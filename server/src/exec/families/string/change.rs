//! Parts of strings: APPEND, STRLEN, GETRANGE, SETRANGE.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::{integer, range_within};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::{Entry, ValueRef};

/// Whether a string of `len` bytes may be made.
fn check_length(cx: &Cx<'_, '_>, len: usize) -> CommandResult {
    if len as u64 > cx.node.settings.load().proto_max_bulk_bytes {
        return Err(text::STRING_TOO_LONG.into());
    }
    Ok(())
}

/// APPEND key value
pub fn append(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let tail = &args[2];
    let len = match cx.peek_string(&key)?.map(<[u8]>::len) {
        None => {
            cx.put_string(&key, tail, None, 0);
            tail.len()
        }
        Some(old) => {
            check_length(cx, old.saturating_add(tail.len()))?;
            cx.append(&key, tail)
        }
    };
    cx.notify(Class::STRING, "append", key.bytes);
    cx.reply().integer(len as i64);
    Ok(())
}

/// STRLEN key
pub fn strlen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let len = cx.read_string(&key)?.map_or(0, <[u8]>::len);
    cx.reply().integer(len as i64);
    Ok(())
}

/// GETRANGE key start end, SUBSTR
pub fn getrange(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    let key = cx.key(&args[1]);
    cx.read_and(&key, |entry, mut reply| {
        let bytes = match entry.map(Entry::value) {
            None => &[][..],
            Some(ValueRef::String(bytes)) => bytes,
            Some(_) => return Err(CommandError::WrongType),
        };
        reply.bulk(range_within(start, end, bytes.len()).map_or(&[], |(from, to)| &bytes[from..=to]));
        Ok(())
    })
}

/// SETRANGE key offset value
pub fn setrange(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let offset = integer(&args[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::from(text::OFFSET_OUT_OF_RANGE))?;
    let (key, value) = (cx.key(&args[1]), &args[3]);
    let old = cx.peek_string(&key)?.map_or(0, <[u8]>::len);
    let len = if value.is_empty() {
        old
    } else {
        check_length(cx, offset.saturating_add(value.len()))?;
        let len = cx.patch(&key, offset, value);
        cx.notify(Class::STRING, "setrange", key.bytes);
        len
    };
    cx.reply().integer(len as i64);
    Ok(())
}
