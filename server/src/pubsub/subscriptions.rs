//! What one connection listens to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_protocol::resp::Version;

use super::mailbox::Mailbox;
use super::tracker::Tracker;
use super::{Kind, Lines, PubSub};
use crate::clients::Client;

/// Channels, patterns and shard channels that one connection may listen to.
const MAX_NAMES: usize = 1 << 20;

/// Bytes of their names.
const MAX_NAME_BYTES: usize = 256 << 20;

/// Why no more can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// The connection has as many subscriptions as one may have.
    OfConnection,
    /// The node has.
    OfNode,
}

/// See the module's text. Owned by the connection's session; all ends with it. (Shard channels may end before, with the
/// node's care for their slots.)
#[derive(Debug)]
pub struct Subscriptions {
    registry: Arc<PubSub>,
    mailbox: Arc<Mailbox>,
    channels: BTreeSet<Arc<[u8]>>,
    patterns: BTreeSet<Arc<[u8]>>,
    monitor: bool,
    log: bool,
    tracker: Option<Arc<Tracker>>,
}

impl Subscriptions {
    /// None yet, of this connection.
    pub fn new(registry: Arc<PubSub>, client: Arc<Client>, version: Version) -> Subscriptions {
        let mailbox = Arc::new(Mailbox::new(client, version));
        let (channels, patterns) = (BTreeSet::new(), BTreeSet::new());
        Subscriptions { registry, mailbox, channels, patterns, monitor: false, log: false, tracker: None }
    }

    /// Through which it is told of changes of keys whose values it keeps; made at the first use.
    pub fn tracker(&mut self) -> &Arc<Tracker> {
        self.tracker.get_or_insert_with(|| Tracker::new(self.registry.clone(), self.mailbox.clone()))
    }

    /// Where its messages wait.
    #[inline]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Runs `work` with the names of one kind.
    fn with<R>(&mut self, kind: Kind, work: impl FnOnce(&mut BTreeSet<Arc<[u8]>>) -> R) -> R {
        match kind {
            Kind::Channel => work(&mut self.channels),
            Kind::Pattern => work(&mut self.patterns),
            Kind::Shard => work(&mut self.mailbox.shard_names()),
        }
    }

    fn len(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel => self.channels.len(),
            Kind::Pattern => self.patterns.len(),
            Kind::Shard => self.mailbox.shard_names().len(),
        }
    }

    /// Begins to listen; nothing happens when it does already.
    pub fn add(&mut self, kind: Kind, name: &[u8]) -> Result<(), TooMany> {
        if self.with(kind, |names| names.contains(name)) {
            return Ok(());
        }
        let count: usize = Kind::ALL.iter().map(|kind| self.len(*kind)).sum();
        let bytes = self.mailbox.name_bytes.load(Ordering::Relaxed) + name.len();
        if count >= MAX_NAMES || bytes > MAX_NAME_BYTES {
            return Err(TooMany::OfConnection);
        }
        if !self.registry.reserve(kind, name, &self.mailbox) {
            return Err(TooMany::OfNode);
        }
        let name: Arc<[u8]> = name.into();
        self.with(kind, |names| names.insert(name.clone()));
        self.registry.add(kind, &name, &self.mailbox);
        self.publish_count(kind);
        Ok(())
    }

    /// Listens for so many clients of a proxy; for none: no more.
    pub fn listen_for(&mut self, kind: Kind, name: &[u8], clients: u32) -> Result<(), TooMany> {
        if clients == 0 {
            self.remove(kind, name);
            return Ok(());
        }
        self.add(kind, name)?;
        self.registry.stands_for(kind, name, &self.mailbox, clients);
        Ok(())
    }

    /// Ends listening; false when it did not.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        if !self.with(kind, |names| names.remove(name)) {
            return false;
        }
        self.registry.release(name, &self.mailbox);
        self.registry.remove(kind, name, &self.mailbox);
        self.publish_count(kind);
        true
    }

    /// What it listens to, in the order of the names.
    pub fn names(&self, kind: Kind) -> Vec<Arc<[u8]>> {
        match kind {
            Kind::Channel => self.channels.iter().cloned().collect(),
            Kind::Pattern => self.patterns.iter().cloned().collect(),
            Kind::Shard => self.mailbox.shard_names().iter().cloned().collect(),
        }
    }

    /// The count that replies about this kind show: channels and patterns together, or shard channels.
    pub fn shown_count(&self, kind: Kind) -> usize {
        if kind == Kind::Shard {
            self.len(Kind::Shard)
        } else {
            self.len(Kind::Channel) + self.len(Kind::Pattern)
        }
    }

    /// Whether it listens to anything.
    pub fn any(&self) -> bool {
        Kind::ALL.iter().any(|kind| self.len(*kind) > 0)
    }

    /// MONITOR: shows all requests from now on; nothing happens when it does already.
    pub fn start_monitor(&mut self) {
        self.monitor = true;
        self.registry.watch(&self.mailbox);
    }

    /// memcached's `watch`: shows these lines of the log from now on; false when too many watch already.
    pub fn start_log(&mut self, lines: Lines) -> bool {
        self.log = self.log || self.registry.log().add(lines, &self.mailbox);
        self.log
    }

    /// Whether it shows all requests, or lines of the log.
    pub fn is_monitor(&self) -> bool {
        self.monitor || self.log
    }

    fn publish_count(&self, kind: Kind) {
        self.mailbox.client().show_subscriptions(kind, self.len(kind));
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            for name in self.names(kind) {
                self.remove(kind, &name);
            }
        }
        if let Some(tracker) = &self.tracker {
            tracker.end();
        }
        if self.monitor {
            self.registry.unwatch(&self.mailbox);
        }
        if self.log {
            self.registry.log().remove(&self.mailbox);
        }
    }
}
