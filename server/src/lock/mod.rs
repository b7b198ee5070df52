//! The locks of this node's shard, and the requests that wait for them.
//!
//! ```text
//! LOCK.* handlers ─┐                          ┌─ effects ─▶ the command's record
//! lock::expire    ─┴─▶ LockDesk (one mutex) ──┴─ granted ─▶ parked connections, once the record has its offset
//! ```
//!
//! Owner: the mutex of [`LockDesk`]. Lock order: the gate, the stripe of the lock's name, then the desk. Who
//! changes a lock holds the stripe of its name, so the records of one lock are in the order of its changes.

mod expire;
mod replica;
mod wait;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use torc_cluster::ids::Term;
use torc_cluster::lock::{
    FenceLimits, Granted, LockEffect, LockError, LockLimits, LockTable, Outcome, WaiterId,
};

use crate::effect::EffectWriter;

pub use expire::expire;
pub use wait::{granted, write_granted};

/// What a parked request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has the lock; the grant is in the record with this offset.
    Granted {
        /// Token and time.
        granted: Granted,
        /// 0 in a plain store.
        offset: u64,
    },
    /// Its time is over.
    TimedOut,
    /// The node leads the shard no more, or leads it anew: ask again.
    AskAgain,
}

/// A parked request.
struct Parked {
    owner: Box<[u8]>,
    tell: oneshot::Sender<Turn>,
    told: Option<oneshot::Receiver<Turn>>,
}

/// See the module's text.
#[derive(Default)]
pub struct LockDesk {
    inner: Mutex<Desk>,
    waiters: AtomicU64,
    /// Something may end earlier than it did when the expiry task looked last.
    agenda_changed: Notify,
    /// Grants so far.
    pub granted: AtomicU64,
    /// Holders that left, by themselves or because their time was over.
    ended: AtomicU64,
    /// Those who gave the lock back.
    pub given_back: AtomicU64,
    /// Requests refused because a higher token was there, or the lock was not held.
    pub fenced_off: AtomicU64,
    /// Bytes that the fencing registers of all slots take.
    fence_bytes: AtomicUsize,
    /// The table's, for those who only want to know whether it is closed.
    closed_until_ms: AtomicU64,
}

/// Bytes that fencing registers may take: beyond it no new ones are made, and requests that need one are refused.
pub const MAX_FENCE_BYTES: usize = 64 << 20;

/// The table with those who wait.
pub struct Desk {
    /// The rules.
    pub table: LockTable,
    parked: HashMap<WaiterId, Parked>,
}

impl Default for Desk {
    fn default() -> Self {
        Desk { table: LockTable::new(LockLimits::default()), parked: HashMap::new() }
    }
}

/// Bounds of the fencing registers of a slot.
pub fn fence_limits() -> FenceLimits {
    FenceLimits::default()
}

/// CLOCK_BOOTTIME in the unit of the lock rules.
pub fn ms(now_ns: u64) -> u64 {
    now_ns / 1_000_000
}

