//! The `struct` library: numbers and strings in fixed binary layouts (Roberto Ierusalimschy's format letters).

use mlua::{Lua, MultiValue, Table, Value};

use crate::script::error::{raise, raise_here};
use crate::script::number::{format_g, number_of, type_name};

/// The widest integer, in bytes.
const MAX_INTEGER_BYTES: usize = 32;

/// The largest alignment that `!` takes.
const NATIVE_ALIGNMENT: usize = 8;

/// The longest text that one format may describe, so that a count in it cannot ask for more.
const MAX_BYTES: usize = 512 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    Float,
    Double,
    /// `cN`: so many bytes; 0 on its own takes what is there.
    Chars,
    /// `s`: up to a NUL.
    Text,
    /// `x`.
    Padding,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    kind: Kind,
    size: usize,
    little: bool,
    /// Bytes to leave out before the item so that it is aligned.
    align: usize,
}

/// Reads a format.
struct Format<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, text: &'a [u8]) -> Self {
        Format { lua, rest: text, little: cfg!(target_endian = "little"), align: 1 }
    }

    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let (text, rest) = self.rest.split_at(digits);
        self.rest = rest;
        let number =
            text.iter().try_fold(0usize, |n, b| n.checked_mul(10)?.checked_add(usize::from(b - b'0')));
        number.filter(|n| *n <= MAX_BYTES).ok_or_else(|| raise_here(self.lua, "integral size overflow"))
    }

    fn next(&mut self) -> mlua::Result<Option<Item>> {
        while let Some((&letter, rest)) = self.rest.split_first() {
            self.rest = rest;
            let (kind, size) = match letter {
                b' ' => continue,
                b'>' => {
                    self.little = false;
                    continue;
                }
                b'<' => {
                    self.little = true;
                    continue;
                }
                b'!' => {
                    let align = self.number(NATIVE_ALIGNMENT)?;
                    if !align.is_power_of_two() {
                        return Err(raise_here(self.lua, "alignment is not a power of 2"));
                    }
                    self.align = align;
                    continue;
                }
                b'b' => (Kind::Signed, 1),
                b'B' => (Kind::Unsigned, 1),
                b'h' => (Kind::Signed, 2),
                b'H' => (Kind::Unsigned, 2),
                b'l' => (Kind::Signed, 8),
                b'L' | b'T' => (Kind::Unsigned, 8),
                b'i' | b'I' => {
                    let size = self.number(4)?;
                    if size > MAX_INTEGER_BYTES || size == 0 {
                        let text =
                            format!("integral size {size} is larger than limit of {MAX_INTEGER_BYTES}");
                        return Err(raise_here(self.lua, text));
                    }
                    (if letter == b'i' { Kind::Signed } else { Kind::Unsigned }, size)
                }
                b'f' => (Kind::Float, 4),
                b'd' | b'n' => (Kind::Double, 8),
                b'x' => (Kind::Padding, 1),
                b'c' => (Kind::Chars, self.number(1)?),
                b's' => (Kind::Text, 0),
                other => {
                    let text = format!("invalid format option '{}'", char::from(other));
                    return Err(raise_here(self.lua, text));
                }
            };
            let aligned = matches!(kind, Kind::Signed | Kind::Unsigned | Kind::Float | Kind::Double);
            let align = if aligned { size.min(self.align) } else { 1 };
            return Ok(Some(Item { kind, size, little: self.little, align }));
        }
        Ok(None)
    }
}

impl Item {
    /// Bytes to leave out at `at`.
    fn gap(&self, at: usize) -> usize {
        if self.align > 1 && self.align.is_power_of_two() { at.wrapping_neg() & (self.align - 1) } else { 0 }
    }
}

/// The table.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    table.raw_set("size", lua.create_function(size)?)?;
    Ok(table)
}

