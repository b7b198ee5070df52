//! What a command's handler works with: the locked stripes, the time, the reply, the effects.
//!
//! Handlers change keys only through the methods here: they keep the memory account, the watchers, the
//! version (memcached's CAS) and the effects together.

use smallvec::SmallVec;
use torc_cluster::lock::Outcome;
use torc_protocol::context::Ack;
use torc_protocol::resp::{ReplyWriter, Version};
use torc_runtime::random::split_mix;

use super::error::CommandError;
use super::session::Session;
use super::{Flow, Now, Park};
use crate::blocked::Block;
use crate::effect::EffectWriter;
use crate::expiry;
use crate::node::Node;
use crate::notify::Class;
use crate::script::Engine;
use crate::settings::EvictionClock;
use crate::shard::Role;
use crate::stats::WorkerStats;
use crate::store::value::{ADOPT_BYTES, Adopted, HashValue};
use crate::store::{
    Access, Collection, Entry, EntryMut, Env, Key, LooseEntry, Marks, Meta, SLOTS_PER_STRIPE, STRIPES,
    Stripe, Value, ValueRef, View,
};

/// Result of a handler: the reply is written, or an error says why not.
pub type CommandResult = Result<(), CommandError>;

/// The collections at several keys.
pub type Found<'s, C> = SmallVec<[Option<&'s C>; 8]>;

/// See the module's text.
pub struct Cx<'n, 'a> {
    /// The process.
    pub node: &'n Node,
    /// The connection's state.
    pub session: &'a mut Session,
    /// The stripes that hold the command's keys, locked.
    pub access: Access<'n>,
    /// The command's first key, where its hash was worked out ahead.
    pub known: Option<Key<'a>>,
    /// What changes of collections go by, unless the settings have changed meanwhile.
    pub versioned_env: &'a VersionedEnv,
    /// What happened, for the replicas.
    pub effects: &'a mut EffectWriter,
    /// This worker's counters.
    pub stats: &'a WorkerStats,
    /// Unix milliseconds; the same for the whole command, transaction or script.
    pub now_ms: u64,
    /// The database the command works on.
    pub db: u8,
    /// Where the reply goes.
    pub out: &'a mut Vec<u8>,
    /// How it is written.
    pub version: Version,
    /// A random number generator's state, seeded at the edge.
    pub rng: &'a mut u64,
    /// Keys changed by this command (Redis's `dirty`).
    pub dirty: u64,
    /// The worker's script engine.
    pub scripts: &'a mut Engine,
    /// Both clocks.
    pub now: Now,
    /// A clock that goes on (nanoseconds), to time what may be slow; `None`: nothing is timed.
    pub clock_ns: Option<fn() -> u64>,
    /// The request came from a proxy, with a context prefix.
    pub proxied: bool,
    /// A blocking command does not wait: its request says so.
    pub no_wait: bool,
    /// The acknowledgement that the request asks for by itself.
    pub ack: Option<Ack>,
    /// Whether the command runs by itself, in a transaction or in a script.
    pub depth: Depth,
    /// What the connection does next.
    pub flow: Flow,
    /// Requests parked for a lock that this command decides; they are told once its record has its offset.
    pub wake: Outcome,
}

/// What changes of collections go by, with the version of the settings that it is of: a look at that costs less than one
/// at the settings.
#[derive(Clone, Copy, Debug)]
pub struct VersionedEnv {
    version: u64,
    env: Env,
}

impl VersionedEnv {
    /// As it is now.
    pub fn of(node: &Node) -> VersionedEnv {
        // In this order: what is read behind the version is not older than that.
        let version = node.settings_version();
        VersionedEnv { version, env: node.env() }
    }

    /// Whether the settings are still the same.
    #[inline]
    pub fn is_of(&self, node: &Node) -> bool {
        self.version == node.settings_version()
    }
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// By itself.
    Command,
    /// Inside EXEC: nothing may wait, locks are held already.
    Transaction,
    /// Called by a script: likewise, and only declared keys.
    Script,
}

