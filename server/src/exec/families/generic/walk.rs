//! Keys of the whole store: KEYS, SCAN, RANDOMKEY.

use torc_protocol::resp::{Args, ReplyWriter};

use crate::exec::parse::{ScanOptions, cursor};
use crate::exec::{CommandResult, Cx, keyspace};
use torc_protocol::glob;

/// KEYS pattern
pub fn keys(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let pattern = &args[1];
    let (mut found, mut count) = (Vec::new(), 0);
    let mut list = ReplyWriter::new(&mut found, cx.version);
    keyspace::for_each_entry(cx, |entry| {
        if pattern == b"*" || glob::matches(pattern, entry.key()) {
            list.bulk(entry.key());
            count += 1;
        }
    })?;
    let mut reply = cx.reply();
    reply.array(count);
    reply.raw(&found);
    Ok(())
}

/// SCAN cursor \[MATCH pattern\] \[COUNT count\] \[TYPE type\]
pub fn scan(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let from = cursor(&args[1])?;
    let options = ScanOptions::parse(args, 2, true)?;
    let (mut found, mut count) = (Vec::new(), 0);
    let mut list = ReplyWriter::new(&mut found, cx.version);
    let next = keyspace::scan(cx, from, options.count, |entry| {
        let wanted = options.pattern.is_none_or(|p| glob::matches(p, entry.key()))
            && options.kind.is_none_or(|k| k.eq_ignore_ascii_case(entry.value().type_name().as_bytes()));
        if wanted {
            list.bulk(entry.key());
            count += 1;
        }
    })?;
    let mut reply = cx.reply();
    reply.array(2);
    reply.bulk_fmt(next);
    reply.array(count);
    reply.raw(&found);
    Ok(())
}

/// RANDOMKEY
pub fn randomkey(cx: &mut Cx<'_, '_>) -> CommandResult {
    match keyspace::random_key(cx)? {
        Some(key) => cx.reply().bulk(&key),
        None => cx.reply().null(),
    }
    Ok(())
}
