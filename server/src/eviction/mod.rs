//! Making room when the store has reached `maxmemory`.
//!
//! Candidates are sampled from random stripes and the best of the last samples kept in a pool, as Redis does; each
//! removal is an effect of its own, so replicas remove the same key.
//!
//! `allkeys-s3fifo` is S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023), by samples:
//! the note of an entry says in which queue it is, when it entered it and how often it was used since, and the oldest
//! of the sampled entries of a queue stands for the queue's end. So the queues cost neither memory nor a lock on the
//! path of a request. A new key enters the small queue, or the main one when it was evicted not long ago ([`ghost`]);
//! at the end of the small queue it moves to the main one if it was used twice, at the end of that one it stays as
//! often as it was used.
//!
//! Lock order: the pools, then stripes. The ghosts' lock is a leaf.

mod ghost;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use torc_cluster::map::{Ack, Policy};
use torc_protocol::error as text;

use self::ghost::Ghosts;
use self::pool::{Candidate, Pool};
use crate::effect::{EffectWriter, Records};
use crate::exec::CommandError;
use crate::memcached::watch;
use crate::node::Node;
use crate::notify::Class;
use crate::pubsub::Lines;
use crate::settings::{EvictionClock, EvictionPolicy, Settings};
use crate::shard::Role;
use crate::stats::WorkerStats;
use crate::store::{DATABASES, Entry, Key, STRIPES, Stripe};

/// Evictions that one request may wait for.
const MAX_PER_REQUEST: usize = 64;

/// Stripes that are looked at for one candidate before the store counts as having none.
const MAX_LOOKS: usize = 2 * STRIPES;

/// Candidates that are taken up for one eviction: those that were used since, or move to another queue, are dropped.
const MAX_TAKEN: usize = 256;

/// The share of the small queue, of [`WHOLE`].
const SMALL_SHARE: u32 = WHOLE / 10;
const WHOLE: u32 = 1 << 16;

/// Samples over which the share of the small queue is averaged, as a power of two.
const SHARE_SHIFT: u32 = 7;

/// The part of `maxmemory` that the ghosts' table may take beside it.
const GHOST_PART: u64 = 32;

/// Evictions after which the ghosts' table is fitted to the number of keys.
const FIT_EVERY: u64 = 1 << 14;

/// What eviction remembers from one removal to the next.
#[derive(Debug, Default)]
pub struct Eviction {
    pools: Mutex<Pools>,
    ghosts: Ghosts,
    /// Prefixes of the map's policies, and whether their keys are kept.
    kept: ArcSwap<Vec<(Box<[u8]>, bool)>>,
    /// How long what was evicted last had not been used, in seconds.
    last_idle_s: AtomicU32,
}

#[derive(Debug, Default)]
struct Pools {
    /// The policy that made the scores.
    policy: EvictionPolicy,
    /// Candidates; of the main queue under S3-FIFO.
    main: Pool,
    /// Candidates of the small queue.
    small: Pool,
    /// The share of the small queue in recent samples, of [`WHOLE`].
    small_share: u32,
    evictions: u64,
}

impl Pools {
    fn begin(&mut self, policy: EvictionPolicy, ghosts: &Ghosts) {
        if self.policy == policy {
            return;
        }
        if self.policy == EvictionPolicy::AllKeysS3Fifo {
            ghosts.clear();
        }
        *self = Pools { policy, small_share: WHOLE, ..Pools::default() };
    }

    /// Candidates to take the next one from.
    fn next(&mut self) -> &mut Pool {
        let from_small = self.small_share >= SMALL_SHARE && !self.small.is_empty();
        if from_small || self.main.is_empty() { &mut self.small } else { &mut self.main }
    }

    fn sampled(&mut self, is_small: bool) {
        let target = if is_small { WHOLE } else { 0 };
        self.small_share = self.small_share - (self.small_share >> SHARE_SHIFT) + (target >> SHARE_SHIFT);
    }
}

fn next(rng: &mut u64) -> u64 {
    *rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*rng >> 33) ^ *rng
}

impl Eviction {
    /// How long the entry that was evicted last had not been used, in seconds; 0 where no such time is kept.
    pub fn last_idle_s(&self) -> u32 {
        self.last_idle_s.load(Ordering::Relaxed)
    }

    /// Takes the policies of the map: keys with a prefix that is `no_evict`, or acknowledged `in-sync` (a lock made by a
    /// Redlock library), are never evicted.
    pub fn follow(&self, policies: &[Policy]) {
        let kept = |policy: &Policy| policy.no_evict || policy.ack == Some(Ack::InSync);
        let new = policies.iter().map(|policy| (policy.prefix.as_bytes().into(), kept(policy))).collect();
        if **self.kept.load() != new {
            self.kept.store(Arc::new(new));
        }
    }

