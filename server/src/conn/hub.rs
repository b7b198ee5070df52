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
//!
//! While a connection executes it is out of its seat and the hub is free. So a script that goes on and on can have the
//! hub serve the others in between ([`meanwhile`]).

mod calls;
mod meanwhile;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use torc_runtime::clock;
use torc_runtime::listen::acceptor::Accepted;
use torc_runtime::listen::{Poller, Readiness};

use super::Protocol;
use super::connection::{Connection, End, Moving};
use super::worker::Worker;
use crate::exec::{Batch, Executor};
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
    /// The connection executes and will be back.
    away: bool,
    /// What was told of the socket while the connection was away.
    missed: Option<Readiness>,
    /// It was called while it was away.
    called: bool,
}

/// See the module's text.
pub struct Hub {
    worker: Rc<Worker>,
    door: Rc<Door>,
    poller: Poller,
    /// A look at the sockets is likely to find some, though the runtime has told of none.
    again: bool,
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// Seats whose connections have something to do, each once.
    busy: VecDeque<u32>,
    /// The group under way.
    group: Vec<u32>,
    /// Seats that were called, as taken out of `calls`.
    called: Vec<u64>,
    /// What the acceptor hands to the worker, for who cannot wait for the worker's own look.
    fresh: Option<Rc<RefCell<mpsc::Receiver<Accepted<Protocol>>>>>,
    /// Seats of the group that were left while a script was under way: free when the group has ended.
    vacated: Vec<u32>,
    /// For requests that are served while a script is under way; made when there first is one.
    other_exec: Option<Box<Executor>>,
}

impl Seat {
    /// Something was told of a socket whose connection is not here.
    fn miss(&mut self, ready: Readiness) {
        if self.away {
            self.missed = Some(self.missed.map_or(ready, |missed| missed.and(ready)));
        }
    }
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
            again: false,
            seats: Vec::new(),
            free: Vec::new(),
            busy: VecDeque::new(),
            group: Vec::with_capacity(GROUP),
            called: Vec::new(),
            fresh: None,
            vacated: Vec::new(),
            other_exec: None,
        })
    }

    /// Lets somebody in by itself where the worker's other tasks have no turn.
    pub fn with_acceptor(mut self, fresh: Rc<RefCell<mpsc::Receiver<Accepted<Protocol>>>>) -> Hub {
        self.fresh = Some(fresh);
        self
    }

    /// The way in.
    pub fn door(&self) -> &Rc<Door> {
        &self.door
    }

    /// Serves connections until the door is closed and the last of them has nothing left to send.
    pub async fn run(self) -> io::Result<()> {
        let worker = self.worker.clone();
        let hub = Rc::new(RefCell::new(self));
        let held = Rc::downgrade(&hub);
        worker.exec.borrow_mut().serve_meanwhile(Rc::new(move || {
            if let Some(hub) = held.upgrade()
                && let Ok(mut hub) = hub.try_borrow_mut()
            {
                hub.serve_meanwhile();
            }
        }));
        poll_fn(|cx| Hub::poll(&hub, cx)).await
    }

    fn poll(hub: &RefCell<Hub>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let groups = match hub.borrow_mut().poll_busy(cx) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
            Poll::Ready(groups) => groups?,
            Poll::Pending => return Poll::Pending,
        };
        for _ in 0..groups {
            Hub::turn(hub);
        }
        let worker = hub.borrow().worker.clone();
        worker.node.shard.announce(worker.index);
        // Other tasks of the worker have their turn between two of ours.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until somebody has something to do; answers how many groups have, 0: the last one has gone.
    fn poll_busy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.door.calls.set_hub(cx.waker());
        let closed = self.door.closed.get();
        loop {
            // Told once for all that happened before the look, the runtime tells again of what happens behind it: no look
            // need find nothing.
            let told = self.poller.poll_ready(cx)?.is_ready();
            if told || self.again || !self.busy.is_empty() {
                // Where several were ready at once others will be by the end of the turn, without having to wake us.
                self.again = self.look_at_sockets()? > usize::from(told);
            }
            self.look_at_others();
            if !self.busy.is_empty() {
                return Poll::Ready(Ok(self.busy.len().div_ceil(GROUP)));
            }
            if closed && self.all_sent() {
                return Poll::Ready(Ok(0));
            }
            if !told && !self.again {
                return Poll::Pending;
            }
        }
    }

    /// Notes whose sockets are ready; answers how many, up to a bound: after many there may be more.
    fn look_at_sockets(&mut self) -> io::Result<usize> {
        let mut count = 0;
        for ready in self.poller.look()? {
            count += 1;
            let seat = ready.token as u32;
            let Some(place) = self.seats.get_mut(seat as usize) else { continue };
            if ready.token != token(seat, place.left) {
                continue;
            }
            let Some(connection) = &mut place.connection else {
                place.miss(ready);
                continue;
            };
            if connection.is_ready(&ready) {
                self.busy.push_back(seat);
            }
        }
        Ok(count)
    }

    /// Notes who was called, and lets in who has arrived.
    fn look_at_others(&mut self) {
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
                None => return,
            }
        }
    }

    /// Something that the connection waits for beside its socket may have come.
    fn stir(&mut self, called: u64) {
        let seat = called as u32;
        let Some(place) = self.seats.get_mut(seat as usize) else { return };
        if called != token(seat, place.left) {
            return;
        }
        place.called |= place.away;
        if let Some(connection) = &mut place.connection
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
    fn turn(hub: &RefCell<Hub>) {
        hub.borrow_mut().begin_group();
        Hub::execute_group(hub);
        hub.borrow_mut().finish_group();
    }

    fn begin_group(&mut self) {
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
    }

    fn finish_group(&mut self) {
        for at in 0..self.group.len() {
            let seat = self.group[at];
            let Some(connection) = &mut self.seats[seat as usize].connection else { continue };
            match connection.finish() {
                Ok(true) => self.busy.push_back(seat),
                Ok(false) => {}
                Err(end) => self.end(seat, end),
            }
        }
        self.group.clear();
        self.free.append(&mut self.vacated);
    }

    /// Takes a connection of the group out of its seat.
    fn leave_seat(&mut self, at: usize) -> Option<(u32, Box<Connection>)> {
        let seat = *self.group.get(at)?;
        let place = &mut self.seats[seat as usize];
        let connection = place.connection.take()?;
        place.away = true;
        Some((seat, connection))
    }

    /// The connection is back from executing.
    fn take_seat(&mut self, seat: u32, mut connection: Box<Connection>) {
        let place = &mut self.seats[seat as usize];
        place.away = false;
        if let Some(missed) = place.missed.take()
            && connection.is_ready(&missed)
        {
            self.busy.push_back(seat);
        }
        if std::mem::take(&mut place.called) && connection.is_stirred() {
            self.busy.push_back(seat);
        }
        place.connection = Some(connection);
    }

    /// Executes the requests of the group in as few batches as the bounds allow.
    fn execute_group(hub: &RefCell<Hub>) {
        let (worker, count) = {
            let hub = hub.borrow();
            (hub.worker.clone(), hub.group.len())
        };
        let mut exec = worker.exec.borrow_mut();
        let mut ahead = worker.ahead.borrow_mut();
        let mut rest = 0..count;
        while !rest.is_empty() {
            let mut batch = Batch::begin(&worker.node, &mut exec, worker.now());
            let mut served = 0;
            for at in rest.by_ref() {
                let Some((seat, mut connection)) = hub.borrow_mut().leave_seat(at) else { continue };
                served += connection.execute(&mut batch, &mut ahead);
                hub.borrow_mut().take_seat(seat, connection);
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
