//! A stripe: all keys of sixteen neighbouring slots, under one lock.
//!
//! Owner: the store's mutex of this stripe. Everything that happens to a key goes through the methods here,
//! so that the expiry index, the memory account and the watchers can never disagree with the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::AHashMap;
use torc_cluster::lock::FenceTable;
use torc_cluster::request_ids::Remembered;
use torc_protocol::slot::{Slot, key_slot};

use super::entry::{
    self, COMPACT_VALUE_MAX, Entry, EntryMut, EntryShape, LooseEntry, Meta, ObjectMut, Removed, Weight,
};
use super::expiry::{Due, ExpiryIndex};
use super::hash::KeyHasher;
use super::records::{Record, Records, Slab, Thrift};
use super::tracked::Tracked;
use super::value::Value;
use crate::blocked::{Queues, Waiter};
use crate::pubsub::Tracker;

/// Databases that SELECT knows.
pub const DATABASES: usize = 16;

/// A key as the store wants it: bytes with what was computed from them.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key itself.
    pub bytes: &'a [u8],
    /// Its hash under the store's hasher.
    pub hash: u64,
    /// Its slot.
    pub slot: Slot,
}

/// What [`Stripe::next_expired`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The key's database.
    pub db: u8,
    /// The key.
    pub key: Box<[u8]>,
    /// The key stays, fields of its hash are due.
    pub fields_only: bool,
}

/// What [`Stripe::update_object`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated<R> {
    /// No entry: nothing was called.
    Missing,
    /// A string in its record: nothing was called.
    Other,
    /// What the change answered.
    Object(R),
}

/// Set by the stripe when a watched key changes.
pub type WatchFlag = Arc<AtomicBool>;

/// Connections that watch one key may not exceed this; the oldest flag is raised (its transaction aborts) instead.
const MAX_WATCHERS_PER_KEY: usize = 10_000;

/// Below this many watched keys nobody looks for closed connections among their watchers.
const SWEEP_MIN: usize = 64;

/// One database's part of a stripe, with what would be slow to count.
#[derive(Debug)]
struct Part {
    table: Entries,
    /// Heap bytes of values outside the records.
    beside_bytes: usize,
    /// Entries with an expiry.
    expiring: usize,
    /// Hashes with fields that expire.
    timed: usize,
}

/// The table of one database's entries.
pub type Entries = Records<EntryShape>;

impl Part {
    fn new(hasher: KeyHasher) -> Part {
        Part { table: Records::new(hasher), beside_bytes: 0, expiring: 0, timed: 0 }
    }

