//! The shard's locks, as this node sees them.

use std::sync::atomic::Ordering;

use prometheus::proto::MetricFamily;

use super::{Named, counter, gauge};
use crate::node::Node;

const HELD: Named = ("torc_server_locks_held", "Locks that are held.");
const WAITING: Named = ("torc_server_lock_waiters", "Requests that wait for a lock.");
const GRANTED: Named = ("torc_server_lock_grants_total", "Locks granted.");
const EXPIRED: Named =
    ("torc_server_locks_expired_total", "Locks whose time was over before they were given back.");
const FENCED_OFF: Named =
    ("torc_server_fenced_off_total", "Fenced requests refused: a higher token was there, or no lock.");

const LOCK_BYTES: Named =
    ("torc_server_lock_bytes", "Bytes of locks, their holders and waiters; not in maxmemory.");
const FENCE_BYTES: Named = ("torc_server_fence_bytes", "Bytes of fencing registers; not in maxmemory.");

/// What [`gather`] yields.
pub const FAMILIES: &[Named] = &[HELD, WAITING, GRANTED, EXPIRED, FENCED_OFF, LOCK_BYTES, FENCE_BYTES];

/// The families of this module, for one scrape.
pub fn gather(node: &Node) -> Vec<MetricFamily> {
    let (held, waiting) = node.locks.counts();
    vec![
        gauge(HELD, held as f64),
        gauge(WAITING, waiting as f64),
        counter(GRANTED, node.locks.granted.load(Ordering::Relaxed)),
        counter(EXPIRED, node.locks.expired()),
        counter(FENCED_OFF, node.locks.fenced_off.load(Ordering::Relaxed)),
        gauge(LOCK_BYTES, node.locks.lock().table.bytes() as f64),
        gauge(FENCE_BYTES, node.locks.fence_bytes() as f64),
    ]
}
