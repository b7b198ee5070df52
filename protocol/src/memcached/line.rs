//! Command lines.

use smallvec::SmallVec;

use super::MAX_KEY_BYTES;
use super::meta;
use super::number::{parse_i32, parse_u32, parse_u64};
use super::request::{Rejection, Request, RequestError, Verb};

/// A command line that makes sense.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The request, its data still empty.
    pub request: Request<'a>,
    /// How many bytes of data follow (their line end not counted), for commands that have data.
    pub data_bytes: Option<usize>,
}

type Words<'a> = SmallVec<[&'a [u8]; 8]>;

/// The part of `line` that counts: a NUL ends it, as a C string would.
fn c_string(line: &[u8]) -> &[u8] {
    memchr::memchr(0, line).map_or(line, |end| &line[..end])
}

/// The words of a line: only spaces part them.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    c_string(line).split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// Reads a command line (without its end).
pub(super) fn parse_line(line: &[u8]) -> Result<Line<'_>, Rejection<'_>> {
    let mut words = words(line);
    let name = words.next().unwrap_or_default();
    let Some(verb) = verb(name) else { return Err(refuse(RequestError::Unknown, false)) };
    let mut request = Request::new(verb, line);
    if matches!(verb, Verb::Get | Verb::Gets) {
        // The common case, and the one with many words: straight into the keys.
        request.keys.extend(words);
        return retrieval(request);
    }
    let words: Words<'_> = words.collect();
    match verb {
        Verb::Get | Verb::Gets => retrieval(request),
        Verb::Gat | Verb::Gats => get_and_touch(request, &words),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            storage(request, &words)
        }
        Verb::Delete => delete(request, &words),
        Verb::Incr | Verb::Decr => arithmetic(request, &words),
        Verb::Touch => touch(request, &words),
        Verb::FlushAll => flush_all(request, &words),
        Verb::Verbosity | Verb::CacheMemlimit => setting(request, &words),
        Verb::MetaSet => meta::storage(request, c_string(line), &words),
        Verb::MetaGet | Verb::MetaDelete | Verb::MetaArithmetic | Verb::MetaDebug => {
            meta::keyed(request, c_string(line), &words)
        }
        Verb::Stats
        | Verb::Version
        | Verb::Shutdown
        | Verb::Quit
        | Verb::MetaNoop
        | Verb::LruCrawler
        | Verb::Lru
        | Verb::Slabs
        | Verb::Watch => Ok(plain(request)),
    }
}

/// Whether a line that names no command is somebody's browser.
pub(super) fn is_http(line: &[u8]) -> bool {
    let mut words = words(line);
    let name = words.next().unwrap_or_default();
    verb(name).is_none() && words.last().is_some_and(|word| word.starts_with(b"HTTP/"))
}

fn verb(name: &[u8]) -> Option<Verb> {
    Some(match name {
        b"get" | b"bget" => Verb::Get,
        b"gets" => Verb::Gets,
        b"gat" => Verb::Gat,
        b"gats" => Verb::Gats,
        b"set" => Verb::Set,
        b"add" => Verb::Add,
        b"replace" => Verb::Replace,
        b"append" => Verb::Append,
        b"prepend" => Verb::Prepend,
        b"cas" => Verb::Cas,
        b"delete" => Verb::Delete,
        b"incr" => Verb::Incr,
        b"decr" => Verb::Decr,
        b"touch" => Verb::Touch,
        b"flush_all" => Verb::FlushAll,
        b"version" => Verb::Version,
        b"verbosity" => Verb::Verbosity,
        b"stats" => Verb::Stats,
        b"cache_memlimit" => Verb::CacheMemlimit,
        b"shutdown" => Verb::Shutdown,
        b"quit" => Verb::Quit,
        b"mg" => Verb::MetaGet,
        b"ms" => Verb::MetaSet,
        b"md" => Verb::MetaDelete,
        b"ma" => Verb::MetaArithmetic,
        b"me" => Verb::MetaDebug,
        b"mn" => Verb::MetaNoop,
        b"lru_crawler" => Verb::LruCrawler,
        b"lru" => Verb::Lru,
        b"slabs" => Verb::Slabs,
        b"watch" => Verb::Watch,
        _ => return None,
    })
}

pub(super) fn refuse<'a>(error: RequestError, noreply: bool) -> Rejection<'a> {
    Rejection::of(error, noreply)
}

pub(super) fn plain(request: Request<'_>) -> Line<'_> {
    Line { request, data_bytes: None }
}

/// Refuses a number of words (the command's name not counted) that the command does not take; what is refused so
/// is answered even when the last word is `noreply`.
fn want(words: &[&[u8]], from: usize, to: usize) -> Result<(), Rejection<'static>> {
    if (from..=to).contains(&words.len()) { Ok(()) } else { Err(refuse(RequestError::Unknown, false)) }
}

