//! The gate between workers and those who change what the node is.
//!
//! A worker holds its own read lock while it executes a batch; who changes the role (promotion, demotion, the
//! start of a full sync) takes all of them. So no batch that began as primary is still running when the node
//! has become a replica.

use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// See the module's text. Lock order: before any stripe.
#[derive(Debug)]
pub struct Gate {
    workers: Box<[CachePadded<RwLock<()>>]>,
}

/// Held by a worker during a batch.
pub type Shared<'a> = RwLockReadGuard<'a, ()>;

/// Held by who changes the role.
pub struct Exclusive<'a> {
    _guards: Vec<RwLockWriteGuard<'a, ()>>,
}

impl Gate {
    /// A gate for this many workers.
    pub fn new(workers: usize) -> Gate {
        Gate { workers: (0..workers).map(|_| CachePadded::new(RwLock::new(()))).collect() }
    }

    /// A worker starts a batch.
    #[inline]
    pub fn enter(&self, worker: usize) -> Shared<'_> {
        self.workers[worker].read()
    }

    /// A worker serves others in the middle of a batch of its own: who waits for the gate waits on.
    pub fn enter_again(&self, worker: usize) -> Shared<'_> {
        self.workers[worker].read_recursive()
    }

    /// As [`Gate::close`]; calls `late` once when a worker has not ended its batch within `patience`.
    pub fn close_or(&self, patience: Duration, late: impl FnOnce()) -> Exclusive<'_> {
        let mut late = Some(late);
        let guards = self.workers.iter().map(|worker| {
            worker.try_write_for(patience).unwrap_or_else(|| {
                if let Some(late) = late.take() {
                    late();
                }
                worker.write()
            })
        });
        Exclusive { _guards: guards.collect() }
    }

    /// Keeps workers out if none is in a batch now.
    pub fn try_close(&self) -> Option<Exclusive<'_>> {
        self.workers
            .iter()
            .map(|worker| worker.try_write())
            .collect::<Option<_>>()
            .map(|_guards| Exclusive { _guards })
    }

    /// Waits until no worker is in a batch and keeps them out.
    pub fn close(&self) -> Exclusive<'_> {
        Exclusive { _guards: self.workers.iter().map(|w| w.write()).collect() }
    }
}
