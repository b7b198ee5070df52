//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.
//!
//! The reply's flags come in the order in which the request asked for them, and what changes an item takes effect in
//! that order as well: `t` before `T` shows the old time, behind it the new one.

use torc_protocol::memcached::{Expiry, Request, encode_base64, exptime_ms, text, write_line};

use super::execute::{self, Counted};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::{Entry, Key, Marks, ValueRef};

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

/// `mg`
pub(super) fn get(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let stats = cx.stats;
    let (misses, expired) = (stats.memcached.get_misses.get(), stats.expired.get());
    let result = get_item(cx, request, out);
    if stats.memcached.get_misses.get() != misses {
        stats.memcached.get_expired.add(stats.expired.get() - expired);
    }
    result
}

fn get_item(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let meta = &request.meta;
    let key = cx.key(request.key());
    let touches = meta.has(b'T');
    let stats = &cx.stats.memcached;
    if touches {
        stats.cmd_touch.add(1)
    } else {
        stats.cmd_get.add(1)
    }
    let now_ms = cx.now_ms;
    let plain = !request.is_write() && !meta.has(b'h') && !meta.has(b'l') && !meta.has(b'u');
    if plain {
        // Nothing of it changes but the note of its use, unless it is stale.
        let clock = cx.node.eviction_clock(now_ms);
        return cx
            .read_and(&key, |entry, _| match entry {
                None => Ok(Found::Miss),
                Some(entry) if entry.is_marked() => Ok(Found::Marked),
                Some(entry) => {
                    let ValueRef::String(value) = entry.value() else { return Err(CommandError::WrongType) };
                    let seen = Seen {
                        expire_ms: entry.expire_ms(),
                        marks: Marks::default(),
                        idle_s: if clock.keeps_history() { 0 } else { clock.idle_s(entry.access()) },
                        cas: entry.cas(),
                        flags: entry.mc_flags(),
                        value_bytes: value.len(),
                    };
                    hit(out, request, &seen, value, &Change::default(), now_ms);
                    Ok(Found::Hit)
                }
            })
            .and_then(|found| match found {
                Found::Marked => changing(cx, request, out, &key),
                Found::Hit => {
                    cx.stats.memcached.get_hits.add(1);
                    Ok(())
                }
                Found::Miss => {
                    miss(cx, request, out);
                    Ok(())
                }
            });
    }
    changing(cx, request, out, &key)
}

enum Found {
    Hit,
    Miss,
    Marked,
}

/// What `mg` did to an item before it is shown.
#[derive(Debug, Default)]
struct Change {
    /// Made for this request.
    created: bool,
    /// This client is told to load a new value.
    won: bool,
    /// Somebody was told before.
    sent: bool,
}

fn miss(cx: &Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) {
    let stats = &cx.stats.memcached;
    if request.meta.has(b'T') {
        stats.touch_misses.add(1)
    } else {
        stats.get_misses.add(1)
    }
    if !request.meta.is_quiet() {
        out.extend_from_slice(b"EN");
        echo(out, request);
    }
}

