//! Big replies in pieces.
//!
//! A bulk string that lacks much is given to its client as it comes, when it is that client's turn: the proxy never holds
//! the value, only as much as the client leaves unread (`client_output_soft_bytes`); beyond that the node is not read from,
//! and TCP holds it up. What else is under way on the connection must not wait for one client's pace: a very big reply, or
//! one whose client is slow, has the connection to itself from then on (it *stands aside*). New requests go over a new one,
//! and those behind the reply are sent there as well where that is safe. A client of whose requests some must stay goes on
//! when these are answered; before they are overdue the slow client is closed.
//!
//! Everything else (arrays, replies joined from several shards, or to be translated) is taken whole.

use std::rc::Rc;

use torc_protocol::resp::{ReplyScanner, parse_i64};

use super::{Connection, Ended, Input};
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::upstream::pending::{Pending, Way};
use crate::worker::Worker;

/// A reply that lacks so many bytes is passed on in pieces.
pub(super) const STREAM_BYTES: usize = 1024 * 1024;
/// A reply of so many bytes stands aside at once: it would hold the others up for tens of milliseconds.
const ASIDE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes that are asked of the socket at once.
const PIECE_BYTES: usize = 128 * 1024;
/// A client that takes nothing of its reply for so long is closed.
const PATIENCE_NS: u64 = 60_000_000_000;
/// Bytes of a header `$<length>\r\n`, at most.
const HEADER_BYTES: usize = 24;
/// How memcached's values begin.
const VALUE: &[u8] = b"VALUE ";

/// A reply on its way through.
#[derive(Debug)]
pub(super) struct Passage {
    pending: Pending,
    /// `None`: nobody waits for it any more, and it is passed over.
    client: Option<Rc<Client>>,
    /// Bytes of the frame that have not come.
    left: usize,
    /// Bytes at its end that are not for the client.
    tail: usize,
    /// What the client gets behind it.
    end: &'static [u8],
    silent: bool,
    /// What the client left unread at the latest tick, and when that changed last.
    unread: usize,
    taken_ns: u64,
    /// When something of it came last, or the node was not read from.
    came_ns: u64,
}

/// The header of a bulk string: its length, and where its bytes begin.
fn bulk_header(bytes: &[u8]) -> Option<(usize, usize)> {
    let rest = bytes.strip_prefix(b"$")?;
    let end = memchr::memchr(b'\r', rest.get(..HEADER_BYTES.min(rest.len()))?)?;
    let length = usize::try_from(parse_i64(rest.get(..end)?)?).ok()?;
    Some((length, end + 3))
}

impl Passage {
    /// Bytes to ask the socket for.
    pub(super) fn wanted(&self) -> usize {
        self.left.min(PIECE_BYTES)
    }

    fn is_over(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.closed.get() || client.killed.get())
    }

    /// Whether its client has enough to read.
    pub(super) fn is_ahead(&self, worker: &Worker) -> bool {
        let most = worker.settings.borrow().client_output_soft_bytes;
        let ahead = |client: &Rc<Client>| client.outbox.borrow().unsent() > most;
        !self.is_over() && self.client.as_ref().is_some_and(ahead)
    }

    /// The connection goes on when the client has read.
    pub(super) fn wait_for_client(&self, connection: Rc<Connection>) {
        if let Some(client) = &self.client {
            client.feeder.replace(Some(connection));
        }
    }
}

