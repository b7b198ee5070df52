//! What a request should be answered.

use std::collections::{BTreeMap, BTreeSet};

use super::words::Bytes;

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Ok,
    Null,
    NullArray,
    Int(i64),
    Bulk(Bytes),
    /// These bytes.
    Exact(Bytes),
    /// Pairs in any order.
    Pairs(BTreeMap<Bytes, Bytes>),
    /// Elements in their order.
    List(Vec<Bytes>),
    /// Elements in any order.
    Set(BTreeSet<Bytes>),
    /// So many of these elements; what they are is taken over by the model.
    Some(usize, BTreeSet<Bytes>),
    /// About so many: an estimate.
    About(usize),
    /// Any error that starts so.
    Error(&'static str),
    /// Nothing was asked.
    None,
}

/// What a step comes to: an error changes nothing.
pub type Answer = Result<Reply, Reply>;

pub const WRONG_TYPE: Reply = Reply::Error("-WRONGTYPE");

pub fn int(n: usize) -> Answer {
    Ok(Reply::Int(n as i64))
}

pub fn bulk(bytes: impl AsRef<[u8]>) -> Bytes {
    let bytes = bytes.as_ref();
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// An array of replies that are written already.
pub fn array(elements: &[Bytes]) -> Bytes {
    [format!("*{}\r\n", elements.len()).into_bytes(), elements.concat()].concat()
}

pub fn holds(reply: &[u8], element: &[u8]) -> bool {
    let element = bulk(element);
    reply.windows(element.len()).any(|w| w == element)
}

/// Whether the reply is an array of these elements, in any order.
fn is_array(got: &[u8], count: usize, elements: &BTreeSet<Bytes>) -> bool {
    let header = format!("*{count}\r\n").into_bytes();
    got.starts_with(&header)
        && got.len() == header.len() + elements.iter().map(|e| bulk(e).len()).sum::<usize>()
        && elements.iter().all(|element| holds(got, element))
}

fn integer(got: &[u8]) -> Option<usize> {
    std::str::from_utf8(got).ok()?.strip_prefix(':')?.trim_end().parse().ok()
}

pub fn agrees(got: &[u8], expected: &Reply) -> bool {
    match expected {
        Reply::None => true,
        Reply::Ok => got == b"+OK\r\n",
        Reply::Null => got == b"$-1\r\n",
        Reply::NullArray => got == b"*-1\r\n",
        Reply::Int(n) => got == format!(":{n}\r\n").as_bytes(),
        Reply::Bulk(bytes) => got == bulk(bytes),
        Reply::Exact(bytes) => got == bytes,
        Reply::List(list) => *got == array(&list.iter().map(bulk).collect::<Vec<_>>()),
        Reply::Set(set) => is_array(got, set.len(), set),
        Reply::Some(count, set) => {
            let found: BTreeSet<_> = set.iter().filter(|element| holds(got, element)).cloned().collect();
            found.len() == *count && is_array(got, *count, &found)
        }
        // The standard error is 0.81 %.
        Reply::About(count) => integer(got).is_some_and(|n| n.abs_diff(*count) <= 1 + count / 20),
        Reply::Error(start) => got.starts_with(start.as_bytes()),
        Reply::Pairs(pairs) => {
            // The order is the store's own: whatever it is, each pair is there and nothing else.
            let header = format!("*{}\r\n", pairs.len() * 2).into_bytes();
            let all: Vec<Bytes> = pairs.iter().map(|(f, v)| [bulk(f), bulk(v)].concat()).collect();
            got.starts_with(&header)
                && got.len() == header.len() + all.iter().map(Vec::len).sum::<usize>()
                && all.iter().all(|pair| got.windows(pair.len()).any(|w| w == pair))
        }
    }
}
