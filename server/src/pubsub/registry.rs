//! Who listens to what, on this node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use torc_protocol::glob;
use torc_protocol::resp::ReplyWriter;
use torc_protocol::slot::{Slot, key_slot};

use super::Kind;
use super::log::{Lines, Log};
use super::mailbox::Mailbox;
use super::message::Message;
use super::post::Post;
use super::table::{Subscribers, Table};
use super::tracker::Tracking;
use crate::notify::Class;

/// Bytes of the names of all subscriptions of the node, with [`NAME_OVERHEAD_BYTES`] for each.
const MAX_NAME_BYTES: usize = 2 << 30;

/// What a subscription takes beside its name, about.
const NAME_OVERHEAD_BYTES: usize = 128;

/// Different patterns of the node: each message is compared with all of them.
const MAX_PATTERNS: usize = 1 << 18;

/// See the module's text.
#[derive(Debug)]
pub struct PubSub {
    channels: Table,
    shard_channels: Table,
    patterns: RwLock<BTreeMap<Arc<[u8]>, Subscribers>>,
    pattern_count: AtomicUsize,
    monitors: RwLock<Subscribers>,
    monitor_count: AtomicUsize,
    log: Log,
    tracking: Tracking,
    /// One for each worker.
    posts: Box<[Post]>,
    /// Bytes that a subscriber may leave unread; 0: see [`Mailbox`].
    limit_bytes: AtomicUsize,
    /// Of the names of all subscriptions.
    name_bytes: AtomicUsize,
    pub(super) max_name_bytes: usize,
    pub(super) max_patterns: usize,
}

impl PubSub {
    /// Nobody listens yet.
    pub fn new(workers: usize) -> PubSub {
        PubSub {
            channels: Table::default(),
            shard_channels: Table::default(),
            patterns: RwLock::default(),
            pattern_count: AtomicUsize::new(0),
            monitors: RwLock::default(),
            monitor_count: AtomicUsize::new(0),
            log: Log::default(),
            tracking: Tracking::default(),
            posts: (0..workers).map(|_| Post::default()).collect(),
            limit_bytes: AtomicUsize::new(0),
            name_bytes: AtomicUsize::new(0),
            max_name_bytes: MAX_NAME_BYTES,
            max_patterns: MAX_PATTERNS,
        }
    }

