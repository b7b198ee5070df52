//! Handlers of the lock family.

use std::sync::atomic::Ordering;

use torc_cluster::lock::{Acquire, Acquired, FenceEffect, FenceVerdict, LockError, Mode, Outcome, Token};
use torc_protocol::command::{Command, LockCommand, resolve};
use torc_protocol::resp::{Args, parse_i64};
use torc_protocol::slot::key_slot;

use crate::exec::{CommandError, CommandResult, Cx, Depth, Flow, Park, families, parse};
use crate::lock::{MAX_FENCE_BYTES, fence_limits, ms, write_granted};

/// Runs one command of the family.
pub fn run(cx: &mut Cx<'_, '_>, command: LockCommand, args: &Args<'_>) -> CommandResult {
    match command {
        LockCommand::Fence => fence(cx, args),
        LockCommand::LockAcquire => acquire(cx, args),
        LockCommand::LockExtend => extend(cx, args),
        LockCommand::LockInfo => info(cx, args),
        LockCommand::LockRelease => release(cx, args),
    }
}

impl From<LockError> for CommandError {
    fn from(error: LockError) -> Self {
        let code = match error {
            LockError::Closed { .. } => "LOCKSCLOSED",
            _ => "ERR",
        };
        format!("{code} {error}").into()
    }
}

fn duration(arg: Option<&[u8]>) -> Result<u64, CommandError> {
    let ms = parse::integer(arg.ok_or(CommandError::Syntax)?)?;
    u64::try_from(ms).map_err(|_| CommandError::NotInteger)
}

fn token(arg: &[u8]) -> Result<Token, CommandError> {
    let token = parse_i64(arg).and_then(|n| u64::try_from(n).ok()).map(Token);
    token.filter(|t| *t <= Token::MAX).ok_or_else(|| "ERR the fencing token is not one".into())
}

