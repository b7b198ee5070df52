//! One connection to a node: requests go out in a row, replies come back in the same row.
//!
//! A task opens it and does the handshake; then the worker's driver has it, which reads, and writes what anybody on the
//! worker's thread has appended. The bytes of a request stay in the buffer until its reply has come, so that it can be sent
//! again when that is safe.

mod replies;
mod stream;
mod upload;

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::rc::Rc;

use smallvec::SmallVec;
use thiserror::Error;
use torc_protocol::resp::{ProtocolError, ReplyScanner};
use torc_protocol::trace::Trace;
use torc_runtime::listen::{Readiness, StdStream};

use super::body::{Body, happens_once, may_repeat};
use super::handshake::{self, DialError, Dialled};
use super::ids::Ticket;
use super::link::Link;
use super::pending::{NEVER, Pending};
use crate::buffer::{InBuffer, Received};
use crate::downstream::client::Client;
use crate::worker::{Arrival, Call, Worker};
use stream::{Passage, STREAM_BYTES};
use upload::Upload;

/// Reads of one connection before the others get their turn.
const READS_PER_TURN: usize = 8;
/// Bytes of answered requests are dropped from the front of the buffer when they are at least so many.
const COMPACT_BYTES: usize = 64 * 1024;
/// A buffer above this is freed when nothing is under way.
const KEEP_BYTES: usize = 1024 * 1024;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Being opened; requests may be appended.
    Opening,
    /// Open.
    Open,
    /// Gone for good.
    Closed,
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub enum Ended {
    /// It never opened.
    #[error("cannot connect: {0}")]
    Dial(#[from] DialError),
    /// The node closed it.
    #[error("the node closed the connection")]
    ByNode,
    /// The socket failed.
    #[error("{0}")]
    Socket(io::Error),
    /// The node sent what is no reply.
    #[error("malformed reply: {0}")]
    Protocol(#[from] ProtocolError),
    /// A reply came that nobody had asked for.
    #[error("a reply without a request")]
    Unasked,
    /// The node has not answered for too long.
    #[error("the node does not answer")]
    Stalled,
    /// We closed it: nothing was under way, or nobody waits any more.
    #[error("closed")]
    ByUs,
}

/// Requests under way.
#[derive(Debug)]
struct State {
    phase: Phase,
    /// Bytes of the requests in `fifo`, in their order.
    out: Vec<u8>,
    /// Where the first request of `fifo` starts in `out`.
    acked: usize,
    /// Bytes of `out` that the socket has taken.
    written: usize,
    fifo: VecDeque<Pending>,
    /// Frames that the node has answered, for the names of requests in logs.
    answered: u64,
}

/// What was read.
#[derive(Debug, Default)]
struct Input {
    buffer: InBuffer,
    scanner: ReplyScanner,
    /// A big reply that is passed on as it comes.
    stream: Option<Passage>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Connection {
    /// The node it leads to.
    pub link: Rc<Link>,
    /// Whether it is in the worker's list of connections to flush.
    pub queued: Cell<bool>,
    /// Whether the socket took no more bytes, or failed while it was written to.
    blocked: Cell<bool>,
    /// There was room to write since then.
    writable: Cell<bool>,
    /// The socket may have more to read.
    readable: Cell<bool>,
    /// The node has sent its last byte: reads go on up to the end.
    hung_up: Cell<bool>,
    /// Its name in logs; see [`torc_protocol::trace`].
    name: Cell<u64>,
    /// The node's number of it; 0: not known.
    node_id: Cell<u64>,
    /// Whether the node was asked to end what waits on it: that may come when something else does, so nobody else may
    /// have it.
    spoilt: Cell<bool>,
    /// Whether a reply is passed on as it comes.
    streaming: Cell<bool>,
    /// Whether a request is passed on as it comes.
    uploading: Cell<bool>,
    /// That request.
    upload: RefCell<Option<Upload>>,
    /// Whether the reply that passes has it to itself: nobody else may have it.
    is_aside: Cell<bool>,
    /// Before this requests that are overdue say nothing of the node, on the worker's clock.
    lenient_until_ns: Cell<u64>,
    /// Set by whoever wants it to end.
    end: Cell<Option<EndWish>>,
    state: RefCell<State>,
    stream: RefCell<Option<StdStream>>,
    input: RefCell<Input>,
    /// Asks for a turn; `None`: the driver does not have it yet.
    call: RefCell<Option<Call>>,
}

/// When a connection that is not wanted any more ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndWish {
    Now,
    Stalled,
    WhenIdle,
}

/// A request that a broken connection leaves behind, or that was taken away from its connection.
#[derive(Debug)]
pub struct Orphan {
    /// What it is.
    pub pending: Pending,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the node may have got all of them, or may still get them.
    pub sent: bool,
}

/// A request under way, as somebody looks at it who may take it away.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its place in the row.
    place: usize,
    /// What it is.
    pub pending: &'a Pending,
    /// Its bytes.
    bytes: &'a [u8],
    /// Whether some of them have left.
    sent: bool,
}

impl Connection {
    /// Starts to open a connection; requests may be appended at once.
    pub fn open(worker: &Rc<Worker>, link: &Rc<Link>) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            link: Rc::clone(link),
            queued: Cell::new(false),
            blocked: Cell::new(false),
            writable: Cell::new(false),
            readable: Cell::new(true),
            hung_up: Cell::new(false),
            end: Cell::new(None),
            state: RefCell::new(State {
                phase: Phase::Opening,
                out: Vec::new(),
                acked: 0,
                written: 0,
                fifo: VecDeque::new(),
                answered: 0,
            }),
            name: Cell::new(0),
            node_id: Cell::new(0),
            spoilt: Cell::new(false),
            streaming: Cell::new(false),
            uploading: Cell::new(false),
            upload: RefCell::new(None),
            is_aside: Cell::new(false),
            lenient_until_ns: Cell::new(0),
            stream: RefCell::new(None),
            input: RefCell::default(),
            call: RefCell::new(None),
        });
        tokio::task::spawn_local(dial(Rc::clone(worker), Rc::clone(&connection)));
        connection
    }

    /// Whether requests may be appended.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.end.get().is_none() && self.state.borrow().phase != Phase::Closed
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.state.borrow().fifo.len() + usize::from(self.streaming.get())
    }

    /// Marks it as not to be used again, and gives the node's number of it; `None`: nothing waits on it, or the number is
    /// not known.
    pub fn spoil(&self) -> Option<u64> {
        let id = self.node_id.get();
        let waits = id != 0 && self.in_flight() > 0 && self.phase() == Phase::Open;
        waits.then(|| {
            self.spoilt.set(true);
            id
        })
    }

    /// Whether it may not be used again.
    pub fn is_spoilt(&self) -> bool {
        self.spoilt.get()
    }

    /// Whether what is under way is a step of a command that was answered meanwhile.
    pub fn is_called_off(&self) -> bool {
        self.state.borrow().fifo.front().is_some_and(Pending::is_called_off)
    }

    /// Bytes of requests under way.
    #[inline]
    pub fn buffered(&self) -> usize {
        let state = self.state.borrow();
        state.out.len() - state.acked
    }

    /// Bytes of memory that its buffers hold.
    pub fn memory(&self) -> usize {
        self.state.borrow().out.capacity() + self.input.borrow().buffer.capacity()
    }

    /// Appends a request. The caller has it flushed.
    #[inline]
    pub fn push(&self, mut pending: Pending, body: Body<'_>) {
        let mut state = self.state.borrow_mut();
        let id = pending.ticket.as_ref().map(Ticket::id);
        pending.len = body.write(id, &mut state.out);
        pending.skip = pending.skips;
        state.fifo.push_back(pending);
        drop(state);
        self.link.metrics.requests.add(1);
        self.link.metrics.in_flight.add(1);
    }

    /// Ends it when nothing is under way any more.
    pub fn end_when_idle(&self) {
        if self.end.get().is_none() {
            self.end.set(Some(EndWish::WhenIdle));
        }
        self.wake();
    }

    /// Ends it now; what is under way is treated as lost.
    pub fn end_now(&self) {
        self.end.set(Some(EndWish::Now));
        self.wake();
    }

    /// Ends it as one whose node answers nothing.
    pub fn give_up(&self) {
        self.end.set(Some(EndWish::Stalled));
        self.wake();
    }

    /// Asks for a turn.
    pub fn wake(&self) {
        if let Some(call) = &*self.call.borrow() {
            call.wake();
        }
    }

    /// Takes the requests that are overdue away, and ends the connection when the node has answered nothing for
    /// `patience_ns` beyond a deadline.
    pub fn take_overdue(&self, now_ns: u64, patience_ns: u64, overdue: &mut Vec<(Orphan, Trace)>) {
        let lenient = self.streaming.get() || now_ns < self.lenient_until_ns.get();
        let (mut request, mut traces) = (0, SmallVec::<[Trace; 4]>::new());
        let stalled = {
            let state = self.state.borrow();
            request += state.answered;
            let due_ns = state.fifo.front().map_or(NEVER, |first| first.deadline_ns);
            !lenient && due_ns.saturating_add(patience_ns) < now_ns
        };
        let taken = self.take_if(|asked| {
            request += 1 + u64::from(asked.pending.skip);
            let late = asked.pending.deadline_ns <= now_ns && asked.pending.client.is_some();
            traces.extend(late.then(|| Trace { connection: self.name.get(), request }));
            late
        });
        overdue.extend(taken.into_iter().zip(traces));
        if stalled {
            self.give_up();
        }
    }

    /// Takes the requests that `wanted` chooses away. One of which nothing has left is taken back whole; the node gets all
    /// of any other, whose place stays in the row: its reply will be dropped.
    pub fn take_if(&self, mut wanted: impl FnMut(&Asked<'_>) -> bool) -> Vec<Orphan> {
        let mut state = self.state.borrow_mut();
        let State { out, acked, written, fifo, .. } = &mut *state;
        let (mut at, mut taken, mut unsent) = (*acked, Vec::new(), Vec::new());
        for (place, pending) in fifo.iter_mut().enumerate() {
            let range = at..at + pending.len;
            at = range.end;
            let bytes = out.get(range.clone()).unwrap_or_default();
            // Of a request that passes no bytes are kept, and they have begun to leave.
            let sent = range.start < *written || range.is_empty();
            if wanted(&Asked { place, pending, bytes, sent }) && pending.client.is_some() {
                taken.push(orphan(pending, bytes, sent));
                unsent.extend((!sent).then_some((place, range)));
            }
        }
        self.link.metrics.in_flight.sub(unsent.len() as u64);
        for (place, range) in unsent.into_iter().rev() {
            fifo.remove(place);
            out.drain(range);
        }
        taken
    }

    /// Takes the requests of `chosen` that may be sent elsewhere, in the order of each client's requests: from its first one
    /// on that may not, a client's requests stay, and it gives no further ones until they are answered.
    ///
    /// A request may not of which the node may have got something and that must not be executed twice. Where the node still
    /// `answers`, that is also a write which it does not know again: it could execute it after later ones (FLUSHALL). Nor may
    /// a read go that it may have got together with a later write of the same client: elsewhere it could show what that has
    /// written.
    pub fn take_in_order(&self, answers: bool, chosen: impl Fn(&Pending) -> bool) -> Vec<Orphan> {
        let overtaken = if answers { self.sent_before_writes() } else { Vec::new() };
        let mut bound: Vec<Rc<Client>> = Vec::new();
        self.take_if(|asked| {
            let Some(client) = asked.pending.client.as_ref().filter(|_| chosen(asked.pending)) else {
                return false;
            };
            let is_bound = bound.iter().any(|known| Rc::ptr_eq(known, client));
            let (command, bytes) = (asked.pending.command, asked.bytes);
            let safe = !asked.sent
                || match answers && asked.pending.write {
                    true => happens_once(command, bytes),
                    false => {
                        !overtaken.get(asked.place).copied().unwrap_or(false) && may_repeat(command, bytes)
                    }
                };
            if !is_bound && !safe {
                client.bound.set(true);
                bound.push(Rc::clone(client));
            }
            !is_bound && safe
        })
    }

    /// For each request under way whether the node may have got a later write of the same client.
    fn sent_before_writes(&self) -> Vec<bool> {
        let state = self.state.borrow();
        let mut writers: HashSet<u64, ahash::RandomState> = HashSet::default();
        let mut end = state.out.len();
        let mut found: Vec<bool> = Vec::with_capacity(state.fifo.len());
        for pending in state.fifo.iter().rev() {
            end -= pending.len;
            let client = pending.client.as_ref().map_or(0, |client| client.id());
            found.push(writers.contains(&client));
            if pending.write && end < state.written {
                writers.insert(client);
            }
        }
        found.reverse();
        found
    }

    /// The driver has it from now on: `call` asks for its turns, and `watch` has its socket watched.
    pub fn take_seat(&self, call: Call, watch: impl FnOnce(&StdStream) -> io::Result<()>) -> io::Result<()> {
        self.call.replace(Some(call));
        self.stream.borrow().as_ref().map_or(Ok(()), watch)
    }

    /// Something has happened to the socket; true when it is to have a turn.
    #[inline]
    pub fn is_ready(&self, ready: &Readiness) -> bool {
        self.readable.set(self.readable.get() || ready.readable);
        self.hung_up.set(self.hung_up.get() || ready.ended);
        self.writable.set(self.writable.get() || ready.writable);
        ready.readable || (ready.writable && self.blocked.get())
    }

    /// Writes what the socket takes now. What does not leave, or an error, is seen to in its turn.
    pub fn flush(&self) {
        if self.blocked.get() || self.phase() != Phase::Open {
            return;
        }
        if let Err(cause) = self.write() {
            self.blocked.set(true);
            if cause.kind() != io::ErrorKind::WouldBlock {
                self.writable.set(true);
                self.wake();
            }
        }
    }

    /// Writes until all has left; a request that passes is told how much did.
    fn write(&self) -> io::Result<()> {
        let stream = self.stream.borrow();
        let Some(stream) = &*stream else { return Ok(()) };
        let mut state = self.state.borrow_mut();
        let before = state.written;
        let written = loop {
            if state.written >= state.out.len() {
                break Ok(());
            }
            match stream.send(state.out.get(state.written..).unwrap_or_default()) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => state.written += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => break Err(cause),
            }
        };
        let count = state.written - before;
        drop(state);
        if self.uploading.get() {
            self.uploaded(count);
        }
        written
    }

    /// Its turn: writes when it has waited for room, reads, delivers. True when there is more to do at once, after the
    /// others.
    pub fn turn(self: &Rc<Self>, worker: &Rc<Worker>) -> Result<bool, Ended> {
        if let Some(call) = &*self.call.borrow() {
            call.answered();
        }
        match self.end.get() {
            Some(EndWish::Now) => return Err(Ended::ByUs),
            Some(EndWish::Stalled) => return Err(Ended::Stalled),
            Some(EndWish::WhenIdle) if self.in_flight() == 0 => return Err(Ended::ByUs),
            _ => {}
        }
        if self.blocked.get() && self.writable.replace(false) {
            worker.hot.flights.left();
            self.write_on()?;
        }
        let mut input = self.input.borrow_mut();
        for _ in 0..READS_PER_TURN {
            if let Some(stream) = input.stream.as_ref().filter(|stream| stream.is_ahead(worker)) {
                stream.wait_for_client(Rc::clone(self));
                return Ok(false);
            }
            if !self.readable.get() {
                input.buffer.release(&worker.pool);
                return self.rest();
            }
            let received = {
                let stream = self.stream.borrow();
                let Some(stream) = &*stream else { return Err(Ended::ByUs) };
                let Input { buffer, scanner, stream: passing } = &mut *input;
                let wanted = passing.as_ref().map_or(scanner.need_hint(), Passage::wanted);
                buffer.recv(stream, wanted, &worker.pool)
            };
            match received {
                Received::Nothing => self.readable.set(false),
                Received::End => return Err(Ended::ByNode),
                Received::Failed(cause) => return Err(Ended::Socket(cause)),
                Received::Bytes { all, .. } => {
                    // What comes later is told anew, but for the end that was told already.
                    self.readable.set(!all || self.hung_up.get());
                    self.deliver(worker, &mut input)?;
                }
            }
            let kept = input.buffer.len();
            if kept > STREAM_BYTES && kept > worker.settings.borrow().client_output_hard_bytes {
                return Err(self.refuse_reply(worker, kept));
            }
        }
        Ok(true)
    }

    /// There is nothing to do for now; one that nobody wants any more ends.
    fn rest(&self) -> Result<bool, Ended> {
        let over = self.end.get() == Some(EndWish::WhenIdle) && self.in_flight() == 0;
        if over { Err(Ended::ByUs) } else { Ok(false) }
    }

    /// There may be room again.
    fn write_on(&self) -> Result<(), Ended> {
        match self.write() {
            Ok(()) => self.blocked.set(false),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            Err(cause) => return Err(Ended::Socket(cause)),
        }
        Ok(())
    }
}

