//! The `bit` library: operations on 32-bit integers, results signed.

use mlua::{Lua, MultiValue, Table};

use crate::script::error::raise_here;
use crate::script::number::{number_argument, type_name};

/// The argument at `index` as 32 bits: rounded to the nearest whole number, the higher bits dropped.
fn bits(lua: &Lua, name: &str, args: &MultiValue, index: usize) -> mlua::Result<i32> {
    let value = args.get(index);
    match number_argument(value) {
        Some(n) if n.is_finite() => Ok((n.round_ties_even().rem_euclid(4_294_967_296.0)) as u32 as i32),
        Some(_) => Ok(0),
        None => {
            let got = type_name(value);
            Err(raise_here(
                lua,
                format!("bad argument #{} to '{name}' (number expected, got {got})", index + 1),
            ))
        }
    }
}

/// The table.
pub fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let one = |name: &'static str, f: fn(i32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |lua, args| Ok(f(bits(lua, name, &args, 0)?)))?;
        table.raw_set(name, function)
    };
    one("tobit", |n| n)?;
    one("bnot", |n| !n)?;
    one("bswap", i32::swap_bytes)?;
    let many = |name: &'static str, f: fn(i32, i32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |lua, args: MultiValue| {
            let first = bits(lua, name, &args, 0)?;
            (1..args.len()).try_fold(first, |all, index| Ok(f(all, bits(lua, name, &args, index)?)))
        })?;
        table.raw_set(name, function)
    };
    many("band", |a, b| a & b)?;
    many("bor", |a, b| a | b)?;
    many("bxor", |a, b| a ^ b)?;
    let shift = |name: &'static str, f: fn(i32, u32) -> i32| -> mlua::Result<()> {
        let function = lua.create_function(move |lua, args| {
            let by = bits(lua, name, &args, 1)? as u32 & 31;
            Ok(f(bits(lua, name, &args, 0)?, by))
        })?;
        table.raw_set(name, function)
    };
    shift("lshift", |n, by| n << by)?;
    shift("rshift", |n, by| (n as u32 >> by) as i32)?;
    shift("arshift", |n, by| n >> by)?;
    shift("rol", i32::rotate_left)?;
    shift("ror", i32::rotate_right)?;
    table.raw_set("tohex", lua.create_function(tohex)?)?;
    Ok(table)
}

/// Hexadecimal digits: as many as asked for (8), capitals when the number is negative.
fn tohex(lua: &Lua, args: MultiValue) -> mlua::Result<String> {
    let value = bits(lua, "tohex", &args, 0)? as u32;
    let count = if args.len() > 1 { bits(lua, "tohex", &args, 1)? } else { 8 };
    let digits = count.unsigned_abs().min(8) as usize;
    let text = if count < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    Ok(text[8 - digits..].to_owned())
}
