//! `watch`: the lines that memcached's log shows, of requests by memcached clients, evictions and connections.
//!
//! ```text
//! ts=<seconds>.<micros> gid=<number> type=item_get key=<key> status=found|not_found clsid=<class> cfd=<socket> size=<bytes>
//! ts=… gid=… type=item_store key=… status=stored|not_stored|exists|not_found|too_large|no_memory cmd=… ttl=… clsid=… cfd=… size=…
//! ts=… gid=… type=deleted key=… cmd=delete|md clsid=… size=…
//! ts=… gid=… type=eviction key=… fetch=yes|no ttl=… la=… clsid=… size=…
//! ts=… gid=… type=conn_new rip=… rport=… transport=tcp|local cfd=…
//! ts=… gid=… type=conn_close rip=… rport=… transport=… reason=error|normal|idle_timeout|shutdown cfd=…
//! ```
//!
//! A request is looked at from outside: what its keys held before it, what it answered, what they hold behind it. So the
//! commands themselves know nothing of it. See [`Log`](crate::pubsub::Log) for what bounds it.

use std::fmt::Write as _;

use torc_protocol::memcached::{Expiry, Request, Verb, exptime_ms, text, write_line};

use super::execute::run;
use super::meta::item_bytes;
use super::uri::UriEncoded;
use crate::clients::Client;
use crate::exec::{CommandError, CommandResult, Cx, Session};
use crate::node::Node;
use crate::pubsub::{Lines, PubSub, Subscriptions};
use crate::store::Entry;

/// What `ttl` shows of an item whose time was over when it was stored: one second ago, in memcached's unsigned numbers.
const OVER: u64 = u32::MAX as u64;

/// The class that every item has, and that of no item.
const CLASS: u8 = 1;
const NO_CLASS: u8 = 0;

/// Why a connection ends, in memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client went, or somebody ended its connection.
    Normal,
    /// What it sent was no request.
    Error,
    /// It was silent for too long.
    IdleTimeout,
    /// The node stops.
    Shutdown,
}

impl CloseReason {
    const ALL: [CloseReason; 4] =
        [CloseReason::Normal, CloseReason::Error, CloseReason::IdleTimeout, CloseReason::Shutdown];

    /// The reason of a number, for an atomic.
    pub fn of_number(number: u8) -> CloseReason {
        CloseReason::ALL.get(usize::from(number)).copied().unwrap_or(CloseReason::Normal)
    }

