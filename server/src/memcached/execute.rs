//! Runs one request on locked stripes and appends memcached's reply.

use smallvec::SmallVec;
use torc_protocol::memcached::{Expiry, Request, Verb, exptime_ms, parse_u64, text, write_line, write_value};

use super::{VERSION, admin, flush, meta, stats, watch};
use crate::exec::{CommandError, CommandResult, Cx, Flow};
use crate::notify::Class;
use crate::pubsub::Lines;
use crate::store::{Entry, Key, ValueRef};

/// Digits of a counter, for which no memory is asked.
const MAX_COUNTER_BYTES: usize = 24;

/// memcached's own words, behind `SERVER_ERROR`.
const TOO_MANY_VALUES: &str = "out of memory writing get response";

/// The largest limit that `cache_memlimit` takes for megabytes.
const MAX_MEMLIMIT_MB: u64 = 1_000_000_000;

/// The smallest limit that `cache_memlimit` takes, in megabytes.
const MIN_MEMLIMIT_MB: u64 = 8;

/// Bytes of values that one `get` may ask for: keys may be named again and again, and nothing is shared between the
/// places of a reply.
pub const MAX_VALUES_BYTES: usize = 256 << 20;

/// Executes `request`; with `end` the values of a retrieval are followed by `END`. The reply is appended to the
/// context's output.
pub fn execute(cx: &mut Cx<'_, '_>, request: &Request<'_>, end: bool) -> CommandResult {
    // The reply is written while entries are borrowed from the context.
    let mut out = std::mem::take(cx.out);
    let result = if cx.node.pubsub.log().wants(Lines::OF_ITEMS) {
        watch::traced(cx, request, end, &mut out)
    } else {
        run(cx, request, end, &mut out)
    };
    *cx.out = out;
    result
}

pub(super) fn run(cx: &mut Cx<'_, '_>, request: &Request<'_>, end: bool, out: &mut Vec<u8>) -> CommandResult {
    if request.verb.is_meta() {
        cx.stats.memcached.cmd_meta.add(1);
    }
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
        Verb::FlushAll => {
            flush::flush_all(cx, request)?;
            text::OK
        }
        Verb::Version => {
            write_line(out, &format!("VERSION {VERSION}"));
            return Ok(());
        }
        Verb::Verbosity => text::OK,
        Verb::Stats => return stats::run(cx, request, out),
        Verb::CacheMemlimit => memlimit(cx, request.delta),
        Verb::MetaGet => return meta::get(cx, request, out),
        Verb::MetaSet => return meta::set(cx, request, out),
        Verb::MetaDelete => return meta::delete(cx, request, out),
        Verb::MetaArithmetic => return meta::arithmetic(cx, request, out),
        Verb::MetaDebug => return meta::debug(cx, request, out),
        Verb::MetaNoop => "MN",
        Verb::LruCrawler => return admin::lru_crawler(cx, request, out),
        Verb::Lru => admin::lru(request),
        Verb::Slabs => admin::slabs(request),
        // A connection answers it by itself: a request of a proxy cannot become a watcher.
        Verb::Watch => text::NO_WATCH,
        Verb::Shutdown => match admin::shutdown(cx, request) {
            Some(answer) => answer,
            None => return Ok(()),
        },
        Verb::Quit => {
            cx.flow = Flow::Close;
            return Ok(());
        }
    };
    write_line(out, answer);
    Ok(())
}

