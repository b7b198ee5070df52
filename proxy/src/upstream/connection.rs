//! One connection to a node: requests go out in a row, replies come back in the same row.
//!
//! The connection's task opens it, does the handshake, reads, and waits for room when the socket is full;
//! anybody on the worker's thread may append requests, which the flusher writes. The bytes of a request stay in
//! the buffer until its reply has come, so that it can be sent again when that is safe.

mod replies;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use thiserror::Error;
use tokio::io::AsyncWrite;
use torc_protocol::resp::{ProtocolError, ReplyScanner};
use torc_protocol::trace::Trace;
use torc_runtime::listen::Stream;

use super::body::Body;
use super::handshake::{self, DialError, Dialled};
use super::ids::Ticket;
use super::link::Link;
use super::pending::Pending;
use crate::buffer::InBuffer;
use crate::worker::Worker;

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
}

/// See the module's text.
#[derive(Debug)]
pub struct Connection {
    /// The node it leads to.
    pub link: Rc<Link>,
    /// Whether it is in the worker's list of connections to flush.
    pub queued: Cell<bool>,
    /// Whether the socket took no more bytes.
    blocked: Cell<bool>,
    /// Its name in logs; see [`torc_protocol::trace`].
    name: Cell<u64>,
    /// The node's number of it; 0: not known.
    node_id: Cell<u64>,
    /// Whether the node was asked to end what waits on it: that may come when something else does, so nobody else may
    /// have it.
    spoilt: Cell<bool>,
    /// Set by whoever wants it to end.
    end: Cell<Option<EndWish>>,
    state: RefCell<State>,
    stream: RefCell<Option<Stream>>,
    input: RefCell<Input>,
    waker: RefCell<Option<Waker>>,
}

/// When a connection that is not wanted any more ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndWish {
    Now,
    Stalled,
    WhenIdle,
}

/// A request that a broken connection leaves behind.
#[derive(Debug)]
pub struct Orphan {
    /// What it is.
    pub pending: Pending,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the node may have got all of them.
    pub sent: bool,
}

