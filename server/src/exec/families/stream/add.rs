//! Commands that change the entries: XADD, XTRIM, XDEL, XSETID.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use super::id;
use super::reply::put_id;
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx, Shows};
use crate::notify::Class;
use crate::store::value::stream::{self as value, AddError, Keep, StreamId, StreamValue, Trim, WantedId};

/// A trim without LIMIT ends after so many nodes.
const TRIM_NODES: u64 = 100;
/// What that means where nodes have no bound.
const TRIM_ENTRIES: u64 = 10_000;
const TRIM_ENTRIES_MAX: u64 = 1_000_000;

/// Options of XADD and XTRIM.
#[derive(Debug, Default)]
struct Options {
    keep: Option<Keep>,
    whole_nodes: bool,
    limit: Option<u64>,
    no_create: bool,
}

impl Options {
    /// Reads one option at `at`; answers where the next one is, `None` when this is none.
    fn read(&mut self, args: &Args<'_>, mut at: usize) -> Result<Option<usize>, CommandError> {
        let Some(option) = args.get(at) else { return Ok(None) };
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        let more = args.len() - 1 - at;
        let by_length = is(b"MAXLEN");
        if (by_length || is(b"MINID")) && more > 0 {
            if self.keep.is_some() {
                return Err(text::XTRIM_TWICE.into());
            }
            let sign = args.get(at + 1).filter(|sign| more >= 2 && matches!(*sign, b"~" | b"="));
            self.whole_nodes = sign == Some(b"~");
            at += 1 + usize::from(sign.is_some());
            let threshold = args.get(at).unwrap_or_default();
            self.keep = Some(if by_length {
                let count = integer(threshold)?;
                Keep::Newest(u64::try_from(count).map_err(|_| text::XTRIM_MAXLEN)?)
            } else {
                Keep::From(id::strict(threshold)?)
            });
        } else if is(b"LIMIT") && more > 0 {
            at += 1;
            let limit = integer(args.get(at).unwrap_or_default())?;
            self.limit = Some(u64::try_from(limit).map_err(|_| text::XTRIM_LIMIT)?);
        } else {
            return Ok(None);
        }
        Ok(Some(at + 1))
    }

    /// The trim that is asked for.
    fn trim(&self, node_entries: usize) -> Result<Option<Trim>, CommandError> {
        let Some(keep) = self.keep else {
            return match self.limit {
                Some(1..) => Err(text::XTRIM_LIMIT_ALONE.into()),
                _ => Ok(None),
            };
        };
        let limit = match self.limit {
            Some(_) if !self.whole_nodes => return Err(text::XTRIM_LIMIT_EXACT.into()),
            Some(limit) => limit,
            None if !self.whole_nodes => 0,
            None => match TRIM_NODES.saturating_mul(node_entries as u64) {
                0 => TRIM_ENTRIES,
                entries => entries.min(TRIM_ENTRIES_MAX),
            },
        };
        Ok(Some(Trim { keep, whole_nodes: self.whole_nodes, limit }))
    }
}

fn refusal(error: AddError) -> CommandError {
    match error {
        AddError::Exhausted => text::XADD_EXHAUSTED,
        AddError::NotAbove => text::XADD_NOT_ABOVE,
        AddError::TooLarge => text::XADD_TOO_LARGE,
    }
    .into()
}

/// XADD key \[NOMKSTREAM\] \[MAXLEN | MINID \[= | ~\] threshold \[LIMIT count\]\] id field value \[field value …\]
pub fn xadd(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut options = Options::default();
    let mut at = 2;
    let wanted = loop {
        let arg = args.get(at).ok_or_else(|| text::wrong_arity("xadd"))?;
        if arg == b"*" {
            break WantedId::Auto;
        }
        if let Some(next) = options.read(args, at)? {
            at = next;
        } else if arg.eq_ignore_ascii_case(b"NOMKSTREAM") {
            options.no_create = true;
            at += 1;
        } else {
            break id::to_add(arg)?;
        }
    };
    let limits = cx.env().limits;
    let trim = options.trim(limits.stream_node_entries)?;
    let items = args.tail(at + 1);
    if items.is_empty() || !items.len().is_multiple_of(2) {
        return Err(text::wrong_arity("xadd").into());
    }
    if wanted == WantedId::Exact(StreamId::MIN) {
        return Err(text::XADD_ZERO.into());
    }
    let key = cx.key(&args[1]);
    if options.no_create && cx.peek_as::<&StreamValue>(&key)?.is_none() {
        cx.reply().null();
        return Ok(());
    }
    let now_ms = cx.now_ms;
    let added = cx.modify(
        &key,
        |stream: &mut StreamValue| {
            let log = &mut stream.log;
            let added =
                log.next_id(wanted, now_ms).and_then(|id| log.add(id, items.iter(), &limits).map(|()| id));
            let trimmed = match (&added, &trim) {
                (Ok(_), Some(trim)) => log.trim(trim),
                _ => 0,
            };
            (added.map(|id| (id, trimmed)), added.is_ok())
        },
        |out, added| {
            if let Ok((id, trimmed)) = added {
                value::put_add(out, *id, items.iter(), *trimmed);
            }
        },
    )?;
    let (id, trimmed) = added.map_err(refusal)?;
    put_id(&mut cx.reply(), id);
    cx.notify(Class::STREAM, "xadd", key.bytes);
    if trimmed > 0 {
        cx.notify(Class::STREAM, "xtrim", key.bytes);
    }
    Ok(())
}

