//! A worker's connections to one life of one node: the shared ones, and those that clients have to themselves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::breaker::{Breaker, BreakerLimits};
use super::connection::{Connection, Ended, Phase};
use super::outlier::Sample;
use super::pending::Lane;
use crate::downstream::client::Client;
use crate::metrics::NodeMetrics;
use crate::table::Target;
use crate::text;
use crate::worker::Worker;

/// Dedicated connections that are kept open without use.
const MAX_IDLE: usize = 16;
/// Connections on which big replies pass to slow clients; beyond it such clients are closed.
const MAX_ASIDE: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub struct Link {
    /// The node.
    pub target: Target,
    /// What this worker counts about it.
    pub metrics: Arc<NodeMetrics>,
    /// By client number, first those of the quick lane, then those of the slow one.
    shared: RefCell<Vec<Option<Rc<Connection>>>>,
    /// Dedicated connections that nobody uses.
    idle: RefCell<Vec<Rc<Connection>>>,
    /// Dedicated connections that somebody uses, by [`Purpose`].
    busy: RefCell<[Vec<Rc<Connection>>; 2]>,
    /// Connections that a big reply has to itself.
    aside: RefCell<Vec<Rc<Connection>>>,
    /// Whether the node may be asked, on the worker's clock.
    breaker: Breaker,
    /// Replies, and the sum of their times, at the latest look at how slow the node is.
    looked: Cell<(u64, u64)>,
    /// Clients that wait for room in the buffers.
    waiting: RefCell<Vec<Rc<Client>>>,
    /// Whether the map does not name it any more.
    retired: Cell<bool>,
    /// Whether it leads a shard: its connections are opened before a request needs them.
    leads: Cell<bool>,
    /// Whether reads have been sent to it as a replica.
    reads: Cell<bool>,
    /// As a replica it is not read from before this, on the worker's clock: it was stale, or did not answer.
    stale_until_ns: Cell<u64>,
}

impl Link {
    /// A node to which nothing is open yet.
    pub fn new(target: Target, metrics: Arc<NodeMetrics>, connections: usize) -> Link {
        Link {
            target,
            metrics,
            shared: RefCell::new(vec![None; connections.max(1) * 2]),
            idle: RefCell::default(),
            busy: RefCell::default(),
            aside: RefCell::default(),
            breaker: Breaker::default(),
            looked: Cell::default(),
            waiting: RefCell::default(),
            retired: Cell::new(false),
            leads: Cell::new(false),
            reads: Cell::new(false),
            stale_until_ns: Cell::new(0),
        }
    }

    /// The shared connection for a client, opened if need be; always the same one, so that its requests keep
    /// their order. `None`: the node could not be reached a moment ago.
    #[inline]
    pub fn shared(self: &Rc<Self>, worker: &Rc<Worker>, client: u64, lane: Lane) -> Option<Rc<Connection>> {
        let mut shared = self.shared.borrow_mut();
        let index = index(client, lane, shared.len());
        let place = shared.get_mut(index)?;
        match place {
            Some(connection) if connection.is_usable() => Some(Rc::clone(connection)),
            _ => {
                if self.is_paused(worker) {
                    return None;
                }
                let connection = Connection::open(worker, self);
                *place = Some(Rc::clone(&connection));
                Some(connection)
            }
        }
    }

    /// Whether the node could not be reached a moment ago.
    pub fn is_paused(&self, worker: &Worker) -> bool {
        self.breaker.is_open(worker.clock.now_ns())
    }

    /// Whether a new connection has to answer a probe before requests go on it.
    pub fn is_doubted(&self) -> bool {
        self.breaker.is_doubted()
    }

    /// Whether the map names it as a primary.
    pub fn set_leads(&self, leads: bool) {
        self.leads.set(leads);
    }

    /// Whether a read may be sent to it as a replica.
    pub fn is_readable(&self, worker: &Worker, client: u64) -> bool {
        self.stale_until_ns.get() <= worker.clock.now_ns()
            && !self.is_paused(worker)
            && !self.is_full(client, Lane::Quick, worker.settings.borrow().upstream_buffer_bytes)
    }

    /// A read is sent to it as a replica.
    pub fn note_read(&self) {
        self.reads.set(true);
    }

    /// Whether reads have been sent to it as a replica.
    pub fn has_reads(&self) -> bool {
        self.reads.get()
    }

    /// As a replica it is not to be read from for a while.
    pub fn leave_alone(&self, worker: &Worker, nanoseconds: u64) {
        self.stale_until_ns.set(worker.clock.now_ns().saturating_add(nanoseconds));
    }

    /// A request was answered.
    #[inline]
    pub fn answered(&self) {
        self.breaker.answered();
    }

