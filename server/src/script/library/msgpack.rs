//! The `cmsgpack` library: MessagePack of Lua values.
//!
//! Source: the MessagePack specification; which of its forms a Lua value takes is lua-cmsgpack 0.4's choice.

use mlua::{Lua, MultiValue, Table, Value};

use crate::script::error::raise_here;
use crate::script::number::number_of;

/// Tables nested deeper than this are written as nil.
const MAX_PACK_DEPTH: usize = 16;

/// Nesting that may be read: it is followed by recursion.
const MAX_UNPACK_DEPTH: usize = 256;

/// The table.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    let pack = lua.create_function(|lua, args: MultiValue| {
        if args.is_empty() {
            return Err(raise_here(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)"));
        }
        let mut out = Vec::new();
        for value in &args {
            write(&mut out, value, 0)?;
        }
        lua.create_string(out)
    })?;
    table.raw_set("pack", pack)?;
    let unpack = lua.create_function(|lua, text: mlua::String| {
        let bytes = text.as_bytes();
        let (values, _) = read_many(lua, &bytes, 0, usize::MAX)?;
        Ok(MultiValue::from_vec(values))
    })?;
    table.raw_set("unpack", unpack)?;
    let one = lua.create_function(|lua, (text, offset): (mlua::String, Option<i64>)| {
        limited(lua, &text, 1, offset.unwrap_or(0))
    })?;
    table.raw_set("unpack_one", one)?;
    let limit = lua.create_function(|lua, (text, count, offset): (mlua::String, i64, Option<i64>)| {
        limited(lua, &text, count, offset.unwrap_or(0))
    })?;
    table.raw_set("unpack_limit", limit)?;
    Ok(table)
}

/// At most `count` values from `offset` on, behind the offset to go on from (-1 at the end).
fn limited(lua: &Lua, text: &mlua::String, count: i64, offset: i64) -> mlua::Result<MultiValue> {
    let bytes = text.as_bytes();
    let (Ok(limit), Ok(from)) = (usize::try_from(count), usize::try_from(offset)) else {
        let message =
            format!("Invalid request to unpack with offset of {offset} and limit of {}.", bytes.len());
        return Err(raise_here(lua, message));
    };
    if from > bytes.len() {
        let message = format!("Start offset {offset} greater than input length {}.", bytes.len());
        return Err(raise_here(lua, message));
    }
    let (mut values, end) = read_many(lua, &bytes, from, if limit == 0 { usize::MAX } else { limit })?;
    let next = if end == bytes.len() { -1.0 } else { end as f64 };
    values.insert(0, Value::Number(next));
    Ok(MultiValue::from_vec(values))
}

fn read_many(lua: &Lua, bytes: &[u8], from: usize, limit: usize) -> mlua::Result<(Vec<Value>, usize)> {
    let mut reader = Reader { lua, rest: &bytes[from..] };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && values.len() < limit {
        values.push(reader.value(0)?);
    }
    Ok((values, bytes.len() - reader.rest.len()))
}

/// The marker for a length in one of the widths that a type has, and the length.
fn length(out: &mut Vec<u8>, len: usize, fix: (usize, u8), by_width: [Option<u8>; 3]) {
    let [one, two, four] = by_width;
    if len < fix.0 {
        out.push(fix.1 | len as u8);
    } else if let (Some(marker), Ok(len)) = (one, u8::try_from(len)) {
        out.extend_from_slice(&[marker, len]);
    } else if let (Some(marker), Ok(len)) = (two, u16::try_from(len)) {
        out.push(marker);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(four.unwrap_or(0xc0));
        out.extend_from_slice(&(len as u32).to_be_bytes());
    }
}

