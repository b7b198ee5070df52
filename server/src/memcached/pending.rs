//! A `flush_all` with a delay: the moment at which everything is to be gone.
//!
//! One per node; a later `flush_all` replaces it. The first batch that begins after the moment carries it out, so
//! no request sees what should be gone. It belongs to this process: a new primary knows nothing of it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the database's number below the time.
const DB_BITS: u32 = 4;

/// See the module's text.
#[derive(Debug, Default)]
pub struct PendingFlush {
    /// Unix milliseconds and database; 0: none.
    at: AtomicU64,
}

impl PendingFlush {
    /// The database is to be emptied at that moment.
    pub fn flush_at(&self, at_ms: u64, db: u8) {
        self.at.store((at_ms << DB_BITS) | u64::from(db & 15), Ordering::Release);
    }

    /// Nothing is to be emptied later.
    pub fn forget_flush(&self) {
        self.at.store(0, Ordering::Release);
    }

    /// The database whose moment has come; answered to one caller only.
    #[inline]
    pub fn take_due(&self, now_ms: u64) -> Option<u8> {
        let at = self.at.load(Ordering::Relaxed);
        if at == 0 || (at >> DB_BITS) > now_ms {
            return None;
        }
        self.at.compare_exchange(at, 0, Ordering::AcqRel, Ordering::Relaxed).ok().map(|at| (at & 15) as u8)
    }
}
