//! The connections of a worker, driven in turns by one task.
//!
//! ```text
//! look at the sockets → a group of those with something to do:
//!     each reads once, parses ahead, notes its keys     (begin)
//!     one batch executes the requests of all of them    (execute)
//!     each writes its replies                           (finish)
//! ```
//!
//! So the misses of all requests of a group overlap, they share the clock and the gate, and their replies leave close
//! together: fewer of them wake a client that sleeps already. A connection is a plain value here; what it waits for
//! beside its socket (a mark, a time, a message) wakes it through its [`Call`].

mod calls;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use torc_runtime::clock;
use torc_runtime::listen::Poller;
use torc_runtime::listen::acceptor::Accepted;

use super::Protocol;
use super::connection::{Connection, End, Moving};
use super::worker::Worker;
use crate::exec::Batch;
pub use calls::{Call, Calls};

/// Connections of one group: each has two buffers in its hands.
const GROUP: usize = 64;

/// Requests of one batch, whichever connections they are of: they share a look at the clock, and the gate is held.
const BATCH_REQUESTS: usize = 512;

/// Nanoseconds that slow commands of a batch may have taken before the next connection gets a batch of its own.
const BATCH_SLOW_NS: u64 = 1_000_000;

/// Somebody new.
#[derive(Debug)]
pub enum Arrival {
    /// From the acceptor.
    Fresh(Accepted<Protocol>),
    /// From another worker.
    Moved(Box<Moving>),
}

/// The way in, for other tasks of the worker's thread.
#[derive(Debug, Default)]
pub struct Door {
    arrivals: RefCell<VecDeque<Arrival>>,
    closed: Cell<bool>,
    calls: Arc<Calls>,
}

/// A place for a connection.
#[derive(Default)]
struct Seat {
    connection: Option<Box<Connection>>,
    /// How many connections have left the seat: what is still told of them concerns nobody.
    left: u32,
}

/// See the module's text.
pub struct Hub {
    worker: Rc<Worker>,
    door: Rc<Door>,
    poller: Poller,
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// Seats whose connections have something to do, each once.
    busy: VecDeque<u32>,
    /// The group under way.
    group: Vec<u32>,
    /// Seats that were called, as taken out of `calls`.
    called: Vec<u64>,
}

fn token(seat: u32, left: u32) -> u64 {
    u64::from(left) << 32 | u64::from(seat)
}

impl Door {
    /// Lets somebody in.
    pub fn enter(&self, arrival: Arrival) {
        self.arrivals.borrow_mut().push_back(arrival);
        self.calls.wake_hub();
    }

    /// No more come; connections end as soon as they have nothing to send.
    pub fn close(&self) {
        self.closed.set(true);
        self.calls.wake_hub();
    }
}

impl Hub {
    /// A hub without connections, in the runtime this is called in.
    pub fn new(worker: Rc<Worker>) -> io::Result<Hub> {
        Ok(Hub {
            worker,
            door: Rc::default(),
            poller: Poller::new()?,
            seats: Vec::new(),
            free: Vec::new(),
            busy: VecDeque::new(),
            group: Vec::with_capacity(GROUP),
            called: Vec::new(),
        })
    }

    /// The way in.
    pub fn door(&self) -> &Rc<Door> {
        &self.door
    }