fn integer(out: &mut Vec<u8>, n: i64) {
    if let Ok(small) = u8::try_from(n) {
        if small >= 0x80 {
            out.push(0xcc);
        }
        out.push(small);
    } else if let Ok(n) = u16::try_from(n) {
        out.push(0xcd);
        out.extend_from_slice(&n.to_be_bytes());
    } else if let Ok(n) = u32::try_from(n) {
        out.push(0xce);
        out.extend_from_slice(&n.to_be_bytes());
    } else if n > 0 {
        out.push(0xcf);
        out.extend_from_slice(&n.to_be_bytes());
    } else if let Ok(n) = i8::try_from(n) {
        if n < -32 {
            out.push(0xd0);
        }
        out.push(n as u8);
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xd1);
        out.extend_from_slice(&n.to_be_bytes());
    } else if let Ok(n) = i32::try_from(n) {
        out.push(0xd2);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&n.to_be_bytes());
    }
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> mlua::Result<()> {
    match value {
        Value::Boolean(yes) => out.push(if *yes { 0xc3 } else { 0xc2 }),
        Value::Integer(n) => integer(out, *n),
        Value::Number(n) if *n == n.trunc() && n.abs() < 9.2e18 => integer(out, *n as i64),
        Value::Number(n) if f64::from(*n as f32) == *n => {
            out.push(0xca);
            out.extend_from_slice(&(*n as f32).to_be_bytes());
        }
        Value::Number(n) => {
            out.push(0xcb);
            out.extend_from_slice(&n.to_be_bytes());
        }
        Value::String(text) => {
            let bytes = text.as_bytes();
            length(out, bytes.len(), (32, 0xa0), [Some(0xd9), Some(0xda), Some(0xdb)]);
            out.extend_from_slice(&bytes);
        }
        Value::Table(_) if depth >= MAX_PACK_DEPTH => out.push(0xc0),
        Value::Table(table) => return write_table(out, table, depth + 1),
        _ => out.push(0xc0),
    }
    Ok(())
}

fn write_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> mlua::Result<()> {
    let pairs = table.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>()?;
    let highest = pairs.iter().try_fold(0.0f64, |highest, (key, _)| {
        number_of(key).filter(|n| *n >= 1.0 && n.fract() == 0.0).map(|n| highest.max(n))
    });
    // An empty table is an empty array.
    if highest == Some(pairs.len() as f64) {
        length(out, pairs.len(), (16, 0x90), [None, Some(0xdc), Some(0xdd)]);
        return (1..=pairs.len()).try_for_each(|index| write(out, &table.raw_get(index)?, depth));
    }
    length(out, pairs.len(), (16, 0x80), [None, Some(0xde), Some(0xdf)]);
    for (key, value) in &pairs {
        write(out, key, depth)?;
        write(out, value, depth)?;
    }
    Ok(())
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> mlua::Result<&'a [u8]> {
        let (bytes, rest) =
            self.rest.split_at_checked(len).ok_or_else(|| raise_here(self.lua, "Missing bytes in input."))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn unsigned(&mut self, width: usize) -> mlua::Result<u64> {
        Ok(self.bytes(width)?.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn signed(&mut self, width: usize) -> mlua::Result<f64> {
        let unused = 64 - 8 * width as u32;
        Ok((((self.unsigned(width)? << unused) as i64) >> unused) as f64)
    }

    fn string(&mut self, len: usize) -> mlua::Result<Value> {
        Ok(Value::String(self.lua.create_string(self.bytes(len)?)?))
    }

    fn array(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            table.raw_set(index, self.value(depth)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let (key, value) = (self.value(depth)?, self.value(depth)?);
            let unfit = key.is_nil() || number_of(&key).is_some_and(f64::is_nan);
            if unfit {
                return Err(raise_here(self.lua, "Bad data format in input."));
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        if depth > MAX_UNPACK_DEPTH {
            return Err(raise_here(self.lua, "Bad data format in input."));
        }
        let marker = self.bytes(1)?[0];
        let width = |first: u8| 1usize << (marker - first);
        Ok(match marker {
            0..=0x7f => Value::Number(f64::from(marker)),
            0x80..=0x8f => self.map(usize::from(marker & 15), depth + 1)?,
            0x90..=0x9f => self.array(usize::from(marker & 15), depth + 1)?,
            0xa0..=0xbf => self.string(usize::from(marker & 31))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Boolean(marker == 0xc3),
            0xc4..=0xc6 => {
                let len = self.unsigned(width(0xc4))? as usize;
                self.string(len)?
            }
            0xca => Value::Number(f64::from(f32::from_bits(self.unsigned(4)? as u32))),
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Value::Number(self.unsigned(width(0xcc))? as f64),
            0xd0..=0xd3 => Value::Number(self.signed(width(0xd0))?),
            0xd9..=0xdb => {
                let len = self.unsigned(width(0xd9))? as usize;
                self.string(len)?
            }
            0xdc | 0xdd => {
                let len = self.unsigned(2 * width(0xdc))? as usize;
                self.array(len, depth + 1)?
            }
            0xde | 0xdf => {
                let len = self.unsigned(2 * width(0xde))? as usize;
                self.map(len, depth + 1)?
            }
            0xe0..=0xff => Value::Number(f64::from(marker as i8)),
            _ => return Err(raise_here(self.lua, "Bad data format in input.")),
        })
    }
}
