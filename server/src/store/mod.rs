//! The store: 1,024 stripes of sixteen slots each.
//!
//! ```text
//! key ─CRC16→ slot ─/16→ stripe (one mutex) ─database→ table ─hash→ entry
//! ```
//!
//! Lock order: stripes in ascending order, never a second [`Access`] while one is held. No lock is held across
//! an await. A lock that cannot be had in time (a script runs on the stripe) is answered BUSY.

pub mod entry;
pub mod expiry;
pub mod hash;
pub mod marks;
pub mod prefetch;
pub mod records;
pub mod segments;
pub mod stripe;
pub mod table;
pub mod tracked;
pub mod value;
pub mod varint;

use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use torc_protocol::slot::{SLOTS, Slot, key_slot};

pub use entry::{Entry, EntryMut, LooseEntry, Meta, ObjectMut, Removed};
pub use hash::KeyHasher;
pub use marks::Marks;
pub use stripe::{DATABASES, Expired, Key, Stripe, Updated, WatchFlag};
pub use value::{Collection, Env, Limits, PackedLimits, Value, ValueRef, View};

/// Number of stripes.
pub const STRIPES: usize = 1024;

/// Slots in one stripe.
pub const SLOTS_PER_STRIPE: usize = SLOTS as usize / STRIPES;

/// How long a command waits for a stripe before it answers BUSY, until it is set (Redis's `busy-reply-threshold`).
const LOCK_TIMEOUT: Duration = Duration::from_millis(5000);

/// The shortest time that may be set: a holder that merely lost its processor is no script.
const LOCK_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// What 0 stands for.
const LOCK_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long those who only look wait for a stripe.
const PEEK_TIMEOUT: Duration = Duration::from_millis(1);

/// A stripe could not be locked in time: a script holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", torc_protocol::error::BUSY_SCRIPT)]
pub struct Busy;

/// See the module's text.
#[derive(Debug)]
pub struct Store {
    hasher: KeyHasher,
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
    used_bytes: CachePadded<AtomicIsize>,
    lock_timeout_ms: AtomicU64,
}

/// Which stripe holds a slot.
#[inline]
pub const fn stripe_of(slot: Slot) -> u16 {
    slot / SLOTS_PER_STRIPE as u16
}

impl Store {
    /// Bytes that the stripes take before there is any key.
    pub const EMPTY_BYTES: usize = STRIPES * size_of::<CachePadded<Mutex<Stripe>>>();

    /// An empty store.
    pub fn new(hasher: KeyHasher) -> Store {
        let stripes = (0..STRIPES).map(|_| CachePadded::new(Mutex::new(Stripe::new(hasher)))).collect();
        Store {
            hasher,
            stripes,
            used_bytes: CachePadded::new(AtomicIsize::new(0)),
            lock_timeout_ms: AtomicU64::new(LOCK_TIMEOUT.as_millis() as u64),
        }
    }

    /// The hasher of all tables.
    pub fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// Computes what the store needs to find `bytes`.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hasher.hash(bytes), slot: key_slot(bytes) }
    }

    /// Locks one stripe, waiting as long as it takes: for the node's own tasks (expiry, replication).
    pub fn stripe(&self, index: u16) -> MutexGuard<'_, Stripe> {
        self.stripes[index as usize].lock()
    }

    /// Locks one stripe if nobody holds it: for tasks of a worker, which must not wait for a script.
    pub fn try_stripe(&self, index: u16) -> Option<MutexGuard<'_, Stripe>> {
        self.stripes[index as usize].try_lock()
    }

    /// Locks one stripe unless somebody (a script) holds it for long: for those who only look.
    pub fn peek_stripe(&self, index: u16) -> Option<MutexGuard<'_, Stripe>> {
        self.stripes[index as usize].try_lock_for(PEEK_TIMEOUT)
    }

    /// How long a command waits for a stripe.
    pub fn lock_timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout_ms.load(Ordering::Relaxed))
    }

    /// Sets how long a command waits for a stripe (zero: as good as for ever).
    pub fn set_lock_timeout(&self, timeout: Duration) {
        let timeout = if timeout.is_zero() { LOCK_TIMEOUT_MAX } else { timeout };
        let ms = timeout.clamp(LOCK_TIMEOUT_MIN, LOCK_TIMEOUT_MAX).as_millis() as u64;
        self.lock_timeout_ms.store(ms, Ordering::Relaxed);
    }

    #[inline]
    fn lock(&self, index: u16) -> Result<MutexGuard<'_, Stripe>, Busy> {
        let stripe = &self.stripes[index as usize];
        stripe.try_lock().or_else(|| stripe.try_lock_for(self.lock_timeout())).ok_or(Busy)
    }

    /// Locks the stripe of one slot.
    #[inline]
    pub fn access_one(&self, slot: Slot) -> Result<Access<'_>, Busy> {
        let index = stripe_of(slot);
        Ok(Access { guards: SmallVec::from_buf([(index, self.lock(index)?)]) })
    }

    /// Locks the stripes of several slots, each once, in ascending order.
    pub fn access(&self, slots: impl IntoIterator<Item = Slot>) -> Result<Access<'_>, Busy> {
        let mut wanted: SmallVec<[u16; 8]> = slots.into_iter().map(stripe_of).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut guards = SmallVec::new();
        for index in wanted {
            guards.push((index, self.lock(index)?));
        }
        Ok(Access { guards })
    }

    /// Locks the whole store.
    pub fn access_all(&self) -> Result<Access<'_>, Busy> {
        self.access((0..SLOTS).step_by(SLOTS_PER_STRIPE))
    }

    /// Bytes that entries and tables take, as far as it has been reported.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed).max(0) as usize
    }

    /// Adds what stripes have grown by.
    pub fn report_growth(&self, growth: isize) {
        if growth != 0 {
            self.used_bytes.fetch_add(growth, Ordering::Relaxed);
        }
    }

    /// Number of keys in all databases, for those who only look: without the stripes that somebody (a script) holds
    /// for long. However many there are, one of them is waited for.
    pub fn count_keys(&self) -> usize {
        let mut busy = false;
        let mut count = |index| {
            let stripe = if busy { self.try_stripe(index) } else { self.peek_stripe(index) };
            busy |= stripe.is_none();
            stripe.map_or(0, |stripe| (0..DATABASES as u8).map(|db| stripe.len(db)).sum())
        };
        (0..STRIPES as u16).map(&mut count).sum()
    }

    /// Number of keys in a database; waits for stripes as long as it takes.
    pub fn len(&self, db: u8) -> usize {
        (0..STRIPES as u16).map(|i| self.stripe(i).len(db)).sum()
    }

    /// True when no database holds anything.
    pub fn is_empty(&self) -> bool {
        (0..STRIPES as u16).all(|i| self.stripe(i).databases().next().is_none())
    }
}

