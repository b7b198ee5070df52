//! Runs one request on locked stripes and appends memcached's reply.

use torc_protocol::memcached::{Expiry, Request, Verb, exptime_ms, parse_u64, text, write_line, write_value};

use super::{VERSION, stats};
use crate::exec::{CommandError, CommandResult, Cx, Flow, keyspace};
use crate::store::{Entry, ValueRef};

/// The smallest limit that `cache_memlimit` takes, in megabytes.
const MIN_MEMLIMIT_MB: u64 = 8;

/// Executes `request`; with `end` the values of a retrieval are followed by `END`. The reply is appended to the
/// context's output.
pub fn execute(cx: &mut Cx<'_, '_>, request: &Request<'_>, end: bool) -> CommandResult {
    // The reply is written while entries are borrowed from the context.
    let mut out = std::mem::take(cx.out);
    let result = run(cx, request, end, &mut out);
    *cx.out = out;
    result
}

fn run(cx: &mut Cx<'_, '_>, request: &Request<'_>, end: bool, out: &mut Vec<u8>) -> CommandResult {
    let answer = match request.verb {
        Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats => {
            retrieve(cx, request, out)?;
            if !end {
                return Ok(());
            }
            text::END
        }
        Verb::Set | Verb::Add | Verb::Replace | Verb::Cas => store(cx, request)?,
        Verb::Append | Verb::Prepend => extend(cx, request)?,
        Verb::Delete => delete(cx, request),
        Verb::Incr | Verb::Decr => return arithmetic(cx, request, out),
        Verb::Touch => touch(cx, request),
        Verb::FlushAll => flush(cx, request)?,
        Verb::Version => {
            write_line(out, &format!("VERSION {VERSION}"));
            return Ok(());
        }
        Verb::Verbosity => text::OK,
        Verb::Stats => return stats::run(cx, request, out),
        Verb::CacheMemlimit => memlimit(cx, request.delta),
        Verb::Shutdown => text::SHUTDOWN_DISABLED,
        Verb::Quit => {
            cx.flow = Flow::Close;
            return Ok(());
        }
    };
    write_line(out, answer);
    Ok(())
}

/// get, gets, gat, gats.
fn retrieve(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let touches = matches!(request.verb, Verb::Gat | Verb::Gats);
    let with_cas = matches!(request.verb, Verb::Gets | Verb::Gats);
    let stats = &cx.stats.memcached;
    if touches {
        stats.cmd_touch.add(request.keys.len() as u64);
        // Nothing may have changed when one of the keys turns out to be no item.
        for bytes in &request.keys {
            let key = cx.key(bytes);
            if cx.peek(&key).is_some_and(|entry| entry.as_string().is_none()) {
                return Err(CommandError::WrongType);
            }
        }
    }
    let stats = &cx.stats.memcached;
    stats.cmd_get.add(request.keys.len() as u64);
    for bytes in &request.keys {
        let key = cx.key(bytes);
        let found = match cx.read(&key) {
            None => false,
            Some(entry) => {
                let ValueRef::String(value) = entry.value() else { return Err(CommandError::WrongType) };
                let cas = with_cas.then(|| u64::from(entry.version()));
                write_value(out, bytes, entry.mc_flags(), value, cas);
                true
            }
        };
        let stats = &cx.stats.memcached;
        if found {
            stats.get_hits.add(1)
        } else {
            stats.get_misses.add(1)
        }
        if touches {
            if found {
                stats.touch_hits.add(1)
            } else {
                stats.touch_misses.add(1)
            }
            if found {
                apply_expiry(cx, bytes, request.exptime);
            }
        }
    }
    Ok(())
}

/// set, add, replace, cas.
fn store(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<&'static str, CommandError> {
    cx.stats.memcached.cmd_set.add(1);
    let key = cx.key(request.key());
    if request.verb != Verb::Set {
        let present = cx.peek(&key).map(Entry::version);
        let stats = &cx.stats.memcached;
        match (request.verb, present) {
            (Verb::Add, Some(_)) | (Verb::Replace, None) => return Ok(text::NOT_STORED),
            (Verb::Cas, None) => {
                stats.cas_misses.add(1);
                return Ok(text::NOT_FOUND);
            }
            (Verb::Cas, Some(version)) if u64::from(version) != request.cas => {
                stats.cas_badval.add(1);
                return Ok(text::EXISTS);
            }
            (Verb::Cas, Some(_)) => stats.cas_hits.add(1),
            _ => {}
        }
    }
    cx.stats.memcached.total_items.add(1);
    match exptime_ms(request.exptime, cx.now_ms) {
        Expiry::Never => cx.put_string(&key, request.data, None, request.flags),
        Expiry::At(at_ms) => cx.put_string(&key, request.data, Some(at_ms), request.flags),
        Expiry::AlreadyExpired => {
            cx.delete(&key);
        }
    }
    Ok(text::STORED)
}

