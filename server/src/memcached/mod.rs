//! The memcached protocol on the same keys.

use torc_protocol::resp::Args;

use crate::exec::Slots;

/// The slots of the keys in an `MC <line> [data]` request.
pub fn line_slots(_args: &Args<'_>) -> Slots {
    Slots::new()
}