impl Connection {
    /// Begins to pass the reply on that has begun in `input`, if it is one that can be.
    #[cold]
    pub(super) fn begin_stream(&self, worker: &Rc<Worker>, input: &mut Input, now_ns: u64) {
        let bytes = input.buffer.unread();
        let Some((length, begin)) = bulk_header(bytes) else { return };
        if bytes.len() < begin + VALUE.len() {
            return;
        }
        let mut state = self.state.borrow_mut();
        let Some((client, render)) = state.fifo.front().and_then(whose) else { return };
        let Some(pending) = state.fifo.pop_front() else { return };
        let start = state.acked;
        state.acked += pending.len;
        state.answered += 1;
        drop(state);
        self.link.answered();
        self.note_time(worker, &pending, start, now_ns);
        if pending.replica && client.is_some() {
            worker.metrics.replica_reads.add(1);
        }
        match &client {
            Some(client) => {
                worker.metrics.streamed_replies.add(1);
                client.outbox.borrow_mut().begin_stream();
            }
            None => worker.metrics.orphaned.add(1),
        }
        let text = matches!(render, Render::Memcached | Render::MemcachedEnd);
        let values = bytes.get(begin..).is_some_and(|text| text.starts_with(VALUE));
        let header = if text { begin } else { 0 };
        input.buffer.consume(header);
        input.scanner = ReplyScanner::new();
        input.stream = Some(Passage {
            pending,
            left: begin + length + 2 - header,
            tail: if text { 2 } else { 0 },
            end: if render == Render::MemcachedEnd && values { b"END\r\n" } else { b"" },
            silent: render == Render::Silent,
            client,
            unread: 0,
            taken_ns: now_ns,
            came_ns: now_ns,
        });
        self.streaming.set(true);
        if length >= ASIDE_BYTES {
            self.stand_aside(worker);
        }
    }

    /// Passes on what has come. True when the reply is whole.
    pub(super) fn feed(&self, worker: &Rc<Worker>, input: &mut Input, now_ns: u64) -> Result<bool, Ended> {
        let Some(stream) = &mut input.stream else { return Ok(true) };
        if stream.is_over() && self.has_to_itself() {
            // Nobody wants the rest, and nobody else waits here.
            return Err(Ended::ByUs);
        }
        stream.came_ns = now_ns;
        let bytes = input.buffer.unread();
        let bytes = bytes.get(..stream.left.min(bytes.len())).unwrap_or_default();
        let after = stream.left - bytes.len();
        let given = bytes.len().saturating_sub(stream.tail.saturating_sub(after));
        let over = stream.is_over();
        if let Some(client) = stream.client.as_ref().filter(|_| !stream.silent && !over) {
            let mut outbox = client.outbox.borrow_mut();
            outbox.feed(bytes.get(..given).unwrap_or_default(), &worker.pool);
            if after == 0 {
                outbox.feed(stream.end, &worker.pool);
            }
            drop(outbox);
            worker.mark_client(client);
        }
        stream.left = after;
        let taken = bytes.len();
        input.buffer.consume(taken);
        if after > 0 {
            return Ok(false);
        }
        self.end_stream(worker, input, now_ns);
        Ok(true)
    }

    fn end_stream(&self, worker: &Rc<Worker>, input: &mut Input, now_ns: u64) {
        let Some(Passage { pending, client, .. }) = input.stream.take() else { return };
        self.streaming.set(false);
        self.link.metrics.in_flight.sub(1);
        // One that is killed has not got all of it, and gets nothing behind it.
        if let Some(client) = client.filter(|client| !client.closed.get() && !client.killed.get()) {
            let mut outbox = client.outbox.borrow_mut();
            outbox.end_stream(&worker.pool);
            let left = outbox.pending();
            drop(outbox);
            worker.metrics.command(pending.command).answered(now_ns.saturating_sub(pending.since_ns));
            worker.mark_client(&client);
            client.answered(left);
            if pending.way == Way::OneShot {
                worker.give_back_one(&client, self);
            }
        }
        if self.is_aside.get() {
            // What may not be sent again is still to be answered.
            let patience_ns = u64::from(worker.settings.borrow().request_timeout_ms) * 1_000_000;
            self.lenient_until_ns.set(now_ns.saturating_add(patience_ns));
            self.end_when_idle();
        }
    }

    /// Leaves the connection to the reply that passes: others go elsewhere.
    fn stand_aside(&self, worker: &Rc<Worker>) {
        if self.is_aside.get() || !self.link.set_aside(self) {
            return;
        }
        self.is_aside.set(true);
        worker.send_elsewhere(self.take_in_order(true, |pending| pending.way == Way::Shared));
    }

