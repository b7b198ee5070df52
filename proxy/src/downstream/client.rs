//! A connected client as its worker knows it, and what the other threads may see of it.
//!
//! ```text
//! Served (its turn) ── reads the socket, owns the session ─┐
//! connections to nodes ── deliver replies ─────────────────┼──▶ Client (outbox, socket)
//! driver ── writes what is ready ──────────────────────────┘
//! ```
//! All of them run on the worker's thread. [`ClientInfo`] is what `CLIENT LIST` of another thread reads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;
use torc_cluster::ShardId;
use torc_protocol::context::Position;
use torc_runtime::listen::acceptor::Permit;
use torc_runtime::listen::{PeerAddr, StdStream};

use super::outbox::Outbox;
use crate::buffer::Pool;
use crate::pubsub::Listens;
use crate::scatter::Quest;
use crate::upstream::connection::Connection;
use crate::upstream::pending::Lane;
use crate::worker::Call;

/// Names and library versions as the client gave them. Locked only by CLIENT commands.
#[derive(Debug, Default)]
pub struct Labels {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub lib_version: Vec<u8>,
}

/// What any thread may see of a client.
#[derive(Debug)]
pub struct ClientInfo {
    /// Its number, from 1; never used again.
    pub id: u64,
    /// Which worker serves it.
    pub worker: usize,
    /// The client's end.
    pub address: String,
    /// Our end.
    pub local: String,
    /// Whether it speaks memcached.
    pub memcached: bool,
    /// Unix milliseconds of its arrival.
    pub since_ms: u64,
    /// Unix milliseconds of its latest request (by batches).
    pub active_ms: AtomicU64,
    /// Its database.
    pub db: AtomicU8,
    /// 2 or 3.
    pub resp: AtomicU8,
    /// Index of its latest command; `u16::MAX`: none yet.
    pub command: AtomicU16,
    /// Commands queued by MULTI; -1 without.
    pub multi: AtomicI64,
    /// Channels, patterns and shard channels that it listens to.
    pub listens: [AtomicU32; 3],
    /// Whether it waits in a blocking command.
    pub blocked: AtomicBool,
    /// Whether CLIENT PAUSE has held it up, while that goes on.
    pub paused: AtomicBool,
    /// `CLIENT NO-EVICT`.
    pub no_evict: AtomicBool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: AtomicBool,
    /// Requests so far.
    pub requests: AtomicU64,
    /// Bytes that wait to leave (by batches).
    pub output: AtomicU64,
    /// What it calls itself.
    pub labels: Mutex<Labels>,
}

/// All clients of the proxy.
#[derive(Debug, Default)]
pub struct Registry {
    next: AtomicU64,
    clients: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
}

impl Registry {
    /// A new number.
    pub fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A client has come.
    pub fn insert(&self, client: &Arc<ClientInfo>) {
        self.clients.lock().insert(client.id, Arc::clone(client));
    }

    /// A client has gone.
    pub fn remove(&self, id: u64) {
        self.clients.lock().remove(&id);
    }

    /// How many wait at nodes, and how many CLIENT PAUSE has held up.
    pub fn waiting(&self) -> (usize, usize) {
        let clients = self.clients.lock();
        let count = |flag: fn(&ClientInfo) -> &AtomicBool| {
            clients.values().filter(|client| flag(client).load(Ordering::Relaxed)).count()
        };
        (count(|client| &client.blocked), count(|client| &client.paused))
    }

    /// All clients, by number.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        self.clients.lock().values().cloned().collect()
    }
}

/// Unread bytes below which more of a big reply is fetched.
const FEED_BYTES: usize = 1024 * 1024;
/// In `resume_at`: it does not wait for answers.
const NOT_WAITING: usize = usize::MAX;
/// Shards whose last positions a client remembers without an allocation.
type Positions = SmallVec<[(ShardId, u64, u64); 2]>;

/// See the module's text.
#[derive(Debug)]
pub struct Client {
    /// What other threads see.
    pub info: Arc<ClientInfo>,
    /// The socket.
    pub stream: StdStream,
    /// The replies. Borrowed only within one call.
    pub outbox: RefCell<Outbox>,
    /// Whether it is gone: nothing may be delivered any more.
    pub closed: Cell<bool>,
    /// Whether it is in the worker's list of clients to flush.
    pub queued: Cell<bool>,
    /// Whether the socket took no more bytes.
    pub blocked: Cell<bool>,
    /// Whether its requests wait for its output to leave.
    pub paused: Cell<bool>,
    /// Whether it waits at a node: what is pushed to it does not wait for that reply.
    pub waits: Cell<bool>,
    /// CLIENT UNBLOCK wants its waiting to end; with an error, or as if its time were over.
    pub unblock: Cell<Option<bool>>,
    /// Whether something wakes it when CLIENT PAUSE may be over.
    pub pause_armed: Cell<bool>,
    /// Its command over several shards.
    pub quest: RefCell<Option<Rc<Quest>>>,
    /// The number of its MONITOR; 0: it is not shown the requests of the nodes.
    pub monitors: Cell<u64>,
    /// What it listens to.
    pub listens: RefCell<Listens>,
    /// Whether that is anything.
    pub listening: Cell<bool>,
    /// Since when it leaves too many messages unread, on the worker's clock; 0: it does not.
    pub unread_since_ns: Cell<u64>,
    /// Whether its dedicated connection watches keys for it.
    pub watching: Cell<bool>,
    /// On which shared connections its requests go. Changes only while none is under way, so that they keep their
    /// order.
    pub lane: Cell<Lane>,
    /// Whether others left the connection on which requests of it had to stay: until these are answered it gives no further
    /// ones, which would overtake them.
    pub bound: Cell<bool>,
    /// Whether somebody ordered it closed.
    pub killed: Cell<bool>,
    /// Bytes of memory that its unfinished requests hold.
    pub input: Cell<usize>,
    /// Positions of its last write per shard: shard, term, offset.
    pub positions: RefCell<Positions>,
    /// One above the number of the outbox's slot in which its latest write is answered; 0: it has written nothing.
    last_write: Cell<u64>,
    /// The connection that passes a big reply to it, while it has enough of that to read.
    pub feeder: RefCell<Option<Rc<Connection>>>,
    /// Connections of its own: for WATCH, or while it waits.
    pub dedicated: RefCell<SmallVec<[Rc<Connection>; 1]>>,
    /// It has a turn when so many (or fewer) requests are pending.
    resume_at: Cell<usize>,
    call: Call,
    /// Its place under `max_clients`.
    _permit: Permit,
}