    /// Serves connections until the door is closed and the last of them has nothing left to send.
    pub async fn run(mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.door.calls.set_hub(cx.waker());
        let closed = self.door.closed.get();
        self.look()?;
        while self.busy.is_empty() {
            if closed && self.all_sent() {
                return Poll::Ready(Ok(()));
            }
            if self.door.calls.are_waiting() || !self.door.arrivals.borrow().is_empty() {
                self.look()?;
                continue;
            }
            if self.poller.poll_ready(cx)?.is_pending() {
                return Poll::Pending;
            }
            self.look()?;
        }
        for _ in 0..self.busy.len().div_ceil(GROUP) {
            self.turn();
        }
        self.worker.node.shard.announce(self.worker.index);
        // Other tasks of the worker have their turn between two of ours.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes who has something to do.
    fn look(&mut self) -> io::Result<()> {
        for ready in self.poller.look()? {
            let seat = ready.token as u32;
            let Some(place) = self.seats.get_mut(seat as usize) else { continue };
            if ready.token != token(seat, place.left) {
                continue;
            }
            let Some(connection) = &mut place.connection else { continue };
            if connection.is_ready(&ready) {
                self.busy.push_back(seat);
            }
        }
        if self.door.calls.are_waiting() {
            let mut called = std::mem::take(&mut self.called);
            self.door.calls.take(&mut called);
            for token in called.drain(..) {
                self.stir(token);
            }
            self.called = called;
        }
        loop {
            let arrival = self.door.arrivals.borrow_mut().pop_front();
            match arrival {
                Some(arrival) => self.seat(arrival),
                None => return Ok(()),
            }
        }
    }

    /// Something that the connection waits for beside its socket may have come.
    fn stir(&mut self, called: u64) {
        let seat = called as u32;
        let Some(place) = self.seats.get_mut(seat as usize) else { return };
        if called == token(seat, place.left)
            && let Some(connection) = &mut place.connection
            && connection.is_stirred()
        {
            self.busy.push_back(seat);
        }
    }

    /// Gives somebody new a seat.
    fn seat(&mut self, arrival: Arrival) {
        let worker = self.worker.clone();
        let connection = match arrival {
            Arrival::Fresh(accepted) => Connection::admit(worker, accepted),
            Arrival::Moved(moving) => Some(Connection::arrive(worker, *moving)),
        };
        let Some(connection) = connection else { return };
        let seat = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            (self.seats.len() - 1) as u32
        });
        let place = &mut self.seats[seat as usize];
        let token = token(seat, place.left);
        let mut connection = Box::new(connection);
        if let Err(error) = self.poller.add(connection.stream(), token) {
            tracing::warn!(%error, "a connection cannot be watched: closed");
            self.free.push(seat);
            return;
        }
        connection.call_by(Call::new(self.door.calls.clone(), token));
        place.connection = Some(connection);
        self.busy.push_back(seat);
    }

    /// The connection leaves its seat.
    fn end(&mut self, seat: u32, end: End) {
        let place = &mut self.seats[seat as usize];
        let Some(connection) = place.connection.take() else { return };
        place.left = place.left.wrapping_add(1);
        self.free.push(seat);
        // Every other end is a quiet one: who hangs up is not worth a line.
        let End::Move(to) = end else { return };
        // A socket that goes on living must be told here no longer.
        if self.poller.remove(connection.stream()).is_ok()
            && let Some(moving) = connection.depart()
            && let Err(back) = self.worker.node.balance.send(to, moving)
        {
            self.seat(Arrival::Moved(back));
        }
    }

    /// Whether nobody has replies to come.
    fn all_sent(&self) -> bool {
        self.seats.iter().flat_map(|place| &place.connection).all(|connection| connection.is_all_sent())
    }

    /// One group reads, executes and writes.
    fn turn(&mut self) {
        let count = self.busy.len().min(GROUP);
        self.group.clear();
        self.group.extend(self.busy.drain(..count));
        for at in 0..self.group.len() {
            let seat = self.group[at];
            let Some(connection) = &mut self.seats[seat as usize].connection else { continue };
            if let Err(end) = connection.begin() {
                self.end(seat, end);
            }
        }
        self.execute();
        for at in 0..self.group.len() {
            let seat = self.group[at];
            let Some(connection) = &mut self.seats[seat as usize].connection else { continue };
            match connection.finish() {
                Ok(true) => self.busy.push_back(seat),
                Ok(false) => {}
                Err(end) => self.end(seat, end),
            }
        }
    }

    /// Executes the requests of the group in as few batches as the bounds allow.
    fn execute(&mut self) {
        let worker = &*self.worker;
        let mut exec = worker.exec.borrow_mut();
        let mut ahead = worker.ahead.borrow_mut();
        let mut rest = self.group.iter().copied().peekable();
        while rest.peek().is_some() {
            let mut batch = Batch::begin(&worker.node, &mut exec, worker.now());
            let mut served = 0;
            for seat in rest.by_ref() {
                let Some(connection) = &mut self.seats[seat as usize].connection else { continue };
                served += connection.execute(&mut batch, &mut ahead);
                if served >= BATCH_REQUESTS || batch.timed_ns() >= BATCH_SLOW_NS {
                    break;
                }
            }
            let ended_ns = clock::boottime_ns();
            batch.end_at(ended_ns);
            worker.node.stamp_progress(worker.index, ended_ns);
        }
    }
}
