//! The text protocol of memcached: the classic commands and the meta commands.
//!
//! Source: `doc/protocol.txt` of memcached 1.6; where it leaves room, what memcached 1.6 does: which errors it
//! gives, what it lets pass, and how many bytes it takes before it reads the next command line.
//!
//! [`RequestParser`] finds requests in a connection's buffer. A [`Request`] borrows from it. The same request
//! travels between proxy and server as its line and its data: [`Request::from_parts`].

mod base64;
mod exptime;
mod line;
mod meta;
mod number;
mod parser;
mod reply;
mod request;

pub use base64::{decode as decode_base64, encode as encode_base64};
pub use exptime::{Expiry, MAX_RELATIVE_S, exptime, exptime_ms};
pub use meta::Meta;
pub use number::parse_u64;
pub use parser::{Frame, Item, ParseError, RequestParser};
pub use reply::{text, write_line, write_value};
pub use request::{Rejection, Request, RequestError, Unlink, Verb};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 250;
/// The longest part of a command line that is waited for without its end, in bytes; `get` and `gets` excepted.
pub const MAX_LINE_BYTES: usize = 2048;
/// The same for `get` and `gets`, whose keys may be many.
pub const MAX_MULTIGET_BYTES: usize = 1024 * 1024;
/// The largest value that is taken unless the configuration says otherwise, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// The longest `user password` that is taken from a client that has not said them yet, in bytes: memcached's bound.
pub const MAX_LOGIN_BYTES: usize = 2048;

/// The bounds that a [`RequestParser`] keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_line_bytes: usize,
    pub max_multiget_bytes: usize,
    /// A larger value is refused, and its bytes are passed over without being kept.
    pub max_value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_line_bytes: MAX_LINE_BYTES,
            max_multiget_bytes: MAX_MULTIGET_BYTES,
            max_value_bytes: MAX_VALUE_BYTES,
        }
    }
}