fn asks_noreply(words: &[&[u8]]) -> bool {
    words.last().is_some_and(|word| *word == b"noreply")
}

fn retrieval(request: Request<'_>) -> Result<Line<'_>, Rejection<'_>> {
    if request.keys.is_empty() {
        return Err(refuse(RequestError::Unknown, false));
    }
    keys_fit(request)
}

fn keys_fit(request: Request<'_>) -> Result<Line<'_>, Rejection<'_>> {
    if request.keys.iter().any(|key| key.len() > MAX_KEY_BYTES) {
        return Err(refuse(RequestError::BadFormat, request.noreply));
    }
    Ok(plain(request))
}

fn get_and_touch<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    let Some((exptime, keys)) = words.split_first() else { return Err(refuse(RequestError::Unknown, false)) };
    let exptime = parse_i32(exptime).ok_or(refuse(RequestError::InvalidExptime, false))?;
    request.exptime = i64::from(exptime);
    request.keys.extend(keys.iter().copied());
    keys_fit(request)
}

/// The length of a data block as a line gives it.
pub(super) fn data_bytes(word: &[u8]) -> Option<usize> {
    /// What is left of 31 bits when the block's line end is counted.
    const MAX_DATA_BYTES: i32 = i32::MAX - 2;
    parse_i32(word).filter(|length| *length <= MAX_DATA_BYTES).and_then(|length| usize::try_from(length).ok())
}

/// `<key> <flags> <exptime> <bytes> [<cas>] [noreply]`
fn storage<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    let takes = if request.verb == Verb::Cas { 5 } else { 4 };
    want(words, takes, takes + 1)?;
    request.noreply = asks_noreply(words);
    let bad = refuse(RequestError::BadFormat, request.noreply);
    if words[0].len() > MAX_KEY_BYTES {
        return Err(bad);
    }
    request.keys.push(words[0]);
    request.flags = parse_u32(words[1]).ok_or(bad)?;
    request.exptime = i64::from(parse_i32(words[2]).ok_or(bad)?);
    let length = data_bytes(words[3]).ok_or(bad)?;
    if request.verb == Verb::Cas {
        request.cas = parse_u64(words[4]).ok_or(bad)?;
    }
    Ok(Line { request, data_bytes: Some(length) })
}

/// `<key> [0] [noreply]`
fn delete<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    want(words, 1, 3)?;
    request.noreply = words.len() > 1 && asks_noreply(words);
    let valid = matches!(words, [_] | [_, b"0"] | [_, b"noreply"] | [_, b"0", b"noreply"]);
    if !valid {
        return Err(refuse(RequestError::BadDelete, request.noreply));
    }
    request.keys.push(words[0]);
    keys_fit(request)
}

/// `<key> <delta> [noreply]`
fn arithmetic<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    want(words, 2, 3)?;
    request.noreply = asks_noreply(words);
    request.keys.push(words[0]);
    let mut line = keys_fit(request)?;
    let noreply = line.request.noreply;
    line.request.delta = parse_u64(words[1]).ok_or(refuse(RequestError::InvalidDelta, noreply))?;
    Ok(line)
}

/// `<key> <exptime> [noreply]`
fn touch<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    want(words, 2, 3)?;
    request.noreply = asks_noreply(words);
    request.keys.push(words[0]);
    let mut line = keys_fit(request)?;
    let noreply = line.request.noreply;
    let exptime = parse_i32(words[1]).ok_or(refuse(RequestError::InvalidExptime, noreply))?;
    line.request.exptime = i64::from(exptime);
    Ok(line)
}

/// `[<delay>] [noreply]`
fn flush_all<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    want(words, 0, 2)?;
    request.noreply = asks_noreply(words);
    if words.len() > usize::from(request.noreply) {
        let delay = parse_i32(words[0]).ok_or(refuse(RequestError::InvalidExptime, request.noreply))?;
        request.exptime = i64::from(delay);
    }
    Ok(plain(request))
}

/// `<number> [noreply]`
fn setting<'a>(mut request: Request<'a>, words: &[&'a [u8]]) -> Result<Line<'a>, Rejection<'a>> {
    want(words, 1, 2)?;
    request.noreply = asks_noreply(words);
    let error = if request.verb == Verb::Verbosity { RequestError::BadFormat } else { RequestError::Unknown };
    request.delta = parse_u32(words[0]).map(u64::from).ok_or(refuse(error, request.noreply))?;
    Ok(plain(request))
}
