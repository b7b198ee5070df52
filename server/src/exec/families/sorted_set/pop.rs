//! ZPOPMIN, ZPOPMAX and ZMPOP.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, Version, parse_i64};

use super::remove::{Removed, take_range};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::SortedSetValue;
use crate::store::{Collection, Key};

/// Takes up to `count` elements out of a sorted set, the highest first when `max`.
pub fn take(cx: &mut Cx<'_, '_>, key: &Key<'_>, count: usize, max: bool) -> Result<Removed, CommandError> {
    let event = if max { "zpopmax" } else { "zpopmin" };
    take_range(cx, key, event, max, |set: &SortedSetValue| (0, count.min(set.len())))
}

/// ZPOPMIN key \[count\], ZPOPMAX
pub fn zpop(cx: &mut Cx<'_, '_>, args: &Args<'_>, max: bool) -> CommandResult {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = match args.get(2) {
        None => None,
        Some(arg) => {
            let count = parse_i64(arg).and_then(|n| usize::try_from(n).ok());
            Some(count.ok_or(CommandError::from(text::OUT_OF_RANGE_POSITIVE))?)
        }
    };
    let key = cx.key(&args[1]);
    let removed = take(cx, &key, count.unwrap_or(1), max)?;
    let mut reply = cx.reply();
    let nested = count.is_some() && reply.version() == Version::Resp3;
    reply.array(if nested { removed.len() } else { removed.len() * 2 });
    for (member, score) in removed.iter() {
        if nested {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(score);
    }
    Ok(())
}

/// What ZMPOP and BZMPOP ask for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where elements may come from.
    pub keys: Args<'a>,
    /// The highest scores, else the lowest.
    pub max: bool,
    /// How many at most.
    pub count: usize,
}

impl<'a> Request<'a> {
    /// Reads `numkeys key … MIN | MAX [COUNT count]` from argument `at` on.
    pub fn parse(args: &Args<'a>, at: usize) -> Result<Request<'a>, CommandError> {
        let positive = |arg: &[u8]| parse_i64(arg).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let keys = args.get(at).and_then(positive).ok_or(CommandError::from(text::NUMKEYS_ABOVE_0))?;
        let place = at.saturating_add(keys).saturating_add(1);
        let max = match args.get(place) {
            Some(word) if word.eq_ignore_ascii_case(b"MIN") => false,
            Some(word) if word.eq_ignore_ascii_case(b"MAX") => true,
            _ => return Err(CommandError::Syntax),
        };
        let count = match (args.get(place + 1), args.get(place + 2), args.len() - place - 1) {
            (None, ..) => 1,
            (Some(word), Some(count), 2..) if word.eq_ignore_ascii_case(b"COUNT") => {
                let count = positive(count).ok_or(CommandError::from(text::COUNT_ABOVE_0))?;
                if args.len() > place + 3 {
                    return Err(CommandError::Syntax);
                }
                count
            }
            _ => return Err(CommandError::Syntax),
        };
        let (bytes, ranges) = (args.bytes(), args.ranges().get(at + 1..place).unwrap_or_default());
        Ok(Request { keys: Args::new(bytes, ranges), max, count })
    }

    /// Takes elements out of the first key that has any and answers with them; false when none has.
    pub fn serve(&self, cx: &mut Cx<'_, '_>) -> Result<bool, CommandError> {
        for name in self.keys {
            let key = cx.key(name);
            if cx.peek_as::<&SortedSetValue>(&key)?.is_none() {
                continue;
            }
            let removed = take(cx, &key, self.count, self.max)?;
            let mut reply = cx.reply();
            reply.array(2);
            reply.bulk(name);
            reply.array(removed.len());
            for (member, score) in removed.iter() {
                reply.array(2);
                reply.bulk(member);
                reply.double(score);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

/// ZMPOP numkeys key \[key …\] MIN | MAX \[COUNT count\]
pub fn zmpop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(args, 1)?;
    if !request.serve(cx)? {
        cx.reply().null_array();
    }
    Ok(())
}