    fn as_str(self) -> &'static str {
        match self {
            CloseReason::Normal => "normal",
            CloseReason::Error => "error",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

/// The kind that a word of `watch` names.
fn lines_of(word: &[u8]) -> Option<Lines> {
    Some(match word {
        b"fetchers" => Lines::FETCHERS,
        b"mutations" => Lines::MUTATIONS,
        b"evictions" => Lines::EVICTIONS,
        b"connevents" => Lines::CONNEVENTS,
        b"deletions" => Lines::DELETIONS,
        b"rawcmds" | b"sysevents" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => Lines::NONE_HERE,
        _ => return None,
    })
}

/// `watch [<kind> …]`: true when the connection watches from now on, and takes no more requests. `out` holds what its
/// client has not been sent yet.
pub(super) fn start(node: &Node, session: &mut Session, request: &Request<'_>, out: &mut Vec<u8>) -> bool {
    if !out.is_empty() {
        write_line(out, "ERROR cannot pipeline other commands before watch");
        return false;
    }
    let words = request.args().try_fold(None, |all: Option<Lines>, word| {
        lines_of(word).map(|lines| Some(all.unwrap_or_default().or(lines)))
    });
    let Some(lines) = words else {
        write_line(out, text::ERROR);
        return false;
    };
    let Some(client) = session.client.clone() else {
        write_line(out, "WATCHER_FAILED failed to add log watcher");
        return false;
    };
    let (registry, version) = (node.pubsub.clone(), session.version);
    let mut subscriptions = Box::new(Subscriptions::new(registry, client, version));
    if !subscriptions.start_log(lines.unwrap_or(Lines::FETCHERS)) {
        write_line(out, "WATCHER_TOO_MANY log watcher limit reached");
        return false;
    }
    session.subscriptions = Some(subscriptions);
    write_line(out, text::OK);
    true
}

/// A line as far as every one of them has it.
fn begin(registry: &PubSub, now_ms: u64, kind: &str) -> String {
    let mut line = String::with_capacity(256);
    let gid = registry.log().next_gid();
    let (seconds, micros) = (now_ms / 1000, now_ms % 1000 * 1000);
    // Writing to a string does not fail.
    let _ = write!(line, "ts={seconds}.{micros:06} gid={gid} type={kind}");
    line
}

fn end(registry: &PubSub, lines: Lines, mut line: String) {
    line.push('\n');
    registry.write_log(lines, line.as_bytes());
}

/// What is known of a key's item.
#[derive(Clone, Copy)]
struct Known {
    value_bytes: usize,
    expire_ms: Option<u64>,
}

fn known(entry: Entry<'_>) -> Known {
    let value_bytes = entry.as_string().map_or_else(|| item_bytes(entry), <[u8]>::len);
    Known { value_bytes, expire_ms: entry.expire_ms() }
}

fn fetched(cx: &Cx<'_, '_>, key: &[u8], found: Option<Known>) {
    let registry = &cx.node.pubsub;
    if !registry.log().wants(Lines::FETCHERS) {
        return;
    }
    let mut line = begin(registry, cx.now_ms, "item_get");
    let (status, class) = if found.is_some() { ("found", CLASS) } else { ("not_found", NO_CLASS) };
    let (key, socket, size) = (UriEncoded(key), socket(cx), found.map_or(0, |item| item.value_bytes));
    let _ = write!(line, " key={key} status={status} clsid={class} cfd={socket} size={size}");
    end(registry, Lines::FETCHERS, line);
}

fn socket(cx: &Cx<'_, '_>) -> i32 {
    cx.session.client.as_ref().map_or(0, |client| client.fd())
}

/// `get` of one key, which somebody watches.
#[cold]
pub(super) fn before_get(cx: &mut Cx<'_, '_>, key: &crate::store::Key<'_>) {
    let found = cx.peek(key).map(known);
    fetched(cx, key.bytes, found);
}

/// A request that somebody watches.
#[cold]
pub(super) fn traced(
    cx: &mut Cx<'_, '_>,
    request: &Request<'_>,
    ends: bool,
    out: &mut Vec<u8>,
) -> CommandResult {
    let mut before = None;
    let ends_what_it_finds = matches!(request.verb, Verb::Gat | Verb::Gats)
        && exptime_ms(request.exptime, cx.now_ms) == Expiry::AlreadyExpired;
    for (index, bytes) in request.keys().enumerate() {
        let key = cx.key(bytes);
        before = cx.peek(&key).map(known);
        let gone = ends_what_it_finds && request.keys().take(index).any(|earlier| earlier == bytes);
        fetched(cx, bytes, before.filter(|_| !gone));
    }
    let start = out.len();
    let result = run(cx, request, ends, out);
    let answer = out.get(start..).unwrap_or_default();
    match request.verb {
        verb if verb.has_data() => stored(cx, request, status(&result, answer), command(request)),
        Verb::MetaArithmetic if before.is_none() && request.meta.has(b'N') && result.is_ok() => {
            fetched(cx, request.key(), None);
            stored(cx, request, "stored", "add");
        }
        Verb::MetaDelete if is_done(&result, answer) => {
            let keeps = request.meta.has(b'x');
            if keeps {
                fetched(cx, request.key(), before);
                stored(cx, request, "stored", "set");
            }
            if let Some(item) = before
                && !request.meta.has(b'I')
            {
                deleted(cx, request.key(), "md", if keeps { 0 } else { item.value_bytes });
            }
        }
        Verb::Delete => {
            if let Some(item) = before {
                deleted(cx, request.key(), "delete", item.value_bytes);
            }
        }
        _ => {}
    }
    result
}

/// Whether a meta command did what it was asked for; a quiet one says nothing then.
fn is_done(result: &CommandResult, answer: &[u8]) -> bool {
    result.is_ok() && (answer.is_empty() || answer.starts_with(b"HD"))
}

/// How storing ended, by its answer.
fn status(result: &CommandResult, answer: &[u8]) -> &'static str {
    let word = answer.split(|byte| matches!(byte, b' ' | b'\r')).next().unwrap_or_default();
    match (result, word) {
        (Err(CommandError::WrongType), _) | (_, b"NOT_STORED" | b"NS") => "not_stored",
        (_, b"EXISTS" | b"EX") => "exists",
        (_, b"NOT_FOUND" | b"NF") => "not_found",
        (Ok(()), b"" | b"STORED" | b"HD") => "stored",
        _ => "no_memory",
    }
}

/// What memcached calls the way of storing.
fn command(request: &Request<'_>) -> &'static str {
    let compares = request.meta.has(b'C');
    match (request.verb, request.meta.mode) {
        (Verb::Add, _) | (Verb::MetaSet, b'E') => "add",
        (Verb::Append, _) | (Verb::MetaSet, b'A') => "append",
        (Verb::Prepend, _) | (Verb::MetaSet, b'P') => "prepend",
        (Verb::Cas, _) => "cas",
        (Verb::MetaSet, _) if compares => "cas",
        (Verb::Replace, _) | (Verb::MetaSet, b'R') => "replace",
        _ => "set",
    }
}

fn stored(cx: &mut Cx<'_, '_>, request: &Request<'_>, status: &str, command: &str) {
    let registry = cx.node.pubsub.clone();
    if !registry.log().wants(Lines::MUTATIONS) {
        return;
    }
    let key = cx.key(request.key());
    let now_ms = cx.now_ms;
    let item = if status == "stored" { cx.peek(&key).map(known) } else { None };
    let seconds = |at: u64| at.saturating_sub(now_ms).div_ceil(1000);
    let ttl = match (item, exptime_ms(request.exptime, now_ms)) {
        // It gets its expiry behind the line.
        _ if request.verb == Verb::MetaArithmetic => 0,
        (Some(item), _) => item.expire_ms.map_or(0, seconds),
        (None, Expiry::Never) => 0,
        (None, Expiry::At(at)) => seconds(at),
        (None, Expiry::AlreadyExpired) => OVER,
    };
    let size = match request.verb {
        Verb::MetaArithmetic => itoa::Buffer::new().format(request.meta.initial).len(),
        _ => item.map_or(request.data.len(), |item| item.value_bytes),
    };
    store_line(&registry, now_ms, request.key(), (status, command), ttl, socket(cx), size);
}

fn store_line(
    registry: &PubSub,
    now_ms: u64,
    key: &[u8],
    (status, command): (&str, &str),
    ttl: u64,
    socket: i32,
    size: usize,
) {
    let mut line = begin(registry, now_ms, "item_store");
    let key = UriEncoded(key);
    let _ = write!(
        line,
        " key={key} status={status} cmd={command} ttl={ttl} clsid={CLASS} cfd={socket} size={size}"
    );
    end(registry, Lines::MUTATIONS, line);
}

/// A value that was not taken, since the store is full.
pub fn store_is_full(node: &Node, session: &Session, now_ms: u64, request: &Request<'_>) {
    if request.verb.has_data() {
        refused(node, session, now_ms, request.key(), ("no_memory", command(request)));
    }
}

/// A value that was not taken, since it is too large. Its key is that of the request that removes what was there.
pub(super) fn too_large(node: &Node, session: &Session, now_ms: u64, unlink: &Request<'_>) {
    refused(node, session, now_ms, unlink.key(), ("too_large", "set"));
}

fn refused(node: &Node, session: &Session, now_ms: u64, key: &[u8], how: (&str, &str)) {
    let registry = &node.pubsub;
    if registry.log().wants(Lines::MUTATIONS) {
        let socket = session.client.as_ref().map_or(0, |client| client.fd());
        store_line(registry, now_ms, key, how, 0, socket, 0);
    }
}

fn deleted(cx: &Cx<'_, '_>, key: &[u8], command: &str, size: usize) {
    let registry = &cx.node.pubsub;
    if registry.log().wants(Lines::DELETIONS) {
        let mut line = begin(registry, cx.now_ms, "deleted");
        let _ = write!(line, " key={} cmd={command} clsid={CLASS} size={size}", UriEncoded(key));
        end(registry, Lines::DELETIONS, line);
    }
}

/// An entry that is about to be evicted, of any type.
#[cold]
pub fn evicted(node: &Node, key: &[u8], entry: Entry<'_>, now_ms: u64) {
    let clock = node.eviction_clock(now_ms);
    let mut line = begin(&node.pubsub, now_ms, "eviction");
    let fetched = if entry.marks().is_fetched() { "yes" } else { "no" };
    let idle_s = if clock.keeps_history() { 0 } else { clock.idle_s(entry.access()) };
    let _ = write!(line, " key={} fetch={fetched}", UriEncoded(key));
    match entry.expire_ms() {
        None => line.push_str(" ttl=-1"),
        Some(at) => {
            let _ = write!(line, " ttl={}", at.saturating_sub(now_ms).div_ceil(1000));
        }
    }
    let _ = write!(line, " la={idle_s} clsid={CLASS} size={}", known(entry).value_bytes);
    end(&node.pubsub, Lines::EVICTIONS, line);
}

/// A connection of a memcached client that begins (without a reason) or ends.
pub fn connection(registry: &PubSub, client: &Client, closed: Option<CloseReason>, now_ms: u64) {
    if !registry.log().wants(Lines::CONNEVENTS) || !client.is_memcached() {
        return;
    }
    let mut line = begin(registry, now_ms, if closed.is_some() { "conn_close" } else { "conn_new" });
    let (ip, port, transport) = match client.addr.rsplit_once(':') {
        Some((ip, port)) if !client.unix => (ip.trim_matches(['[', ']']), port, "tcp"),
        _ => ("unix", "0", "local"),
    };
    let _ = write!(line, " rip={ip} rport={port} transport={transport}");
    if let Some(reason) = closed {
        let _ = write!(line, " reason={}", reason.as_str());
    }
    let _ = write!(line, " cfd={}", client.fd());
    end(registry, Lines::CONNEVENTS, line);
}

#[cfg(test)]
mod tests;
