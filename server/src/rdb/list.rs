//! Lists.

use super::{Source, put_len, put_string, types};
use crate::effect::DecodeError;
use crate::store::value::{End, ListValue};
use crate::store::{Collection, Env, Value};

/// Appends the value with its type byte.
pub fn write(value: &ListValue, out: &mut Vec<u8>) {
    out.push(types::LIST);
    put_len(out, value.len() as u64);
    for item in value.iter() {
        put_string(out, item);
    }
}

/// Reads the body.
pub fn read(source: &mut Source<'_>, _env: &Env) -> Result<Value, DecodeError> {
    let mut value = ListValue::default();
    for _ in 0..source.count()? {
        value.push(End::Back, &source.string()?);
    }
    Ok(value.into_value())
}
