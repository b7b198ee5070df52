//! `ms`: storing in its modes.

use torc_protocol::memcached::{Request, text, write_line};

use super::{end_if, key_word, number, peek, until, word};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::memcached::execute;
use crate::notify::Class;
use crate::store::{Entry, Key, Marks};

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
pub fn set(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
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
