//! A digest of the whole dataset, the same for the same data whatever order it came in: to compare nodes by (DEBUG DIGEST).
//!
//! Sets, hashes and sorted sets are digested element by element, lists and streams as a whole. Values are looked at in
//! their RDB form, so each type has but one way out. SHA-1, as Redis has it; the digests themselves are Torc's own.

use std::borrow::Cow;

use sha1::{Digest as _, Sha1};

use crate::effect::DecodeError;
use crate::rdb::{Source, intset, listpack, types, write_value};
use crate::store::Entry;

/// Bytes of a digest.
pub const DIGEST_BYTES: usize = 20;

/// A digest, or the sum of some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_BYTES]);

impl Digest {
    fn of(parts: &[&[u8]]) -> Digest {
        let mut sha = Sha1::new();
        for part in parts {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        Digest(sha.finalize().into())
    }

    /// Adds another one; the order does not matter.
    pub fn add(&mut self, other: Digest) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine ^= theirs);
    }

    /// Forty hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The digest of a value.
    pub fn of_value(entry: &Entry<'_>) -> Digest {
        let mut bytes = Vec::new();
        write_value(entry.value(), &mut bytes);
        let mut sum = Digest::default();
        match elements(&bytes, &mut sum) {
            Ok(()) => {}
            // What we wrote ourselves and cannot take apart is digested as it is.
            Err(_) => sum = Digest::of(&[&bytes]),
        }
        Digest::of(&[entry.value().type_name().as_bytes(), &sum.0])
    }

    /// The digest of a key of a database with its value and its expiry.
    pub fn of_entry(db: u8, entry: &Entry<'_>) -> Digest {
        let expire = entry.expire_ms().map_or([0; 8], u64::to_le_bytes);
        Digest::of(&[&[db], entry.key(), &Digest::of_value(entry).0, &expire])
    }
}

/// Adds the digests of a value's elements.
fn elements(bytes: &[u8], sum: &mut Digest) -> Result<(), DecodeError> {
    let (&kind, rest) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    let mut source = Source::new(rest);
    let source = &mut source;
    match kind {
        types::STRING => sum.add(Digest::of(&[&source.string()?])),
        types::LIST => {
            for index in 0..source.count()? as u64 {
                sum.add(Digest::of(&[&index.to_le_bytes(), &source.string()?]));
            }
        }
        types::LIST_NODES => list_nodes(source, sum)?,
        types::SET => {
            for _ in 0..source.count()? {
                sum.add(Digest::of(&[&source.string()?]));
            }
        }
        types::SET_INTSET => {
            for element in intset::read(&source.string()?)? {
                sum.add(Digest::of(&[&element.into_cow()]));
            }
        }
        types::SET_LISTPACK => {
            for element in listpack::read(&source.string()?)? {
                sum.add(Digest::of(&[&element.into_cow()]));
            }
        }
        types::HASH => {
            for _ in 0..source.count()? {
                let field = source.string()?;
                sum.add(Digest::of(&[&field, &source.string()?]));
            }
        }
        types::HASH_LISTPACK => pairs(&source.string()?, sum, |value| value)?,
        types::SORTED_SET => {
            for _ in 0..source.count()? {
                let member = source.string()?;
                sum.add(Digest::of(&[&member, &source.double()?.to_le_bytes()]));
            }
        }
        types::SORTED_SET_LISTPACK => pairs(&source.string()?, sum, score_bytes)?,
        _ => sum.add(Digest::of(&[bytes])),
    }
    Ok(())
}

/// A list as nodes: packed ones, or single long elements.
fn list_nodes(source: &mut Source<'_>, sum: &mut Digest) -> Result<(), DecodeError> {
    /// The mark of a node that is one element.
    const PLAIN: u64 = 1;
    let mut index = 0u64;
    for _ in 0..source.count()? {
        let plain = source.length()? == PLAIN;
        let node = source.string()?;
        if plain {
            sum.add(Digest::of(&[&index.to_le_bytes(), &node]));
            index += 1;
            continue;
        }
        for element in listpack::read(&node)? {
            sum.add(Digest::of(&[&index.to_le_bytes(), &element.into_cow()]));
            index += 1;
        }
    }
    Ok(())
}

fn pairs(
    packed: &[u8],
    sum: &mut Digest,
    second: impl Fn(Cow<'_, [u8]>) -> Cow<'_, [u8]>,
) -> Result<(), DecodeError> {
    let mut elements = listpack::read(packed)?;
    while let Some(first) = elements.next() {
        let value = elements.next().ok_or(DecodeError::Truncated)?;
        sum.add(Digest::of(&[&first.into_cow(), &second(value.into_cow())]));
    }
    Ok(())
}

/// A score that is kept as text, as the eight bytes that it has elsewhere.
fn score_bytes(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match crate::rdb::elements::parse_double(&text) {
        Some(score) => score.to_le_bytes().to_vec().into(),
        None => text,
    }
}