/// `mg` that may change the item, or shows what its use would change.
fn changing(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>, key: &Key<'_>) -> CommandResult {
    let meta = &request.meta;
    let now_ms = cx.now_ms;
    let mut change = Change::default();
    let mut before = match peek(cx, key)? {
        Some(seen) => seen,
        None if meta.has(b'N') => {
            let marks = Marks::default().with_vacant(true).with_cas(meta.client_cas());
            let marks = marks.with_binary_key(meta.has(b'b'));
            cx.put_marked(key, b"", None, 0, marks);
            change.created = true;
            peek(cx, key)?.unwrap_or_default()
        }
        None => {
            miss(cx, request, out);
            return Ok(());
        }
    };
    before.expire_ms = before.expire_ms.filter(|_| !change.created);
    let lease_over = before.marks.lease_ms().is_some_and(|at| at <= now_ms);
    change.sent = before.marks.is_sent() && !lease_over;
    // What the flags ask for, in their order.
    let (mut expire_ms, mut is_over) = (before.expire_ms, false);
    for flag in meta.words() {
        match flag[0] {
            b'T' => (expire_ms, is_over) = until(request.exptime, now_ms),
            b'N' if change.created => {
                (expire_ms, is_over) = until(meta.vivify, now_ms);
                change.won = true;
            }
            b'R' if !change.sent && !change.created => {
                let (limit, _) = until(meta.recache_s, now_ms);
                // In whole seconds, as memcached counts them.
                let left_s = |at: u64| at.saturating_sub(now_ms).div_ceil(1000);
                change.won |= expire_ms.zip(limit).is_some_and(|(at, limit)| left_s(at) < left_s(limit));
            }
            _ => {}
        }
    }
    // A token is the primary's to give: a replica says that somebody else has it, and so does a primary that would
    // refuse the new value (this request may have come as a read).
    if before.marks.is_stale() && !change.sent {
        change.won |= cx.may_change();
        change.sent = !change.won;
    }
    let marks = if change.won { before.marks.with_sent(true).with_lease_ms(None) } else { before.marks };
    if change.won || expire_ms != before.expire_ms || meta.has(b'T') {
        let until = expire_ms.filter(|_| !is_over);
        cx.mark_entry(key, false, |entry| {
            entry.set_expire_ms(until);
            entry.set_marks(marks);
        });
        if meta.has(b'T') && !is_over {
            cx.notify(Class::GENERIC, "expire", key.bytes);
        }
    }
    if change.won {
        cx.stats.leases_granted.add(1);
    } else if change.sent {
        cx.stats.leases_waited.add(1);
    }
    let no_trace = meta.has(b'u');
    let db = cx.db;
    let entry = if no_trace { cx.access.stripe(key.slot).peek(db, key) } else { cx.read(key) };
    if let Some(entry) = entry {
        let value = entry.as_string().unwrap_or_default();
        hit(out, request, &before, value, &change, now_ms);
    }
    end_if(cx, key, is_over);
    let stats = &cx.stats.memcached;
    if meta.has(b'T') {
        stats.touch_hits.add(1)
    } else {
        stats.get_hits.add(1)
    }
    Ok(())
}

