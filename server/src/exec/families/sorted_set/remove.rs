//! ZREM and the commands that remove a range.

use torc_protocol::resp::Args;

use super::bounds::{lex_range, rank_range, score_range};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{SortedSetChange, SortedSetValue};
use crate::store::{Collection, Key};

/// Members that were removed, one after another in one piece of memory, with their scores.
#[derive(Debug, Default)]
pub struct Removed {
    bytes: Vec<u8>,
    elements: Vec<(usize, f64)>,
    /// Whether nothing is left.
    pub emptied: bool,
}

impl Removed {
    /// Takes `count` elements from rank `start` on out of a set; when `reverse` ranks count from the highest score.
    pub fn take(set: &mut SortedSetValue, (start, count): (usize, usize), reverse: bool) -> Removed {
        let mut removed = Removed::default();
        for (member, score) in set.range(start, count, reverse) {
            removed.bytes.extend_from_slice(member);
            removed.elements.push((removed.bytes.len(), score));
        }
        if removed.len() == set.len() {
            *set = SortedSetValue::default();
        } else {
            removed.iter().for_each(|(member, _)| {
                set.remove(member);
            });
        }
        removed.emptied = set.is_empty();
        removed
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// The members and their scores.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        let mut start = 0;
        self.elements.iter().filter_map(move |&(end, score)| {
            let member = self.bytes.get(start..end)?;
            start = end;
            Some((member, score))
        })
    }
}

/// Removes what `find` points at (first rank and number), downwards from the highest score when `reverse`.
pub fn take_range(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    event: &'static str,
    reverse: bool,
    find: impl FnOnce(&SortedSetValue) -> (usize, usize),
) -> Result<Removed, CommandError> {
    let removed = cx.modify(
        key,
        |set: &mut SortedSetValue| {
            let range = find(set);
            let removed = Removed::take(set, range, reverse);
            let changed = removed.len() > 0;
            (removed, changed)
        },
        |out, removed| SortedSetChange::put_remove(out, removed.iter().map(|(member, _)| member)),
    )?;
    if removed.len() > 0 {
        cx.notify(Class::SORTED_SET, event, key.bytes);
        if removed.emptied {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
    }
    Ok(removed)
}

fn remove_range(
    cx: &mut Cx<'_, '_>,
    args: &Args<'_>,
    event: &'static str,
    find: impl FnOnce(&SortedSetValue) -> (usize, usize),
) -> CommandResult {
    let key = cx.key(&args[1]);
    let removed = take_range(cx, &key, event, false, |set| {
        let (start, end) = find(set);
        (start, end - start)
    })?;
    cx.reply().integer(removed.len() as i64);
    Ok(())
}

/// ZREMRANGEBYRANK key start stop
pub fn zremrangebyrank(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (integer(&args[2])?, integer(&args[3])?);
    remove_range(cx, args, "zremrangebyrank", |set| {
        let (first, count) = rank_range(start, end, set.len());
        (first, first + count)
    })
}

/// ZREMRANGEBYSCORE key min max
pub fn zremrangebyscore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = score_range(&args[2], &args[3])?;
    remove_range(cx, args, "zremrangebyscore", |set| set.by_score(&range))
}

/// ZREMRANGEBYLEX key min max
pub fn zremrangebylex(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = lex_range(&args[2], &args[3])?;
    remove_range(cx, args, "zremrangebylex", |set| set.by_lex(&range))
}

/// ZREM key member \[member …\]
pub fn zrem(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let (removed, emptied) = cx.modify(
        &key,
        |set: &mut SortedSetValue| {
            let removed = args.tail(2).into_iter().filter(|member| set.remove(member).is_some()).count();
            ((removed, set.is_empty()), removed > 0)
        },
        |out, _| SortedSetChange::put_remove(out, args.tail(2).into_iter()),
    )?;
    if removed > 0 {
        cx.notify(Class::SORTED_SET, "zrem", key.bytes);
        if emptied {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
    }
    cx.reply().integer(removed as i64);
    Ok(())
}