/// XTRIM key MAXLEN | MINID \[= | ~\] threshold \[LIMIT count\]
pub fn xtrim(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut options = Options::default();
    let mut at = 2;
    while at < args.len() {
        at = options.read(args, at)?.ok_or(CommandError::Syntax)?;
    }
    let trim = options.trim(cx.env().limits.stream_node_entries)?.ok_or(text::XTRIM_NOTHING)?;
    let key = cx.key(&args[1]);
    let trimmed = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            let trimmed = stream.log.trim(&trim);
            Ok((trimmed, if trimmed > 0 { Shows::All } else { Shows::Nothing }))
        },
        |out, trimmed| value::put_trim(out, *trimmed),
    )?;
    let trimmed = trimmed.unwrap_or(0);
    if trimmed > 0 {
        cx.notify(Class::STREAM, "xtrim", key.bytes);
    }
    cx.reply().integer(trimmed as i64);
    Ok(())
}

/// XDEL key id \[id …\]
pub fn xdel(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    if cx.peek_as::<&StreamValue>(&key)?.is_none() {
        cx.reply().integer(0);
        return Ok(());
    }
    let ids = args.tail(2).iter().map(id::strict).collect::<Result<Vec<_>, _>>()?;
    let deleted = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            let deleted: Vec<_> = ids.iter().copied().filter(|id| stream.log.delete(*id)).collect();
            let shows = if deleted.is_empty() { Shows::Nothing } else { Shows::All };
            Ok((deleted, shows))
        },
        |out, deleted| value::put_delete(out, deleted),
    )?;
    let deleted = deleted.map_or(0, |ids| ids.len());
    if deleted > 0 {
        cx.notify(Class::STREAM, "xdel", key.bytes);
    }
    cx.reply().integer(deleted as i64);
    Ok(())
}

/// XSETID key last-id \[ENTRIESADDED entries-added\] \[MAXDELETEDID max-deleted-id\]
pub fn xsetid(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let last_id = id::strict(&args[2])?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let argument = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if option.eq_ignore_ascii_case(b"ENTRIESADDED") {
            added = Some(u64::try_from(integer(argument)?).map_err(|_| text::XSETID_ADDED_NEGATIVE)?);
        } else if option.eq_ignore_ascii_case(b"MAXDELETEDID") {
            max_deleted = id::strict(argument)?;
            if last_id < max_deleted {
                return Err(text::XSETID_BELOW_GIVEN.into());
            }
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let key = cx.key(&args[1]);
    let done = cx.revise(
        &key,
        |stream: &mut StreamValue, _| {
            let log = &mut stream.log;
            if last_id < log.max_deleted_id() {
                return Err(text::XSETID_BELOW_DELETED.into());
            }
            if let Some(top) = log.last_entry() {
                if last_id < top {
                    return Err(text::XSETID_BELOW_TOP.into());
                }
                if added.is_some_and(|added| added < log.len()) {
                    return Err(text::XSETID_BELOW_LENGTH.into());
                }
            }
            let max_deleted = if max_deleted == StreamId::MIN { log.max_deleted_id() } else { max_deleted };
            let facts = (last_id, max_deleted, added.unwrap_or_else(|| log.entries_added()));
            log.set_facts(facts.0, facts.1, facts.2);
            Ok((facts, Shows::NotToWatchers))
        },
        |out, facts| value::put_facts(out, facts.0, facts.1, facts.2),
    )?;
    done.ok_or(text::NO_SUCH_KEY)?;
    cx.notify(Class::STREAM, "xsetid", key.bytes);
    cx.reply().ok();
    Ok(())
}