    /// Opens the shared connections of the quick lane that are not there, unless the node could not be reached a moment
    /// ago: the first requests after a new map, or after a failure, find them open.
    pub fn warm_up(self: &Rc<Self>, worker: &Rc<Worker>) {
        if !self.leads.get() && !self.reads.get() {
            return;
        }
        let lanes = self.shared.borrow().len();
        for client in 0..lanes as u64 / 2 {
            if !self.retired.get() && !self.is_paused(worker) {
                self.shared(worker, client, Lane::Quick);
            }
        }
    }

    /// A request timed out. When too many have in a row, the shared connections are given up: what is under way on them is
    /// judged as after any loss, and the circuit opens.
    pub fn timed_out(&self, limits: BreakerLimits) {
        self.metrics.timeouts.add(1);
        if !self.breaker.timed_out(limits) {
            return;
        }
        let shared: Vec<_> = self.shared.borrow().iter().flatten().cloned().collect();
        let mut usable = shared.iter().filter(|connection| connection.is_usable()).peekable();
        if usable.peek().is_some() {
            self.metrics.trips.add(1);
            tracing::warn!(node = %self.target.address, requests = limits.timeouts,
                "the node answers nothing: giving its connections up");
            usable.for_each(|connection| connection.give_up());
        }
    }

    /// How the node has answered since this was asked last.
    pub fn sample(&self) -> Sample {
        let metrics = &self.metrics;
        let now = (metrics.requests.get().saturating_sub(metrics.in_flight.get()), metrics.latency.sum_ns());
        let before = self.looked.replace(now);
        let answers = now.0.saturating_sub(before.0);
        Sample { answers, mean_ns: now.1.saturating_sub(before.1).checked_div(answers).unwrap_or(0) }
    }

    /// Marks the node as slower than the others, or not.
    pub fn mark_slow(&self, slow: bool, mean_ns: u64) {
        let before = self.metrics.slow.get() > 0;
        self.metrics.slow.set(u64::from(slow));
        if slow && !before {
            let mean_ms = mean_ns / 1_000_000;
            tracing::warn!(node = %self.target.address, mean_ms, "the node answers much more slowly than others");
        }
    }

