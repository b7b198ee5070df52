//! Lists.

use super::{Element, Elements, Source, listpack, put_len, types, ziplist};
use crate::effect::DecodeError;
use crate::store::value::{Fill, ListNode, ListValue};
use crate::store::{Env, Value};

/// A node that is one element as it is.
const PLAIN: u64 = 1;
/// A node that is a listpack.
const PACKED: u64 = 2;

/// Elements from here on are nodes by themselves.
const PLAIN_BYTES: usize = 64 * 1024;

/// Appends the value with its type byte.
pub fn write(value: &ListValue, out: &mut Vec<u8>) {
    out.push(types::LIST_NODES);
    let nodes = value.nodes();
    put_len(out, nodes.len() as u64);
    nodes.for_each(|node| write_node(node, out));
}

fn write_node(node: &ListNode, out: &mut Vec<u8>) {
    if node.count() == 1
        && node.listpack_len() > PLAIN_BYTES
        && let Some(Element::String(item)) = node.get(0)
    {
        put_len(out, PLAIN);
        put_len(out, item.len() as u64);
        return out.extend_from_slice(item);
    }
    put_len(out, PACKED);
    put_len(out, node.listpack_len() as u64);
    listpack::write_framed(node.bytes(), node.count(), out);
}

/// A list as it is read.
struct Reading {
    list: ListValue,
    fill: Fill,
}

impl Reading {
    fn new(env: &Env) -> Reading {
        Reading { list: ListValue::default(), fill: Fill(env.limits.list_node_size) }
    }

    fn add(&mut self, elements: Elements<'_>) {
        let mut room = itoa::Buffer::new();
        elements.for_each(|element| self.list.load(element.bytes(&mut room), self.fill));
    }

    fn done(mut self) -> Result<Value, DecodeError> {
        self.list.settle_loaded(self.fill);
        Ok(Value::List(Box::new(self.list)))
    }
}

/// Reads the body of elements one after another.
pub fn read(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut reading = Reading::new(env);
    for _ in 0..source.count()? {
        reading.list.load(&source.string()?, reading.fill);
    }
    reading.done()
}

/// Reads the body of one ziplist.
pub fn read_ziplist(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut reading = Reading::new(env);
    reading.add(ziplist::read(&source.string()?)?);
    reading.done()
}

/// Reads the body of ziplists.
pub fn read_ziplists(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut reading = Reading::new(env);
    for _ in 0..source.count()? {
        reading.add(ziplist::read(&source.string()?)?);
    }
    reading.done()
}

/// Reads the body of nodes.
pub fn read_nodes(source: &mut Source<'_>, env: &Env) -> Result<Value, DecodeError> {
    let mut reading = Reading::new(env);
    for _ in 0..source.count()? {
        let container = source.length()?;
        let node = source.string()?;
        match container {
            PLAIN => reading.list.load(&node, reading.fill),
            PACKED => reading.add(listpack::read(&node)?),
            _ => return Err(DecodeError::Damaged),
        }
    }
    reading.done()
}
