//! Commands that change fields: HSET, HMSET, HSETNX, HDEL, HINCRBY, HINCRBYFLOAT.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::long_double::LongDouble;
use crate::notify::Class;
use crate::store::Key;
use crate::store::value::HashRef;

fn set_all(cx: &mut Cx<'_, '_>, args: &Args<'_>, name: &str) -> Result<usize, CommandError> {
    if args.len() % 2 == 1 {
        return Err(text::wrong_arity(name).into());
    }
    let key = cx.key(&args[1]);
    let added = cx.hash_set(&key, args.tail(2).iter())?;
    cx.notify(Class::HASH, "hset", key.bytes);
    Ok(added)
}

/// HSET key field value \[field value …\]
pub fn hset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let added = set_all(cx, args, "hset")?;
    cx.reply().integer(added as i64);
    Ok(())
}

/// HMSET key field value \[field value …\]
pub fn hmset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    set_all(cx, args, "hmset")?;
    cx.reply().ok();
    Ok(())
}

/// HSETNX key field value
pub fn hsetnx(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let missing = cx.peek_as::<HashRef>(&key)?.is_none_or(|h| h.get(&args[2]).is_none());
    if missing {
        cx.hash_set(&key, args.tail(2).iter())?;
        cx.notify(Class::HASH, "hset", key.bytes);
    }
    cx.reply().integer(i64::from(missing));
    Ok(())
}

/// HDEL key field \[field …\]
pub fn hdel(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let removed = cx.hash_delete(&key, args.tail(2).iter())?;
    if removed > 0 {
        cx.notify_removal(Class::HASH, "hdel", &key);
    }
    cx.reply().integer(removed as i64);
    Ok(())
}

fn field<'c>(cx: &'c mut Cx<'_, '_>, key: &Key<'_>, field: &[u8]) -> Result<Option<&'c [u8]>, CommandError> {
    Ok(cx.peek_as::<HashRef>(key)?.and_then(|h| h.get(field)))
}

/// HINCRBY key field increment
pub fn hincrby(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let by = integer(&args[3])?;
    let key = cx.key(&args[1]);
    let old = match field(cx, &key, &args[2])? {
        None => 0,
        Some(bytes) => parse_i64(bytes).ok_or(CommandError::from(text::HASH_NOT_AN_INTEGER))?,
    };
    let new = old.checked_add(by).ok_or(CommandError::from(text::OVERFLOW))?;
    let mut buffer = itoa::Buffer::new();
    cx.hash_set_value(&key, &args[2], buffer.format(new).as_bytes())?;
    cx.notify(Class::HASH, "hincrby", key.bytes);
    cx.reply().integer(new);
    Ok(())
}

/// HINCRBYFLOAT key field increment
pub fn hincrbyfloat(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let by = LongDouble::parse(&args[3]).ok_or(CommandError::NotFloat)?;
    if !by.is_finite() {
        return Err("ERR value is NaN or Infinity".into());
    }
    let key = cx.key(&args[1]);
    let old = match field(cx, &key, &args[2])? {
        None => LongDouble::ZERO,
        Some(bytes) => LongDouble::parse(bytes).ok_or(CommandError::from(text::HASH_NOT_A_FLOAT))?,
    };
    let new = old.add(by).filter(LongDouble::is_finite).ok_or(CommandError::from(text::NAN_OR_INFINITY))?;
    let new = new.format();
    cx.hash_set_value(&key, &args[2], new.as_bytes())?;
    cx.notify(Class::HASH, "hincrbyfloat", key.bytes);
    cx.reply().bulk(new.as_bytes());
    Ok(())
}
