//! `ma`: counting.

use torc_protocol::memcached::{Request, text, write_line};

use super::{Seen, echo, end_if, key_word, number, peek, ttl_word, until, word};
use crate::exec::{CommandResult, Cx};
use crate::memcached::execute::{self, Counted};
use crate::notify::Class;
use crate::store::{Key, Marks};

/// `ma`
pub fn arithmetic(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
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
            execute::count_miss(cx, up);
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
