//! HSETEX and HGETEX: fields and when they expire in one command.

use ahash::AHashSet;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use super::expiry::{BAD_COUNT, fields, moment};
use crate::exec::parse::TimeUnit;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::Key;
use crate::store::value::{HashChange, HashRef, HashValue};

const ONE_EXPIRY: &str = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";

/// What becomes of the expiry of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// Nothing was said.
    Unsaid,
    /// KEEPTTL
    Keep,
    /// PERSIST
    None,
    /// Unix milliseconds.
    At(u64),
}

/// What stands in front of FIELDS.
struct Options {
    /// FNX: true, FXX: false.
    missing: Option<bool>,
    expiry: Expiry,
    /// Where FIELDS stands.
    fields_at: usize,
}

impl Options {
    /// Those of HSETEX: any number, and nothing else in front of FIELDS.
    fn of_set(args: &Args<'_>, now_ms: u64) -> Result<Options, CommandError> {
        let mut found = Options { missing: None, expiry: Expiry::Unsaid, fields_at: 2 };
        while let Some(word) = args.get(found.fields_at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"FIELDS") {
                // Their number, a field and its value.
                if args.len() < found.fields_at + 4 {
                    return Err(text::wrong_arity("hsetex").into());
                }
                break;
            } else if is(b"FNX") || is(b"FXX") {
                if found.missing.is_some() {
                    return Err("ERR Only one of FXX or FNX arguments can be specified".into());
                }
                found.missing = Some(is(b"FNX"));
            } else {
                let unit = TimeUnit::of_option(word);
                if unit.is_none() && !is(b"KEEPTTL") {
                    // As Redis writes it: up to the first zero.
                    let shown = word.split(|byte| *byte == 0).next().unwrap_or_default();
                    return Err(CommandError::Bytes([b"ERR unknown argument: ", shown].concat().into()));
                }
                if found.expiry != Expiry::Unsaid {
                    return Err(ONE_EXPIRY.into());
                }
                found.expiry = match unit {
                    None => Expiry::Keep,
                    Some(unit) => {
                        found.fields_at += 1;
                        let time = args.get(found.fields_at).ok_or(CommandError::Syntax)?;
                        Expiry::At(moment(time, unit, now_ms, "hsetex")?)
                    }
                };
            }
            found.fields_at += 1;
        }
        Ok(found)
    }

    /// Those of HGETEX: one at the most.
    fn of_get(args: &Args<'_>, now_ms: u64) -> Result<Options, CommandError> {
        let word = args.get(2).unwrap_or_default();
        let (expiry, fields_at) = match TimeUnit::of_option(word) {
            Some(unit) => {
                let time = args.get(3).ok_or(CommandError::Syntax)?;
                (Expiry::At(moment(time, unit, now_ms, "hgetex")?), 4)
            }
            None if word.eq_ignore_ascii_case(b"PERSIST") => (Expiry::None, 3),
            None => (Expiry::Unsaid, 2),
        };
        if args.len() == fields_at + 1 {
            return Err(text::wrong_arity("hgetex").into());
        }
        Ok(Options { missing: None, expiry, fields_at })
    }
}

/// HSETEX key \[FNX | FXX\] \[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds |
/// KEEPTTL\] FIELDS numfields field value \[field value …\]
pub fn hsetex(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let options = Options::of_set(args, cx.now_ms)?;
    let pairs = pairs(args, options.fields_at)?;
    let found = cx.peek_as::<HashRef>(&key)?;
    let mut names = pairs.iter().step_by(2);
    let has = |field: &[u8]| found.is_some_and(|hash| hash.get(field).is_some());
    let may = match options.missing {
        None => true,
        Some(true) => !names.any(has),
        Some(false) => names.all(has),
    };
    if !may {
        cx.reply().integer(0);
        return Ok(());
    }
    match options.expiry {
        Expiry::At(at_ms) if at_ms <= cx.now_ms => {
            // Set and gone in one moment.
            if cx.hash_delete(&key, pairs.iter().step_by(2))? > 0 {
                cx.notify_removal(Class::HASH, "hdel", &key);
            }
        }
        Expiry::Keep => {
            let mut items = pairs.iter();
            while let (Some(field), Some(value)) = (items.next(), items.next()) {
                cx.hash_set_value(&key, field, value)?;
            }
            cx.notify(Class::HASH, "hset", key.bytes);
        }
        expiry => {
            cx.hash_set(&key, pairs.iter())?;
            cx.notify(Class::HASH, "hset", key.bytes);
            if let Expiry::At(at_ms) = expiry {
                let names: Vec<&[u8]> = pairs.iter().step_by(2).collect();
                expire(cx, &key, &names, at_ms)?;
            }
        }
    }
    cx.reply().integer(1);
    Ok(())
}