fn format_of(lua: &Lua, args: &MultiValue, name: &str) -> mlua::Result<Vec<u8>> {
    match args.front() {
        Some(Value::String(text)) => Ok(text.as_bytes().to_vec()),
        other => {
            let got = type_name(other);
            Err(raise_here(lua, format!("bad argument #1 to '{name}' (string expected, got {got})")))
        }
    }
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::String> {
    let text = format_of(lua, &args, "pack")?;
    let mut format = Format::new(lua, &text);
    let mut out: Vec<u8> = Vec::new();
    let mut index = 0;
    while let Some(item) = format.next()? {
        out.resize(out.len() + item.gap(out.len()), 0);
        if item.kind == Kind::Padding {
            out.push(0);
            continue;
        }
        index += 1;
        let value = args.get(index);
        let missing = |wanted: &str| {
            let got = type_name(value);
            let text = format!("bad argument #{} to 'pack' ({wanted} expected, got {got})", index + 1);
            raise_here(lua, text)
        };
        match item.kind {
            Kind::Chars | Kind::Text => {
                let bytes = match value {
                    Some(Value::String(text)) => text.as_bytes().to_vec(),
                    Some(Value::Number(n)) => format_g(*n, 14).into_bytes(),
                    Some(Value::Integer(n)) => n.to_string().into_bytes(),
                    _ => return Err(missing("string")),
                };
                let size = if item.size == 0 { bytes.len() } else { item.size };
                let Some(bytes) = bytes.get(..size) else {
                    let text = format!("bad argument #{} to 'pack' (string too short)", index + 1);
                    return Err(raise_here(lua, text));
                };
                out.extend_from_slice(bytes);
                if item.kind == Kind::Text {
                    out.push(0);
                }
            }
            _ => {
                let number = value.and_then(number_of).ok_or_else(|| missing("number"))?;
                write_number(&mut out, &item, number);
            }
        }
        if out.len() > MAX_BYTES {
            return Err(raise("ERR the packed string is too long"));
        }
    }
    lua.create_string(out)
}

fn write_number(out: &mut Vec<u8>, item: &Item, number: f64) {
    let start = out.len();
    match item.kind {
        Kind::Float => out.extend_from_slice(&(number as f32).to_le_bytes()),
        Kind::Double => out.extend_from_slice(&number.to_le_bytes()),
        _ => {
            let value = if number < 0.0 { number as i64 } else { number as u64 as i64 };
            let sign = if value < 0 && number < 0.0 { 0xff } else { 0 };
            let bytes = value.to_le_bytes();
            out.extend((0..item.size).map(|at| bytes.get(at).copied().unwrap_or(sign)));
        }
    }
    if !item.little {
        out[start..].reverse();
    }
}

fn unpack(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let text = format_of(lua, &args, "unpack")?;
    let Some(Value::String(data)) = args.get(1) else {
        let got = type_name(args.get(1));
        return Err(raise_here(lua, format!("bad argument #2 to 'unpack' (string expected, got {got})")));
    };
    let data = data.as_bytes();
    let start = args.get(2).and_then(number_of).unwrap_or(1.0);
    if start < 1.0 {
        return Err(raise_here(lua, "bad argument #3 to 'unpack' (offset must be 1 or greater)"));
    }
    let short = || raise_here(lua, "bad argument #2 to 'unpack' (data string too short)");
    let mut at = start as usize - 1;
    let mut format = Format::new(lua, &text);
    let mut values: Vec<Value> = Vec::new();
    while let Some(item) = format.next()? {
        at = at.saturating_add(item.gap(at));
        let rest = data.get(at..).ok_or_else(short)?;
        let mut size = item.size;
        match item.kind {
            Kind::Padding => {}
            Kind::Chars => {
                if size == 0 {
                    // The number read just before is the length.
                    let length = values.pop().and_then(|value| number_of(&value)).filter(|n| *n >= 0.0);
                    size =
                        length.ok_or_else(|| raise_here(lua, "format 'c0' needs a previous size"))? as usize;
                }
                values.push(Value::String(lua.create_string(rest.get(..size).ok_or_else(short)?)?));
            }
            Kind::Text => {
                let end =
                    memchr::memchr(0, rest).ok_or_else(|| raise_here(lua, "unfinished string in data"))?;
                values.push(Value::String(lua.create_string(&rest[..end])?));
                size = end + 1;
            }
            _ => values.push(Value::Number(read_number(&item, rest.get(..size).ok_or_else(short)?))),
        }
        if rest.len() < size {
            return Err(short());
        }
        at += size;
    }
    values.push(Value::Number(at as f64 + 1.0));
    Ok(MultiValue::from_vec(values))
}

fn read_number(item: &Item, bytes: &[u8]) -> f64 {
    let mut little = [0u8; MAX_INTEGER_BYTES];
    for (at, byte) in bytes.iter().enumerate() {
        little[if item.little { at } else { bytes.len() - 1 - at }] = *byte;
    }
    let low = |n: usize| little[..8].iter().take(n).rev().fold(0u64, |all, b| all << 8 | u64::from(*b));
    match item.kind {
        Kind::Float => f64::from(f32::from_bits(low(4) as u32)),
        Kind::Double => f64::from_bits(low(8)),
        Kind::Unsigned => low(item.size) as f64,
        _ => {
            let unused = 64 - 8 * item.size.min(8) as u32;
            (((low(item.size) << unused) as i64) >> unused) as f64
        }
    }
}

fn size(lua: &Lua, args: MultiValue) -> mlua::Result<usize> {
    let text = format_of(lua, &args, "size")?;
    let mut format = Format::new(lua, &text);
    let mut total = 0usize;
    while let Some(item) = format.next()? {
        if item.kind == Kind::Text || (item.kind == Kind::Chars && item.size == 0) {
            let letter = if item.kind == Kind::Text { "s" } else { "c0" };
            return Err(raise_here(lua, format!("variable-size format in struct.size: '{letter}'")));
        }
        total = total.saturating_add(item.gap(total)).saturating_add(item.size);
    }
    Ok(total)
}
