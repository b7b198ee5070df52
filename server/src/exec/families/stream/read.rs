//! XREAD and XREADGROUP.

use std::borrow::Cow;

use torc_protocol::error as text;
use torc_protocol::resp::{Args, OwnedArgs, ReplyWriter, Version};

use super::group::named;
use super::id;
use super::reply::{Counted, put_entry, put_id, put_range};
use crate::blocked::{Block, Null, Wanted, timeout_ms};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx, Shows};
use crate::notify::Class;
use crate::store::Key;
use crate::store::value::Kind;
use crate::store::value::stream::{
    Assigned, ConsumerId, Group, GroupChange, Log, Noted, Pending, StreamId, StreamValue,
};

/// A request, taken apart.
struct Request<'a> {
    args: Args<'a>,
    group: bool,
    names: Option<(&'a [u8], &'a [u8])>,
    /// `Some(None)`: without end.
    block_ms: Option<Option<u64>>,
    /// 0: all.
    count: u64,
    no_ack: bool,
    /// Where the keys begin.
    first: usize,
    streams: usize,
}

/// Where reading begins in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Behind this entry.
    Behind(StreamId),
    /// `>`: where the group is.
    Group,
}

impl<'a> Request<'a> {
    fn read(args: &Args<'a>, group: bool) -> Result<Request<'a>, CommandError> {
        let mut found = Request {
            args: *args,
            group,
            names: None,
            block_ms: None,
            count: 0,
            no_ack: false,
            first: 0,
            streams: 0,
        };
        let mut at = 1;
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let next = args.get(at + 1);
            at += 2;
            match (next, args.get(at)) {
                (Some(ms), _) if is(b"BLOCK") => found.block_ms = Some(timeout_ms(ms)?),
                (Some(count), _) if is(b"COUNT") => found.count = u64::try_from(integer(count)?).unwrap_or(0),
                (Some(_), _) if is(b"STREAMS") => {
                    found.first = at - 1;
                    let rest = args.len() - found.first;
                    if !rest.is_multiple_of(2) {
                        let (name, symbol) = if group { ("xreadgroup", '>') } else { ("xread", '$') };
                        return Err(text::unbalanced_streams(name, symbol).into());
                    }
                    found.streams = rest / 2;
                    break;
                }
                (Some(name), Some(consumer)) if is(b"GROUP") => {
                    if !group {
                        return Err(text::XREAD_GROUP.into());
                    }
                    found.names = Some((name, consumer));
                    at += 1;
                }
                _ if is(b"NOACK") => {
                    if !group {
                        return Err(text::XREAD_NOACK.into());
                    }
                    found.no_ack = true;
                    at -= 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        if found.streams == 0 {
            return Err(CommandError::Syntax);
        }
        if group && found.names.is_none() {
            return Err(text::XREADGROUP_NO_GROUP.into());
        }
        Ok(found)
    }

    /// What the request waits for when nothing is there. What `$` is now it stays.
    fn waits(&self, timeout_ms: Option<u64>, from: &[From]) -> Block {
        let keys = (0..self.streams).map(|n| Box::from(self.key(n))).collect();
        let ids = self.first + self.streams;
        let is_last = |at: usize| at >= ids && self.args.get(at) == Some(b"$");
        let rewritten = (ids..self.args.len()).any(is_last).then(|| {
            OwnedArgs::new(self.args.iter().enumerate().map(
                |(at, arg)| match from.get(at.wrapping_sub(ids)) {
                    Some(From::Behind(id)) if is_last(at) => Cow::Owned(id.to_string().into_bytes()),
                    _ => Cow::Borrowed(arg),
                },
            ))
        });
        // A group may go, with its key or without.
        let wanted = Wanted { kind: Kind::Stream, anything: self.group };
        Block { keys, wanted, timeout_ms, null: Null::Array, rewritten }
    }

    fn key(&self, n: usize) -> &'a [u8] {
        self.args.get(self.first + n).unwrap_or_default()
    }

    fn id(&self, n: usize) -> &'a [u8] {
        self.args.get(self.first + self.streams + n).unwrap_or_default()
    }

    /// Whether a stream holds what its group was not given yet.
    fn has_new(&self, stream: Option<&StreamValue>) -> bool {
        let (Some((name, _)), Some(stream)) = (self.names, stream) else { return false };
        let group = stream.groups.get(name);
        group.is_some_and(|group| stream.log.last_entry().is_some_and(|last| last > group.last_id))
    }

    /// Where reading begins in stream number `n`, which is `stream` now.
    fn from(&self, n: usize, stream: Option<&StreamValue>) -> Result<From, CommandError> {
        if let Some((name, _)) = self.names
            && stream.is_none_or(|stream| stream.groups.get(name).is_none())
        {
            return Err(named(&[
                b"NOGROUP No such key '",
                self.key(n),
                b"' or consumer group '",
                name,
                b"' in XREADGROUP with GROUP option",
            ]));
        }
        let last = stream.map(|stream| stream.log.last_id());
        match self.id(n) {
            b"$" if self.group => Err(text::XREADGROUP_LAST.into()),
            b"+" if self.group => Err(text::XREADGROUP_PLUS.into()),
            b"$" => Ok(From::Behind(last.unwrap_or_default())),
            b"+" => match last {
                None => Ok(From::Behind(StreamId::MIN)),
                Some(last) => {
                    Ok(From::Behind(last.previous().ok_or(CommandError::from(text::XREAD_LAST_IS_ZERO))?))
                }
            },
            b">" if !self.group => Err(text::XREAD_NEW.into()),
            b">" => Ok(From::Group),
            id => {
                let id = id::strict(id)?;
                // As Redis marks `>`.
                Ok(if self.group && id == StreamId::MAX { From::Group } else { From::Behind(id) })
            }
        }
    }
}

/// XREAD \[COUNT count\] \[BLOCK ms\] STREAMS key \[key …\] id \[id …\]
pub fn xread(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    run(cx, args, false)
}

/// XREADGROUP GROUP group consumer \[COUNT count\] \[BLOCK ms\] \[NOACK\] STREAMS key \[key …\] id \[id …\]
pub fn xreadgroup(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    run(cx, args, true)
}

fn run(cx: &mut Cx<'_, '_>, args: &Args<'_>, group: bool) -> CommandResult {
    let request = Request::read(args, group)?;
    let mut from = smallvec::SmallVec::<[From; 4]>::new();
    // When it waited already its consumer is there and was seen: a look that finds nothing changes nothing.
    let again = cx.session.again;
    let mut passed = smallvec::SmallVec::<[bool; 4]>::new();
    for n in 0..request.streams {
        let key = cx.key(request.key(n));
        let stream = cx.read_as::<&StreamValue>(&key)?;
        let this = request.from(n, stream)?;
        let is_new = || request.has_new(stream);
        passed.push(again && group && this == From::Group && !is_new());
        from.push(this);
    }
    // How many streams have something is known at the end.
    let answer = Counted::streams(&mut cx.reply(), request.streams);
    let mut served = 0;
    for (n, (&from, &passed)) in from.iter().zip(&passed).enumerate() {
        if passed {
            continue;
        }
        let key = cx.key(request.key(n));
        served += usize::from(match request.names {
            None => read_one(cx, &request, &key, from)?,
            Some(names) => read_for_group(cx, &request, &key, from, names)?,
        });
    }
    if served > 0 {
        answer.end(&mut cx.reply(), served);
        return Ok(());
    }
    answer.take_back(&mut cx.reply());
    match request.block_ms {
        Some(timeout_ms) => cx.block(request.waits(timeout_ms, &from)),
        None => cx.reply().null_array(),
    }
    Ok(())
}

/// The name of a stream, before its entries.
fn put_name(reply: &mut ReplyWriter<'_>, key: &[u8]) {
    if reply.version() == Version::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Writes what is behind an entry; false when nothing is.
fn read_one(
    cx: &mut Cx<'_, '_>,
    request: &Request<'_>,
    key: &Key<'_>,
    from: From,
) -> Result<bool, CommandError> {
    let From::Behind(behind) = from else { return Ok(false) };
    cx.peek_and(key, |entry, mut reply| {
        let stream = entry.and_then(|entry| entry.as_collection::<&StreamValue>());
        let Some(log) = stream.map(|stream| &stream.log) else { return Ok(false) };
        let (Some(start), Some(last)) = (behind.next(), log.last_entry()) else { return Ok(false) };
        if last <= behind {
            return Ok(false);
        }
        put_name(&mut reply, key.bytes);
        put_range(&mut reply, log, start, StreamId::MAX, request.count);
        Ok(true)
    })
}

/// What one XREADGROUP did in one stream.
struct Outcome<'a> {
    change: GroupChange<'a>,
    served: bool,
    created: bool,
}

/// Writes what the group was not given yet, or what the consumer was given before; false when nothing is there.
fn read_for_group(
    cx: &mut Cx<'_, '_>,
    request: &Request<'_>,
    key: &Key<'_>,
    from: From,
    (name, consumer): (&[u8], &[u8]),
) -> Result<bool, CommandError> {
    let now_ms = cx.now_ms as i64;
    let keep = cx.effects.is_enabled();
    let outcome = cx.revise(
        key,
        |stream: &mut StreamValue, mut reply| {
            let StreamValue { log, groups } = stream;
            let done = groups.change(name, |group| {
                let (id, created) = group.find_or_create(consumer, now_ms);
                group.note(id, now_ms, None);
                let noted = Noted { name: consumer, seen_ms: now_ms, active_ms: None };
                let change = GroupChange { consumer: Some(noted), ..GroupChange::default() };
                let mut reading = Reading { group, log, consumer: id, now_ms, change, keep };
                let served = match from {
                    From::Group => reading.new_entries(&mut reply, key.bytes, request),
                    From::Behind(behind) => {
                        put_name(&mut reply, key.bytes);
                        reading.own_entries(&mut reply, behind, request.count);
                        true
                    }
                };
                let shows = if served || created { Shows::NotToWatchers } else { Shows::Note };
                (Outcome { change: reading.change, served, created }, shows)
            });
            done.ok_or(CommandError::Syntax)
        },
        |out, outcome| outcome.change.put(out, name),
    )?;
    let Some(outcome) = outcome else { return Ok(false) };
    if outcome.created {
        cx.notify(Class::STREAM, "xgroup-createconsumer", key.bytes);
    }
    Ok(outcome.served)
}

/// The reading of one stream under way.
struct Reading<'g, 'n> {
    group: &'g mut Group,
    log: &'g Log,
    consumer: ConsumerId,
    now_ms: i64,
    change: GroupChange<'n>,
    /// The change is for replicas too.
    keep: bool,
}

impl Reading<'_, '_> {
    fn assign(&mut self, id: StreamId, count: u64) {
        let (consumer, time_ms) = (self.consumer, self.now_ms);
        self.group.assign(id, Pending { time_ms, count, consumer });
        if self.keep {
            self.change.assigned.push(Assigned { id, time_ms, count });
        }
    }

