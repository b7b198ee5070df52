//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.
//!
//! The reply's flags come in the order in which the request asked for them, and what changes an item takes effect in
//! that order as well: `t` before `T` shows the old time, behind it the new one.

mod arithmetic;
mod delete;
mod get;
mod set;

use torc_protocol::memcached::{Expiry, Request, encode_base64, exptime_ms, write_line};

pub(super) use arithmetic::arithmetic;
pub(super) use delete::delete;
pub(super) use get::get;
pub(super) use set::set;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::{Entry, Key, Marks};

/// What `t` shows of an item that never expires.
const FOREVER: &str = "-1";

/// What a reply shows of an item, beside its value.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    expire_ms: Option<u64>,
    marks: Marks,
    idle_s: u32,
    cas: u64,
    flags: u32,
    value_bytes: usize,
}

/// A live item as it is, without a trace of the look.
fn peek(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> Result<Option<Seen>, CommandError> {
    cx.expire_if_due(key);
    let (db, now_ms) = (cx.db, cx.now_ms);
    let clock = cx.node.eviction_clock(now_ms);
    let Some(entry) = cx.access.stripe(key.slot).get(db, key, now_ms) else { return Ok(None) };
    let idle_s = if clock.keeps_history() { 0 } else { clock.idle_s(entry.access()) };
    let Some(value) = entry.as_string() else { return Err(CommandError::WrongType) };
    Ok(Some(Seen {
        expire_ms: entry.expire_ms(),
        marks: entry.marks(),
        idle_s,
        cas: entry.cas(),
        flags: entry.mc_flags(),
        value_bytes: value.len(),
    }))
}

fn number(out: &mut Vec<u8>, flag: u8, value: impl itoa::Integer) {
    out.extend_from_slice(&[b' ', flag]);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn word(out: &mut Vec<u8>, word: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(word);
}

/// ` k<key>`, in base64 (and said so) where the key may be any bytes.
fn key_word(out: &mut Vec<u8>, key: &[u8], binary: bool) {
    out.extend_from_slice(b" k");
    if binary {
        encode_base64(key, out);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}

/// ` t<seconds left>`
fn ttl_word(out: &mut Vec<u8>, expire_ms: Option<u64>, now_ms: u64) {
    match expire_ms {
        None => {
            out.extend_from_slice(b" t");
            out.extend_from_slice(FOREVER.as_bytes());
        }
        Some(at) => number(out, b't', at.saturating_sub(now_ms).div_ceil(1000)),
    }
}

/// Until when, and whether that has passed already: then the item is shown once more, and gone.
fn until(exptime: i64, now_ms: u64) -> (Option<u64>, bool) {
    match exptime_ms(exptime, now_ms) {
        Expiry::Never => (None, false),
        Expiry::At(at_ms) => (Some(at_ms), false),
        Expiry::AlreadyExpired => (Some(now_ms), true),
    }
}

/// Removes the item whose time is over already, and tells so.
fn end_if(cx: &mut Cx<'_, '_>, key: &Key<'_>, is_over: bool) {
    if is_over && cx.delete(key) {
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
}

/// Opaque and key, the flags that replies without an item repeat.
fn echo(out: &mut Vec<u8>, request: &Request<'_>) {
    for flag in request.meta.words() {
        match flag[0] {
            b'O' => word(out, flag),
            b'k' => key_word(out, request.key(), request.meta.has(b'b')),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `me`: what is known of an item, for people.
pub(super) fn debug(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let key = cx.key(request.key());
    let now_ms = cx.now_ms;
    let Some(seen) = peek(cx, &key)? else {
        write_line(out, "EN");
        return Ok(());
    };
    out.extend_from_slice(b"ME ");
    if seen.marks.is_binary_key() {
        encode_base64(request.key(), out);
    } else {
        out.extend_from_slice(request.key());
    }
    let ttl = match seen.expire_ms {
        None => FOREVER.to_owned(),
        Some(at) => at.saturating_sub(now_ms).div_ceil(1000).to_string(),
    };
    let fetched = if seen.marks.is_fetched() { "yes" } else { "no" };
    let size = cx.peek(&key).map_or(0, item_bytes);
    let (idle_s, cas) = (seen.idle_s, seen.cas);
    write_line(out, &format!(" exp={ttl} la={idle_s} cas={cas} fetch={fetched} cls=1 size={size}"));
    Ok(())
}

/// Bytes that an item takes, its place in the table counted.
pub(super) fn item_bytes(entry: Entry<'_>) -> usize {
    size_of::<Entry>() + entry.heap_bytes()
}
