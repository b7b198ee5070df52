//! Who listens to what, on this worker, and the feeds that bring it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use ahash::RandomState;
use smallvec::SmallVec;
use torc_cluster::ShardId;
use torc_protocol::slot::key_slot;

use super::feed::Feed;
use super::{Ask, Kind, Name};
use crate::downstream::client::Client;
use crate::worker::{Routes, Worker};

/// Bytes of the names of all topics of a worker.
pub const MAX_NAME_BYTES: usize = 256 << 20;

/// One channel, pattern or shard channel.
#[derive(Debug, Default)]
struct Topic {
    /// By their numbers.
    listeners: Vec<Rc<Client>>,
    /// Clients that will listen when the nodes have confirmed.
    joining: u32,
}

type Topics = HashMap<Name, Topic, RandomState>;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Hub {
    /// By [`Kind`].
    topics: RefCell<[Topics; 3]>,
    feeds: RefCell<BTreeMap<ShardId, Rc<Feed>>>,
    asks: RefCell<Vec<Rc<Ask>>>,
    name_bytes: Cell<usize>,
}

impl Hub {
    /// Whether nobody listens, or is about to.
    pub fn is_empty(&self) -> bool {
        self.topics.borrow().iter().all(HashMap::is_empty)
    }

    /// Bytes of the names of all topics.
    pub fn name_bytes(&self) -> usize {
        self.name_bytes.get()
    }

    /// The name as the topics have it, if there is one already.
    pub fn intern(&self, kind: Kind, name: &[u8]) -> Name {
        let topics = self.topics.borrow();
        topics[kind as usize].get_key_value(name).map_or_else(|| name.into(), |(known, _)| Rc::clone(known))
    }

    /// How many clients listen to a topic, or are about to.
    pub fn weight(&self, kind: Kind, name: &[u8]) -> u32 {
        let topics = self.topics.borrow();
        let weight = |topic: &Topic| {
            u32::try_from(topic.listeners.len()).unwrap_or(u32::MAX).saturating_add(topic.joining)
        };
        topics[kind as usize].get(name).map_or(0, weight)
    }

    /// All topics.
    pub fn all(&self) -> Vec<(Kind, Name)> {
        let topics = self.topics.borrow();
        let of = |kind: Kind| topics[kind as usize].keys().map(move |name| (kind, Rc::clone(name)));
        Kind::ALL.into_iter().flat_map(of).collect()
    }

    /// Changes a topic; one that nobody wants any more is forgotten.
    fn change(&self, kind: Kind, name: &Name, change: impl FnOnce(&mut Topic)) {
        let mut all = self.topics.borrow_mut();
        let topics = &mut all[kind as usize];
        let before = topics.len();
        let topic = topics.entry(Rc::clone(name)).or_default();
        change(topic);
        if topic.listeners.is_empty() && topic.joining == 0 {
            topics.remove(name);
        }
        let bytes = self.name_bytes.get();
        match topics.len().cmp(&before) {
            std::cmp::Ordering::Greater => self.name_bytes.set(bytes + name.len()),
            std::cmp::Ordering::Less => self.name_bytes.set(bytes.saturating_sub(name.len())),
            std::cmp::Ordering::Equal => {}
        }
    }

    fn add(&self, kind: Kind, name: &Name, client: &Rc<Client>) {
        self.change(kind, name, |topic| {
            topic.joining = topic.joining.saturating_sub(1);
            if let Err(at) = topic.listeners.binary_search_by_key(&client.id(), |known| known.id()) {
                topic.listeners.insert(at, Rc::clone(client));
            }
        });
    }

    fn take_out(&self, kind: Kind, name: &Name, client: &Client) {
        self.change(kind, name, |topic| {
            if let Ok(at) = topic.listeners.binary_search_by_key(&client.id(), |known| known.id()) {
                topic.listeners.remove(at);
            }
        });
    }

    fn all_feeds(&self) -> SmallVec<[Rc<Feed>; 8]> {
        self.feeds.borrow().values().cloned().collect()
    }
}

impl Worker {
    /// The feeds that bring a topic.
    fn feeds_of(&self, kind: Kind, name: &[u8]) -> SmallVec<[Rc<Feed>; 8]> {
        if kind != Kind::Shard {
            return self.hub.all_feeds();
        }
        let routes = self.routes();
        let home = routes.table.shard_of(key_slot(name)).map(|place| routes.shard_id(place));
        let feeds = self.hub.feeds.borrow();
        home.and_then(|shard| feeds.get(&shard).cloned()).into_iter().collect()
    }

    /// Whether a shard's primary is listened to for a topic.
    pub(super) fn is_fed_by(&self, shard: ShardId, kind: Kind, name: &[u8]) -> bool {
        if kind != Kind::Shard {
            return true;
        }
        let routes = self.routes();
        routes.table.shard_of(key_slot(name)).is_some_and(|place| routes.shard_id(place) == shard)
    }

    /// A client begins to listen: it does when the nodes have confirmed.
    pub fn begin_to_listen(self: &Rc<Self>, ask: Rc<Ask>) {
        self.follow_feeds(&self.routes());
        for name in &ask.joins {
            self.hub.change(ask.kind, name, |topic| topic.joining += 1);
            self.feeds_of(ask.kind, name).iter().for_each(|feed| feed.tell(ask.kind, name, Some(&ask)));
        }
        self.count_topics();
        self.follow(ask);
    }