    /// Looks after a reply that passes: one whose client is slow stands aside, a client that takes nothing is closed, and a
    /// node that sends no more of it is given up.
    pub fn check_stream(&self, worker: &Rc<Worker>, now_ns: u64) {
        if !self.streaming.get() {
            return;
        }
        let mut input = self.input.borrow_mut();
        let Some(stream) = &mut input.stream else { return };
        if stream.is_ahead(worker) {
            stream.came_ns = now_ns;
        }
        let silent_ns = now_ns.saturating_sub(stream.came_ns);
        if stream.is_over() && self.has_to_itself() {
            return self.end_now();
        }
        if silent_ns > u64::from(worker.settings.borrow().request_timeout_ms) * 1_000_000 {
            // The rest does not come: the client has a part of it and is closed, all others are sent elsewhere.
            return self.give_up();
        }
        let Some(client) = stream.client.clone() else { return };
        let unread = client.outbox.borrow().unsent();
        let ahead = stream.is_ahead(worker);
        if !ahead || unread != stream.unread {
            (stream.unread, stream.taken_ns) = (unread, now_ns);
        }
        let waited_ns = now_ns.saturating_sub(stream.taken_ns);
        drop(input);
        if !ahead {
            return;
        }
        self.stand_aside(worker);
        let alone = self.is_aside.get() || self.in_flight() == 1;
        let others_ns =
            self.others_wait_since_ns(&client).map_or(0, |since_ns| now_ns.saturating_sub(since_ns));
        let patience_ns = u64::from(worker.settings.borrow().request_timeout_ms) * 1_000_000 / 2;
        if waited_ns > PATIENCE_NS || !alone || others_ns > patience_ns {
            tracing::warn!(client = client.id(), address = %client.info.address, bytes = unread,
                "closing a client that does not read a big reply");
            worker.metrics.output_closed.add(1);
            client.kill();
        }
    }

    /// Whether nobody but the client of the reply that passes waits for anything here.
    fn has_to_itself(&self) -> bool {
        self.is_aside.get() && self.state.borrow().fifo.iter().all(|pending| pending.client.is_none())
    }

    /// Since when others than this client wait for what had to stay here, on the worker's clock; `None`: nobody does.
    fn others_wait_since_ns(&self, client: &Rc<Client>) -> Option<u64> {
        let state = self.state.borrow();
        let mut others =
            state.fifo.iter().filter_map(|pending| Some((pending.client.as_ref()?, pending.since_ns)));
        others.find(|(other, _)| !Rc::ptr_eq(other, client)).map(|(_, since_ns)| since_ns)
    }

    /// The connection ends: the client whose reply was passing has a part of it, and can be given nothing else.
    pub(super) fn break_stream(&self) {
        if let Some(stream) = self.input.borrow_mut().stream.take() {
            self.streaming.set(false);
            self.link.metrics.in_flight.sub(1);
            if let Some(client) = &stream.client {
                client.kill();
            }
        }
    }

    /// Ends the connection when the reply that comes is more than a client may leave unread: nobody could be given it.
    #[cold]
    pub(super) fn refuse_reply(&self, worker: &Worker, bytes: usize) -> Ended {
        let state = self.state.borrow();
        if let Some(client) = state.fifo.front().and_then(|pending| pending.client.as_ref()) {
            tracing::warn!(client = client.id(), address = %client.info.address, bytes,
                "closing a client that asked for more than may be held for it");
            worker.metrics.output_closed.add(1);
            client.kill();
        }
        Ended::ByUs
    }
}

/// The client to whom a reply to this request can be given as it comes, and how; nobody, when none waits for it any more.
fn whose(pending: &Pending) -> Option<(Option<Rc<Client>>, Render)> {
    if pending.skip > 0 || pending.flight.is_some() {
        return None;
    }
    let Some(client) = pending.client.as_ref().filter(|client| !client.closed.get()) else {
        return Some((None, Render::Silent));
    };
    let plain = pending.quest.is_none() && matches!(pending.way, Way::Shared | Way::OneShot);
    let render = client.outbox.borrow().waits_for_one(pending.seq).filter(|_| plain)?;
    Some((Some(Rc::clone(client)), render))
}
