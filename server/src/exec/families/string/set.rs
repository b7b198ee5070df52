//! GET, SET and the commands that are SET with other words.

use torc_protocol::resp::Args;

use crate::exec::parse::{TimeUnit, positive_expiry};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::{Entry, ValueRef};

/// GET key
#[inline]
pub fn get(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_and(&key, |entry, mut reply| match entry.map(Entry::value) {
        Some(ValueRef::String(bytes)) => {
            reply.bulk(bytes);
            Ok(())
        }
        Some(_) => Err(CommandError::WrongType),
        None => {
            reply.null();
            Ok(())
        }
    })
}

/// When SET writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Missing,
    Present,
}

/// SET's options.
#[derive(Clone, Copy, Debug)]
struct Options {
    when: When,
    get: bool,
    keep_ttl: bool,
    expire_ms: Option<u64>,
}

fn options(args: &Args<'_>, now_ms: u64) -> Result<Options, CommandError> {
    let mut found = Options { when: When::Always, get: false, keep_ttl: false, expire_ms: None };
    let mut time = None;
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        if option.eq_ignore_ascii_case(b"NX") && found.when != When::Present {
            found.when = When::Missing;
        } else if option.eq_ignore_ascii_case(b"XX") && found.when != When::Missing {
            found.when = When::Present;
        } else if option.eq_ignore_ascii_case(b"GET") {
            found.get = true;
        } else if option.eq_ignore_ascii_case(b"KEEPTTL") && time.is_none() {
            found.keep_ttl = true;
        } else if let Some(unit) = TimeUnit::of_option(option)
            && let Some(arg) = args.get(at)
            && time.is_none()
            && !found.keep_ttl
        {
            time = Some((unit, arg));
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    if let Some((unit, arg)) = time {
        found.expire_ms = Some(positive_expiry(arg, unit, now_ms, "set")?);
    }
    Ok(found)
}

/// SET key value \[NX | XX\] \[GET\] \[EX | PX | EXAT | PXAT time | KEEPTTL\]
#[inline]
pub fn set(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    if args.len() == 3 {
        cx.put_string(&key, &args[2], None, 0);
        cx.reply().ok();
        return Ok(());
    }
    let options = options(args, cx.now_ms)?;
    let (exists, old_expiry) = if options.get {
        cx.read_and(&key, |entry, mut reply| match entry.map(Entry::value) {
            None => {
                reply.null();
                Ok((false, None))
            }
            Some(ValueRef::String(bytes)) => {
                reply.bulk(bytes);
                Ok((true, entry.and_then(Entry::expire_ms)))
            }
            Some(_) => Err(CommandError::WrongType),
        })?
    } else {
        let entry = cx.peek(&key);
        (entry.is_some(), entry.and_then(Entry::expire_ms))
    };
    let writes = match options.when {
        When::Always => true,
        When::Missing => !exists,
        When::Present => exists,
    };
    if !writes {
        if !options.get {
            cx.reply().null();
        }
        return Ok(());
    }
    let expire_ms = if options.keep_ttl { old_expiry } else { options.expire_ms };
    cx.put_string_until(&key, &args[2], expire_ms);
    if !options.get {
        cx.reply().ok();
    }
    Ok(())
}
