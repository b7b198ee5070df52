//! `mg`: reading, leases, touching.

use torc_protocol::error::REPLICA_CANNOT;
use torc_protocol::memcached::Request;

use super::{Seen, echo, end_if, key_word, number, peek, ttl_word, until, word};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::shard::Role;
use crate::store::{Key, Marks, ValueRef};

/// `mg`
pub fn get(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
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
    let (expire_ms, is_over) = apply_flags(request, before.expire_ms, &mut change, now_ms);
    // A token is the primary's to give; it says that somebody else has it where it would refuse the new value (this request
    // may have come as a read).
    if before.marks.is_stale() && !change.sent {
        if cx.node.shard.role() == Role::Replica {
            return Err(REPLICA_CANNOT.into());
        }
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

/// What the flags ask for, in their order: who is told to load, until when the item lives then, and whether that has
/// passed already.
fn apply_flags(
    request: &Request<'_>,
    mut expire_ms: Option<u64>,
    change: &mut Change,
    now_ms: u64,
) -> (Option<u64>, bool) {
    let meta = &request.meta;
    let mut is_over = false;
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
    (expire_ms, is_over)
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
