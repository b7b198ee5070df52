//! DEBUG: for tests, where the configuration allows it.

use std::sync::atomic::Ordering;

use torc_protocol::error as text;
use torc_protocol::glob;
use torc_protocol::resp::{Args, parse_i64};
use torc_protocol::slot::key_slot;

use crate::digest::Digest;
use crate::exec::families::generic::encoding_of;
use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow, Park};
use crate::rdb;
use crate::shard::Role;
use crate::store::value::Kind;
use crate::store::{LooseEntry, Meta, stripe_of};

/// The longest DEBUG SLEEP, seconds.
const MAX_SLEEP_S: f64 = 3600.0;

/// The most keys of DEBUG POPULATE.
const MAX_POPULATED: i64 = 100_000_000;

/// The longest text of DEBUG STRINGMATCH-LEN, and value of DEBUG POPULATE.
const MAX_MATCHED_BYTES: usize = 16 << 20;

const NOT_ALLOWED: &str = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you \
     can run it from a local connection, otherwise you need to set this option in the configuration file, and then \
     restart the server.";

pub fn check_allowed(cx: &Cx<'_, '_>) -> CommandResult {
    if cx.node.settings.load().enable_debug { Ok(()) } else { Err(NOT_ALLOWED.into()) }
}

/// `DEBUG SLEEP seconds`: the connection sleeps; the others of its worker go on.
pub fn sleep(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let seconds = std::str::from_utf8(&args[2]).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds.filter(|s| (0.0..=MAX_SLEEP_S).contains(s)).ok_or(CommandError::NotFloat)?;
    if cx.depth == Depth::Command {
        cx.flow = Flow::Park(Park::Sleep { ms: (seconds * 1000.0) as u64 });
    } else {
        cx.reply().ok();
    }
    Ok(())
}

/// `DEBUG SET-ACTIVE-EXPIRE 0 | 1`
pub fn set_active_expire(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let on = parse_i64(&args[2]).ok_or(CommandError::NotInteger)? != 0;
    cx.node.active_expiry.store(on, Ordering::Relaxed);
    cx.reply().ok();
    Ok(())
}

/// `DEBUG QUICKLIST-PACKED-THRESHOLD size`: nodes of lists have one form only.
pub fn packed_threshold(cx: &mut Cx<'_, '_>) -> CommandResult {
    check_allowed(cx)?;
    cx.reply().ok();
    Ok(())
}

/// `DEBUG RELOAD [option …]`: every collection is written in the form of a dump and read again.
pub fn reload(cx: &mut Cx<'_, '_>) -> CommandResult {
    check_allowed(cx)?;
    let env = cx.env();
    let mut damaged = None;
    cx.for_each_stripe(|cx, index| {
        let databases: Vec<u8> = cx.stripe(index).databases().collect();
        for db in databases {
            let collections = cx.stripe(index).iter(db).filter(|entry| Kind::of(entry.value()).is_some());
            let written: Vec<(Box<[u8]>, Meta, Vec<u8>)> = collections
                .map(|entry| {
                    let mut bytes = Vec::new();
                    rdb::write_value(entry.value(), &mut bytes);
                    (entry.key().into(), entry.meta(), bytes)
                })
                .collect();
            for (key, meta, bytes) in written {
                match rdb::read_value(&bytes, &env) {
                    Ok(value) => {
                        let key = cx.node.store.key(&key);
                        cx.stripe(index).insert(db, &key, LooseEntry::object(value, &meta));
                    }
                    Err(error) => damaged = Some(error),
                }
            }
        }
    })?;
    match damaged {
        None => cx.reply().ok(),
        Some(error) => return Err(format!("ERR Error trying to load the RDB dump: {error}").into()),
    }
    Ok(())
}

/// `DEBUG OBJECT key`
pub fn object(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let key = cx.key(&args[2]);
    let clock = cx.node.eviction_clock(cx.now_ms);
    let line = match cx.peek(&key) {
        None => return Err(text::NO_SUCH_KEY.into()),
        Some(entry) => format!(
            "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
            encoding_of(entry),
            entry.heap_bytes(),
            entry.access(),
            clock.idle_s(entry.access()),
        ),
    };
    cx.reply().simple(&line);
    Ok(())
}

/// `DEBUG POPULATE count [prefix] [size]`: keys that are there stay as they are.
pub fn populate(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    if cx.node.shard.role() != Role::Plain || cx.depth != Depth::Command {
        return Err("ERR DEBUG POPULATE works on a node without a cluster, by itself".into());
    }
    let number = |at: usize| match args.get(at) {
        None => Ok(None),
        Some(arg) => parse_i64(arg).filter(|n| *n >= 0).map(Some).ok_or(CommandError::NotInteger),
    };
    let count = number(2)?.filter(|n| *n <= MAX_POPULATED).ok_or(CommandError::NotInteger)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = number(4)?.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    if size.is_some_and(|size| size > MAX_MATCHED_BYTES) {
        return Err(CommandError::NotInteger);
    }
    for n in 0..count {
        let name = [prefix, format!(":{n}").as_bytes()].concat();
        let mut value = format!("value:{n}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        let slot = key_slot(&name);
        cx.with_stripe(stripe_of(slot), |cx| {
            let key = cx.key(&name);
            if cx.peek(&key).is_none() {
                cx.put_string(&key, &value, None, 0);
            }
        })?;
    }
    cx.reply().ok();
    Ok(())
}

/// What Redis's tests switch and Torc has no switch for.
pub fn nothing(cx: &mut Cx<'_, '_>) -> CommandResult {
    check_allowed(cx)?;
    cx.reply().ok();
    Ok(())
}

/// `DEBUG LOADAOF`
pub fn loadaof(cx: &mut Cx<'_, '_>) -> CommandResult {
    check_allowed(cx)?;
    Err(text::MEMORY_ONLY.into())
}

/// `DEBUG DIGEST`: all data of all databases; forty zeros when there are none.
pub fn digest(cx: &mut Cx<'_, '_>) -> CommandResult {
    check_allowed(cx)?;
    let mut sum = Digest::default();
    cx.for_each_stripe(|cx, index| {
        let now_ms = cx.now_ms;
        let stripe = cx.stripe(index);
        let databases: Vec<u8> = stripe.databases().collect();
        for db in databases {
            let live = stripe.iter(db).filter(|entry| entry.expire_ms().is_none_or(|at| at > now_ms));
            live.for_each(|entry| sum.add(Digest::of_entry(db, &entry)));
        }
    })?;
    cx.reply().simple(&sum.hex());
    Ok(())
}

/// `DEBUG DIGEST-VALUE [key …]`
pub fn digest_value(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let keys = args.tail(2);
    cx.reply().array(keys.len());
    for name in keys {
        let key = cx.key(name);
        let digest = cx.peek(&key).map(|entry| Digest::of_value(&entry)).unwrap_or_default();
        cx.reply().simple(&digest.hex());
    }
    Ok(())
}

/// `DEBUG LISTPACK key`
pub fn listpack(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let key = cx.key(&args[2]);
    if cx.peek(&key).is_none() {
        return Err(text::NO_SUCH_KEY.into());
    }
    cx.reply().simple("Listpack structure is not shown");
    Ok(())
}

/// `DEBUG STRINGMATCH-LEN length pattern`
pub fn stringmatch_len(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    check_allowed(cx)?;
    let length =
        parse_i64(&args[2]).and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= MAX_MATCHED_BYTES);
    let length = length.ok_or(CommandError::NotInteger)?;
    let matches = glob::matches(&args[3], &vec![b'a'; length]);
    cx.reply().integer(i64::from(matches));
    Ok(())
}
