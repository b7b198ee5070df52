//! The process: what workers, control and replication share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use torc_protocol::command::Command;
use torc_protocol::context::Ack;
use torc_protocol::handshake::Secret;
use torc_runtime::shutdown::Shutdown;

use crate::blocked::Blocked;
use crate::clients::Clients;
use crate::conn::balance::Balance;
use crate::eviction::Eviction;
use crate::lock::LockDesk;
use crate::memcached::PendingFlush;
use crate::notify::Class;
use crate::pubsub::PubSub;
use crate::script::ScriptCache;
use crate::settings::{EvictionClock, Notes, Settings};
use crate::shard::gate::Exclusive;
use crate::shard::{Role, Shard};
use crate::slow::SlowLog;
use crate::stats::{Rates, Sample, WorkerStats};
use crate::store::{Env, KeyHasher, Removed, Store};

/// Values below this many heap bytes are freed where they are replaced.
const LAZY_FREE_BYTES: usize = 64 * 1024;

/// Likewise, whatever its size, a stream of more nodes: each is freed by itself.
const LAZY_FREE_PIECES: usize = 64;

/// Values that wait for the thread that frees them; beyond it they are freed in place.
const LAZY_FREE_QUEUE: usize = 1024;

/// What the allocator knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllocatorStats {
    /// Bytes that were asked for.
    pub allocated: u64,
    /// Bytes in pages with something in them.
    pub active: u64,
    /// Bytes of memory that is mapped in.
    pub resident: u64,
}

/// Something to drop off the request path.
pub type Garbage = Box<dyn Send>;

/// See the module's text.
pub struct Node {
    /// The data.
    pub store: Store,
    /// What the node is in its cluster.
    pub shard: Shard,
    /// Options as they are now; CONFIG SET replaces them.
    pub settings: ArcSwap<Settings>,
    /// Counters, one set for each worker.
    pub stats: Box<[Arc<WorkerStats>]>,
    /// Connections of all workers.
    pub clients: Clients,
    /// Which connections should go to another worker.
    pub balance: Balance,
    /// Who listens to what.
    pub pubsub: Arc<PubSub>,
    /// Rates and the peak of memory.
    pub rates: Rates,
    /// How to ask the allocator, where the program has one that can be asked.
    pub allocator: OnceLock<fn() -> AllocatorStats>,
    /// What took long.
    pub slow: SlowLog,
    /// Trips when the process is to end; set once by who runs the node.
    pub shutdown: OnceLock<Shutdown>,
    /// Script bodies by their SHA1.
    pub scripts: ScriptCache,
    /// memcached's delayed flush.
    pub memcached: PendingFlush,
    /// Unix milliseconds of the start.
    pub started_ms: u64,
    /// Forty hex digits, new at each start.
    pub run_id: String,
    /// The shard's locks and the requests that wait for them.
    pub locks: LockDesk,
    /// Requests that wait for keys.
    pub blocked: Arc<Blocked>,
    /// The cluster's secret; without one nobody can do the handshake.
    pub secret: Option<Secret>,
    /// CLOCK_BOOTTIME at which each worker last went round its loop; 0 before the first time.
    progress: Box<[CachePadded<AtomicU64>]>,
    /// Whether keys that have expired are looked for (DEBUG SET-ACTIVE-EXPIRE).
    pub active_expiry: AtomicBool,
    garbage: mpsc::SyncSender<(Garbage, usize)>,
    freeing: Arc<Freeing>,
    /// What eviction remembers.
    pub eviction: Eviction,
    /// What is looked at for each request, kept aside of `settings`; written under its lock.
    quick: Quick,
}

/// Values of keys that are dropped on the freeing thread.
#[derive(Debug, Default)]
pub struct Freeing {
    /// On their way to it.
    pub pending: AtomicU64,
    /// Dropped, since the start or CONFIG RESETSTAT.
    pub freed: AtomicU64,
}

/// See [`Node::quick`].
#[derive(Debug, Default)]
struct Quick {
    writer: Mutex<()>,
    /// Rises with every change of the settings.
    version: AtomicU64,
    /// What the policy notes of uses ([`Notes`]).
    notes: AtomicU8,
    maxmemory: AtomicU64,
    default_ack: AtomicU8,
    notify: AtomicU16,
}

