//! Commands that show elements.

use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::SortedSetValue;

/// ZCARD key
pub fn zcard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&SortedSetValue>, mut reply| {
        reply.integer(value.map_or(0, SortedSetValue::len) as i64);
    })
}
