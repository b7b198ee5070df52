//! When keys expire: the EXPIRE family, TTL, PTTL, EXPIRETIME, PEXPIRETIME, PERSIST.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::{TimeUnit, integer};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::Entry;

/// NX, XX, GT, LT.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    missing: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(args: &Args<'_>) -> Result<Conditions, CommandError> {
        let mut found = Conditions::default();
        for option in args.tail(3) {
            if option.eq_ignore_ascii_case(b"NX") {
                found.missing = true;
            } else if option.eq_ignore_ascii_case(b"XX") {
                found.present = true;
            } else if option.eq_ignore_ascii_case(b"GT") {
                found.greater = true;
            } else if option.eq_ignore_ascii_case(b"LT") {
                found.less = true;
            } else {
                // Redis's text ends at a NUL.
                let shown = option.split(|&byte| byte == 0).next().unwrap_or_default();
                return Err(CommandError::Bytes([b"ERR Unsupported option ", shown].concat().into()));
            }
        }
        if found.missing && (found.present || found.greater || found.less) {
            return Err(text::EXPIRE_NX_OR_XX.into());
        }
        if found.greater && found.less {
            return Err(text::EXPIRE_GT_OR_LT.into());
        }
        Ok(found)
    }

    /// Whether an expiry of `old` may become `new`; a key without expiry lives for ever.
    fn allow(self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        !((self.missing && old.is_some())
            || (self.present && old.is_none())
            || (self.greater && old.is_none_or(|at| new <= at))
            || (self.less && old.is_some_and(|at| new >= at)))
    }
}

/// EXPIRE key time \[NX | XX | GT | LT\] and the three others of the family.
pub fn expire(cx: &mut Cx<'_, '_>, args: &Args<'_>, unit: TimeUnit, name: &str) -> CommandResult {
    let conditions = Conditions::parse(args)?;
    let at = integer(&args[2])?;
    let at = unit.to_ms(at, cx.now_ms).ok_or_else(|| CommandError::from(text::invalid_expire(name)))?;
    let key = cx.key(&args[1]);
    let set = match cx.peek(&key).map(Entry::expire_ms) {
        None => false,
        Some(old) => conditions.allow(old, at),
    };
    if set {
        // Before 1970 is as long ago as 1970.
        let event = if cx.set_expiry(&key, Some(at.max(0).unsigned_abs())) { "expire" } else { "del" };
        cx.notify(Class::GENERIC, event, key.bytes);
    }
    cx.reply().integer(i64::from(set));
    Ok(())
}

/// PERSIST key
pub fn persist(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let set = cx.peek(&key).is_some_and(|e| e.expire_ms().is_some());
    if set {
        cx.set_expiry(&key, None);
        cx.notify(Class::GENERIC, "persist", key.bytes);
    }
    cx.reply().integer(i64::from(set));
    Ok(())
}

/// Writes the time that `show` makes of a key's expiry; -1 when it has none, -2 when there is no key.
fn reply_time(cx: &mut Cx<'_, '_>, args: &Args<'_>, show: impl FnOnce(u64) -> u64) -> CommandResult {
    let key = cx.key(&args[1]);
    let time = match cx.glance(&key).map(Entry::expire_ms) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => i64::try_from(show(at)).unwrap_or(i64::MAX),
    };
    cx.reply().integer(time);
    Ok(())
}

/// TTL key, PTTL key
pub fn ttl(cx: &mut Cx<'_, '_>, args: &Args<'_>, seconds: bool) -> CommandResult {
    let now_ms = cx.now_ms;
    reply_time(cx, args, |at| {
        let left = at.saturating_sub(now_ms);
        if seconds { left.saturating_add(500) / 1000 } else { left }
    })
}

/// EXPIRETIME key, PEXPIRETIME key
pub fn expiretime(cx: &mut Cx<'_, '_>, args: &Args<'_>, seconds: bool) -> CommandResult {
    reply_time(cx, args, |at| if seconds { at.saturating_add(500) / 1000 } else { at })
}