    fn new_entries(&mut self, reply: &mut ReplyWriter<'_>, key: &[u8], request: &Request<'_>) -> bool {
        let log = self.log;
        let behind = self.group.last_id;
        let is_more = log.last_entry().is_some_and(|last| last > behind);
        let Some(start) = behind.next().filter(|_| is_more) else { return false };
        put_name(reply, key);
        let most = if request.count == 0 { u64::MAX } else { request.count };
        let (array, mut given) = (Counted::array(reply, most.min(log.len()) as usize), 0);
        let cursor = log.each(start, StreamId::MAX, self.group.cursor, |entry| {
            self.group.reads = log.reads_after(self.group.reads, entry.id);
            self.group.last_id = entry.id;
            let next = put_entry(reply, &entry);
            if !request.no_ack {
                self.assign(entry.id, 1);
            }
            given += 1;
            (next, given < most)
        });
        array.end(reply, given as usize);
        self.group.cursor = cursor;
        self.change.progress = Some((self.group.last_id, self.group.reads));
        if given > 0 && !request.no_ack {
            self.group.note(self.consumer, self.now_ms, Some(self.now_ms));
            self.change.consumer = self.change.consumer.map(|c| Noted { active_ms: Some(self.now_ms), ..c });
        }
        true
    }

    /// What the consumer has not acknowledged.
    fn own_entries(&mut self, reply: &mut ReplyWriter<'_>, behind: StreamId, count: u64) {
        let most = if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
        let own = self.group.consumer(self.consumer).map(|consumer| consumer.pending());
        let ids: Vec<_> = match (own, behind.next()) {
            (Some(own), Some(start)) => own.from(start).map(|(id, ())| id).take(most).collect(),
            _ => Vec::new(),
        };
        reply.array(ids.len());
        for id in ids {
            match self.log.get(id) {
                Some(entry) => {
                    put_entry(reply, &entry);
                    let count = self.group.pending().get(id).map_or(0, |pending| pending.count);
                    self.assign(id, count.wrapping_add(1));
                }
                None => {
                    reply.array(2);
                    put_id(reply, id);
                    reply.null_array();
                }
            }
        }
    }
}
