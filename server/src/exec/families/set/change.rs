//! SADD, SREM, SMOVE.

use smallvec::SmallVec;
use torc_protocol::resp::Args;

use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{SetChange, SetValue};
use crate::store::{Collection, Key};

/// Members of a request that changed something.
type Changed<'a> = SmallVec<[&'a [u8]; 8]>;

/// Adds members to the set at a key, which is one or missing; answers how many were new.
fn add<'m>(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    members: impl ExactSizeIterator<Item = &'m [u8]> + Clone,
) -> Result<usize, CommandError> {
    let env = cx.env();
    let hint = members.len();
    let added = cx.modify(
        key,
        |set: &mut SetValue| {
            set.expect(members.clone().next().unwrap_or_default(), hint, &env);
            let added: Changed<'m> = members.filter(|member| set.add(member, &env)).collect();
            let changed = !added.is_empty();
            (added, changed)
        },
        |out, added| SetChange::put_add(out, hint, added.iter().copied()),
    )?;
    if !added.is_empty() {
        cx.notify(Class::SET, "sadd", key.bytes);
    }
    Ok(added.len())
}

/// Takes members out of the set at a key; answers how many there were.
fn remove<'m>(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    members: impl Iterator<Item = &'m [u8]>,
) -> Result<usize, CommandError> {
    let removed = cx.modify(
        key,
        |set: &mut SetValue| {
            let removed: Changed<'m> = members.filter(|member| set.remove(member)).collect();
            let (changed, empty) = (!removed.is_empty(), set.is_empty());
            ((removed, empty), changed)
        },
        |out, (removed, _)| SetChange::put_remove(out, false, removed.iter().copied()),
    )?;
    let (removed, empty) = removed;
    if !removed.is_empty() {
        cx.notify(Class::SET, "srem", key.bytes);
        if empty {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
    }
    Ok(removed.len())
}

/// SADD key member \[member …\]
pub fn sadd(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let added = add(cx, &key, args.tail(2).iter())?;
    cx.reply().integer(added as i64);
    Ok(())
}

/// SREM key member \[member …\]
pub fn srem(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let removed = remove(cx, &key, args.tail(2).iter())?;
    cx.reply().integer(removed as i64);
    Ok(())
}

/// SMOVE source destination member
pub fn smove(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (from, to, member) = (cx.key(&args[1]), cx.key(&args[2]), &args[3]);
    let found = cx.peek_as::<&SetValue>(&from)?.map(|set| set.contains(member));
    let Some(found) = found else {
        cx.reply().integer(0);
        return Ok(());
    };
    cx.peek_as::<&SetValue>(&to)?;
    if found && from.bytes != to.bytes {
        remove(cx, &from, std::iter::once(member))?;
        add(cx, &to, std::iter::once(member))?;
    }
    cx.reply().integer(i64::from(found));
    Ok(())
}
