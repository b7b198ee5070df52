//! Tells a proxy's connection that a key changed whose value it keeps.
//!
//! ```text
//! a read with `Context::track` ─▶ the stripe notes (key, tracker) ── the key changes ─▶ Tracker ─▶ mailbox ─▶ proxy
//! ```
//! The stripe notes the key while it is locked for the read, and tells of a change while it is locked for that: no change
//! falls between. A key is told of once and then forgotten; the next read notes it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::PubSub;
use super::mailbox::Mailbox;
use super::message::Message;

/// What all stripes of a node note and tell, counted.
#[derive(Debug, Default)]
pub struct Tracking {
    /// Keys that are noted now.
    pub keys: AtomicU64,
    /// Changes that were told, by connection.
    pub told: AtomicU64,
    /// Keys that were forgotten for want of room, and told of as if they had changed.
    pub overflows: AtomicU64,
}

/// One connection that keeps values.
#[derive(Debug)]
pub struct Tracker {
    registry: Arc<PubSub>,
    mailbox: Arc<Mailbox>,
    gone: AtomicBool,
}

impl Tracker {
    pub(super) fn new(registry: Arc<PubSub>, mailbox: Arc<Mailbox>) -> Arc<Tracker> {
        Arc::new(Tracker { registry, mailbox, gone: AtomicBool::new(false) })
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        self.gone.store(true, Ordering::Release);
        self.mailbox.take(&mut Vec::new());
    }

    /// Whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The node's counters.
    pub fn tracking(&self) -> &Tracking {
        self.registry.tracking()
    }

    /// Tells that a key changed: `invalidate <database> <key>`.
    pub fn tell(&self, db: u8, key: &[u8]) {
        if self.is_gone() {
            return;
        }
        self.tracking().told.fetch_add(1, Ordering::Relaxed);
        let db = db.to_string();
        self.registry.send(&self.mailbox, &Message::new(&[b"invalidate", db.as_bytes(), key]));
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
