//! Sets.

use super::{Element, Elements, Source, intset, listpack, put_len, put_string, types};
use crate::effect::DecodeError;
use crate::store::value::{Ints, Member, SetValue};
use crate::store::{Collection, Env, Value};

/// Appends the value with its type byte: integers as an intset, anything else member by member, which every Redis reads.
pub fn write(value: &SetValue, out: &mut Vec<u8>) {
    if let Some(ints) = value.as_ints() {
        out.push(types::SET_INTSET);
        let mut bytes = Vec::new();
        intset::write((0..ints.len()).map(|index| ints.get(index).unwrap_or_default()), &mut bytes);
        return put_string(out, &bytes);
    }
    out.push(types::SET);
    put_len(out, value.len() as u64);
    let mut buffer = itoa::Buffer::new();
    value.iter().for_each(|member| put_string(out, member.bytes(&mut buffer)));
}

/// Reads the body: members one after another.
pub fn read(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let count = source.count()?;
    let mut value = SetValue::default();
    for index in 0..count {
        let member = source.string()?;
        if index == 0 {
            value.expect(&member, count, env);
        }
        if !value.add(&member, env) {
            return Err(DecodeError::Damaged);
        }
    }
    Ok(value.into_value())
}

/// Reads the body of a set of integers.
pub fn read_intset(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    gather(SetValue::Ints(Ints::default()), intset::read(&source.string()?)?, env)
}

/// Reads the body of a set whose members are in a listpack; it stays packed while the limits allow.
pub fn read_listpack(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    gather(SetValue::packed(), listpack::read(&source.string()?)?, env)
}

/// Adds elements, none of which may be there yet.
fn gather(mut set: SetValue, elements: Elements<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut room = itoa::Buffer::new();
    for element in elements {
        let member = match element {
            Element::Integer(n) => Member::Int(n),
            Element::String(_) => Member::Bytes(element.bytes(&mut room)),
        };
        if !set.add_member(member, env) {
            return Err(DecodeError::Damaged);
        }
    }
    Ok(set.into_value())
}
