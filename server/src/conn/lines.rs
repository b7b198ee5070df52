//! A connection that speaks memcached, with a look at the keys of the requests that have come.
//!
//! The look is a second parser's, which starts afresh each time: what it finds only says what to fetch, and the
//! connection's own parser decides what a request is.

use torc_protocol::memcached::{Item, Limits, RequestParser};

use super::ahead::Ahead;
use super::dialect::Step;
use crate::exec::{Batch, Session};
use crate::memcached;
use crate::store::Store;
use crate::store::prefetch::{Hint, TOGETHER};

/// See the module's text. Owned by its connection.
#[derive(Debug, Default)]
pub struct Lines {
    connection: memcached::Connection,
    /// Requests at the front of the buffer that were looked at.
    seen: usize,
    /// How many keys must have been fetched before they run; see [`Ahead`].
    fetched: u64,
}

impl Lines {
    /// Notes the keys of up to [`TOGETHER`] requests of `buf`.
    #[inline]
    pub fn look_ahead(&mut self, store: &Store, ahead: &mut Ahead, session: &Session, buf: &[u8]) {
        if self.seen > 0 || !session.authenticated || self.connection.is_partial() {
            return;
        }
        let mut parser = RequestParser::new(Limits::default());
        let mut rest = buf;
        while self.seen < TOGETHER
            && let Ok(Some(frame)) = parser.next(rest)
        {
            if let Item::Request(request) = &frame.item {
                for bytes in request.keys().take(TOGETHER) {
                    let key = store.key(bytes);
                    store.prefetch_stripe(key.slot);
                    ahead.add(Hint { hash: key.hash, slot: key.slot, db: session.db });
                }
            }
            rest = rest.get(frame.len..).unwrap_or_default();
            self.seen += 1;
        }
        self.fetched = ahead.added();
    }

    /// See [`Dialect::step`](super::dialect::Dialect::step).
    #[inline]
    pub fn step(
        &mut self,
        batch: &mut Batch<'_, '_>,
        ahead: &mut Ahead,
        session: &mut Session,
        buf: &[u8],
        out: &mut Vec<u8>,
    ) -> Step {
        let store = &batch.node().store;
        self.look_ahead(store, ahead, session, buf);
        ahead.fetch(store, self.fetched);
        match self.connection.next(batch, session, buf, out) {
            memcached::Step::More { hint } => {
                self.seen = 0;
                Step::More { hint }
            }
            memcached::Step::Done { consumed, done } => {
                self.seen = self.seen.saturating_sub(1);
                Step::Done { consumed, done }
            }
        }
    }
}