/// A copy of a request whose place stays in the row.
fn orphan(pending: &mut Pending, bytes: &[u8], sent: bool) -> Orphan {
    let (client, quest, ticket) = (pending.client.take(), pending.quest.take(), pending.ticket.take());
    let (writing, flight) = (pending.writing.take(), pending.flight.take());
    let copy = Pending { client, quest, ticket, writing, flight, refused: false, ..*pending };
    Orphan { pending: copy, bytes: bytes.to_vec(), sent }
}

/// Opens it, and hands it to the driver.
async fn dial(worker: Rc<Worker>, connection: Rc<Connection>) {
    let dialled =
        handshake::dial(&worker, &connection.link.target.address, connection.link.is_doubted()).await;
    let dialled = dialled.and_then(|Dialled { stream, name, node_id, answered }| {
        Ok((stream.into_std()?, name, node_id, answered))
    });
    let (stream, name, node_id, answered) = match dialled {
        Ok(opened) => opened,
        Err(cause) => return connection.close(&worker, &Ended::Dial(cause)),
    };
    connection.node_id.set(node_id);
    connection.stream.replace(Some(stream));
    connection.name.set(name);
    connection.state.borrow_mut().answered = answered;
    connection.state.borrow_mut().phase = Phase::Open;
    connection.link.opened();
    worker.mark_connection(&connection);
    worker.door.enter(Arrival::Node(connection));
}
