//! Removes keys, and fields of hashes, whose time has come although nobody asks for them.
//!
//! Each worker looks after its share of the stripes (every n-th), a bounded time at a stretch. Only a node that
//! decides about expiry does it: a plain store, or a primary with its lease; each removal is an effect record.
//!
//! Lock order: gate, then one stripe, which is only tried: a script may hold it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_runtime::clock;

use crate::effect::{EffectWriter, Records};
use crate::node::Node;
use crate::notify::Class;
use crate::shard::Role;
use crate::store::value::{HashChange, HashValue, Kind};
use crate::store::{Collection, Expired, Key, STRIPES, Stripe};

/// Pause between two rounds when nothing was left over.
const IDLE_PAUSE: Duration = Duration::from_millis(100);

/// Pause when the last round ran out of time: with [`ROUND_NS`] it takes at most a quarter of the worker.
const BUSY_PAUSE: Duration = Duration::from_millis(6);

/// Time of one round.
const ROUND_NS: u64 = 2_000_000;

/// Removals between two looks at the clock.
const REMOVALS_PER_LOOK: usize = 32;

/// Fields of one hash that are removed before others have their turn.
pub const FIELDS_AT_ONCE: usize = 256;

/// Goes on until the worker ends.
pub async fn run(node: Arc<Node>, worker: usize) {
    let mut next = worker;
    loop {
        // The worker is alive although nobody asks it anything.
        node.stamp_progress(worker, clock::boottime_ns());
        let now_ms = clock::unix_ms();
        let more = node.clients.paused(now_ms).is_none()
            && round(&node, worker, &mut next, now_ms, clock::boottime_ns);
        tokio::time::sleep(if more { BUSY_PAUSE } else { IDLE_PAUSE }).await;
    }
}

/// Visits all stripes of a node with one worker, without an end to the time it may take.
pub(crate) fn sweep_all(node: &Node, now_ms: u64) {
    round(node, 0, &mut 0, now_ms, || 0);
}

/// Visits the worker's stripes once, beginning at `next`; true when time ran out before the end.
fn round(node: &Node, worker: usize, next: &mut usize, now_ms: u64, clock_ns: fn() -> u64) -> bool {
    let _shared = node.shard.gate.enter(worker);
    let began_ns = clock_ns();
    let role = node.shard.role();
    let may = match role {
        Role::Plain => true,
        Role::Primary => began_ns < node.shard.lease_until_ns(),
        Role::Replica | Role::Joining => false,
    };
    if !may {
        return false;
    }
    let in_time = || clock_ns().saturating_sub(began_ns) < ROUND_NS;
    let step = node.stats.len().max(1);
    let mut effects = EffectWriter::new(role == Role::Primary);
    let mut records = Records::default();
    let mut out_of_time = false;
    let stripes = if node.active_expiry.load(Ordering::Relaxed) { STRIPES.div_ceil(step) } else { 0 };
    for _ in 0..stripes {
        if *next >= STRIPES {
            *next = worker;
        }
        out_of_time = !sweep(node, worker, *next as u16, now_ms, &mut effects, &mut records, in_time);
        if out_of_time {
            break;
        }
        *next += step;
    }
    // The limit may have been lowered, and nobody may write: it is respected all the same.
    let mut rng = began_ns;
    while worker == 0
        && node.is_full()
        && node.make_room(&mut effects, &mut records, &node.stats[worker], now_ms, &mut rng).is_ok()
    {
        if !in_time() {
            out_of_time |= node.is_full();
            break;
        }
    }
    node.shard.hand_over(worker, &mut records);
    out_of_time
}

/// Removes what is due in one stripe; false when `go_on` said no before the end.
fn sweep(
    node: &Node,
    worker: usize,
    index: u16,
    now_ms: u64,
    effects: &mut EffectWriter,
    records: &mut Records,
    go_on: impl Fn() -> bool,
) -> bool {
    let Some(mut stripe) = node.store.try_stripe(index) else { return true };
    let (mut removed, mut unfetched) = (0, 0);
    let mut done = true;
    let mut fields = 0;
    while let Some(Expired { db, key: bytes, fields_only }) = stripe.next_expired(now_ms) {
        let key = node.store.key(&bytes);
        if fields_only {
            let count = remove_fields(node, &mut stripe, db, &key, now_ms, effects);
            if !effects.is_empty() {
                effects.take_into(node.shard.term().0, node.shard.next_offset(), records);
            }
            fields += count;
            if count == FIELDS_AT_ONCE {
                stripe.expire_again(db, &key);
            }
            if count > 0 && !go_on() {
                done = false;
                break;
            }
            continue;
        }
        unfetched += u64::from(stripe.peek(db, &key).is_some_and(|entry| !entry.marks().is_fetched()));
        let old = stripe.remove(db, &key);
        stripe.changed(db, &bytes);
        effects.delete(db, &bytes);
        node.notify(Class::EXPIRED, db, "expired", &bytes);
        if !effects.is_empty() {
            effects.take_into(node.shard.term().0, node.shard.next_offset(), records);
        }
        node.drop_later(old);
        removed += 1;
        if removed % REMOVALS_PER_LOOK == 0 && !go_on() {
            done = false;
            break;
        }
    }
    if removed + fields > 0 {
        node.stats[worker].expired.add(removed as u64);
        node.stats[worker].expired_fields.add(fields as u64);
        node.stats[worker].memcached.expired_unfetched.add(unfetched);
        stripe.nudge_ready();
        let growth = stripe.take_growth();
        node.store.report_growth(growth);
    }
    done
}

