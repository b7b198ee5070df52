//! Channels with those who listen to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ahash::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use torc_protocol::glob;

use super::mailbox::Mailbox;

/// Locks that the channels are spread over.
const LOCKS: usize = 64;

/// Those who listen, by the number of their connections, and for how many clients each stands: a proxy's connection
/// listens for many.
#[derive(Debug, Default)]
pub struct Subscribers(Vec<(Arc<Mailbox>, u32)>);

impl Subscribers {
    /// Adds one; false when it is there already.
    pub fn add(&mut self, mailbox: &Arc<Mailbox>) -> bool {
        match self.place(mailbox) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, (mailbox.clone(), 1));
                true
            }
        }
    }

    /// One of them stands for so many clients.
    pub fn stands_for(&mut self, mailbox: &Arc<Mailbox>, clients: u32) {
        if let Ok(at) = self.place(mailbox)
            && let Some((_, known)) = self.0.get_mut(at)
        {
            *known = clients;
        }
    }

    /// The clients that they stand for.
    pub fn clients(&self) -> usize {
        self.0.iter().map(|(_, clients)| *clients as usize).sum()
    }

    /// Takes one out.
    pub fn remove(&mut self, mailbox: &Arc<Mailbox>) {
        if let Ok(at) = self.place(mailbox) {
            self.0.remove(at);
        }
    }

    fn place(&self, mailbox: &Mailbox) -> Result<usize, usize> {
        self.0.binary_search_by_key(&mailbox.client().id, |(known, _)| known.client().id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.0.iter().map(|(mailbox, _)| mailbox)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nobody is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Some of the channels, under one lock.
pub type Part = HashMap<Arc<[u8]>, Subscribers, RandomState>;

/// See the module's text.
#[derive(Debug)]
pub struct Table {
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    len: AtomicUsize,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            parts: (0..LOCKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
        }
    }
}

impl Table {
    /// Channels that somebody listens to.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The part with the channel, locked.
    pub fn lock(&self, channel: &[u8]) -> MutexGuard<'_, Part> {
        let at = self.hasher.hash_one(channel) as usize % LOCKS;
        self.parts[at].lock()
    }

    /// Adds a listener.
    pub fn add(&self, channel: &Arc<[u8]>, mailbox: &Arc<Mailbox>) {
        let mut part = self.lock(channel);
        if !part.contains_key(channel) {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        part.entry(channel.clone()).or_default().add(mailbox);
    }

    /// A listener stands for so many clients.
    pub fn stands_for(&self, channel: &[u8], mailbox: &Arc<Mailbox>, clients: u32) {
        if let Some(subscribers) = self.lock(channel).get_mut(channel) {
            subscribers.stands_for(mailbox, clients);
        }
    }

    /// Takes a listener out.
    pub fn remove(&self, channel: &[u8], mailbox: &Arc<Mailbox>) {
        let mut part = self.lock(channel);
        if let Some(subscribers) = part.get_mut(channel) {
            subscribers.remove(mailbox);
            if subscribers.is_empty() {
                part.remove(channel);
                self.len.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes out the channels that `fits`, with all who listen to them.
    pub fn extract(&self, fits: impl Fn(&[u8]) -> bool) -> Vec<(Arc<[u8]>, Subscribers)> {
        let mut found = Vec::new();
        for part in &self.parts {
            found.extend(part.lock().extract_if(|name, _| fits(name)));
        }
        self.len.fetch_sub(found.len(), Ordering::Relaxed);
        found
    }

    /// How many clients listen to a channel.
    pub fn count(&self, channel: &[u8]) -> usize {
        self.lock(channel).get(channel).map_or(0, Subscribers::clients)
    }

    /// The channels whose names match the pattern; all without one.
    pub fn names(&self, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        let mut names = Vec::new();
        for part in &self.parts {
            let part = part.lock();
            let fits = |name: &&Arc<[u8]>| pattern.is_none_or(|pattern| glob::matches(pattern, name));
            names.extend(part.keys().filter(fits).cloned());
        }
        names
    }
}
