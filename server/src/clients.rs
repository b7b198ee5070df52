//! The connections of this process, for CLIENT LIST, CLIENT KILL, CLIENT PAUSE and the limits on them.
//!
//! A connection's task owns its session and its buffers; what others may see or ask of it is in a [`Client`]:
//! atomics that the task stores to once per batch, and a small mutex for names. Other threads ask by setting a
//! request (close, unblock) and waking the task, which looks at it whenever it is polled.
//!
//! Lock order: the registry's lock before a client's; neither is held while a stripe is locked by the same
//! thread for longer than a look-up.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::task::Waker;

use parking_lot::Mutex;
use torc_protocol::command::Command;
use torc_protocol::resp::Version;
use torc_runtime::clock;
use torc_runtime::listen::acceptor::ConnectionLimit;

use crate::memcached::watch::{self, CloseReason};
use crate::pubsub::{Kind, PubSub};

/// Connections that may be open at a time unless CONFIG SET maxclients says otherwise.
pub const DEFAULT_MAX_CLIENTS: usize = 10_000;

/// The most that may be asked for.
pub const MAX_CLIENTS_BOUND: i64 = 10_000_000;

/// Client flags of CLIENT LIST, as bits; the letters are Redis's.
pub mod flag {
    /// `x`: inside MULTI.
    pub const MULTI: u8 = 1;
    /// `d`: a watched key has changed.
    pub const DIRTY_CAS: u8 = 2;
    /// `b`: waits in a blocking command.
    pub const BLOCKED: u8 = 4;
    /// `r`: READONLY.
    pub const READONLY: u8 = 8;
    /// `e`: exempt from client eviction.
    pub const NO_EVICT: u8 = 16;
    /// `T`: does not mark keys as used.
    pub const NO_TOUCH: u8 = 32;
    /// `O`: MONITOR.
    pub const MONITOR: u8 = 64;
}

/// How a blocked client is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// As if its time-out had passed.
    Timeout,
    /// With an error.
    Error,
}

/// What CLIENT SETNAME and CLIENT SETINFO set.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// CLIENT SETNAME.
    pub name: Box<[u8]>,
    /// LIB-NAME.
    pub lib_name: Box<[u8]>,
    /// LIB-VER.
    pub lib_version: Box<[u8]>,
}

impl Names {
    fn heap_bytes(&self) -> usize {
        self.name.len() + self.lib_name.len() + self.lib_version.len()
    }
}

/// What others see of a connection. Stored to by its task alone, but for the requests at the end.
#[derive(Debug)]
pub struct Client {
    /// Number of the connection, from 1.
    pub id: u64,
    /// The peer, as CLIENT LIST shows it.
    pub addr: Box<str>,
    /// Our end.
    pub laddr: Box<str>,
    /// File descriptor.
    fd: AtomicI32,
    /// Number of the worker that serves it.
    worker: AtomicUsize,
    /// Over a unix socket.
    pub unix: bool,
    /// Unix milliseconds of its start.
    pub connected_ms: u64,
    /// Unix milliseconds of the last request.
    pub last_active_ms: AtomicU64,
    /// SELECT.
    pub db: AtomicU8,
    /// 2 or 3; 0 for memcached.
    pub resp: AtomicU8,
    /// See [`flag`].
    pub flags: AtomicU8,
    /// Requests queued in MULTI; -1 outside.
    pub multi: AtomicI64,
    /// Keys watched: 1 when any is.
    pub watching: AtomicBool,
    /// Index of the last command; `u16::MAX` before the first.
    pub last_command: AtomicU16,
    /// Bytes of requests that wait in the buffer.
    pub input_bytes: AtomicUsize,
    /// Bytes of replies that the client has not taken yet.
    pub output_bytes: AtomicUsize,
    /// Capacity of both buffers.
    pub buffer_bytes: AtomicUsize,
    /// Bytes that it has sent.
    pub net_in: AtomicU64,
    /// Bytes that it was sent.
    pub net_out: AtomicU64,
    /// Requests of it that were answered.
    pub commands: AtomicU64,
    /// Channels, patterns and shard channels that it listens to, in the order of [`crate::pubsub::Kind::ALL`].
    pub subscriptions: [AtomicU32; 3],
    /// Whether the default user is authenticated.
    pub authenticated: AtomicBool,
    names: Mutex<Names>,
    close: AtomicBool,
    close_reason: AtomicU8,
    unblock: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

const UNBLOCK_NONE: u8 = 0;
const UNBLOCK_TIMEOUT: u8 = 1;
const UNBLOCK_ERROR: u8 = 2;

impl Client {
    /// A connection that starts at `now_ms`.
    pub fn new(id: u64, addr: String, laddr: String, fd: i32, unix: bool, resp: u8, now_ms: u64) -> Client {
        Client {
            id,
            addr: addr.into(),
            laddr: laddr.into(),
            fd: AtomicI32::new(fd),
            worker: AtomicUsize::new(0),
            unix,
            connected_ms: now_ms,
            last_active_ms: AtomicU64::new(now_ms),
            db: AtomicU8::new(0),
            resp: AtomicU8::new(resp),
            flags: AtomicU8::new(0),
            multi: AtomicI64::new(-1),
            watching: AtomicBool::new(false),
            last_command: AtomicU16::new(u16::MAX),
            input_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            buffer_bytes: AtomicUsize::new(0),
            net_in: AtomicU64::new(0),
            net_out: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            subscriptions: Default::default(),
            authenticated: AtomicBool::new(false),
            names: Mutex::default(),
            close: AtomicBool::new(false),
            close_reason: AtomicU8::new(CloseReason::Normal as u8),
            unblock: AtomicU8::new(UNBLOCK_NONE),
            waker: Mutex::new(None),
        }
    }

