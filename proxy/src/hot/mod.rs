//! Hot keys: found by sampling, kept for a moment, asked for once.
//!
//! ```text
//! request ─▶ sketch (one in 64) ─ hot ─▶ copies: Empty ─ fetch ─▶ channel ═▶ node   changes ═▶ channel ─▶ copies
//!    │                                                                    writes of clients ─▶ stamps ─┘
//!    ├─ a copy, vouched for, its stamp unchanged ─▶ the client
//!    └─ the same read is about to leave ─▶ joins it (flights)
//! ```
//! A worker looks at one request in [`SAMPLED_ONE_IN`] on the average; the others cost it one count. What it finds it
//! tells once a second, see [`report`]. Copies and shared requests are off unless the configuration or a policy asks for
//! them. All of it belongs to the worker's thread but what it has told and the [`stamps`].

pub mod channel;
pub mod copies;
pub mod flights;
pub mod reads;
pub mod report;
pub mod serve;
pub mod sketch;
pub mod stamps;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use channel::Channel;
use copies::Copies;
use flights::{Flight, Flights, Follower};
use report::{TOLD_KEYS, Told};
use sketch::{Heavy, Sketch};
use stamps::{Keys, Writing};
use torc_cluster::ShardId;
use torc_protocol::slot::key_slot;

use crate::config::ProxyConfig;
use crate::downstream::request::Request;
use crate::table::RouteTable;
use crate::upstream::pending::Pending;
use crate::worker::{Routes, Worker};

/// One request in so many is looked at. The gaps are drawn, so that no pattern of requests can hide between them.
pub const SAMPLED_ONE_IN: u32 = 64;
/// How often the counts fade and are told.
const ROUND_NS: u64 = 1_000_000_000;
/// Within this all threads go by new settings.
const OTHERS_NS: u64 = 1_000_000_000;
/// A key is not hot with fewer samples than this.
const HOT_FROM_SAMPLES: f64 = 4.0;
/// A copy is given up when it is asked for this much less than what makes a key hot.
const COLD_PART: u64 = 4;

/// What a worker knows of hot keys. See the module's text.
#[derive(Debug, Default)]
pub struct Hot {
    /// Requests until the next one is looked at.
    left: Cell<u32>,
    sketch: RefCell<Sketch>,
    /// When the counts faded last.
    passed_ns: Cell<u64>,
    /// `Shared::hot_resets` as of the latest round.
    resets: Cell<u64>,
    /// Copies may be kept of some keys.
    pub may_copy: Cell<bool>,
    /// There are entries of copies: read for each read.
    pub active: Cell<bool>,
    /// Of keys without a policy that says so.
    copies_by_default: Cell<bool>,
    /// Reads of some keys may share requests: read for each read.
    pub coalesces: Cell<bool>,
    coalesce_by_default: Cell<bool>,
    /// On the worker's clock: before this somebody may be writing without a stamp.
    fetches_from_ns: Cell<u64>,
    /// What is kept.
    pub copies: RefCell<Copies>,
    /// By shard.
    channels: RefCell<HashMap<ShardId, Rc<Channel>, ahash::RandomState>>,
    /// Requests that may be joined.
    pub flights: Flights,
}

impl Worker {
    /// A request for a key goes its way. True: it was looked at, and the key is hot.
    #[inline]
    pub fn saw_key(&self, db: u8, key: &[u8], write: bool) -> bool {
        let left = self.hot.left.get();
        if left > 0 {
            self.hot.left.set(left - 1);
            return false;
        }
        self.sample(db, key, write)
    }

