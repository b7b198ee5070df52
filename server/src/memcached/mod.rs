//! The memcached protocol on the same keys.
//!
//! [`Connection`] serves a connection of the memcached listener; `MC` requests of proxies come through
//! [`crate::exec::families`]. Both run the same executor on the same stripes, under the same checks.

mod connection;

use torc_protocol::resp::Args;

pub use connection::{Connection, Step};

use crate::exec::Slots;

/// Appends the reply that stands for a RESP error text ("CODE what happened"): used too when the lease ended
/// between execution and flush, in place of the reply that was written.
pub fn write_error(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SERVER_ERROR ");
    out.extend(text.bytes().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    out.extend_from_slice(b"\r\n");
}

/// The slots of the keys in an `MC <line> [data]` request.
pub fn line_slots(_args: &Args<'_>) -> Slots {
    Slots::new()
}