/// How what [`Cx::revise`] did to a collection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// Nothing was done.
    Nothing,
    /// A note that replicas keep too, but no change by Redis's count.
    Note,
    /// A change that those who watch the key are not told, as in Redis: what happens in a consumer group.
    NotToWatchers,
    /// A change like any other.
    All,
}

impl Cx<'_, '_> {
    /// The writer of this command's reply.
    #[inline]
    pub fn reply(&mut self) -> ReplyWriter<'_> {
        ReplyWriter::new(self.out, self.version)
    }

    /// What the store needs to find `bytes`.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        match self.known {
            Some(known) if std::ptr::eq(known.bytes, bytes) => Key { bytes, ..known },
            _ => self.node.store.key(bytes),
        }
    }

    /// Whether a change would be accepted now, of a request that was admitted as a read: replication keeps up, and there
    /// are the replicas that its acknowledgement would have to wait for.
    pub fn may_change(&self) -> bool {
        let shard = &self.node.shard;
        match shard.role() {
            Role::Plain => true,
            Role::Primary => {
                let in_sync = self.ack.unwrap_or_else(|| self.node.default_ack()) == Ack::InSync;
                !shard.is_behind() && (!in_sync || shard.in_sync_enough())
            }
            Role::Replica | Role::Joining => false,
        }
    }

    /// A random number.
    pub fn random(&mut self) -> u64 {
        split_mix(self.rng)
    }

    /// How the use of a key is noted now.
    #[inline]
    pub(super) fn clock(&mut self) -> EvictionClock {
        let clock = self.node.eviction_clock(self.now_ms);
        if clock.is_lfu() { clock.with_noise(self.random()) } else { clock }
    }

    /// The live entry of a key, without counting a hit and without a trace in its access time.
    pub fn peek(&mut self, key: &Key<'_>) -> Option<Entry<'_>> {
        self.expire_if_due(key);
        self.access.stripe(key.slot).get(self.db, key, self.now_ms)
    }

    /// The live entry of a key that is read: counts a hit or a miss and notes the use.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Option<Entry<'_>> {
        self.read_and(key, |entry, _| entry)
    }

    /// As [`Cx::read`], with the reply's writer at hand, so that values go to the reply without a copy between.
    #[inline]
    pub fn read_and<'s, R>(
        &'s mut self,
        key: &Key<'_>,
        then: impl FnOnce(Option<Entry<'s>>, ReplyWriter<'s>) -> R,
    ) -> R {
        self.expire_unless_paused(key);
        let clock = self.clock();
        let touch = if self.session.no_touch { None } else { Some(|old| clock.touched(old)) };
        let entry = self.access.stripe(key.slot).get_used(self.db, key, self.now_ms, touch);
        match entry {
            Some(_) => self.stats.hits.add(1),
            None => {
                self.stats.misses.add(1);
                self.node.notify(Class::MISS, self.db, "keymiss", key.bytes);
            }
        }
        then(entry, ReplyWriter::new(self.out, self.version))
    }

    /// The live entry of a key that is looked at (TTL, EXISTS …): counts a hit or a miss, leaves no trace in its
    /// access time.
    pub fn glance(&mut self, key: &Key<'_>) -> Option<Entry<'_>> {
        self.expire_unless_paused(key);
        let entry = self.access.stripe(key.slot).get(self.db, key, self.now_ms);
        match entry {
            Some(_) => self.stats.hits.add(1),
            None => {
                self.stats.misses.add(1);
                self.node.notify(Class::MISS, self.db, "keymiss", key.bytes);
            }
        }
        entry
    }

    /// As [`Cx::peek`], with the reply's writer at hand.
    pub fn peek_and<'s, R>(
        &'s mut self,
        key: &Key<'_>,
        then: impl FnOnce(Option<Entry<'s>>, ReplyWriter<'s>) -> R,
    ) -> R {
        self.expire_if_due(key);
        let entry = self.access.stripe(key.slot).get(self.db, key, self.now_ms);
        then(entry, ReplyWriter::new(self.out, self.version))
    }

    /// The string at a key that is read; `None` when there is no key.
    #[inline]
    pub fn read_string(&mut self, key: &Key<'_>) -> Result<Option<&[u8]>, CommandError> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::String(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The collection at a key that is read; `None` when there is no key.
    pub fn read_as<'s, V: View<'s>>(&'s mut self, key: &Key<'_>) -> Result<Option<V>, CommandError> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => entry.as_collection().map(Some).ok_or(CommandError::WrongType),
        }
    }

    /// The string at a key that is about to be changed; `None` when there is no key.
    pub fn peek_string(&mut self, key: &Key<'_>) -> Result<Option<&[u8]>, CommandError> {
        match self.peek(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::String(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The collection at a key that is about to be changed; `None` when there is no key.
    pub fn peek_as<'s, V: View<'s>>(&'s mut self, key: &Key<'_>) -> Result<Option<V>, CommandError> {
        match self.peek(key) {
            None => Ok(None),
            Some(entry) => entry.as_collection().map(Some).ok_or(CommandError::WrongType),
        }
    }

    /// As [`Cx::expire_if_due`], for a command that only reads: during a CLIENT PAUSE the key is only hidden.
    #[inline]
    fn expire_unless_paused(&mut self, key: &Key<'_>) {
        let now_ms = self.now_ms;
        let stripe = self.access.stripe(key.slot);
        if !stripe.any_due(now_ms) {
            return;
        }
        let hidden = |entry: Entry<'_>| entry.expire_ms().is_some_and(|at| at <= now_ms);
        if self.node.clients.paused(now_ms).is_none() || !stripe.peek(self.db, key).is_some_and(hidden) {
            self.expire_if_due(key);
        }
    }

    /// Removes a key whose time has come, or the fields of its hash. On a replica they are only hidden: its primary says
    /// when they go.
    #[inline]
    pub fn expire_if_due(&mut self, key: &Key<'_>) {
        let now_ms = self.now_ms;
        let stripe = self.access.stripe(key.slot);
        if !stripe.any_due(now_ms) {
            return;
        }
        let passed = |at: Option<u64>| at.is_some_and(|at| at <= now_ms);
        let Some(entry) = stripe.peek(self.db, key) else { return };
        let fetched = entry.marks().is_fetched();
        if !passed(entry.expire_ms()) {
            if passed(entry.field_ms()) {
                self.expire_fields(key);
            }
            return;
        }
        if self.node.may_expire() {
            stripe.remove(self.db, key);
            stripe.changed(self.db, key.bytes);
            self.effects.delete(self.db, key.bytes);
            self.stats.expired.add(1);
            self.stats.memcached.expired_unfetched.add(u64::from(!fetched));
            self.node.notify(Class::EXPIRED, self.db, "expired", key.bytes);
            // A command that only reads reports no growth at its end.
            self.node.store.report_growth(stripe.take_growth());
        }
    }

    /// Some fields of the hash at a key are due.
    #[cold]
    fn expire_fields(&mut self, key: &Key<'_>) {
        let (node, db, now_ms) = (self.node, self.db, self.now_ms);
        let stripe = self.access.stripe(key.slot);
        if node.may_expire() {
            loop {
                let count = expiry::remove_fields(node, stripe, db, key, now_ms, self.effects);
                self.stats.expired_fields.add(count as u64);
                if count < expiry::FIELDS_AT_ONCE {
                    break;
                }
            }
            node.store.report_growth(stripe.take_growth());
        } else {
            stripe.update(db, key, |entry| entry.as_collection_mut::<HashValue>().map(|h| h.hide(now_ms)));
        }
    }

    /// Meta data for a new entry: fresh version, used now.
    pub fn fresh_meta(&mut self, key: &Key<'_>) -> Meta {
        let access = self.node.eviction.arrival(self.node.eviction_clock(self.now_ms), key.hash);
        self.access.stripe(key.slot).fresh_meta(access)
    }

    /// Whether a value that is about to be stored makes a new key, where somebody wants to know. What has expired is
    /// removed before, and told of.
    #[inline]
    fn is_news(&mut self, key: &Key<'_>) -> bool {
        let wanted = self.node.notify_classes();
        if !wanted.contains(Class::NEW) && !wanted.contains(Class::EXPIRED) {
            return false;
        }
        self.expire_if_due(key);
        wanted.contains(Class::NEW) && self.access.stripe(key.slot).peek(self.db, key).is_none()
    }

    /// Stores a string under the key, whatever was there; expiry and memcached flags are those of `meta`.
    pub fn put_string(&mut self, key: &Key<'_>, value: &[u8], expire_ms: Option<u64>, mc_flags: u32) {
        self.put_marked(key, value, expire_ms, mc_flags, Marks::default());
    }

    /// As [`Cx::put_string`], with marks.
    pub fn put_marked(
        &mut self,
        key: &Key<'_>,
        value: &[u8],
        expire_ms: Option<u64>,
        mc_flags: u32,
        marks: Marks,
    ) {
        let new = self.is_news(key);
        let mut meta = Meta { expire_ms, mc_flags, marks, ..self.fresh_meta(key) };
        // How often a key is used outlives its value; when it was used is now either way.
        let clock = self.clock();
        if clock.keeps_history()
            && let Some(old) = self.access.stripe(key.slot).peek(self.db, key)
        {
            meta.access = clock.touched(old.access());
        }
        let received = if value.len() < ADOPT_BYTES { None } else { self.session.received.as_ref() };
        let adopted = received.and_then(|buffer| Adopted::of(buffer, value));
        let stripe = self.access.stripe(key.slot);
        let old = match adopted {
            Some(adopted) => stripe.insert(self.db, key, LooseEntry::object(Value::Adopted(adopted), &meta)),
            None => stripe.set_string(self.db, key, value, &meta),
        };
        self.node.drop_later(old);
        self.commit_put(key);
        if new {
            self.notify(Class::NEW, "new", key.bytes);
        }
    }

    /// Stores a string that expires at a time which may have passed already: then the key is removed instead, and the
    /// answer is false.
    pub fn put_string_until(&mut self, key: &Key<'_>, value: &[u8], expire_ms: Option<u64>) -> bool {
        if expire_ms.is_some_and(|at| at <= self.now_ms) {
            if !self.delete(key) {
                self.dirty += 1;
            }
            return false;
        }
        self.put_string(key, value, expire_ms, 0);
        true
    }

    /// Stores a value of any type under the key, whatever was there.
    pub fn put_value(&mut self, key: &Key<'_>, value: Value, expire_ms: Option<u64>) {
        let meta = Meta { expire_ms, ..self.fresh_meta(key) };
        self.put_entry(key, LooseEntry::object(value, &meta));
    }

    /// Changes a live entry in place (its key must exist): a new version, watchers told; the caller records the
    /// effect, with the version that is answered, or calls [`Cx::record_put`].
    pub fn update<R>(
        &mut self,
        key: &Key<'_>,
        change: impl FnOnce(&mut EntryMut<'_>) -> R,
    ) -> Option<(R, u32)> {
        let access = self.clock();
        let stripe = self.access.stripe(key.slot);
        let version = stripe.next_version();
        let result = stripe.update(self.db, key, |e| {
            e.set_version(version);
            e.set_access(access.touched(e.access()));
            change(e)
        })?;
        stripe.changed(self.db, key.bytes);
        self.dirty += 1;
        Some((result, version))
    }

    /// Replaces a live string, keeping its expiry and flags.
    pub fn replace_string(&mut self, key: &Key<'_>, value: &[u8]) {
        if self.update(key, |e| e.set_string(value)).is_some() {
            self.record_put(key);
        } else {
            self.put_string(key, value, None, 0);
        }
    }

    /// Marks the entry of a key for OBJECT ENCODING; nothing that anything else could see.
    pub fn mark(&mut self, key: &Key<'_>, mark: impl FnOnce(&mut EntryMut<'_>)) {
        self.access.stripe(key.slot).update(self.db, key, mark);
    }

    /// Adds to the end of a live string; answers its new length.
    pub fn append(&mut self, key: &Key<'_>, tail: &[u8]) -> usize {
        let done = self.update(key, |e| {
            e.modify_string(|value| value.extend_from_slice(tail));
            e.as_string().map_or(0, <[u8]>::len)
        });
        let Some((len, version)) = done else { return 0 };
        self.effects.append(self.db, key.bytes, version, tail);
        len
    }

    /// Writes into a string (which must be one, or missing) at an offset; answers its new length.
    pub fn patch(&mut self, key: &Key<'_>, offset: usize, bytes: &[u8]) -> usize {
        if let Some((len, version)) = self.update(key, |e| e.patch(offset, bytes).unwrap_or(0)) {
            self.effects.patch(self.db, key.bytes, version, offset as u64, bytes);
            return len;
        }
        let meta = self.fresh_meta(key);
        let mut entry = LooseEntry::string(b"", &meta);
        let len = entry.patch(offset, bytes);
        let stripe = self.access.stripe(key.slot);
        stripe.insert(self.db, key, entry);
        stripe.changed(self.db, key.bytes);
        self.dirty += 1;
        self.effects.patch(self.db, key.bytes, meta.version, offset as u64, bytes);
        self.notify(Class::NEW, "new", key.bytes);
        len
    }

    /// As [`Cx::read_as`], with the reply's writer at hand, so that elements go to the reply without a copy between.
    pub fn read_as_and<'s, V: View<'s>, R>(
        &'s mut self,
        key: &Key<'_>,
        then: impl FnOnce(Option<V>, ReplyWriter<'s>) -> R,
    ) -> Result<R, CommandError> {
        self.read_and(key, |entry, reply| match entry.map(Entry::as_collection::<V>) {
            None => Ok(then(None, reply)),
            Some(Some(collection)) => Ok(then(Some(collection), reply)),
            Some(None) => Err(CommandError::WrongType),
        })
    }

    /// The collections at several keys, all at once, with the reply's buffer; `None` where there is no key. Each key is
    /// read as by [`Cx::read_as`], one after another, and the first of another type is an error.
    pub fn read_many<'s, C: Collection + 'static>(
        &'s mut self,
        keys: &[Key<'_>],
    ) -> Result<(Found<'s, C>, &'s mut Vec<u8>), CommandError>
    where
        for<'v> &'v C: View<'v>,
    {
        for key in keys {
            self.read_as::<&C>(key)?;
        }
        let (access, db, now_ms) = (&self.access, self.db, self.now_ms);
        let of = |key: &Key<'_>| access.get(key.slot)?.get(db, key, now_ms)?.as_collection();
        Ok((keys.iter().map(of).collect(), self.out))
    }

    /// Tells those who subscribe to keyspace events that `event` (Redis's name of it) happened to the key.
    #[inline]
    pub fn notify(&mut self, class: Class, event: &'static str, key: &[u8]) {
        self.node.notify(class, self.db, event, key);
    }

    /// As [`Cx::notify`], for elements that were removed from a collection: if it went with its last one, that is told
    /// as well.
    pub fn notify_removal(&mut self, class: Class, event: &'static str, key: &Key<'_>) {
        self.notify(class, event, key.bytes);
        if self.node.notify_classes().contains(Class::GENERIC)
            && self.access.stripe(key.slot).peek(self.db, key).is_none()
        {
            self.notify(Class::GENERIC, "del", key.bytes);
        }
    }

    /// What a change of a collection needs to know of the store.
    #[inline]
    pub fn env(&self) -> Env {
        if self.versioned_env.is_of(self.node) { self.versioned_env.env } else { self.node.env() }
    }

    /// Lets those look again who wait for a key in a blocking command, for what [`Cx::revise`] did and watchers are not
    /// told.
    pub fn wake(&mut self, key: &Key<'_>) {
        self.access.stripe(key.slot).ready(self.db, key.bytes);
    }

    /// Records the whole entry as the effect of what was done to it.
    pub fn record_put(&mut self, key: &Key<'_>) {
        if self.effects.is_enabled()
            && let Some(entry) = self.access.stripe(key.slot).peek(self.db, key)
        {
            self.effects.put(self.db, key.bytes, entry);
        }
    }

    fn commit_put(&mut self, key: &Key<'_>) {
        self.access.stripe(key.slot).changed(self.db, key.bytes);
        self.dirty += 1;
        self.record_put(key);
    }

    /// Sets or clears the expiry of a live entry. A time that has passed removes the key: then the answer is false.
    pub fn set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) -> bool {
        if at_ms.is_some_and(|at| at <= self.now_ms) && self.node.may_expire() {
            self.delete(key);
            return false;
        }
        if let Some(((), version)) = self.update(key, |e| e.set_expire_ms(at_ms)) {
            self.effects.expire(self.db, key.bytes, version, at_ms);
        }
        true
    }

    /// Sets or clears the expiry of a live entry whose version stays (memcached's touch): nothing else changed.
    pub fn keep_version_set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) {
        let access = self.node.eviction_clock(self.now_ms);
        let stripe = self.access.stripe(key.slot);
        let version = stripe.update(self.db, key, |e| {
            e.set_access(access.touched(e.access()));
            e.set_fetched();
            e.set_expire_ms(at_ms);
            e.version()
        });
        if let Some(version) = version {
            stripe.changed(self.db, key.bytes);
            self.dirty += 1;
            self.effects.expire(self.db, key.bytes, version, at_ms);
        }
    }

    /// Changes expiry and marks of a live entry, whose value stays: `new_version` says whether its CAS value changes.
    /// Answers its meta data.
    pub fn mark_entry(
        &mut self,
        key: &Key<'_>,
        new_version: bool,
        change: impl FnOnce(&mut EntryMut<'_>),
    ) -> Option<Meta> {
        let stripe = self.access.stripe(key.slot);
        let version = new_version.then(|| stripe.next_version());
        let meta = stripe.update(self.db, key, |e| {
            if let Some(version) = version {
                e.set_version(version);
            }
            change(e);
            e.meta()
        })?;
        stripe.changed(self.db, key.bytes);
        self.dirty += 1;
        self.effects.mark(self.db, key.bytes, &meta);
        Some(meta)
    }

    /// Nothing can be served now: the request waits for its keys, and its handler runs again when one of them may
    /// bring something. Inside MULTI and in scripts nothing waits: the null is written at once.
    ///
    /// See [`crate::blocked`] for what a handler has to keep in mind.
    pub fn block(&mut self, block: Block) {
        if self.depth == Depth::Command && !self.no_wait {
            self.flow = Flow::Park(Park::Keys(Box::new(block)));
        } else {
            block.null.write(&mut self.reply());
        }
    }

    /// Runs `then` in another database.
    pub fn in_database<R>(&mut self, db: u8, then: impl FnOnce(&mut Self) -> R) -> R {
        let here = std::mem::replace(&mut self.db, db);
        let result = then(self);
        self.db = here;
        result
    }

    /// Moves the live entry of a key, expiry and flags with it, to another key or database, over what is there.
    pub fn rename(&mut self, from: &Key<'_>, to: &Key<'_>, to_db: u8) {
        let stripe = self.access.stripe(from.slot);
        let Some(entry) = stripe.take(self.db, from) else { return };
        stripe.changed(self.db, from.bytes);
        self.dirty += 1;
        self.effects.delete(self.db, from.bytes);
        let version = self.access.stripe(to.slot).next_version();
        let meta = Meta { version, ..entry.meta() };
        self.in_database(to_db, |cx| cx.put_in_place(to, entry.with_meta(&meta)));
    }

    /// Puts a copy of the live entry of a key, expiry and flags with it, under another key or into another
    /// database, over what is there.
    pub fn copy(&mut self, from: &Key<'_>, to: &Key<'_>, to_db: u8) {
        let version = self.access.stripe(to.slot).next_version();
        let Some(entry) = self.peek(from) else { return };
        let meta = Meta { version, ..entry.meta() };
        let copy = entry.copy(&meta);
        self.in_database(to_db, |cx| cx.put_in_place(to, copy));
    }

    /// Stores an entry under a key that is new whatever was there: Redis removes that first.
    fn put_in_place(&mut self, key: &Key<'_>, entry: LooseEntry) {
        self.is_news(key);
        let old = self.access.stripe(key.slot).insert(self.db, key, entry);
        self.node.drop_later(old);
        self.commit_put(key);
        self.notify(Class::NEW, "new", key.bytes);
    }

    fn put_entry(&mut self, key: &Key<'_>, entry: LooseEntry) {
        let new = self.is_news(key);
        let old = self.access.stripe(key.slot).insert(self.db, key, entry);
        self.node.drop_later(old);
        self.commit_put(key);
        if new {
            self.notify(Class::NEW, "new", key.bytes);
        }
    }

    /// Calls `visit` with each stripe, one after another: commands over the whole store. Inside a transaction
    /// or script only those that were locked before can be visited; its admission has locked them all.
    pub fn for_each_stripe(&mut self, mut visit: impl FnMut(&mut Self, u16)) -> CommandResult {
        for index in 0..STRIPES as u16 {
            self.with_stripe(index, |cx| visit(cx, index))?;
        }
        Ok(())
    }

    /// Whether stripe `index` is locked by this command, transaction or script.
    pub fn holds_stripe(&self, index: u16) -> bool {
        self.access.covers(index * SLOTS_PER_STRIPE as u16)
    }

    /// A stripe that is locked; see [`Cx::with_stripe`].
    pub fn stripe(&mut self, index: u16) -> &mut Stripe {
        self.access.stripe(index * SLOTS_PER_STRIPE as u16)
    }

    /// Calls `visit` while stripe `index` is locked, by this call or before.
    pub fn with_stripe<R>(
        &mut self,
        index: u16,
        visit: impl FnOnce(&mut Self) -> R,
    ) -> Result<R, CommandError> {
        let slot = index * SLOTS_PER_STRIPE as u16;
        if self.access.covers(slot) {
            return Ok(visit(self));
        }
        if self.depth != Depth::Command {
            return Err(CommandError::Undeclared);
        }
        // Nothing else is held here: a command without keys comes without locks.
        let one = self.node.store.access_one(slot)?;
        let outer = std::mem::replace(&mut self.access, one);
        let result = visit(self);
        self.access.nudge_ready();
        let growth = self.access.take_growth();
        self.node.store.report_growth(growth);
        self.access = outer;
        Ok(result)
    }

    /// Locks the whole store for the rest of this command (FLUSHALL, SWAPDB).
    pub fn lock_whole_store(&mut self) -> CommandResult {
        if self.access.len() == STRIPES {
            return Ok(());
        }
        if self.depth != Depth::Command {
            return Err(CommandError::Undeclared);
        }
        self.access = Access::none();
        self.access = self.node.store.access_all()?;
        Ok(())
    }

    /// Removes a key; true when it was there (and had not expired).
    pub fn delete(&mut self, key: &Key<'_>) -> bool {
        self.expire_if_due(key);
        let stripe = self.access.stripe(key.slot);
        let Some(old) = stripe.remove(self.db, key) else { return false };
        stripe.changed(self.db, key.bytes);
        self.dirty += 1;
        self.effects.delete(self.db, key.bytes);
        self.node.drop_later(Some(old));
        true
    }
}
