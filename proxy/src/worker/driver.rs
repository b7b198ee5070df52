//! The driver: one task that reads and writes all sockets of a worker, in rounds.
//!
//! ```text
//! look at the sockets → nodes: read what they have answered → clients: read, take requests (at most a group)
//!                     → clients are written to → nodes are written to, now or some rounds later ([`Gathering`])
//! ```
//! A connection is a value here, not a task: what it waits for beside its socket wakes it through a [`Call`].
//!
//! When a look finds nobody, what was gathered for the nodes leaves; then the driver looks on for a while ([`Patience`]), or
//! rests until its runtime wakes it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use torc_runtime::clock::thread_cpu_ns;
use torc_runtime::listen::Poller;

use super::Worker;
use super::door::{Arrival, Call, Token};
use super::gathering::Gathering;
use super::patience::Patience;
use crate::downstream::{self, Served, Turn};
use crate::upstream::connection::Connection;

/// Clients that have a turn between two looks.
const GROUP: usize = 64;
/// Clients that have a turn between two readings of the clock.
const TURNS_PER_TIME: usize = 8;

/// Who has a seat.
enum Guest {
    Client(Box<Served>),
    Node(Rc<Connection>),
}

#[derive(Default)]
struct Seat {
    guest: Option<Guest>,
    /// How many have left the seat: what is still told of them concerns nobody.
    left: u32,
    /// It is in a queue.
    queued: bool,
}

/// See the module's text.
pub struct Driver {
    worker: Rc<Worker>,
    poller: Poller,
    seats: Vec<Seat>,
    free: Vec<u32>,
    /// Seats of clients whose turn it is, each once.
    clients: VecDeque<u32>,
    /// Seats of nodes whose turn it is, each once.
    nodes: VecDeque<u32>,
    /// As taken out of the door.
    called: Vec<Token>,
    /// What is to be written to the nodes.
    gathering: Gathering,
    /// How long nobody is waited for.
    patience: Patience,
    /// It went to rest, and was not woken yet.
    resting: bool,
}

fn token(seat: u32, left: u32) -> Token {
    Token(u64::from(left) << 32 | u64::from(seat))
}

impl Driver {
    /// A driver without connections, in the runtime this is called in.
    pub fn new(worker: &Rc<Worker>) -> io::Result<Driver> {
        Ok(Driver {
            worker: Rc::clone(worker),
            poller: Poller::new()?,
            seats: Vec::new(),
            free: Vec::new(),
            clients: VecDeque::new(),
            nodes: VecDeque::new(),
            called: Vec::new(),
            gathering: Gathering::new(),
            patience: Patience::new(),
            resting: false,
        })
    }