/// The locked stripes that a command works on.
#[derive(Debug)]
pub struct Access<'a> {
    guards: SmallVec<[(u16, MutexGuard<'a, Stripe>); 1]>,
}

/// A command touched a slot that it had not declared: an error in its key specification or a script's
/// undeclared key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ERR Script attempted to access a key that was not declared: declare every key in KEYS")]
pub struct Undeclared;

impl<'a> Access<'a> {
    /// Adds the stripe of `slot` to those that are held. Out of order, therefore with little patience: two that
    /// wait for each other's stripes both give up. False when the stripe could not be had.
    pub fn extend(&mut self, store: &'a Store, slot: Slot, patience: Duration) -> bool {
        let index = stripe_of(slot);
        let Err(at) = self.guards.binary_search_by_key(&index, |(i, _)| *i) else { return true };
        let stripe = &store.stripes[index as usize];
        match stripe.try_lock().or_else(|| stripe.try_lock_for(patience)) {
            Some(guard) => {
                self.guards.insert(at, (index, guard));
                true
            }
            None => false,
        }
    }
}

impl Access<'_> {
    /// An access that holds nothing: for commands without keys.
    pub fn none() -> Self {
        Access { guards: SmallVec::new() }
    }

    /// Number of stripes that are held.
    pub fn len(&self) -> usize {
        self.guards.len()
    }

    /// True when no stripe is held.
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// True when the stripe of `slot` is held.
    pub fn covers(&self, slot: Slot) -> bool {
        let index = stripe_of(slot);
        self.guards.iter().any(|(i, _)| *i == index)
    }

    /// The stripe of a slot that was locked.
    ///
    /// # Panics
    /// When it was not: callers that cannot know (scripts) ask [`Access::covers`] first.
    #[inline]
    pub fn stripe(&mut self, slot: Slot) -> &mut Stripe {
        let index = stripe_of(slot);
        if self.guards.len() == 1 && self.guards[0].0 == index {
            return &mut self.guards[0].1;
        }
        match self.guards.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => &mut self.guards[at].1,
            Err(_) => panic!("stripe {index} was not locked: the command's key specification is wrong"),
        }
    }

    /// The stripe of a slot, if it was locked: for those who look at several keys at once.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Stripe> {
        let index = stripe_of(slot);
        let at = self.guards.binary_search_by_key(&index, |(i, _)| *i).ok()?;
        self.guards.get(at).map(|(_, guard)| &**guard)
    }

    /// All stripes that are held.
    pub fn stripes(&mut self) -> impl Iterator<Item = (u16, &mut Stripe)> {
        self.guards.iter_mut().map(|(i, g)| (*i, &mut **g))
    }

    /// Whether a key of the held stripes is ready that somebody waits for.
    #[inline]
    pub fn any_ready(&self) -> bool {
        self.guards.iter().any(|(_, stripe)| stripe.first_ready().is_some())
    }

    /// Takes the key that became ready first among those that somebody waits for.
    pub fn take_ready(&mut self) -> Option<(u8, Box<[u8]>)> {
        let first = self.guards.iter_mut().filter(|(_, stripe)| stripe.first_ready().is_some());
        let (_, stripe) = first.min_by_key(|(_, stripe)| stripe.first_ready())?;
        stripe.queues()?.take_ready()
    }

    /// See [`Stripe::nudge_ready`].
    pub fn nudge_ready(&mut self) {
        self.guards.iter_mut().for_each(|(_, stripe)| stripe.nudge_ready());
    }

    /// What the held stripes have grown by since they were last asked.
    #[inline]
    pub fn take_growth(&mut self) -> isize {
        if let [(_, stripe)] = &mut *self.guards {
            return stripe.take_growth();
        }
        self.guards.iter_mut().map(|(_, g)| g.take_growth()).sum()
    }
}
