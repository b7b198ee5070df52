//! Unions, intersections and differences, answered or stored.

use std::ops::ControlFlow;

use smallvec::SmallVec;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, parse_i64};

use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{Member, SetValue};
use crate::store::{Collection, Env, Key};

/// How sets are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Union,
    Intersection,
    Difference,
}

type Sets<'a> = [Option<&'a SetValue>];

/// A union of no more sets than this asks the earlier ones about each member instead of building a set.
const UNION_ASKS: usize = 4;

fn keys<'k>(cx: &Cx<'_, '_>, names: &Args<'k>) -> SmallVec<[Key<'k>; 8]> {
    names.iter().map(|name| cx.key(name)).collect()
}

fn size(set: &Option<&SetValue>) -> usize {
    set.map_or(0, SetValue::len)
}

/// Calls `visit` with the members that all sets have, until it says that it has enough.
fn intersect(sets: &Sets<'_>, mut visit: impl FnMut(Member<'_>) -> bool) {
    let mut sets: SmallVec<[&SetValue; 8]> = match sets.iter().copied().collect() {
        Some(sets) => sets,
        // A missing set is an empty one.
        None => return,
    };
    // The smallest first: the others are only asked.
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    let in_all = |member| others.iter().all(|other| std::ptr::eq(*other, *smallest) || other.has(member));
    // Iterating from within: the iterator of a set has three parts, of which each step would have to ask.
    let _ = smallest.iter().try_for_each(|member| {
        if in_all(member) && !visit(member) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// Calls `visit` with each member of the union.
fn unite(sets: &Sets<'_>, env: &Env, mut visit: impl FnMut(Member<'_>)) {
    let sets: SmallVec<[&SetValue; 8]> = sets.iter().flatten().copied().collect();
    if sets.len() <= UNION_ASKS {
        for (index, set) in sets.iter().enumerate() {
            set.iter().for_each(|member| {
                if !sets[..index].iter().any(|earlier| earlier.has(member)) {
                    visit(member);
                }
            });
        }
        return;
    }
    let mut seen = SetValue::table(env);
    for member in sets.iter().flat_map(|set| set.iter()) {
        if seen.add_member(member, env) {
            visit(member);
        }
    }
}

/// Calls `visit` with the members of the first set that no other has.
fn subtract(sets: &Sets<'_>, env: &Env, mut visit: impl FnMut(Member<'_>)) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: SmallVec<[&SetValue; 8]> = others.iter().flatten().copied().collect();
    if others.iter().any(|other| std::ptr::eq(*other, *first)) {
        return;
    }
    // Asking all sets about each member of the first is faster than removing all their members from a copy of it,
    // unless they are much smaller: as Redis weighs it.
    let asking = first.len() * (others.len() + 1) / 2;
    let removing = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if asking <= removing {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        first.iter().filter(|member| !others.iter().any(|other| other.has(*member))).for_each(visit);
        return;
    }
    let mut left = SetValue::table(env);
    first.iter().for_each(|member| {
        left.add_member(member, env);
    });
    let mut buffer = itoa::Buffer::new();
    for other in others {
        other.iter().for_each(|member| {
            left.remove(member.bytes(&mut buffer));
        });
        if left.is_empty() {
            return;
        }
    }
    left.iter().for_each(&mut visit);
}

/// SUNION, SINTER, SDIFF: key \[key …\]
pub fn reply(cx: &mut Cx<'_, '_>, args: &Args<'_>, operation: Operation) -> CommandResult {
    let keys = keys(cx, &args.tail(1));
    let (env, version) = (cx.env(), cx.version);
    let (sets, out) = cx.read_many::<SetValue>(&keys)?;
    let start = out.len();
    let mut count = 0;
    let mut reply = ReplyWriter::new(out, version);
    let mut give = |member: Member<'_>| {
        member.reply(&mut reply);
        count += 1;
    };
    match operation {
        Operation::Union => unite(&sets, &env, give),
        Operation::Difference => subtract(&sets, &env, give),
        Operation::Intersection => intersect(&sets, |member| {
            give(member);
            true
        }),
    }
    // The number is known last and stands first.
    let mut head = Vec::new();
    ReplyWriter::new(&mut head, version).set(count);
    out.splice(start..start, head);
    Ok(())
}

/// SINTERCARD numkeys key \[key …\] \[LIMIT limit\]
pub fn sintercard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let count = parse_i64(&args[1]).filter(|n| *n > 0).ok_or(CommandError::from(text::NUMKEYS_ABOVE_0))?;
    let names = args.tail(2);
    if count as u64 > names.len() as u64 {
        return Err(text::TOO_MANY_KEYS.into());
    }
    let count = count as usize;
    let mut limit = 0;
    let mut at = 2 + count;
    while let Some(option) = args.get(at) {
        let value =
            args.get(at + 1).filter(|_| option.eq_ignore_ascii_case(b"LIMIT")).ok_or(CommandError::Syntax)?;
        let value = integer(value).map_err(|_| CommandError::from(text::LIMIT_NEGATIVE))?;
        limit = usize::try_from(value).map_err(|_| CommandError::from(text::LIMIT_NEGATIVE))?;
        at += 2;
    }
    let keys: SmallVec<[Key<'_>; 8]> = names.iter().take(count).map(|name| cx.key(name)).collect();
    let mut found = 0;
    intersect(&cx.read_many::<SetValue>(&keys)?.0, |_| {
        found += 1;
        found != limit
    });
    cx.reply().integer(found as i64);
    Ok(())
}

/// The set that a command stores, in the form in which Redis would leave it.
fn result(sets: &Sets<'_>, operation: Operation, env: &Env) -> SetValue {
    match operation {
        Operation::Union => {
            let mut result = SetValue::default();
            sets.iter().flatten().flat_map(|set| set.iter()).for_each(|member| {
                result.add_member(member, env);
            });
            result
        }
        Operation::Difference => {
            let mut result = SetValue::default();
            subtract(sets, env, |member| {
                result.add_member(member, env);
            });
            result
        }
        Operation::Intersection => {
            // Integers stay such; anything else is gathered in the packed form, and looked at in the end.
            let smallest = sets.iter().min_by_key(|set| size(set)).copied().flatten();
            let ints = smallest.is_some_and(|set| set.as_ints().is_some());
            let mut result = if ints { SetValue::default() } else { SetValue::packed() };
            intersect(sets, |member| {
                result.add_member(member, env);
                true
            });
            result.make_ints(env);
            result
        }
    }
}

/// SUNIONSTORE, SINTERSTORE, SDIFFSTORE: destination key \[key …\]
pub fn store(cx: &mut Cx<'_, '_>, args: &Args<'_>, operation: Operation) -> CommandResult {
    let keys = keys(cx, &args.tail(2));
    let env = cx.env();
    let result = result(&cx.read_many::<SetValue>(&keys)?.0, operation, &env);
    let destination = cx.key(&args[1]);
    let len = result.len();
    if len == 0 {
        if cx.delete(&destination) {
            cx.notify(Class::GENERIC, "del", destination.bytes);
        }
    } else {
        cx.put_value(&destination, result.into_value(), None);
        let event = match operation {
            Operation::Union => "sunionstore",
            Operation::Intersection => "sinterstore",
            Operation::Difference => "sdiffstore",
        };
        cx.notify(Class::SET, event, destination.bytes);
    }
    cx.reply().integer(len as i64);
    Ok(())
}
