//! Commands about the whole keyspace: walking it, counting it, emptying it.
//!
//! A walk locks one stripe at a time (unless all are locked already), so it is no snapshot; emptying and
//! exchanging lock all of them.

use super::{CommandResult, Cx};
use crate::exec::CommandError;
use crate::store::hash::CURSOR_HASH_BITS;
use crate::store::records::PLACE_BYTES;
use crate::store::{Entry, Key, STRIPES};

/// Bits of a SCAN cursor that name the stripe; the position in it is above them.
const STRIPE_BITS: u32 = STRIPES.trailing_zeros();

/// Stripes that RANDOMKEY tries before it counts all of them.
const RANDOM_TRIES: usize = 8;

/// In stripes with at least so many keys RANDOMKEY takes any: they differ little in their number of keys.
const RANDOM_ENOUGH: usize = 32;

/// Number of keys in the command's database, expired ones that are still there included.
pub fn dbsize(cx: &mut Cx<'_, '_>) -> Result<usize, CommandError> {
    let mut total = 0;
    cx.for_each_stripe(|cx, index| {
        let db = cx.db;
        total += cx.stripe(index).len(db);
    })?;
    Ok(total)
}

/// Removes everything from one database, or from all. What was there is freed off the request path, whether the
/// client said ASYNC or SYNC: either way it is gone before the reply.
pub fn flush(cx: &mut Cx<'_, '_>, db: Option<u8>) -> CommandResult {
    cx.lock_whole_store()?;
    let mut garbage = Vec::new();
    for (_, stripe) in cx.access.stripes() {
        garbage.append(&mut stripe.flush(db));
    }
    cx.dirty += 1;
    cx.effects.flush(db);
    if !garbage.is_empty() {
        let objects = garbage.iter().map(|table| table.len()).sum();
        cx.node.free(Box::new(garbage), objects);
    }
    Ok(())
}

/// Exchanges two databases.
pub fn swap(cx: &mut Cx<'_, '_>, a: u8, b: u8) -> CommandResult {
    cx.lock_whole_store()?;
    if a == b {
        return Ok(());
    }
    // To who watches a key in one of them, what has expired in the other is nothing: so it goes first.
    for (db, other) in [(a, b), (b, a)] {
        let watched: Vec<Box<[u8]>> =
            cx.access.stripes().flat_map(|(_, stripe)| stripe.watched(db)).collect();
        let own = std::mem::replace(&mut cx.db, other);
        for bytes in &watched {
            let key = cx.key(bytes);
            cx.expire_if_due(&key);
        }
        cx.db = own;
    }
    for (_, stripe) in cx.access.stripes() {
        stripe.swap(a, b);
    }
    cx.dirty += 1;
    cx.effects.swap(a, b);
    Ok(())
}

/// Bytes that a key takes: its entry and its place in the table. `None` when there is no key.
pub fn memory_usage(cx: &mut Cx<'_, '_>, key: &Key<'_>) -> Option<usize> {
    Some(PLACE_BYTES + cx.peek(key)?.heap_bytes())
}

/// Calls `visit` with every live entry of the command's database.
pub fn for_each_entry(cx: &mut Cx<'_, '_>, mut visit: impl FnMut(Entry<'_>)) -> CommandResult {
    cx.for_each_stripe(|cx, index| {
        let (db, now_ms) = (cx.db, cx.now_ms);
        cx.stripe(index).iter(db).filter(|e| is_live(*e, now_ms)).for_each(&mut visit);
    })
}

fn is_live(entry: Entry<'_>, now_ms: u64) -> bool {
    entry.expire_ms().is_none_or(|at| at > now_ms)
}

/// Visits about `count` live entries of the command's database from `cursor` on. Answers the cursor to go on with,
/// 0 at the end. A key that is there during the whole walk is visited once.
///
/// ```text
/// cursor: position in the stripe's hash order (40 bits) | stripe (10 bits)
/// ```
/// What is above (a proxy's shard number) is not looked at.
pub fn scan(
    cx: &mut Cx<'_, '_>,
    cursor: u64,
    count: usize,
    mut visit: impl FnMut(Entry<'_>),
) -> Result<u64, CommandError> {
    let mut position = (cursor >> STRIPE_BITS) & ((1 << CURSOR_HASH_BITS) - 1);
    let mut seen = 0;
    for index in (cursor % STRIPES as u64) as u16..STRIPES as u16 {
        let next = cx.with_stripe(index, |cx| {
            let (db, now_ms) = (cx.db, cx.now_ms);
            cx.stripe(index).scan(db, position, count - seen, |entry| {
                seen += 1;
                if is_live(entry, now_ms) {
                    visit(entry);
                }
            })
        })?;
        if let Some(next) = next {
            return Ok((next << STRIPE_BITS) | u64::from(index));
        }
        position = 0;
        if seen >= count && index + 1 < STRIPES as u16 {
            return Ok(u64::from(index) + 1);
        }
    }
    Ok(0)
}

/// A live key of the command's database, by chance; `None` when there is none.
pub fn random_key(cx: &mut Cx<'_, '_>) -> Result<Option<Box<[u8]>>, CommandError> {
    for _ in 0..RANDOM_TRIES {
        let (index, r) = ((cx.random() % STRIPES as u64) as u16, cx.random());
        let found = cx.with_stripe(index, |cx| {
            let (db, now_ms) = (cx.db, cx.now_ms);
            let stripe = cx.stripe(index);
            if stripe.len(db) < RANDOM_ENOUGH {
                return None;
            }
            stripe.sample(db, r).filter(|e| is_live(*e, now_ms)).map(|e| Box::from(e.key()))
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    random_of_few(cx)
}

/// The choice among all keys, each with the same chance: counts them, then takes one.
fn random_of_few(cx: &mut Cx<'_, '_>) -> Result<Option<Box<[u8]>>, CommandError> {
    let total = dbsize(cx)? as u64;
    if total == 0 {
        return Ok(None);
    }
    // From the chosen key on the first that lives; a second round finds those before it.
    let mut skip = cx.random() % total;
    for _ in 0..2 {
        let mut found = None;
        cx.for_each_stripe(|cx, index| {
            if found.is_some() {
                return;
            }
            let (db, now_ms) = (cx.db, cx.now_ms);
            let stripe = cx.stripe(index);
            let len = stripe.len(db) as u64;
            if skip >= len {
                skip -= len;
                return;
            }
            found =
                stripe.iter(db).skip(skip as usize).find(|e| is_live(*e, now_ms)).map(|e| Box::from(e.key()));
            skip = 0;
        })?;
        if found.is_some() {
            return Ok(found);
        }
        skip = 0;
    }
    Ok(None)
}
