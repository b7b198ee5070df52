//! PROXY HOT: the keys that the clients of this proxy ask for most.

use std::sync::atomic::Ordering;

use super::count_or_reset;
use crate::call::Call;
use crate::downstream::resp::Step;
use crate::hot::report;

/// `PROXY HOT [count | RESET]`
pub(super) fn answer(call: &mut Call<'_>) -> Step {
    let shared = &call.worker.shared;
    let count = match count_or_reset(call.request) {
        Ok(Some(count)) => count,
        Ok(None) => {
            shared.hot_resets.fetch_add(1, Ordering::Relaxed);
            return call.reply(|reply| reply.ok());
        }
        Err(text) => return call.refuse(text),
    };
    if !shared.settings.load().hot_keys {
        return call.refuse("ERR hot keys are not looked for: hot_keys is off in the proxy's configuration");
    }
    let told = report::merged(shared);
    let all = told.per_second.max(f64::MIN_POSITIVE);
    call.reply(|reply| {
        reply.map(2);
        reply.bulk(b"requests-per-second");
        reply.integer(told.per_second.round() as i64);
        reply.bulk(b"keys");
        reply.array(told.keys.len().min(count));
        for heavy in told.keys.iter().take(count) {
            reply.map(7);
            reply.bulk(b"key");
            reply.bulk(&heavy.key);
            reply.bulk(b"key-bytes");
            reply.integer(heavy.key_bytes as i64);
            reply.bulk(b"db");
            reply.integer(i64::from(heavy.db));
            reply.bulk(b"requests-per-second");
            reply.integer(heavy.per_second.round() as i64);
            reply.bulk(b"error-per-second");
            reply.integer(heavy.error_per_second.round() as i64);
            reply.bulk(b"writes-per-second");
            reply.integer(heavy.writes_per_second.round() as i64);
            reply.bulk(b"share");
            reply.bulk_fmt(format_args!("{:.4}", heavy.per_second / all));
        }
    })
}
