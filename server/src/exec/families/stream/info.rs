//! XINFO: what there is to know of a stream, its groups, their consumers.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter};

use super::group::no_group;
use super::reply::{put_entry, put_id, put_range};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::stream::{Consumer, Group, Log, NEVER_ACTIVE, READS_UNKNOWN, StreamId, StreamValue};

/// Entries that FULL shows without COUNT.
const FULL_COUNT: u64 = 10;

fn number(reply: &mut ReplyWriter<'_>, name: &str, number: i64) {
    reply.bulk(name.as_bytes());
    reply.integer(number);
}

fn id(reply: &mut ReplyWriter<'_>, name: &str, id: StreamId) {
    reply.bulk(name.as_bytes());
    put_id(reply, id);
}

fn maybe(reply: &mut ReplyWriter<'_>, name: &str, number: Option<i64>) {
    reply.bulk(name.as_bytes());
    match number {
        Some(number) => reply.integer(number),
        None => reply.null(),
    }
}

/// How far a group has read: read counter and lag.
fn progress(reply: &mut ReplyWriter<'_>, group: &Group, log: &Log) {
    maybe(reply, "entries-read", Some(group.reads).filter(|reads| *reads != READS_UNKNOWN));
    maybe(reply, "lag", log.lag(group.reads, group.last_id));
}

fn on_stream(
    cx: &mut Cx<'_, '_>,
    args: &Args<'_>,
    show: impl FnOnce(&StreamValue, &mut ReplyWriter<'_>) -> CommandResult,
) -> CommandResult {
    let key = cx.key(&args[2]);
    cx.read_as_and(&key, |stream: Option<&StreamValue>, mut reply| match stream {
        Some(stream) => show(stream, &mut reply),
        None => Err(text::NO_SUCH_KEY.into()),
    })?
}

/// XINFO CONSUMERS key group
pub fn consumers(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let now_ms = cx.now_ms as i64;
    on_stream(cx, args, |stream, reply| {
        let group = stream.groups.get(&args[3]).ok_or_else(|| no_group(&args[3], &args[2]))?;
        reply.array(group.consumer_count());
        for consumer in group.consumers() {
            reply.map(4);
            reply.bulk(b"name");
            reply.bulk(consumer.name());
            number(reply, "pending", consumer.pending().len() as i64);
            number(reply, "idle", now_ms.wrapping_sub(consumer.seen_ms).max(0));
            let inactive = match consumer.active_ms {
                NEVER_ACTIVE => NEVER_ACTIVE,
                active_ms => now_ms.wrapping_sub(active_ms),
            };
            number(reply, "inactive", inactive);
        }
        Ok(())
    })
}

/// XINFO GROUPS key
pub fn groups(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    on_stream(cx, args, |stream, reply| {
        reply.array(stream.groups.len());
        for group in stream.groups.iter() {
            reply.map(6);
            reply.bulk(b"name");
            reply.bulk(group.name());
            number(reply, "consumers", group.consumer_count() as i64);
            number(reply, "pending", group.pending().len() as i64);
            id(reply, "last-delivered-id", group.last_id);
            progress(reply, group, &stream.log);
        }
        Ok(())
    })
}

/// XINFO STREAM key \[FULL \[COUNT count\]\]
pub fn stream(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    on_stream(cx, args, |stream, reply| match full_count(args)? {
        None => {
            brief(stream, reply);
            Ok(())
        }
        Some(count) => {
            full(stream, reply, count);
            Ok(())
        }
    })
}

/// How many entries FULL is to show, 0: all; `None`: it was not asked for.
fn full_count(args: &Args<'_>) -> Result<Option<u64>, CommandError> {
    let misused = || CommandError::Bytes(text::subcommand_syntax(&args[0], &args[1]).into());
    let is = |at: usize, name: &[u8]| args.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(name));
    match args.len() {
        3 => Ok(None),
        4 if is(3, b"FULL") => Ok(Some(FULL_COUNT)),
        6 if is(3, b"FULL") && is(4, b"COUNT") => {
            Ok(Some(u64::try_from(integer(&args[5])?).unwrap_or(FULL_COUNT)))
        }
        _ => Err(misused()),
    }
}

