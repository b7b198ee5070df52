//! A hash, to look at: its fields may stand in its key's record, so there need not be a [`super::HashValue`].

use super::super::packed::PackedRef;
use super::super::{ValueRef, View};
use super::{Field, HashValue, Timed, split};
use crate::store::records::Records;

/// A hash in one of its forms. What shows fields does not show those that are hidden.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'h> {
    /// Fields with their values.
    Packed(PackedRef<'h>),
    /// A table of fields.
    Table(&'h Records<Field>),
    /// Fields of which some expire.
    Timed(&'h Timed),
}

impl<'h> View<'h> for HashRef<'h> {
    #[inline]
    fn of(value: ValueRef<'h>) -> Option<Self> {
        match value {
            ValueRef::Hash(hash) => Some(hash),
            _ => None,
        }
    }
}

impl<'h> HashRef<'h> {
    /// What OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        match self {
            HashRef::Packed(_) => "listpack",
            HashRef::Table(_) => "hashtable",
            HashRef::Timed(timed) if matches!(timed.fields, HashValue::Packed(_)) => "listpackex",
            HashRef::Timed(_) => "hashtable",
        }
    }

    /// Number of fields, those that are hidden too.
    #[inline]
    pub fn count(self) -> usize {
        match self {
            HashRef::Packed(pairs) => pairs.pairs(),
            HashRef::Table(fields) => fields.len(),
            HashRef::Timed(timed) => timed.fields.view().count(),
        }
    }

    /// The value of a field.
    #[inline]
    pub fn get(self, field: &[u8]) -> Option<&'h [u8]> {
        match self {
            HashRef::Packed(pairs) => pairs.get(field),
            HashRef::Table(fields) => {
                fields.get(fields.hasher().hash(field), field).map(|r| split(r.bytes).1)
            }
            HashRef::Timed(timed) if timed.hides(field) => None,
            HashRef::Timed(timed) => timed.fields.view().get(field),
        }
    }

    /// The value of a field that has not expired at `now_ms`.
    pub fn get_at(self, field: &[u8], now_ms: u64) -> Option<&'h [u8]> {
        match self {
            HashRef::Timed(timed) if timed.times.get(field).is_some_and(|at| at <= now_ms) => None,
            _ => self.get(field),
        }
    }

    /// All pairs that are shown; in insertion order while packed.
    pub fn iter(self) -> Box<dyn Iterator<Item = (&'h [u8], &'h [u8])> + 'h> {
        match self {
            HashRef::Packed(pairs) => Box::new(pairs.iter()),
            HashRef::Table(fields) => Box::new(fields.iter().map(|r| split(r.bytes))),
            HashRef::Timed(timed) if timed.hides_some() => {
                Box::new(timed.fields.view().iter().filter(|(field, _)| !timed.hides(field)))
            }
            HashRef::Timed(timed) => timed.fields.view().iter(),
        }
    }

    /// All pairs with when they expire, those that are hidden too.
    pub fn iter_timed(self) -> impl Iterator<Item = (&'h [u8], &'h [u8], Option<u64>)> {
        let (fields, times) = match self {
            HashRef::Timed(timed) => (timed.fields.view(), Some(&timed.times)),
            _ => (self, None),
        };
        fields.iter().map(move |(field, value)| (field, value, times.and_then(|times| times.get(field))))
    }

    /// HSCAN: a packed hash is given whole; a table from `from` on as [`Records::scan`] does.
    pub fn scan(self, from: u64, count: usize, visit: &mut dyn FnMut(&'h [u8], &'h [u8])) -> Option<u64> {
        match self {
            HashRef::Packed(pairs) => {
                pairs.iter().for_each(|(f, v)| visit(f, v));
                None
            }
            HashRef::Table(fields) => fields.scan(from, count, |record| {
                let (f, v) = split(record.bytes);
                visit(f, v);
            }),
            HashRef::Timed(timed) => timed.fields.view().scan(from, count, &mut |field, value| {
                if !timed.hides(field) {
                    visit(field, value);
                }
            }),
        }
    }

    /// A pair picked with the random number `r` among those that are shown.
    pub fn sample(self, r: u64) -> Option<(&'h [u8], &'h [u8])> {
        match self {
            HashRef::Packed(pairs) => pairs.iter().nth(r as usize % pairs.pairs().max(1)),
            HashRef::Table(fields) => fields.sample(r).map(|r| split(r.bytes)),
            HashRef::Timed(timed) if timed.hides_some() => self.iter().nth(r as usize % self.shown().max(1)),
            HashRef::Timed(timed) => timed.fields.view().sample(r),
        }
    }

    /// Whether [`HashRef::sample`] takes a walk.
    pub fn samples_slowly(self) -> bool {
        match self {
            HashRef::Packed(_) => true,
            HashRef::Table(_) => false,
            HashRef::Timed(timed) => timed.hides_some() || timed.fields.view().samples_slowly(),
        }
    }

    /// Number of fields that are shown.
    pub fn shown(self) -> usize {
        match self {
            HashRef::Timed(timed) if timed.hides_some() => {
                self.count().saturating_sub(timed.times.due(timed.hidden_ms))
            }
            _ => self.count(),
        }
    }

    /// When the next field expires, Unix milliseconds.
    #[inline]
    pub fn next_expiry(self) -> Option<u64> {
        match self {
            HashRef::Timed(timed) => timed.times.next(),
            _ => None,
        }
    }

    /// When a field expires, Unix milliseconds.
    pub fn expiry(self, field: &[u8]) -> Option<u64> {
        match self {
            HashRef::Timed(timed) => timed.times.get(field),
            _ => None,
        }
    }
}
