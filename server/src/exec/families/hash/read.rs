//! Commands that show fields.

use torc_protocol::resp::{Args, ReplyWriter};

use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::HashRef;

/// Runs `then` on the hash at the command's key (`None` when there is no key) with the reply at hand.
pub fn with_hash<'c, R>(
    cx: &'c mut Cx<'_, '_>,
    args: &Args<'_>,
    then: impl FnOnce(Option<HashRef<'c>>, ReplyWriter<'c>) -> R,
) -> Result<R, CommandError> {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, then)
}

/// HGET key field
pub fn hget(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| reply.bulk_or_null(hash.and_then(|h| h.get(&args[2]))))
}

/// HMGET key field \[field …\]
pub fn hmget(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        let fields = args.tail(2);
        reply.array(fields.len());
        for field in fields {
            reply.bulk_or_null(hash.and_then(|h| h.get(field)));
        }
    })
}

/// HEXISTS key field
pub fn hexists(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        reply.integer(i64::from(hash.is_some_and(|h| h.get(&args[2]).is_some())));
    })
}

/// HLEN key
pub fn hlen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| reply.integer(hash.map_or(0, HashRef::shown) as i64))
}

/// HSTRLEN key field
pub fn hstrlen(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        reply.integer(hash.and_then(|h| h.get(&args[2])).map_or(0, <[u8]>::len) as i64);
    })
}

/// HGETALL key
pub fn hgetall(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        reply.map(hash.map_or(0, HashRef::shown));
        for (field, value) in hash.into_iter().flat_map(HashRef::iter) {
            reply.bulk(field);
            reply.bulk(value);
        }
    })
}

/// HKEYS key
pub fn hkeys(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        reply.array(hash.map_or(0, HashRef::shown));
        hash.into_iter().flat_map(HashRef::iter).for_each(|(field, _)| reply.bulk(field));
    })
}

/// HVALS key
pub fn hvals(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_hash(cx, args, |hash, mut reply| {
        reply.array(hash.map_or(0, HashRef::shown));
        hash.into_iter().flat_map(HashRef::iter).for_each(|(_, value)| reply.bulk(value));
    })
}
