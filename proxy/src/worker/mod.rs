//! One worker: a thread with its clients, its connections to the nodes, and everything between them.
//!
//! Everything here belongs to the worker's thread. Tasks on it: the driver of all sockets of clients and of open connections
//! to nodes, the ticker, the retrier, the one that takes accepted clients and new maps, and one for each connection that is
//! being opened.

mod clock;
mod door;
mod driver;
mod flush;
mod gathering;
mod patience;
mod pause;
mod replica;
mod retry;
mod routes;
mod run;
mod slow;
mod tick;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

pub use clock::WorkerClock;
pub use door::{Arrival, Call, Door};
pub use routes::{Members, Routes};
pub use run::{Accepted, MAX_ORDERS, Order, Protocol, spawn};

use smallvec::SmallVec;
use tokio::sync::Notify;
use torc_protocol::command::Command;
use torc_protocol::context::Position;
use torc_protocol::error;
use torc_runtime::random::split_mix;

use crate::buffer::Pool;
use crate::config::ProxyConfig;
use crate::downstream::client::Client;
use crate::hot::Hot;
use crate::metrics::WorkerMetrics;
use crate::pubsub::Hub;
use crate::shared::Shared;
use crate::table::Target;
use crate::text;
use crate::upstream::body::Body;
use crate::upstream::connection::Connection;
use crate::upstream::hold::{Held, Hold};
use crate::upstream::ids::Numbers;
use crate::upstream::link::{Link, NoDedicated, Purpose};
use crate::upstream::pending::{Dest, Pending, Way};

