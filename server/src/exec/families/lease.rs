//! Leases on cached values: of a thousand clients that miss a key one loads it, and the others are told when to come
//! again or use the old value meanwhile.
//!
//! The state of a lease is in the entry's marks, which memcached's meta commands read and write as well; its token is
//! the entry's version, so whatever changes the key ends the lease.
//!
//! ```text
//! no key ──GETLEASE──▶ vacant, sent ──SETLEASE──▶ a value ──INVALIDATE──▶ stale ──GETLEASE──▶ stale, sent ──SETLEASE──▶ …
//! ```

use torc_protocol::command::LeaseCommand;
use torc_protocol::error as text;
use torc_protocol::resp::Args;

use crate::exec::parse::{TimeUnit, integer, positive_expiry};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::{Entry, Key, Marks};

/// The longest lease, in milliseconds.
const MAX_LEASE_MS: i64 = 10 * 60 * 1000;

/// Between these milliseconds lies the time after which a client that waits is told to come again.
const RETRY_MS: std::ops::RangeInclusive<u64> = 10..=250;

/// A waiting client comes again about so many times while the lease lasts.
const RETRIES_PER_LEASE: u64 = 8;

const BAD_LEASE: &str = "ERR a lease lasts from 1 to 600000 milliseconds";
const BAD_REFRESH: &str = "ERR REFRESH wants a positive number of milliseconds";

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: LeaseCommand, args: &Args<'_>) -> CommandResult {
    match command {
        LeaseCommand::Dellease => dellease(cx, args),
        LeaseCommand::Getlease => getlease(cx, args),
        LeaseCommand::Invalidate => invalidate(cx, args),
        LeaseCommand::Setlease => setlease(cx, args),
    }
}

/// What a live string is to a lease.
#[derive(Clone, Copy)]
struct State {
    marks: Marks,
    expire_ms: Option<u64>,
    cas: u64,
}

impl State {
    /// Whether somebody is loading it, and until when (`u64::MAX`: as long as they like).
    fn taken_until(&self, now_ms: u64) -> Option<u64> {
        let until = self.marks.lease_ms().or(self.expire_ms).unwrap_or(u64::MAX);
        (self.marks.is_sent() && until > now_ms).then_some(until)
    }
}

