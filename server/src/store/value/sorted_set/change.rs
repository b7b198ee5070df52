//! What is done to a sorted set, as effects say it.
//!
//! ```text
//! body : 1 | (score u64 as bits | length u32 | member) …     these members have these scores now
//!        2 | (length u32 | member) …                         these members are gone
//! ```

use crate::effect::{DecodeError, Reader, put_bytes, put_u64};

const SET: u8 = 1;
const REMOVE: u8 = 2;

/// One thing that was done to a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SortedSetChange<'a> {
    /// The member has this score now.
    Set(&'a [u8], f64),
    /// The member is gone.
    Remove(&'a [u8]),
}

impl<'a> SortedSetChange<'a> {
    /// Writes that members have these scores now.
    pub fn put_set<'i>(out: &mut Vec<u8>, elements: impl Iterator<Item = (&'i [u8], f64)>) {
        out.push(SET);
        for (member, score) in elements {
            put_u64(out, score.to_bits());
            put_bytes(out, member);
        }
    }

    /// Writes that members are gone.
    pub fn put_remove<'i>(out: &mut Vec<u8>, members: impl Iterator<Item = &'i [u8]>) {
        out.push(REMOVE);
        for member in members {
            put_bytes(out, member);
        }
    }

    /// Reads what was written, one after another.
    pub fn decode(
        body: &'a [u8],
    ) -> Result<impl Iterator<Item = Result<SortedSetChange<'a>, DecodeError>>, DecodeError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        if kind != SET && kind != REMOVE {
            return Err(DecodeError::Unknown(kind));
        }
        Ok(std::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            let change = read(&mut reader, kind);
            if change.is_err() {
                reader = Reader::new(&[]);
            }
            Some(change)
        }))
    }
}

fn read<'a>(reader: &mut Reader<'a>, kind: u8) -> Result<SortedSetChange<'a>, DecodeError> {
    if kind == REMOVE {
        return Ok(SortedSetChange::Remove(reader.bytes()?));
    }
    let score = f64::from_bits(reader.u64()?);
    if score.is_nan() {
        return Err(DecodeError::Damaged);
    }
    Ok(SortedSetChange::Set(reader.bytes()?, score))
}