/// See the module's text.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Its number, from 0.
    pub index: usize,
    /// Spare buffers.
    pub pool: Pool,
    /// The time.
    pub clock: WorkerClock,
    /// What it counts.
    pub metrics: Arc<WorkerMetrics>,
    /// What its clients listen to.
    pub hub: Hub,
    /// What it knows of hot keys.
    pub hot: Hot,
    routes: RefCell<Rc<Routes>>,
    links: RefCell<HashMap<Target, Rc<Link>, ahash::RandomState>>,
    /// Links that no map names any more, until their connections have ended.
    retired: RefCell<Vec<Rc<Link>>>,
    held: RefCell<Hold>,
    /// Whether anything is held: read for each request.
    holding: Cell<bool>,
    /// Told when requests are held for another shard.
    held_news: Notify,
    clients: RefCell<HashMap<u64, Rc<Client>, ahash::RandomState>>,
    dirty_clients: RefCell<Vec<Rc<Client>>>,
    dirty_connections: RefCell<Vec<Rc<Connection>>>,
    /// Requests on `dirty_connections` since they were last written to.
    unwritten: Cell<usize>,
    /// The way to the driver.
    pub door: Rc<Door>,
    /// Names for what it sends.
    numbers: Rc<Numbers>,
    random: Cell<u64>,
    /// Whether buffers hold more than they should: clients are read from only as replies leave.
    pub(crate) crowded: Cell<bool>,
    /// Bytes of memory that unfinished requests of clients hold.
    pub(crate) inputs: Cell<usize>,
    draining: Cell<bool>,
    /// Whether CLIENT UNBLOCK wants the waiting of a client to end that goes on.
    unblocking: Cell<bool>,
    /// The settings as of the ticker's latest round.
    pub(crate) settings: RefCell<Rc<ProxyConfig>>,
    /// What `settings` is a copy of.
    settings_of: RefCell<Arc<ProxyConfig>>,
    /// Nanoseconds from which a request is slow; `u64::MAX`: none is. As of the ticker's latest round.
    slow_ns: Cell<u64>,
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize, metrics: Arc<WorkerMetrics>, seed: u64) -> Rc<Worker> {
        let numbers = Numbers::new(shared.origin(index));
        let settings = shared.settings.load_full();
        let worker = Rc::new(Worker {
            shared,
            index,
            pool: Pool::default(),
            clock: WorkerClock::new(),
            metrics,
            hub: Hub::default(),
            hot: Hot::default(),
            routes: RefCell::new(Rc::new(Routes::none())),
            links: RefCell::default(),
            retired: RefCell::default(),
            held: RefCell::default(),
            holding: Cell::new(false),
            held_news: Notify::new(),
            clients: RefCell::default(),
            dirty_clients: RefCell::default(),
            dirty_connections: RefCell::default(),
            unwritten: Cell::new(0),
            door: Rc::default(),
            numbers,
            random: Cell::new(seed),
            crowded: Cell::new(false),
            inputs: Cell::new(0),
            draining: Cell::new(false),
            unblocking: Cell::new(false),
            settings: RefCell::new(Rc::new(ProxyConfig::clone(&settings))),
            settings_of: RefCell::new(settings),
            slow_ns: Cell::new(u64::MAX),
        });
        worker.begin_copies();
        worker
    }

    /// The routes of now. A batch of requests keeps the ones it began with.
    #[inline]
    pub fn routes(&self) -> Rc<Routes> {
        Rc::clone(&self.routes.borrow())
    }

    /// The settings of now. A batch of requests keeps those it began with.
    #[inline]
    pub fn settings(&self) -> Rc<ProxyConfig> {
        Rc::clone(&self.settings.borrow())
    }

    /// Takes what CONFIG SET or a reload has changed.
    fn renew_settings(&self) {
        let now = self.shared.settings.load();
        if !Arc::ptr_eq(&now, &self.settings_of.borrow()) {
            self.settings.replace(Rc::new(ProxyConfig::clone(&now)));
            self.settings_of.replace(Arc::clone(&now));
            let routes = self.routes();
            self.choose_reads(&now, &routes.table);
        }
        self.slow_ns.set(match now.slow_request_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        });
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        let mut state = self.random.get();
        let number = split_mix(&mut state);
        self.random.set(state);
        number
    }

    /// A time between three quarters and five quarters of `nanoseconds`.
    pub fn jitter(&self, nanoseconds: u64) -> u64 {
        let quarter = nanoseconds / 4;
        nanoseconds - quarter + self.random() % (quarter * 2 + 1)
    }

    /// Whether requests should be taken only as replies leave.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.crowded.get()
    }

    /// Whether the proxy is being stopped.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The clients of this worker.
    pub fn clients(&self) -> Vec<Rc<Client>> {
        self.clients.borrow().values().cloned().collect()
    }

    /// A client of this worker has come.
    pub fn remember(&self, client: &Rc<Client>) {
        self.clients.borrow_mut().insert(client.id(), Rc::clone(client));
    }

    /// A client of this worker has gone.
    pub fn forget(&self, client: u64) {
        self.clients.borrow_mut().remove(&client);
        self.disown(client);
    }

    /// Sends a request to where it has to go, or holds it back.
    #[inline]
    pub fn submit(self: &Rc<Self>, routes: &Routes, mut pending: Pending, body: Body<'_>) {
        let shard = routes.place(pending.dest);
        let waits =
            self.holding.get() && self.held.borrow().waits_for(shard.map(|index| routes.shard_id(index)));
        if !waits && let Some(link) = shard.and_then(|index| routes.link(index)) {
            let client = pending.client.as_ref().map_or(0, |client| client.id());
            if let Some(connection) = link.shared(self, client, pending.lane) {
                if pending.write {
                    pending.ticket = Some(self.numbers.draw());
                }
                connection.push(pending, body);
                self.mark_connection(&connection);
                return;
            }
        }
        let mut bytes = Vec::with_capacity(body.size());
        body.write(None, &mut bytes);
        self.hold(pending, bytes);
    }

    /// Sends a request on a connection that its client has to itself until the reply.
    pub fn submit_alone(self: &Rc<Self>, routes: &Routes, pending: Pending, body: Body<'_>) {
        let Some(client) = pending.client.clone() else { return };
        let link = routes.place(pending.dest).and_then(|index| routes.link(index));
        let purpose = match pending.command {
            Command::Lock(_) => Purpose::Holding,
            _ => Purpose::Waiting,
        };
        match link.map(|link| link.dedicated(self, purpose)) {
            Some(Ok(connection)) => {
                client.dedicated.borrow_mut().push(Rc::clone(&connection));
                connection.push(pending, body);
                self.mark_connection(&connection);
            }
            Some(Err(NoDedicated::AllInUse)) => self.fail(&pending, purpose.refusal()),
            Some(Err(NoDedicated::Unreachable)) | None => {
                let mut bytes = Vec::with_capacity(body.size());
                body.write(None, &mut bytes);
                self.hold(pending, bytes);
            }
        }
    }

    /// A connection for a request that passes in pieces; `None`: there is none to be had now.
    pub fn connection_for_upload(self: &Rc<Self>, routes: &Routes, dest: Dest) -> Option<Rc<Connection>> {
        let place = routes.place(dest)?;
        let waits = self.holding.get() && self.held.borrow().waits_for(Some(routes.shard_id(place)));
        routes.link(place).filter(|_| !waits)?.dedicated(self, Purpose::Waiting).ok()
    }

    /// Takes back the dedicated connection of a client on which a request has just been answered.
    pub fn give_back_one(&self, client: &Client, connection: &Connection) {
        let mut dedicated = client.dedicated.borrow_mut();
        let Some(at) = dedicated.iter().position(|mine| std::ptr::eq(Rc::as_ptr(mine), connection)) else {
            return;
        };
        let connection = dedicated.remove(at);
        drop(dedicated);
        let clean = connection.in_flight() == 0 && !connection.is_spoilt();
        let link = Rc::clone(&connection.link);
        link.give_back(connection, clean);
    }

    /// Ends the connections on which a big request of a client passes: it was answered. What it watches stays watched.
    pub fn give_back_uploads(&self, client: &Client) {
        let mut dedicated = client.dedicated.borrow_mut();
        let passing: SmallVec<[Rc<Connection>; 1]> =
            dedicated.iter().filter(|connection| connection.is_uploading()).cloned().collect();
        dedicated.retain(|connection| !connection.is_uploading());
        drop(dedicated);
        for connection in passing {
            let link = Rc::clone(&connection.link);
            link.give_back(connection, false);
        }
    }

    /// Takes back all dedicated connections of a client; one on which something is under way, or watched, is
    /// closed.
    pub fn give_back(&self, client: &Client) {
        let watching = client.watching.replace(false);
        for connection in client.dedicated.take() {
            let clean = connection.in_flight() == 0 && !watching && !connection.is_spoilt();
            let link = Rc::clone(&connection.link);
            link.give_back(connection, clean);
        }
    }

    /// Ends the connections on which steps of the client's command over several shards are still under way: it was
    /// answered.
    pub fn call_off(&self, client: &Client) {
        let mut dedicated = client.dedicated.borrow_mut();
        let gone: SmallVec<[Rc<Connection>; 4]> =
            dedicated.iter().filter(|connection| connection.is_called_off()).cloned().collect();
        dedicated.retain(|connection| !connection.is_called_off());
        drop(dedicated);
        for connection in gone {
            let link = Rc::clone(&connection.link);
            link.give_back(connection, false);
        }
    }

    /// Keeps a request until its shard can be tried (again).
    pub fn hold(self: &Rc<Self>, mut pending: Pending, bytes: Vec<u8>) {
        self.hand_on(&mut pending);
        if pending.client.as_ref().is_none_or(|client| client.closed.get()) || pending.is_called_off() {
            return;
        }
        let now_ns = self.clock.now_ns();
        if pending.deadline_ns <= now_ns {
            self.fail(&pending, retry::timeout_text(&pending, false));
            return;
        }
        let mut held = self.held.borrow_mut();
        let config = self.settings.borrow();
        if held.len() >= config.max_held_requests || held.bytes() + bytes.len() > config.max_held_bytes {
            drop(held);
            drop(config);
            self.fail(&pending, text::TOO_MANY_HELD);
            return;
        }
        let routes = self.routes.borrow();
        let shard = routes.place(pending.dest).map(|index| routes.shard_id(index));
        pending.refused = false;
        if held.push(Held { pending, bytes, shard }, now_ns) {
            self.held_news.notify_one();
        }
        self.holding.set(true);
        self.metrics.held_total.add(1);
        self.metrics.held.set(held.len() as u64);
    }

    /// Gives a node's reply to the client that waits for it.
    #[inline]
    pub fn deliver(self: &Rc<Self>, pending: &Pending, body: &[u8], attribute: Option<&[u8]>, now_ns: u64) {
        if let Some(flight) = &pending.flight {
            self.for_followers(flight, |follower| {
                let place = (follower.seq, 0, follower.since_ns);
                self.give(&follower.client, pending.command, place, (body, now_ns));
            });
        }
        let Some(client) = pending.client.as_ref().filter(|client| !client.closed.get()) else {
            self.metrics.orphaned.add(1);
            return;
        };
        if let Some(attribute) = attribute {
            self.note_position(client, pending, attribute);
        }
        if let Some(quest) = &pending.quest {
            return Rc::clone(quest).answered(self, pending.part, body);
        }
        let since_ns = pending.since_ns;
        self.give(client, pending.command, (pending.seq, pending.part, since_ns), (body, now_ns));
    }

    /// Gives the answer of a command over several shards to its client.
    pub fn hand_over(&self, client: &Rc<Client>, command: Command, place: (u64, u32, u64), body: &[u8]) {
        if !client.closed.get() {
            self.give(client, command, place, (body, self.clock.now_ns()));
        }
    }

    /// `place`: slot, part, and when the request came.
    #[inline]
    fn give(
        &self,
        client: &Rc<Client>,
        command: Command,
        (seq, part, since_ns): (u64, u32, u64),
        (body, now_ns): (&[u8], u64),
    ) {
        let mut outbox = client.outbox.borrow_mut();
        let delivered = outbox.deliver(seq, part, body, &self.pool);
        let left = outbox.pending();
        if delivered.error && delivered.answered {
            let joined = outbox.take_joined_error();
            self.metrics.error_codes.count(joined.as_deref().unwrap_or(body.get(1..).unwrap_or_default()));
        }
        drop(outbox);
        if delivered.answered {
            let command = self.metrics.command(command);
            command.answered(now_ns.saturating_sub(since_ns));
            if delivered.error {
                command.errors.add(1);
            }
            if delivered.translated {
                self.metrics.downgraded.add(1);
            }
            self.mark_client(client);
            client.answered(left);
        }
    }

    /// Answers a request with an error of the proxy.
    #[cold]
    pub fn fail(&self, pending: &Pending, text: &str) {
        if let Some(flight) = &pending.flight {
            self.for_followers(flight, |follower| {
                self.fail_one(&follower.client, pending.command, (follower.seq, 0), text);
            });
        }
        let Some(client) = pending.client.as_ref().filter(|client| !client.closed.get()) else { return };
        let uncertain = text.starts_with("UNCERTAIN");
        // Most texts say that nothing was executed: that holds for the last sending only.
        let text =
            if pending.doubtful && pending.write && !uncertain { error::UNCERTAIN_UPSTREAM } else { text };
        if text.starts_with("UNCERTAIN") {
            self.metrics.uncertain.add(1);
        }
        if let Some(quest) = &pending.quest {
            return quest.refuse(self, text);
        }
        self.fail_one(client, pending.command, (pending.seq, pending.part), text);
        match pending.way {
            Way::Shared => {}
            Way::Upload => self.give_back_uploads(client),
            Way::OneShot | Way::Watching => self.give_back(client),
        }
    }

    fn fail_one(&self, client: &Rc<Client>, command: Command, (seq, part): (u64, u32), text: &str) {
        let mut outbox = client.outbox.borrow_mut();
        let delivered = outbox.fail(seq, part, text, &self.pool);
        let left = outbox.pending();
        outbox.take_joined_error();
        drop(outbox);
        if delivered.answered {
            self.metrics.error_codes.count(text.as_bytes());
            self.metrics.command(command).errors.add(1);
            self.mark_client(client);
            client.answered(left);
        }
    }

    /// Remembers where a client's write went, for WAIT.
    fn note_position(&self, client: &Client, pending: &Pending, attribute: &[u8]) {
        let Some(Position { term, offset }) = Position::from_attribute(attribute) else { return };
        let routes = self.routes.borrow();
        let shard = match pending.dest {
            Dest::Shard(shard) => Some(shard),
            Dest::Slot(_) => routes.place(pending.dest).map(|index| routes.shard_id(index)),
        };
        if let Some(shard) = shard {
            client.note_position(shard, term, offset);
        }
    }
}