    /// The hard limit of `client-output-buffer-limit pubsub`.
    pub fn set_limit(&self, bytes: u64) {
        self.limit_bytes.store(usize::try_from(bytes).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Wakes the connections of a worker as they get messages; for ever.
    pub async fn deliver(&self, worker: usize) {
        match self.posts.get(worker) {
            Some(post) => post.deliver().await,
            None => std::future::pending().await,
        }
    }

    /// Counters of what proxies keep.
    pub fn tracking(&self) -> &Tracking {
        &self.tracking
    }

    pub(super) fn send(&self, mailbox: &Mailbox, message: &Message) {
        if mailbox.put(message, self.limit_bytes.load(Ordering::Relaxed)) {
            self.tell(mailbox);
        }
    }

    fn tell(&self, mailbox: &Mailbox) {
        if let Some(post) = self.posts.get(mailbox.client().worker()) {
            post.tell(mailbox.client().clone());
        }
    }

    /// Sends a message to the subscribers of the channel and of the patterns that it matches; answers how many got it.
    pub fn publish(&self, channel: &[u8], message: &[u8]) -> usize {
        let patterns = self.pattern_count.load(Ordering::Acquire);
        if patterns == 0 && self.channels.len() == 0 {
            return 0;
        }
        let mut receivers = 0;
        // Held until all have it: the order of a channel's messages is the same for all.
        let part = self.channels.lock(channel);
        if let Some(subscribers) = part.get(channel) {
            let encoded = Message::new(&[b"message", channel, message]);
            subscribers.iter().for_each(|mailbox| self.send(mailbox, &encoded));
            receivers += subscribers.clients();
        }
        if patterns > 0 {
            for (pattern, subscribers) in &*self.patterns.read() {
                if glob::matches(pattern, channel) {
                    let encoded = Message::new(&[b"pmessage", pattern, channel, message]);
                    subscribers.iter().for_each(|mailbox| self.send(mailbox, &encoded));
                    receivers += subscribers.clients();
                }
            }
        }
        receivers
    }

    /// Sends a message to the subscribers of a shard channel; answers how many got it.
    pub fn publish_shard(&self, channel: &[u8], message: &[u8]) -> usize {
        if self.shard_channels.len() == 0 {
            return 0;
        }
        let part = self.shard_channels.lock(channel);
        let Some(subscribers) = part.get(channel) else { return 0 };
        let encoded = Message::new(&[b"smessage", channel, message]);
        subscribers.iter().for_each(|mailbox| self.send(mailbox, &encoded));
        subscribers.clients()
    }

    /// Publishes a keyspace event on the channels that `wanted` asks for.
    pub fn publish_event(&self, wanted: Class, db: u8, event: &str, key: &[u8]) {
        if self.channels.len() == 0 && self.pattern_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let channel = |kind: &str, name: &[u8]| {
            let mut channel = format!("__{kind}@{db}__:").into_bytes();
            channel.extend_from_slice(name);
            channel
        };
        if wanted.contains(Class::KEYSPACE) {
            self.publish(&channel("keyspace", key), event.as_bytes());
        }
        if wanted.contains(Class::KEYEVENT) {
            self.publish(&channel("keyevent", event.as_bytes()), key);
        }
    }

    /// Makes room for one more subscription of the mailbox's connection; false when the node has none.
    pub(super) fn reserve(&self, kind: Kind, name: &[u8], mailbox: &Mailbox) -> bool {
        if kind == Kind::Pattern
            && self.count(kind) >= self.max_patterns
            && !self.patterns.read().contains_key(name)
        {
            return false;
        }
        let bytes = name.len() + NAME_OVERHEAD_BYTES;
        let before = self.name_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max_name_bytes {
            self.name_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        mailbox.name_bytes.fetch_add(name.len(), Ordering::Relaxed);
        true
    }

    /// A subscription has ended.
    pub(super) fn release(&self, name: &[u8], mailbox: &Mailbox) {
        mailbox.name_bytes.fetch_sub(name.len(), Ordering::Relaxed);
        self.name_bytes.fetch_sub(name.len() + NAME_OVERHEAD_BYTES, Ordering::Relaxed);
    }

    /// Ends the subscriptions to shard channels whose slots `still_mine` denies, and tells those who listened, as Redis
    /// does when a slot moves: they subscribe again where it is now.
    pub fn end_shard_subscriptions(&self, still_mine: impl Fn(Slot) -> bool) {
        if self.shard_channels.len() == 0 {
            return;
        }
        const WORD: &[u8] = b"sunsubscribe";
        /// Of the message's frame, about.
        const FRAME_BYTES: usize = 64;
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        for (name, subscribers) in self.shard_channels.extract(|name| !still_mine(key_slot(name))) {
            for mailbox in subscribers.iter() {
                let mut names = mailbox.shard_names();
                if !names.remove(&name) {
                    continue;
                }
                let left = names.len();
                drop(names);
                self.release(&name, mailbox);
                mailbox.client().show_subscriptions(Kind::Shard, left);
                let told = mailbox.put_with(name.len() + FRAME_BYTES, limit, |version, out| {
                    let mut writer = ReplyWriter::new(out, version);
                    writer.push(3);
                    writer.bulk(WORD);
                    writer.bulk(&name);
                    writer.integer(left as i64);
                });
                if told {
                    self.tell(mailbox);
                }
            }
        }
    }

    pub(super) fn add(&self, kind: Kind, name: &Arc<[u8]>, mailbox: &Arc<Mailbox>) {
        match kind {
            Kind::Channel => self.channels.add(name, mailbox),
            Kind::Shard => self.shard_channels.add(name, mailbox),
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                patterns.entry(name.clone()).or_default().add(mailbox);
                self.pattern_count.store(patterns.len(), Ordering::Release);
            }
        }
    }

    /// The mailbox's connection listens for so many clients: each counts as a receiver.
    pub(super) fn stands_for(&self, kind: Kind, name: &[u8], mailbox: &Arc<Mailbox>, clients: u32) {
        match kind {
            Kind::Channel => self.channels.stands_for(name, mailbox, clients),
            Kind::Shard => self.shard_channels.stands_for(name, mailbox, clients),
            Kind::Pattern => {
                if let Some(subscribers) = self.patterns.write().get_mut(name) {
                    subscribers.stands_for(mailbox, clients);
                }
            }
        }
    }

    pub(super) fn remove(&self, kind: Kind, name: &[u8], mailbox: &Arc<Mailbox>) {
        match kind {
            Kind::Channel => self.channels.remove(name, mailbox),
            Kind::Shard => self.shard_channels.remove(name, mailbox),
            Kind::Pattern => {
                let mut patterns = self.patterns.write();
                if let Some(subscribers) = patterns.get_mut(name) {
                    subscribers.remove(mailbox);
                    if subscribers.is_empty() {
                        patterns.remove(name);
                    }
                }
                self.pattern_count.store(patterns.len(), Ordering::Release);
            }
        }
    }

    fn table(&self, kind: Kind) -> &Table {
        if kind == Kind::Shard { &self.shard_channels } else { &self.channels }
    }

    /// The channels (or shard channels) that somebody listens to, those that match the pattern.
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Arc<[u8]>> {
        self.table(kind).names(pattern)
    }

    /// How many listen to a channel (or shard channel) by its name.
    pub fn subscribers(&self, kind: Kind, name: &[u8]) -> usize {
        self.table(kind).count(name)
    }

    /// How many channels, shard channels or patterns somebody listens to.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pattern => self.pattern_count.load(Ordering::Relaxed),
            kind => self.table(kind).len(),
        }
    }

    /// Whether somebody watches all requests.
    #[inline]
    pub fn has_monitors(&self) -> bool {
        self.monitor_count.load(Ordering::Relaxed) > 0
    }

    /// Shows a line, as [`describe_request`](super::describe_request) makes them, to those who watch.
    pub fn show(&self, line: &[u8]) {
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        for mailbox in self.monitors.read().iter() {
            if mailbox.put_with(line.len(), limit, |_, out| out.extend_from_slice(line)) {
                self.tell(mailbox);
            }
        }
    }

    /// The log that memcached's `watch` shows.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Gives a line, its end included, to those who watch this kind.
    pub fn write_log(&self, kind: Lines, line: &[u8]) {
        self.log.put(kind, line, |mailbox| self.tell(mailbox));
    }

    pub(super) fn watch(&self, mailbox: &Arc<Mailbox>) {
        let mut monitors = self.monitors.write();
        monitors.add(mailbox);
        self.monitor_count.store(monitors.len(), Ordering::Relaxed);
    }

    pub(super) fn unwatch(&self, mailbox: &Arc<Mailbox>) {
        let mut monitors = self.monitors.write();
        monitors.remove(mailbox);
        self.monitor_count.store(monitors.len(), Ordering::Relaxed);
    }
}
