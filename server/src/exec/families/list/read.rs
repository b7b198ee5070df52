//! Commands that show elements: LLEN, LINDEX, LRANGE.

use torc_protocol::resp::Args;

use super::{bulk, index_within, range_within};
use crate::exec::parse::integer;
use crate::exec::{CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::ListValue;

/// LLEN key
pub fn llen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&ListValue>, mut reply| {
        reply.integer(value.map_or(0, ListValue::len) as i64);
    })
}

/// LINDEX key index
pub fn lindex(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&ListValue>, mut reply| {
        // As Redis: where there is nothing the index may be anything.
        let Some(list) = value else {
            reply.null();
            return Ok(());
        };
        let index = integer(&args[2])?;
        match index_within(index, list.len()).and_then(|index| list.get(index)) {
            Some(element) => bulk(&mut reply, element),
            None => reply.null(),
        }
        Ok(())
    })?
}

/// LRANGE key start stop
pub fn lrange(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, stop) = (integer(&args[2])?, integer(&args[3])?);
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&ListValue>, mut reply| {
        let range = value.and_then(|list| Some((list, range_within(start, stop, list.len())?)));
        let Some((list, (first, last))) = range else { return reply.array(0) };
        let elements = list.range(first, last - first + 1);
        reply.array(elements.len());
        elements.for_each(|element| bulk(&mut reply, element));
    })
}
