//! One memcached connection: bytes in, replies out.
//!
//! Owned by the connection's task, beside its [`Session`]. It touches no socket: who owns the socket feeds the
//! buffer and drops what was consumed.
//!
//! With a password set, the first command must be a `set` whose data are "user password" (memcached's ASCII
//! authentication). With a file of users they count; else the user may be any, and the password is that of the default
//! user.

use torc_protocol::login::Login;
use torc_protocol::memcached::{
    Item, Limits, MAX_LOGIN_BYTES, Rejection, Request, RequestError, RequestParser, Verb, text, write_line,
};

use torc_protocol::slot::Slot;

use super::dump::Dump;
use super::watch::{self, CloseReason};
use super::write_error;
use crate::exec::{Batch, Done, Flow, Session};
use crate::settings::Settings;

/// What one call of [`Connection::next`] did.
#[derive(Debug)]
pub enum Step {
    /// There is no whole request in the buffer: read on, at least `hint` bytes when it is known (else 0).
    More {
        /// Bytes that are known to be missing: a data block whose length was announced.
        hint: usize,
    },
    /// A write of so many bytes has to wait for room: nothing was taken.
    NoRoom {
        /// Bytes of the request.
        bytes: usize,
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

/// What is known of the request at the front of a buffer, if it is as long as that.
#[derive(Clone, Copy, Debug)]
pub struct Foreseen {
    /// Bytes of the request.
    pub frame_bytes: usize,
    /// Hash and slot of its first key.
    pub key: Option<(u64, Slot)>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Connection {
    parser: RequestParser,
    limits: Limits,
    /// Whether the parser keeps the bounds of a client that has not logged in.
    guarded: bool,
    /// Of the request at the front of the buffer, which stays there until it is over.
    dump: Option<Dump>,
    /// Nothing that its client sends is looked at any more.
    watches: bool,
}

impl Default for Connection {
    fn default() -> Self {
        Connection::new()
    }
}

impl Connection {
    /// A fresh connection.
    pub fn new() -> Connection {
        let limits = Limits::default();
        let parser = RequestParser::new(limits);
        Connection { parser, limits, guarded: false, dump: None, watches: false }
    }

    /// Executes the first request of `buf` and appends its reply to `out`. Call it until it asks for more. `lacks_room`:
    /// whether a write of so many bytes has to wait.
    pub fn next(
        &mut self,
        batch: &mut Batch<'_, '_>,
        session: &mut Session,
        buf: &[u8],
        out: &mut Vec<u8>,
        foreseen: Option<Foreseen>,
        lacks_room: impl Fn(&Batch<'_, '_>, &Session, usize) -> bool,
    ) -> Step {
        if self.watches {
            return match buf.len() {
                0 => Step::More { hint: 0 },
                consumed => Step::Done { consumed, done: Done::local() },
            };
        }
        if self.guarded == session.authenticated {
            self.guarded = !session.authenticated;
            self.bound();
        }
        let frame = match self.parser.next(buf) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Step::More { hint: self.parser.need_hint() },
            Err(error) => {
                if let Some(line) = error.reply() {
                    write_line(out, &line);
                }
                if let Some(client) = &session.client {
                    client.ends_by(CloseReason::Error);
                }
                return Step::Done { consumed: buf.len(), done: Done { flow: Flow::Close, ..Done::local() } };
            }
        };
        let done = match frame.item {
            Item::Swallowed => Done::local(),
            Item::Request(request)
                if session.authenticated && request.is_write() && lacks_room(batch, session, frame.len) =>
            {
                return Step::NoRoom { bytes: frame.len };
            }
            Item::Request(request) if session.authenticated => {
                if request.verb == Verb::Watch {
                    self.watches = watch::start(batch.node(), session, &request, out);
                    // What follows is not looked at any more.
                    let consumed = if self.watches { buf.len() } else { frame.len };
                    return Step::Done { consumed, done: Done::local() };
                }
                if let Some(dump) = Dump::of(&request, session.db) {
                    let dump = self.dump.get_or_insert(dump);
                    match dump.step(batch.node(), batch.now().unix_ms, out) {
                        Ok(false) => return Step::Done { consumed: 0, done: Done::local() },
                        Ok(true) => {}
                        Err(busy) => write_error(&busy.into(), out),
                    }
                    self.dump = None;
                    Done::local()
                } else {
                    let foreseen = foreseen.filter(|foreseen| foreseen.frame_bytes == frame.len);
                    batch.run_memcached(session, &request, foreseen.and_then(|foreseen| foreseen.key), out)
                }
            }
            Item::Request(request) => authenticate(batch, session, &request, out),
            Item::Rejected(rejection) => reject(batch, session, &rejection, out),
        };
        Step::Done { consumed: frame.len, done }
    }

    /// Whether what comes next is no request: one has begun that is not whole yet, or the connection watches.
    pub fn is_partial(&self) -> bool {
        self.parser.is_partial() || self.watches
    }

    /// Takes over what the settings say about requests; answers it.
    pub fn configure(&mut self, settings: &Settings) -> Limits {
        let max_value_bytes = usize::try_from(settings.max_item_bytes).unwrap_or(usize::MAX);
        self.limits = Limits { max_value_bytes, ..Limits::default() };
        self.bound();
        self.limits
    }

    /// Who has not logged in makes nobody keep much.
    fn bound(&mut self) {
        let Limits { max_value_bytes, .. } = self.limits;
        let most = if self.guarded { max_value_bytes.min(MAX_LOGIN_BYTES) } else { max_value_bytes };
        self.parser.set_limits(Limits { max_value_bytes: most, ..self.limits });
    }
}

fn authenticate(
    batch: &mut Batch<'_, '_>,
    session: &mut Session,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Done {
    let settings = batch.node().settings.load();
    let known = request.verb == Verb::Set
        && if settings.memcached_users.is_empty() {
            Login::of_memcached(request.data).is_some_and(|login| login.is_right(&settings.requirepass))
        } else {
            settings.memcached_users.admit(request.data)
        };
    session.authenticated = known;
    let stats = &batch.stats().memcached;
    stats.auth_cmds.add(1);
    if known {
        // As memcached: answered even when the line says noreply.
        write_line(out, text::STORED);
    } else {
        stats.auth_errors.add(1);
        // A wrong name or password is told apart from a request that came before them.
        let answer = match request.verb {
            Verb::Set if request.data.contains(&b' ') => text::AUTHENTICATION_FAILURE,
            Verb::Set => text::BAD_CREDENTIALS,
            _ => text::UNAUTHENTICATED,
        };
        write_line(out, answer);
    }
    Done::local()
}

fn reject(
    batch: &mut Batch<'_, '_>,
    session: &mut Session,
    rejection: &Rejection<'_>,
    out: &mut Vec<u8>,
) -> Done {
    if !session.authenticated {
        let broken = rejection.error == RequestError::BadDataChunk;
        write_line(out, if broken { text::BAD_TERMINATION } else { text::UNAUTHENTICATED });
        return Done::local();
    }
    if rejection.error == RequestError::TooLarge {
        batch.stats().memcached.store_too_large.add(1);
    }
    let mut done = Done::local();
    if let Some(gone) = rejection.unlink {
        let line = gone.line();
        if let Ok(request) = Request::from_parts(&line, &[]) {
            watch::too_large(batch.node(), session, batch.now().unix_ms, &request);
            let start = out.len();
            done = batch.run_memcached(session, &request, None, out);
            out.truncate(start);
        }
    }
    if !rejection.noreply {
        write_line(out, &rejection.error.to_string());
    }
    done
}