    /// Serves until the sockets cannot be watched any more, which does not happen.
    pub async fn run(mut self) -> io::Result<()> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.worker.door.begin_work(context.waker());
        self.worker.clock.refresh();
        if std::mem::take(&mut self.resting) {
            self.patience.was_woken(thread_cpu_ns);
            // The look that follows is for what woke it.
            let _ = self.poller.poll_ready(context)?;
        }
        loop {
            self.answer_the_door();
            self.look()?;
            if self.is_anybody_ready() {
                self.patience.found(|| self.worker.clock.refresh());
                self.round();
                break;
            }
            let now_ns = self.worker.clock.refresh();
            let waited_ns = self.patience.nobody(now_ns);
            if self.gathering.lingers(waited_ns, now_ns) {
                continue;
            }
            if self.write_to_nodes() | self.worker.write_to_clients() || self.worker.door.is_knocked_at() {
                self.patience.begin_anew();
                continue;
            }
            if !self.patience.looks_on(waited_ns) && self.poller.poll_ready(context)?.is_pending() {
                self.patience.rests(thread_cpu_ns);
                self.resting = true;
                self.worker.door.end_work();
                return Poll::Pending;
            }
        }
        // Other tasks have their turn between two rounds.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_anybody_ready(&self) -> bool {
        !self.clients.is_empty() || !self.nodes.is_empty()
    }

    /// Notes whose sockets are ready.
    fn look(&mut self) -> io::Result<()> {
        for ready in self.poller.look()? {
            let seat = ready.token as u32;
            let Some(place) = self.seats.get_mut(seat as usize) else { continue };
            if Token(ready.token) != token(seat, place.left) {
                continue;
            }
            let (wanted, turns) = match &mut place.guest {
                Some(Guest::Client(client)) => (client.is_ready(&ready), &mut self.clients),
                Some(Guest::Node(node)) => (node.is_ready(&ready), &mut self.nodes),
                None => continue,
            };
            if wanted {
                queue(turns, seat, &mut place.queued);
            }
        }
        Ok(())
    }

    /// Seats who has come, and notes who was called.
    fn answer_the_door(&mut self) {
        if !self.worker.door.is_knocked_at() {
            return;
        }
        while let Some(arrival) = self.worker.door.next_arrival() {
            self.seat(arrival);
        }
        let mut called = std::mem::take(&mut self.called);
        self.worker.door.take_called(&mut called);
        for called in called.drain(..) {
            let seat = called.0 as u32;
            let Some(place) = self.seats.get_mut(seat as usize) else { continue };
            if called != token(seat, place.left) {
                continue;
            }
            match &place.guest {
                Some(Guest::Client(_)) => queue(&mut self.clients, seat, &mut place.queued),
                Some(Guest::Node(_)) => queue(&mut self.nodes, seat, &mut place.queued),
                None => {}
            }
        }
        self.called = called;
    }

    fn seat(&mut self, arrival: Arrival) {
        let seat = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            (self.seats.len() - 1) as u32
        });
        let Some(place) = self.seats.get_mut(seat as usize) else { return };
        let token = token(seat, place.left);
        let call = Call::new(Rc::clone(&self.worker.door), token);
        let watched = match arrival {
            Arrival::Client(accepted) => {
                let client = downstream::welcome(&self.worker, accepted, call);
                let watched = self.poller.add(client.stream(), token.0);
                place.guest = Some(Guest::Client(Box::new(client)));
                queue(&mut self.clients, seat, &mut place.queued);
                watched
            }
            Arrival::Node(node) => {
                let watched = node.take_seat(call, |stream| self.poller.add(stream, token.0));
                place.guest = Some(Guest::Node(node));
                queue(&mut self.nodes, seat, &mut place.queued);
                watched
            }
        };
        // It ends in its first turn.
        if let Err(error) = watched {
            tracing::warn!(%error, "a connection cannot be watched: closed");
            match &place.guest {
                Some(Guest::Client(client)) => client.kill(),
                Some(Guest::Node(node)) => node.end_now(),
                None => {}
            }
        }
    }

    /// Everybody who is ready has a turn, clients up to a group, and what came of it is written.
    fn round(&mut self) {
        for _ in 0..self.nodes.len() {
            let Some(seat) = self.nodes.pop_front() else { break };
            self.node_turn(seat);
        }
        for turn in 0..self.clients.len().min(GROUP) {
            let Some(seat) = self.clients.pop_front() else { break };
            if turn % TURNS_PER_TIME == TURNS_PER_TIME - 1 {
                self.worker.clock.refresh();
            }
            self.client_turn(seat);
        }
        self.worker.write_to_clients();
        let waiting = self.worker.unwritten_requests();
        if waiting == 0 {
            return;
        }
        if self.gathering.note(waiting, self.worker.clock.refresh()) {
            self.write_to_nodes();
        }
    }

    fn node_turn(&mut self, seat: u32) {
        let Some(place) = self.seats.get_mut(seat as usize) else { return };
        let Some(Guest::Node(node)) = &place.guest else { return };
        place.queued = false;
        match node.turn(&self.worker) {
            Ok(false) => {}
            Ok(true) => queue(&mut self.nodes, seat, &mut place.queued),
            Err(ended) => {
                let node = Rc::clone(node);
                self.vacate(seat);
                node.close(&self.worker, &ended);
            }
        }
    }

    fn client_turn(&mut self, seat: u32) {
        let Some(place) = self.seats.get_mut(seat as usize) else { return };
        let Some(Guest::Client(client)) = &mut place.guest else { return };
        place.queued = false;
        match client.turn(&self.worker) {
            Turn::Rests => {}
            Turn::GoesOn => queue(&mut self.clients, seat, &mut place.queued),
            Turn::Ended => self.client_left(seat),
        }
    }

    fn client_left(&mut self, seat: u32) {
        if let Some(Guest::Client(client)) = self.vacate(seat) {
            client.part(&self.worker);
        }
    }

    fn vacate(&mut self, seat: u32) -> Option<Guest> {
        let place = self.seats.get_mut(seat as usize)?;
        place.left = place.left.wrapping_add(1);
        self.free.push(seat);
        place.guest.take()
    }

    /// Writes what was gathered for the nodes. True if there was anything.
    fn write_to_nodes(&mut self) -> bool {
        self.gathering.written();
        self.worker.write_to_nodes()
    }
}

fn queue(queue: &mut VecDeque<u32>, seat: u32, queued: &mut bool) {
    if !std::mem::replace(queued, true) {
        queue.push_back(seat);
    }
}
