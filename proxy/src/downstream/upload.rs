//! A RESP client's big request, passed on while it comes.
//!
//! ```text
//! header and first arguments ─▶ which command, which key ─▶ a connection of its own ─▶ the rest in pieces
//! ```
//! A request that lacks more than [`UPLOAD_BYTES`] of one argument, changes one key and has it before that argument goes
//! this way when all requests before it are answered. All others are taken whole, within the bounds on requests.

use std::rc::Rc;

use smallvec::SmallVec;
use torc_protocol::command::{Command, KeySpec, Route, Wait, resolve};
use torc_protocol::resp::{Limits, OwnedArgs, ProtocolError, Version, parse_i64, request_header};

use super::client::Client;
use super::request::Request;
use super::resp::lane;
use super::session::Session;
use crate::buffer::InBuffer;
use crate::call::Call;
use crate::dispatch::render_of;
use crate::plan;
use crate::upstream::connection::Connection;
use crate::upstream::pending::Way;
use crate::worker::{Routes, Worker};

/// An argument that lacks so many bytes is passed on in pieces.
pub const UPLOAD_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that are asked of the socket at once.
const PIECE_BYTES: usize = 128 * 1024;
/// Arguments of a request that goes this way, at most.
const MAX_ARGS: usize = 1024;
/// Bytes of a header `$<length>\r\n`, at most.
const HEADER_BYTES: usize = 24;
/// Arguments of `CTX <context>` before those of the command.
const CONTEXT_ARGS: usize = 2;

/// A request on its way.
#[derive(Debug)]
pub struct Upload {
    connection: Rc<Connection>,
    seq: u64,
    /// Bytes of the argument under way, its line end included, that have not come.
    left: usize,
    /// Arguments behind it.
    args: usize,
    /// Bytes of the request so far and announced.
    bytes: usize,
    limits: Limits,
}

/// What became of what was read.
#[derive(Debug)]
pub enum Fed {
    /// The request is whole.
    Whole,
    /// So many bytes are missing.
    More(usize),
    /// There is no room on the way; the client is woken when there is.
    Full,
    /// It cannot be read on.
    Broken(ProtocolError),
}

/// Whether a request that has begun goes this way.
#[derive(Debug)]
pub enum Begin {
    /// It is taken whole.
    No,
    /// Not yet; whoever stands in the way wakes the client.
    Wait,
    /// It does.
    Yes(Box<Upload>),
}

/// What is there of a request.
#[derive(Debug)]
struct Opening<'a> {
    /// How many arguments it has.
    count: usize,
    /// Those that are whole.
    whole: SmallVec<[&'a [u8]; 8]>,
    /// Where the first argument begins.
    args_at: usize,
    /// Bytes of the first argument that is not whole, and where they begin.
    length: usize,
    data_at: usize,
}

/// A line `<mark><number>` at the start of `bytes`: the number, and where the next line begins.
fn line(bytes: &[u8], mark: u8) -> Option<(usize, usize)> {
    let (first, rest) = bytes.split_first()?;
    let end = memchr::memchr(b'\r', rest.get(..HEADER_BYTES.min(rest.len()))?)?;
    let number = usize::try_from(parse_i64(rest.get(..end)?)?).ok().filter(|_| *first == mark)?;
    (rest.get(end + 1) == Some(&b'\n')).then_some((number, end + 3))
}

fn opening(bytes: &[u8]) -> Option<Opening<'_>> {
    let (count, args_at) = line(bytes, b'*').filter(|(count, _)| (2..=MAX_ARGS).contains(count))?;
    let (mut whole, mut at) = (SmallVec::new(), args_at);
    while whole.len() < count {
        let (length, begin) = line(bytes.get(at..)?, b'$')?;
        let data_at = at + begin;
        let end = data_at.checked_add(length)?;
        match bytes.get(data_at..end).filter(|_| bytes.len() >= end + 2) {
            Some(arg) => whole.push(arg),
            None => return Some(Opening { count, whole, args_at, length, data_at }),
        }
        at = end + 2;
    }
    None
}

/// The first key of a command that has one only.
fn key_at(keys: &KeySpec) -> Option<usize> {
    match *keys {
        KeySpec::Range { first, .. } if keys.is_single() => Some(first),
        _ => None,
    }
}