/// `get` of one key.
pub fn get_one(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> CommandResult {
    if cx.node.pubsub.log().wants(Lines::FETCHERS) {
        watch::before_get(cx, key);
    }
    let mut out = std::mem::take(cx.out);
    let expired = cx.stats.expired.get();
    let found = match cx.read(key).map(|entry| (entry.value(), entry.mc_flags())) {
        None => Ok(false),
        Some((ValueRef::String(value), flags)) => {
            write_value(&mut out, key.bytes, flags, value, None);
            Ok(true)
        }
        Some(_) => Err(CommandError::WrongType),
    };
    if found.is_ok() {
        out.extend_from_slice(b"END\r\n");
    }
    *cx.out = out;
    let stats = &cx.stats.memcached;
    stats.cmd_get.add(1);
    if found? {
        stats.get_hits.add(1)
    } else {
        stats.get_misses.add(1);
        stats.get_expired.add(cx.stats.expired.get() - expired);
    }
    Ok(())
}

/// get, gets, gat, gats.
fn retrieve(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let touches = matches!(request.verb, Verb::Gat | Verb::Gats);
    let with_cas = matches!(request.verb, Verb::Gets | Verb::Gats);
    let stats = &cx.stats.memcached;
    if touches {
        stats.cmd_touch.add(request.key_count() as u64);
        // Nothing may have changed when one of the keys turns out to be no item, or all together are too much.
        let mut values_bytes = 0;
        for bytes in request.keys() {
            let key = cx.key(bytes);
            if let Some(entry) = cx.peek(&key) {
                values_bytes += entry.as_string().ok_or(CommandError::WrongType)?.len();
            }
        }
        if values_bytes > MAX_VALUES_BYTES {
            return Err(TOO_MANY_VALUES.into());
        }
    }
    let stats = &cx.stats.memcached;
    stats.cmd_get.add(request.key_count() as u64);
    let mut values_bytes = 0;
    for bytes in request.keys() {
        let key = cx.key(bytes);
        let expired = cx.stats.expired.get();
        let found = match cx.read(&key) {
            None => false,
            Some(entry) => {
                let ValueRef::String(value) = entry.value() else { return Err(CommandError::WrongType) };
                values_bytes += value.len();
                if values_bytes > MAX_VALUES_BYTES && !touches {
                    return Err(TOO_MANY_VALUES.into());
                }
                let cas = with_cas.then(|| entry.cas());
                write_value(out, bytes, entry.mc_flags(), value, cas);
                true
            }
        };
        let stats = &cx.stats.memcached;
        if found {
            stats.get_hits.add(1)
        } else {
            stats.get_misses.add(1);
            stats.get_expired.add(cx.stats.expired.get() - expired);
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
        let present = cx.peek(&key).map(Entry::cas);
        let stats = &cx.stats.memcached;
        match (request.verb, present) {
            (Verb::Add, Some(_)) | (Verb::Replace, None) => return Ok(text::NOT_STORED),
            (Verb::Cas, None) => {
                stats.cas_misses.add(1);
                return Ok(text::NOT_FOUND);
            }
            (Verb::Cas, Some(cas)) if cas != request.cas => {
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
    cx.notify(Class::STRING, "set", request.key());
    Ok(text::STORED)
}

/// append, prepend: flags and expiry stay those of the item.
fn extend(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<&'static str, CommandError> {
    cx.stats.memcached.cmd_set.add(1);
    let key = cx.key(request.key());
    match cx.peek(&key).map(|entry| entry.as_string().is_some()) {
        None => return Ok(text::NOT_STORED),
        Some(false) => return Err(CommandError::WrongType),
        Some(true) => {}
    }
    let fits = extend_item(cx, &key, request.data, request.verb == Verb::Append, None);
    Ok(if fits { text::STORED } else { text::OUT_OF_MEMORY })
}

/// Adds to a string that is there, at its end or its start; `cas` is a client's own CAS value. False when it would be
/// too large.
pub(super) fn extend_item(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    data: &[u8],
    at_end: bool,
    cas: Option<u64>,
) -> bool {
    let limit = cx.node.settings.load().max_item_bytes;
    let length = cx.peek(key).and_then(Entry::as_string).map_or(0, <[u8]>::len);
    if (length + data.len()) as u64 > limit {
        cx.stats.memcached.store_too_large.add(1);
        return false;
    }
    let changed = cx.update(key, |entry| {
        entry.modify_string(|value| {
            if at_end {
                value.extend_from_slice(data);
            } else {
                value.splice(0..0, data.iter().copied());
            }
        });
        if cas.is_some() {
            entry.set_marks(entry.marks().with_cas(cas));
        }
    });
    if let Some((_, version)) = changed {
        cx.stats.memcached.total_items.add(1);
        if at_end && cas.is_none() {
            cx.effects.append(cx.db, key.bytes, version, data);
        } else {
            cx.record_put(key);
        }
        cx.notify(Class::STRING, if at_end { "append" } else { "prepend" }, key.bytes);
    }
    true
}

fn delete(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> &'static str {
    let key = cx.key(request.key());
    if cx.delete(&key) {
        cx.stats.memcached.delete_hits.add(1);
        cx.notify(Class::GENERIC, "del", request.key());
        text::DELETED
    } else {
        cx.stats.memcached.delete_misses.add(1);
        text::NOT_FOUND
    }
}

/// What became of a counter.
pub(super) enum Counted {
    To(u64),
    NotNumeric,
    Missing,
}

/// Counts up (wraps at 64 bits) or down (stops at 0). A result that is shorter than what was there is padded with
/// spaces, as memcached's writing in place does.
pub(super) fn count(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    up: bool,
    delta: u64,
) -> Result<Counted, CommandError> {
    let (number, length) = match cx.peek(key).map(Entry::value) {
        None => return Ok(Counted::Missing),
        Some(ValueRef::String(value)) => match parse_u64(value) {
            Some(number) => (number, value.len()),
            None => return Ok(Counted::NotNumeric),
        },
        Some(_) => return Err(CommandError::WrongType),
    };
    let new = if up { number.wrapping_add(delta) } else { number.saturating_sub(delta) };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(new).as_bytes();
    let fits = digits.len() <= length;
    let mut value: SmallVec<[u8; MAX_COUNTER_BYTES]> = SmallVec::from_slice(digits);
    value.resize(value.len().max(length), b' ');
    let changed = cx.update(key, |entry| {
        // In place the item is the same one, stale or not.
        let marks = entry.marks().with_cas(None);
        entry.set_string(&value);
        if fits {
            entry.set_marks(marks);
        }
    });
    if changed.is_some() {
        cx.record_put(key);
    }
    let stats = &cx.stats.memcached;
    if up {
        stats.incr_hits.add(1)
    } else {
        stats.decr_hits.add(1)
    }
    Ok(Counted::To(new))
}

/// Nothing is there to be counted up or down.
pub(super) fn count_miss(cx: &Cx<'_, '_>, up: bool) {
    let stats = &cx.stats.memcached;
    if up { stats.incr_misses.add(1) } else { stats.decr_misses.add(1) }
}

/// incr, decr: the reply has the number alone.
fn arithmetic(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let up = request.verb == Verb::Incr;
    let key = cx.key(request.key());
    match count(cx, &key, up, request.delta)? {
        Counted::To(value) => {
            write_line(out, itoa::Buffer::new().format(value));
            cx.notify(Class::STRING, if up { "incrby" } else { "decrby" }, request.key());
        }
        Counted::NotNumeric => write_line(out, text::NON_NUMERIC),
        Counted::Missing => {
            count_miss(cx, up);
            write_line(out, text::NOT_FOUND);
        }
    }
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
    cx.notify(Class::GENERIC, "expire", request.key());
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

/// cache_memlimit: megabytes for the store.
fn memlimit(cx: &mut Cx<'_, '_>, megabytes: u64) -> &'static str {
    if megabytes < MIN_MEMLIMIT_MB {
        return text::MEMLIMIT_TOO_SMALL;
    }
    if megabytes > MAX_MEMLIMIT_MB {
        return "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes";
    }
    let bytes = megabytes << 20;
    loop {
        let old = cx.node.settings.load_full();
        let new = crate::settings::Settings { maxmemory: bytes, ..(*old).clone() };
        if cx.node.replace_settings(&old, new) {
            return text::OK;
        }
    }
}
