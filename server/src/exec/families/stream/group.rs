//! Commands that change groups: XGROUP and XACK.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use super::id;
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx, Shows};
use crate::notify::Class;
use crate::store::value::stream::{
    self as value, Group, GroupChange, Noted, READS_UNKNOWN, StreamId, StreamValue,
};

/// A text of Redis around names of the client, which end at a zero byte there.
pub fn named(parts: &[&[u8]]) -> CommandError {
    let parts = parts.iter().map(|part| part.split(|byte| *byte == 0).next().unwrap_or_default());
    CommandError::Bytes(parts.collect::<Vec<_>>().concat().into())
}

/// NOGROUP of XGROUP and XINFO.
pub fn no_group(group: &[u8], key: &[u8]) -> CommandError {
    named(&[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"])
}

/// NOGROUP of XPENDING, XCLAIM and XAUTOCLAIM.
pub fn no_key_or_group(key: &[u8], group: &[u8]) -> CommandError {
    named(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}

/// Options of XGROUP CREATE and SETID.
struct Options {
    make_stream: bool,
    reads: i64,
}

impl Options {
    fn read(args: &Args<'_>, may_make: bool) -> Result<Options, CommandError> {
        let mut found = Options { make_stream: false, reads: READS_UNKNOWN };
        let mut at = 5;
        while let Some(option) = args.get(at) {
            match args.get(at + 1) {
                _ if may_make && option.eq_ignore_ascii_case(b"MKSTREAM") => {
                    found.make_stream = true;
                    at += 1;
                }
                Some(reads) if option.eq_ignore_ascii_case(b"ENTRIESREAD") => {
                    found.reads = integer(reads)?;
                    if found.reads < READS_UNKNOWN {
                        return Err(text::XGROUP_ENTRIESREAD.into());
                    }
                    at += 2;
                }
                _ => return Err(misused(args)),
            }
        }
        Ok(found)
    }
}

fn misused(args: &Args<'_>) -> CommandError {
    CommandError::Bytes(text::subcommand_syntax(&args[0], &args[1]).into())
}

/// XGROUP CREATE key group id | $ \[MKSTREAM\] \[ENTRIESREAD entries-read\]
pub fn create(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let Options { make_stream, reads } = Options::read(args, true)?;
    let (key, name) = (cx.key(&args[2]), &args[3]);
    let exists = cx.peek_as::<&StreamValue>(&key)?.is_some();
    if !exists && !make_stream {
        return Err(text::XGROUP_NO_KEY.into());
    }
    // Each option can stand once at most.
    if args.len() > 8 {
        return Err(misused(args));
    }
    let wanted = if &args[4] == b"$" { None } else { Some(id::strict(&args[4])?) };
    let add = |stream: &mut StreamValue| {
        let last_id = wanted.unwrap_or_else(|| stream.log.last_id());
        let added = stream.groups.add(Group::new(name, last_id, reads));
        added.then_some(last_id)
    };
    let record = |out: &mut Vec<u8>, last_id: &Option<StreamId>| {
        value::put_create_group(out, name, last_id.unwrap_or_default(), reads);
    };
    let added = if exists {
        let shows =
            |added: &Option<StreamId>| if added.is_some() { Shows::NotToWatchers } else { Shows::Nothing };
        cx.revise(
            &key,
            |stream, _| {
                let added = add(stream);
                Ok((added, shows(&added)))
            },
            record,
        )?
        .flatten()
    } else {
        cx.modify(&key, |stream| (add(stream), true), record)?
    };
    added.ok_or(text::BUSYGROUP)?;
    cx.notify(Class::STREAM, "xgroup-create", key.bytes);
    cx.reply().ok();
    Ok(())
}

/// What every subcommand but CREATE and DESTROY does to a group, which must be there.
fn on_group<R>(
    cx: &mut Cx<'_, '_>,
    args: &Args<'_>,
    work: impl FnOnce(&mut Group, StreamId) -> Result<(R, Shows), CommandError>,
    record: impl FnOnce(&mut Vec<u8>, &R),
) -> Result<R, CommandError> {
    let (key, name) = (cx.key(&args[2]), &args[3]);
    let done = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            let last_id = stream.log.last_id();
            let done = stream.groups.change(name, |group| work(group, last_id));
            done.ok_or_else(|| no_group(name, key.bytes))?
        },
        record,
    )?;
    done.ok_or_else(|| text::XGROUP_NO_KEY.into())
}

/// XGROUP SETID key group id | $ \[ENTRIESREAD entries-read\]
pub fn set_id(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let Options { reads, .. } = Options::read(args, false)?;
    let name = &args[3];
    on_group(
        cx,
        args,
        |group, last_id| {
            if args.len() > 7 {
                return Err(misused(args));
            }
            group.last_id = if &args[4] == b"$" { last_id } else { id::lenient(&args[4], 0)? };
            group.reads = reads;
            let change = GroupChange { progress: Some((group.last_id, reads)), ..GroupChange::default() };
            Ok((change, Shows::NotToWatchers))
        },
        |out, change| change.put(out, name),
    )?;
    cx.notify(Class::STREAM, "xgroup-setid", &args[2]);
    cx.reply().ok();
    Ok(())
}

/// XGROUP DESTROY key group
pub fn destroy(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (cx.key(&args[2]), &args[3]);
    let destroyed = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            let destroyed = stream.groups.remove(name);
            Ok((destroyed, if destroyed { Shows::NotToWatchers } else { Shows::Nothing }))
        },
        |out, _| value::put_destroy_group(out, name),
    )?;
    let destroyed = destroyed.ok_or(text::XGROUP_NO_KEY)?;
    if destroyed {
        cx.notify(Class::STREAM, "xgroup-destroy", key.bytes);
        // Who waits for entries of this group is told that it has gone.
        cx.wake(&key);
    }
    cx.reply().integer(i64::from(destroyed));
    Ok(())
}

