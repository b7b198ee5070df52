//! What one connection listens to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use torc_protocol::resp::Version;

use super::mailbox::Mailbox;
use super::{Kind, PubSub};
use crate::clients::Client;

/// Channels, patterns and shard channels that one connection may listen to.
const MAX_NAMES: usize = 1 << 20;

/// Bytes of their names.
const MAX_NAME_BYTES: usize = 256 << 20;

/// A connection may not listen to more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// See the module's text. Owned by the connection's session; all ends with it.
#[derive(Debug)]
pub struct Subscriptions {
    registry: Arc<PubSub>,
    mailbox: Arc<Mailbox>,
    /// In the order of [`Kind::ALL`].
    names: [BTreeSet<Arc<[u8]>>; 3],
    name_bytes: usize,
    monitor: bool,
}

impl Subscriptions {
    /// None yet, of this connection.
    pub fn new(registry: Arc<PubSub>, client: Arc<Client>, version: Version) -> Subscriptions {
        let mailbox = Arc::new(Mailbox::new(client, version));
        Subscriptions { registry, mailbox, names: Default::default(), name_bytes: 0, monitor: false }
    }

    /// Where its messages wait.
    #[inline]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Begins to listen; nothing happens when it does already.
    pub fn add(&mut self, kind: Kind, name: &[u8]) -> Result<(), TooMany> {
        if self.names[kind as usize].contains(name) {
            return Ok(());
        }
        let count: usize = self.names.iter().map(BTreeSet::len).sum();
        if count >= MAX_NAMES || self.name_bytes + name.len() > MAX_NAME_BYTES {
            return Err(TooMany);
        }
        let name: Arc<[u8]> = name.into();
        self.name_bytes += name.len();
        self.registry.add(kind, &name, &self.mailbox);
        self.names[kind as usize].insert(name);
        self.publish_count(kind);
        Ok(())
    }

    /// Ends listening; false when it did not.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        if !self.names[kind as usize].remove(name) {
            return false;
        }
        self.name_bytes -= name.len();
        self.registry.remove(kind, name, &self.mailbox);
        self.publish_count(kind);
        true
    }

    /// What it listens to, in the order of the names.
    pub fn names(&self, kind: Kind) -> Vec<Arc<[u8]>> {
        self.names[kind as usize].iter().cloned().collect()
    }

    /// The count that replies about this kind show: channels and patterns together, or shard channels.
    pub fn shown_count(&self, kind: Kind) -> usize {
        let len = |kind: Kind| self.names[kind as usize].len();
        if kind == Kind::Shard { len(Kind::Shard) } else { len(Kind::Channel) + len(Kind::Pattern) }
    }

    /// Whether it listens to anything.
    pub fn any(&self) -> bool {
        self.names.iter().any(|names| !names.is_empty())
    }

    /// MONITOR: shows all requests from now on; nothing happens when it does already.
    pub fn start_monitor(&mut self) {
        self.monitor = true;
        self.registry.watch(&self.mailbox);
    }

    /// Whether it does.
    pub fn is_monitor(&self) -> bool {
        self.monitor
    }

    fn publish_count(&self, kind: Kind) {
        let count = self.names[kind as usize].len();
        let shown = &self.mailbox.client().subscriptions[kind as usize];
        shown.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for kind in Kind::ALL {
            for name in std::mem::take(&mut self.names[kind as usize]) {
                self.registry.remove(kind, &name, &self.mailbox);
            }
            self.publish_count(kind);
        }
        if self.monitor {
            self.registry.unwatch(&self.mailbox);
        }
    }
}
