//! One reply out of those of several nodes.
//!
//! Parts are kept as they came until the last one is there; only then are they looked into.

mod memcached;
mod reports;

use torc_protocol::command::Merge;
use torc_protocol::resp::{ReplyScanner, ReplyWriter, Value, Version, parse_i64};

use crate::downstream::render::Render;
use crate::scan::ScanStep;
use crate::text;

/// How the parts become one.
#[derive(Debug)]
pub enum How {
    /// Element by element; the numbers say for each element which part has it next.
    InOrder(Box<[u16]>),
    /// Integers are added up.
    Sum,
    /// The smallest integer.
    Min,
    /// OK when all say OK, else the first error.
    AllOk,
    /// The first success, else the first error.
    AnyOk,
    /// Arrays are joined.
    Concat,
    /// Arrays are joined; what is there already is left out.
    Union,
    /// The largest integer.
    Most,
    /// Arrays of the same names, each with the largest of its integers.
    MostEach,
    /// The first part that is not null.
    First,
    /// All must be the same.
    AllEqual,
    /// Element by element: 1 only when all say 1.
    LogicalAnd,
    /// One SCAN step of one shard.
    Scan(ScanStep),
    /// A node's CONFIG GET, in which these options have these values.
    Overlay(Vec<(&'static str, String)>),
    /// The proxy's text of INFO, to which what the nodes say is added.
    Info(String),
    /// LATENCY LATEST.
    Latest,
    /// LATENCY HISTORY.
    History,
    /// LATENCY HISTOGRAM.
    Histogram,
    /// MEMORY STATS.
    MemoryStats,
    /// Texts about the primaries of these shards, one behind the other.
    Texts(Box<[u16]>),
    /// memcached's retrieval: for each key which part answers it.
    Values(Box<[(u16, Box<[u8]>)]>),
    /// memcached's statistics: counters are added up.
    Statistics(Vec<(String, String)>),
    /// memcached's lists of items: one behind the other, with one end.
    Dump,
}

impl How {
    /// What the table says, where that needs no more than the parts.
    pub fn of(merge: Merge) -> How {
        match merge {
            Merge::Sum => How::Sum,
            Merge::AllOk => How::AllOk,
            Merge::AnyOk => How::AnyOk,
            Merge::Concat => How::Concat,
            Merge::AllEqual => How::AllEqual,
            Merge::LogicalAnd => How::LogicalAnd,
            Merge::First | Merge::Single | Merge::InOrder | Merge::Custom => How::First,
        }
    }
}

/// The parts so far.
#[derive(Debug)]
pub struct Join {
    how: How,
    parts: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
}

impl Join {
    /// Waits for `parts` replies.
    pub fn new(how: How, parts: usize) -> Join {
        Join { how, parts: vec![None; parts], missing: parts, bytes: 0 }
    }

    /// Bytes of the parts so far.
    pub fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a part. True when it was the last one.
    pub fn feed(&mut self, part: u32, frame: &[u8]) -> bool {
        let Some(place) = usize::try_from(part).ok().and_then(|part| self.parts.get_mut(part)) else {
            return false;
        };
        if place.is_none() {
            *place = Some(frame.into());
            self.bytes += frame.len();
            self.missing -= 1;
            return self.missing == 0;
        }
        false
    }

    /// Appends the joined reply. Says whether it was an error and whether it was translated.
    pub fn finish(&mut self, render: Render, out: &mut Vec<u8>) -> (bool, bool) {
        let parts: Vec<&[u8]> = self.parts.iter().map(|part| part.as_deref().unwrap_or_default()).collect();
        if let How::Values(keys) = &self.how {
            return (memcached::values(keys, &parts, render, out), false);
        }
        if let How::Statistics(own) = &self.how {
            return (memcached::statistics(own, &parts, render, out), false);
        }
        if let How::Dump = &self.how {
            return (memcached::dump(&parts, render, out), false);
        }
        let mut frame = Vec::new();
        let first_error = parts.iter().find(|part| is_error(part));
        let joined = match (&self.how, first_error) {
            (How::AnyOk, _) => {
                let best = parts.iter().find(|part| !is_error(part)).or(first_error);
                best.map(|part| frame.extend_from_slice(part))
            }
            // What one node has not said the others' is given without.
            (how @ How::Info(_), _) => join(how, &parts, &mut frame),
            (how @ How::Texts(_), _) if !parts.iter().all(|part| is_error(part)) => {
                join(how, &parts, &mut frame)
            }
            (_, Some(error)) => {
                frame.extend_from_slice(error);
                Some(())
            }
            (how, None) => join(how, &parts, &mut frame),
        };
        if joined.is_none() {
            frame.clear();
            Render::Resp3.error(text::BAD_REPLY, &mut frame);
        }
        let translated = render.write(&frame, out);
        (is_error(&frame), translated)
    }
}

fn is_error(frame: &[u8]) -> bool {
    frame.first() == Some(&b'-')
}

/// An integer reply.
fn integer(frame: &[u8]) -> Option<i64> {
    let (b':', rest) = frame.split_first()? else { return None };
    parse_i64(rest.strip_suffix(b"\r\n")?)
}

/// The header of an array: its length, and where its elements start.
fn array(frame: &[u8]) -> Option<(usize, usize)> {
    let (b'*' | b'~', rest) = frame.split_first()? else { return None };
    let end = memchr::memchr(b'\r', rest)?;
    let count = usize::try_from(parse_i64(rest.get(..end)?)?).ok()?;
    Some((count, end + 3))
}

/// Joins parts none of which is an error. `None`: they are not what was asked for.
fn join(how: &How, parts: &[&[u8]], out: &mut Vec<u8>) -> Option<()> {
    let mut reply = ReplyWriter::new(out, Version::Resp3);
    match how {
        How::Sum => {
            let mut sum = 0_i64;
            for part in parts {
                sum = sum.checked_add(integer(part)?)?;
            }
            reply.integer(sum);
        }
        How::Min => {
            let mut least = i64::MAX;
            for part in parts {
                least = least.min(integer(part)?);
            }
            reply.integer(least);
        }
        How::AllOk | How::AnyOk => reply.raw(parts.first()?),
        How::First => {
            let some = parts.iter().find(|part| !matches!(***part, [b'_', ..] | [b'$', b'-', ..]));
            reply.raw(some.or(parts.first())?);
        }
        How::AllEqual => {
            let first = parts.first()?;
            if parts.iter().any(|part| part != first) {
                reply.error("ERR the shards gave different replies");
                return Some(());
            }
            reply.raw(first);
        }
        How::Concat => {
            let mut count = 0;
            for part in parts {
                count += array(part)?.0;
            }
            reply.array(count);
            for part in parts {
                reply.raw(part.get(array(part)?.1..)?);
            }
        }
        How::Union => {
            let mut all: Vec<Value> = Vec::new();
            let mut known = std::collections::HashSet::new();
            for part in parts {
                for item in Value::decode(part).ok()??.0.into_array()? {
                    if known.insert(item.as_bytes()?.to_vec()) {
                        all.push(item);
                    }
                }
            }
            reply.array(all.len());
            all.iter().for_each(|item| item.write(&mut reply));
        }
        How::Most => {
            let mut most = 0;
            for part in parts {
                most = most.max(integer(part)?);
            }
            reply.integer(most);
        }
        How::MostEach => most_each(parts, &mut reply)?,
        How::InOrder(order) => in_order(order, parts, &mut reply)?,
        How::LogicalAnd => logical_and(parts, &mut reply)?,
        How::Scan(step) => step.rewrite(parts.first()?, &mut reply)?,
        How::Overlay(own) => overlay(own, parts.first()?, &mut reply)?,
        How::Info(own) => reply.verbatim(b"txt", crate::info::with_nodes(own, parts).as_bytes()),
        How::Latest => reports::latest(parts, &mut reply)?,
        How::History => reports::history(parts, &mut reply)?,
        How::Histogram => reports::histogram(parts, &mut reply)?,
        How::MemoryStats => reports::memory(parts, &mut reply)?,
        How::Texts(shards) => reports::texts(shards, parts, &mut reply)?,
        How::Values(_) | How::Statistics(_) | How::Dump => return None,
    }
    Some(())
}

fn in_order(order: &[u16], parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut rests = Vec::with_capacity(parts.len());
    for part in parts {
        rests.push(part.get(array(part)?.1..)?);
    }
    reply.array(order.len());
    for part in order {
        let rest = rests.get_mut(usize::from(*part))?;
        let length = ReplyScanner::new().next(rest).ok()??.len;
        let (element, after) = rest.split_at_checked(length)?;
        reply.raw(element);
        *rest = after;
    }
    Some(())
}

fn most_each(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut all: Vec<Value> = Vec::new();
    for part in parts {
        let items = Value::decode(part).ok()??.0.into_array()?;
        if all.is_empty() {
            all = items;
            continue;
        }
        for (most, item) in all.iter_mut().zip(items) {
            if most.as_int() < item.as_int() {
                *most = item;
            }
        }
    }
    reply.array(all.len());
    all.iter().for_each(|item| item.write(reply));
    Some(())
}

fn overlay(own: &[(&'static str, String)], frame: &[u8], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let (value, _) = Value::decode(frame).ok()??;
    let pairs: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs,
        other => {
            let mut flat = other.into_array()?.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
    };
    let others: Vec<_> =
        pairs.iter().filter(|(name, _)| !own.iter().any(|(known, _)| name.as_str() == Some(known))).collect();
    reply.map(own.len() + others.len());
    for (name, value) in own {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (name, value) in others {
        name.write(reply);
        value.write(reply);
    }
    Some(())
}

fn logical_and(parts: &[&[u8]], reply: &mut ReplyWriter<'_>) -> Option<()> {
    let mut all: Vec<i64> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let (value, _) = Value::decode(part).ok()??;
        let items = value.into_array()?;
        let bits: Vec<i64> = items.iter().map(|item| item.as_int().unwrap_or(0)).collect();
        if index == 0 {
            all = bits;
        } else if all.len() == bits.len() {
            all.iter_mut().zip(bits).for_each(|(all, bit)| *all = i64::from(*all != 0 && bit != 0));
        } else {
            return None;
        }
    }
    reply.array(all.len());
    all.iter().for_each(|bit| reply.integer(*bit));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(how: How, parts: &[&str]) -> String {
        let mut join = Join::new(how, parts.len());
        for (index, part) in parts.iter().enumerate().rev() {
            assert_eq!(join.feed(index as u32, part.as_bytes()), index == 0);
        }
        let mut out = Vec::new();
        join.finish(Render::Resp3, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_tables_merges() {
        assert_eq!(joined(How::Sum, &[":1\r\n", ":2\r\n"]), ":3\r\n");
        assert_eq!(joined(How::Sum, &[":1\r\n", "-ERR x\r\n"]), "-ERR x\r\n");
        assert_eq!(joined(How::Min, &[":4\r\n", ":2\r\n"]), ":2\r\n");
        assert_eq!(joined(How::AllOk, &["+OK\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(joined(How::AnyOk, &["-NOTBUSY x\r\n", "+OK\r\n"]), "+OK\r\n");
        assert_eq!(
            joined(How::Concat, &["*1\r\n+a\r\n", "*0\r\n", "*2\r\n+b\r\n+c\r\n"]),
            "*3\r\n+a\r\n+b\r\n+c\r\n"
        );
        assert_eq!(joined(How::Most, &[":4\r\n", ":2\r\n"]), ":4\r\n");
        assert_eq!(
            joined(How::Union, &["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*2\r\n$1\r\nb\r\n$1\r\nc\r\n"]),
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"
        );
        assert_eq!(
            joined(How::MostEach, &["*2\r\n$1\r\n7\r\n:1\r\n", "*2\r\n$1\r\n7\r\n:3\r\n"]),
            "*2\r\n$1\r\n7\r\n:3\r\n"
        );
        assert_eq!(joined(How::First, &["_\r\n", "$1\r\na\r\n"]), "$1\r\na\r\n");
        assert_eq!(
            joined(How::LogicalAnd, &["*2\r\n:1\r\n:1\r\n", "*2\r\n:1\r\n:0\r\n"]),
            "*2\r\n:1\r\n:0\r\n"
        );
        assert_eq!(
            joined(How::InOrder([0, 1, 0].into()), &["*2\r\n$1\r\na\r\n_\r\n", "*1\r\n$1\r\nb\r\n"]),
            "*3\r\n$1\r\na\r\n$1\r\nb\r\n_\r\n"
        );
        assert_eq!(
            joined(How::Overlay(vec![("a", "1".into())]), &["*4\r\n+a\r\n+9\r\n+b\r\n+2\r\n"]),
            "%2\r\n$1\r\na\r\n$1\r\n1\r\n+b\r\n+2\r\n"
        );
        assert_eq!(joined(How::Sum, &["+x\r\n"]), format!("-{}\r\n", text::BAD_REPLY));
    }
}
