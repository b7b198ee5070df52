//! Commands that show members.

use smallvec::SmallVec;
use torc_protocol::glob;
use torc_protocol::resp::Args;

use crate::exec::parse::{ScanOptions, cursor};
use crate::exec::{CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::{Member, SetValue};

/// SCARD key
pub fn scard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| {
        reply.integer(set.map_or(0, SetValue::len) as i64);
    })
}

/// SISMEMBER key member
pub fn sismember(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(&args[2]))));
    })
}

/// SMISMEMBER key member \[member …\]
pub fn smismember(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| {
        let members = args.tail(2);
        reply.array(members.len());
        for member in members {
            reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
        }
    })
}

/// SMEMBERS key
pub fn smembers(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| {
        reply.set(set.map_or(0, SetValue::len));
        set.into_iter().flat_map(SetValue::iter).for_each(|member| member.reply(&mut reply));
    })
}

/// SSCAN key cursor \[MATCH pattern\] \[COUNT count\]
pub fn sscan<'c>(cx: &'c mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let from = cursor(&args[2])?;
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, |set: Option<&'c SetValue>, mut reply| {
        let mut found: SmallVec<[Member<'c>; 32]> = SmallVec::new();
        let mut next = 0;
        // Redis looks at the options only when there is something to scan.
        if let Some(set) = set {
            let options = ScanOptions::parse(args, 3, false)?;
            let mut buffer = itoa::Buffer::new();
            let visit = |member: Member<'c>| {
                if options.pattern.is_none_or(|p| glob::matches(p, member.bytes(&mut buffer))) {
                    found.push(member);
                }
            };
            next = set.scan(from, options.count, visit).unwrap_or(0);
        }
        reply.array(2);
        reply.bulk_fmt(next);
        reply.array(found.len());
        found.into_iter().for_each(|member| member.reply(&mut reply));
        Ok(())
    })?
}
