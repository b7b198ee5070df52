//! A connection that speaks memcached, with a look at the keys of the requests that have come.
//!
//! The look finds the requests at the front of the buffer, their keys and what the store must fetch for them. What
//! decides is the connection's own parser, which takes the hash of a key from the look as long as both agree where
//! requests begin and end. The commonest request, a `get` of one key, is executed as it was seen.

use std::collections::VecDeque;

use torc_protocol::memcached::{Item, Limits, MAX_KEY_BYTES, RequestParser};
use torc_protocol::slot::Slot;

use super::ahead::Ahead;
use super::dialect::Step;
use super::hold::{Holds, lacks_room};
use crate::exec::{Batch, Session};
use crate::memcached::{self, Foreseen};
use crate::settings::Settings;
use crate::store::prefetch::{Hint, TOGETHER};
use crate::store::{Key, Store};

/// How a `get` begins.
const GET: &[u8] = b"get ";

/// A request that was looked at and waits for its turn.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Its first key; `None` when it has none.
    key: Option<(u64, Slot)>,
    frame_bytes: usize,
    /// Of a `get` of one key, which stands behind [`GET`]; 0 for any other request.
    get_key_bytes: usize,
}

/// See the module's text. Owned by its connection.
#[derive(Debug, Default)]
pub struct Lines {
    connection: memcached::Connection,
    /// Requests at the front of the buffer; never more than [`TOGETHER`].
    seen: VecDeque<Seen>,
    /// How many keys must have been fetched before they run; see [`Ahead`].
    fetched: u64,
    limits: Limits,
}

impl Lines {
    /// Takes over what the settings say about requests.
    pub fn configure(&mut self, settings: &Settings) {
        self.limits = self.connection.configure(settings);
        self.seen.clear();
    }

    /// Notes the keys of up to [`TOGETHER`] requests of `buf`.
    #[inline]
    pub fn look_ahead(&mut self, store: &Store, ahead: &mut Ahead, session: &Session, buf: &[u8]) {
        if !self.seen.is_empty() || !session.authenticated || self.connection.is_partial() {
            return;
        }
        let mut rest = buf;
        while self.seen.len() < TOGETHER {
            let seen = match single_get(rest) {
                Some((key, frame_bytes)) => {
                    let get_key_bytes = key.len();
                    Seen { key: Some(hint(store, ahead, session, key)), frame_bytes, get_key_bytes }
                }
                None => {
                    let Some(seen) = self.look_at(store, ahead, session, rest) else { break };
                    seen
                }
            };
            rest = rest.get(seen.frame_bytes..).unwrap_or_default();
            self.seen.push_back(seen);
        }
        self.fetched = ahead.added();
    }

    /// The request at the front of `buf`, whatever it is. Of a line that is refused it is the line alone.
    fn look_at(&self, store: &Store, ahead: &mut Ahead, session: &Session, buf: &[u8]) -> Option<Seen> {
        let frame = RequestParser::new(self.limits).next(buf).ok()??;
        let mut key = None;
        if let Item::Request(request) = &frame.item {
            for bytes in request.keys().take(TOGETHER) {
                let found = hint(store, ahead, session, bytes);
                key.get_or_insert(found);
            }
        }
        Some(Seen { key, frame_bytes: frame.len, get_key_bytes: 0 })
    }

    /// See [`Dialect::front_bytes`](super::dialect::Dialect::front_bytes). What is known of a request that began in an
    /// earlier read is that it is long.
    pub fn front_bytes(&self) -> usize {
        if self.connection.is_partial() {
            usize::MAX
        } else {
            self.seen.front().map_or(0, |seen| seen.frame_bytes)
        }
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
        let store = &batch.node().store;
        self.look_ahead(store, ahead, session, buf);
        ahead.fetch(store, self.fetched);
        let seen = self.seen.pop_front();
        if let Some(Seen { key: Some((hash, slot)), frame_bytes, get_key_bytes }) = seen
            && get_key_bytes > 0
            && let Some(bytes) = buf.get(GET.len()..GET.len() + get_key_bytes)
        {
            let done = batch.run_memcached_get(session, Key { bytes, hash, slot }, out);
            return Step::Done { consumed: frame_bytes, done };
        }
        let foreseen = seen.map(|seen| Foreseen { frame_bytes: seen.frame_bytes, key: seen.key });
        match self.connection.next(batch, session, buf, out, foreseen, |batch, session, bytes| {
            lacks_room(holds, batch, session, bytes)
        }) {
            memcached::Step::More { hint } => {
                self.seen.clear();
                Step::More { hint }
            }
            memcached::Step::NoRoom { bytes } => {
                self.seen.clear();
                Step::NoRoom { bytes }
            }
            memcached::Step::Done { consumed, done } => {
                // The look went another way, or what follows is no request (the data block of a line that was
                // refused): what is behind it was seen at a wrong place.
                if seen.is_none_or(|seen| seen.frame_bytes != consumed) || self.connection.is_partial() {
                    self.seen.clear();
                }
                Step::Done { consumed, done }
            }
        }
    }
}

/// A key will be looked up.
#[inline]
fn hint(store: &Store, ahead: &mut Ahead, session: &Session, bytes: &[u8]) -> (u64, Slot) {
    let key = store.key(bytes);
    store.prefetch_stripe(key.slot);
    ahead.add(Hint { hash: key.hash, slot: key.slot, db: session.db });
    (key.hash, key.slot)
}

/// A `get` of one key at the front of `buf`, written as clients write it: its key, and the bytes of its line.
#[inline]
fn single_get(buf: &[u8]) -> Option<(&[u8], usize)> {
    let rest = buf.strip_prefix(GET)?;
    let end = memchr::memchr(b'\n', rest.get(..rest.len().min(MAX_KEY_BYTES + 2))?)?;
    let key = rest[..end].strip_suffix(b"\r")?;
    let is_plain = !key.is_empty() && key.len() <= MAX_KEY_BYTES && memchr::memchr2(b' ', 0, key).is_none();
    is_plain.then_some((key, GET.len() + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_of_one_key() {
        assert_eq!(single_get(b"get k\r\nx"), Some((&b"k"[..], 7)));
        let longest = [b"get ", &[b'k'; 250][..], b"\r\n"].concat();
        assert_eq!(single_get(&longest).map(|(key, bytes)| (key.len(), bytes)), Some((250, 256)));
        let longer = [b"get ", &[b'k'; 251][..], b"\r\n"].concat();
        for other in [
            &b"get k\n"[..],
            b"get k",
            b"get k\r",
            b"get \r\n",
            b"get a b\r\n",
            b"get  a\r\n",
            b"get a\0\r\n",
            b" get a\r\n",
            b"gets a\r\n",
            &longer,
        ] {
            assert_eq!(single_get(other), None, "{}", other.escape_ascii());
        }
    }
}