/// Removes fields of a hash that are due, [`FIELDS_AT_ONCE`] at the most, and the hash with its last one; tells it, and
/// writes the effect. Answers how many there were.
pub fn remove_fields(
    node: &Node,
    stripe: &mut Stripe,
    db: u8,
    key: &Key<'_>,
    now_ms: u64,
    effects: &mut EffectWriter,
) -> usize {
    let version = stripe.next_version();
    let done = stripe.update(db, key, |entry| {
        let hash = entry.as_collection_mut::<HashValue>()?;
        let removed = hash.remove_due(now_ms, FIELDS_AT_ONCE);
        let empty = hash.is_empty();
        if !removed.is_empty() {
            entry.set_version(version);
        }
        Some((removed, empty))
    });
    let Some((removed, empty)) = done.flatten().filter(|(removed, _)| !removed.is_empty()) else { return 0 };
    stripe.changed(db, key.bytes);
    node.notify(Class::HASH, db, "hexpired", key.bytes);
    if empty {
        node.drop_later(stripe.remove(db, key));
        effects.delete(db, key.bytes);
        node.notify(Class::GENERIC, db, "del", key.bytes);
    } else {
        effects.change(db, key.bytes, version, Kind::Hash, |out| {
            HashChange::put_delete(out, removed.iter().map(|field| &**field));
        });
    }
    removed.len()
}

#[cfg(test)]
mod tests {
    use crate::exec::testing::{Harness, START_MS};

    use super::*;

    #[test]
    fn what_is_due_goes_without_being_asked_for() {
        let mut t = Harness::primary();
        for i in 0..100 {
            t.run(&format!("SET k{i} v PX {}", 10 + i));
        }
        t.run("SET stays v");
        let before = t.records().len();
        let mut next = 0;
        assert!(!round(&t.node, 0, &mut next, START_MS + 59, || 0));
        assert_eq!(t.node.store.len(0), 51);
        assert_eq!(t.node.total(|s| s.expired.get()), 50);
        let records = t.records();
        let (record, len) = crate::effect::record(&records).expect("sound").expect("whole");
        assert_eq!(record.offset, 102);
        assert!(before > 0 && records.len() == 50 * len || !records.is_empty());
    }

    #[test]
    fn fields_that_are_due_go_without_being_asked_for() {
        let mut t = Harness::primary();
        for i in 0..1000 {
            t.run(&format!("HSET h f{i} v"));
            t.run(&format!("HPEXPIRE h {} FIELDS 1 f{i}", 10 + i % 2));
        }
        t.run("HSET h stays v");
        t.run("HSET gone f v");
        t.run("HPEXPIRE gone 5 FIELDS 1 f");
        t.records();
        let mut next = 0;
        assert!(!round(&t.node, 0, &mut next, START_MS + 10, || 0));
        assert_eq!(t.node.store.len(0), 1);
        assert_eq!(t.run("HLEN h"), ":501\r\n");
        assert!(!round(&t.node, 0, &mut next, START_MS + 11, || 0));
        assert_eq!(t.run("HLEN h"), ":1\r\n");
        assert_eq!(t.node.total(|s| s.expired.get()), 0);
        assert!(!t.records().is_empty());
    }

    #[test]
    fn a_lowered_limit_is_respected_though_nobody_writes() {
        let mut t = Harness::new();
        for i in 0..2000 {
            t.run(&format!("SET k{i} {}", "v".repeat(200)));
        }
        t.node.active_expiry.store(false, Ordering::Relaxed);
        let limit = t.node.used_bytes() - t.node.store.used_bytes() as u64 / 4;
        t.expect(&[
            ("CONFIG SET maxmemory-policy allkeys-random", "+OK\r\n"),
            (&format!("CONFIG SET maxmemory {limit}"), "+OK\r\n"),
        ]);
        let mut next = 0;
        // A clock that runs out at its second look: a part goes, and the rest is not forgotten.
        fn hasty() -> u64 {
            thread_local!(static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });
            LOOKS.with(|looks| {
                looks.set(looks.get() + 1);
                looks.get() * ROUND_NS
            })
        }
        assert!(round(&t.node, 0, &mut next, START_MS, hasty));
        assert!(t.node.is_full() && t.node.store.len(0) < 2000);
        assert!(!round(&t.node, 0, &mut next, START_MS, || 0));
        assert!(!t.node.is_full() && t.node.store.len(0) > 1000);
        t.expect(&[("CONFIG SET maxmemory-policy noeviction maxmemory 1000", "+OK\r\n")]);
        assert!(!round(&t.node, 0, &mut next, START_MS, || 0), "nothing may go");
    }

    #[test]
    fn a_replica_waits_for_its_primary() {
        let mut t = Harness::primary();
        t.run("SET k v PX 10");
        let closed = t.node.shard.gate.close();
        t.node.shard.set_role(&closed, Role::Replica, t.node.shard.term());
        drop(closed);
        let mut next = 0;
        assert!(!round(&t.node, 0, &mut next, START_MS + 1000, || 0));
        assert_eq!(t.node.store.len(0), 1);
    }
}
