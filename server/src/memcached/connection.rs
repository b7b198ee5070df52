//! One memcached connection: bytes in, replies out.
//!
//! Owned by the connection's task, beside its [`Session`]. It touches no socket: who owns the socket feeds the
//! buffer and drops what was consumed.

use crate::exec::{Batch, Done, Session};

/// What one call of [`Connection::next`] did.
#[derive(Debug)]
pub enum Step {
    /// There is no whole request in the buffer: read on, at least `hint` bytes when it is known (else 0).
    More {
        /// Bytes that are known to be missing: a data block whose length was announced.
        hint: usize,
    },
    /// One request (or one piece of something that is swallowed) was taken: drop `consumed` bytes from the
    /// front of the buffer. The reply, if there is any, was appended.
    Done {
        /// Bytes of the buffer that are done with.
        consumed: usize,
        /// What to do with the reply and next, as for RESP.
        done: Done,
    },
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Connection {}

impl Connection {
    /// A fresh connection.
    pub fn new() -> Connection {
        Connection {}
    }

    /// Executes the first request of `buf` and appends its reply to `out`. Call it until it asks for more.
    pub fn next(
        &mut self,
        batch: &mut Batch<'_, '_>,
        session: &mut Session,
        buf: &[u8],
        out: &mut Vec<u8>,
    ) -> Step {
        let _ = (batch, session);
        if buf.is_empty() {
            return Step::More { hint: 0 };
        }
        out.extend_from_slice(b"SERVER_ERROR memcached is not served yet\r\n");
        Step::Done { consumed: buf.len(), done: Done { flow: crate::exec::Flow::Close, ..Done::local() } }
    }
}
