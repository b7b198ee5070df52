//! Everything that a server holds, to be compared with what another one holds.

use std::fmt::Write as _;
use std::io;

use super::compare;
use crate::client::{Connection, Endpoint};
use crate::frame::Node;
use crate::quote;

/// Expiry times of two servers may differ by this, milliseconds.
const EXPIRY_SLACK_MS: u64 = 20_000;

/// Keys shown of one side when there is a difference.
const SHOWN_KEYS: usize = 10;

/// One key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name, type and value, whatever the encoding, readable.
    text: String,
    /// What PEXPIRETIME answers.
    expires: i64,
}

impl Entry {
    fn is(&self, other: &Entry) -> bool {
        let both = self.expires > 0 && other.expires > 0;
        let near = both && self.expires.abs_diff(other.expires) <= EXPIRY_SLACK_MS;
        self.text == other.text && (near || self.expires == other.expires)
    }
}

/// Each key of the first database, sorted.
///
/// # Errors
/// Those of the connection; a type that has no reader here.
pub fn of(endpoint: &Endpoint) -> io::Result<Vec<Entry>> {
    let mut connection = Connection::open(endpoint)?;
    let keys = connection.call(&["KEYS", "*"])?;
    let mut entries = Vec::new();
    for key in keys.children().unwrap_or_default().iter().filter_map(Node::bytes) {
        let kind = connection.call(&[b"TYPE", key])?.text().unwrap_or_default();
        let read: &[&[u8]] = match kind.as_str() {
            "string" => &[b"GET", key],
            "hash" => &[b"HGETALL", key],
            "list" => &[b"LRANGE", key, b"0", b"-1"],
            "set" => &[b"SMEMBERS", key],
            "zset" => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
            "stream" => &[b"XRANGE", key, b"-", b"+"],
            other => return Err(io::Error::other(format!("a key of type {other:?}"))),
        };
        let value = connection.call(read)?;
        let group = if kind == "hash" { 2 } else { 1 };
        let value = match value {
            Node::Aggregate(kind_byte, list) if kind == "hash" || kind == "set" => {
                let mut groups: Vec<_> = list.chunks(group).map(<[Node]>::to_vec).collect();
                groups.sort();
                Node::Aggregate(kind_byte, groups.concat())
            }
            other if kind == "zset" => compare::as_doubles(other),
            other => other,
        };
        let expires = connection.call(&[b"PEXPIRETIME", key])?.integer().unwrap_or(-3);
        entries.push(Entry { text: format!("{} {kind} {}", quote::show(key, 100), shown(&value)), expires });
    }
    entries.sort();
    Ok(entries)
}

/// What only one side has, readable; `None` when both hold the same.
pub fn difference(ours: &[Entry], theirs: &[Entry]) -> Option<String> {
    let only = |some: &[Entry], others: &[Entry], whose: &str| {
        let alone = some.iter().filter(|entry| !others.iter().any(|other| entry.is(other)));
        alone.take(SHOWN_KEYS).fold(String::new(), |mut text, Entry { text: entry, expires }| {
            let _ = write!(text, "\n    only {whose}: {entry} expires {expires}");
            text
        })
    };
    let text = only(ours, theirs, "ours") + &only(theirs, ours, "theirs");
    (!text.is_empty()).then_some(text)
}

fn shown(node: &Node) -> String {
    match node {
        Node::Scalar(_, bytes) => quote::show(bytes, 10_000),
        Node::Null(_) => "(null)".into(),
        Node::Aggregate(_, list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
    }
}
