//! The connections of this process, for CLIENT LIST, CLIENT KILL and the limit on their number.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's text.
#[derive(Debug, Default)]
pub struct Clients {
    next_id: AtomicU64,
}

impl Clients {
    /// A number that no connection has had.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }
}
