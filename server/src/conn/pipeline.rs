//! Requests of a RESP connection that were parsed and wait for their turn.
//!
//! ```text
//! buffer: │ executed │ queued: parsed, keys hashed │ not looked at yet │
//! ```

use std::collections::VecDeque;

use torc_protocol::resp::{Frame, Limits, ProtocolError, ReplyWriter, RequestParser};

use super::ahead::Ahead;
use super::dialect::{Step, silence};
use super::hold::{Holds, is_paused, lacks_room, writes};
use crate::exec::ahead::Foreseen;
use crate::exec::session::ReplyMode;
use crate::exec::{Batch, Session};
use crate::store::Store;
use crate::store::prefetch::TOGETHER;

/// A parsed request.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    foreseen: Foreseen,
    /// How many keys must have been fetched before it runs; see [`Ahead`].
    fetched: u64,
}

/// See the module's text. Owned by its connection.
#[derive(Debug)]
pub struct Pipeline {
    parser: RequestParser,
    queue: VecDeque<Queued>,
    /// Bytes of the frames in `queue`.
    queued_bytes: usize,
    /// What stands behind the queued requests is no request.
    broken: Option<ProtocolError>,
}

impl Pipeline {
    /// An empty one.
    pub fn new(limits: Limits) -> Pipeline {
        let parser = RequestParser::new(limits);
        Pipeline { parser, queue: VecDeque::new(), queued_bytes: 0, broken: None }
    }

    /// Other bounds for what is parsed from now on.
    #[inline]
    pub fn set_limits(&mut self, limits: Limits) {
        if *self.parser.limits() != limits {
            self.parser.set_limits(limits);
        }
    }

    /// Parses up to [`TOGETHER`] requests of `buf`, which begins at the first that is not executed.
    #[inline]
    pub fn look_ahead(&mut self, store: &Store, ahead: &mut Ahead, session: &Session, buf: &[u8]) {
        if !self.queue.is_empty() || self.broken.is_some() {
            return;
        }
        // AUTH changes the bounds for what stands behind it.
        let most = if session.authenticated { TOGETHER } else { 1 };
        while self.queue.len() < most {
            let rest = buf.get(self.queued_bytes..).unwrap_or_default();
            match self.parser.next(rest) {
                Ok(Some(frame)) => {
                    let foreseen = Foreseen::of(store, session, &frame.view(rest), |hint| ahead.add(hint));
                    self.queued_bytes += frame.len;
                    self.queue.push_back(Queued { frame, foreseen, fetched: ahead.added() });
                }
                Ok(None) => break,
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
    }

    /// See [`Dialect::front_bytes`](super::dialect::Dialect::front_bytes).
    pub fn front_bytes(&self) -> usize {
        self.queue.front().map_or(0, |next| next.frame.len)
    }

    /// See [`Dialect::step`](super::dialect::Dialect::step).
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
        let node = batch.node();
        let store = &node.store;
        self.look_ahead(store, ahead, session, buf);
        let Some(next) = self.queue.front() else { return self.nothing_whole(session, out) };
        let frame = &next.frame;
        if frame.is_empty() {
            let consumed = frame.len;
            self.pop();
            return Step::Nothing { consumed };
        }
        let args = frame.view(buf);
        if let Some(pause) = holds.pause
            && is_paused(pause, &node.scripts, session, &args)
        {
            return Step::Held;
        }
        let bytes = frame.len;
        if lacks_room(holds, batch, session, bytes) && writes(&node.scripts, session, &args) {
            return Step::NoRoom { bytes };
        }
        ahead.fetch(store, next.fetched);
        let (start, mode, authenticated) = (out.len(), session.reply_mode, session.authenticated);
        session.pushed = false;
        let mut done = batch.run_foreseen(session, args, next.foreseen, out);
        let consumed = frame.len;
        if mode != ReplyMode::On || session.reply_mode != ReplyMode::On {
            silence(mode, session, start, out, &mut done);
        }
        if session.authenticated != authenticated {
            let limits = Limits { unauthenticated: !session.authenticated, ..*self.parser.limits() };
            self.parser.set_limits(limits);
        }
        self.pop();
        Step::Done { consumed, done }
    }

    #[inline]
    fn pop(&mut self) {
        if let Some(done) = self.queue.pop_front() {
            self.queued_bytes -= done.frame.len;
        }
    }

    #[cold]
    fn nothing_whole(&self, session: &Session, out: &mut Vec<u8>) -> Step {
        let Some(error) = &self.broken else { return Step::More { hint: self.parser.need_hint() } };
        // Redis closes without a word when a request is too big altogether.
        if *error != ProtocolError::FrameTooBig {
            ReplyWriter::new(out, session.version).protocol_error(error);
        }
        Step::Broken
    }
}