impl LockDesk {
    /// The table; the caller holds the stripe of the name that it is about to change.
    pub fn lock(&self) -> MutexGuard<'_, Desk> {
        self.inner.lock()
    }

    /// Bytes of fencing registers.
    pub fn fence_bytes(&self) -> usize {
        self.fence_bytes.load(Ordering::Relaxed)
    }

    /// The registers of a slot took `before` bytes and take `after`. The caller holds their stripe.
    pub fn fences_changed(&self, before: usize, after: usize) {
        if after > before {
            self.fence_bytes.fetch_add(after - before, Ordering::Relaxed);
        } else if before > after {
            self.fence_bytes.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    /// A number for a request that may have to wait.
    pub fn next_waiter(&self) -> WaiterId {
        WaiterId(self.waiters.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Records what happened to locks of `slot`; the parked requests it decides are to be told with
    /// [`LockDesk::wake`] once the record has its offset.
    pub fn record(&self, slot: u16, effects: &[LockEffect], writer: &mut EffectWriter) {
        for effect in effects {
            match effect {
                LockEffect::Grant { .. } => self.granted.fetch_add(1, Ordering::Relaxed),
                LockEffect::Release { .. } => self.ended.fetch_add(1, Ordering::Relaxed),
                LockEffect::Extend { .. } | LockEffect::Closed { .. } => 0,
            };
            // A lock effect is always JSON: plain data without maps.
            if let Ok(payload) = serde_json::to_vec(effect) {
                writer.lock(slot, &payload);
            }
        }
        self.agenda_changed.notify_one();
    }

    /// Tells parked requests what became of them.
    pub fn wake(&self, outcome: &Outcome, offset: u64) {
        let mut desk = self.inner.lock();
        for (id, granted) in &outcome.granted {
            desk.tell(*id, Turn::Granted { granted: *granted, offset });
        }
        for id in &outcome.timed_out {
            desk.tell(*id, Turn::TimedOut);
        }
    }

    /// The node leads a new term. After a loss of memory no lock is given and no fenced request executed for the
    /// longest TTL: somebody may still hold one that nobody here remembers. `closed_until_ns`: by CLOCK_BOOTTIME; 0
    /// or in the past is open.
    pub fn begin_term(&self, term: Term, closed_until_ns: u64, max_ttl_ms: u64) {
        let mut desk = self.inner.lock();
        desk.table.set_limits(LockLimits { max_ttl_ms, ..LockLimits::default() });
        let waiters = desk.table.begin_term(term, closed_until_ns.div_ceil(1_000_000));
        self.closed_until_ms.store(desk.table.closed_until_ms(), Ordering::Relaxed);
        desk.send_away(waiters);
        drop(desk);
        self.agenda_changed.notify_one();
    }

    /// Takes an effect of the primary.
    pub fn apply(&self, effect: LockEffect, now_ns: u64) {
        let mut desk = self.inner.lock();
        desk.table.apply(effect, ms(now_ns));
        self.closed_until_ms.store(desk.table.closed_until_ms(), Ordering::Relaxed);
    }

    /// Whether fenced requests may be executed: not while closed after a loss of memory, when a holder with a higher
    /// token may be about whom no register knows.
    pub fn check_open(&self, now_ms: u64) -> Result<(), LockError> {
        match self.closed_until_ms.load(Ordering::Relaxed).saturating_sub(now_ms) {
            0 => Ok(()),
            remaining_ms => Err(LockError::Closed { remaining_ms }),
        }
    }

    /// The node leads the shard no more.
    pub fn end_term(&self) {
        let mut desk = self.inner.lock();
        let waiters = desk.table.end_term();
        desk.send_away(waiters);
    }

    /// Drops all locks: a full sync begins, or the shard starts empty.
    pub fn forget_all(&self) {
        let mut desk = self.inner.lock();
        let waiters = desk.table.forget(|_| true);
        desk.send_away(waiters);
    }

    /// Holders whose time was over before they gave the lock back.
    pub fn expired(&self) -> u64 {
        self.ended.load(Ordering::Relaxed).saturating_sub(self.given_back.load(Ordering::Relaxed))
    }

    /// Locks that are held or waited for, and requests that wait.
    pub fn counts(&self) -> (usize, usize) {
        let desk = self.inner.lock();
        (desk.table.len(), desk.table.waiting())
    }
}

impl Desk {
    /// Keeps a place for a request that was queued; its connection takes the receiver with `told`.
    pub fn park(&mut self, id: WaiterId, owner: &[u8]) {
        let (tell, told) = oneshot::channel();
        self.parked.insert(id, Parked { owner: owner.into(), tell, told: Some(told) });
    }

    /// The request's connection begins to wait: its owner's text and where it will be told.
    fn told(&mut self, id: WaiterId) -> Option<(Box<[u8]>, oneshot::Receiver<Turn>)> {
        let parked = self.parked.get_mut(&id)?;
        Some((parked.owner.clone(), parked.told.take()?))
    }

    fn unpark(&mut self, id: WaiterId) {
        self.parked.remove(&id);
    }

    fn tell(&mut self, id: WaiterId, turn: Turn) {
        if let Some(parked) = self.parked.remove(&id) {
            // Its connection may be gone.
            let _ = parked.tell.send(turn);
        }
    }

    fn send_away(&mut self, waiters: Vec<WaiterId>) {
        for id in waiters {
            self.tell(id, Turn::AskAgain);
        }
    }
}
