//! Replies of commands as Lua values, and the value of a script as its reply; Redis's rules for both.

use mlua::{Lua, Table, Value};
use torc_protocol::resp::{ReplyWriter, Version, parse_i64};

use super::number::number_of;

/// How deep a script's value may be nested; beyond it an error stands in the reply.
const MAX_DEPTH: usize = 100;

/// How deep a command's reply may be nested.
const MAX_REPLY_DEPTH: usize = 64;

/// A command's reply that is not what a reply should be: a bug of a handler, not of the script.
fn malformed() -> mlua::Error {
    super::error::raise("ERR a command's reply was malformed")
}

/// Takes replies apart.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.rest)?;
        let line = self.rest.get(..end.checked_sub(1)?)?;
        self.rest = &self.rest[end + 1..];
        Some(line)
    }

    fn bulk(&mut self, len: usize) -> Option<&'a [u8]> {
        let bytes = self.rest.get(..len)?;
        self.rest = self.rest.get(len + 2..)?;
        Some(bytes)
    }
}

/// The text of an error reply, if `reply` is one.
pub fn error_text(reply: &[u8]) -> Option<&[u8]> {
    let text = reply.strip_prefix(b"-")?;
    Some(text.strip_suffix(b"\r\n").unwrap_or(text))
}

/// One whole reply, in either version, as a Lua value.
pub fn to_lua(lua: &Lua, reply: &[u8]) -> mlua::Result<Value> {
    value(lua, &mut Reader { rest: reply }, 0)
}

fn single(lua: &Lua, field: &str, value: impl mlua::IntoLua) -> mlua::Result<Value> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, value)?;
    Ok(Value::Table(table))
}

fn value(lua: &Lua, reader: &mut Reader<'_>, depth: usize) -> mlua::Result<Value> {
    let line = reader.line().filter(|_| depth < MAX_REPLY_DEPTH).ok_or_else(malformed)?;
    let (kind, text) = line.split_first().ok_or_else(malformed)?;
    let number = || parse_i64(text).ok_or_else(malformed);
    let length = || usize::try_from(number()?).map_err(|_| malformed());
    Ok(match kind {
        b'+' => single(lua, "ok", lua.create_string(text)?)?,
        b'-' => single(lua, "err", lua.create_string(text)?)?,
        b':' => Value::Number(number()? as f64),
        b'$' | b'*' if text == b"-1" => Value::Boolean(false),
        b'_' => Value::Nil,
        b'#' => Value::Boolean(text == b"t"),
        b'$' => Value::String(lua.create_string(reader.bulk(length()?).ok_or_else(malformed)?)?),
        b',' => {
            let text = std::str::from_utf8(text).map_err(|_| malformed())?;
            single(lua, "double", text.parse::<f64>().map_err(|_| malformed())?)?
        }
        b'(' => single(lua, "big_number", lua.create_string(text)?)?,
        b'=' => {
            let bytes = reader.bulk(length()?).ok_or_else(malformed)?;
            let (format, text) = bytes.split_at_checked(4).ok_or_else(malformed)?;
            let inner = lua.create_table_with_capacity(0, 2)?;
            inner.raw_set("format", lua.create_string(&format[..3])?)?;
            inner.raw_set("string", lua.create_string(text)?)?;
            single(lua, "verbatim_string", inner)?
        }
        b'*' | b'>' => {
            let len = length()?;
            let table = lua.create_table_with_capacity(len.min(reader.rest.len()), 0)?;
            for index in 1..=len {
                table.raw_set(index, value(lua, reader, depth + 1)?)?;
            }
            Value::Table(table)
        }
        b'%' => {
            let table = lua.create_table()?;
            for _ in 0..length()? {
                let key = value(lua, reader, depth + 1)?;
                let held = value(lua, reader, depth + 1)?;
                if !key.is_nil() {
                    table.raw_set(key, held)?;
                }
            }
            single(lua, "map", table)?
        }
        b'~' => {
            let table = lua.create_table()?;
            for _ in 0..length()? {
                let member = value(lua, reader, depth + 1)?;
                if !member.is_nil() {
                    table.raw_set(member, true)?;
                }
            }
            single(lua, "set", table)?
        }
        _ => return Err(malformed()),
    })
}

/// Writes a script's value as its reply. `script` is the version that the script chose for itself: under RESP2
/// its `true` is 1 and its `false` null, whatever the client speaks.
pub fn write_reply(value: &Value, reply: &mut ReplyWriter<'_>, script: Version) -> mlua::Result<()> {
    write(value, reply, script, 0)
}

fn write(value: &Value, reply: &mut ReplyWriter<'_>, script: Version, depth: usize) -> mlua::Result<()> {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(n) => reply.integer(*n),
        Value::Number(n) => reply.integer(truncated(*n)),
        Value::Boolean(yes) if script == Version::Resp3 => reply.boolean(*yes),
        Value::Boolean(true) => reply.integer(1),
        Value::Table(_) if depth >= MAX_DEPTH => reply.error("ERR reached lua stack limit"),
        Value::Table(table) => return write_table(table, reply, script, depth),
        _ => reply.null(),
    }
    Ok(())
}

/// As C converts: beyond the range of 64 bits, and for what is no number, the smallest.
fn truncated(n: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&n) { n as i64 } else { i64::MIN }
}

fn write_table(
    table: &Table,
    reply: &mut ReplyWriter<'_>,
    script: Version,
    depth: usize,
) -> mlua::Result<()> {
    if let Value::String(text) = table.raw_get("err")? {
        let text = text.as_bytes();
        reply.error_bytes(text.strip_prefix(b"-").unwrap_or(&text));
        return Ok(());
    }
    if let Value::String(text) = table.raw_get("ok")? {
        let mut line = b"+".to_vec();
        line.extend(text.as_bytes().iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
        line.extend_from_slice(b"\r\n");
        reply.raw(&line);
        return Ok(());
    }
    if let Some(n) = number_of(&table.raw_get("double")?) {
        reply.double(n);
        return Ok(());
    }
    if let Value::Table(map) = table.raw_get("map")? {
        let pairs = map.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
        reply.map(pairs.len());
        for (key, held) in &pairs {
            write(key, reply, script, depth + 1)?;
            write(held, reply, script, depth + 1)?;
        }
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get("set")? {
        let members = set.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
        reply.set(members.len());
        for (member, _) in &members {
            write(member, reply, script, depth + 1)?;
        }
        return Ok(());
    }
    if let Value::String(digits) = table.raw_get("big_number")? {
        reply.big_number(&digits.to_string_lossy());
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
        && let (Value::String(format), Value::String(text)) =
            (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
    {
        let mut extension = *b"txt";
        let format = format.as_bytes();
        for (to, from) in extension.iter_mut().zip(format.iter().chain(b"   ")) {
            *to = *from;
        }
        reply.verbatim(&extension, &text.as_bytes());
        return Ok(());
    }
    let mut items = Vec::new();
    loop {
        match table.raw_get(items.len() + 1)? {
            Value::Nil => break,
            item => items.push(item),
        }
    }
    reply.array(items.len());
    items.iter().try_for_each(|item| write(item, reply, script, depth + 1))
}
