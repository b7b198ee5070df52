//! Commands that show elements.

use torc_protocol::resp::Args;

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
