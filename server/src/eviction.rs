//! Making room when the store has reached `maxmemory`.
//!
//! Candidates are sampled from random stripes, as Redis does; the best of them goes. Each removal is an effect
//! of its own, so replicas remove the same key.

use torc_protocol::error as text;

use crate::effect::EffectWriter;
use crate::exec::CommandError;
use crate::node::Node;
use crate::settings::{EvictionPolicy, Settings};
use crate::shard::Role;
use crate::stats::WorkerStats;
use crate::store::table::Keyed;
use crate::store::{DATABASES, Entry, STRIPES};

/// Evictions that one request may wait for.
const MAX_PER_REQUEST: usize = 64;

/// Stripes that are looked at for one candidate before the store counts as having none.
const MAX_LOOKS: usize = 2 * STRIPES;

struct Candidate {
    stripe: u16,
    db: u8,
    key: Box<[u8]>,
    /// The higher, the sooner it goes.
    score: u64,
}

fn next(rng: &mut u64) -> u64 {
    *rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*rng >> 33) ^ *rng
}

impl Node {
    /// Evicts until the store is below `maxmemory`, or refuses. Holds no stripe when called.
    pub fn make_room(
        &self,
        effects: &mut EffectWriter,
        records: &mut Vec<u8>,
        stats: &WorkerStats,
        now_ms: u64,
        rng: &mut u64,
    ) -> Result<(), CommandError> {
        let settings = self.settings.load();
        if settings.maxmemory == 0 || (self.store.used_bytes() as u64) < settings.maxmemory {
            return Ok(());
        }
        if settings.maxmemory_policy == EvictionPolicy::NoEviction || self.shard.role() == Role::Replica {
            return Err(text::OOM.into());
        }
        for evicted in 0..MAX_PER_REQUEST {
            if (self.store.used_bytes() as u64) < settings.maxmemory {
                return Ok(());
            }
            let Some(victim) = self.candidate(&settings, now_ms, rng) else {
                // Nothing may go: refuse, unless this very request has made some room.
                return if evicted > 0 { Ok(()) } else { Err(text::OOM.into()) };
            };
            self.evict(&victim, effects, records, stats);
        }
        // Much has to go (somebody stored a giant): this request has done its share, the next ones do theirs.
        Ok(())
    }

    fn evict(
        &self,
        victim: &Candidate,
        effects: &mut EffectWriter,
        records: &mut Vec<u8>,
        stats: &WorkerStats,
    ) {
        let key = self.store.key(&victim.key);
        let mut stripe = self.store.stripe(victim.stripe);
        let Some(old) = stripe.remove(victim.db, &key) else { return };
        stripe.changed(victim.db, key.bytes);
        effects.delete(victim.db, key.bytes);
        if !effects.is_empty() {
            effects.take_record(self.shard.term().0, self.shard.next_offset(), records);
        }
        let growth = stripe.take_growth();
        drop(stripe);
        self.store.report_growth(growth);
        stats.evicted.add(1);
        self.drop_later(Some(old));
    }

    fn candidate(&self, settings: &Settings, now_ms: u64, rng: &mut u64) -> Option<Candidate> {
        let mut best: Option<Candidate> = None;
        let mut found = 0;
        for _ in 0..MAX_LOOKS {
            let index = (next(rng) % STRIPES as u64) as u16;
            let stripe = self.store.stripe(index);
            let dbs: smallvec::SmallVec<[u8; DATABASES]> = stripe.databases().collect();
            let Some(&db) = dbs.get(next(rng) as usize % dbs.len().max(1)) else { continue };
            let Some(entry) = stripe.sample(db, next(rng)) else { continue };
            let Some(score) = self.score(settings.maxmemory_policy, entry, now_ms, rng) else { continue };
            if best.as_ref().is_none_or(|b| score > b.score) {
                best = Some(Candidate { stripe: index, db, key: entry.key().into(), score });
            }
            found += 1;
            if found >= settings.maxmemory_samples {
                break;
            }
        }
        best
    }

    fn score(&self, policy: EvictionPolicy, entry: &Entry, now_ms: u64, rng: &mut u64) -> Option<u64> {
        let expire = entry.expire_ms();
        let clock = self.eviction_clock(now_ms);
        let rarity = |entry: &Entry| u64::from(u8::MAX) - u64::from(clock.frequency(entry.access()));
        match policy {
            EvictionPolicy::NoEviction => None,
            EvictionPolicy::AllKeysRandom => Some(next(rng)),
            EvictionPolicy::VolatileRandom => expire.map(|_| next(rng)),
            EvictionPolicy::AllKeysLru => Some(u64::from(clock.idle_s(entry.access()))),
            EvictionPolicy::AllKeysLfu => Some(rarity(entry)),
            EvictionPolicy::VolatileLru => expire.map(|_| u64::from(clock.idle_s(entry.access()))),
            EvictionPolicy::VolatileLfu => expire.map(|_| rarity(entry)),
            EvictionPolicy::VolatileTtl => expire.map(|at| u64::MAX - at),
        }
    }
}