fn state(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> Result<Option<State>, CommandError> {
    let Some(entry) = cx.peek(key) else { return Ok(None) };
    if entry.as_string().is_none() {
        return Err(CommandError::WrongType);
    }
    Ok(Some(State { marks: entry.marks(), expire_ms: entry.expire_ms(), cas: entry.cas() }))
}

/// `GETLEASE key milliseconds [REFRESH milliseconds]`: an array of "hit" and the value; of "load", a token, and the old
/// value or null; or of "wait", milliseconds, and the old value or null.
fn getlease(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let lease_ms = integer(&args[2])?;
    let lease_ms = u64::try_from(lease_ms).ok().filter(|ms| (1..=MAX_LEASE_MS as u64).contains(ms));
    let lease_ms = lease_ms.ok_or(BAD_LEASE)?;
    let refresh_ms = match (args.get(3), args.get(4)) {
        (None, _) => 0,
        (Some(word), Some(ms)) if args.len() == 5 && word.eq_ignore_ascii_case(b"REFRESH") => {
            u64::try_from(integer(ms)?).ok().filter(|ms| *ms > 0).ok_or(BAD_REFRESH)?
        }
        _ => return Err(CommandError::Syntax),
    };
    let key = cx.key(&args[1]);
    let now_ms = cx.now_ms;
    let until = now_ms + lease_ms;
    let granted = Marks::default().with_sent(true).with_lease_ms(Some(until));
    let Some(state) = state(cx, &key)? else {
        // Only this branch needs memory: a hit is a hit, however full the store is.
        if cx.scripts.out_of_memory {
            return Err(text::OOM.into());
        }
        cx.put_marked(&key, b"", Some(until), 0, granted.with_vacant(true));
        cx.stats.misses.add(1);
        return load(cx, &key);
    };
    let taken_until = state.taken_until(now_ms);
    let ends_soon = state.expire_ms.is_some_and(|at| at.saturating_sub(now_ms) < refresh_ms);
    let is_good = !state.marks.is_vacant() && !state.marks.is_stale();
    if is_good && (!ends_soon || taken_until.is_some()) {
        return cx.read_and(&key, |entry, mut reply| {
            reply.array(2);
            reply.bulk(b"hit");
            reply.bulk(entry.and_then(Entry::as_string).unwrap_or_default());
            Ok(())
        });
    }
    if let Some(until) = taken_until {
        return wait(cx, &key, until.saturating_sub(now_ms));
    }
    let vacant = state.marks.is_vacant();
    cx.mark_entry(&key, true, |entry| {
        let marks = entry.marks().with_cas(None).with_sent(true).with_lease_ms(Some(until));
        entry.set_marks(marks);
        if vacant {
            entry.set_expire_ms(Some(until));
        }
    });
    load(cx, &key)
}

/// The old value, or null where there never was one.
fn old_value(entry: Option<Entry<'_>>) -> Option<&[u8]> {
    entry.filter(|entry| !entry.marks().is_vacant()).and_then(Entry::as_string)
}

fn load(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> CommandResult {
    cx.stats.leases_granted.add(1);
    cx.peek_and(key, |entry, mut reply| {
        reply.array(3);
        reply.bulk(b"load");
        reply.integer(entry.map_or(0, |entry| i64::from(entry.version())));
        match old_value(entry) {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    });
    Ok(())
}

fn wait(cx: &mut Cx<'_, '_>, key: &Key<'_>, left_ms: u64) -> CommandResult {
    cx.stats.leases_waited.add(1);
    let pause_ms = (left_ms / RETRIES_PER_LEASE).clamp(*RETRY_MS.start(), *RETRY_MS.end());
    // Those who wait together shall not come again together.
    let pause_ms = pause_ms + cx.random() % (pause_ms / 2 + 1);
    cx.peek_and(key, |entry, mut reply| {
        reply.array(3);
        reply.bulk(b"wait");
        reply.integer(i64::try_from(pause_ms).unwrap_or(i64::MAX));
        match old_value(entry) {
            Some(value) => reply.bulk(value),
            None => reply.null(),
        }
    });
    Ok(())
}

/// Whether the lease of this token holds still: nobody changed the key, and nobody else got a lease.
fn holds(cx: &mut Cx<'_, '_>, key: &Key<'_>, token: &[u8]) -> Result<Option<State>, CommandError> {
    let token = integer(token)?;
    let holds = |state: &State| state.marks.is_sent() && u64::try_from(token) == Ok(state.cas);
    Ok(state(cx, key)?.filter(holds))
}

/// An option that names an expiry, alone from argument `at` on.
fn expiry(args: &Args<'_>, at: usize, now_ms: u64, command: &str) -> Result<Option<u64>, CommandError> {
    match (args.get(at), args.get(at + 1)) {
        (None, _) => Ok(None),
        (Some(option), Some(time)) if args.len() == at + 2 => {
            let unit = TimeUnit::of_option(option).ok_or(CommandError::Syntax)?;
            positive_expiry(time, unit, now_ms, command).map(Some)
        }
        _ => Err(CommandError::Syntax),
    }
}

/// `SETLEASE key token value [EX … | PX … | EXAT … | PXAT …]`: 1, or 0 when the lease was lost and nothing was set.
fn setlease(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let expire_ms = expiry(args, 4, cx.now_ms, "setlease")?;
    let key = cx.key(&args[1]);
    let holds = holds(cx, &key, &args[2])?.is_some();
    if holds {
        cx.put_string_until(&key, &args[3], expire_ms);
        cx.notify(Class::STRING, "set", &args[1]);
    }
    cx.reply().integer(i64::from(holds));
    Ok(())
}

/// `DELLEASE key token`: 1, or 0 when the lease was lost already.
fn dellease(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let state = holds(cx, &key, &args[2])?;
    match state {
        Some(state) if state.marks.is_vacant() => {
            cx.delete(&key);
            cx.notify(Class::GENERIC, "del", &args[1]);
        }
        Some(_) => {
            cx.mark_entry(&key, true, |entry| {
                entry.set_marks(entry.marks().with_sent(false).with_lease_ms(None));
            });
        }
        None => {}
    }
    cx.reply().integer(i64::from(state.is_some()));
    Ok(())
}

/// `INVALIDATE key [EX … | PX … | EXAT … | PXAT …]`: 1, or 0 when there is no key. The time says until when the stale
/// value may be used. Whoever is loading the key now loses the lease.
fn invalidate(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let expire_ms = expiry(args, 2, cx.now_ms, "invalidate")?;
    let key = cx.key(&args[1]);
    let exists = state(cx, &key)?.is_some();
    if exists {
        cx.mark_entry(&key, true, |entry| {
            let marks = entry.marks().with_stale(true).with_sent(false).with_lease_ms(None);
            entry.set_marks(marks.with_cas(None));
            if expire_ms.is_some() {
                entry.set_expire_ms(expire_ms);
            }
        });
        if expire_ms.is_some() {
            cx.notify(Class::GENERIC, "expire", &args[1]);
        }
    }
    cx.reply().integer(i64::from(exists));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::exec::testing::Harness;

    /// The numbers in a reply.
    fn numbers(reply: &str) -> Vec<u64> {
        reply.split("\r\n").filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect()
    }

    #[track_caller]
    fn token(reply: &str) -> u64 {
        assert!(reply.starts_with("*3\r\n$4\r\nload\r\n"), "{reply:?}");
        numbers(reply)[0]
    }

    #[track_caller]
    fn waits(reply: &str, old: &str) {
        assert!(reply.starts_with("*3\r\n$4\r\nwait\r\n") && reply.ends_with(old), "{reply:?}");
        assert!((10..=375).contains(&numbers(reply)[0]), "{reply:?}");
    }

    #[test]
    fn one_of_many_loads() {
        let mut t = Harness::new();
        let token = token(&t.run("GETLEASE k 2000"));
        for _ in 0..999 {
            waits(&t.run("GETLEASE k 2000"), "$-1\r\n");
        }
        assert_eq!(t.node.total(|s| s.leases_granted.get()), 1);
        assert_eq!(t.node.total(|s| s.leases_waited.get()), 999);
        assert_eq!(t.run(&format!("SETLEASE k {token} v PX 5000")), ":1\r\n");
        assert_eq!(t.run("GETLEASE k 2000"), "*2\r\n$3\r\nhit\r\n$1\r\nv\r\n");
        assert_eq!(t.run("PTTL k"), ":5000\r\n");
        // A token is good for once.
        assert_eq!(t.run(&format!("SETLEASE k {token} w")), ":0\r\n");
    }

    #[test]
    fn a_lease_ends() {
        let mut t = Harness::new();
        let first = token(&t.run("GETLEASE k 100"));
        t.advance(100);
        let second = token(&t.run("GETLEASE k 100"));
        assert_ne!(first, second);
        assert_eq!(t.run(&format!("SETLEASE k {first} old")), ":0\r\n");
        assert_eq!(t.run(&format!("SETLEASE k {second} new")), ":1\r\n");
    }

    #[test]
    fn what_changes_the_key_takes_the_lease() {
        for change in ["DEL k", "SET k x", "INVALIDATE k", "APPEND k x", "FLUSHALL"] {
            let mut t = Harness::new();
            let token = token(&t.run("GETLEASE k 1000"));
            t.run(change);
            assert_eq!(t.run(&format!("SETLEASE k {token} v")), ":0\r\n", "{change}");
        }
    }

    #[test]
    fn a_stale_value_is_used_while_one_loads() {
        let mut t = Harness::new();
        assert_eq!(t.run("INVALIDATE k"), ":0\r\n");
        t.run("SET k old");
        assert_eq!(t.run("INVALIDATE k PX 60000"), ":1\r\n");
        let first = t.run("GETLEASE k 1000");
        assert!(first.ends_with("$3\r\nold\r\n"));
        waits(&t.run("GETLEASE k 1000"), "$3\r\nold\r\n");
        // Who was to load it did not: the next one may, and the first one's value comes too late.
        t.advance(1000);
        let second = token(&t.run("GETLEASE k 1000"));
        assert_eq!(t.run(&format!("SETLEASE k {} a", token(&first))), ":0\r\n");
        assert_eq!(t.run(&format!("SETLEASE k {second} b")), ":1\r\n");
        assert_eq!(t.run("GETLEASE k 1000"), "*2\r\n$3\r\nhit\r\n$1\r\nb\r\n");
        t.run("INVALIDATE k PX 500");
        t.advance(500);
        assert!(t.run("GETLEASE k 1000").ends_with("$-1\r\n"));
    }

    #[test]
    fn a_value_is_refreshed_before_it_ends() {
        let mut t = Harness::new();
        t.run("SET k v PX 10000");
        assert!(t.run("GETLEASE k 1000 REFRESH 2000").starts_with("*2\r\n$3\r\nhit"));
        t.advance(8_500);
        let reply = t.run("GETLEASE k 1000 REFRESH 2000");
        assert!(reply.ends_with("$1\r\nv\r\n"));
        assert!(t.run("GETLEASE k 1000 REFRESH 2000").starts_with("*2\r\n$3\r\nhit"));
        assert_eq!(t.run(&format!("SETLEASE k {} w EX 10", token(&reply))), ":1\r\n");
    }

    #[test]
    fn a_lease_is_given_back() {
        let mut t = Harness::new();
        let first = token(&t.run("GETLEASE k 1000"));
        assert_eq!(t.run(&format!("DELLEASE k {first}")), ":1\r\n");
        assert_eq!(t.run(&format!("DELLEASE k {first}")), ":0\r\n");
        t.run("SET k v");
        t.run("INVALIDATE k");
        let second = token(&t.run("GETLEASE k 1000"));
        assert_eq!(t.run(&format!("DELLEASE k {second}")), ":1\r\n");
        assert!(t.run("GETLEASE k 1000").ends_with("$1\r\nv\r\n"));
    }

    #[test]
    fn the_same_lease_for_both_protocols() {
        let mut t = Harness::new();
        let token = token(&t.run("GETLEASE k 5000"));
        assert_eq!(t.memcached("mg k N30 v t\r\n"), "VA 0 t5 Z\r\n\r\n");
        assert_eq!(t.run(&format!("SETLEASE k {token} v")), ":1\r\n");
        assert_eq!(t.memcached("md k I\r\nmg k v\r\n"), "HD\r\nVA 1 X W\r\nv\r\n");
        waits(&t.run("GETLEASE k 5000"), "$1\r\nv\r\n");
        assert_eq!(t.memcached("mg new N30\r\n"), "HD W\r\n");
        waits(&t.run("GETLEASE new 5000"), "$-1\r\n");
        t.advance(30_000);
        assert!(t.run("GETLEASE new 5000").starts_with("*3\r\n$4\r\nload"));
    }

    #[test]
    fn a_full_store_refuses_only_new_leases() {
        let mut t = Harness::new();
        t.run("SET k v");
        t.run("CONFIG SET maxmemory 1");
        let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        assert_eq!(t.run("GETLEASE k 1000"), "*2\r\n$3\r\nhit\r\n$1\r\nv\r\n");
        assert_eq!(t.run("GETLEASE new 1000"), oom);
        let script = "return redis.call('GETLEASE', KEYS[1], '1000')";
        assert!(t.run(&format!("EVAL \"{script}\" 1 k")).starts_with("*2\r\n$3\r\nhit"));
        assert!(t.run(&format!("EVAL \"{script}\" 1 new")).starts_with("-OOM"));
        t.run("MULTI");
        t.run("GETLEASE k 1000");
        t.run("GETLEASE new 1000");
        assert_eq!(t.run("EXEC"), format!("*2\r\n*2\r\n$3\r\nhit\r\n$1\r\nv\r\n{oom}"));
        t.run("INVALIDATE k");
        token(&t.run("GETLEASE k 1000"));
        t.run("CONFIG SET maxmemory 0");
        token(&t.run("GETLEASE new 1000"));
    }

    #[test]
    fn changes_raise_events() {
        let mut t = Harness::new();
        t.resp3();
        t.run("CONFIG SET notify-keyspace-events Eg");
        t.run("PSUBSCRIBE __keyevent*");
        let events = |t: &Harness| {
            let mut out = Vec::new();
            if let Some(subscriptions) = &t.session.subscriptions {
                subscriptions.mailbox().take(&mut out);
            }
            let text = String::from_utf8_lossy(&out).into_owned();
            text.lines().filter_map(|line| line.strip_prefix("__keyevent@0__:")).collect::<Vec<_>>().join(" ")
        };
        let first = token(&t.run("GETLEASE k 1000"));
        assert_eq!(events(&t), "");
        t.run(&format!("DELLEASE k {first}"));
        assert_eq!(events(&t), "del");
        t.run("SET k v");
        t.run("INVALIDATE k");
        assert_eq!(events(&t), "");
        t.run("INVALIDATE k EX 5");
        assert_eq!(events(&t), "expire");
    }

    #[test]
    fn what_is_refused() {
        let mut t = Harness::new();
        t.run("HSET h f v");
        let bad = "-ERR a lease lasts from 1 to 600000 milliseconds\r\n";
        t.expect(&[
            ("GETLEASE k 0", bad),
            ("GETLEASE k 600001", bad),
            ("GETLEASE k x", "-ERR value is not an integer or out of range\r\n"),
            ("GETLEASE k 10 REFRESH", "-ERR syntax error\r\n"),
            ("GETLEASE k 10 REFRESH 0", "-ERR REFRESH wants a positive number of milliseconds\r\n"),
            ("GETLEASE h 10", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
            ("SETLEASE k 1 v EX 0", "-ERR invalid expire time in 'setlease' command\r\n"),
            ("SETLEASE k 1 v EX", "-ERR syntax error\r\n"),
            ("SETLEASE k x v", "-ERR value is not an integer or out of range\r\n"),
            ("SETLEASE k 1 v", ":0\r\n"),
            ("DELLEASE k 1", ":0\r\n"),
            ("INVALIDATE h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
        ]);
    }
}
