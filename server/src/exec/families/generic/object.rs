//! OBJECT: how a value is kept.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::{Entry, ValueRef};

/// Strings up to this length are `embstr` in Redis.
const EMBEDDED_MAX: usize = 44;

const LFU_IS_OFF: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
     that when switching between policies at runtime LRU and LFU data will take some time to adjust.";

const FIFO_IS_ON: &str = "ERR An S3-FIFO maxmemory policy is selected, idle time not tracked.";

const LFU_IS_ON: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
     switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// OBJECT with something that is no subcommand.
pub fn container(args: &Args<'_>) -> CommandResult {
    let sub = args.get(1).unwrap_or_default();
    Err(CommandError::Bytes(text::unknown_subcommand(b"object", sub).into()))
}

/// What OBJECT ENCODING says.
pub fn encoding_of(entry: Entry<'_>) -> &'static str {
    match entry.value() {
        ValueRef::Hash(hash) => hash.encoding(),
        ValueRef::List(list) => list.encoding(),
        ValueRef::Set(set) => set.encoding(),
        ValueRef::SortedSet(set) => set.encoding(),
        ValueRef::Stream(stream) => stream.encoding(),
        ValueRef::String(_) if entry.is_modified() => "raw",
        ValueRef::String(bytes) if !entry.is_text() && parse_i64(bytes).is_some() => "int",
        ValueRef::String(bytes) if bytes.len() <= EMBEDDED_MAX => "embstr",
        ValueRef::String(_) => "raw",
    }
}

/// OBJECT ENCODING key
pub fn encoding(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[2]);
    match cx.peek(&key).map(encoding_of) {
        Some(name) => cx.reply().bulk(name.as_bytes()),
        None => cx.reply().null(),
    }
    Ok(())
}

/// OBJECT REFCOUNT key: nothing is shared.
pub fn refcount(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[2]);
    if cx.peek(&key).is_some() {
        cx.reply().integer(1);
    } else {
        cx.reply().null();
    }
    Ok(())
}

/// OBJECT IDLETIME key
pub fn idletime(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[2]);
    let clock = cx.node.eviction_clock(cx.now_ms);
    let lfu = cx.node.settings.load().maxmemory_policy.is_lfu();
    match cx.peek(&key).map(Entry::access) {
        None => cx.reply().null(),
        Some(_) if lfu => return Err(LFU_IS_ON.into()),
        Some(_) if clock.is_fifo() => return Err(FIFO_IS_ON.into()),
        Some(access) => cx.reply().integer(i64::from(clock.idle_s(access))),
    }
    Ok(())
}

/// OBJECT FREQ key
pub fn freq(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[2]);
    let clock = cx.node.eviction_clock(cx.now_ms);
    let lfu = cx.node.settings.load().maxmemory_policy.is_lfu();
    match cx.peek(&key).map(Entry::access) {
        None => cx.reply().null(),
        Some(_) if !lfu => return Err(LFU_IS_OFF.into()),
        Some(access) => cx.reply().integer(i64::from(clock.frequency(access))),
    }
    Ok(())
}