/// The reply that shows an item.
fn hit(out: &mut Vec<u8>, request: &Request<'_>, seen: &Seen, value: &[u8], change: &Change, now_ms: u64) {
    let meta = &request.meta;
    let shows_value = meta.has(b'v') && !(meta.has(b'C') && seen.cas == request.cas);
    if shows_value {
        out.extend_from_slice(b"VA ");
        out.extend_from_slice(itoa::Buffer::new().format(value.len()).as_bytes());
    } else {
        out.extend_from_slice(b"HD");
    }
    let mut expire_ms = seen.expire_ms;
    for flag in meta.words() {
        match flag[0] {
            b's' => number(out, b's', seen.value_bytes),
            b'c' => number(out, b'c', seen.cas),
            b'f' => number(out, b'f', seen.flags),
            b'h' => number(out, b'h', u8::from(seen.marks.is_fetched())),
            b'l' => number(out, b'l', seen.idle_s),
            b't' => ttl_word(out, expire_ms, now_ms),
            b'T' => (expire_ms, _) = until(request.exptime, now_ms),
            b'N' if change.created => (expire_ms, _) = until(meta.vivify, now_ms),
            b'O' => word(out, flag),
            b'k' => {
                key_word(out, request.key(), seen.marks.is_binary_key() || meta.has(b'b') && change.created);
            }
            _ => {}
        }
    }
    if change.sent {
        out.extend_from_slice(b" Z");
    }
    if seen.marks.is_stale() {
        out.extend_from_slice(b" X");
    }
    if change.won {
        out.extend_from_slice(b" W");
    }
    out.extend_from_slice(b"\r\n");
    if shows_value {
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// How `ms` ended.
struct Stored {
    code: &'static str,
    cas: u64,
    value_bytes: usize,
}

impl Stored {
    fn not(code: &'static str, request: &Request<'_>) -> Stored {
        Stored { code, cas: 0, value_bytes: request.data.len() }
    }
}

/// `ms`
pub(super) fn set(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let meta = &request.meta;
    cx.stats.memcached.cmd_set.add(1);
    let key = cx.key(request.key());
    let stored = match meta.mode {
        b'A' | b'P' => extend(cx, request, &key)?,
        _ => replace(cx, request, &key),
    };
    let Some(stored) = stored else {
        write_line(out, text::OUT_OF_MEMORY);
        return Ok(());
    };
    if stored.code == "HD" && meta.is_quiet() {
        return Ok(());
    }
    out.extend_from_slice(stored.code.as_bytes());
    for flag in meta.words() {
        match flag[0] {
            b'O' => word(out, flag),
            b'k' => key_word(out, request.key(), meta.has(b'b')),
            b'c' => number(out, b'c', stored.cas),
            b's' => number(out, b's', stored.value_bytes),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Set, add, replace, and compare-and-set.
fn replace(cx: &mut Cx<'_, '_>, request: &Request<'_>, key: &Key<'_>) -> Option<Stored> {
    let meta = &request.meta;
    let compares = meta.has(b'C') && meta.mode != b'E';
    let mut marks = Marks::default().with_cas(meta.client_cas()).with_binary_key(meta.has(b'b'));
    let (mut expire_ms, mut is_over) = until(request.exptime, cx.now_ms);
    if compares || matches!(meta.mode, b'E' | b'R') {
        let old = cx.peek(key).map(|entry| (entry.cas(), entry.marks(), entry.expire_ms()));
        let stats = &cx.stats.memcached;
        match old {
            Some(_) if meta.mode == b'E' => return Some(Stored::not("NS", request)),
            None if compares => {
                stats.cas_misses.add(1);
                return Some(Stored::not("NF", request));
            }
            None if meta.mode == b'R' => return Some(Stored::not("NS", request)),
            Some((cas, old, at)) if compares => {
                let is_older = meta.has(b'I') && request.cas != 0 && request.cas < cas;
                if is_older {
                    // Better than nothing: whoever loads a newer one goes on with it.
                    marks = marks.with_stale(true).with_sent(old.is_sent()).with_lease_ms(old.lease_ms());
                    (expire_ms, is_over) = (at, false);
                } else if request.cas != cas || request.cas == 0 {
                    stats.cas_badval.add(1);
                    return Some(Stored::not("EX", request));
                }
                stats.cas_hits.add(1);
            }
            _ => {}
        }
    }
    cx.stats.memcached.total_items.add(1);
    cx.put_marked(key, request.data, expire_ms.filter(|_| !is_over), request.flags, marks);
    let cas = cx.peek(key).map_or(0, Entry::cas);
    cx.notify(Class::STRING, "set", request.key());
    end_if(cx, key, is_over);
    Some(Stored { code: "HD", cas, value_bytes: request.data.len() })
}

/// Append and prepend: flags and expiry stay those of the item. `None` when it would be too large.
fn extend(cx: &mut Cx<'_, '_>, request: &Request<'_>, key: &Key<'_>) -> Result<Option<Stored>, CommandError> {
    let meta = &request.meta;
    let Some(seen) = peek(cx, key)? else {
        if !meta.has(b'N') {
            return Ok(Some(Stored::not("NS", request)));
        }
        let (expire_ms, is_over) = until(meta.vivify, cx.now_ms);
        let marks = Marks::default().with_cas(meta.client_cas()).with_binary_key(meta.has(b'b'));
        cx.put_marked(key, request.data, expire_ms.filter(|_| !is_over), request.flags, marks);
        let cas = cx.peek(key).map_or(0, Entry::cas);
        cx.notify(Class::STRING, "set", request.key());
        end_if(cx, key, is_over);
        return Ok(Some(Stored { code: "HD", cas, value_bytes: request.data.len() }));
    };
    if meta.has(b'C') && request.cas != 0 && request.cas != seen.cas {
        return Ok(Some(Stored::not("EX", request)));
    }
    if !execute::extend_item(cx, key, request.data, meta.mode == b'A', meta.client_cas()) {
        return Ok(None);
    }
    let cas = cx.peek(key).map_or(0, Entry::cas);
    let value_bytes = seen.value_bytes + request.data.len();
    Ok(Some(Stored { code: "HD", cas, value_bytes }))
}

/// `md`
pub(super) fn delete(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let code = delete_code(cx, request)?;
    if code != "HD" || !request.meta.is_quiet() {
        out.extend_from_slice(code.as_bytes());
        echo(out, request);
    }
    Ok(())
}

fn delete_code(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Result<&'static str, CommandError> {
    let meta = &request.meta;
    let key = cx.key(request.key());
    let keeps = meta.has(b'I') || meta.has(b'x');
    let old = cx.peek(&key).map(|entry| (entry.cas(), entry.as_string().is_some(), entry.marks()));
    let Some((cas, is_item, marks)) = old else {
        cx.stats.memcached.delete_misses.add(1);
        return Ok("NF");
    };
    if meta.has(b'C') && cas != request.cas {
        cx.stats.memcached.delete_misses.add(1);
        return Ok("EX");
    }
    if !keeps {
        cx.delete(&key);
        cx.stats.memcached.delete_hits.add(1);
        cx.notify(Class::GENERIC, "del", request.key());
        return Ok("HD");
    }
    if !is_item {
        return Err(CommandError::WrongType);
    }
    let (expire_ms, mut is_over) = until(request.exptime, cx.now_ms);
    if meta.has(b'x') {
        let marks = Marks::default().with_binary_key(marks.is_binary_key());
        let kept = Some(meta.client_cas().unwrap_or(cas));
        cx.put_marked(&key, b"", expire_ms.filter(|_| !is_over), request.flags, marks.with_cas(kept));
        cx.notify(Class::STRING, "set", request.key());
    }
    if meta.has(b'I') {
        let cas = meta.client_cas();
        let new_expiry = meta.has(b'T').then_some(expire_ms.filter(|_| !is_over));
        cx.mark_entry(&key, cas.is_none(), |entry| {
            if let Some(expire_ms) = new_expiry {
                entry.set_expire_ms(expire_ms);
            }
            let marks = entry.marks().with_stale(true).with_sent(false).with_lease_ms(None);
            entry.set_marks(marks.with_cas(cas));
        });
        if meta.has(b'T') && !is_over {
            cx.notify(Class::GENERIC, "expire", request.key());
        }
        is_over &= meta.has(b'T') || meta.has(b'x');
    } else {
        cx.stats.memcached.delete_hits.add(1);
    }
    end_if(cx, &key, is_over);
    Ok("HD")
}

/// `ma`
pub(super) fn arithmetic(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let meta = &request.meta;
    let up = !matches!(meta.mode, b'D' | b'-');
    let key = cx.key(request.key());
    let mut created = false;
    let old = peek(cx, &key)?;
    if meta.has(b'C')
        && let Some(seen) = old
        && request.cas != 0
        && seen.cas != request.cas
        && seen.value_bytes > 0
    {
        out.extend_from_slice(b"EX");
        echo(out, request);
        return Ok(());
    }
    let value = match execute::count(cx, &key, up, request.delta)? {
        Counted::To(value) => {
            if let Some(cas) = meta.client_cas() {
                cx.mark_entry(&key, false, |entry| entry.set_marks(entry.marks().with_cas(Some(cas))));
            }
            value
        }
        Counted::NotNumeric => {
            write_line(out, text::NON_NUMERIC);
            return Ok(());
        }
        Counted::Missing if meta.has(b'N') => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(meta.initial);
            let marks = Marks::default().with_cas(meta.client_cas()).with_binary_key(meta.has(b'b'));
            cx.put_marked(&key, digits.as_bytes(), None, 0, marks);
            created = true;
            meta.initial
        }
        Counted::Missing => {
            let stats = &cx.stats.memcached;
            if up {
                stats.incr_misses.add(1)
            } else {
                stats.decr_misses.add(1)
            }
            out.extend_from_slice(b"NF");
            echo(out, request);
            return Ok(());
        }
    };
    let seen = peek(cx, &key)?.unwrap_or_default();
    let start = out.len();
    let is_over = counted(cx, request, out, (&key, seen, created), value);
    if meta.is_quiet() {
        out.truncate(start);
    }
    cx.notify(Class::STRING, if up { "incrby" } else { "decrby" }, request.key());
    end_if(cx, &key, is_over);
    Ok(())
}

/// The reply to `ma`, and the expiry that it sets; whether that has passed already.
fn counted(
    cx: &mut Cx<'_, '_>,
    request: &Request<'_>,
    out: &mut Vec<u8>,
    (key, seen, created): (&Key<'_>, Seen, bool),
    value: u64,
) -> bool {
    let meta = &request.meta;
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value);
    if meta.has(b'v') {
        out.extend_from_slice(b"VA ");
        out.extend_from_slice(itoa::Buffer::new().format(digits.len()).as_bytes());
    } else {
        out.extend_from_slice(b"HD");
    }
    let now_ms = cx.now_ms;
    let (mut expire_ms, mut is_over) = (seen.expire_ms, false);
    for flag in meta.words() {
        match flag[0] {
            b'c' => number(out, b'c', seen.cas),
            b't' => ttl_word(out, expire_ms, now_ms),
            b'T' => (expire_ms, is_over) = until(request.exptime, now_ms),
            b'N' if created => (expire_ms, is_over) = until(meta.vivify, now_ms),
            b'O' => word(out, flag),
            b'k' => key_word(out, request.key(), meta.has(b'b')),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    if meta.has(b'v') {
        write_line(out, digits);
    }
    if expire_ms != seen.expire_ms {
        let until = expire_ms.filter(|_| !is_over);
        cx.mark_entry(key, false, |entry| entry.set_expire_ms(until));
    }
    is_over
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
