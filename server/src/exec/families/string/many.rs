//! MGET, MSET, MSETNX.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use crate::notify::Class;
use crate::store::Entry;

/// MGET key \[key …\]: whatever is no string counts as missing.
pub fn mget(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    cx.reply().array(args.len() - 1);
    for name in args.iter().skip(1) {
        let key = cx.key(name);
        cx.read_and(&key, |entry, mut reply| reply.bulk_or_null(entry.and_then(Entry::as_string)));
    }
    Ok(())
}

fn put_all(cx: &mut Cx<'_, '_>, args: &Args<'_>) {
    let mut rest = args.iter().skip(1);
    while let (Some(name), Some(value)) = (rest.next(), rest.next()) {
        let key = cx.key(name);
        cx.put_string(&key, value, None, 0);
        cx.notify(Class::STRING, "set", key.bytes);
    }
}

/// MSET key value \[key value …\]
pub fn mset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(text::MSET_ARITY.into());
    }
    put_all(cx, args);
    cx.reply().ok();
    Ok(())
}

/// MSETNX key value \[key value …\]
pub fn msetnx(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(text::wrong_arity("msetnx").into());
    }
    for name in args.iter().skip(1).step_by(2) {
        let key = cx.key(name);
        if cx.peek(&key).is_some() {
            cx.reply().integer(0);
            return Ok(());
        }
    }
    put_all(cx, args);
    cx.reply().integer(1);
    Ok(())
}
