//! Keys that go elsewhere: RENAME, RENAMENX, COPY, MOVE.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::database;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::Key;

/// RENAME key newkey
pub fn rename(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (cx.key(&args[1]), cx.key(&args[2]));
    if cx.peek(&from).is_none() {
        return Err(text::NO_SUCH_KEY.into());
    }
    if from.bytes != to.bytes {
        rename_key(cx, &from, &to);
    }
    cx.reply().ok();
    Ok(())
}

fn rename_key(cx: &mut Cx<'_, '_>, from: &Key<'_>, to: &Key<'_>) {
    cx.rename(from, to, cx.db);
    cx.notify(Class::GENERIC, "rename_from", from.bytes);
    cx.notify(Class::GENERIC, "rename_to", to.bytes);
}

/// RENAMENX key newkey
pub fn renamenx(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to) = (cx.key(&args[1]), cx.key(&args[2]));
    if cx.peek(&from).is_none() {
        return Err(text::NO_SUCH_KEY.into());
    }
    let free = cx.peek(&to).is_none();
    if free {
        rename_key(cx, &from, &to);
    }
    cx.reply().integer(i64::from(free));
    Ok(())
}

/// MOVE key db
pub fn move_key(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let db = database(&args[2])?;
    if db == cx.db {
        return Err(text::SAME_OBJECT.into());
    }
    let key = cx.key(&args[1]);
    let moved = cx.peek(&key).is_some() && cx.in_database(db, |cx| cx.peek(&key).is_none());
    if moved {
        cx.rename(&key, &key, db);
        cx.notify(Class::GENERIC, "move_from", key.bytes);
        cx.in_database(db, |cx| cx.notify(Class::GENERIC, "move_to", key.bytes));
    }
    cx.reply().integer(i64::from(moved));
    Ok(())
}

/// COPY source destination \[DB index\] \[REPLACE\]
pub fn copy(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (mut db, mut replace) = (cx.db, false);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB")
            && let Some(arg) = args.get(at)
        {
            db = database(arg)?;
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let (from, to) = (cx.key(&args[1]), cx.key(&args[2]));
    if from.bytes == to.bytes && db == cx.db {
        return Err(text::SAME_OBJECT.into());
    }
    let copied = cx.peek(&from).is_some() && (replace || cx.in_database(db, |cx| cx.peek(&to).is_none()));
    if copied {
        cx.copy(&from, &to, db);
        cx.in_database(db, |cx| cx.notify(Class::GENERIC, "copy_to", to.bytes));
    }
    cx.reply().integer(i64::from(copied));
    Ok(())
}
