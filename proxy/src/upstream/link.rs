//! A worker's connections to one life of one node: the shared ones, and those that clients have to themselves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::connection::{Connection, Ended, Phase};
use super::pending::Lane;
use crate::downstream::client::Client;
use crate::metrics::NodeMetrics;
use crate::table::Target;
use crate::worker::Worker;

/// The pause after a connection failed, doubled up to the second one while it goes on.
const FIRST_PAUSE_NS: u64 = 25_000_000;
const LAST_PAUSE_NS: u64 = 400_000_000;
/// Dedicated connections that are kept open without use.
const MAX_IDLE: usize = 16;

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
    /// Dedicated connections that somebody uses.
    busy: RefCell<Vec<Rc<Connection>>>,
    /// Connections that failed in a row.
    failures: Cell<u32>,
    /// No new connection before this, on the worker's clock.
    pause_until_ns: Cell<u64>,
    /// Clients that wait for room in the buffers.
    waiting: RefCell<Vec<Rc<Client>>>,
    /// Whether the map does not name it any more.
    retired: Cell<bool>,
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
            failures: Cell::new(0),
            pause_until_ns: Cell::new(0),
            waiting: RefCell::default(),
            retired: Cell::new(false),
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
        worker.clock.now_ns() < self.pause_until_ns.get()
    }

    /// How a client's shared connection stands, in words.
    pub fn state(&self, worker: &Worker, client: u64, lane: Lane) -> &'static str {
        let shared = self.shared.borrow();
        match shared.get(index(client, lane, shared.len())) {
            Some(Some(connection)) if connection.is_usable() => match connection.phase() {
                Phase::Open => "open",
                _ => "being opened: requests wait for it",
            },
            _ if self.is_paused(worker) => "could not be reached a moment ago: requests wait",
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
        if buffered * 2 > worker.settings().upstream_buffer_bytes || self.waiting.borrow().is_empty() {
            return;
        }
        for client in self.waiting.take() {
            client.wake();
        }
    }

    /// A connection for one client alone. `None`: all are in use, or the node cannot be reached.
    pub fn dedicated(self: &Rc<Self>, worker: &Rc<Worker>) -> Result<Rc<Connection>, NoDedicated> {
        let idle = loop {
            match self.idle.borrow_mut().pop() {
                Some(connection) if !connection.is_usable() => {}
                other => break other,
            }
        };
        if self.busy.borrow().len() >= worker.settings().dedicated_connections {
            return Err(NoDedicated::AllInUse);
        }
        let connection = match idle {
            Some(connection) => connection,
            None if self.is_paused(worker) => return Err(NoDedicated::Unreachable),
            None => Connection::open(worker, self),
        };
        self.busy.borrow_mut().push(Rc::clone(&connection));
        Ok(connection)
    }

    /// Takes a dedicated connection back. One with something under way is closed.
    pub fn give_back(&self, connection: Rc<Connection>, clean: bool) {
        self.busy.borrow_mut().retain(|known| !Rc::ptr_eq(known, &connection));
        let mut idle = self.idle.borrow_mut();
        if clean && connection.is_usable() && !self.retired.get() && idle.len() < MAX_IDLE {
            idle.push(connection);
        } else if clean {
            connection.end_when_idle();
        } else {
            connection.end_now();
        }
    }

    /// A connection has opened.
    pub fn opened(&self) {
        if self.failures.replace(0) > 0 {
            tracing::info!(node = %self.target.address, "reached the node again");
        }
        self.pause_until_ns.set(0);
        self.metrics.connects.add(1);
        self.metrics.connections.add(1);
    }

    /// A connection has ended.
    pub fn closed(&self, connection: &Connection, ended: &Ended, worker: &Worker) {
        for place in self.shared.borrow_mut().iter_mut() {
            if place.as_ref().is_some_and(|known| std::ptr::eq(Rc::as_ptr(known), connection)) {
                *place = None;
            }
        }
        self.idle.borrow_mut().retain(|known| !std::ptr::eq(Rc::as_ptr(known), connection));
        if matches!(ended, Ended::ByUs) {
            return;
        }
        self.metrics.failures.add(1);
        let failures = self.failures.get();
        self.failures.set(failures.saturating_add(1));
        let pause = (FIRST_PAUSE_NS << failures.min(8)).min(LAST_PAUSE_NS);
        self.pause_until_ns.set(worker.clock.now_ns() + worker.jitter(pause));
        if failures == 0 {
            tracing::warn!(node = %self.target.address, cause = %ended, "lost a connection to the node");
        } else {
            tracing::debug!(node = %self.target.address, cause = %ended, "the node is still not reachable");
        }
    }

    /// All connections, for the worker's rounds.
    pub fn connections(&self) -> Vec<Rc<Connection>> {
        let mut all: Vec<_> = self.shared.borrow().iter().flatten().cloned().collect();
        all.extend(self.idle.borrow().iter().chain(self.busy.borrow().iter()).cloned());
        all
    }

    /// The map does not name the node any more: its connections end when nothing is under way.
    pub fn retire(&self, worker: &Worker) {
        self.retired.set(true);
        for connection in self.connections() {
            connection.end_when_idle();
        }
        self.let_go(0, worker);
    }
}

/// The place of a client's connection among `len` of both lanes.
#[inline]
fn index(client: u64, lane: Lane, len: usize) -> usize {
    let each = len / 2;
    client as usize % each + if lane == Lane::Slow { each } else { 0 }
}

/// Why there is no connection for one client alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDedicated {
    /// The bound is reached.
    AllInUse,
    /// The node could not be reached a moment ago.
    Unreachable,
}
