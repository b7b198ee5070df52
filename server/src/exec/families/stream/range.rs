//! Commands that show entries without a group: XLEN, XRANGE, XREVRANGE.

use torc_protocol::resp::Args;

use super::id;
use super::reply::{Counted, put_entry, put_range};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::stream::{StreamId, StreamValue};

/// XLEN key
pub fn xlen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&StreamValue>, mut reply| {
        reply.integer(value.map_or(0, StreamValue::len) as i64);
    })
}

/// A range of a stream as a client asks for it.
struct Range {
    from: StreamId,
    to: StreamId,
    /// `None`: all.
    count: Option<u64>,
}

impl Range {
    fn read(args: &Args<'_>, start: &[u8], end: &[u8]) -> Result<Range, CommandError> {
        let (from, to) = (id::range_start(start)?, id::range_end(end)?);
        let mut count = None;
        let mut at = 4;
        while let Some(option) = args.get(at) {
            let number = args.get(at + 1).filter(|_| option.eq_ignore_ascii_case(b"COUNT"));
            let number = integer(number.ok_or(CommandError::Syntax)?)?;
            count = Some(u64::try_from(number).unwrap_or(0));
            at += 2;
        }
        Ok(Range { from, to, count })
    }
}

/// XRANGE key start end \[COUNT count\]
pub fn xrange(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = Range::read(args, &args[2], &args[3])?;
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&StreamValue>, mut reply| match value {
        None => reply.array(0),
        Some(_) if range.count == Some(0) => reply.null_array(),
        Some(stream) => {
            put_range(&mut reply, &stream.log, range.from, range.to, range.count.unwrap_or(0));
        }
    })
}

/// XREVRANGE key end start \[COUNT count\]
pub fn xrevrange(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = Range::read(args, &args[3], &args[2])?;
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&StreamValue>, mut reply| match value {
        None => reply.array(0),
        Some(_) if range.count == Some(0) => reply.null_array(),
        Some(stream) => {
            let most = range.count.unwrap_or(u64::MAX);
            let (array, mut given) = (Counted::array(&mut reply, most.min(stream.log.len()) as usize), 0);
            if range.from <= range.to {
                stream.log.each_back(range.from, range.to, |entry| {
                    put_entry(&mut reply, &entry);
                    given += 1;
                    given < most
                });
            }
            array.end(&mut reply, given as usize);
        }
    })
}
