//! PROXY SLOWLOG: the proxy's own slow requests. (SLOWLOG gives those of all nodes, as they timed them.)

use torc_protocol::error;
use torc_protocol::resp::parse_i64;

use crate::call::Call;
use crate::downstream::resp::Step;

/// Entries that are given unless told otherwise.
const DEFAULT_COUNT: usize = 10;

/// `PROXY SLOWLOG [count | RESET]`
pub(super) fn answer(call: &mut Call<'_>) -> Step {
    let (request, log) = (call.request, &call.worker.shared.slow);
    let count = match request.args.len() {
        2 => DEFAULT_COUNT,
        3 if request.is_word(2, "RESET") => {
            log.reset();
            return call.reply(|reply| reply.ok());
        }
        3 => match parse_i64(request.arg(2)) {
            Some(-1) => usize::MAX,
            Some(count) if count >= 0 => usize::try_from(count).unwrap_or(usize::MAX),
            _ => return call.refuse("ERR count should be greater than or equal to -1"),
        },
        _ => return call.refuse(error::SYNTAX),
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