impl Upload {
    /// Begins to pass on the request at the start of `input`, if it is one that can be.
    pub fn begin(
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        (session, scratch): (&mut Session, &mut Vec<u8>),
        routes: &Routes,
        (input, limits): (&mut InBuffer, Limits),
    ) -> Begin {
        let bytes = input.unread();
        let Some(Opening { count, whole, args_at, length, data_at }) = opening(bytes) else {
            return Begin::No;
        };
        let known = whole.len();
        let listens = client.listening.get() && session.version == Version::Resp2;
        if !session.authenticated || session.transaction.is_some() || listens {
            return Begin::No;
        }
        let missing = count - known;
        let nothing = std::iter::repeat_n(&b""[..], missing);
        let args = OwnedArgs::new(whole.iter().copied().chain(nothing));
        drop(whole);
        let args = args.view();
        let Ok(command) = resolve(&args) else { return Begin::No };
        let request = Request::of(command, args);
        let key = key_at(&request.spec.keys).filter(|at| *at < known);
        let plain = matches!(request.spec.route, Route::Key)
            && matches!(request.spec.wait, Wait::Never)
            && request.spec.is_write()
            && !matches!(command, Command::Lock(_));
        let Some(key) = key.filter(|_| plain).map(|at| request.arg(at)) else { return Begin::No };
        if length > limits.max_bulk_bytes || length > limits.max_frame_bytes {
            return Begin::No;
        }
        if worker.is_paused(|| command.is_noticed()) {
            worker.wait_for_pause(client);
            return Begin::Wait;
        }
        if client.outbox.borrow().pending() > 0 {
            client.resume_at(0);
            return Begin::Wait;
        }
        client.take_lane(lane(session, routes, &request));
        let Ok(keyed) = plan::by_key(&request, &routes.table, session) else { return Begin::No };
        let Some(connection) = worker.connection_for_upload(routes, keyed.dest) else {
            return Begin::No;
        };
        client.dedicated.borrow_mut().push(Rc::clone(&connection));
        worker.saw_key(session.db, key, true);
        let prefix = session.prefix_with_time(&routes.table, true, key, session.timeout_ms);
        let taken = bytes.len();
        let left = data_at + length + 2 - taken;
        let mut head = Vec::with_capacity(taken + prefix.len() + 16);
        request_header(&mut head, count + CONTEXT_ARGS);
        head.extend_from_slice(&prefix);
        head.extend_from_slice(bytes.get(args_at..).unwrap_or_default());
        let render = render_of(session, command);
        let timeout_ms = session.timeout_ms;
        let call = Call { worker, client, session, routes, request: &request, scratch };
        let seq = client.outbox.borrow_mut().open(render);
        let mut pending = call.pending(seq, keyed.dest, timeout_ms);
        pending.way = Way::Upload;
        connection.begin_upload(pending, client, &head, worker.clock.now_ns());
        worker.mark_connection(&connection);
        worker.metrics.streamed_requests.add(1);
        worker.metrics.command(command).requests.add(1);
        client.info.command.store(command.index() as u16, std::sync::atomic::Ordering::Relaxed);
        let bytes = taken + left;
        input.consume(taken);
        Begin::Yes(Box::new(Upload { connection, seq, left, args: missing - 1, bytes, limits }))
    }

    /// Passes on what has been read.
    pub fn feed(
        &mut self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        input: &mut InBuffer,
        timeout_ms: u32,
    ) -> Fed {
        loop {
            if self.left > 0 {
                let bytes = input.unread();
                let bytes = bytes.get(..self.left.min(bytes.len())).unwrap_or_default();
                if bytes.is_empty() {
                    return Fed::More(self.left.min(PIECE_BYTES));
                }
                if self.args == 0 && bytes.len() == self.left && self.is_paused(worker, client) {
                    // The node executes it when it has its end.
                    return Fed::Full;
                }
                if !self.pass(worker, client, bytes) {
                    return Fed::Full;
                }
                let taken = bytes.len();
                self.left -= taken;
                input.consume(taken);
                continue;
            }
            if self.args == 0 {
                if self.connection.uploads(client, self.seq) {
                    let now_ns = worker.clock.now_ns();
                    self.connection.end_upload(now_ns.saturating_add(u64::from(timeout_ms) * 1_000_000));
                }
                return Fed::Whole;
            }
            let bytes = input.unread();
            let Some((length, begin)) = line(bytes, b'$') else {
                if bytes.len() < HEADER_BYTES && matches!(bytes.first(), None | Some(b'$')) {
                    return Fed::More(0);
                }
                return self.give_up(client, ProtocolError::InvalidBulkLength);
            };
            let all = self.bytes.saturating_add(begin).saturating_add(length);
            if length > self.limits.max_bulk_bytes || all > self.limits.max_frame_bytes {
                return self.give_up(client, ProtocolError::InvalidBulkLength);
            }
            if !self.pass(worker, client, bytes.get(..begin).unwrap_or_default()) {
                return Fed::Full;
            }
            input.consume(begin);
            (self.args, self.left, self.bytes) = (self.args - 1, length + 2, all + 2);
        }
    }

    /// False: there is no room. What is answered already goes nowhere.
    fn pass(&self, worker: &Worker, client: &Rc<Client>, bytes: &[u8]) -> bool {
        if !self.connection.uploads(client, self.seq) {
            return true;
        }
        if !self.connection.has_upload_room() {
            return false;
        }
        self.connection.append(bytes);
        worker.mark_connection(&self.connection);
        true
    }

    /// Whether CLIENT PAUSE holds it; if so the client is woken when that may be over.
    fn is_paused(&self, worker: &Worker, client: &Rc<Client>) -> bool {
        let paused = worker.is_paused(|| true) && self.connection.uploads(client, self.seq);
        if paused {
            worker.wait_for_pause(client);
        }
        paused
    }

    fn give_up(&self, client: &Rc<Client>, violation: ProtocolError) -> Fed {
        if self.connection.uploads(client, self.seq) {
            self.connection.end_now();
        }
        Fed::Broken(violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_first_arguments() {
        let bytes = b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\nabc";
        let found = opening(bytes).expect("it has begun");
        assert_eq!((found.count, found.whole.as_slice()), (5, &[&b"SET"[..], b"k"][..]));
        assert_eq!((found.args_at, found.length, &bytes[found.data_at..]), (4, 1000, &b"abc"[..]));
        for other in
            [&b"*1\r\n$900\r\nabc"[..], b"SET k v", b"*3\r\n$3\r\nSE", b"*2\r\n$1\r\na\r\n", b"*3\r\n$-1\r\n"]
        {
            let found = opening(other);
            assert!(found.is_none_or(|found| found.whole.is_empty()), "{:?}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_has_one_key_before_the_big_argument_can_go() {
        use torc_protocol::command::lookup;
        let key = |name: &str| key_at(&lookup(name.as_bytes()).expect(name).spec().keys);
        for name in ["set", "append", "setrange", "hset", "lpush", "restore", "getset"] {
            assert_eq!(key(name), Some(1), "{name}");
        }
        for name in ["mset", "eval", "ping", "del"] {
            assert_eq!(key(name), None, "{name}");
        }
    }
}
