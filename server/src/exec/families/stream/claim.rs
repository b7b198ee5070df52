//! XCLAIM and XAUTOCLAIM: a consumer takes over what others have not acknowledged.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, parse_i64};

use super::group::{named, no_key_or_group};
use super::id;
use super::reply::{Counted, put_entry, put_id};
use crate::exec::{CommandError, CommandResult, Cx, Shows};
use crate::notify::Class;
use crate::store::value::stream::{
    Assigned, ConsumerId, Group, GroupChange, Log, Noted, Pending, StreamId, StreamValue,
};

/// What XAUTOCLAIM takes without COUNT.
const AUTOCLAIM_COUNT: i64 = 100;
/// It looks at so many entries for each one that it may take.
const AUTOCLAIM_LOOKS: i64 = 10;
/// Redis's bound of COUNT: what it makes room for must be countable.
const AUTOCLAIM_MAX_COUNT: i64 = i64::MAX / 16;

/// The taking over under way.
struct Claim<'g, 'n> {
    group: &'g mut Group,
    log: &'g Log,
    consumer: ConsumerId,
    now_ms: i64,
    min_idle_ms: i64,
    just_id: bool,
    change: GroupChange<'n>,
    taken: usize,
}

impl<'g, 'n> Claim<'g, 'n> {
    fn new(group: &'g mut Group, log: &'g Log, name: &'n [u8], now_ms: i64) -> (Claim<'g, 'n>, bool) {
        let (consumer, created) = group.find_or_create(name, now_ms);
        group.note(consumer, now_ms, None);
        let noted = Noted { name, seen_ms: now_ms, active_ms: None };
        let change = GroupChange { consumer: Some(noted), ..GroupChange::default() };
        (Claim { group, log, consumer, now_ms, min_idle_ms: 0, just_id: false, change, taken: 0 }, created)
    }

    /// The entry is no longer there: nobody has to acknowledge it.
    fn drop_lost(&mut self, id: StreamId) -> bool {
        let lost = self.group.forget(id);
        if lost {
            self.change.dropped.push(id);
        }
        lost
    }

    fn is_idle_enough(&self, pending: &Pending) -> bool {
        self.min_idle_ms == 0 || self.now_ms.wrapping_sub(pending.time_ms) >= self.min_idle_ms
    }

    fn take(&mut self, reply: &mut ReplyWriter<'_>, id: StreamId, time_ms: i64, count: u64) {
        self.group.assign(id, Pending { time_ms, count, consumer: self.consumer });
        self.change.assigned.push(Assigned { id, time_ms, count });
        match self.log.get(id) {
            Some(entry) if !self.just_id => {
                put_entry(reply, &entry);
            }
            _ => put_id(reply, id),
        }
        self.taken += 1;
    }

    fn end(mut self, created: bool) -> (Outcome<'n>, Shows) {
        if self.taken > 0 {
            self.group.note(self.consumer, self.now_ms, Some(self.now_ms));
            self.change.consumer = self.change.consumer.map(|c| Noted { active_ms: Some(self.now_ms), ..c });
        }
        let change = self.change;
        let changed =
            created || change.progress.is_some() || !change.assigned.is_empty() || !change.dropped.is_empty();
        (Outcome { change, created }, if changed { Shows::NotToWatchers } else { Shows::Note })
    }
}

struct Outcome<'a> {
    change: GroupChange<'a>,
    created: bool,
}

/// What XCLAIM is asked for behind its IDs.
#[derive(Default)]
struct Options {
    /// `None`: now.
    time_ms: Option<i64>,
    retry_count: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn read(args: &Args<'_>, mut at: usize, now_ms: i64) -> Result<Options, CommandError> {
        let mut found = Options::default();
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let argument = args.get(at + 1);
            at += 2;
            match argument {
                _ if is(b"FORCE") => {
                    found.force = true;
                    at -= 1;
                }
                _ if is(b"JUSTID") => {
                    found.just_id = true;
                    at -= 1;
                }
                Some(idle) if is(b"IDLE") => {
                    let idle_ms = parse_i64(idle).ok_or(text::XCLAIM_IDLE)?;
                    found.time_ms = Some(now_ms.wrapping_sub(idle_ms));
                }
                Some(time) if is(b"TIME") => {
                    found.time_ms = Some(parse_i64(time).ok_or(text::XCLAIM_TIME)?);
                }
                Some(count) if is(b"RETRYCOUNT") => {
                    let count = parse_i64(count).ok_or(text::XCLAIM_RETRYCOUNT)?;
                    found.retry_count = u64::try_from(count).ok();
                }
                Some(last_id) if is(b"LASTID") => found.last_id = id::strict(last_id)?,
                _ => return Err(named(&[b"ERR Unrecognized XCLAIM option '", option, b"'"])),
            }
        }
        // A time of the future, or none at all, is now.
        found.time_ms = found.time_ms.filter(|time| (0..=now_ms).contains(time));
        Ok(found)
    }
}