    /// An entry of weight `old` has become one of weight `new`.
    #[inline]
    fn account(&mut self, old: Weight, new: Weight) {
        self.beside_bytes = self.beside_bytes + new.beside - old.beside;
        self.expiring =
            self.expiring + usize::from(new.expire_ms.is_some()) - usize::from(old.expire_ms.is_some());
        self.timed = self.timed + usize::from(new.field_ms.is_some()) - usize::from(old.field_ms.is_some());
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Stripe {
    hasher: KeyHasher,
    parts: Vec<Part>,
    expiry: ExpiryIndex,
    watchers: AHashMap<(u8, Box<[u8]>), Vec<WatchFlag>>,
    /// Keys whose values proxies keep; most stripes have none.
    tracked: Option<Box<Tracked>>,
    /// Queues of requests that wait for a key; most stripes have none.
    blocked: Option<Box<Queues>>,
    /// Number of watched keys at which those of closed connections are looked for.
    sweep_at: usize,
    /// Fencing registers by slot; most stripes never have any.
    fences: Option<Box<AHashMap<Slot, FenceTable>>>,
    /// Replies to request ids; made at the first one.
    remembered: Option<Box<Remembered>>,
    reported_bytes: usize,
    version: u32,
}

impl Stripe {
    pub(super) fn new(hasher: KeyHasher) -> Stripe {
        Stripe {
            hasher,
            parts: Vec::new(),
            expiry: ExpiryIndex::default(),
            watchers: AHashMap::new(),
            tracked: None,
            blocked: None,
            sweep_at: SWEEP_MIN,
            fences: None,
            remembered: None,
            reported_bytes: 0,
            version: 0,
        }
    }

    #[inline]
    fn table(&self, db: u8) -> Option<&Entries> {
        self.parts.get(db as usize).map(|p| &p.table)
    }

    fn part(&mut self, db: u8) -> &mut Part {
        let index = db as usize;
        let hasher = self.hasher;
        if self.parts.len() <= index {
            self.parts.reserve_exact(index + 1 - self.parts.len());
            self.parts.resize_with(index + 1, || Part::new(hasher));
        }
        &mut self.parts[index]
    }

    /// The entry, whether it has expired or not.
    #[inline]
    pub fn peek(&self, db: u8, key: &Key<'_>) -> Option<Entry<'_>> {
        self.table(db)?.get(key.hash, key.bytes).map(Entry::from)
    }

    /// The entry if it has not expired at `now_ms`.
    #[inline]
    pub fn get(&self, db: u8, key: &Key<'_>, now_ms: u64) -> Option<Entry<'_>> {
        self.peek(db, key).filter(|e| e.expire_ms().is_none_or(|at| at > now_ms))
    }

    /// Whether any entry may have expired at `now_ms`; costs no look into the tables.
    #[inline]
    pub fn any_due(&self, now_ms: u64) -> bool {
        self.expiry.any_due(now_ms)
    }

    /// The entry if it has not expired at `now_ms`, with its use noted (`None`: leave it alone).
    #[inline]
    pub fn get_used(
        &mut self,
        db: u8,
        key: &Key<'_>,
        now_ms: u64,
        access: Option<impl FnOnce(u32) -> u32>,
    ) -> Option<Entry<'_>> {
        let (record, values) = self.parts.get_mut(db as usize)?.table.get_mut(key.hash, key.bytes)?;
        if Entry::from(Record { bytes: record, values }).expire_ms().is_some_and(|at| at <= now_ms) {
            return None;
        }
        if let Some(access) = access {
            entry::note_use(record, access);
        }
        Some(Record { bytes: record, values }.into())
    }

    /// What a lookup of this hash reads first, for a prefetch.
    #[inline]
    pub fn index_line(&self, db: u8, hash: u64) -> Option<&impl Sized> {
        self.table(db)?.index_line(hash)
    }

    /// The first bytes of the entry that a lookup of this hash most likely finds: by its tag alone, without a look at
    /// the entry.
    #[inline]
    pub fn likely(&self, db: u8, hash: u64) -> Option<&[u8]> {
        self.table(db)?.likely(hash)
    }

    /// Every change of an entry's expiry, or of that of its fields, ends here, after the tables have it.
    #[inline]
    fn expiry_changed(&mut self, old: Weight, new: Weight, hash: u64, db: u8) {
        if old.expire_ms == new.expire_ms && old.field_ms == new.field_ms {
            return;
        }
        for (old, new) in [(old.expire_ms, new.expire_ms), (old.field_ms, new.field_ms)] {
            if let Some(at_ms) = new.filter(|_| old != new) {
                self.expiry.push(Due { at_ms, hash, db });
            }
        }
        let live = self.parts.iter().map(|p| p.expiring + p.timed).sum();
        if self.expiry.is_stale(live) {
            let parts = &self.parts;
            self.expiry.tidy(|due| {
                let table = parts.get(due.db as usize).map(|p| &p.table);
                let is_due = |e: Entry<'_>| [e.expire_ms(), e.field_ms()].contains(&Some(due.at_ms));
                table.and_then(|t| t.find_by_hash(due.hash, |r| is_due(r.into()))).is_some()
            });
        }
    }

    /// Changes an entry in place; its bytes and expiry are accounted anew afterwards. `None` when there is no
    /// such entry. Expiry is not looked at.
    pub fn update<R>(
        &mut self,
        db: u8,
        key: &Key<'_>,
        change: impl FnOnce(&mut EntryMut<'_>) -> R,
    ) -> Option<R> {
        let part = self.parts.get_mut(db as usize)?;
        let (result, old, new) = part.table.update(key.hash, key.bytes, |record| {
            let mut entry = EntryMut::from(record);
            let old = entry.weight();
            let result = change(&mut entry);
            (result, old, entry.weight())
        })?;
        part.account(old, new);
        self.expiry_changed(old, new, key.hash, db);
        Some(result)
    }

    /// As [`Stripe::update`], for a value that changes in place, as collections do.
    #[inline]
    pub fn update_object<R>(
        &mut self,
        db: u8,
        key: &Key<'_>,
        change: impl FnOnce(&mut ObjectMut<'_>) -> R,
    ) -> Updated<R> {
        let Some(part) = self.parts.get_mut(db as usize) else { return Updated::Missing };
        let Some((record, values)) = part.table.parts_mut(key.hash, key.bytes) else {
            return Updated::Missing;
        };
        let Some(mut object) = ObjectMut::of(record, values) else { return Updated::Other };
        let old = object.weight();
        let result = change(&mut object);
        let (new, late_version) = (object.weight(), object.late_version());
        let outgrown = object.finish();
        part.account(old, new);
        if old.field_ms != new.field_ms {
            self.expiry_changed(old, new, key.hash, db);
        }
        if let Some(value) = outgrown {
            self.update(db, key, |entry| entry.put_beside(value));
        }
        if let Some(version) = late_version {
            self.update(db, key, |entry| entry.set_version(version));
        }
        Updated::Object(result)
    }

    /// Stores an entry, replacing one with the same key. Answers what is left of that one.
    pub fn insert(&mut self, db: u8, key: &Key<'_>, entry: LooseEntry) -> Option<Removed> {
        let new = entry.weight();
        let part = self.part(db);
        let mut entry = Some(entry);
        let replaced = part.table.update(key.hash, key.bytes, |record| {
            let mut old = EntryMut::from(record);
            let weight = old.weight();
            let removed = entry.take().map(|entry| old.put(key.bytes, entry));
            (removed, weight)
        });
        if let Some(entry) = entry {
            part.table.insert_new(key.hash, entry.record_len(key.bytes), |out, values| {
                entry.write(key.bytes, out, values);
            });
        }
        let (removed, old) = replaced.unwrap_or_default();
        part.account(old, new);
        self.expiry_changed(old, new, key.hash, db);
        removed
    }

    /// Stores a string, replacing what the key holds; in place when that has the same shape. Answers what is left of
    /// the entry that was replaced, if one was.
    pub fn set_string(&mut self, db: u8, key: &Key<'_>, value: &[u8], meta: &Meta) -> Option<Removed> {
        let part = self.part(db);
        let replaced = part.table.update(key.hash, key.bytes, |record| {
            let mut entry = EntryMut::from(record);
            let old = entry.weight();
            (entry.put_string(value, meta), old, entry.weight())
        });
        if let Some((removed, old, new)) = replaced {
            part.account(old, new);
            self.expiry_changed(old, new, key.hash, db);
            return Some(removed);
        }
        if value.len() > COMPACT_VALUE_MAX {
            return self.insert(db, key, LooseEntry::string(value, meta));
        }
        let new = Weight { expire_ms: meta.expire_ms, ..Weight::default() };
        part.account(Weight::default(), new);
        part.table.insert_new(key.hash, entry::string_len(key.bytes, value, meta), |out, _| {
            entry::write_string(out, key.bytes, value, meta);
        });
        self.expiry_changed(Weight::default(), new, key.hash, db);
        None
    }

    /// Takes an entry out. Answers what is left of it.
    pub fn remove(&mut self, db: u8, key: &Key<'_>) -> Option<Removed> {
        self.take_out(db, key, Thrift::Easy, entry::remove)
    }

    /// Takes an entry out because memory is short: what it took is to be had at once.
    pub fn evict(&mut self, db: u8, key: &Key<'_>) -> Option<Removed> {
        self.take_out(db, key, Thrift::Strict, entry::remove)
    }

    /// Takes an entry out, to be put somewhere else.
    pub fn take(&mut self, db: u8, key: &Key<'_>) -> Option<LooseEntry> {
        self.take_out(db, key, Thrift::Easy, entry::take)
    }

    fn take_out<R>(
        &mut self,
        db: u8,
        key: &Key<'_>,
        thrift: Thrift,
        last: impl FnOnce(&[u8], &mut Slab<Value>) -> R,
    ) -> Option<R> {
        let part = self.parts.get_mut(db as usize)?;
        let (result, old) = part.table.remove(key.hash, key.bytes, thrift, |record, values| {
            let old = Entry::from(Record { bytes: record, values }).weight();
            (last(record, values), old)
        })?;
        part.account(old, Weight::default());
        self.expiry_changed(old, Weight::default(), key.hash, db);
        Some(result)
    }

    /// A version that no entry of this stripe has had lately; never 0.
    pub fn next_version(&mut self) -> u32 {
        self.version = self.version.checked_add(1).unwrap_or(1);
        self.version
    }

    /// A replica learns the versions that its primary gave.
    pub fn saw_version(&mut self, version: u32) {
        self.version = self.version.max(version);
    }

    /// Raises the flags of those who watch this key, tells the proxies that keep its value, and notes it as ready for
    /// those who wait for it.
    #[inline]
    pub fn changed(&mut self, db: u8, key: &[u8]) {
        self.ready(db, key);
        if self.tracked.is_some() {
            self.tell_tracked(|tracked| tracked.changed(db, key));
        }
        if !self.watchers.is_empty()
            && let Some(flags) = self.watchers.remove(&(db, Box::from(key)))
        {
            flags.iter().for_each(|f| f.store(true, Ordering::Relaxed));
        }
    }

    /// From now on `tracker` is told when the key changes, once. False: the key cannot be noted.
    pub fn track(&mut self, db: u8, key: &[u8], tracker: &Arc<Tracker>) -> bool {
        self.tracked.get_or_insert_default().add(db, key, tracker)
    }

    #[cold]
    fn tell_tracked(&mut self, tell: impl FnOnce(&mut Tracked)) {
        if let Some(tracked) = &mut self.tracked {
            tell(tracked);
            if tracked.is_empty() {
                self.tracked = None;
            }
        }
    }

    /// From now on `flag` is raised when the key changes. False when it would be already.
    pub fn watch(&mut self, db: u8, key: &[u8], flag: &WatchFlag) -> bool {
        if self.watchers.len() >= self.sweep_at {
            self.sweep_watchers();
            self.sweep_at = (2 * self.watchers.len()).max(SWEEP_MIN);
        }
        let flags = self.watchers.entry((db, key.into())).or_default();
        if flags.iter().any(|f| Arc::ptr_eq(f, flag)) {
            return false;
        }
        flags.retain(|f| Arc::strong_count(f) > 1);
        if flags.len() >= MAX_WATCHERS_PER_KEY {
            flags.remove(0).store(true, Ordering::Relaxed);
        }
        flags.push(flag.clone());
        true
    }

    /// `flag` has nothing to do with the key any more.
    pub fn unwatch(&mut self, db: u8, key: &[u8], flag: &WatchFlag) {
        let Some(flags) = self.watchers.get_mut(&(db, Box::from(key))) else { return };
        flags.retain(|f| !Arc::ptr_eq(f, flag));
        if flags.is_empty() {
            self.watchers.remove(&(db, Box::from(key)));
        }
    }

    /// The key may bring something to those who wait for it.
    #[inline]
    pub fn ready(&mut self, db: u8, key: &[u8]) {
        if let Some(queues) = &mut self.blocked {
            queues.touched(db, key);
        }
    }

    /// Puts a waiter at the end of a key's queue.
    pub fn enqueue(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        self.blocked.get_or_insert_default().push(key, waiter);
    }

    /// Takes a waiter out of a key's queue.
    pub fn leave(&mut self, db: u8, key: &[u8], ticket: u64) {
        if let Some(queues) = &mut self.blocked {
            queues.leave(db, key, ticket);
            if queues.is_empty() {
                self.blocked = None;
            }
        }
    }

    /// The queues of keys that somebody waits for, if there are any.
    pub fn queues(&mut self) -> Option<&mut Queues> {
        self.blocked.as_deref_mut()
    }

    /// When the first key became ready that somebody waits for; `None`: there is none.
    #[inline]
    pub fn first_ready(&self) -> Option<u64> {
        self.blocked.as_ref()?.first_ready()
    }

    /// Whoever changed keys outside of a command lets those who wait for them try by themselves.
    #[inline]
    pub fn nudge_ready(&mut self) {
        if let Some(queues) = &mut self.blocked {
            queues.nudge_ready();
        }
    }

    /// Drops watchers whose connection is gone.
    fn sweep_watchers(&mut self) {
        self.watchers.retain(|_, flags| {
            flags.retain(|f| Arc::strong_count(f) > 1);
            !flags.is_empty()
        });
    }

    /// The keys of a database that somebody watches.
    pub fn watched(&self, db: u8) -> impl Iterator<Item = Box<[u8]>> {
        self.watchers.keys().filter(move |(watched, _)| *watched == db).map(|(_, key)| key.clone())
    }

    /// Tells those who watch a key of `db` that holds something, in this database or in `replaced_by`.
    fn changed_all(&mut self, db: u8, replaced_by: Option<u8>) {
        let (parts, hasher) = (&self.parts, self.hasher);
        let holds = |db: u8, key: &[u8]| {
            parts.get(db as usize).is_some_and(|p| p.table.get(hasher.hash(key), key).is_some())
        };
        self.watchers.retain(|(watched, key), flags| {
            let hit =
                *watched == db && (holds(db, key) || replaced_by.is_some_and(|other| holds(other, key)));
            if hit {
                flags.iter().for_each(|f| f.store(true, Ordering::Relaxed));
            }
            !hit
        });
    }

    /// The next key that is due for removal at `now_ms`, or has fields that are; still in the table.
    pub fn next_expired(&mut self, now_ms: u64) -> Option<Expired> {
        while let Some(due) = self.expiry.pop_due(now_ms) {
            let Some(table) = self.table(due.db) else { continue };
            // Entries are found again by hash: the index does not keep keys.
            let passed = |at: Option<u64>| at.is_some_and(|at| at <= now_ms);
            let is_due = |e: Entry<'_>| passed(e.expire_ms()) || passed(e.field_ms());
            if let Some(found) = table.find_by_hash(due.hash, |r| is_due(r.into())) {
                let entry = Entry::from(found);
                let fields_only = !passed(entry.expire_ms());
                return Some(Expired { db: due.db, key: entry.key().into(), fields_only });
            }
        }
        None
    }

    /// Fields of a hash were left over that are due: [`Stripe::next_expired`] gives it again.
    pub fn expire_again(&mut self, db: u8, key: &Key<'_>) {
        if let Some(at_ms) = self.peek(db, key).and_then(Entry::field_ms) {
            self.expiry.push(Due { at_ms, hash: key.hash, db });
        }
    }

    /// Number of entries in one database, expired ones that are still there included.
    pub fn len(&self, db: u8) -> usize {
        self.table(db).map_or(0, Records::len)
    }

    /// Databases that hold something.
    pub fn databases(&self) -> impl Iterator<Item = u8> + '_ {
        (0u8..).zip(&self.parts).filter(|(_, p)| !p.table.is_empty()).map(|(db, _)| db)
    }

    /// About `count` databases and times at which something of them expires.
    pub fn sample_expiries(&self, count: usize) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.expiry.sample(count)
    }

    /// Keys with an expiry, all databases.
    pub fn expiring(&self) -> usize {
        self.parts.iter().map(|p| p.expiring).sum()
    }

    /// Keys with an expiry in one database.
    pub fn expiring_in(&self, db: u8) -> usize {
        self.parts.get(db as usize).map_or(0, |p| p.expiring)
    }

    /// All entries of one database.
    pub fn iter(&self, db: u8) -> impl Iterator<Item = Entry<'_>> {
        self.table(db).into_iter().flat_map(Records::iter).map(Entry::from)
    }

    /// The fencing registers of a slot, made at the first use.
    pub fn fences_mut(&mut self, slot: Slot) -> &mut FenceTable {
        self.fences.get_or_insert_default().entry(slot).or_default()
    }

    /// Fencing registers of all slots that have any.
    pub fn fences(&self) -> impl Iterator<Item = (Slot, &FenceTable)> {
        self.fences.iter().flat_map(|fences| fences.iter().map(|(slot, table)| (*slot, table)))
    }

    /// Replies to request ids, if there are any.
    pub fn remembered(&self) -> Option<&Remembered> {
        self.remembered.as_deref()
    }

    /// Replies to request ids, made at the first use.
    pub fn remembered_mut(&mut self) -> &mut Remembered {
        self.remembered.get_or_insert_default()
    }

    /// Drops all fencing registers and remembered replies: the stripe gets somebody else's. Answers the bytes that the
    /// registers took.
    pub fn clear_sides(&mut self) -> usize {
        let bytes = self.fences().map(|(_, table)| table.bytes()).sum();
        self.fences = None;
        self.remembered = None;
        bytes
    }

    /// Number of entries of one slot (walks the stripe's table).
    pub fn len_of_slot(&self, db: u8, slot: Slot) -> usize {
        self.iter(db).filter(|e| key_slot(e.key()) == slot).count()
    }

    /// See [`Records::scan`].
    pub fn scan<'s>(
        &'s self,
        db: u8,
        from: u64,
        count: usize,
        mut visit: impl FnMut(Entry<'s>),
    ) -> Option<u64> {
        self.table(db)?.scan(from, count, |record| visit(record.into()))
    }

    /// See [`Records::sample`].
    pub fn sample(&self, db: u8, r: u64) -> Option<Entry<'_>> {
        self.table(db)?.sample(r).map(Entry::from)
    }

    /// Takes everything out of one database, or of all; the caller drops it where that hurts nobody.
    pub fn flush(&mut self, db: Option<u8>) -> Vec<Entries> {
        let hasher = self.hasher;
        let mut taken = Vec::new();
        if let Some(queues) = &mut self.blocked {
            queues.touched_all(db);
        }
        if self.tracked.is_some() {
            self.tell_tracked(|tracked| tracked.changed_all(|of| db.is_none_or(|db| db == of)));
        }
        if !self.watchers.is_empty() {
            (0..DATABASES as u8)
                .filter(|n| db.is_none_or(|db| db == *n))
                .for_each(|n| self.changed_all(n, None));
        }
        for (index, part) in self.parts.iter_mut().enumerate() {
            if db.is_none_or(|db| db as usize == index) && !part.table.is_empty() {
                taken.push(std::mem::replace(part, Part::new(hasher)).table);
            }
        }
        // What is left of the flushed keys in the index is skipped when it comes up.
        if self.parts.iter().all(|p| p.expiring + p.timed == 0) {
            self.expiry.clear();
        }
        taken
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: u8, b: u8) {
        self.part(a.max(b));
        if let Some(queues) = &mut self.blocked {
            queues.touched_all(Some(a));
            queues.touched_all(Some(b));
        }
        self.tell_tracked(|tracked| tracked.changed_all(|of| of == a || of == b));
        self.changed_all(a, Some(b));
        self.changed_all(b, Some(a));
        self.parts.swap(a as usize, b as usize);
        self.expiry.swap(a, b);
    }

    /// Bytes of entries, tables and indexes.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.parts.iter().map(|p| p.beside_bytes + p.table.bytes()).sum::<usize>() + self.expiry.heap_bytes()
    }