fn facts(log: &Log, reply: &mut ReplyWriter<'_>) {
    number(reply, "length", log.len() as i64);
    number(reply, "radix-tree-keys", log.node_count() as i64);
    number(reply, "radix-tree-nodes", tree_nodes(log) as i64);
    id(reply, "last-generated-id", log.last_id());
    id(reply, "max-deleted-entry-id", log.max_deleted_id());
    number(reply, "entries-added", log.entries_added() as i64);
    id(reply, "recorded-first-entry-id", log.first_id());
}

fn brief(stream: &StreamValue, reply: &mut ReplyWriter<'_>) {
    let log = &stream.log;
    reply.map(10);
    facts(log, reply);
    number(reply, "groups", stream.groups.len() as i64);
    for (name, entry) in [("first-entry", Some(log.first_id())), ("last-entry", log.last_entry())] {
        reply.bulk(name.as_bytes());
        match entry.and_then(|id| log.get(id)) {
            Some(entry) => {
                put_entry(reply, &entry);
            }
            None => reply.null(),
        }
    }
}

fn full(stream: &StreamValue, reply: &mut ReplyWriter<'_>, count: u64) {
    let log = &stream.log;
    reply.map(9);
    facts(log, reply);
    reply.bulk(b"entries");
    put_range(reply, log, StreamId::MIN, StreamId::MAX, count);
    reply.bulk(b"groups");
    reply.array(stream.groups.len());
    for group in stream.groups.iter() {
        full_group(group, log, reply, count);
    }
}

fn full_group(group: &Group, log: &Log, reply: &mut ReplyWriter<'_>, count: u64) {
    let most = if count == 0 { usize::MAX } else { count as usize };
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(group.name());
    id(reply, "last-delivered-id", group.last_id);
    progress(reply, group, log);
    number(reply, "pel-count", group.pending().len() as i64);
    reply.bulk(b"pending");
    reply.array(group.pending().len().min(most));
    for (id, pending) in group.pending().iter().take(most) {
        reply.array(4);
        put_id(reply, id);
        reply.bulk(group.consumer(pending.consumer).map_or(b"", Consumer::name));
        reply.integer(pending.time_ms);
        reply.integer(pending.count as i64);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumer_count());
    for consumer in group.consumers() {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        number(reply, "seen-time", consumer.seen_ms);
        number(reply, "active-time", consumer.active_ms);
        number(reply, "pel-count", consumer.pending().len() as i64);
        reply.bulk(b"pending");
        reply.array(consumer.pending().len().min(most));
        for (id, ()) in consumer.pending().iter().take(most) {
            let pending = group.pending().get(id);
            reply.array(3);
            put_id(reply, id);
            reply.integer(pending.map_or(0, |pending| pending.time_ms));
            reply.integer(pending.map_or(0, |pending| pending.count) as i64);
        }
    }
}

/// Nodes that Redis's radix tree over the first IDs of our nodes would have: a leaf for each, one for each byte at
/// which keys part, one for each run of bytes between them.
fn tree_nodes(log: &Log) -> usize {
    const KEY_BYTES: usize = 16;
    let mut keys = log.nodes().map(|(id, _)| id.to_bytes());
    let Some(mut last) = keys.next() else { return 1 };
    // Depths of the parting places above the last key, and whether bytes stand between each and the next one.
    let mut open: Vec<usize> = Vec::new();
    let mut nodes = 1;
    let run = |above: Option<usize>, below: usize| usize::from(below > above.map_or(0, |above| above + 1));
    for key in keys {
        let depth = key.iter().zip(last).take_while(|(a, b)| **a == *b).count();
        let mut below = KEY_BYTES;
        while let Some(&top) = open.last()
            && top > depth
        {
            nodes += run(Some(top), below) + 1;
            below = top;
            open.pop();
        }
        nodes += run(Some(depth), below) + 1;
        if open.last() != Some(&depth) {
            open.push(depth);
        }
        last = key;
    }
    let mut below = KEY_BYTES;
    while let Some(top) = open.pop() {
        nodes += run(Some(top), below) + 1;
        below = top;
    }
    nodes + run(None, below)
}