/// `LOCK.ACQUIRE name TTL ms [WAIT ms] [SHARED] [REQID id] [OWNER text]` → token and remaining milliseconds, or null
/// when somebody else has it (and the wait is over).
fn acquire(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let name = &args[1];
    let mut request = Acquire {
        name,
        mode: Mode::Exclusive,
        ttl_ms: 0,
        wait_ms: 0,
        owner: b"",
        request_id: b"",
        waiter: cx.node.locks.next_waiter(),
    };
    let mut at = 2;
    let mut has_ttl = false;
    while let Some(option) = args.get(at) {
        match option.to_ascii_uppercase().as_slice() {
            b"TTL" => {
                request.ttl_ms = duration(args.get(at + 1))?;
                has_ttl = true;
                at += 2;
            }
            b"WAIT" => {
                request.wait_ms = duration(args.get(at + 1))?;
                at += 2;
            }
            b"REQID" => {
                request.request_id = args.get(at + 1).ok_or(CommandError::Syntax)?;
                at += 2;
            }
            b"OWNER" => {
                request.owner = args.get(at + 1).ok_or(CommandError::Syntax)?;
                at += 2;
            }
            b"SHARED" => {
                request.mode = Mode::Shared;
                at += 1;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if !has_ttl {
        return Err(CommandError::Syntax);
    }
    if cx.depth != Depth::Command {
        // Nothing waits inside a transaction or script.
        request.wait_ms = 0;
    }
    let now_ms = ms(cx.now.boottime_ns);
    let mut out = Outcome::default();
    let acquired = {
        let mut desk = cx.node.locks.lock();
        let acquired = desk.table.acquire(&request, now_ms, &mut out);
        if matches!(acquired, Ok(Acquired::Queued { .. })) {
            desk.park(request.waiter, request.owner);
        }
        acquired
    };
    carry_out(cx, name, out);
    match acquired? {
        Acquired::Granted(granted) => write_granted(&mut cx.reply(), granted),
        Acquired::Busy { .. } => cx.reply().null_array(),
        Acquired::Queued { deadline_ms } => {
            cx.flow = Flow::Park(Park::Lock {
                name: (*name).into(),
                ticket: request.waiter.0,
                timeout_ms: deadline_ms.saturating_sub(now_ms),
            });
        }
    }
    Ok(())
}

/// Records what a step did, and remembers whom to wake.
fn carry_out(cx: &mut Cx<'_, '_>, name: &[u8], mut out: Outcome) {
    cx.node.locks.record(key_slot(name), &out.effects, cx.effects);
    cx.dirty += out.effects.len() as u64;
    cx.wake.granted.append(&mut out.granted);
    cx.wake.timed_out.append(&mut out.timed_out);
}

/// `LOCK.EXTEND name token [TTL] ms [OWNER text]` → remaining milliseconds, or null when the token holds it no more.
fn extend(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (name, token) = (&args[1], token(&args[2])?);
    let mut at = 3;
    if args.get(at).is_some_and(|a| a.eq_ignore_ascii_case(b"TTL")) {
        at += 1;
    }
    let ttl_ms = duration(args.get(at))?;
    let owner = owner(args, at + 1)?;
    let mut out = Outcome::default();
    let now_ms = ms(cx.now.boottime_ns);
    let extended = cx.node.locks.lock().table.extend(name, token, owner, ttl_ms, now_ms, &mut out);
    carry_out(cx, name, out);
    match extended {
        Ok(granted) => cx.reply().integer(granted.remaining_ms as i64),
        Err(LockError::NotHolder) => cx.reply().null(),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The owner's text at the end of EXTEND and RELEASE: needed to tell the holders of a shared run apart.
fn owner<'a>(args: &Args<'a>, at: usize) -> Result<&'a [u8], CommandError> {
    match args.get(at) {
        None => Ok(b""),
        Some(word) if word.eq_ignore_ascii_case(b"OWNER") && args.len() == at + 2 => {
            args.get(at + 1).ok_or(CommandError::Syntax)
        }
        Some(_) => Err(CommandError::Syntax),
    }
}

/// `LOCK.RELEASE name token [OWNER text]` → 1, or 0 when the token holds it no more.
fn release(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (name, token) = (&args[1], token(&args[2])?);
    let owner = owner(args, 3)?;
    let mut out = Outcome::default();
    let now_ms = ms(cx.now.boottime_ns);
    let released = cx.node.locks.lock().table.release(name, token, owner, now_ms, &mut out);
    carry_out(cx, name, out);
    match released {
        Ok(()) => {
            cx.node.locks.given_back.fetch_add(1, Ordering::Relaxed);
            cx.reply().integer(1);
        }
        Err(LockError::NotHolder) => cx.reply().integer(0),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// `LOCK.INFO name` → a map: token, mode, waiters, holders (owner and remaining milliseconds each); null when free.
fn info(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let info = cx.node.locks.lock().table.info(&args[1], ms(cx.now.boottime_ns));
    let mut reply = cx.reply();
    let Some(info) = info else {
        reply.null();
        return Ok(());
    };
    reply.map(4);
    reply.bulk(b"token");
    reply.integer(info.token.0 as i64);
    reply.bulk(b"mode");
    reply.bulk(match info.mode {
        Mode::Exclusive => b"exclusive",
        Mode::Shared => b"shared",
    });
    reply.bulk(b"waiters");
    reply.integer(info.waiters as i64);
    reply.bulk(b"holders");
    reply.array(info.holders.len());
    for holder in &info.holders {
        reply.map(2);
        reply.bulk(b"owner");
        reply.bulk(&holder.owner);
        reply.bulk(b"remaining");
        reply.integer(holder.remaining_ms as i64);
    }
    Ok(())
}

/// `FENCE name token command …`: the command is executed unless one of its keys has seen a higher token; where lock
/// and key share a slot the lock must be held under this token now.
fn fence(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (name, token) = (&args[1], token(&args[2])?);
    let inner = args.tail(3);
    let command = resolve(&inner).map_err(|error| CommandError::resolve(error, inner))?;
    if matches!(command, Command::Lock(_) | Command::Scripting(_)) {
        return Err("ERR FENCE takes a command on data: no lock command and no script".into());
    }
    let keys = command.spec().find_keys(&inner).map_err(|error| CommandError::from(error.to_string()))?;
    let keys = keys.iter().filter_map(|&index| inner.get(index));
    check_fences(cx, Some(name), token, keys)?;
    families::dispatch(cx, command, &inner)
}

/// Refuses a token below what one of the keys has seen (or one that does not hold the lock, where the lock is known
/// and shares the key's slot), and raises the registers of the others.
pub fn check_fences<'k>(
    cx: &mut Cx<'_, '_>,
    name: Option<&[u8]>,
    token: Token,
    keys: impl Iterator<Item = &'k [u8]>,
) -> CommandResult {
    let now_ms = ms(cx.now.boottime_ns);
    cx.node.locks.check_open(now_ms)?;
    let limits = fence_limits();
    for key in keys {
        let slot = key_slot(key);
        if name.is_some_and(|name| {
            key_slot(name) == slot && !cx.node.locks.lock().table.is_held(name, token, now_ms)
        }) {
            cx.node.locks.fenced_off.fetch_add(1, Ordering::Relaxed);
            return Err(format!("FENCED token {token} does not hold the lock now").into());
        }
        let mut raised = Vec::new();
        let table = cx.access.stripe(slot).fences_mut(slot);
        let (before, growth) = (table.bytes(), table.growth(key));
        if growth > 0
            && token >= table.register(key)
            && cx.node.locks.fence_bytes() + growth > MAX_FENCE_BYTES
        {
            return Err(
                format!("ERR fencing registers take more than {MAX_FENCE_BYTES} bytes already").into()
            );
        }
        let verdict = table.check(key, token, &limits, now_ms, &mut raised);
        cx.node.locks.fences_changed(before, table.bytes());
        for effect in raised {
            match effect {
                FenceEffect::Raise { key, token } => cx.effects.fence(slot, &key, token.0),
                FenceEffect::Floor { token } => cx.effects.fence_floor(slot, token.0),
            }
        }
        if let FenceVerdict::Refused { register } = verdict {
            cx.node.locks.fenced_off.fetch_add(1, Ordering::Relaxed);
            return Err(format!("FENCED token {token} is below {register}, which this key has seen").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use crate::exec::testing::Harness;
    use crate::exec::{Flow, Park};
    use crate::lock::granted;

    fn token(reply: &str) -> u64 {
        reply.lines().nth(1).and_then(|l| l.strip_prefix(':')).and_then(|n| n.parse().ok()).unwrap()
    }

    #[test]
    fn a_lock_has_one_holder_and_rising_tokens() {
        let mut t = Harness::new();
        let first = token(&t.run("LOCK.ACQUIRE job TTL 1000"));
        assert_eq!(t.run("LOCK.ACQUIRE job TTL 1000"), "*-1\r\n");
        assert_eq!(t.run(&format!("LOCK.EXTEND job {first} TTL 2000")), ":2000\r\n");
        assert_eq!(t.run(&format!("LOCK.RELEASE job {first}")), ":1\r\n");
        assert_eq!(t.run(&format!("LOCK.RELEASE job {first}")), ":0\r\n");
        let second = token(&t.run("LOCK.ACQUIRE job TTL 1000"));
        assert!(second > first);
        assert_eq!(t.run(&format!("LOCK.EXTEND job {first} 2000")), "$-1\r\n");
        t.advance(1001);
        assert_eq!(t.run("LOCK.INFO job"), "$-1\r\n");
        assert!(token(&t.run("LOCK.ACQUIRE job TTL 1000")) > second);
    }

    #[test]
    fn the_same_request_id_gets_the_same_answer() {
        let mut t = Harness::new();
        let first = token(&t.run("LOCK.ACQUIRE job TTL 1000 REQID a OWNER me"));
        assert_eq!(token(&t.run("LOCK.ACQUIRE job TTL 1000 REQID a OWNER me")), first);
        assert_eq!(t.run("LOCK.ACQUIRE job TTL 1000 REQID b OWNER me"), "*-1\r\n");
    }

    #[test]
    fn a_fence_refuses_what_is_below() {
        let mut t = Harness::new();
        assert_eq!(t.run("FENCE job 10 SET data one"), "+OK\r\n");
        assert!(t.run("FENCE job 9 SET data two").starts_with("-FENCED token 9 is below 10"));
        assert!(t.run("FENCE job 9 GET data").starts_with("-FENCED"));
        assert_eq!(t.run("FENCE job 11 GET data"), "$3\r\none\r\n");
        assert!(t.run("FENCE job 10 GET data").starts_with("-FENCED"));
        assert!(t.run("FENCE job x GET data").starts_with("-ERR the fencing token"));
        assert!(t.run("FENCE job 12 PING").starts_with("-ERR FENCE must"));
    }

    #[test]
    fn after_a_loss_of_memory_locks_and_fences_stay_closed() {
        let mut t = Harness::new();
        let until_ns = t.now.boottime_ns + 2_000_000_000;
        t.node.locks.begin_term(torc_cluster::Term(9), until_ns, 60_000);
        assert!(t.run("LOCK.ACQUIRE job TTL 1000").starts_with("-LOCKSCLOSED"));
        assert!(t.run("FENCE job 10 SET data one").starts_with("-LOCKSCLOSED"));
        assert_eq!(t.run("GET data"), "$-1\r\n");
        t.advance(2001);
        assert_eq!(t.run("FENCE job 10 SET data one"), "+OK\r\n");
    }

    #[test]
    fn where_lock_and_key_share_a_tag_the_lock_itself_is_asked() {
        let mut t = Harness::new();
        assert!(t.run("FENCE {a}lock 99 SET {a}data x").starts_with("-FENCED token 99 does not hold"));
        let held = token(&t.run("LOCK.ACQUIRE {a}lock TTL 1000"));
        assert_eq!(t.run(&format!("FENCE {{a}}lock {held} SET {{a}}data x")), "+OK\r\n");
        t.advance(1001);
        assert!(t.run(&format!("FENCE {{a}}lock {held} SET {{a}}data y")).starts_with("-FENCED"));
    }

    #[test]
    fn a_fenced_command_needs_room_as_any_other() {
        let mut t = Harness::with_settings(crate::settings::Settings { maxmemory: 1, ..Default::default() });
        t.node.store.report_growth(1000);
        assert!(t.run("FENCE job 1 SET data one").starts_with("-OOM"));
        assert_eq!(t.run("FENCE job 1 GET data"), "$-1\r\n");
    }

    #[tokio::test]
    async fn a_grant_to_who_is_gone_goes_to_the_next() {
        let mut t = Harness::new();
        // Who goes is taken out of the queue by the system's clock.
        t.now.boottime_ns = torc_runtime::clock::boottime_ns();
        let first = token(&t.run("LOCK.ACQUIRE job TTL 60000"));
        let mut wait = |owner: &str| {
            let (_, done) =
                t.execute(["LOCK.ACQUIRE", "job", "TTL", "60000", "WAIT", "60000", "OWNER", owner]);
            let Flow::Park(Park::Lock { ticket, .. }) = done.flow else { panic!("it has to wait") };
            ticket
        };
        let (gone, late, next) = (wait("a"), wait("b"), wait("c"));
        let node = t.node.clone();
        let version = t.session.version;
        // One goes while it waits, one when it was told and has not looked yet.
        let polled = |ticket| {
            let mut place = Box::pin(granted(&node, b"job", ticket, version));
            let waker = std::task::Waker::noop();
            assert!(place.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
            place
        };
        drop(polled(gone));
        let (late, next) = (polled(late), polled(next));
        assert_eq!(t.run(&format!("LOCK.RELEASE job {first}")), ":1\r\n");
        drop(late);
        let reply = String::from_utf8_lossy(&next.await).into_owned();
        assert_eq!(token(&reply), first + 2);
        assert_eq!(t.node.locks.counts(), (1, 0));
        assert_eq!(t.node.locks.expired(), 0);
    }

    #[test]
    fn a_repeated_request_waits_for_the_first_ones_record() {
        let mut t = Harness::primary();
        t.node.shard.set_in_sync_enough(true);
        let ask = ["LOCK.ACQUIRE", "job", "TTL", "1000", "REQID", "r"];
        let (first, second) = (t.execute(ask).1.barrier, t.execute(ask).1.barrier);
        assert!(first > 0);
        assert_eq!(second, first);
    }

    #[test]
    fn bad_requests_say_what_is_wrong() {
        let mut t = Harness::new();
        assert_eq!(t.run("LOCK.ACQUIRE job WAIT 5"), "-ERR syntax error\r\n");
        assert_eq!(t.run("LOCK.ACQUIRE job TTL 0"), "-ERR the TTL must be between 1 and 60000 ms\r\n");
        assert_eq!(t.run("LOCK.ACQUIRE job TTL 60001"), "-ERR the TTL must be between 1 and 60000 ms\r\n");
        assert_eq!(t.run("LOCK.ACQUIRE job TTL x"), "-ERR value is not an integer or out of range\r\n");
        assert!(t.run("LOCK.RELEASE job nine").starts_with("-ERR the fencing token"));
    }
}
