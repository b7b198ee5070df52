//! Fields that expire: the HEXPIRE family, HTTL and its kin, HPERSIST; and HGETDEL, which is written alike.

use smallvec::SmallVec;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use super::read::with_hash;
use crate::exec::parse::{TimeUnit, integer};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{HashChange, HashRef, HashValue, MAX_FIELD_TIME_MS};

/// There is no such field.
const NO_FIELD: i64 = -2;
/// The field does not expire.
const NO_EXPIRY: i64 = -1;
/// The condition is not met.
const NOT_MET: i64 = 0;
/// Done.
const DONE: i64 = 1;
/// The time has passed: the field is gone.
const DELETED: i64 = 2;

/// An answer for each field.
type Answers = SmallVec<[i64; 8]>;

/// The fields behind `FIELDS numfields`, which stands at `at`; `number` is the error of a bad number.
pub fn fields<'a>(args: &Args<'a>, at: usize, number: &'static str) -> Result<Args<'a>, CommandError> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS")) {
        return Err(text::FIELDS_MISSING.into());
    }
    let count = args.get(at + 1).and_then(parse_i64).filter(|n| *n > 0).ok_or(CommandError::from(number))?;
    let fields = args.tail(at + 2);
    if usize::try_from(count) != Ok(fields.len()) {
        return Err(text::FIELDS_MISMATCH.into());
    }
    Ok(fields)
}

/// The error of a number of fields that is none, for all commands but the HEXPIRE family.
pub const BAD_COUNT: &str = "ERR Number of fields must be a positive integer";

