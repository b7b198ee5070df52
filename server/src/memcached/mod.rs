//! The memcached protocol on the same keys.
//!
//! [`Connection`] serves a connection of the memcached listener; `MC` requests of proxies come through
//! [`crate::exec`]. Both run the same executor on the same stripes, under the same checks.
//!
//! An item is a string of Torc's: the client flags and the expiry are kept with the entry whichever protocol
//! wrote it, the CAS value is the entry's version. A hash is no item: reading one is a `SERVER_ERROR`.

mod admin;
mod connection;
#[cfg(test)]
mod differences;
mod dump;
mod execute;
mod flush;
#[cfg(test)]
mod hostile;
mod meta;
mod stats;
#[cfg(test)]
mod tests;
mod uri;
pub mod watch;

use torc_protocol::memcached::{Request, text, write_line};
use torc_protocol::resp::Args;
use torc_protocol::slot::key_slot;

pub use connection::{Connection, Foreseen, Step};
pub use execute::{execute, get_one};
pub use flush::{PendingFlush, flush_if_due};
pub use stats::Counters;

use crate::exec::{CommandError, Slots};

/// What `version` answers: the memcached whose behaviour is followed, and Torc's own version.
pub const VERSION: &str = concat!("1.6.18-torc-", env!("CARGO_PKG_VERSION"));

/// Appends the reply that stands for a failure.
pub fn write_error(error: &CommandError, out: &mut Vec<u8>) {
    match error {
        CommandError::WrongType => write_line(out, text::WRONG_TYPE),
        CommandError::Text(message) if *message == torc_protocol::error::OOM => {
            write_line(out, text::OUT_OF_MEMORY);
        }
        other => {
            out.extend_from_slice(b"SERVER_ERROR ");
            out.extend(other.text().iter().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }));
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The slots of a request's keys.
pub fn slots(request: &Request<'_>) -> Slots {
    request.keys().map(key_slot).collect()
}

/// The slots of the keys in an `MC <line> [data]` request; none when it is malformed.
pub fn line_slots(args: &Args<'_>) -> Slots {
    let (line, data) = (args.get(1).unwrap_or_default(), args.get(2).unwrap_or_default());
    Request::from_parts(line, data).map_or_else(|_| Slots::new(), |request| slots(&request))
}