    /// How a client's shared connection stands, in words.
    pub fn state(&self, worker: &Worker, client: u64, lane: Lane) -> &'static str {
        let shared = self.shared.borrow();
        match shared.get(index(client, lane, shared.len())) {
            Some(Some(connection)) if connection.is_usable() => match connection.phase() {
                Phase::Open if self.metrics.slow.get() > 0 => "open; slower than other nodes",
                Phase::Open => "open",
                _ => "being opened: requests wait for it",
            },
            _ if self.is_paused(worker) => "circuit open: requests wait until the node is tried again",
            _ => "not opened yet",
        }
    }

    /// Whether the connection for a client has no room for more requests.
    #[inline]
    pub fn is_full(&self, client: u64, lane: Lane, most: usize) -> bool {
        let shared = self.shared.borrow();
        let connection = shared.get(index(client, lane, shared.len()));
        matches!(connection, Some(Some(connection)) if connection.buffered() >= most)
    }

    /// The client is woken when there is room again.
    pub fn wait_for_room(&self, client: &Rc<Client>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| Rc::ptr_eq(known, client)) {
            waiting.push(Rc::clone(client));
        }
    }

    /// Wakes the clients that wait, when `buffered` bytes are few enough.
    #[inline]
    pub fn let_go(&self, buffered: usize, worker: &Worker) {
        if buffered * 2 > worker.settings.borrow().upstream_buffer_bytes || self.waiting.borrow().is_empty() {
            return;
        }
        for client in self.waiting.take() {
            client.wake();
        }
    }

    /// A connection for one client alone.
    ///
    /// # Errors
    /// All of its kind are in use, or the node cannot be reached.
    pub fn dedicated(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        purpose: Purpose,
    ) -> Result<Rc<Connection>, NoDedicated> {
        let config = worker.settings();
        let most = match purpose {
            Purpose::Waiting => config.blocking_connections,
            Purpose::Holding => config.dedicated_connections,
        };
        if self.busy.borrow()[purpose as usize].len() >= most {
            let refused = match purpose {
                Purpose::Waiting => &self.metrics.refused_waiting,
                Purpose::Holding => &self.metrics.refused_holding,
            };
            refused.add(1);
            return Err(NoDedicated::AllInUse);
        }
        let idle = loop {
            match self.idle.borrow_mut().pop() {
                Some(connection) if !connection.is_usable() => {}
                other => break other,
            }
        };
        let connection = match idle {
            Some(connection) => connection,
            None if self.is_paused(worker) => return Err(NoDedicated::Unreachable),
            None => Connection::open(worker, self),
        };
        self.busy.borrow_mut()[purpose as usize].push(Rc::clone(&connection));
        self.count_busy();
        Ok(connection)
    }

    /// Takes a dedicated connection back. One with something under way is closed.
    pub fn give_back(&self, connection: Rc<Connection>, clean: bool) {
        self.busy
            .borrow_mut()
            .iter_mut()
            .for_each(|busy| busy.retain(|known| !Rc::ptr_eq(known, &connection)));
        self.count_busy();
        let mut idle = self.idle.borrow_mut();
        if clean && connection.is_usable() && !self.retired.get() && idle.len() < MAX_IDLE {
            idle.push(connection);
        } else if clean {
            connection.end_when_idle();
        } else {
            connection.end_now();
        }
    }

    fn count_busy(&self) {
        let [waiting, holding] = &*self.busy.borrow();
        self.metrics.waiting.set(waiting.len() as u64);
        self.metrics.holding.set(holding.len() as u64);
    }

    /// Leaves a shared connection to the big reply on it: the next request opens another one. False: it is none, or there
    /// are too many of these.
    pub fn set_aside(&self, connection: &Connection) -> bool {
        let (mut shared, mut aside) = (self.shared.borrow_mut(), self.aside.borrow_mut());
        let is_it =
            |place: &&mut Option<Rc<Connection>>| place.as_ref().is_some_and(|known| is(known, connection));
        if aside.len() >= MAX_ASIDE {
            return false;
        }
        let taken = shared.iter_mut().find(is_it).and_then(Option::take);
        let found = taken.is_some();
        aside.extend(taken);
        found
    }

    /// A connection has opened.
    pub fn opened(&self) {
        if self.breaker.connected() {
            tracing::info!(node = %self.target.address, "reached the node again");
        }
        self.metrics.open.set(0);
        self.metrics.connects.add(1);
        self.metrics.connections.add(1);
    }

    /// A connection has ended.
    pub fn closed(&self, connection: &Connection, ended: &Ended, worker: &Worker) {
        for place in self.shared.borrow_mut().iter_mut() {
            if place.as_ref().is_some_and(|known| is(known, connection)) {
                *place = None;
            }
        }
        self.idle.borrow_mut().retain(|known| !is(known, connection));
        self.aside.borrow_mut().retain(|known| !is(known, connection));
        if matches!(ended, Ended::ByUs) {
            return;
        }
        self.metrics.failures.add(1);
        self.metrics.open.set(1);
        let limits = worker.settings().breaker();
        let failures = self.breaker.failed(worker.clock.now_ns(), limits, |pause| worker.jitter(pause));
        if failures == 0 {
            tracing::warn!(node = %self.target.address, cause = %ended, "lost a connection to the node");
        } else {
            tracing::debug!(node = %self.target.address, cause = %ended, "the node is still not reachable");
        }
    }

    /// All connections, for the worker's rounds.
    pub fn connections(&self) -> Vec<Rc<Connection>> {
        let mut all: Vec<_> = self.shared.borrow().iter().flatten().cloned().collect();
        all.extend(self.idle.borrow().iter().chain(self.busy.borrow().iter().flatten()).cloned());
        all.extend(self.aside.borrow().iter().cloned());
        all
    }

    /// The map does not name the node any more: its connections end when nothing is under way.
    pub fn retire(&self, worker: &Worker) {
        self.retired.set(true);
        self.metrics.open.set(0);
        self.metrics.slow.set(0);
        for connection in self.connections() {
            connection.end_when_idle();
        }
        self.let_go(0, worker);
    }
}

/// Whether these are the same.
fn is(known: &Rc<Connection>, connection: &Connection) -> bool {
    std::ptr::eq(Rc::as_ptr(known), connection)
}

/// The place of a client's connection among `len` of both lanes.
#[inline]
fn index(client: u64, lane: Lane, len: usize) -> usize {
    let each = len / 2;
    client as usize % each + if lane == Lane::Slow { each } else { 0 }
}

/// What a client needs a connection of its own for. Each has a bound of its own, so that those who wait for elements do
/// not keep others from their transactions and locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It waits at the node.
    Waiting,
    /// WATCH, or it waits for a lock.
    Holding,
}

impl Purpose {
    /// What is said when there is no more.
    pub fn refusal(self) -> &'static str {
        match self {
            Purpose::Waiting => text::NO_BLOCKING,
            Purpose::Holding => text::NO_DEDICATED,
        }
    }
}

/// Why there is no connection for one client alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDedicated {
    /// The bound is reached.
    AllInUse,
    /// The node could not be reached a moment ago.
    Unreachable,
}
