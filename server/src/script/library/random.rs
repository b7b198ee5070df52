//! `math.random` and `math.randomseed`: the same numbers on every machine (the linear congruence of `drand48`).

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue};

use crate::script::error::raise_here;
use crate::script::number::{number_argument, type_name};

/// The largest number that is drawn.
const MAX: u64 = 0x7fff_ffff;

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const LOW_OF_SEED: u64 = 0x330e;
const STATE_MASK: u64 = (1 << 48) - 1;

fn seeded(seed: i64) -> u64 {
    ((seed as u64 & 0xffff_ffff) << 16) | LOW_OF_SEED
}

/// `random` and `randomseed`, with a generator of their own.
pub fn functions(lua: &Lua) -> mlua::Result<(Function, Function)> {
    let state = Rc::new(Cell::new(seeded(0)));
    let drawn = state.clone();
    let random = lua.create_function(move |lua, args: MultiValue| {
        drawn.set(drawn.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & STATE_MASK);
        let r = ((drawn.get() >> 17) % MAX) as f64 / MAX as f64;
        let bound = |index: usize| {
            number_argument(args.get(index)).map(f64::trunc).ok_or_else(|| {
                let got = type_name(args.get(index));
                raise_here(
                    lua,
                    format!("bad argument #{} to 'random' (number expected, got {got})", index + 1),
                )
            })
        };
        let empty = |at| raise_here(lua, format!("bad argument #{at} to 'random' (interval is empty)"));
        match args.len() {
            0 => Ok(r),
            1 => {
                let upper = bound(0)?;
                if upper < 1.0 { Err(empty(1)) } else { Ok((r * upper).floor() + 1.0) }
            }
            2 => {
                let (lower, upper) = (bound(0)?, bound(1)?);
                if lower > upper { Err(empty(2)) } else { Ok((r * (upper - lower + 1.0)).floor() + lower) }
            }
            _ => Err(raise_here(lua, "wrong number of arguments")),
        }
    })?;
    let randomseed = lua.create_function(move |_, seed: f64| {
        state.set(seeded(seed as i64));
        Ok(())
    })?;
    Ok((random, randomseed))
}
