//! GET, SET and the commands that are SET with other words.

use torc_protocol::resp::{Args, ReplyWriter};

use crate::exec::parse::{TimeUnit, positive_expiry};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::{Entry, ValueRef};

/// GET key
#[inline]
pub fn get(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_and(&key, |entry, reply| string_reply(entry, reply).map(drop))
}

/// Writes the string of an entry, or that there is none; answers whether there is one.
#[inline]
fn string_reply(entry: Option<Entry<'_>>, mut reply: ReplyWriter<'_>) -> Result<bool, CommandError> {
    match entry.map(Entry::value) {
        Some(ValueRef::String(bytes)) => {
            reply.bulk(bytes);
            Ok(true)
        }
        Some(_) => Err(CommandError::WrongType),
        None => {
            reply.null();
            Ok(false)
        }
    }
}

/// When SET writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    Missing,
    Present,
    /// Only where the string is that of this argument.
    Equal(usize),
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
        if option.eq_ignore_ascii_case(b"NX") && matches!(found.when, When::Always | When::Missing) {
            found.when = When::Missing;
        } else if option.eq_ignore_ascii_case(b"XX") && matches!(found.when, When::Always | When::Present) {
            found.when = When::Present;
        } else if option.eq_ignore_ascii_case(b"IFEQ") && found.when == When::Always && at < args.len() {
            found.when = When::Equal(at);
            at += 1;
        } else if option.eq_ignore_ascii_case(b"GET") {
            found.get = true;
        } else if option.eq_ignore_ascii_case(b"KEEPTTL") && time.is_none() {
            found.keep_ttl = true;
        } else if let Some(unit) = TimeUnit::of_option(option)
            && let Some(arg) = args.get(at)
            && time.is_none_or(|(earlier, _)| earlier == unit)
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

/// SET key value \[NX | XX | IFEQ comparison\] \[GET\] \[EX | PX | EXAT | PXAT time | KEEPTTL\]
#[inline]
pub fn set(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    if args.len() == 3 {
        cx.put_string(&key, &args[2], None, 0);
        cx.notify(Class::STRING, "set", key.bytes);
        cx.reply().ok();
        return Ok(());
    }
    let options = options(args, cx.now_ms)?;
    let (exists, old_expiry) = if options.get {
        cx.read_and(&key, |entry, reply| {
            let exists = string_reply(entry, reply)?;
            Ok::<_, CommandError>((exists, entry.and_then(Entry::expire_ms)))
        })?
    } else {
        let entry = cx.peek(&key);
        (entry.is_some(), entry.and_then(Entry::expire_ms))
    };
    let writes = match options.when {
        When::Always => true,
        When::Missing => !exists,
        When::Present => exists,
        When::Equal(at) => cx.peek_string(&key)?.is_some_and(|value| value == &args[at]),
    };
    if !writes {
        if !options.get {
            cx.reply().null();
        }
        return Ok(());
    }
    let expire_ms = if options.keep_ttl { old_expiry } else { options.expire_ms };
    if cx.put_string_until(&key, &args[2], expire_ms) {
        cx.notify(Class::STRING, "set", key.bytes);
        if options.expire_ms.is_some() {
            cx.notify(Class::GENERIC, "expire", key.bytes);
        }
    } else if exists {
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
    if !options.get {
        cx.reply().ok();
    }
    Ok(())
}

/// SETNX key value
pub fn setnx(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let missing = cx.peek(&key).is_none();
    if missing {
        cx.put_string(&key, &args[2], None, 0);
        cx.notify(Class::STRING, "set", key.bytes);
    }
    cx.reply().integer(i64::from(missing));
    Ok(())
}

/// SETEX key seconds value, PSETEX key milliseconds value
pub fn setex(cx: &mut Cx<'_, '_>, args: &Args<'_>, unit: TimeUnit, name: &str) -> CommandResult {
    let key = cx.key(&args[1]);
    let expire_ms = positive_expiry(&args[2], unit, cx.now_ms, name)?;
    cx.put_string(&key, &args[3], Some(expire_ms), 0);
    cx.notify(Class::STRING, "set", key.bytes);
    cx.notify(Class::GENERIC, "expire", key.bytes);
    cx.reply().ok();
    Ok(())
}

/// GETSET key value
pub fn getset(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_and(&key, string_reply)?;
    cx.put_string(&key, &args[2], None, 0);
    cx.notify(Class::STRING, "set", key.bytes);
    Ok(())
}

/// DELIFEQ key value
pub fn delifeq(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let equal = cx.peek_string(&key)?.is_some_and(|value| value == &args[2]);
    if equal {
        cx.delete(&key);
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
    cx.reply().integer(i64::from(equal));
    Ok(())
}

/// GETDEL key
pub fn getdel(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    if cx.read_and(&key, string_reply)? {
        cx.delete(&key);
        cx.notify(Class::GENERIC, "del", key.bytes);
    }
    Ok(())
}

/// GETEX key \[EX | PX | EXAT | PXAT time | PERSIST\]
pub fn getex(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (mut time, mut persist) = (None, false);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        at += 1;
        // An option may come again; two may not stand together.
        if option.eq_ignore_ascii_case(b"PERSIST") && time.is_none() {
            persist = true;
        } else if let Some(unit) = TimeUnit::of_option(option)
            && let Some(arg) = args.get(at)
            && time.is_none_or(|(earlier, _)| earlier == unit)
            && !persist
        {
            time = Some((unit, arg));
            at += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let key = cx.key(&args[1]);
    if !cx.read_and(&key, string_reply)? {
        return Ok(());
    }
    // As Redis does, the time is looked at only when there is a key that would get it.
    if let Some((unit, arg)) = time {
        let expire_ms = positive_expiry(arg, unit, cx.now_ms, "getex")?;
        let event = if cx.set_expiry(&key, Some(expire_ms)) { "expire" } else { "del" };
        cx.notify(Class::GENERIC, event, key.bytes);
    } else if persist && cx.peek(&key).is_some_and(|e| e.expire_ms().is_some()) {
        cx.set_expiry(&key, None);
        cx.notify(Class::GENERIC, "persist", key.bytes);
    }
    Ok(())
}