/// XGROUP CREATECONSUMER key group consumer
pub fn create_consumer(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (group, name, now_ms) = (&args[3], &args[4], cx.now_ms as i64);
    let created = on_group(
        cx,
        args,
        |group, _| {
            let (_, created) = group.find_or_create(name, now_ms);
            Ok((created, if created { Shows::NotToWatchers } else { Shows::Nothing }))
        },
        |out, _| {
            let consumer = Some(Noted { name, seen_ms: now_ms, active_ms: None });
            GroupChange { consumer, ..GroupChange::default() }.put(out, group);
        },
    )?;
    if created {
        cx.notify(Class::STREAM, "xgroup-createconsumer", &args[2]);
    }
    cx.reply().integer(i64::from(created));
    Ok(())
}

/// XGROUP DELCONSUMER key group consumer
pub fn delete_consumer(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (group, name) = (&args[3], &args[4]);
    let pending = on_group(
        cx,
        args,
        |group, _| {
            let pending = group.remove_consumer(name);
            Ok((pending, if pending.is_some() { Shows::NotToWatchers } else { Shows::Nothing }))
        },
        |out, _| value::put_delete_consumer(out, group, name),
    )?;
    if pending.is_some() {
        cx.notify(Class::STREAM, "xgroup-delconsumer", &args[2]);
    }
    cx.reply().integer(pending.unwrap_or(0) as i64);
    Ok(())
}

/// XACK key group id \[id …\]
pub fn xack(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, name) = (cx.key(&args[1]), &args[2]);
    if cx.read_as::<&StreamValue>(&key)?.is_none_or(|stream| stream.groups.get(name).is_none()) {
        cx.reply().integer(0);
        return Ok(());
    }
    let mut ids = args.tail(3).iter().map(id::strict).collect::<Result<Vec<_>, _>>()?;
    let change = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            stream.groups.change(name, |group| ids.retain(|id| group.forget(*id)));
            let shows = if ids.is_empty() { Shows::Nothing } else { Shows::NotToWatchers };
            Ok((GroupChange { dropped: ids, ..GroupChange::default() }, shows))
        },
        |out, change| change.put(out, name),
    )?;
    cx.reply().integer(change.map_or(0, |change| change.dropped.len()) as i64);
    Ok(())
}