    /// The same for `count` keys of one request at once; `pick` gives one of them, by any number.
    #[inline]
    pub fn saw_more<'k>(
        &self,
        db: u8,
        count: usize,
        write: bool,
        pick: impl FnOnce(usize) -> Option<&'k [u8]>,
    ) {
        let left = self.hot.left.get();
        if left as usize >= count {
            self.hot.left.set(left - count as u32);
        } else if let Some(key) = pick(self.random() as usize >> 1) {
            self.sample(db, key, write);
        }
    }

    #[cold]
    fn sample(&self, db: u8, key: &[u8], write: bool) -> bool {
        let config = self.settings.borrow();
        if !config.hot_keys && !self.hot.may_copy.get() {
            self.hot.left.set(u32::MAX);
            return false;
        }
        let gap = self.random() % u64::from(2 * SAMPLED_ONE_IN - 1);
        self.hot.left.set(gap as u32);
        self.metrics.hot_samples.add(1);
        let mut sketch = self.hot.sketch.borrow_mut();
        let samples = sketch.add(db, key, write);
        if !self.hot.may_copy.get() || write || samples < HOT_FROM_SAMPLES {
            return false;
        }
        let since = self.clock.now_ns().saturating_sub(self.hot.passed_ns.get());
        let rate = sketch.rate(samples, since as f64 / 1e9) * f64::from(SAMPLED_ONE_IN);
        rate >= config.copy_rate as f64
    }

    /// The ticker's part: counts fade, and are told; copies that nobody asks for go.
    pub(crate) fn tick_hot(&self, now_ns: u64) {
        let hot = &self.hot;
        let since_ns = now_ns.saturating_sub(hot.passed_ns.get());
        let resets = self.shared.hot_resets.load(Ordering::Relaxed);
        if since_ns < ROUND_NS && resets == hot.resets.get() {
            return;
        }
        hot.passed_ns.set(now_ns);
        let mut sketch = hot.sketch.borrow_mut();
        let looks = self.settings.borrow().hot_keys || hot.may_copy.get();
        if resets != hot.resets.replace(resets) || !looks {
            sketch.clear();
        }
        if looks {
            hot.left.set(hot.left.get().min(2 * SAMPLED_ONE_IN));
        }
        sketch.pass(since_ns as f64 / 1e9);
        let scaled = |rate: f64| rate * f64::from(SAMPLED_ONE_IN);
        let keys = sketch.heaviest(TOLD_KEYS).into_iter().map(|heavy| Heavy {
            per_second: scaled(heavy.per_second),
            error_per_second: scaled(heavy.error_per_second),
            writes_per_second: scaled(heavy.writes_per_second),
            ..heavy
        });
        let told = Told { per_second: scaled(sketch.total_rate()), keys: keys.collect() };
        if let Some(place) = self.shared.hot.get(self.index) {
            *place.lock() = Arc::new(told);
        }
        drop(sketch);
        self.tick_copies(now_ns, since_ns);
    }

    fn tick_copies(&self, now_ns: u64, since_ns: u64) {
        let hot = &self.hot;
        if !hot.active.get() && hot.channels.borrow().is_empty() {
            return;
        }
        let rate = self.settings.borrow().copy_rate;
        let mut copies = hot.copies.borrow_mut();
        // A round that came early counted fewer.
        if since_ns >= ROUND_NS {
            copies.cool(rate / COLD_PART);
        }
        hot.channels.borrow_mut().retain(|shard, channel| channel.tick(now_ns, copies.needs(*shard)));
        hot.active.set(!copies.is_empty());
        self.metrics.copies.set(copies.len() as u64);
        self.metrics.copy_bytes.set(copies.bytes() as u64);
    }

    /// A shard's word does not hold any more.
    pub(crate) fn drop_copies_of(&self, shard: ShardId) {
        let dropped = self.hot.copies.borrow_mut().drop_shard(shard);
        self.metrics.copies_dropped.add(dropped as u64);
    }

    fn drop_all_copies(&self) {
        let mut copies = self.hot.copies.borrow_mut();
        self.metrics.copies_dropped.add(copies.len() as u64);
        copies.clear();
        drop(copies);
        self.hot.active.set(false);
        self.hot.channels.take().values().for_each(|channel| channel.end());
    }

    /// The map is another: where a slot, a primary, a term or a rule differs nothing is kept.
    pub(crate) fn recall_copies(&self, old: &Routes, new: &Routes) {
        let (old, new) = (&old.table, &new.table);
        let terms = |table: &RouteTable| -> Vec<_> {
            table.map.shards.values().map(|shard| (shard.id, shard.term, shard.primary)).collect()
        };
        if !old.has_slots_of(new) || old.rules != new.rules || terms(old) != terms(new) {
            self.drop_all_copies();
        }
        self.choose_reads(&self.settings(), new);
    }

    /// Before the first client: where the configuration that the proxy was started with has copies kept, no thread has
    /// ever taken a write without a stamp, whichever of them begins first.
    pub(crate) fn begin_copies(&self) {
        let config = &self.shared.config;
        self.choose_reads(config, &RouteTable::new(Arc::default(), &config.policy));
        self.hot.fetches_from_ns.set(0);
    }

    /// Settings or rules have changed.
    pub(crate) fn choose_reads(&self, config: &ProxyConfig, table: &RouteTable) {
        let hot = &self.hot;
        let may_copy = config.local_copies || table.rules.iter().any(|rule| rule.copies == Some(true));
        if hot.copies_by_default.replace(config.local_copies) != config.local_copies || !may_copy {
            self.drop_all_copies();
        }
        if may_copy && !hot.may_copy.replace(may_copy) && self.served_without_stamps() {
            // The other threads take the setting within a round of their tickers.
            let wait_ns = u64::from(config.request_timeout_ms) * 1_000_000 + OTHERS_NS;
            hot.fetches_from_ns.set(self.clock.now_ns().saturating_add(wait_ns));
        }
        hot.may_copy.set(may_copy);
        hot.coalesce_by_default.set(config.coalesce_reads);
        let coalesces = config.coalesce_reads || table.rules.iter().any(|rule| rule.coalesce == Some(true));
        hot.coalesces.set(coalesces);
    }

    /// Whether writes may be under way, here or on another thread, that no stamp knows of.
    fn served_without_stamps(&self) -> bool {
        self.shared.limit.accepted() > 0
    }

    /// The stamps of a write's keys change, until the answer; nothing where no copies are kept.
    #[inline]
    pub fn writing(&self, request: &Request<'_>) -> Option<Box<Writing>> {
        (self.hot.may_copy.get() && request.is_write())
            .then(|| Writing::begin(&self.shared.stamps, keys_of(request)))
    }

    /// The same for keys that are known.
    #[inline]
    pub fn writing_keys(&self, keys: impl FnOnce() -> Keys) -> Option<Box<Writing>> {
        self.hot.may_copy.get().then(|| Writing::begin(&self.shared.stamps, keys()))
    }

    /// The client that a request is sent for is gone: one that shares it takes its place.
    pub fn hand_on(&self, pending: &mut Pending) {
        if pending.client.as_ref().is_some_and(|client| !client.closed.get()) {
            return;
        }
        if let Some(Follower { client, seq, since_ns }) =
            pending.flight.as_ref().and_then(|flight| flight.take_one())
        {
            pending.client = Some(client);
            pending.seq = seq;
            pending.since_ns = since_ns;
        }
    }

    /// A shared request is answered, or has failed: so are those of the other clients.
    #[cold]
    pub(crate) fn for_followers(&self, flight: &Flight, answer: impl Fn(&Follower)) {
        for follower in flight.take() {
            answer(&follower);
        }
    }
}

/// The slots of all keys that a request may write.
pub fn keys_of(request: &Request<'_>) -> Keys {
    let mut keys = Keys::none();
    match request.spec.find_keys(&request.args) {
        Ok(found) if !found.is_empty() => {
            found.iter().for_each(|at| keys.add(key_slot(request.arg(*at))));
            keys
        }
        // Whole databases, or a script that names none: nobody knows.
        _ => Keys::All,
    }
}
