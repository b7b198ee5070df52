//! The process: what workers, control and replication share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use arc_swap::ArcSwap;

use torc_protocol::context::Ack;
use torc_protocol::handshake::Secret;

use crate::clients::Clients;
use crate::memcached::PendingFlush;
use crate::script::ScriptCache;
use crate::settings::{EvictionClock, Settings};
use crate::shard::{Role, Shard};
use crate::stats::WorkerStats;
use crate::store::{Entry, KeyHasher, Store};

/// Values below this many heap bytes are freed where they are replaced.
const LAZY_FREE_BYTES: usize = 64 * 1024;

/// Values that wait for the thread that frees them; beyond it they are freed in place.
const LAZY_FREE_QUEUE: usize = 1024;

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
    /// Script bodies by their SHA1.
    pub scripts: ScriptCache,
    /// memcached's delayed flush.
    pub memcached: PendingFlush,
    /// Unix milliseconds of the start.
    pub started_ms: u64,
    /// Forty hex digits, new at each start.
    pub run_id: String,
    /// Fencing tokens given in the current term.
    pub tokens: AtomicU64,
    /// The cluster's secret; without one nobody can do the handshake.
    pub secret: Option<Secret>,
    garbage: mpsc::SyncSender<Garbage>,
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
        let (garbage, receiver) = mpsc::sync_channel::<Garbage>(LAZY_FREE_QUEUE);
        let spawned = std::thread::Builder::new().name("torc-free".into()).spawn(move || {
            while let Ok(item) = receiver.recv() {
                drop(item);
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for freeing big values: they are freed in place");
        }
        Arc::new(Node {
            store: Store::new(hasher),
            shard: Shard::new(workers, cluster),
            settings: ArcSwap::from_pointee(settings),
            stats: (0..workers).map(|_| Arc::new(WorkerStats::default())).collect(),
            clients: Clients::default(),
            scripts: ScriptCache::default(),
            memcached: PendingFlush::default(),
            started_ms,
            run_id: seed.iter().map(|b| format!("{b:02x}")).collect(),
            tokens: AtomicU64::new(0),
            secret,
            garbage,
        })
    }

    /// Frees a replaced entry: a big one on a thread of its own.
    pub fn drop_later(&self, entry: Option<Entry>) {
        if let Some(entry) = entry
            && entry.heap_bytes() >= LAZY_FREE_BYTES
        {
            self.free(Box::new(entry));
        }
    }

    /// Drops something on the freeing thread, or here when its queue is full.
    pub fn free(&self, garbage: Garbage) {
        // A full or closed channel gives the item back, and it is dropped here.
        let _ = self.garbage.try_send(garbage);
    }

    /// Whether this node decides that a key has expired: replicas wait for their primary's word.
    #[inline]
    pub fn may_expire(&self) -> bool {
        matches!(self.shard.role(), Role::Plain | Role::Primary)
    }

    /// The acknowledgement of writes whose client chose none.
    pub fn default_ack(&self) -> Ack {
        self.settings.load().default_ack
    }

    /// How uses of a key are noted at this time.
    #[inline]
    pub fn eviction_clock(&self, now_ms: u64) -> EvictionClock {
        EvictionClock::at(now_ms)
    }

    /// The sum of one counter over all workers.
    pub fn total(&self, counter: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.stats.iter().map(|s| counter(s)).sum()
    }

    /// The next number of a fencing token in this term.
    pub fn next_token_number(&self) -> u64 {
        self.tokens.fetch_add(1, Ordering::Relaxed) + 1
    }
}