    /// Whether a key is never evicted: the longest prefix of the policies decides.
    fn keeps(&self, key: &[u8]) -> bool {
        let kept = self.kept.load();
        let matching = kept.iter().filter(|(prefix, _)| key.starts_with(prefix));
        matching.max_by_key(|(prefix, _)| prefix.len()).is_some_and(|(_, kept)| *kept)
    }

    /// The access note of a new key: under S3-FIFO it depends on whether the key was here not long ago.
    pub fn arrival(&self, clock: EvictionClock, hash: u64) -> u32 {
        if clock.is_fifo() && self.ghosts.take(hash) { clock.fresh_main() } else { clock.fresh() }
    }
}

impl Node {
    /// Evicts until the store is below `maxmemory`, or refuses. Holds no stripe when called.
    pub fn make_room(
        &self,
        effects: &mut EffectWriter,
        records: &mut Records,
        stats: &WorkerStats,
        now_ms: u64,
        rng: &mut u64,
    ) -> Result<(), CommandError> {
        let settings = self.settings.load();
        if settings.maxmemory == 0 || self.used_bytes() < settings.maxmemory {
            return Ok(());
        }
        if settings.maxmemory_policy == EvictionPolicy::NoEviction || self.shard.role() == Role::Replica {
            return Err(text::OOM.into());
        }
        for evicted in 0..MAX_PER_REQUEST {
            if self.used_bytes() < settings.maxmemory {
                return Ok(());
            }
            if !self.evict_one(&settings, (effects, records), stats, now_ms, rng) {
                // Nothing may go: refuse, unless this very request has made some room.
                return if evicted > 0 { Ok(()) } else { Err(text::OOM.into()) };
            }
        }
        // Much has to go (somebody stored a giant): this request has done its share, the next ones do theirs.
        Ok(())
    }

    /// Removes the key that goes next; false when none may go.
    fn evict_one(
        &self,
        settings: &Settings,
        (effects, records): (&mut EffectWriter, &mut Records),
        stats: &WorkerStats,
        now_ms: u64,
        rng: &mut u64,
    ) -> bool {
        let policy = settings.maxmemory_policy;
        let mut pools = self.eviction.pools.lock();
        pools.begin(policy, &self.eviction.ghosts);
        pools.evictions += 1;
        if policy == EvictionPolicy::AllKeysS3Fifo && pools.evictions % FIT_EVERY == 1 {
            let keys = self.store.count_keys();
            self.eviction.ghosts.reserve(keys, (settings.maxmemory / GHOST_PART) as usize);
        }
        for _ in 0..MAX_TAKEN {
            // New samples for each candidate that is taken: the pools never live on old news alone.
            if self.sample_candidates(&mut pools, settings, now_ms, rng) == 0 {
                return false;
            }
            while let Some(victim) = pools.next().pop() {
                // Who holds a stripe for long (a script) must not hold up all who need room: the next one goes instead.
                let Some(mut stripe) = self.store.try_stripe(victim.stripe) else { continue };
                let key = self.store.key(&victim.key);
                let may_go = self.may_go(&victim, &key, &mut stripe, policy, now_ms, rng);
                if may_go && let Some(entry) = stripe.peek(victim.db, &key) {
                    self.count_evicted(entry, stats, now_ms);
                    if self.pubsub.log().wants(Lines::EVICTIONS) {
                        watch::evicted(self, key.bytes, entry, now_ms);
                    }
                }
                if may_go && let Some(old) = stripe.evict(victim.db, &key) {
                    stripe.changed(victim.db, key.bytes);
                    stripe.nudge_ready();
                    effects.delete(victim.db, key.bytes);
                    self.notify(Class::EVICTED, victim.db, "evicted", key.bytes);
                    if !effects.is_empty() {
                        effects.take_into(self.shard.term().0, self.shard.next_offset(), records);
                    }
                    let growth = stripe.take_growth();
                    drop((stripe, pools));
                    self.store.report_growth(growth);
                    stats.evicted.add(1);
                    self.drop_later(Some(old));
                    return true;
                }
                if policy == EvictionPolicy::AllKeysS3Fifo {
                    break;
                }
            }
        }
        false
    }

