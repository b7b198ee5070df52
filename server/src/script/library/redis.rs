//! The `redis` table, without `call` and `pcall`: those are lent to each run.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};
use torc_protocol::command::resolve;
use torc_protocol::resp::{OwnedArgs, Version};
use torc_protocol::{REDIS_VERSION, REDIS_VERSION_NUMBER};

use crate::script::cache::{hex, sha1};
use crate::script::engine::Control;
use crate::script::error::raise;
use crate::script::number::{format_g, number_of};

/// Bytes of a script's log line that are kept.
const MAX_LOG_BYTES: usize = 1024;

const WRONG_ARGUMENTS: &str = "ERR wrong number or type of arguments";

/// A value's text where Lua would turn a number into one.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(n) => Some(n.to_string().into_bytes()),
        Value::Number(n) => Some(format_g(*n, 14).into_bytes()),
        _ => None,
    }
}

/// The table.
pub fn library(lua: &Lua, control: &Rc<Control>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", REDIS_VERSION_NUMBER),
    ] {
        table.raw_set(name, value)?;
    }
    table.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    table.raw_set("error_reply", lua.create_function(error_reply)?)?;
    table.raw_set("status_reply", lua.create_function(status_reply)?)?;
    table.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    table.raw_set("log", lua.create_function(|_, args| log(&args))?)?;
    table.raw_set("set_repl", lua.create_function(|_, args| set_repl(&args))?)?;
    table.raw_set("acl_check_cmd", lua.create_function(|_, args| acl_check_cmd(&args))?)?;
    // All effects of a script are replicated as one record, whatever it wishes.
    table.raw_set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
    table.raw_set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
    table.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    let control = control.clone();
    table.raw_set("setresp", lua.create_function(move |_, args| setresp(&control, &args))?)?;
    Ok(table)
}

fn single(lua: &Lua, field: &str, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set(field, lua.create_string(text)?)?;
    Ok(table)
}

/// The text of an error reply: one without a code gets `ERR`.
fn with_code(text: &[u8]) -> Vec<u8> {
    match text.strip_prefix(b"-") {
        Some(rest) if rest.contains(&b' ') => rest.to_vec(),
        Some(rest) => [b"ERR ", rest].concat(),
        None if text.contains(&b' ') => text.to_vec(),
        None => [b"ERR ", text].concat(),
    }
}

fn error_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => single(lua, "err", &with_code(&text.as_bytes())),
        _ => single(lua, "err", WRONG_ARGUMENTS.as_bytes()),
    }
}

fn status_reply(lua: &Lua, args: MultiValue) -> mlua::Result<Table> {
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => single(lua, "ok", &text.as_bytes()),
        _ => single(lua, "err", WRONG_ARGUMENTS.as_bytes()),
    }
}

fn sha1hex(_: &Lua, args: MultiValue) -> mlua::Result<String> {
    if args.len() != 1 {
        return Err(raise("ERR wrong number of arguments"));
    }
    let bytes = args.front().and_then(text_of).unwrap_or_default();
    Ok(hex(&sha1(&bytes)))
}

fn log(args: &MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return Err(raise("ERR redis.log() requires two arguments or more."));
    }
    let Some(level) = args.front().and_then(number_of) else {
        return Err(raise("ERR First argument must be a number (log level)."));
    };
    if !(0.0..=3.0).contains(&level) {
        return Err(raise("ERR Invalid debug level."));
    }
    let mut text: Vec<u8> = args.iter().skip(1).filter_map(text_of).collect::<Vec<_>>().join(&b' ');
    text.truncate(MAX_LOG_BYTES);
    let text = String::from_utf8_lossy(&text);
    match level as u8 {
        0 => tracing::trace!(target: "torc_script", "{text}"),
        1 => tracing::debug!(target: "torc_script", "{text}"),
        2 => tracing::info!(target: "torc_script", "{text}"),
        _ => tracing::warn!(target: "torc_script", "{text}"),
    }
    Ok(())
}

fn set_repl(args: &MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(raise("ERR redis.set_repl() requires two arguments."));
    }
    let flags = args.front().and_then(number_of).unwrap_or(0.0);
    if !(0.0..=3.0).contains(&flags) {
        let text = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(raise(text));
    }
    Ok(())
}

fn setresp(control: &Control, args: &MultiValue) -> mlua::Result<()> {
    if args.len() != 1 {
        return Err(raise("ERR redis.setresp() requires one argument."));
    }
    let version = args.front().and_then(text_of).unwrap_or_default();
    match version.as_slice() {
        b"2" => control.version.set(Version::Resp2),
        b"3" => control.version.set(Version::Resp3),
        _ => return Err(raise("ERR RESP version must be 2 or 3.")),
    }
    Ok(())
}

/// Every command that exists is allowed: rights are decided before a script begins.
fn acl_check_cmd(args: &MultiValue) -> mlua::Result<bool> {
    if args.is_empty() {
        return Err(raise("ERR Please specify at least one argument for this redis lib call"));
    }
    let args = OwnedArgs::new(args.iter().map(|value| text_of(value).unwrap_or_default()));
    match resolve(&args.view()) {
        Ok(_) => Ok(true),
        Err(_) => Err(raise("ERR Invalid command passed to redis.acl_check_cmd()")),
    }
}