impl Client {
    /// A client that has just been accepted.
    pub fn new(info: Arc<ClientInfo>, stream: StdStream, permit: Permit, call: Call) -> Rc<Client> {
        Rc::new(Client {
            info,
            stream,
            outbox: RefCell::default(),
            closed: Cell::new(false),
            queued: Cell::new(false),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            waits: Cell::new(false),
            unblock: Cell::new(None),
            pause_armed: Cell::new(false),
            quest: RefCell::new(None),
            monitors: Cell::new(0),
            listens: RefCell::default(),
            listening: Cell::new(false),
            unread_since_ns: Cell::new(0),
            watching: Cell::new(false),
            lane: Cell::default(),
            bound: Cell::new(false),
            killed: Cell::new(false),
            input: Cell::new(0),
            positions: RefCell::default(),
            last_write: Cell::new(0),
            feeder: RefCell::new(None),
            dedicated: RefCell::default(),
            resume_at: Cell::new(NOT_WAITING),
            call,
            _permit: permit,
        })
    }

    /// Its number.
    #[inline]
    pub fn id(&self) -> u64 {
        self.info.id
    }

    /// Asks for a turn.
    pub fn wake(&self) {
        self.call.wake();
    }

    /// Its turn has come.
    #[inline]
    pub fn begin_turn(&self) {
        self.call.answered();
    }

    /// It waits until at most `pending` requests are unanswered.
    pub fn resume_at(&self, pending: usize) {
        self.resume_at.set(pending);
    }

    /// It waits for no answers.
    #[inline]
    pub fn resume_never(&self) {
        self.resume_at.set(NOT_WAITING);
    }

    /// An answer has come: asks for a turn if it waits for that.
    #[inline]
    pub fn answered(&self, pending: usize) {
        if pending == 0 && self.waits.replace(false) {
            self.info.blocked.store(false, Ordering::Relaxed);
            self.unblock.set(None);
        }
        let at = self.resume_at.get();
        if at != NOT_WAITING && pending <= at {
            self.resume_at.set(NOT_WAITING);
            self.wake();
        }
    }

    /// Moves to a lane. False: requests are under way on the other one; it has a turn when they are answered.
    #[inline]
    pub fn take_lane(&self, lane: Lane) -> bool {
        if self.lane.get() != lane {
            if self.outbox.borrow().pending() > 0 {
                self.resume_at(0);
                return false;
            }
            self.lane.set(lane);
        }
        true
    }

    /// Orders it closed, its unsent replies dropped.
    pub fn kill(&self) {
        self.killed.set(true);
        self.wake();
    }

    /// It waits at a node from now on.
    pub fn begin_waiting(&self) {
        self.waits.set(true);
        self.info.blocked.store(true, Ordering::Relaxed);
    }

    /// The request of this slot writes.
    #[inline]
    pub fn wrote_in(&self, seq: u64) {
        self.last_write.set(seq + 1);
    }

    /// Whether a write of it is not answered yet (or an answer before it): its position is not known.
    pub fn is_writing(&self) -> bool {
        self.outbox.borrow().base() < self.last_write.get()
    }

    /// The position of its last write on a shard.
    pub fn position(&self, shard: ShardId) -> Option<Position> {
        let positions = self.positions.borrow();
        let (_, term, offset) = positions.iter().find(|(known, ..)| *known == shard)?;
        Some(Position { term: *term, offset: *offset })
    }

    /// Remembers the position of a write.
    pub fn note_position(&self, shard: ShardId, term: u64, offset: u64) {
        let mut positions = self.positions.borrow_mut();
        match positions.iter_mut().find(|(known, ..)| *known == shard) {
            Some(place) if (place.1, place.2) < (term, offset) => *place = (shard, term, offset),
            Some(_) => {}
            None => positions.push((shard, term, offset)),
        }
    }

    /// So much is left unread: little enough lets the connection go on that passes it a big reply.
    #[inline]
    pub fn drained(&self, unsent: usize) {
        if unsent <= FEED_BYTES
            && let Some(connection) = self.feeder.take()
        {
            connection.wake();
        }
    }

    /// Writes what the socket takes now. True when everything has left; else it is blocked.
    pub fn write_out(&self, pool: &Pool) -> io::Result<(usize, bool)> {
        let mut outbox = self.outbox.borrow_mut();
        let mut written = 0;
        while outbox.unsent() > 0 {
            match self.stream.send(outbox.to_send()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    written += count;
                    outbox.sent(count, pool);
                    self.drained(outbox.unsent());
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.set(true);
                    return Ok((written, false));
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        self.blocked.set(false);
        Ok((written, true))
    }
}

/// What a client's CLIENT LIST shows of its peer.
pub fn address_text(peer: &PeerAddr) -> String {
    peer.to_string()
}
