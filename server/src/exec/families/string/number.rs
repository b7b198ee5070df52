//! Strings as numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::long_double::LongDouble;
use crate::notify::Class;

/// INCR and DECR key: adds `by`.
pub fn add(cx: &mut Cx<'_, '_>, args: &Args<'_>, by: i64) -> CommandResult {
    let key = cx.key(&args[1]);
    let old = match cx.peek_string(&key)? {
        None => 0,
        Some(bytes) => parse_i64(bytes).ok_or(CommandError::NotInteger)?,
    };
    let new = old.checked_add(by).ok_or(CommandError::from(text::OVERFLOW))?;
    cx.replace_string(&key, itoa::Buffer::new().format(new).as_bytes());
    cx.notify(Class::STRING, "incrby", key.bytes);
    cx.reply().integer(new);
    Ok(())
}

/// INCRBY key increment
pub fn incrby(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let by = integer(&args[2])?;
    add(cx, args, by)
}

/// DECRBY key decrement
pub fn decrby(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let by = integer(&args[2])?.checked_neg().ok_or(CommandError::from(text::DECR_OVERFLOW))?;
    add(cx, args, by)
}

/// INCRBYFLOAT key increment
pub fn incrbyfloat(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let old = match cx.peek_string(&key)? {
        None => LongDouble::ZERO,
        Some(bytes) => LongDouble::parse(bytes).ok_or(CommandError::NotFloat)?,
    };
    let by = LongDouble::parse(&args[2]).ok_or(CommandError::NotFloat)?;
    let new = old.add(by).filter(LongDouble::is_finite).ok_or(CommandError::from(text::NAN_OR_INFINITY))?;
    let new = new.format();
    cx.replace_string(&key, new.as_bytes());
    cx.mark(&key, |entry| entry.mark_text());
    cx.notify(Class::STRING, "incrbyfloat", key.bytes);
    cx.reply().bulk(new.as_bytes());
    Ok(())
}
