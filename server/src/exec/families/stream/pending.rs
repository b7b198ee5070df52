//! XPENDING: what a group has not acknowledged.

use torc_protocol::resp::{Args, ReplyWriter};

use super::group::no_key_or_group;
use super::id;
use super::reply::{Counted, put_id};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::stream::{Consumer, Group, StreamId, StreamValue};

/// The longer form of XPENDING.
struct Range<'a> {
    min_idle_ms: i64,
    from: StreamId,
    to: StreamId,
    count: u64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Range<'a> {
    fn read(args: &Args<'a>) -> Result<Option<Range<'a>>, CommandError> {
        match args.len() {
            3 => return Ok(None),
            6..=9 => {}
            _ => return Err(CommandError::Syntax),
        }
        let mut at = 3;
        let mut min_idle_ms = 0;
        if args[3].eq_ignore_ascii_case(b"IDLE") {
            min_idle_ms = integer(&args[4])?;
            if args.len() < 8 {
                return Err(CommandError::Syntax);
            }
            at = 5;
        }
        let count = u64::try_from(integer(&args[at + 2])?).unwrap_or(0);
        let (from, to) = (id::range_start(&args[at])?, id::range_end(&args[at + 1])?);
        Ok(Some(Range { min_idle_ms, from, to, count, consumer: args.get(at + 3) }))
    }

    fn put(&self, reply: &mut ReplyWriter<'_>, group: &Group, now_ms: i64) {
        let only = self.consumer.map(|name| group.find(name));
        let own = match only {
            Some(None) => return reply.array(0),
            Some(Some(id)) => group.consumer(id).map(Consumer::pending),
            None => None,
        };
        let (array, mut given) = (Counted::array(reply, self.count.min(1) as usize), 0);
        let mut put = |id: StreamId| {
            let Some(pending) = group.pending().get(id) else { return true };
            let idle_ms = now_ms.wrapping_sub(pending.time_ms);
            if self.min_idle_ms != 0 && idle_ms < self.min_idle_ms {
                return true;
            }
            reply.array(4);
            put_id(reply, id);
            reply.bulk(group.consumer(pending.consumer).map_or(b"", Consumer::name));
            reply.integer(idle_ms.max(0));
            reply.integer(pending.count as i64);
            given += 1;
            given < self.count
        };
        if self.count > 0 {
            match own {
                Some(own) => {
                    own.from(self.from).map(|(id, ())| id).take_while(|id| *id <= self.to).all(&mut put)
                }
                None => group
                    .pending()
                    .from(self.from)
                    .map(|(id, _)| id)
                    .take_while(|id| *id <= self.to)
                    .all(&mut put),
            };
        }
        array.end(reply, given as usize);
    }
}

/// How much there is, from where to where, and whose.
fn put_summary(reply: &mut ReplyWriter<'_>, group: &Group) {
    let pending = group.pending();
    reply.array(4);
    reply.integer(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first(), pending.last()) else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    put_id(reply, first);
    put_id(reply, last);
    let busy = || group.consumers().filter(|consumer| !consumer.pending().is_empty());
    reply.array(busy().count());
    for consumer in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_integer(consumer.pending().len() as i64);
    }
}

/// XPENDING key group \[\[IDLE min-idle-time\] start end count \[consumer\]\]
pub fn xpending(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = Range::read(args)?;
    let (key, name, now_ms) = (cx.key(&args[1]), &args[2], cx.now_ms as i64);
    cx.read_as_and(&key, |stream: Option<&StreamValue>, mut reply| {
        let group = stream.and_then(|stream| stream.groups.get(name));
        let group = group.ok_or_else(|| no_key_or_group(key.bytes, name))?;
        match range {
            None => put_summary(&mut reply, group),
            Some(range) => range.put(&mut reply, group, now_ms),
        }
        Ok(())
    })?
}