impl Connection {
    /// Starts to open a connection; requests may be appended at once.
    pub fn open(worker: &Rc<Worker>, link: &Rc<Link>) -> Rc<Connection> {
        let connection = Rc::new(Connection {
            link: Rc::clone(link),
            queued: Cell::new(false),
            blocked: Cell::new(false),
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
            stream: RefCell::new(None),
            input: RefCell::default(),
            waker: RefCell::new(None),
        });
        tokio::task::spawn_local(run(Rc::clone(worker), Rc::clone(&connection)));
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
        self.state.borrow().fifo.len()
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

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Takes the requests that are overdue from their clients (their replies will be dropped), and ends the
    /// connection when the node has answered nothing for `patience_ns` beyond a deadline.
    pub fn take_overdue(&self, now_ns: u64, patience_ns: u64, overdue: &mut Vec<(Orphan, Trace)>) {
        let mut state = self.state.borrow_mut();
        let State { out, acked, written, fifo, answered, .. } = &mut *state;
        let (mut at, mut request) = (*acked, *answered);
        let mut stalled = false;
        for (index, pending) in fifo.iter_mut().enumerate() {
            let end = at + pending.len;
            request += 1 + u64::from(pending.skip);
            if index == 0 && pending.deadline_ns.saturating_add(patience_ns) < now_ns {
                stalled = true;
            }
            if pending.deadline_ns <= now_ns && pending.client.is_some() {
                let bytes = out.get(at..end).unwrap_or_default();
                let trace = Trace { connection: self.name.get(), request };
                overdue.push((orphan(pending, bytes, end <= *written), trace));
            }
            at = end;
        }
        drop(state);
        if stalled {
            self.give_up();
        }
    }

    /// Takes the requests that `wanted` chooses away from their places (their replies will be dropped).
    pub fn take_if(&self, mut wanted: impl FnMut(&Pending, &[u8]) -> bool) -> Vec<Orphan> {
        let mut state = self.state.borrow_mut();
        let State { out, acked, written, fifo, .. } = &mut *state;
        let (mut at, mut taken) = (*acked, Vec::new());
        for pending in fifo.iter_mut() {
            let end = at + pending.len;
            let bytes = out.get(at..end).unwrap_or_default();
            if pending.client.is_some() && wanted(pending, bytes) {
                taken.push(orphan(pending, bytes, end <= *written));
            }
            at = end;
        }
        taken
    }

    /// Writes what the socket takes now. `Err`: the connection is broken (its task ends it).
    pub fn flush(&self) {
        let stream = self.stream.borrow();
        let Some(stream) = &*stream else { return };
        let mut state = self.state.borrow_mut();
        if self.blocked.get() || state.phase != Phase::Open {
            return;
        }
        while state.written < state.out.len() {
            match stream.try_write(state.out.get(state.written..).unwrap_or_default()) {
                Ok(count) if count > 0 => state.written += count,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // The task waits for room, or meets the error itself.
                Ok(_) | Err(_) => {
                    self.blocked.set(true);
                    drop(state);
                    self.wake();
                    return;
                }
            }
        }
    }

    /// The task's step: writes when it has to wait for room, reads, delivers.
    fn poll(&self, worker: &Rc<Worker>, context: &mut Context<'_>) -> Poll<Ended> {
        {
            let mut waker = self.waker.borrow_mut();
            match &mut *waker {
                Some(known) if known.will_wake(context.waker()) => {}
                place => *place = Some(context.waker().clone()),
            }
        }
        match self.end.get() {
            Some(EndWish::Now) => return Poll::Ready(Ended::ByUs),
            Some(EndWish::Stalled) => return Poll::Ready(Ended::Stalled),
            Some(EndWish::WhenIdle) if self.state.borrow().fifo.is_empty() => {
                return Poll::Ready(Ended::ByUs);
            }
            _ => {}
        }
        let mut input = self.input.borrow_mut();
        if self.blocked.get() {
            worker.hot.flights.left();
            if let Poll::Ready(Err(cause)) = self.poll_write(context) {
                return Poll::Ready(Ended::Socket(cause));
            }
        }
        for _ in 0..READS_PER_TURN {
            let read = {
                let mut stream = self.stream.borrow_mut();
                let Some(stream) = &mut *stream else { return Poll::Ready(Ended::ByUs) };
                let Input { buffer, scanner } = &mut *input;
                buffer.poll_read(stream, scanner.need_hint(), &worker.pool, context)
            };
            match read {
                Poll::Pending => {
                    input.buffer.release(&worker.pool);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(0)) => return Poll::Ready(Ended::ByNode),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(cause)) => return Poll::Ready(Ended::Socket(cause)),
            }
            if let Err(ended) = self.deliver(worker, &mut input) {
                return Poll::Ready(ended);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = &mut *stream else { return Poll::Pending };
        let mut state = self.state.borrow_mut();
        while state.written < state.out.len() {
            let bytes = state.out.get(state.written..).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(context, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => state.written += count,
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.blocked.set(false);
        Poll::Ready(Ok(()))
    }
}

/// A copy of a request whose place stays in the row.
fn orphan(pending: &mut Pending, bytes: &[u8], sent: bool) -> Orphan {
    let (client, quest, ticket) = (pending.client.take(), pending.quest.take(), pending.ticket.take());
    let (writing, flight) = (pending.writing.take(), pending.flight.take());
    let copy = Pending { client, quest, ticket, writing, flight, refused: false, ..*pending };
    Orphan { pending: copy, bytes: bytes.to_vec(), sent }
}

async fn run(worker: Rc<Worker>, connection: Rc<Connection>) {
    let dialled =
        handshake::dial(&worker, &connection.link.target.address, connection.link.is_doubted()).await;
    let ended = match dialled {
        Ok(Dialled { stream, name, node_id, answered }) => {
            connection.node_id.set(node_id);
            connection.stream.replace(Some(stream));
            connection.name.set(name);
            connection.state.borrow_mut().answered = answered;
            connection.state.borrow_mut().phase = Phase::Open;
            connection.link.opened();
            worker.mark_connection(&connection);
            std::future::poll_fn(|context| connection.poll(&worker, context)).await
        }
        Err(cause) => Ended::Dial(cause),
    };
    connection.close(&worker, &ended);
}
