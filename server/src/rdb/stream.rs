//! Streams.
//!
//! ```text
//! nodes | length | last ID | first ID | greatest deleted ID | entries added | groups      (version 1: up to the last ID)
//! node  : first ID as a string of 16 bytes | listpack as a string
//! group : name | last ID | entries read (not in version 1) | pending | consumers
//! pending  : number | ID as 16 bytes, delivery time as 8, deliveries
//! consumer : name | seen time as 8 bytes | active time as 8 (from version 3 on) | number | IDs as 16 bytes
//! ```

use super::{Source, listpack, put_len, put_string, types};
use crate::effect::DecodeError;
use crate::store::value::stream::{Group, IdMap, Log, Node, Pending, StreamId, StreamValue};
use crate::store::{Collection, Env, Value};

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_len(out, id.ms);
    put_len(out, id.seq);
}

/// Appends the value with its type byte: in the form of Redis 7.0, unless that has no place for something. With
/// `readable` it is that of Redis 7.0 in any case: when a consumer was last active is lost.
pub fn write(value: &StreamValue, readable: bool, out: &mut Vec<u8>) {
    let keeps_active = !readable
        && value
            .groups
            .iter()
            .flat_map(Group::consumers)
            .any(|consumer| consumer.active_ms != consumer.seen_ms);
    out.push(if keeps_active { types::STREAM } else { types::STREAM_V2 });
    let log = &value.log;
    put_len(out, log.node_count() as u64);
    let mut packed = Vec::new();
    for (first, node) in log.nodes() {
        put_string(out, &first.to_bytes());
        packed.clear();
        node.write_listpack(&mut packed);
        put_string(out, &packed);
    }
    put_len(out, log.len());
    put_id(out, log.last_id());
    put_id(out, log.first_id());
    put_id(out, log.max_deleted_id());
    put_len(out, log.entries_added());
    put_len(out, value.groups.len() as u64);
    for group in value.groups.iter() {
        write_group(group, keeps_active, out);
    }
}

fn write_group(group: &Group, keeps_active: bool, out: &mut Vec<u8>) {
    put_string(out, group.name());
    put_id(out, group.last_id);
    put_len(out, group.reads as u64);
    put_len(out, group.pending().len() as u64);
    for (id, pending) in group.pending().iter() {
        out.extend_from_slice(&id.to_bytes());
        out.extend_from_slice(&pending.time_ms.to_le_bytes());
        put_len(out, pending.count);
    }
    put_len(out, group.consumer_count() as u64);
    for consumer in group.consumers() {
        put_string(out, consumer.name());
        out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
        if keeps_active {
            out.extend_from_slice(&consumer.active_ms.to_le_bytes());
        }
        put_len(out, consumer.pending().len() as u64);
        for (id, ()) in consumer.pending().iter() {
            out.extend_from_slice(&id.to_bytes());
        }
    }
}

fn id(source: &mut Source<'_>) -> Result<StreamId, DecodeError> {
    Ok(StreamId::new(source.length()?, source.length()?))
}

/// Reads the body of version 1 (Redis 5.0), 2 (7.0) or 3 (7.2).
pub fn read(source: &mut Source<'_>, version: u8, _env: &Env) -> Result<Value, DecodeError> {
    let mut log = read_nodes(source)?;
    if source.length()? != log.len() {
        return Err(DecodeError::Damaged);
    }
    let last_id = id(source)?;
    if last_id < log.last_id() {
        return Err(DecodeError::Damaged);
    }
    let (max_deleted_id, entries_added) = if version == 1 {
        (StreamId::MIN, log.len())
    } else {
        // The first ID is known from the entries.
        id(source)?;
        (id(source)?, source.length()?)
    };
    log.set_facts(last_id, max_deleted_id, entries_added);
    let mut value = StreamValue { log, ..StreamValue::default() };
    for _ in 0..source.count()? {
        let group = read_group(source, version, &value.log)?;
        if !value.groups.add(group) {
            return Err(DecodeError::Damaged);
        }
    }
    Ok(value.into_value())
}

fn read_nodes(source: &mut Source<'_>) -> Result<Log, DecodeError> {
    let count = source.count()?;
    let (mut failed, mut last) = (None, None);
    let nodes = (0..count).map_while(|_| {
        let node = read_node(source, last).map_err(|error| failed = Some(error)).ok();
        last = node.as_ref().map(|(_, node)| node.last());
        Some(node)
    });
    let log = Log::from_nodes(nodes);
    match failed {
        Some(error) => Err(error),
        None => log.ok_or(DecodeError::Damaged),
    }
}

fn read_node(source: &mut Source<'_>, after: Option<StreamId>) -> Result<(StreamId, Node), DecodeError> {
    let first = source.string()?;
    let first = StreamId::from_bytes((*first).try_into().map_err(|_| DecodeError::Damaged)?);
    let packed = source.string()?;
    // Every element is whole and can be read from either side.
    listpack::read(&packed)?;
    let node = Node::read_listpack(first, &packed, after).ok_or(DecodeError::Damaged)?;
    Ok((first, node))
}

fn read_group(source: &mut Source<'_>, version: u8, log: &Log) -> Result<Group, DecodeError> {
    let name = source.string()?.into_owned();
    let last_id = id(source)?;
    let reads = if version == 1 { log.reads_up_to(last_id) } else { source.length()? as i64 };
    let mut group = Group::new(&name, last_id, reads);
    let mut waiting = IdMap::default();
    for _ in 0..source.count()? {
        let id = StreamId::from_bytes(source.chunk()?);
        let time_ms = i64::from_le_bytes(source.chunk()?);
        if waiting.insert(id, (time_ms, source.length()?)).is_some() {
            return Err(DecodeError::Damaged);
        }
    }
    for _ in 0..source.count()? {
        let name = source.string()?.into_owned();
        let seen_ms = i64::from_le_bytes(source.chunk()?);
        let active_ms = if version >= 3 { i64::from_le_bytes(source.chunk()?) } else { seen_ms };
        let (consumer, true) = group.find_or_create(&name, seen_ms) else { return Err(DecodeError::Damaged) };
        group.note(consumer, seen_ms, Some(active_ms));
        for _ in 0..source.count()? {
            let id = StreamId::from_bytes(source.chunk()?);
            // Each pending entry is one consumer's.
            let (time_ms, count) = waiting.remove(id).ok_or(DecodeError::Damaged)?;
            group.assign(id, Pending { time_ms, count, consumer });
        }
    }
    if waiting.is_empty() { Ok(group) } else { Err(DecodeError::Damaged) }
}