impl Quick {
    fn follow(&self, settings: &Settings) {
        self.notes.store(settings.maxmemory_policy.notes() as u8, Ordering::Relaxed);
        self.maxmemory.store(settings.maxmemory, Ordering::Relaxed);
        self.default_ack.store(settings.default_ack as u8, Ordering::Relaxed);
        self.notify.store(settings.notify.number(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl Node {
    /// A node with an empty store. `seed` makes the run id; `hasher` must be the cluster's.
    pub fn new(
        settings: Settings,
        workers: usize,
        cluster: bool,
        hasher: KeyHasher,
        started_ms: u64,
        seed: [u8; 20],
        secret: Option<Secret>,
    ) -> Arc<Node> {
        let (garbage, receiver) = mpsc::sync_channel::<(Garbage, usize)>(LAZY_FREE_QUEUE);
        let freeing = Arc::new(Freeing::default());
        let count = freeing.clone();
        let spawned = std::thread::Builder::new().name("torc-free".into()).spawn(move || {
            while let Ok((item, objects)) = receiver.recv() {
                drop(item);
                count.freed.fetch_add(objects as u64, Ordering::Relaxed);
                count.pending.fetch_sub(objects as u64, Ordering::Relaxed);
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for freeing big values: they are freed in place");
        }
        let slow = SlowLog::new(&settings);
        let store = Store::new(hasher);
        store.set_lock_timeout(Duration::from_millis(settings.busy_reply_ms));
        let pubsub = Arc::new(PubSub::new(workers));
        pubsub.set_limit(settings.pubsub_hard_bytes);
        let quick = Quick::default();
        quick.follow(&settings);
        Arc::new(Node {
            store,
            shard: Shard::new(workers, cluster),
            settings: ArcSwap::from_pointee(settings),
            stats: (0..workers).map(|_| Arc::new(WorkerStats::default())).collect(),
            clients: Clients::of_node(pubsub.clone()),
            balance: Balance::default(),
            pubsub,
            rates: Rates::default(),
            allocator: OnceLock::new(),
            slow,
            shutdown: OnceLock::new(),
            scripts: ScriptCache::default(),
            memcached: PendingFlush::default(),
            started_ms,
            run_id: seed.iter().map(|b| format!("{b:02x}")).collect(),
            locks: LockDesk::default(),
            blocked: Arc::default(),
            secret,
            progress: (0..workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            active_expiry: AtomicBool::new(true),
            garbage,
            freeing,
            eviction: Eviction::default(),
            quick,
        })
    }

    /// Replaces the settings, unless somebody else did so since `old` was read, and tells those who keep a copy
    /// of some.
    pub fn replace_settings(&self, old: &Arc<Settings>, new: Settings) -> bool {
        let new = Arc::new(new);
        // So that those who keep a copy end with the last one.
        let _writer = self.quick.writer.lock();
        if !Arc::ptr_eq(&self.settings.compare_and_swap(old, new.clone()), old) {
            return false;
        }
        self.quick.follow(&new);
        self.slow.configure(&new);
        self.store.set_lock_timeout(Duration::from_millis(new.busy_reply_ms));
        self.clients.limit.set_limit(new.max_clients);
        self.pubsub.set_limit(new.pubsub_hard_bytes);
        true
    }

    /// Waits until no worker is in a batch and keeps them out. A script that goes on for longer than scripts may is
    /// ended, unless it has written: half of a script must not become a record. That one is waited for.
    pub fn close_gate(&self) -> Exclusive<'_> {
        let closed = self.shard.gate.close_or(self.store.lock_timeout(), || {
            let ended = self.scripts.kill();
            tracing::warn!(?ended, "a script holds up the node's place in its shard");
        });
        // Workers that now stand before the gate are in the middle of a turn.
        (0..self.stats.len()).for_each(|worker| self.shard.announce(worker));
        closed
    }

    /// Which keyspace events are published.
    #[inline]
    pub fn notify_classes(&self) -> Class {
        Class::from_number(self.quick.notify.load(Ordering::Relaxed))
    }

    /// Tells those who subscribe to keyspace events that something happened to a key of the database.
    #[inline]
    pub fn notify(&self, class: Class, db: u8, event: &'static str, key: &[u8]) {
        let wanted = self.notify_classes();
        if wanted.contains(class) {
            self.publish_event(wanted, db, event, key);
        }
    }

    /// Publishes a keyspace event of the database to its subscribers.
    pub fn publish_event(&self, wanted: Class, db: u8, event: &str, key: &[u8]) {
        self.pubsub.publish_event(wanted, db, event, key);
    }

    /// What a change of a collection needs to know.
    pub fn env(&self) -> Env {
        Env { limits: self.settings.load().limits, hasher: self.store.hasher() }
    }

    /// Frees a replaced entry: a big one on a thread of its own.
    pub fn drop_later(&self, entry: Option<Removed>) {
        if let Some(entry) = entry
            && (entry.heap_bytes() >= LAZY_FREE_BYTES || entry.pieces() > LAZY_FREE_PIECES)
        {
            self.free(Box::new(entry), 1);
        }
    }

    /// Drops something that holds so many keys' values on the freeing thread, or here when its queue is full.
    pub fn free(&self, garbage: Garbage, objects: usize) {
        self.freeing.pending.fetch_add(objects as u64, Ordering::Relaxed);
        // A full or closed channel gives the item back, and it is dropped here.
        if self.garbage.try_send((garbage, objects)).is_err() {
            self.freeing.pending.fetch_sub(objects as u64, Ordering::Relaxed);
        }
    }

    /// What has been and what will be dropped on the freeing thread.
    pub fn freeing(&self) -> &Freeing {
        &self.freeing
    }

    /// Bytes that count against `maxmemory`: entries, tables, and what an empty store takes.
    #[inline]
    pub fn used_bytes(&self) -> u64 {
        (Store::EMPTY_BYTES + self.store.used_bytes()) as u64
    }

    /// A worker says that it makes progress; at least once a second.
    pub fn stamp_progress(&self, worker: usize, now_ns: u64) {
        self.progress[worker].store(now_ns, Ordering::Relaxed);
    }

    /// Whether every worker has made progress within `stall_ms`: one that has not is a hang, and its node must
    /// not keep a lease.
    pub fn workers_progress(&self, now_ns: u64, stall_ms: u64) -> bool {
        self.progress
            .iter()
            .map(|p| p.load(Ordering::Relaxed))
            .all(|stamp| stamp == 0 || now_ns.saturating_sub(stamp) < stall_ms.saturating_mul(1_000_000))
    }

    /// Whether this node decides that a key has expired: replicas wait for their primary's word.
    #[inline]
    pub fn may_expire(&self) -> bool {
        matches!(self.shard.role(), Role::Plain | Role::Primary)
    }

    /// The acknowledgement of writes whose client chose none.
    #[inline]
    pub fn default_ack(&self) -> Ack {
        match self.quick.default_ack.load(Ordering::Relaxed) {
            ack if ack == Ack::None as u8 => Ack::None,
            ack if ack == Ack::InSync as u8 => Ack::InSync,
            _ => Ack::Primary,
        }
    }

    /// Whether the store has reached `maxmemory`.
    #[inline]
    pub fn is_full(&self) -> bool {
        let most = self.quick.maxmemory.load(Ordering::Relaxed);
        most != 0 && self.used_bytes() >= most
    }

    /// A number that rises with every change of the settings, for those who keep what they read.
    #[inline]
    pub fn settings_version(&self) -> u64 {
        self.quick.version.load(Ordering::Acquire)
    }

    /// How uses of a key are noted at this time.
    #[inline]
    pub fn eviction_clock(&self, now_ms: u64) -> EvictionClock {
        EvictionClock::at(now_ms, Notes::from_number(self.quick.notes.load(Ordering::Relaxed)))
    }

    /// The sum of one counter over all workers.
    pub fn total(&self, counter: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.stats.iter().map(|s| counter(s)).sum()
    }

    /// Works out rates and peaks, and whether workers should give connections to others; once a second.
    pub fn sample(&self, now_ns: u64) {
        let commands = |stats: &WorkerStats| Command::ALL.iter().map(|c| stats.command(*c).calls.get()).sum();
        let by_worker: Vec<u64> = self.stats.iter().map(|stats| commands(stats)).collect();
        self.balance.look(&by_worker);
        self.rates.update(Sample {
            at_ns: now_ns,
            commands: by_worker.iter().sum(),
            bytes_in: self.total(|s| s.bytes_in.get()),
            bytes_out: self.total(|s| s.bytes_out.get()),
        });
        self.note_peak();
    }

    /// The most bytes that the store has taken, as far as anybody looked.
    pub fn note_peak(&self) -> u64 {
        let used = self.used_bytes();
        self.rates.peak_bytes.fetch_max(used, Ordering::Relaxed).max(used)
    }
}