/// append, prepend: flags and expiry stay those of the item.
fn extend(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<&'static str, CommandError> {
    cx.stats.memcached.cmd_set.add(1);
    let key = cx.key(request.key());
    let limit = cx.node.settings.load().max_item_bytes;
    match cx.peek(&key).map(Entry::value) {
        None => return Ok(text::NOT_STORED),
        Some(ValueRef::String(value)) if (value.len() + request.data.len()) as u64 > limit => {
            cx.stats.memcached.store_too_large.add(1);
            return Ok(text::OUT_OF_MEMORY);
        }
        Some(ValueRef::String(_)) => {}
        Some(_) => return Err(CommandError::WrongType),
    }
    let at_end = request.verb == Verb::Append;
    let changed = cx.update(&key, |entry| {
        entry.modify_string(|value| {
            if at_end {
                value.extend_from_slice(request.data);
            } else {
                value.splice(0..0, request.data.iter().copied());
            }
        })
    });
    if let Some((_, version)) = changed {
        cx.stats.memcached.total_items.add(1);
        if at_end {
            cx.effects.append(cx.db, key.bytes, version, request.data);
        } else {
            cx.record_put(&key);
        }
    }
    Ok(text::STORED)
}

fn delete(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> &'static str {
    let key = cx.key(request.key());
    if cx.delete(&key) {
        cx.stats.memcached.delete_hits.add(1);
        text::DELETED
    } else {
        cx.stats.memcached.delete_misses.add(1);
        text::NOT_FOUND
    }
}

/// incr wraps at 64 bits, decr stops at 0. A result that is shorter than what was there is padded with spaces, as
/// memcached's writing in place does; the reply has the number alone.
fn arithmetic(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let up = request.verb == Verb::Incr;
    let key = cx.key(request.key());
    let old = match cx.peek(&key).map(Entry::value) {
        Some(ValueRef::String(value)) => parse_u64(value).map(|number| (number, value.len())),
        Some(_) => return Err(CommandError::WrongType),
        None => {
            let stats = &cx.stats.memcached;
            if up {
                stats.incr_misses.add(1)
            } else {
                stats.decr_misses.add(1)
            }
            write_line(out, text::NOT_FOUND);
            return Ok(());
        }
    };
    let Some((number, length)) = old else {
        write_line(out, text::NON_NUMERIC);
        return Ok(());
    };
    let new = if up { number.wrapping_add(request.delta) } else { number.saturating_sub(request.delta) };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(new);
    let mut value = digits.as_bytes().to_vec();
    value.resize(value.len().max(length), b' ');
    if cx.update(&key, |entry| entry.set_string(&value)).is_some() {
        cx.record_put(&key);
    }
    let stats = &cx.stats.memcached;
    if up {
        stats.incr_hits.add(1)
    } else {
        stats.decr_hits.add(1)
    }
    write_line(out, digits);
    Ok(())
}

fn touch(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> &'static str {
    cx.stats.memcached.cmd_touch.add(1);
    let key = cx.key(request.key());
    if cx.peek(&key).is_none() {
        cx.stats.memcached.touch_misses.add(1);
        return text::NOT_FOUND;
    }
    apply_expiry(cx, request.key(), request.exptime);
    cx.stats.memcached.touch_hits.add(1);
    text::TOUCHED
}

/// Sets the expiry of a key that is there. The CAS value stays.
fn apply_expiry(cx: &mut Cx<'_, '_>, bytes: &[u8], exptime: i64) {
    let key = cx.key(bytes);
    match exptime_ms(exptime, cx.now_ms) {
        Expiry::Never => cx.keep_version_set_expiry(&key, None),
        Expiry::At(at_ms) => cx.keep_version_set_expiry(&key, Some(at_ms)),
        Expiry::AlreadyExpired => {
            cx.delete(&key);
        }
    }
}

/// flush_all: empties the connection's database, now or at a later moment.
fn flush(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<&'static str, CommandError> {
    cx.stats.memcached.cmd_flush.add(1);
    match exptime_ms(request.exptime, cx.now_ms) {
        Expiry::At(at_ms) => cx.node.memcached.flush_at(at_ms, cx.db),
        Expiry::Never | Expiry::AlreadyExpired => {
            cx.node.memcached.forget_flush();
            keyspace::flush(cx, Some(cx.db))?;
        }
    }
    Ok(text::OK)
}

/// cache_memlimit: megabytes for the store.
fn memlimit(cx: &mut Cx<'_, '_>, megabytes: u64) -> &'static str {
    if megabytes < MIN_MEMLIMIT_MB {
        return text::MEMLIMIT_TOO_SMALL;
    }
    let Some(bytes) = megabytes.checked_mul(1 << 20) else { return text::BAD_FORMAT };
    loop {
        let old = cx.node.settings.load_full();
        let new = crate::settings::Settings { maxmemory: bytes, ..(*old).clone() };
        if cx.node.replace_settings(&old, new) {
            return text::OK;
        }
    }
}
