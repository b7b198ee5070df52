//! Hashes.

use super::{Elements, Source, put_len, put_string, types, zipmap};
use crate::effect::DecodeError;
use crate::store::value::HashValue;
use crate::store::{Collection, Env, Value};

/// Appends a hash with its type byte.
pub fn write(hash: &HashValue, out: &mut Vec<u8>) {
    out.push(types::HASH);
    put_len(out, hash.len() as u64);
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
