//! Hashes.

use super::{Source, put_len, put_string, types};
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

/// Reads the body of a hash.
pub fn read(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut hash = HashValue::default();
    for _ in 0..source.count()? {
        let (field, value) = (source.string()?, source.string()?);
        hash.set(&field, &value, &env.limits.hash, env.hasher);
    }
    Ok(hash.into_value())
}
