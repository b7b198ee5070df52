//! What a connection speaks: finds the next request in its buffer and has it executed.

use torc_protocol::resp::Limits;

use super::Protocol;
use super::ahead::Ahead;
use super::hold::Holds;
use super::lines::Lines;
use super::output::ErrorForm;
use super::pipeline::Pipeline;
use crate::exec::session::ReplyMode;
use crate::exec::{Batch, Done, Flow, Park, ReplyKind, Session};
use crate::settings::Settings;
use crate::store::Store;

/// A connection's parser.
#[derive(Debug)]
pub enum Dialect {
    /// RESP2 and RESP3.
    Resp(Pipeline),
    /// The memcached text protocol.
    Memcached(Lines),
}

/// What became of the bytes at the front of the buffer.
pub enum Step {
    /// No whole request: at least `hint` more bytes are known to be missing.
    More { hint: usize },
    /// A request is held back by CLIENT PAUSE; nothing was consumed.
    Held,
    /// A request of so many bytes waits until there is room for its record; nothing was consumed.
    NoRoom { bytes: usize },
    /// `consumed` bytes are done with, without a reply.
    Nothing { consumed: usize },
    /// A request was executed.
    Done { consumed: usize, done: Done },
    /// The bytes are no request: the error was written, the connection ends.
    Broken,
}

impl Dialect {
    /// The parser for a fresh connection.
    pub fn new(protocol: Protocol) -> Dialect {
        match protocol {
            Protocol::Resp => Dialect::Resp(Pipeline::new(Limits::default())),
            Protocol::Memcached => Dialect::Memcached(Lines::default()),
        }
    }

    /// What is spoken.
    pub fn protocol(&self) -> Protocol {
        match self {
            Dialect::Resp(_) => Protocol::Resp,
            Dialect::Memcached(_) => Protocol::Memcached,
        }
    }

    /// How errors of the connection layer are written.
    pub fn error_form(&self) -> ErrorForm {
        match self {
            Dialect::Resp(_) => ErrorForm::Resp,
            Dialect::Memcached(_) => ErrorForm::Memcached,
        }
    }

    /// Whether the request at the front of `buf` is part of the handshake between parts of Torc, as far as its
    /// bytes have come.
    pub fn is_handshake(&self, buf: &[u8]) -> bool {
        /// How every request of the handshake goes on after its `*<arguments>`.
        const START: &[u8] = b"\r\n$";
        const NAME: &[u8] = b"\r\nTORC.";
        let Self::Resp(_) = self else { return false };
        let Some(rest) = buf.strip_prefix(b"*") else { return buf.is_empty() };
        let rest = after_digits(rest);
        let agrees = |rest: &[u8], wanted: &[u8]| {
            let length = rest.len().min(wanted.len());
            rest[..length].eq_ignore_ascii_case(&wanted[..length])
        };
        if !agrees(rest, START) {
            return false;
        }
        let rest = after_digits(rest.get(START.len()..).unwrap_or_default());
        agrees(rest, NAME)
    }

    /// Takes over what the settings say about requests.
    pub fn configure(&mut self, settings: &Settings, session: &Session) {
        match self {
            Dialect::Resp(pipeline) => {
                let max_bulk_bytes = usize::try_from(settings.proto_max_bulk_bytes).unwrap_or(usize::MAX);
                let limits =
                    Limits { max_bulk_bytes, unauthenticated: !session.authenticated, ..Limits::default() };
                pipeline.set_limits(limits);
            }
            Dialect::Memcached(lines) => lines.configure(settings),
        }
    }

    /// Parses what is whole in `buf`, up to a bound, and says which keys it will look up.
    #[inline]
    pub fn look_ahead(&mut self, store: &Store, ahead: &mut Ahead, session: &Session, buf: &[u8]) {
        match self {
            Dialect::Resp(pipeline) => pipeline.look_ahead(store, ahead, session, buf),
            Dialect::Memcached(lines) => lines.look_ahead(store, ahead, session, buf),
        }
    }

    /// Bytes of the request at the front, once it was looked at; 0 when it is not known.
    pub fn front_bytes(&self) -> usize {
        match self {
            Dialect::Resp(pipeline) => pipeline.front_bytes(),
            Dialect::Memcached(lines) => lines.front_bytes(),
        }
    }

    /// Executes the first request of `buf` and appends its reply to `out`.
    #[inline]
    pub fn step(
        &mut self,
        batch: &mut Batch<'_, '_>,
        ahead: &mut Ahead,
        session: &mut Session,
        holds: Holds,
        buf: &[u8],
        out: &mut Vec<u8>,
    ) -> Step {
        match self {
            Dialect::Resp(pipeline) => pipeline.step(batch, ahead, session, holds, buf, out),
            Dialect::Memcached(lines) => {
                if holds.pause.is_some() && !buf.is_empty() {
                    return Step::Held;
                }
                lines.step(batch, ahead, session, holds, buf, out)
            }
        }
    }
}

fn after_digits(bytes: &[u8]) -> &[u8] {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &bytes[digits..]
}

/// CLIENT REPLY OFF and SKIP: takes the reply back.
#[cold]
pub fn silence(mode: ReplyMode, session: &mut Session, start: usize, out: &mut Vec<u8>, done: &mut Done) {
    if std::mem::take(&mut session.pushed) {
        // Messages are sent whatever the client said about replies.
        if session.reply_mode == ReplyMode::SkipNext {
            session.reply_mode = ReplyMode::On;
        }
        return;
    }
    match (mode, session.reply_mode) {
        // CLIENT REPLY ON itself is answered.
        (ReplyMode::Off, ReplyMode::On) | (ReplyMode::On, ReplyMode::On) => return,
        // The request after SKIP: the next one is answered again.
        (ReplyMode::SkipNext, ReplyMode::SkipNext) => session.reply_mode = ReplyMode::On,
        _ => {}
    }
    out.truncate(start);
    done.kind = ReplyKind::Local;
    match &mut done.flow {
        // It waits all the same: what it takes is taken, as in Redis.
        Flow::Park(Park::Blocked { place, .. }) => place.silent = true,
        // Nobody waits for the end of the waiting either.
        Flow::Park(_) => done.flow = Flow::Continue,
        Flow::Continue | Flow::Close => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_known_by_its_first_bytes() {
        let dialect = Dialect::new(Protocol::Resp);
        let whole = b"*5\r\n$10\r\ntorc.hello\r\n$1\r\n1\r\n";
        for end in 0..whole.len() {
            assert!(dialect.is_handshake(&whole[..end]), "{end}");
        }
        for other in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"*1x", b"*2\r\n$9\r\nTORO"] {
            assert!(!dialect.is_handshake(other), "{other:?}");
        }
        assert!(!Dialect::new(Protocol::Memcached).is_handshake(b"get"));
    }
}
