//! What SORT is asked for.

use smallvec::SmallVec;
use torc_protocol::resp::Args;
use torc_protocol::slot::key_slot;

use super::pattern;
use crate::exec::parse::integer;
use crate::exec::{CommandError, Cx};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Request<'a> {
    pub descending: bool,
    /// By bytes, else by numbers.
    pub alpha: bool,
    /// The first element that is given, and how many; a negative number: all.
    pub limit: Option<(i64, i64)>,
    /// The key under which the result is kept.
    pub store: Option<&'a [u8]>,
    /// What elements are sorted by, if not by themselves.
    pub by: Option<&'a [u8]>,
    /// The order is that of the collection.
    pub unsorted: bool,
    /// What is given for each element, if not itself.
    pub gets: SmallVec<[&'a [u8]; 4]>,
}

impl<'a> Request<'a> {
    /// Reads the options; STORE only where `may_store`.
    pub fn parse(cx: &Cx<'_, '_>, args: &Args<'a>, may_store: bool) -> Result<Request<'a>, CommandError> {
        let mut request = Request::default();
        let slot = key_slot(&args[1]);
        let clustered = !cx.node.shard.reaches_all_keys(cx.proxied);
        let denied = |what: &str| {
            CommandError::from(format!(
                "ERR {what} option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots."
            ))
        };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let value = args.get(at + 1);
            at += 1;
            match value {
                _ if is(b"ASC") => request.descending = false,
                _ if is(b"DESC") => request.descending = true,
                _ if is(b"ALPHA") => request.alpha = true,
                Some(start) if is(b"LIMIT") && args.len() > at + 1 => {
                    let count = args.get(at + 1).unwrap_or_default();
                    request.limit = Some((integer(start)?, integer(count)?));
                    at += 2;
                }
                Some(key) if may_store && is(b"STORE") => {
                    request.store = Some(key);
                    at += 1;
                }
                Some(by) if is(b"BY") => {
                    request.by = Some(by);
                    if !pattern::names_keys(by) {
                        request.unsorted = true;
                    } else if clustered && pattern::slot(by) != Some(slot) {
                        return Err(denied("BY"));
                    }
                    at += 1;
                }
                Some(get) if is(b"GET") => {
                    if clustered && !pattern::is_element(get) && pattern::slot(get) != Some(slot) {
                        return Err(denied("GET"));
                    }
                    request.gets.push(get);
                    at += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(request)
    }

    /// Whether keys are looked at that the request does not name.
    pub fn names_keys(&self) -> bool {
        self.by.iter().chain(&self.gets).any(|pattern| pattern::names_keys(pattern))
    }

    /// Which of `len` elements in order are given: the first, and the one behind the last.
    pub fn window(&self, len: usize) -> (usize, usize) {
        let Some((start, count)) = self.limit else { return (0, len) };
        let start = usize::try_from(start.max(0)).map_or(len, |start| start.min(len));
        let count = usize::try_from(count).map_or(len, |count| count.min(len));
        (start, start.saturating_add(count).min(len))
    }
}
