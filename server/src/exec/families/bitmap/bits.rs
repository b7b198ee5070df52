//! SETBIT and GETBIT.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use super::bit_offset;
use crate::exec::{CommandResult, Cx};
use crate::notify::Class;

/// SETBIT key offset value
pub fn setbit(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let offset = bit_offset(cx, &args[2], None)?;
    let on = match &args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(text::BIT_VALUE.into()),
    };
    let (at, mask) = ((offset >> 3) as usize, 0x80 >> (offset & 7));
    let key = cx.key(&args[1]);
    let found = cx.peek_string(&key)?.and_then(|bytes| bytes.get(at).copied());
    let byte = found.unwrap_or(0);
    let new = if on { byte | mask } else { byte & !mask };
    // A bit that is as it should be changes nothing, unless the string has to grow for it.
    if found != Some(new) {
        cx.patch(&key, at, &[new]);
        cx.notify(Class::STRING, "setbit", key.bytes);
    }
    cx.reply().integer(i64::from(byte & mask != 0));
    Ok(())
}

/// GETBIT key offset
pub fn getbit(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let offset = bit_offset(cx, &args[2], None)?;
    let key = cx.key(&args[1]);
    let byte =
        cx.read_string(&key)?.and_then(|bytes| bytes.get((offset >> 3) as usize)).copied().unwrap_or(0);
    cx.reply().integer(i64::from(byte & (0x80 >> (offset & 7)) != 0));
    Ok(())
}
