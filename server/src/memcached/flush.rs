//! `flush_all`, now or at a later moment.
//!
//! One moment per shard, which a later `flush_all` replaces. It is part of what replicas are told and of a full sync, so
//! whoever is primary when it comes carries it out: the first batch that begins after it, so that no request sees what
//! should be gone. A replica's keys go when the primary's record of that comes.

use std::sync::atomic::{AtomicU64, Ordering};

use torc_protocol::memcached::{Expiry, Request, exptime_ms};

use crate::exec::{CommandResult, Cx, keyspace};

/// Bits of the database's number below the time.
const DB_BITS: u32 = 8;

/// The last moment that the rest can tell, Unix milliseconds.
const MAX_MS: u64 = u64::MAX >> DB_BITS;

/// How long a node that was refused the flush waits before it tries again.
const RETRY_MS: u64 = 100;

/// A `flush_all` with a delay: the moment at which a database is to be empty.
///
/// It changes under the locks of the whole store (on a replica by the task that applies records), so its changes have the
/// order of their records.
#[derive(Debug, Default)]
pub struct PendingFlush {
    /// Unix milliseconds and database; 0: none.
    at: AtomicU64,
    /// It is not tried before; Unix milliseconds.
    retry_ms: AtomicU64,
}

impl PendingFlush {
    /// The database is to be empty at that moment; without one nothing is to be emptied later.
    pub fn set(&self, db: u8, at_ms: Option<u64>) {
        let at = at_ms.map_or(0, |at_ms| (at_ms.min(MAX_MS) << DB_BITS) | u64::from(db));
        self.retry_ms.store(0, Ordering::Relaxed);
        self.at.store(at, Ordering::Release);
    }

    /// The database that is to be emptied, and when.
    pub fn get(&self) -> Option<(u8, u64)> {
        let at = self.at.load(Ordering::Acquire);
        (at != 0).then_some((at as u8, at >> DB_BITS))
    }

    /// Whether the moment has come.
    #[inline]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        at != 0 && (at >> DB_BITS) <= now_ms && self.retry_ms.load(Ordering::Relaxed) <= now_ms
    }

    /// It could not be carried out now; true the first time.
    pub fn postpone(&self, now_ms: u64) -> bool {
        self.retry_ms.swap(now_ms.saturating_add(RETRY_MS), Ordering::Relaxed) == 0
    }
}

/// `flush_all`: empties the connection's database, now or at a later moment.
pub(super) fn flush_all(cx: &mut Cx<'_, '_>, request: &Request<'_>) -> CommandResult {
    cx.stats.memcached.cmd_flush.add(1);
    cx.lock_whole_store()?;
    match exptime_ms(request.exptime, cx.now_ms) {
        Expiry::At(at_ms) => {
            cx.dirty += 1;
            plan(cx, Some(at_ms));
            Ok(())
        }
        Expiry::Never | Expiry::AlreadyExpired => now(cx, cx.db),
    }
}

/// Carries out the delayed `flush_all` whose moment has come.
pub fn flush_if_due(cx: &mut Cx<'_, '_>) -> CommandResult {
    cx.lock_whole_store()?;
    // Another worker may have done it, or another `flush_all` may have taken its place.
    match cx.node.memcached.get() {
        Some((db, at_ms)) if at_ms <= cx.now_ms => now(cx, db),
        _ => Ok(()),
    }
}

fn now(cx: &mut Cx<'_, '_>, db: u8) -> CommandResult {
    keyspace::flush(cx, Some(db))?;
    if cx.node.memcached.get().is_some() {
        plan(cx, None);
    }
    Ok(())
}

fn plan(cx: &mut Cx<'_, '_>, at_ms: Option<u64>) {
    cx.node.memcached.set(cx.db, at_ms);
    cx.effects.flush_later(cx.db, at_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_is_kept() {
        let pending = PendingFlush::default();
        assert!(!pending.is_due(u64::MAX));
        pending.set(200, Some(50));
        assert_eq!((pending.get(), pending.is_due(49), pending.is_due(50)), (Some((200, 50)), false, true));
        assert!(pending.postpone(50) && !pending.is_due(149) && pending.is_due(150));
        assert!(!pending.postpone(150));
        pending.set(0, Some(u64::MAX));
        assert_eq!(pending.get(), Some((0, MAX_MS)));
        pending.set(0, None);
        assert_eq!(pending.get(), None);
    }
}
