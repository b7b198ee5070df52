//! Commands of the server family that are about keys: DBSIZE, FLUSHDB, FLUSHALL, SWAPDB, MEMORY USAGE.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx, keyspace};
use crate::store::DATABASES;

/// DBSIZE
pub fn dbsize(cx: &mut Cx<'_, '_>) -> CommandResult {
    let keys = keyspace::dbsize(cx)?;
    cx.reply().integer(keys as i64);
    Ok(())
}

/// FLUSHDB and FLUSHALL \[ASYNC | SYNC\]
pub fn flush(cx: &mut Cx<'_, '_>, args: &Args<'_>, db: Option<u8>) -> CommandResult {
    match args.get(1) {
        None => {}
        Some(mode)
            if args.len() == 2
                && (mode.eq_ignore_ascii_case(b"ASYNC") || mode.eq_ignore_ascii_case(b"SYNC")) => {}
        Some(_) => return Err(CommandError::Syntax),
    }
    keyspace::flush(cx, db)?;
    cx.reply().ok();
    Ok(())
}

/// SWAPDB index1 index2
pub fn swapdb(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let index = |arg, wrong: &'static str| {
        parse_i64(arg).and_then(|n| i32::try_from(n).ok()).ok_or(CommandError::from(wrong))
    };
    let (a, b) = (index(&args[1], text::INVALID_FIRST_DB)?, index(&args[2], text::INVALID_SECOND_DB)?);
    let known = |n: i32| u8::try_from(n).ok().filter(|n| usize::from(*n) < DATABASES);
    let (Some(a), Some(b)) = (known(a), known(b)) else { return Err(text::DB_OUT_OF_RANGE.into()) };
    keyspace::swap(cx, a, b)?;
    cx.reply().ok();
    Ok(())
}

/// MEMORY USAGE key \[SAMPLES count\]: nothing is estimated here, so nothing is sampled.
pub fn memory_usage(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let samples = args.get(at + 1).filter(|_| option.eq_ignore_ascii_case(b"SAMPLES"));
        if integer(samples.ok_or(CommandError::Syntax)?)? < 0 {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let key = cx.key(&args[2]);
    match keyspace::memory_usage(cx, &key) {
        Some(bytes) => cx.reply().integer(bytes as i64),
        None => cx.reply().null(),
    }
    Ok(())
}
