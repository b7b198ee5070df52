//! Collections are changed: one lookup, the change, what it means for watchers, for replicas and for the key itself.

use torc_protocol::resp::ReplyWriter;

use super::cx::{Cx, Shows};
use super::error::CommandError;
use crate::notify::Class;
use crate::store::value::{HashChange, HashValue};
use crate::store::{Collection, Env, Key, LooseEntry, ObjectMut, Updated};

impl Cx<'_, '_> {
    /// Changes the collection at a key in place, a missing one is created first, and one that is empty afterwards goes
    /// (unless its type stays). `change` says whether it changed anything; if so, `record` writes what for the
    /// replicas, in the form that the type's [`Collection::replay`] reads. Answers what `change` answered.
    ///
    /// A collection that `change` leaves as it was has the same version and no effect; a missing one stays missing.
    pub fn modify<C: Collection, R>(
        &mut self,
        key: &Key<'_>,
        change: impl FnOnce(&mut C) -> (R, bool),
        record: impl FnOnce(&mut Vec<u8>, &R),
    ) -> Result<R, CommandError> {
        self.modify_or(key, |_| None, change, record)
    }

    /// As [`Cx::modify`]; but what `first` could do with the entry, and answers, need not be done by `change`.
    fn modify_or<C: Collection, R>(
        &mut self,
        key: &Key<'_>,
        first: impl FnOnce(&mut ObjectMut<'_>) -> Option<R>,
        change: impl FnOnce(&mut C) -> (R, bool),
        record: impl FnOnce(&mut Vec<u8>, &R),
    ) -> Result<R, CommandError> {
        let clock = self.clock();
        self.expire_if_due(key);
        let db = self.db;
        let stripe = self.access.stripe(key.slot);
        let version = stripe.next_version();
        // One lookup for both: it is taken where there is an entry, and left for a new one otherwise.
        let mut change = Some(change);
        let done = stripe.update_object(db, key, |entry| {
            let (result, changed, empty) = match first(entry) {
                Some(result) => (result, true, false),
                None => {
                    let collection = entry.as_collection_mut::<C>()?;
                    let (result, changed) = change.take()?(collection);
                    (result, changed, collection.is_empty() && !C::STAYS_EMPTY)
                }
            };
            if changed {
                entry.set_version(version);
                entry.note_use(|old| clock.touched(old));
            }
            Some((result, changed, empty))
        });
        if let (Updated::Missing, Some(change)) = (&done, change) {
            let mut collection = C::default();
            let (result, changed) = change(&mut collection);
            if changed && (C::STAYS_EMPTY || !collection.is_empty()) {
                let meta = self.fresh_meta(key);
                let stripe = self.access.stripe(key.slot);
                stripe.insert(db, key, LooseEntry::object(collection.into_value(), &meta));
                stripe.changed(db, key.bytes);
                self.dirty += 1;
                self.effects.change(db, key.bytes, meta.version, C::KIND, |out| record(out, &result));
                self.notify(Class::NEW, "new", key.bytes);
            }
            return Ok(result);
        }
        let Updated::Object(Some((result, changed, empty))) = done else {
            return Err(CommandError::WrongType);
        };
        if changed {
            stripe.changed(db, key.bytes);
            self.dirty += 1;
            if empty {
                self.node.drop_later(stripe.remove(db, key));
                self.effects.delete(db, key.bytes);
            } else {
                self.effects.change(db, key.bytes, version, C::KIND, |out| record(out, &result));
            }
        }
        Ok(result)
    }

    /// Works on the collection at a key, with the reply's writer at hand; `None` when there is no key. `work` says how
    /// what it did shows; if it did something, `record` writes what for the replicas, as in [`Cx::modify`]. The
    /// collection stays, whether it is empty or not.
    pub fn revise<C: Collection, R>(
        &mut self,
        key: &Key<'_>,
        work: impl FnOnce(&mut C, ReplyWriter<'_>) -> Result<(R, Shows), CommandError>,
        record: impl FnOnce(&mut Vec<u8>, &R),
    ) -> Result<Option<R>, CommandError> {
        let clock = self.clock();
        self.expire_if_due(key);
        let stripe = self.access.stripe(key.slot);
        let next_version = stripe.next_version();
        let reply = ReplyWriter::new(self.out, self.version);
        let revised = stripe.update_object(self.db, key, |entry| {
            let collection = entry.as_collection_mut::<C>().ok_or(CommandError::WrongType)?;
            let (result, shows) = work(collection, reply)?;
            if shows == Shows::All {
                entry.set_version(next_version);
            }
            entry.note_use(|old| clock.touched(old));
            Ok::<_, CommandError>((result, shows, entry.version()))
        });
        let (result, shows, version) = match revised {
            Updated::Object(revised) => revised?,
            Updated::Missing => return Ok(None),
            Updated::Other => return Err(CommandError::WrongType),
        };
        if shows == Shows::All {
            stripe.changed(self.db, key.bytes);
        }
        if matches!(shows, Shows::All | Shows::NotToWatchers) {
            self.dirty += 1;
        }
        if shows != Shows::Nothing {
            self.effects.change(self.db, key.bytes, version, C::KIND, |out| record(out, &result));
        }
        Ok(Some(result))
    }

    /// Sets fields (`items` alternates fields and values) of the hash at a key, which is a hash or missing; answers
    /// how many were new.
    pub fn hash_set<'i>(
        &mut self,
        key: &Key<'_>,
        items: impl ExactSizeIterator<Item = &'i [u8]> + Clone,
    ) -> Result<usize, CommandError> {
        let Env { limits, hasher } = self.env();
        let (pairs, same) = (items.clone(), items.clone());
        self.modify_or(
            key,
            |entry| entry.overwrite_fields(same, &limits.hash).then_some(0),
            |hash: &mut HashValue| (hash.set_all(pairs, &limits.hash, hasher), true),
            |out, _| HashChange::put_set(out, items),
        )
    }

    /// Sets the value of a field of the hash at a key, which is a hash or missing; the field expires as before.
    pub fn hash_set_value(&mut self, key: &Key<'_>, field: &[u8], value: &[u8]) -> Result<(), CommandError> {
        let Env { limits, hasher } = self.env();
        self.modify_or(
            key,
            |entry| entry.overwrite_fields([field, value].into_iter(), &limits.hash).then_some(false),
            |hash: &mut HashValue| {
                let expires = hash.expiry(field).is_some();
                hash.set_value(field, value, &limits.hash, hasher);
                (expires, true)
            },
            |out, expires| {
                let items = [field, value].into_iter();
                if *expires { HashChange::put_set_value(out, items) } else { HashChange::put_set(out, items) }
            },
        )?;
        Ok(())
    }

    /// Removes fields of the hash at a key; answers how many there were. The key goes with its last field.
    pub fn hash_delete<'i>(
        &mut self,
        key: &Key<'_>,
        fields: impl ExactSizeIterator<Item = &'i [u8]> + Clone,
    ) -> Result<usize, CommandError> {
        let names = fields.clone();
        self.modify(
            key,
            |hash: &mut HashValue| {
                let removed = names.filter(|f| hash.remove(f)).count();
                (removed, removed > 0)
            },
            |out, _| HashChange::put_delete(out, fields),
        )
    }
}