    /// What memcached's statistics tell of an entry that is about to go.
    fn count_evicted(&self, entry: Entry<'_>, stats: &WorkerStats, now_ms: u64) {
        let clock = self.eviction_clock(now_ms);
        let idle_s = if clock.keeps_history() { 0 } else { clock.idle_s(entry.access()) };
        self.eviction.last_idle_s.store(idle_s, Ordering::Relaxed);
        stats.memcached.evicted_unfetched.add(u64::from(!entry.marks().is_fetched()));
        stats.memcached.evicted_nonzero.add(u64::from(entry.expire_ms().is_some()));
    }

    /// Looks at random entries, and keeps those that are better than what is known. Answers how many may go.
    fn sample_candidates(&self, pools: &mut Pools, settings: &Settings, now_ms: u64, rng: &mut u64) -> u32 {
        let clock = self.eviction_clock(now_ms);
        let mut found = 0;
        for _ in 0..MAX_LOOKS {
            let index = (next(rng) % STRIPES as u64) as u16;
            let Some(stripe) = self.store.try_stripe(index) else { continue };
            let dbs: smallvec::SmallVec<[u8; DATABASES]> = stripe.databases().collect();
            let Some(&db) = dbs.get(next(rng) as usize % dbs.len().max(1)) else { continue };
            let Some(entry) = stripe.sample(db, next(rng)) else { continue };
            let Some(score) = score(settings.maxmemory_policy, clock, entry, rng) else { continue };
            let is_small = clock.is_fifo() && !clock.is_main(entry.access());
            pools.sampled(is_small);
            if self.eviction.keeps(entry.key()) {
                continue;
            }
            let pool = if is_small { &mut pools.small } else { &mut pools.main };
            if pool.wants(score) {
                pool.add(Candidate { stripe: index, db, key: entry.key().into(), score });
            }
            found += 1;
            if found >= settings.maxmemory_samples {
                break;
            }
        }
        found
    }

    /// Whether a candidate may still go: it is there, and was not used since it was sampled. Under S3-FIFO this is
    /// the end of its queue: it may move instead.
    fn may_go(
        &self,
        candidate: &Candidate,
        key: &Key<'_>,
        stripe: &mut Stripe,
        policy: EvictionPolicy,
        now_ms: u64,
        rng: &mut u64,
    ) -> bool {
        let clock = self.eviction_clock(now_ms);
        let Some(entry) = stripe.peek(candidate.db, key) else { return false };
        if !clock.is_fifo() {
            // A score only grows while nobody uses the key.
            let random = matches!(policy, EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom);
            return score(policy, clock, entry, rng).is_some_and(|now| random || now >= candidate.score);
        }
        if clock.arrival_age(entry.access()) < candidate.score {
            return false;
        }
        match clock.at_queue_end(entry.access()) {
            Some(moved) => {
                stripe.update(candidate.db, key, |entry| entry.set_access(moved));
                false
            }
            None => {
                if !clock.is_main(entry.access()) {
                    self.eviction.ghosts.add(key.hash);
                }
                true
            }
        }
    }
}

/// How soon an entry should go, `None` for one that may not.
fn score(policy: EvictionPolicy, clock: EvictionClock, entry: Entry<'_>, rng: &mut u64) -> Option<u64> {
    let expire = entry.expire_ms();
    let rarity = |entry: Entry<'_>| u64::from(u8::MAX) - u64::from(clock.frequency(entry.access()));
    match policy {
        EvictionPolicy::NoEviction => None,
        EvictionPolicy::AllKeysRandom => Some(next(rng)),
        EvictionPolicy::VolatileRandom => expire.map(|_| next(rng)),
        EvictionPolicy::AllKeysLru => Some(u64::from(clock.idle_s(entry.access()))),
        EvictionPolicy::AllKeysLfu => Some(rarity(entry)),
        EvictionPolicy::AllKeysS3Fifo => Some(clock.arrival_age(entry.access())),
        EvictionPolicy::VolatileLru => expire.map(|_| u64::from(clock.idle_s(entry.access()))),
        EvictionPolicy::VolatileLfu => expire.map(|_| rarity(entry)),
        EvictionPolicy::VolatileTtl => expire.map(|at| u64::MAX - at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_say_what_is_kept() {
        let eviction = Eviction::default();
        assert!(!eviction.keeps(b"lock:a"));
        let policy = |prefix: &str| Policy { prefix: prefix.into(), ..Policy::default() };
        eviction.follow(&[
            Policy { ack: Some(Ack::InSync), ..policy("lock:") },
            Policy { no_evict: true, ..policy("config:") },
            policy("lock:cheap:"),
        ]);
        assert!(eviction.keeps(b"lock:a") && eviction.keeps(b"config:x"));
        assert!(!eviction.keeps(b"lock:cheap:a") && !eviction.keeps(b"other"));
    }
}
