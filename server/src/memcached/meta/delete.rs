//! `md`: deleting, and marking as stale.

use torc_protocol::memcached::Request;

use super::{echo, end_if, until};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::Marks;

/// `md`
pub fn delete(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
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
