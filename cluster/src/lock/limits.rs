//! Bounds of a lock table.

/// All are checked before anything changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockLimits {
    /// `max_lock_ttl_ms` of the map.
    pub max_ttl_ms: u64,
    /// The longest a waiter may ask to wait.
    pub max_wait_ms: u64,
    /// Locks that may be held or waited for at once.
    pub max_locks: usize,
    /// Holders of one shared run.
    pub max_holders: usize,
    /// Waiters of one lock.
    pub max_waiters_per_lock: usize,
    /// Waiters of the whole table.
    pub max_waiters: usize,
    /// Bytes of names, holders and waiters of the whole table: see [`super::LockTable::bytes`].
    pub max_bytes: usize,
    /// Bytes of an owner text or a request id.
    pub max_text_bytes: usize,
}

impl Default for LockLimits {
    fn default() -> Self {
        LockLimits {
            max_ttl_ms: 60_000,
            max_wait_ms: 3_600_000,
            max_locks: 1_000_000,
            max_holders: 1_024,
            max_waiters_per_lock: 4_096,
            max_waiters: 100_000,
            max_bytes: 64 << 20,
            max_text_bytes: 256,
        }
    }
}
