//! Requests of blocking commands (BLPOP, BZPOPMIN, XREAD BLOCK …) that wait for a key.
//!
//! ```text
//! handler: cx.block(Block) ─▶ executor: Waiter ─▶ queue of each key, in the key's stripe ─▶ parked connection
//! any change of a key with a queue ─▶ the stripe notes it as ready
//!   ├─ by a command: before its stripes are let go the waiters' commands are run again under the same locks
//!   │                (exec::serve), first come first served; each answer goes to its connection afterwards
//!   └─ by a task of the node, or where a stripe cannot be had: the waiter is nudged, and its own worker tries
//! ```
//!
//! Owner of a queue: its stripe's lock. Owner of a waiter's fate: its own small mutex ([`Waiter::claim`]), taken under
//! stripes and never the other way round. Whoever takes the fate answers: who serves, the time that is over, CLIENT
//! UNBLOCK, a role that changes, or the connection that goes. So a request is served or given up, never both.
//!
//! # For a handler
//! Try to serve. If nothing is there, call [`Cx::block`](crate::exec::Cx::block) with the keys that may bring
//! something, the kind of value that is wanted, the time-out ([`timeout_seconds`], [`timeout_ms`]) and the form of
//! null, and return `Ok`: nothing may have been written to the reply. Inside MULTI and in scripts that writes the
//! null at once. Later the same handler runs again, with the same arguments and the session's data, whenever one of
//! the keys holds a value of that kind; what it answers is the reply, and if it blocks again the request keeps its
//! place. What must not be worked out anew (`$` of XREAD) is put into the arguments: [`Block::rewritten`].

mod queues;
mod request;
mod waiter;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ahash::AHashMap;
use parking_lot::Mutex;

pub use queues::Queues;
pub use request::{Block, Null, Wanted, timeout_ms, timeout_seconds};
pub use waiter::{Answer, Asked, Claim, Depends, Place, Turn, Waiter};

/// Bytes that all waiting requests may take, with their places in the queues; beyond it no more wait.
pub const MAX_WAITING_BYTES: usize = 256 << 20;

/// What a node knows of all that wait.
#[derive(Debug, Default)]
pub struct Blocked {
    waiters: Mutex<AHashMap<u64, Weak<Waiter>>>,
    tickets: AtomicU64,
    readiness: AtomicU64,
    bytes: AtomicUsize,
    /// Keys that somebody waits for.
    keys: AtomicUsize,
    /// Those among them whose end is waited for as well.
    keys_until_gone: AtomicUsize,
}

impl Blocked {
    /// A number for a waiter; drawn under the locks of its stripes, so that numbers rise in each queue.
    pub fn next_ticket(&self) -> u64 {
        self.tickets.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The place of a key in the order in which keys became ready.
    fn next_readiness(&self) -> u64 {
        self.readiness.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes room for a request of so many bytes; false when there is none.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > MAX_WAITING_BYTES {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn enrol(&self, waiter: &Arc<Waiter>) {
        self.waiters.lock().insert(waiter.ticket, Arc::downgrade(waiter));
    }

    fn dismiss(&self, waiter: &Waiter) {
        self.waiters.lock().remove(&waiter.ticket);
        self.bytes.fetch_sub(waiter.bytes(), Ordering::Relaxed);
    }

    /// Keys that somebody waits for, and those whose end is waited for as well.
    pub fn key_counts(&self) -> (usize, usize) {
        (self.keys.load(Ordering::Relaxed), self.keys_until_gone.load(Ordering::Relaxed))
    }

    fn all(&self) -> Vec<Arc<Waiter>> {
        self.waiters.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// The node's role changes: nobody is served here any more.
    pub fn send_away(&self) {
        for waiter in self.all() {
            if let Some(claim) = waiter.claim() {
                claim.answer(Turn::Away);
            }
        }
    }

    /// Slots may have got another owner: every waiter looks whether it is still at the right place, and only that.
    pub fn nudge_all(&self) {
        self.all().iter().for_each(|waiter| waiter.nudge_place());
    }
}