    /// [`Stripe::used_bytes`] and [`Stripe::expiring`] counted anew from the entries: tests compare.
    pub fn recount(&self) -> (usize, usize) {
        let weights = || self.parts.iter().flat_map(|p| p.table.iter()).map(|r| Entry::from(r).weight());
        let tables: usize = self.parts.iter().map(|p| p.table.recount_bytes()).sum();
        let bytes = weights().map(|w| w.beside).sum::<usize>() + tables + self.expiry.heap_bytes();
        (bytes, weights().filter(|w| w.expire_ms.is_some()).count())
    }

    /// By how many bytes the stripe has grown since the last call.
    pub fn take_growth(&mut self) -> isize {
        let used = self.used_bytes();
        let growth = used as isize - self.reported_bytes as isize;
        self.reported_bytes = used;
        growth
    }

    /// The meta data that a fresh write of an entry starts with.
    pub fn fresh_meta(&mut self, access: u32) -> Meta {
        Meta { version: self.next_version(), access, ..Meta::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Marks;
    use super::super::hash::DEFAULT_SEED;
    use super::super::value::{Collection, End, Fill, HashRef, HashValue, ListValue, PackedLimits};
    use super::*;

    #[test]
    fn objects_change_in_place() {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut stripe = Stripe::new(hasher);
        let key = Key { bytes: b"k", hash: hasher.hash(b"k"), slot: 0 };
        let mut list = ListValue::default();
        list.push_all(End::Back, [&b"first"[..]].into_iter(), Fill(-2));
        stripe.insert(0, &key, LooseEntry::object(list.into_value(), &Meta::default()));
        let push = |object: &mut ObjectMut<'_>, version| {
            let list = object.as_collection_mut::<ListValue>()?;
            list.push_all(End::Back, [&[b'x'; 500][..]].into_iter(), Fill(-2));
            object.set_version(version);
            object.note_use(|old| old + 5);
            Some((list_len(object), object.version()))
        };
        assert_eq!(stripe.update_object(0, &key, |object| push(object, 7)), Updated::Object(Some((2, 7))));
        let seen = |stripe: &Stripe| stripe.peek(0, &key).map(|e| (e.version(), e.cas(), e.access()));
        assert_eq!(seen(&stripe), Some((7, 7, 5)));
        // A client's CAS value goes with the version it was given to.
        stripe.update(0, &key, |entry| entry.set_marks(Marks::default().with_cas(Some(99))));
        assert_eq!(stripe.update_object(0, &key, |object| object.version()), Updated::Object(7));
        assert_eq!(seen(&stripe), Some((7, 99, 5)));
        assert_eq!(stripe.update_object(0, &key, |object| push(object, 8)), Updated::Object(Some((3, 8))));
        assert_eq!(seen(&stripe), Some((8, 8, 10)));
        assert_eq!((stripe.used_bytes(), 0), stripe.recount());

        let hash = |object: &mut ObjectMut<'_>| object.as_collection_mut::<HashValue>().is_some();
        assert_eq!(stripe.update_object(0, &key, hash), Updated::Object(false));
        assert_eq!(stripe.update_object(1, &key, hash), Updated::Missing);
        stripe.set_string(0, &key, b"value", &Meta::default());
        assert_eq!(stripe.update_object(0, &key, hash), Updated::Other);
    }

    fn list_len(object: &mut ObjectMut<'_>) -> usize {
        object.as_collection_mut::<ListValue>().map_or(0, |list| list.len())
    }

    const LIMITS: PackedLimits = PackedLimits { entries: 128, value_bytes: 64 };

    fn hash_of(pairs: &[(&str, &str)]) -> Value {
        let mut hash = HashValue::default();
        let items = pairs.iter().flat_map(|(field, value)| [field.as_bytes(), value.as_bytes()]);
        hash.set_all(items, &LIMITS, KeyHasher::new(DEFAULT_SEED));
        hash.into_value()
    }

    /// Bytes of the value outside its record, and all fields.
    fn hash_at(stripe: &Stripe, key: &Key<'_>) -> Option<(usize, Vec<(String, String)>)> {
        let entry = stripe.peek(0, key)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = entry.as_collection::<HashRef>()?.iter().map(|(f, v)| (text(f), text(v))).collect();
        Some((entry.weight().beside, fields))
    }

    #[test]
    fn a_small_hash_stands_in_its_record_until_it_outgrows_that() {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut stripe = Stripe::new(hasher);
        let key = Key { bytes: b"k", hash: hasher.hash(b"k"), slot: 0 };
        let meta = Meta { version: 3, mc_flags: 4, expire_ms: Some(50), ..Meta::default() };
        stripe.insert(0, &key, LooseEntry::object(hash_of(&[("a", "one"), ("b", "two")]), &meta));
        let shows = |stripe: &Stripe, here: bool, fields: &[(&str, &str)]| {
            let (beside, found) = hash_at(stripe, &key).expect("a hash");
            assert_eq!(beside == 0, here);
            assert!(found.iter().map(|(f, v)| (&f[..], &v[..])).eq(fields.iter().copied()), "{found:?}");
            assert_eq!((stripe.used_bytes(), stripe.expiring()), stripe.recount());
        };
        shows(&stripe, true, &[("a", "one"), ("b", "two")]);
        let overwrite = |items: [&'static str; 4]| {
            move |object: &mut ObjectMut<'_>| {
                object.overwrite_fields(items.into_iter().map(str::as_bytes), &LIMITS)
            }
        };
        assert_eq!(stripe.update_object(0, &key, overwrite(["b", "six", "a", "ten"])), Updated::Object(true));
        shows(&stripe, true, &[("a", "ten"), ("b", "six")]);
        assert_eq!(
            stripe.update_object(0, &key, overwrite(["a", "one", "c", "new"])),
            Updated::Object(false)
        );
        assert_eq!(
            stripe.update_object(0, &key, overwrite(["a", "one", "b", "longer"])),
            Updated::Object(false)
        );
        // What is done to its copy comes back where that is as long.
        let set = |field: &'static str, value: &'static str| {
            move |object: &mut ObjectMut<'_>| {
                let hash = object.as_collection_mut::<HashValue>()?;
                Some(hash.set(field.as_bytes(), value.as_bytes(), &LIMITS, hasher))
            }
        };
        assert_eq!(stripe.update_object(0, &key, set("a", "two")), Updated::Object(Some(false)));
        shows(&stripe, true, &[("a", "two"), ("b", "six")]);
        // It is nothing else, and what stands around it may change.
        let list = |object: &mut ObjectMut<'_>| object.as_collection_mut::<ListValue>().is_some();
        assert_eq!(stripe.update_object(0, &key, list), Updated::Object(false));
        stripe.update(0, &key, |entry| {
            assert!(entry.as_string().is_none() && entry.bytes_mut().is_none());
            assert!(!entry.modify_string(|value| value.push(1)));
            entry.set_expire_ms(None);
            entry.set_marks(Marks::default().with_stale(true));
            entry.set_version(7);
        });
        shows(&stripe, true, &[("a", "two"), ("b", "six")]);
        let copy = stripe.peek(0, &key).map(|entry| entry.copy(&entry.meta())).expect("it is there");
        assert_eq!(stripe.update_object(0, &key, set("c", "new")), Updated::Object(Some(true)));
        shows(&stripe, false, &[("a", "two"), ("b", "six"), ("c", "new")]);
        let meta = stripe.peek(0, &key).map(Entry::meta).expect("it is there");
        assert_eq!((meta.version, meta.mc_flags, meta.expire_ms), (7, 4, None));
        assert!(meta.marks.is_stale());
        // Moved as a whole it stands in a record again.
        let taken = stripe.take(0, &key).expect("it is there");
        stripe.insert(0, &key, taken);
        shows(&stripe, true, &[("a", "two"), ("b", "six"), ("c", "new")]);
        stripe.insert(0, &key, copy);
        shows(&stripe, true, &[("a", "two"), ("b", "six")]);
        stripe.update(0, &key, |entry| {
            assert!(entry.as_collection_mut::<HashValue>().is_some_and(|hash| hash.remove(b"a")));
        });
        shows(&stripe, false, &[("b", "six")]);
        stripe.set_string(0, &key, b"four", &Meta::default());
        assert_eq!(stripe.peek(0, &key).and_then(Entry::as_string), Some(&b"four"[..]));
        // As long as the number of a value that is kept beside, or too long.
        let long = "v".repeat(60);
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], &long[..])).collect();
        for fields in [&[("", "")][..], &many] {
            stripe.insert(0, &key, LooseEntry::object(hash_of(fields), &Meta::default()));
            shows(&stripe, false, fields);
        }
        assert!(stripe.remove(0, &key).is_some());
        assert_eq!((stripe.used_bytes(), 0), stripe.recount());
    }

    #[test]
    fn hashes_in_records_move_with_their_table() {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut stripe = Stripe::new(hasher);
        let names: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
        let key = |name| Key { bytes: str::as_bytes(name), hash: hasher.hash(str::as_bytes(name)), slot: 0 };
        for name in &names {
            let value = hash_of(&[("name", name), ("other", "value")]);
            stripe.insert(0, &key(name), LooseEntry::object(value, &Meta::default()));
        }
        for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 3 == 0) {
            let done = stripe.update_object(0, &key(name), |object| {
                let hash = object.as_collection_mut::<HashValue>()?;
                Some(hash.set(b"n", n.to_string().as_bytes(), &LIMITS, hasher))
            });
            assert_eq!(done, Updated::Object(Some(true)));
        }
        for (n, name) in names.iter().enumerate() {
            let (beside, fields) = hash_at(&stripe, &key(name)).expect("a hash");
            assert_eq!((beside == 0, &fields[0].1, fields.len() == 2), (n % 3 != 0, name, n % 3 != 0));
        }
        assert_eq!((stripe.used_bytes(), 0), stripe.recount());
    }

    #[test]
    fn the_expiry_index_stays_small() {
        let hasher = KeyHasher::new(DEFAULT_SEED);
        let mut stripe = Stripe::new(hasher);
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let keys: Vec<Key<'_>> = names
            .iter()
            .map(|n| Key { bytes: n.as_bytes(), hash: hasher.hash(n.as_bytes()), slot: 0 })
            .collect();
        for round in 1..1000u64 {
            for key in &keys {
                let meta = Meta { expire_ms: Some(round * 10), ..Meta::default() };
                stripe.set_string(1, key, b"value", &meta);
            }
        }
        stripe.swap(1, 2);
        assert!(stripe.expiry.heap_bytes() < 1024 * size_of::<Due>());
        assert_eq!((stripe.used_bytes(), 100), stripe.recount());
        assert_eq!(stripe.next_expired(9989), None);
        let mut gone = 0;
        while let Some(Expired { db, key: name, .. }) = stripe.next_expired(9990) {
            assert_eq!(db, 2);
            stripe.remove(db, &Key { bytes: &name, hash: hasher.hash(&name), slot: 0 });
            gone += 1;
        }
        assert_eq!((gone, stripe.len(2)), (100, 0));
    }
}
