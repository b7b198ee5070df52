//! Lua values as JSON.

use mlua::{Table, Value};

use super::{Invalid, Settings};
use crate::script::number::{format_g, number_of};

/// A table that is being written. They lie on a heap of their own: nesting must not cost stack.
enum Open {
    Array { table: Table, next: usize, len: usize },
    Object { pairs: std::vec::IntoIter<(Value, Value)>, first: bool },
}

/// The JSON text of `value`, or why there is none.
pub fn encode(value: &Value, settings: &Settings) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut open = Vec::new();
    write(&mut out, value, settings, &mut open)?;
    while let Some(top) = open.last_mut() {
        match top {
            Open::Array { next, len, .. } if *next > *len => {
                out.push(b']');
                open.pop();
            }
            Open::Array { table, next, .. } => {
                if *next > 1 {
                    out.push(b',');
                }
                let item = table.raw_get(*next).map_err(text)?;
                *next += 1;
                write(&mut out, &item, settings, &mut open)?;
            }
            Open::Object { pairs, first } => match pairs.next() {
                None => {
                    out.push(b'}');
                    open.pop();
                }
                Some((key, held)) => {
                    if !std::mem::take(first) {
                        out.push(b',');
                    }
                    name(&mut out, &key, settings)?;
                    out.push(b':');
                    write(&mut out, &held, settings, &mut open)?;
                }
            },
        }
    }
    Ok(out)
}

fn text(error: mlua::Error) -> String {
    error.to_string()
}

/// Writes a value; a table is only opened.
fn write(out: &mut Vec<u8>, value: &Value, settings: &Settings, open: &mut Vec<Open>) -> Result<(), String> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(yes) => out.extend_from_slice(if *yes { b"true" } else { b"false" }),
        Value::Integer(n) => number(out, *n as f64, settings)?,
        Value::Number(n) => number(out, *n, settings)?,
        Value::String(text) => string(out, &text.as_bytes()),
        Value::Table(table) if open.len() < settings.encode_depth => {
            let opened = opened(table, settings)?;
            out.push(if matches!(opened, Open::Array { .. }) { b'[' } else { b'{' });
            open.push(opened);
        }
        Value::Table(_) => return Err(format!("Cannot serialise, excessive nesting ({})", open.len() + 1)),
        Value::LightUserData(_) if *value == Value::NULL => out.extend_from_slice(b"null"),
        other => return Err(format!("Cannot serialise {}: type not supported", other.type_name())),
    }
    Ok(())
}

/// An object's key.
fn name(out: &mut Vec<u8>, key: &Value, settings: &Settings) -> Result<(), String> {
    match key {
        Value::String(name) => string(out, &name.as_bytes()),
        _ => {
            let Some(n) = number_of(key) else {
                return Err("Cannot serialise table: table key must be a number or string".into());
            };
            string(out, format_g(n, settings.precision).as_bytes());
        }
    }
    Ok(())
}

/// Whether a table is an array or an object, ready to be written.
fn opened(table: &Table, settings: &Settings) -> Result<Open, String> {
    if let Some((len, items)) = array_length(table).map_err(text)?
        && len > 0
    {
        let sparse = settings.sparse_ratio > 0
            && len > items.saturating_mul(settings.sparse_ratio)
            && len > settings.sparse_safe;
        if !sparse {
            return Ok(Open::Array { table: table.clone(), next: 1, len });
        }
        if !settings.sparse_convert {
            return Err("Cannot serialise table: excessively sparse array".into());
        }
    }
    let pairs = table.pairs::<Value, Value>().collect::<mlua::Result<Vec<_>>>().map_err(text)?;
    Ok(Open::Object { pairs: pairs.into_iter(), first: true })
}

fn number(out: &mut Vec<u8>, n: f64, settings: &Settings) -> Result<(), String> {
    if !n.is_finite() {
        match settings.encode_invalid {
            Invalid::Refuse => return Err("Cannot serialise number: must not be NaN or Inf".into()),
            Invalid::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            Invalid::Write if n.is_nan() => {
                out.extend_from_slice(b"nan");
                return Ok(());
            }
            Invalid::Write => {}
        }
    }
    out.extend_from_slice(format_g(n, settings.precision).as_bytes());
    Ok(())
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0..=0x1f | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The highest index of a table whose keys are all positive whole numbers, and how many there are.
fn array_length(table: &Table) -> mlua::Result<Option<(usize, usize)>> {
    let (mut highest, mut items) = (0, 0);
    for pair in table.pairs::<Value, Value>() {
        let key = number_of(&pair?.0).filter(|n| *n >= 1.0 && n.fract() == 0.0 && *n <= 9e15);
        let Some(key) = key else { return Ok(None) };
        highest = highest.max(key as usize);
        items += 1;
    }
    Ok(Some((highest, items)))
}