    /// The worker that serves it.
    pub fn worker(&self) -> usize {
        self.worker.load(Ordering::Acquire)
    }

    /// It is served by this worker from now on.
    pub fn set_worker(&self, worker: usize) {
        self.worker.store(worker, Ordering::Release);
    }

    /// Shows how many subscriptions of a kind it has.
    pub(crate) fn show_subscriptions(&self, kind: Kind, count: usize) {
        self.subscriptions[kind as usize].store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Names as they are now.
    pub fn names(&self) -> Names {
        self.names.lock().clone()
    }

    /// Changes names.
    pub fn set_names(&self, change: impl FnOnce(&mut Names)) {
        change(&mut self.names.lock());
    }

    /// The task that serves the connection says how to wake it. A task's waker stays the same for its life.
    pub fn set_waker(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// Wakes the task.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Asks the task to close the connection.
    pub fn close(&self) {
        self.close.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether somebody asked.
    #[inline]
    pub fn must_close(&self) -> bool {
        self.close.load(Ordering::Acquire)
    }

    /// Asks the task to end its waiting; false when it does not wait.
    pub fn unblock(&self, how: Unblock) -> bool {
        if self.flags.load(Ordering::Acquire) & flag::BLOCKED == 0 {
            return false;
        }
        let how = if how == Unblock::Timeout { UNBLOCK_TIMEOUT } else { UNBLOCK_ERROR };
        self.unblock.store(how, Ordering::Release);
        self.wake();
        true
    }

    /// A waiting begins. Who asked at the very end of the last one, which was served just then, did not mean this one.
    pub fn begin_waiting(&self) {
        self.unblock.store(UNBLOCK_NONE, Ordering::Release);
        self.set_flag(flag::BLOCKED, true);
    }

    /// What was asked by [`Client::unblock`], once.
    pub fn take_unblock(&self) -> Option<Unblock> {
        match self.unblock.swap(UNBLOCK_NONE, Ordering::AcqRel) {
            UNBLOCK_TIMEOUT => Some(Unblock::Timeout),
            UNBLOCK_ERROR => Some(Unblock::Error),
            _ => None,
        }
    }

    /// The socket's descriptor.
    pub fn fd(&self) -> i32 {
        self.fd.load(Ordering::Relaxed)
    }

    /// The connection has another descriptor now: it went to another worker.
    pub fn set_fd(&self, fd: i32) {
        self.fd.store(fd, Ordering::Relaxed);
    }

    /// Sets or clears one of the [`flag`]s; only the connection's own task may.
    pub fn set_flag(&self, bit: u8, on: bool) {
        let old = self.flags.load(Ordering::Relaxed);
        self.flags.store(if on { old | bit } else { old & !bit }, Ordering::Release);
    }

    /// Counts what only its own task counts: no two add at a time.
    #[inline]
    pub fn count(counter: &AtomicU64, n: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Whether it waits in a blocking command.
    pub fn is_blocked(&self) -> bool {
        self.has(flag::BLOCKED)
    }

    /// Whether it listens to anything.
    pub fn is_subscriber(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Whether it speaks memcached.
    pub fn is_memcached(&self) -> bool {
        self.resp.load(Ordering::Relaxed) == 0
    }

    /// Why its connection will have ended.
    pub fn ends_by(&self, reason: CloseReason) {
        self.close_reason.store(reason as u8, Ordering::Relaxed);
    }

    fn close_reason(&self) -> CloseReason {
        CloseReason::of_number(self.close_reason.load(Ordering::Relaxed))
    }

    /// Whether it watches all requests, or the log.
    pub fn is_monitor(&self) -> bool {
        self.has(flag::MONITOR)
    }

    fn has(&self, bit: u8) -> bool {
        self.flags.load(Ordering::Relaxed) & bit != 0
    }

    /// The version of RESP that the client speaks.
    pub fn set_version(&self, version: Version) {
        self.resp.store(version.number() as u8, Ordering::Relaxed);
    }

    /// The last command's full name.
    pub fn last_command_name(&self) -> &'static str {
        let index = usize::from(self.last_command.load(Ordering::Relaxed));
        Command::ALL.get(index).map_or("NULL", |command| command.spec().name)
    }

    /// Seconds since the last request.
    pub fn idle_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_active_ms.load(Ordering::Relaxed)) / 1000
    }

    /// The connection's line in CLIENT LIST, without its end, as Redis 7.2 writes it.
    pub fn describe(&self, now_ms: u64, out: &mut Vec<u8>) {
        let mut letters = String::new();
        for (bit, letter) in [
            (self.is_monitor(), 'O'),
            (self.is_subscriber(), 'P'),
            (self.has(flag::MULTI), 'x'),
            (self.has(flag::BLOCKED), 'b'),
            (self.has(flag::DIRTY_CAS), 'd'),
            (self.unix, 'U'),
            (self.has(flag::READONLY), 'r'),
            (self.has(flag::NO_EVICT), 'e'),
            (self.has(flag::NO_TOUCH), 'T'),
        ] {
            if bit {
                letters.push(letter);
            }
        }
        if letters.is_empty() {
            letters.push('N');
        }
        let names = self.names();
        let output = self.output_bytes.load(Ordering::Relaxed);
        let buffers = self.buffer_bytes.load(Ordering::Relaxed);
        let input = self.input_bytes.load(Ordering::Relaxed);
        let mut text = String::with_capacity(384);
        let _ = write!(
            text,
            "id={} addr={} laddr={} fd={} name=",
            self.id,
            self.addr,
            self.laddr,
            self.fd.load(Ordering::Relaxed)
        );
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&names.name);
        text.clear();
        let _ = write!(
            text,
            " age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} qbuf={} qbuf-free={} argv-mem=0 \
             multi-mem=0 rbs={} rbp=0 obl={} oll=0 omem={} tot-mem={} events={} cmd={} user=default redir=-1 \
             resp={}",
            now_ms.saturating_sub(self.connected_ms) / 1000,
            self.idle_s(now_ms),
            letters,
            self.db.load(Ordering::Relaxed),
            self.subscriptions[0].load(Ordering::Relaxed),
            self.subscriptions[1].load(Ordering::Relaxed),
            self.subscriptions[2].load(Ordering::Relaxed),
            self.multi.load(Ordering::Relaxed),
            input,
            buffers.saturating_sub(input),
            0,
            output,
            0,
            size_of::<Client>() + buffers + names.heap_bytes(),
            if output > 0 { "rw" } else { "r" },
            self.last_command_name(),
            self.resp.load(Ordering::Relaxed),
        );
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b" lib-name=");
        out.extend_from_slice(&names.lib_name);
        out.extend_from_slice(b" lib-ver=");
        out.extend_from_slice(&names.lib_version);
        text.clear();
        let _ = write!(
            text,
            " tot-net-in={} tot-net-out={} tot-cmds={}",
            self.net_in.load(Ordering::Relaxed),
            self.net_out.load(Ordering::Relaxed),
            self.commands.load(Ordering::Relaxed)
        );
        out.extend_from_slice(text.as_bytes());
    }
}

/// What CLIENT PAUSE holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Commands that may change keys.
    Writes,
    /// All of them.
    All,
}