/// The moment that an argument means, Unix milliseconds; `command` is named in the error.
pub fn moment(arg: &[u8], unit: TimeUnit, now_ms: u64, command: &str) -> Result<u64, CommandError> {
    let n = integer(arg)?;
    if n < 0 {
        return Err("ERR invalid expire time, must be >= 0".into());
    }
    unit.to_ms(n, now_ms)
        .and_then(|at| u64::try_from(at).ok())
        .filter(|at| *at <= MAX_FIELD_TIME_MS)
        .ok_or_else(|| text::invalid_expire(command).into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Missing,
    Present,
    Greater,
    Less,
}

impl Condition {
    fn parse(arg: &[u8]) -> Option<Condition> {
        [
            (&b"NX"[..], Condition::Missing),
            (b"XX", Condition::Present),
            (b"GT", Condition::Greater),
            (b"LT", Condition::Less),
        ]
        .into_iter()
        .find_map(|(name, condition)| arg.eq_ignore_ascii_case(name).then_some(condition))
    }

    /// Whether an expiry of `old` may become `new`; a field without one lives for ever.
    fn allows(self, old: Option<u64>, new: u64) -> bool {
        match self {
            Condition::Missing => old.is_none(),
            Condition::Present => old.is_some(),
            Condition::Greater => old.is_some_and(|at| new > at),
            Condition::Less => old.is_none_or(|at| new < at),
        }
    }
}

fn answer(cx: &mut Cx<'_, '_>, answers: &[i64]) {
    let mut reply = cx.reply();
    reply.array(answers.len());
    answers.iter().for_each(|n| reply.integer(*n));
}

/// HEXPIRE key time \[NX | XX | GT | LT\] FIELDS numfields field \[field …\], and the three others of the family.
pub fn hexpire(cx: &mut Cx<'_, '_>, args: &Args<'_>, unit: TimeUnit, name: &str) -> CommandResult {
    let key = cx.key(&args[1]);
    let missing = cx.peek_as::<HashRef>(&key)?.is_none();
    let at_ms = moment(&args[2], unit, cx.now_ms, name)?;
    let condition = args.get(3).and_then(Condition::parse);
    let at = if condition.is_some() { 4 } else { 3 };
    let fields = fields(args, at, "ERR Parameter `numFields` should be greater than 0")?;
    if missing {
        answer(cx, &vec![NO_FIELD; fields.len()]);
        return Ok(());
    }
    let (passed, hasher) = (at_ms <= cx.now_ms, cx.env().hasher);
    let (answers, done) = cx.modify(
        &key,
        |hash: &mut HashValue| {
            let mut answers = Answers::new();
            let mut done: SmallVec<[&[u8]; 8]> = SmallVec::new();
            for field in fields {
                let known = hash.get(field).is_some();
                answers.push(if !known {
                    NO_FIELD
                } else if condition.is_some_and(|c| !c.allows(hash.expiry(field), at_ms)) {
                    NOT_MET
                } else {
                    done.push(field);
                    if passed {
                        hash.remove(field);
                        DELETED
                    } else {
                        hash.set_expiry(field, at_ms, hasher);
                        DONE
                    }
                });
            }
            let changed = !done.is_empty();
            ((answers, done), changed)
        },
        |out, (_, done)| {
            let fields = done.iter().copied();
            if passed {
                HashChange::put_delete(out, fields)
            } else {
                HashChange::put_expire(out, at_ms, fields)
            }
        },
    )?;
    match (done.is_empty(), passed) {
        (true, _) => {}
        (false, true) => cx.notify_removal(Class::HASH, "hdel", &key),
        (false, false) => cx.notify(Class::HASH, "hexpire", key.bytes),
    }
    answer(cx, &answers);
    Ok(())
}

/// HTTL key FIELDS numfields field \[field …\], HPTTL, HEXPIRETIME, HPEXPIRETIME: when fields expire.
pub fn httl(cx: &mut Cx<'_, '_>, args: &Args<'_>, unit: TimeUnit) -> CommandResult {
    let base_ms = if unit.absolute { 0 } else { cx.now_ms };
    with_hash(cx, args, |hash, mut reply| {
        let fields = fields(args, 2, BAD_COUNT)?;
        reply.array(fields.len());
        for field in fields {
            let Some(hash) = hash.filter(|h| h.get(field).is_some()) else {
                reply.integer(NO_FIELD);
                continue;
            };
            reply.integer(match hash.expiry(field).map(|at| at.saturating_sub(base_ms)) {
                None => NO_EXPIRY,
                Some(ms) if unit.seconds => ms.div_ceil(1000) as i64,
                Some(ms) => ms as i64,
            });
        }
        Ok(())
    })?
}

/// HPERSIST key FIELDS numfields field \[field …\]
pub fn hpersist(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let missing = cx.peek_as::<HashRef>(&key)?.is_none();
    let fields = fields(args, 2, BAD_COUNT)?;
    if missing {
        answer(cx, &vec![NO_FIELD; fields.len()]);
        return Ok(());
    }
    let (answers, done) = cx.modify(
        &key,
        |hash: &mut HashValue| {
            let mut answers = Answers::new();
            let mut done: SmallVec<[&[u8]; 8]> = SmallVec::new();
            for field in fields {
                answers.push(if hash.get(field).is_none() {
                    NO_FIELD
                } else if hash.persist(field) {
                    done.push(field);
                    DONE
                } else {
                    NO_EXPIRY
                });
            }
            let changed = !done.is_empty();
            ((answers, done), changed)
        },
        |out, (_, done)| HashChange::put_persist(out, done.iter().copied()),
    )?;
    if !done.is_empty() {
        cx.notify(Class::HASH, "hpersist", key.bytes);
    }
    answer(cx, &answers);
    Ok(())
}

/// HGETDEL key FIELDS numfields field \[field …\]
pub fn hgetdel(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let missing = cx.peek_as::<HashRef>(&key)?.is_none();
    let fields = fields(args, 2, BAD_COUNT)?;
    if missing {
        let mut reply = cx.reply();
        reply.array(fields.len());
        fields.into_iter().for_each(|_| reply.null());
        return Ok(());
    }
    let (values, removed) = cx.modify(
        &key,
        |hash: &mut HashValue| {
            let mut removed = 0;
            let mut take = |field: &[u8]| {
                let value = hash.get(field).map(Box::<[u8]>::from);
                removed += usize::from(hash.remove(field));
                value
            };
            let values: Vec<_> = fields.into_iter().map(&mut take).collect();
            ((values, removed), removed > 0)
        },
        |out, _| HashChange::put_delete(out, fields.iter()),
    )?;
    if removed > 0 {
        cx.notify_removal(Class::HASH, "hdel", &key);
    }
    let mut reply = cx.reply();
    reply.array(values.len());
    values.iter().for_each(|value| reply.bulk_or_null(value.as_deref()));
    Ok(())
}
