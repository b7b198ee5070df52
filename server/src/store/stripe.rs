//! A stripe: all keys of sixteen neighbouring slots, under one lock.
//!
//! Owner: the store's mutex of this stripe. Everything that happens to a key goes through the methods here,
//! so that the expiry index, the memory account and the watchers can never disagree with the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ahash::AHashMap;
use torc_protocol::slot::{Slot, key_slot};

use super::entry::{Entry, Meta};
use super::expiry::{Due, ExpiryIndex};
use super::hash::KeyHasher;
use super::table::{Keyed, Table};

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

/// Set by the stripe when a watched key changes.
pub type WatchFlag = Arc<AtomicBool>;

/// Connections that watch one key may not exceed this; the oldest flag is raised (its transaction aborts) instead.
const MAX_WATCHERS_PER_KEY: usize = 10_000;

/// Below this many watched keys nobody looks for closed connections among their watchers.
const SWEEP_MIN: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub struct Stripe {
    hasher: KeyHasher,
    tables: Vec<Table<Entry>>,
    expiry: ExpiryIndex,
    watchers: AHashMap<(u8, Box<[u8]>), Vec<WatchFlag>>,
    /// Number of watched keys at which those of closed connections are looked for.
    sweep_at: usize,
    entry_bytes: usize,
    reported_bytes: usize,
    version: u32,
}

impl Stripe {
    pub(super) fn new(hasher: KeyHasher) -> Stripe {
        Stripe {
            hasher,
            tables: Vec::new(),
            expiry: ExpiryIndex::default(),
            watchers: AHashMap::new(),
            sweep_at: SWEEP_MIN,
            entry_bytes: 0,
            reported_bytes: 0,
            version: 0,
        }
    }

    /// The entry, whether it has expired or not.
    #[inline]
    pub fn peek(&self, db: u8, key: &Key<'_>) -> Option<&Entry> {
        self.tables.get(db as usize)?.get(key.hash, key.bytes)
    }

    /// The entry if it has not expired at `now_ms`.
    #[inline]
    pub fn get(&self, db: u8, key: &Key<'_>, now_ms: u64) -> Option<&Entry> {
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
    ) -> Option<&Entry> {
        let entry = self.tables.get_mut(db as usize)?.get_mut(key.hash, key.bytes)?;
        if entry.expire_ms().is_some_and(|at| at <= now_ms) {
            return None;
        }
        if let Some(access) = access {
            let old = entry.access();
            let new = access(old);
            if new != old {
                entry.set_access(new);
            }
        }
        Some(entry)
    }

    /// Notes a use of the entry for eviction.
    #[inline]
    pub fn touch_access(&mut self, db: u8, key: &Key<'_>, access: impl FnOnce(u32) -> u32) {
        if let Some(entry) = self.tables.get_mut(db as usize).and_then(|t| t.get_mut(key.hash, key.bytes)) {
            let new = access(entry.access());
            entry.set_access(new);
        }
    }

    /// Changes an entry in place; its bytes and expiry are accounted anew afterwards. `None` when there is no
    /// such entry. Expiry is not looked at.
    pub fn update<R>(&mut self, db: u8, key: &Key<'_>, change: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let entry = self.tables.get_mut(db as usize)?.get_mut(key.hash, key.bytes)?;
        let (bytes, expire) = (entry.heap_bytes(), entry.expire_ms());
        let result = change(entry);
        self.entry_bytes = self.entry_bytes + entry.heap_bytes() - bytes;
        let new = entry.expire_ms();
        if new != expire {
            self.expiry.changed(expire, new, key.hash, db);
        }
        Some(result)
    }

    /// Stores an entry, replacing one with the same key. Answers the replaced one.
    pub fn insert(&mut self, db: u8, key: &Key<'_>, entry: Entry) -> Option<Entry> {
        while self.tables.len() <= db as usize {
            self.tables.push(Table::new(self.hasher));
        }
        let table = &mut self.tables[db as usize];
        self.entry_bytes += entry.heap_bytes();
        let new_expiry = entry.expire_ms();
        match table.get_mut(key.hash, key.bytes) {
            Some(old) => {
                self.entry_bytes -= old.heap_bytes();
                let old = std::mem::replace(old, entry);
                self.expiry.changed(old.expire_ms(), new_expiry, key.hash, db);
                Some(old)
            }
            None => {
                table.insert_new(key.hash, entry);
                self.expiry.changed(None, new_expiry, key.hash, db);
                None
            }
        }
    }