/// XCLAIM key group consumer min-idle-time id \[id …\] \[IDLE ms\] \[TIME ms\] \[RETRYCOUNT count\] \[FORCE\]
/// \[JUSTID\] \[LASTID id\]
pub fn xclaim(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, name, now_ms) = (cx.key(&args[1]), &args[2], cx.now_ms as i64);
    if cx.read_as::<&StreamValue>(&key)?.is_none_or(|stream| stream.groups.get(name).is_none()) {
        return Err(no_key_or_group(key.bytes, name));
    }
    let min_idle_ms = parse_i64(&args[4]).ok_or(text::XCLAIM_MIN_IDLE)?.max(0);
    let ids: Vec<_> = args.tail(5).iter().map_while(|id| id::strict(id).ok()).collect();
    let options = Options::read(args, 5 + ids.len(), now_ms)?;
    let time_ms = options.time_ms.unwrap_or(now_ms);
    let outcome = cx.revise(
        &key,
        |stream: &mut StreamValue, mut reply| {
            let StreamValue { log, groups } = stream;
            let done = groups.change(name, |group| {
                let array = Counted::array(&mut reply, ids.len());
                let (mut claim, created) = Claim::new(group, log, &args[3], now_ms);
                claim.min_idle_ms = min_idle_ms;
                claim.just_id = options.just_id;
                if options.last_id > claim.group.last_id {
                    claim.group.last_id = options.last_id;
                    claim.change.progress = Some((options.last_id, claim.group.reads));
                }
                for &id in &ids {
                    if !log.contains(id) {
                        claim.drop_lost(id);
                        continue;
                    }
                    let count = match claim.group.pending().get(id) {
                        // A new one counts as delivered once.
                        None if options.force => 1,
                        Some(pending) if claim.is_idle_enough(pending) => pending.count,
                        _ => continue,
                    };
                    let more = u64::from(!options.just_id);
                    let count = options.retry_count.unwrap_or_else(|| count.wrapping_add(more));
                    claim.take(&mut reply, id, time_ms, count);
                }
                array.end(&mut reply, claim.taken);
                claim.end(created)
            });
            done.ok_or_else(|| no_key_or_group(key.bytes, name))
        },
        |out, outcome| outcome.change.put(out, name),
    )?;
    if outcome.is_some_and(|outcome| outcome.created) {
        cx.notify(Class::STREAM, "xgroup-createconsumer", key.bytes);
    }
    Ok(())
}

/// XAUTOCLAIM key group consumer min-idle-time start \[COUNT count\] \[JUSTID\]
pub fn xautoclaim(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, name, now_ms) = (cx.key(&args[1]), &args[2], cx.now_ms as i64);
    let min_idle_ms = parse_i64(&args[4]).ok_or(text::XAUTOCLAIM_MIN_IDLE)?.max(0);
    let start = id::range_start(&args[5])?;
    let (mut count, mut just_id) = (AUTOCLAIM_COUNT, false);
    let mut at = 6;
    while let Some(option) = args.get(at) {
        at += 1;
        match args.get(at) {
            Some(number) if option.eq_ignore_ascii_case(b"COUNT") => {
                let number = parse_i64(number).filter(|n| (1..=AUTOCLAIM_MAX_COUNT).contains(n));
                count = number.ok_or(text::XAUTOCLAIM_COUNT)?;
                at += 1;
            }
            _ if option.eq_ignore_ascii_case(b"JUSTID") => just_id = true,
            _ => return Err(CommandError::Syntax),
        }
    }
    let outcome = cx.revise(
        &key,
        |stream: &mut StreamValue, mut reply| {
            let StreamValue { log, groups } = stream;
            let done = groups.change(name, |group| {
                let (mut claim, created) = Claim::new(group, log, &args[3], now_ms);
                (claim.min_idle_ms, claim.just_id) = (min_idle_ms, just_id);
                autoclaim(&mut claim, &mut reply, start, count);
                claim.end(created)
            });
            done.ok_or_else(|| no_key_or_group(key.bytes, name))
        },
        |out, outcome| outcome.change.put(out, name),
    )?;
    match outcome {
        None => return Err(no_key_or_group(key.bytes, name)),
        Some(outcome) if outcome.created => cx.notify(Class::STREAM, "xgroup-createconsumer", key.bytes),
        Some(_) => {}
    }
    Ok(())
}

/// Takes what is idle from `start` on; writes the reply: where to go on, what was taken, what was lost.
fn autoclaim(claim: &mut Claim<'_, '_>, reply: &mut ReplyWriter<'_>, start: StreamId, mut count: i64) {
    reply.array(3);
    let head = reply.len();
    let mut looks = count.saturating_mul(AUTOCLAIM_LOOKS);
    let array = Counted::array(reply, 0);
    let mut at = Some(start);
    let next = loop {
        let found = at.and_then(|at| claim.group.pending().from(at).next());
        let Some((id, &pending)) = found else { break StreamId::MIN };
        if looks == 0 || count == 0 {
            break id;
        }
        looks -= 1;
        at = id.next();
        if !claim.log.contains(id) {
            claim.drop_lost(id);
            count -= 1;
        } else if claim.is_idle_enough(&pending) {
            let more = u64::from(!claim.just_id);
            claim.take(reply, id, claim.now_ms, pending.count.wrapping_add(more));
            count -= 1;
        }
    };
    array.end(reply, claim.taken);
    // The first element is known only now.
    let end = reply.len();
    put_id(reply, next);
    let id_bytes = reply.len() - end;
    if let Some(body) = reply.buffer().get_mut(head..) {
        body.rotate_right(id_bytes);
    }
    reply.array(claim.change.dropped.len());
    for &id in &claim.change.dropped {
        put_id(reply, id);
    }
}