/// See the module's text.
#[derive(Debug)]
pub struct Clients {
    next_id: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Client>>>,
    /// Whose log tells of them; `None` in tests.
    registry: Option<Arc<PubSub>>,
    /// The bound on open connections, shared with the acceptors.
    pub limit: ConnectionLimit,
    /// Clients that wait in a blocking command.
    pub blocked: AtomicUsize,
    /// Bytes of replies that all clients together have not taken yet.
    pub unsent_bytes: AtomicUsize,
    /// Unix milliseconds at which the pause ends; 0: there is none.
    pause_until_ms: AtomicU64,
    pause_all: AtomicBool,
}

impl Default for Clients {
    fn default() -> Self {
        Clients {
            next_id: AtomicU64::new(0),
            registry: None,
            open: Mutex::default(),
            limit: ConnectionLimit::new(DEFAULT_MAX_CLIENTS),
            blocked: AtomicUsize::new(0),
            unsent_bytes: AtomicUsize::new(0),
            pause_until_ms: AtomicU64::new(0),
            pause_all: AtomicBool::new(false),
        }
    }
}

impl Clients {
    /// A number that no connection has had.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The connections of a node: they are told of in its log.
    pub fn of_node(registry: Arc<PubSub>) -> Clients {
        Clients { registry: Some(registry), ..Clients::default() }
    }

