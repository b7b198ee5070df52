//! The `cjson` library: JSON of Lua values, bytes in and out as they are.
//!
//! Behaves as lua-cjson 2.1 with its options. They last for one run: workers have a Lua each, and a script must
//! not depend on which of them ran the one before.

mod decode;
mod encode;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use crate::script::error::raise_here;
use crate::script::number::{number_of, type_name};

/// The deepest nesting that may be asked for.
const MAX_DEPTH: usize = 1000;

/// What the configuration functions set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    encode_depth: usize,
    decode_depth: usize,
    precision: usize,
    sparse_convert: bool,
    sparse_ratio: usize,
    sparse_safe: usize,
    /// Numbers that JSON does not know.
    encode_invalid: Invalid,
    decode_invalid: bool,
    keep_buffer: bool,
}

/// What becomes of NaN and infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            encode_depth: MAX_DEPTH,
            decode_depth: MAX_DEPTH,
            precision: 14,
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
            keep_buffer: true,
        }
    }
}

/// The settings of a state, shared by the functions of its library.
#[derive(Clone, Debug, Default)]
pub struct Options(Rc<Cell<Settings>>);

impl Options {
    /// Back to the defaults.
    pub fn reset(&self) {
        self.0.set(Settings::default());
    }

    fn change(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.0.get();
        change(&mut settings);
        self.0.set(settings);
    }
}

/// The table.
pub fn library(lua: &Lua, options: &Options) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    table.raw_set("null", Value::NULL)?;
    let settings = options.clone();
    let encode = lua.create_function(move |lua, args: MultiValue| {
        if args.len() != 1 {
            return Err(raise_here(lua, "bad argument #1 to 'encode' (expected 1 argument)"));
        }
        let value = args.front().cloned().unwrap_or_default();
        let text = encode::encode(&value, &settings.0.get()).map_err(|message| raise_here(lua, message))?;
        lua.create_string(text)
    })?;
    table.raw_set("encode", encode)?;
    let settings = options.clone();
    let decode = lua.create_function(move |lua, args: MultiValue| {
        let text = match (args.len(), args.front()) {
            (1, Some(Value::String(text))) => text.as_bytes().to_vec(),
            (1, Some(number @ (Value::Integer(_) | Value::Number(_)))) => number.to_string()?.into_bytes(),
            (1, other) => {
                let got = type_name(other);
                let text = format!("bad argument #1 to 'decode' (string expected, got {got})");
                return Err(raise_here(lua, text));
            }
            _ => return Err(raise_here(lua, "bad argument #1 to 'decode' (expected 1 argument)")),
        };
        decode::decode(lua, &text, &settings.0.get())
    })?;
    table.raw_set("decode", decode)?;
    configuration(lua, &table, options)?;
    let fresh = options.clone();
    // The settings are the run's, so another instance is the same library again.
    let new = lua.create_function(move |lua, ()| library(lua, &fresh))?;
    table.raw_set("new", new)?;
    Ok(table)
}

/// A whole number from `low` to `high` at `index`, if there is an argument.
fn whole(lua: &Lua, args: &MultiValue, index: usize, low: usize, high: usize) -> mlua::Result<Option<usize>> {
    match args.get(index) {
        None | Some(Value::Nil) => Ok(None),
        Some(value) => {
            let number = number_of(value).filter(|n| *n >= low as f64 && *n <= high as f64);
            number.map(|n| Some(n as usize)).ok_or_else(|| {
                raise_here(
                    lua,
                    format!("bad argument #{} (expected integer between {low} and {high})", index + 1),
                )
            })
        }
    }
}

fn configuration(lua: &Lua, table: &Table, options: &Options) -> mlua::Result<()> {
    type Field = fn(&mut Settings) -> &mut usize;
    let numbers: [(&str, usize, usize, Field); 3] = [
        ("encode_max_depth", 1, MAX_DEPTH, |s| &mut s.encode_depth),
        ("decode_max_depth", 1, MAX_DEPTH, |s| &mut s.decode_depth),
        ("encode_number_precision", 1, 14, |s| &mut s.precision),
    ];
    for (name, low, high, field) in numbers {
        let options = options.clone();
        let function = lua.create_function(move |lua, args: MultiValue| {
            if let Some(n) = whole(lua, &args, 0, low, high)? {
                options.change(|s| *field(s) = n);
            }
            Ok(*field(&mut options.0.get()))
        })?;
        table.raw_set(name, function)?;
    }
    let settings = options.clone();
    let sparse = lua.create_function(move |lua, args: MultiValue| {
        let (ratio, safe) =
            (whole(lua, &args, 1, 0, i32::MAX as usize)?, whole(lua, &args, 2, 0, i32::MAX as usize)?);
        settings.change(|s| {
            s.sparse_convert = args.front().and_then(Value::as_boolean).unwrap_or(s.sparse_convert);
            s.sparse_ratio = ratio.unwrap_or(s.sparse_ratio);
            s.sparse_safe = safe.unwrap_or(s.sparse_safe);
        });
        let s = settings.0.get();
        Ok((s.sparse_convert, s.sparse_ratio, s.sparse_safe))
    })?;
    table.raw_set("encode_sparse_array", sparse)?;
    let settings = options.clone();
    let invalid = lua.create_function(move |lua, choice: Value| {
        let chosen = match &choice {
            Value::Nil => None,
            Value::Boolean(yes) => Some(if *yes { Invalid::Write } else { Invalid::Refuse }),
            Value::String(text) if *text == "null" => Some(Invalid::Null),
            _ => return Err(raise_here(lua, "bad argument #1 to 'encode_invalid_numbers' (invalid option)")),
        };
        settings.change(|s| s.encode_invalid = chosen.unwrap_or(s.encode_invalid));
        Ok(match settings.0.get().encode_invalid {
            Invalid::Refuse => Value::Boolean(false),
            Invalid::Write => Value::Boolean(true),
            Invalid::Null => Value::String(lua.create_string("null")?),
        })
    })?;
    table.raw_set("encode_invalid_numbers", invalid)?;
    type Switch = fn(&mut Settings) -> &mut bool;
    let switches: [(&str, Switch); 2] = [
        ("decode_invalid_numbers", |s| &mut s.decode_invalid),
        ("encode_keep_buffer", |s| &mut s.keep_buffer),
    ];
    for (name, field) in switches {
        let options = options.clone();
        let function = lua.create_function(move |_, choice: Value| {
            if let Some(choice) = choice.as_boolean() {
                options.change(|s| *field(s) = choice);
            }
            Ok(*field(&mut options.0.get()))
        })?;
        table.raw_set(name, function)?;
    }
    Ok(())
}
