//! Names for requests between a proxy and a node, for logs: both sides know them, and nothing is sent for them.
//!
//! A connection is named by the first eight bytes of the nonce that its proxy made for the handshake; its requests are
//! counted from 1, by the proxy as their replies come (a node answers each frame once, in order), by the node as they
//! are read. So a line of the proxy's log and one of the node's that name the same [`Trace`] are about one sending of one
//! request. It is no request id: a second sending has another name.

use std::fmt;

use crate::handshake::Nonce;

/// See the module's text. Shown as sixteen hexadecimal digits, a dot and a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The connection's name; 0: it has none.
    pub connection: u64,
    /// Which request after the handshake, from 1.
    pub request: u64,
}

impl Trace {
    /// The name of a connection that was opened with this nonce.
    pub fn connection_of(nonce: &Nonce) -> u64 {
        nonce.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// Whether it names a request.
    pub fn is_some(self) -> bool {
        self.connection != 0
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.connection, self.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_the_same_on_both_sides() {
        let nonce = [0, 1, 2, 3, 4, 5, 6, 0xf7, 9, 9, 9, 9, 9, 9, 9, 9];
        let trace = Trace { connection: Trace::connection_of(&nonce), request: 42 };
        assert_eq!(trace.to_string(), "00010203040506f7.42");
        assert!(trace.is_some() && !Trace::default().is_some());
    }
}
