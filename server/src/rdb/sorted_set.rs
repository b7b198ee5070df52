//! Sorted sets.

use super::{Elements, Source, put_double, put_len, put_string, types};
use crate::effect::DecodeError;
use crate::store::value::SortedSetValue;
use crate::store::{Collection, Env, Value};

/// Appends the value with its type byte.
pub fn write(value: &SortedSetValue, out: &mut Vec<u8>) {
    out.push(types::SORTED_SET);
    put_len(out, value.len() as u64);
    // From the highest score on, as Redis writes them: where it loads them each goes to the front.
    for (member, score) in value.range(0, value.len(), true) {
        put_string(out, member);
        put_double(out, score);
    }
}

/// Reads the body: members, each with a score that `score` reads.
pub fn read<'a>(
    source: &mut Source<'a>,
    env: &Env,
    score: impl Fn(&mut Source<'a>) -> Result<f64, DecodeError>,
) -> Result<Value, DecodeError> {
    let mut value = SortedSetValue::default();
    for _ in 0..source.count()? {
        add(&mut value, &source.string()?, score(source)?, env)?;
    }
    Ok(value.into_value())
}

/// Reads the body of a sorted set whose members and scores alternate in a packed form that `unpack` reads.
pub fn read_packed(
    source: &mut Source<'_>,
    env: &Env,
    unpack: for<'a> fn(&'a [u8]) -> Result<Elements<'a>, DecodeError>,
) -> Result<Value, DecodeError> {
    let bytes = source.string()?;
    let mut elements = unpack(&bytes)?;
    if elements.len() % 2 == 1 {
        return Err(DecodeError::Damaged);
    }
    let mut value = SortedSetValue::default();
    let mut room = itoa::Buffer::new();
    while let (Some(member), Some(score)) = (elements.next(), elements.next()) {
        let score = score.double().ok_or(DecodeError::Damaged)?;
        add(&mut value, member.bytes(&mut room), score, env)?;
    }
    Ok(value.into_value())
}

/// Adds a member that must not be there yet.
fn add(value: &mut SortedSetValue, member: &[u8], score: f64, env: &Env) -> Result<(), DecodeError> {
    let old = value.set(member, score, &env.limits.sorted_set, env.hasher);
    if old.is_none() { Ok(()) } else { Err(DecodeError::Damaged) }
}
