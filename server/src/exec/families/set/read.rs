//! Commands that show elements.

use torc_protocol::resp::Args;

use crate::exec::{CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::SetValue;

/// SCARD key
pub fn scard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |value: Option<&SetValue>, mut reply| {
        reply.integer(value.map_or(0, SetValue::len) as i64);
    })
}
