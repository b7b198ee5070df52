//! Values that leave and come: DUMP, RESTORE; MIGRATE, which is refused.

use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::rdb::{self, payload};

const BAD_TTL: &str = "ERR Invalid TTL value, must be >= 0";
const BAD_IDLETIME: &str = "ERR Invalid IDLETIME value, must be >= 0";
const BAD_FREQ: &str = "ERR Invalid FREQ value, must be >= 0 and <= 255";
const WRONG_PAYLOAD: &str = "ERR DUMP payload version or checksum are wrong";
const BAD_DATA: &str = "ERR Bad data format";
const NO_MIGRATE: &str = "ERR MIGRATE is not supported: keys go elsewhere by DUMP and RESTORE";

/// DUMP key
pub fn dump(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_and(&key, |entry, mut reply| match entry {
        None => reply.null(),
        Some(entry) => {
            let mut bytes = Vec::new();
            rdb::write_readable(entry.value(), &mut bytes);
            payload::seal(&mut bytes);
            reply.bulk(&bytes);
        }
    });
    Ok(())
}

#[derive(Clone, Copy, Debug, Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mut found = Options::default();
        let mut options = args.tail(4).iter();
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"REPLACE") {
                found.replace = true;
            } else if option.eq_ignore_ascii_case(b"ABSTTL") {
                found.absolute = true;
            } else if option.eq_ignore_ascii_case(b"IDLETIME") && found.frequency.is_none() {
                let seconds = integer(options.next().ok_or(CommandError::Syntax)?)?;
                found.idle_s = Some(u64::try_from(seconds).map_err(|_| BAD_IDLETIME)?);
            } else if option.eq_ignore_ascii_case(b"FREQ") && found.idle_s.is_none() {
                let uses = integer(options.next().ok_or(CommandError::Syntax)?)?;
                found.frequency = Some(u8::try_from(uses).map_err(|_| BAD_FREQ)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(found)
    }
}

/// RESTORE key ttl payload \[REPLACE\] \[ABSTTL\] \[IDLETIME seconds\] \[FREQ frequency\]
pub fn restore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let options = Options::parse(args)?;
    let key = cx.key(&args[1]);
    if !options.replace && cx.peek(&key).is_some() {
        return Err(text::BUSYKEY.into());
    }
    let ttl = u64::try_from(integer(&args[2])?).map_err(|_| BAD_TTL)?;
    let value = payload::open(&args[3]).ok_or(WRONG_PAYLOAD)?;
    let value = rdb::read_value(value, &cx.env()).map_err(|_| BAD_DATA)?;
    let expire_ms = match ttl {
        0 => None,
        at if options.absolute => Some(at),
        ms => Some(cx.now_ms.saturating_add(ms)),
    };
    if expire_ms.is_some_and(|at| at <= cx.now_ms) && cx.node.may_expire() {
        if cx.delete(&key) {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
        cx.reply().ok();
        return Ok(());
    }
    cx.put_value(&key, value, expire_ms);
    let clock = cx.node.eviction_clock(cx.now_ms);
    let access = match options {
        Options { idle_s: Some(seconds), .. } => clock.idle_for(seconds),
        Options { frequency: Some(uses), .. } => clock.used_often(uses),
        _ => None,
    };
    if let Some(access) = access {
        cx.mark(&key, |entry| entry.set_access(access));
    }
    cx.notify(Class::GENERIC, "restore", key.bytes);
    cx.reply().ok();
    Ok(())
}

/// MIGRATE …: a worker does not wait for another server.
pub fn migrate() -> CommandResult {
    Err(NO_MIGRATE.into())
}
