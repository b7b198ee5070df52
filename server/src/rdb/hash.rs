//! Hashes.

use super::{Elements, Source, listpack, put_len, put_string, types, zipmap};
use crate::effect::DecodeError;
use crate::store::value::{HashRef, HashValue, MAX_FIELD_TIME_MS};
use crate::store::{Collection, Env, Value};

/// Appends a hash with its type byte; fields that a replica hides are written with the others, and with their times.
pub fn write(hash: HashRef<'_>, out: &mut Vec<u8>) {
    if let Some(first) = hash.next_expiry() {
        out.push(types::HASH_TIMED);
        out.extend_from_slice(&first.to_le_bytes());
        put_len(out, hash.count() as u64);
        for (field, value, at_ms) in hash.iter_timed() {
            // 0: it does not expire.
            put_len(out, at_ms.map_or(0, |at| at.saturating_sub(first) + 1));
            put_string(out, field);
            put_string(out, value);
        }
        return;
    }
    out.push(types::HASH);
    put_len(out, hash.count() as u64);
    for (field, value) in hash.iter() {
        put_string(out, field);
        put_string(out, value);
    }
}

/// Reads the body of a hash: pairs one after another.
pub fn read(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut hash = HashValue::default();
    for _ in 0..source.count()? {
        set(&mut hash, &source.string()?, &source.string()?, env)?;
    }
    Ok(hash.into_value())
}

/// Reads the body of a hash whose fields and values alternate in a packed form that `unpack` reads.
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
    let mut hash = HashValue::default();
    let (mut field_room, mut value_room) = Default::default();
    while let (Some(field), Some(value)) = (elements.next(), elements.next()) {
        set(&mut hash, field.bytes(&mut field_room), value.bytes(&mut value_room), env)?;
    }
    Ok(hash.into_value())
}

/// Reads the body of a hash with fields that expire: the first time, then a time relative to it, field and value in turn.
pub fn read_timed(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let first = u64::from_le_bytes(source.chunk()?);
    let mut hash = HashValue::default();
    for _ in 0..source.count()? {
        let after = source.length()?;
        let (field, value) = (source.string()?, source.string()?);
        set(&mut hash, &field, &value, env)?;
        if let Some(after) = after.checked_sub(1) {
            expire(&mut hash, &field, first.checked_add(after), env)?;
        }
    }
    Ok(hash.into_value())
}

/// Reads the body of a hash whose fields, values and times (0: none) are a listpack, behind the first time.
pub fn read_packed_timed(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    source.chunk::<8>()?;
    let bytes = source.string()?;
    let mut elements = listpack::read(&bytes)?;
    if elements.len() % 3 != 0 {
        return Err(DecodeError::Damaged);
    }
    let mut hash = HashValue::default();
    let (mut field_room, mut value_room) = Default::default();
    while let (Some(field), Some(value), Some(at)) = (elements.next(), elements.next(), elements.next()) {
        let (field, value) = (field.bytes(&mut field_room), value.bytes(&mut value_room));
        set(&mut hash, field, value, env)?;
        match at.integer() {
            Some(0) => {}
            at => expire(&mut hash, field, at.and_then(|at| u64::try_from(at).ok()), env)?,
        }
    }
    Ok(hash.into_value())
}

/// Sets when a field expires that is there.
fn expire(hash: &mut HashValue, field: &[u8], at_ms: Option<u64>, env: &Env) -> Result<(), DecodeError> {
    let at_ms = at_ms.filter(|at| *at <= MAX_FIELD_TIME_MS).ok_or(DecodeError::Damaged)?;
    hash.set_expiry(field, at_ms, env.hasher);
    Ok(())
}

/// Reads the body of a hash in the form before Redis 2.6.
pub fn read_zipmap(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let bytes = source.string()?;
    let mut hash = HashValue::default();
    for (field, value) in zipmap::read(&bytes)? {
        set(&mut hash, &field.into_cow(), &value.into_cow(), env)?;
    }
    Ok(hash.into_value())
}

/// Sets a field that must not be there yet.
fn set(hash: &mut HashValue, field: &[u8], value: &[u8], env: &Env) -> Result<(), DecodeError> {
    if hash.set(field, value, &env.limits.hash, env.hasher) { Ok(()) } else { Err(DecodeError::Damaged) }
}
