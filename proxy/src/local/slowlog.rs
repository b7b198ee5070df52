//! PROXY SLOWLOG: the proxy's own slow requests. (SLOWLOG gives those of all nodes, as they timed them.)

use super::count_or_reset;
use crate::call::Call;
use crate::downstream::resp::Step;

/// `PROXY SLOWLOG [count | RESET]`
pub(super) fn answer(call: &mut Call<'_>) -> Step {
    let log = &call.worker.shared.slow;
    let count = match count_or_reset(call.request) {
        Ok(Some(count)) => count,
        Ok(None) => {
            log.reset();
            return call.reply(|reply| reply.ok());
        }
        Err(text) => return call.refuse(text),
    };
    let entries = log.latest(count);
    call.reply(|reply| {
        reply.array(entries.len());
        for entry in &entries {
            reply.map(9);
            reply.bulk(b"id");
            reply.integer(entry.id);
            reply.bulk(b"time");
            reply.integer(entry.at_s as i64);
            reply.bulk(b"microseconds");
            reply.integer(entry.micros as i64);
            reply.bulk(b"command");
            reply.bulk(entry.command.as_bytes());
            reply.bulk(b"key");
            reply.bulk(&entry.key);
            reply.bulk(b"request");
            reply.bulk_fmt(entry.request);
            reply.bulk(b"node");
            reply.bulk(entry.node.as_bytes());
            reply.bulk(b"client");
            reply.bulk(entry.client.as_bytes());
            reply.bulk(b"outcome");
            reply.bulk(if entry.answered { b"answered" } else { b"not in time" });
        }
    })
}
