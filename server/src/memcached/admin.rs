//! Commands that tune memcached's own insides, which Torc has not: they are checked and answered as memcached does,
//! and change nothing.

use torc_protocol::memcached::{Request, parse_u64, text, write_line};

use super::dump::{Dump, MAX_BULK_DUMP_BYTES};
use crate::exec::{CommandResult, Cx, Flow};

const BAD_CLASS: &str = "BADCLASS invalid class id";
/// The longest pause of memcached's crawler, in microseconds.
const MAX_SLEEP_US: u64 = 1_000_000;
/// Classes of memcached's slabs.
const MAX_CLASS: u64 = 63;

/// The words behind the command's name.
fn arguments<'a>(request: &Request<'a>) -> Vec<&'a [u8]> {
    /// Nothing that is understood has more.
    const MAX_ARGUMENTS: usize = 12;
    request.args().take(MAX_ARGUMENTS).collect()
}

/// Whether these are classes: `all`, `hash`, or numbers with commas between.
pub(super) fn are_classes(word: &[u8]) -> bool {
    let is_class = |number: &[u8]| parse_u64(number).is_some_and(|class| (1..=MAX_CLASS).contains(&class));
    word == b"all" || word == b"hash" || word.split(|byte| *byte == b',').all(is_class)
}

/// `lru_crawler …`; the dumps of a connection are streamed by [`Dump`] before they come here.
pub(super) fn lru_crawler(cx: &mut Cx<'_, '_>, request: &Request<'_>, out: &mut Vec<u8>) -> CommandResult {
    let number = |word| parse_u64(word).filter(|number| u32::try_from(*number).is_ok());
    let answer = match arguments(request)[..] {
        [b"metadump" | b"mgdump", classes] if are_classes(classes) => {
            if let Some(mut dump) = Dump::of(request, cx.db) {
                let start = out.len();
                while !dump.step(cx.node, cx.now_ms, out)? {
                    if out.len() - start > MAX_BULK_DUMP_BYTES {
                        out.truncate(start);
                        write_line(out, "SERVER_ERROR the dump is too long here: ask the nodes themselves");
                        break;
                    }
                }
            }
            return Ok(());
        }
        [b"crawl", classes] if are_classes(classes) => text::OK,
        [b"metadump" | b"mgdump" | b"crawl", _] => BAD_CLASS,
        [b"tocrawl", count] if number(count).is_some() => text::OK,
        [b"sleep", pause] if number(pause).is_some_and(|pause| pause <= MAX_SLEEP_US) => text::OK,
        [b"sleep", pause] if number(pause).is_some() => "CLIENT_ERROR sleep must be one second or less",
        [b"tocrawl" | b"sleep", _] => text::BAD_FORMAT,
        [b"enable" | b"disable"] => text::OK,
        _ => text::ERROR,
    };
    write_line(out, answer);
    Ok(())
}

/// `lru tune|mode|temp_ttl …`
pub(super) fn lru(request: &Request<'_>) -> &'static str {
    let real = |word: &[u8]| std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
    match arguments(request)[..] {
        [b"tune", hot, warm, hot_age, warm_age, ..] => {
            let (Some(hot), Some(warm)) = (parse_u64(hot), parse_u64(warm)) else { return text::ERROR };
            let (Some(hot_age), Some(warm_age)) = (real(hot_age), real(warm_age)) else { return text::ERROR };
            /// Hot and warm together, in per cent.
            const MAX_SHARE: u64 = 80;
            if hot.saturating_add(warm) > MAX_SHARE {
                "ERROR hot and warm pcts must not exceed 80"
            } else if hot_age <= 0.0 || warm_age <= 0.0 {
                "ERROR hot/warm age factors must be greater than 0"
            } else {
                text::OK
            }
        }
        [b"mode", b"flat" | b"segmented", ..] => text::OK,
        [b"temp_ttl", ttl, ..] if real(ttl).is_some() => text::OK,
        _ => text::ERROR,
    }
}

/// `slabs reassign|automove …`
pub(super) fn slabs(request: &Request<'_>) -> &'static str {
    match arguments(request)[..] {
        [b"reassign", _, _] => "CLIENT_ERROR slab reassignment disabled",
        [b"automove", b"0" | b"1" | b"2"] => text::OK,
        [b"automove", level] if parse_u64(level).is_some() => text::ERROR,
        [b"automove", ..] if arguments(request).len() > 1 => text::BAD_FORMAT,
        _ => text::ERROR,
    }
}

/// `shutdown [graceful]`
pub(super) fn shutdown(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> Option<&'static str> {
    if !cx.node.settings.load().memcached_shutdown {
        return Some(text::SHUTDOWN_DISABLED);
    }
    if !matches!(arguments(request)[..], [] | [b"graceful"]) {
        return Some("CLIENT_ERROR invalid shutdown mode");
    }
    let Some(token) = cx.node.shutdown.get() else { return Some(text::SHUTDOWN_DISABLED) };
    tracing::info!(client = cx.session.id, "stopping: a memcached client asked for it");
    token.trigger();
    // As memcached: the connection ends without a reply.
    cx.flow = Flow::Close;
    None
}