    /// Stores a string, replacing what the key holds; in place when that has the same shape. Answers the entry
    /// that was replaced, if one was.
    pub fn set_string(&mut self, db: u8, key: &Key<'_>, value: &[u8], meta: &Meta) -> Option<Entry> {
        let found = self.tables.get_mut(db as usize).and_then(|t| t.get_mut(key.hash, key.bytes));
        let Some(old) = found else {
            return self.insert(db, key, Entry::string(key.bytes, value, meta));
        };
        if old.overwrite(value, meta) {
            return None;
        }
        let new = Entry::string(key.bytes, value, meta);
        self.entry_bytes = self.entry_bytes + new.heap_bytes() - old.heap_bytes();
        let old = std::mem::replace(old, new);
        self.expiry.changed(old.expire_ms(), meta.expire_ms, key.hash, db);
        Some(old)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, db: u8, key: &Key<'_>) -> Option<Entry> {
        let entry = self.tables.get_mut(db as usize)?.remove(key.hash, key.bytes)?;
        self.entry_bytes -= entry.heap_bytes();
        self.expiry.changed(entry.expire_ms(), None, key.hash, db);
        Some(entry)
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

    /// Raises the flags of those who watch this key.
    #[inline]
    pub fn changed(&mut self, db: u8, key: &[u8]) {
        if !self.watchers.is_empty()
            && let Some(flags) = self.watchers.remove(&(db, Box::from(key)))
        {
            flags.iter().for_each(|f| f.store(true, Ordering::Relaxed));
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

    /// Drops watchers whose connection is gone.
    fn sweep_watchers(&mut self) {
        self.watchers.retain(|_, flags| {
            flags.retain(|f| Arc::strong_count(f) > 1);
            !flags.is_empty()
        });
    }

    /// Tells those who watch a key of `db` that holds something, in this database or in `replaced_by`.
    fn changed_all(&mut self, db: u8, replaced_by: Option<u8>) {
        let (tables, hasher) = (&self.tables, self.hasher);
        let holds = |db: u8, key: &[u8]| {
            tables.get(db as usize).is_some_and(|t| t.get(hasher.hash(key), key).is_some())
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

    /// The next key that is due for removal at `now_ms`, still in the table: (database, key bytes).
    pub fn next_expired(&mut self, now_ms: u64) -> Option<(u8, Box<[u8]>)> {
        while let Some(due) = self.expiry.pop_due(now_ms) {
            let Some(table) = self.tables.get(due.db as usize) else { continue };
            // Entries are found again by hash: the index does not keep keys.
            let found = table.find_by_hash(due.hash, |e| e.expire_ms().is_some_and(|at| at <= now_ms));
            if let Some(entry) = found {
                return Some((due.db, entry.key().into()));
            }
        }
        if self.expiry.wants_rebuild() {
            let (tables, hasher) = (&self.tables, self.hasher);
            let live = tables.iter().enumerate().flat_map(|(db, t)| {
                t.iter().filter_map(move |e| {
                    let at_ms = e.expire_ms()?;
                    Some(Due { at_ms, hash: hasher.hash(e.key()), db: db as u8 })
                })
            });
            let live: Vec<Due> = live.collect();
            self.expiry.rebuild(live.into_iter());
        }
        None
    }

    /// Number of entries in one database, expired ones that are still there included.
    pub fn len(&self, db: u8) -> usize {
        self.tables.get(db as usize).map_or(0, Table::len)
    }

    /// Databases that hold something.
    pub fn databases(&self) -> impl Iterator<Item = u8> + '_ {
        (0u8..).zip(&self.tables).filter(|(_, t)| !t.is_empty()).map(|(db, _)| db)
    }

    /// Keys with an expiry, all databases.
    pub fn expiring(&self) -> usize {
        self.expiry.keys()
    }

    /// All entries of one database.
    pub fn iter(&self, db: u8) -> impl Iterator<Item = &Entry> {
        self.tables.get(db as usize).into_iter().flat_map(Table::iter)
    }

    /// Number of entries of one slot (walks the stripe's table).
    pub fn len_of_slot(&self, db: u8, slot: Slot) -> usize {
        self.iter(db).filter(|e| key_slot(e.key()) == slot).count()
    }

    /// See [`Table::scan`].
    pub fn scan<'s>(&'s self, db: u8, from: u64, count: usize, visit: impl FnMut(&'s Entry)) -> Option<u64> {
        self.tables.get(db as usize)?.scan(from, count, visit)
    }

    /// See [`Table::sample`].
    pub fn sample(&self, db: u8, r: u64) -> Option<&Entry> {
        self.tables.get(db as usize)?.sample(r)
    }

    /// Takes everything out of one database, or of all; the caller drops it where that hurts nobody.
    pub fn flush(&mut self, db: Option<u8>) -> Vec<Table<Entry>> {
        let hasher = self.hasher;
        let mut taken = Vec::new();
        if !self.watchers.is_empty() {
            (0..DATABASES as u8)
                .filter(|n| db.is_none_or(|db| db == *n))
                .for_each(|n| self.changed_all(n, None));
        }
        for (index, table) in self.tables.iter_mut().enumerate() {
            if db.is_none_or(|db| db as usize == index) && !table.is_empty() {
                taken.push(std::mem::replace(table, Table::new(hasher)));
            }
        }
        self.recount();
        taken
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, a: u8, b: u8) {
        let most = a.max(b) as usize;
        while self.tables.len() <= most {
            self.tables.push(Table::new(self.hasher));
        }
        self.changed_all(a, Some(b));
        self.changed_all(b, Some(a));
        self.tables.swap(a as usize, b as usize);
        self.recount();
    }

    fn recount(&mut self) {
        self.entry_bytes = self.tables.iter().flat_map(Table::iter).map(Entry::heap_bytes).sum();
        let hasher = self.hasher;
        let live: Vec<Due> = self
            .tables
            .iter()
            .enumerate()
            .flat_map(|(db, t)| {
                t.iter().filter_map(move |e| {
                    Some(Due { at_ms: e.expire_ms()?, hash: hasher.hash(e.key()), db: db as u8 })
                })
            })
            .collect();
        self.expiry.clear();
        self.expiry.rebuild(live.into_iter());
    }

    /// Bytes of entries, tables and indexes.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.entry_bytes
            + self.tables.iter().map(Table::table_bytes).sum::<usize>()
            + self.expiry.heap_bytes()
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