    /// Adds a connection.
    pub fn add(&self, client: Client) -> Arc<Client> {
        let client = Arc::new(client);
        if let Some(registry) = &self.registry {
            watch::connection(registry, &client, None, client.connected_ms);
        }
        self.open.lock().insert(client.id, client.clone());
        client
    }

    /// Takes a connection out.
    pub fn remove(&self, id: u64) {
        let gone = self.open.lock().remove(&id);
        if let (Some(registry), Some(client)) = (&self.registry, gone) {
            watch::connection(registry, &client, Some(client.close_reason()), clock::unix_ms());
        }
    }

    /// The connection of that number.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.open.lock().get(&id).cloned()
    }

    /// All connections, by number.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.open.lock().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Asks all connections to end: the node stops.
    pub fn finish_all(&self) {
        for client in self.open.lock().values() {
            client.ends_by(CloseReason::Shutdown);
            client.close();
        }
    }

    /// Starts a pause, or makes the one under way longer or stricter.
    pub fn pause(&self, what: Pause, until_ms: u64, now_ms: u64) {
        let under_way = self.pause_until_ms.load(Ordering::Acquire) > now_ms;
        let all = what == Pause::All || (under_way && self.pause_all.load(Ordering::Acquire));
        self.pause_all.store(all, Ordering::Release);
        if under_way {
            self.pause_until_ms.fetch_max(until_ms, Ordering::AcqRel);
        } else {
            self.pause_until_ms.store(until_ms, Ordering::Release);
        }
    }

    /// Ends the pause.
    pub fn unpause(&self) {
        self.pause_until_ms.store(0, Ordering::Release);
        self.open.lock().values().for_each(|client| client.wake());
    }

    /// The pause in force: what it holds back, and until when (Unix milliseconds).
    #[inline]
    pub fn paused(&self, now_ms: u64) -> Option<(Pause, u64)> {
        let until = self.pause_until_ms.load(Ordering::Acquire);
        if until <= now_ms {
            return None;
        }
        Some((if self.pause_all.load(Ordering::Acquire) { Pause::All } else { Pause::Writes }, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64) -> Client {
        Client::new(id, "127.0.0.1:5000".into(), "127.0.0.1:6379".into(), 8, false, 2, 1_000)
    }

    #[test]
    fn a_line_has_all_fields_of_redis() {
        let client = client(3);
        client.set_names(|n| n.name = b"me"[..].into());
        client.set_flag(flag::MULTI, true);
        let mut out = Vec::new();
        client.describe(8_500, &mut out);
        let line = String::from_utf8_lossy(&out);
        assert!(line.starts_with(
            "id=3 addr=127.0.0.1:5000 laddr=127.0.0.1:6379 fd=8 name=me age=7 idle=7 flags=x db=0 sub=0 psub=0 \
             ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem="
        ));
        assert!(
            line.ends_with(" events=r cmd=NULL user=default redir=-1 resp=2 lib-name= lib-ver= tot-net-in=0 tot-net-out=0 tot-cmds=0"),
            "{line}"
        );
    }

    #[test]
    fn a_pause_grows_and_ends() {
        let clients = Clients::default();
        assert_eq!(clients.paused(10), None);
        clients.pause(Pause::Writes, 100, 10);
        assert_eq!(clients.paused(50), Some((Pause::Writes, 100)));
        clients.pause(Pause::All, 80, 50);
        assert_eq!(clients.paused(60), Some((Pause::All, 100)));
        assert_eq!(clients.paused(100), None);
        clients.pause(Pause::Writes, 200, 150);
        assert_eq!(clients.paused(160), Some((Pause::Writes, 200)));
        clients.unpause();
        assert_eq!(clients.paused(160), None);
    }

    #[test]
    fn only_a_blocked_client_is_unblocked() {
        let client = client(1);
        assert!(!client.unblock(Unblock::Error));
        client.set_flag(flag::BLOCKED, true);
        assert!(client.unblock(Unblock::Error));
        assert_eq!(client.take_unblock(), Some(Unblock::Error));
        assert_eq!(client.take_unblock(), None);
    }

    #[test]
    fn an_unblock_that_comes_too_late_does_not_end_the_next_waiting() {
        let client = client(1);
        client.begin_waiting();
        assert!(client.unblock(Unblock::Timeout));
        client.set_flag(flag::BLOCKED, false);
        client.begin_waiting();
        assert_eq!(client.take_unblock(), None);
        assert!(client.is_blocked() && client.unblock(Unblock::Error));
        assert_eq!(client.take_unblock(), Some(Unblock::Error));
    }
}