    /// A client ends listening to `names`: it gets nothing of them from now on, and is answered when the nodes know.
    pub fn end_listening(&self, ask: Rc<Ask>, names: &[(Kind, Name)]) {
        for (kind, name) in names {
            self.hub.take_out(*kind, name, &ask.client);
            self.feeds_of(*kind, name).iter().for_each(|feed| feed.tell(*kind, name, Some(&ask)));
        }
        ask.client.show_listens(self);
        self.count_topics();
        self.follow(ask);
    }

    /// A client listens to nothing any more: it has gone.
    pub fn listens_no_more(&self, client: &Client) {
        if !client.listening.get() {
            return;
        }
        let listens = client.listens.take();
        for kind in Kind::ALL {
            for name in listens.names(kind) {
                self.hub.take_out(kind, &name, client);
                self.feeds_of(kind, &name).iter().for_each(|feed| feed.tell(kind, &name, None));
            }
        }
        client.show_listens(self);
        self.count_topics();
    }

    fn follow(&self, ask: Rc<Ask>) {
        if ask.is_confirmed() {
            self.end_ask(&ask, None);
        } else {
            self.hub.asks.borrow_mut().push(ask);
        }
    }

    /// A node has answered for a client that asked.
    pub(super) fn ask_answered(&self, ask: &Rc<Ask>, refusal: Option<&str>) {
        if ask.confirmed() || refusal.is_some() {
            self.end_ask(ask, refusal);
        }
    }

    /// Answers a client that asked; `refusal`: it does not listen.
    fn end_ask(&self, ask: &Rc<Ask>, refusal: Option<&str>) {
        if !ask.settle() {
            return;
        }
        self.hub.asks.borrow_mut().retain(|known| !Rc::ptr_eq(known, ask));
        let client = &ask.client;
        if refusal.is_some() || client.closed.get() {
            for name in &ask.joins {
                self.hub.change(ask.kind, name, |topic| topic.joining = topic.joining.saturating_sub(1));
                self.feeds_of(ask.kind, name).iter().for_each(|feed| feed.tell(ask.kind, name, None));
            }
            self.count_topics();
        } else if ask.is_join() {
            for name in &ask.joins {
                self.hub.add(ask.kind, name, client);
                client.listens.borrow_mut().insert(ask.kind, Rc::clone(name));
            }
            client.show_listens(self);
        }
        if client.closed.get() {
            return;
        }
        let metrics = self.metrics.command(ask.command);
        let mut outbox = client.outbox.borrow_mut();
        match refusal {
            None => outbox.deliver_raw(ask.seq, &ask.frames, &self.pool),
            Some(text) => {
                metrics.errors.add(1);
                outbox.fail(ask.seq, 0, text, &self.pool);
            }
        }
        let left = outbox.pending();
        drop(outbox);
        metrics.answered(self.clock.now_ns().saturating_sub(ask.since_ns));
        self.mark_client(client);
        client.answered(left);
    }

    /// Gives a message to those who listen to its topic.
    pub(super) fn spread(&self, kind: Kind, name: &[u8], frame: &[u8]) {
        let topics = self.hub.topics.borrow();
        if let Some(topic) = topics[kind as usize].get(name) {
            topic.listeners.iter().for_each(|client| client.push_message(self, frame));
        }
    }

    /// Clients that wait too long for a node are answered: the feed tells the node when it can. Feeds that nobody needs
    /// end.
    pub fn tick_feeds(&self, now_ns: u64) {
        let late: Vec<_> = {
            let asks = self.hub.asks.borrow();
            asks.iter().filter(|ask| ask.deadline_ns <= now_ns || ask.client.closed.get()).cloned().collect()
        };
        late.iter().for_each(|ask| self.end_ask(ask, None));
        let needed = !self.hub.is_empty();
        self.hub.all_feeds().iter().for_each(|feed| feed.tick(now_ns, needed));
    }

    /// The routes are others: feeds follow their shards' primaries, and topics their slots.
    pub fn follow_map(self: &Rc<Self>, routes: &Routes) {
        if self.hub.feeds.borrow().is_empty() {
            return;
        }
        self.follow_feeds(routes);
        self.hub.all_feeds().iter().for_each(|feed| feed.resync(self));
    }

    /// A feed for each shard of the map.
    fn follow_feeds(self: &Rc<Self>, routes: &Routes) {
        let mut feeds = self.hub.feeds.borrow_mut();
        feeds.retain(|shard, feed| {
            let stays = routes.table.index_of(*shard).is_some();
            if !stays {
                feed.end();
            }
            stays
        });
        for shard in &routes.table.shards {
            let feed = feeds.entry(shard.id).or_insert_with(|| Feed::start(self, shard.id));
            feed.aim(shard.primary.clone());
        }
    }

    fn count_topics(&self) {
        let topics = self.hub.topics.borrow();
        let [channels, patterns, shard_channels] = &*topics;
        self.metrics.channels.set(channels.len() as u64);
        self.metrics.patterns.set(patterns.len() as u64);
        self.metrics.shard_channels.set(shard_channels.len() as u64);
    }
}