/// HGETEX key \[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST\]
/// FIELDS numfields field \[field …\]
pub fn hgetex(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    // As in Redis the kind of the value is looked at first.
    cx.peek_as::<HashRef>(&key)?;
    let options = Options::of_get(args, cx.now_ms)?;
    let fields = fields(args, options.fields_at, BAD_COUNT)?;
    let goes = matches!(options.expiry, Expiry::At(at_ms) if at_ms <= cx.now_ms);
    let found = cx.read_as::<HashRef>(&key)?;
    // A field that goes at once is given once, however often it is named.
    let mut gone = AHashSet::new();
    let values: Vec<Option<Box<[u8]>>> = fields
        .into_iter()
        .map(|field| found.filter(|_| !goes || gone.insert(field))?.get(field).map(Box::from))
        .collect();
    let known = fields.into_iter().zip(&values).filter(|(_, value)| value.is_some());
    let known: Vec<&[u8]> = known.map(|(field, _)| field).collect();
    if !known.is_empty() {
        match options.expiry {
            Expiry::Unsaid | Expiry::Keep => {}
            Expiry::None => persist(cx, &key, &known)?,
            Expiry::At(at_ms) if at_ms <= cx.now_ms => {
                cx.hash_delete(&key, known.iter().copied())?;
                cx.notify_removal(Class::HASH, "hdel", &key);
            }
            Expiry::At(at_ms) => expire(cx, &key, &known, at_ms)?,
        }
    }
    let mut reply = cx.reply();
    reply.array(values.len());
    values.iter().for_each(|value| reply.bulk_or_null(value.as_deref()));
    Ok(())
}

/// The fields and values, in turn, behind `FIELDS numfields`.
fn pairs<'a>(args: &Args<'a>, at: usize) -> Result<Args<'a>, CommandError> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS")) {
        return Err(text::FIELDS_MISSING.into());
    }
    let count = args.get(at + 1).and_then(torc_protocol::resp::parse_i64);
    let count =
        count.filter(|n| (1..=i64::from(i32::MAX)).contains(n)).ok_or("ERR invalid number of fields")?;
    let items = args.tail(at + 2);
    if count as usize * 2 != items.len() {
        return Err(text::wrong_arity("hsetex").into());
    }
    Ok(items)
}

/// Fields that are there expire at a time that is to come.
fn expire(cx: &mut Cx<'_, '_>, key: &Key<'_>, fields: &[&[u8]], at_ms: u64) -> CommandResult {
    let hasher = cx.env().hasher;
    cx.modify(
        key,
        |hash: &mut HashValue| {
            for field in fields {
                hash.set_expiry(field, at_ms, hasher);
            }
            ((), true)
        },
        |out, ()| HashChange::put_expire(out, at_ms, fields.iter().copied()),
    )?;
    cx.notify(Class::HASH, "hexpire", key.bytes);
    Ok(())
}

/// Fields expire no more.
fn persist(cx: &mut Cx<'_, '_>, key: &Key<'_>, fields: &[&[u8]]) -> CommandResult {
    let done = cx.modify(
        key,
        |hash: &mut HashValue| {
            let done: Vec<&[u8]> = fields.iter().copied().filter(|field| hash.persist(field)).collect();
            let changed = !done.is_empty();
            (done, changed)
        },
        |out, done| HashChange::put_persist(out, done.iter().copied()),
    )?;
    if !done.is_empty() {
        cx.notify(Class::HASH, "hpersist", key.bytes);
    }
    Ok(())
}
