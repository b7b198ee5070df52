//! What scripts can call beside Lua's own libraries, and the sealed world they run in (`prelude.lua`).

mod bit;
mod json;
mod msgpack;
mod pack;
mod random;
mod redis;

use std::rc::Rc;

use mlua::{ChunkMode, Function, Lua, Table, Value};

use super::engine::Control;
use super::error::{Caught, caught};

/// The chunk name of the prelude: its frames are not a script's.
pub const PRELUDE_NAME: &str = "=torc";

const PRELUDE: &str = include_str!("prelude.lua");

/// Handles of what the prelude made.
pub struct Library {
    /// The real globals behind the sealed ones.
    globals: Table,
    /// The real `redis` table.
    redis: Table,
    run: Function,
    clean: Function,
    json: json::Options,
}

/// Makes a fresh state into the world of scripts.
pub fn install(lua: &Lua, control: &Rc<Control>, handler: Function) -> mlua::Result<Library> {
    let json = json::Options::default();
    let libraries = lua.create_table()?;
    libraries.raw_set("redis", redis::library(lua, control)?)?;
    libraries.raw_set("cjson", json::library(lua, &json)?)?;
    libraries.raw_set("cmsgpack", msgpack::library(lua)?)?;
    libraries.raw_set("bit", bit::library(lua)?)?;
    libraries.raw_set("struct", pack::library(lua)?)?;
    let native = lua.create_table()?;
    native.raw_set("libraries", libraries)?;
    let (random, seed) = random::functions(lua)?;
    native.raw_set("random", random)?;
    native.raw_set("randomseed", seed)?;
    native.raw_set("caught", lua.create_function(text_of)?)?;
    let stopping = control.clone();
    native.raw_set("stopping", lua.create_function(move |_, ()| Ok(stopping.stopped().is_some()))?)?;
    let stop = control.clone();
    let stop = lua.create_function(move |_, ()| stop.stopped().map_or(Ok(()), Err))?;
    native.raw_set("stop", stop)?;
    let prelude = lua.load(PRELUDE).set_name(PRELUDE_NAME).set_mode(ChunkMode::Text).into_function()?;
    let (world, globals, redis, run, clean) = prelude.call((native, handler))?;
    lua.set_globals(world)?;
    Ok(Library { globals, redis, run, clean, json })
}

/// The text of an error that a script has caught.
fn text_of(lua: &Lua, error: Value) -> mlua::Result<Value> {
    let Value::Error(error) = error else { return Ok(error) };
    Ok(Value::String(match caught(&error) {
        Caught::Raised(raised) => lua.create_string(&raised.text)?,
        Caught::Stop | Caught::Other => lua.create_string(error.to_string())?,
    }))
}

impl Library {
    /// Shows a run its keys, its arguments and its commands.
    pub fn lend(&self, keys: Table, arguments: Table, call: Function, pcall: Function) -> mlua::Result<()> {
        self.json.reset();
        self.globals.raw_set("KEYS", keys)?;
        self.globals.raw_set("ARGV", arguments)?;
        self.redis.raw_set("call", call)?;
        self.redis.raw_set("pcall", pcall)
    }

    /// Leaves nothing of a run behind.
    pub fn take_back(&self) -> mlua::Result<()> {
        for name in ["KEYS", "ARGV"] {
            self.globals.raw_set(name, Value::Nil)?;
        }
        for name in ["call", "pcall"] {
            self.redis.raw_set(name, Value::Nil)?;
        }
        self.clean.call(())
    }

    /// Runs a script's function: its value, or the error it ended in (which the handler has seen, unless memory
    /// ran out).
    pub fn run(&self, function: &Function) -> mlua::Result<Result<Value, Value>> {
        let (ok, value) = self.run.call::<(bool, Value)>(function)?;
        Ok(if ok { Ok(value) } else { Err(value) })
    }
}
