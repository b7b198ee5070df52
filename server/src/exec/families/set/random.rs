//! SPOP and SRANDMEMBER. What is popped is decided here, on the primary; replicas are told the members.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter, parse_i64};
use torc_runtime::random::split_mix;

use crate::exec::parse::{MAX_REPEATED, integer};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{Member, MemberList, SetChange, SetValue};
use crate::store::{Collection, Env, Key};

/// A set of which no more than one member in so many is popped stays as it is; the rest of another is put together
/// anew.
const REBUILD_SHARE: u128 = 5;

/// When fewer than one member in so many is wanted they are drawn one by one, else in a walk over all.
const DRAW_SHARE: u64 = 4;

/// Calls `take` with `count` different members (fewer than the set has), each choice equally likely.
fn choose<'s>(set: &'s SetValue, count: u64, rng: &mut u64, mut take: impl FnMut(Member<'s>)) {
    let mut left = set.len() as u64;
    let mut wanted = count.min(left);
    for member in set.iter() {
        if wanted == 0 {
            break;
        }
        // Selection sampling: each is taken with the chance that is left for it.
        if split_mix(rng) % left < wanted {
            take(member);
            wanted -= 1;
        }
        left -= 1;
    }
}

/// Takes `count` members by chance, or all, out of the set; says whether the rest was put together anew.
fn pop(set: &mut SetValue, count: u64, rng: &mut u64, env: &Env) -> (MemberList, bool) {
    let mut popped = MemberList::default();
    let size = set.len() as u64;
    let mut buffer = itoa::Buffer::new();
    if count >= size {
        set.iter().for_each(|member| popped.push(member.bytes(&mut buffer)));
        *set = SetValue::default();
        return (popped, false);
    }
    if count < size / DRAW_SHARE && !set.is_packed() {
        for _ in 0..count {
            let Some(member) = set.sample(split_mix(rng)).map(|member| member.to_vec()) else { break };
            set.remove(&member);
            popped.push(&member);
        }
    } else {
        choose(set, count, rng, |member| popped.push(member.bytes(&mut buffer)));
        popped.iter().for_each(|member| {
            set.remove(member);
        });
    }
    let rebuild = u128::from(size - count) * REBUILD_SHARE <= u128::from(count);
    if rebuild {
        set.rebuild(env);
    }
    (popped, rebuild)
}

/// Pops from the set at a key, if there is one; tells who wants to know.
fn pop_at(cx: &mut Cx<'_, '_>, key: &Key<'_>, count: u64) -> Result<MemberList, CommandError> {
    let env = cx.env();
    let mut rng = cx.random();
    let (popped, _, empty) = cx.modify(
        key,
        |set: &mut SetValue| {
            let (popped, rebuild) = pop(set, count, &mut rng, &env);
            let changed = !popped.is_empty();
            ((popped, rebuild, set.is_empty()), changed)
        },
        |out, (popped, rebuild, _)| SetChange::put_remove(out, *rebuild, popped.iter()),
    )?;
    if !popped.is_empty() {
        cx.notify(Class::SET, "spop", key.bytes);
        if empty {
            cx.notify(Class::GENERIC, "del", key.bytes);
        }
    }
    Ok(popped)
}

/// SPOP key \[count\]
pub fn spop(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let Some(count) = args.get(2) else {
        let popped = pop_at(cx, &key, 1)?;
        match popped.iter().next() {
            Some(member) => cx.reply().bulk(member),
            None => cx.reply().null(),
        }
        return Ok(());
    };
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = parse_i64(count).and_then(|n| u64::try_from(n).ok());
    let count = count.ok_or(CommandError::from(text::OUT_OF_RANGE_POSITIVE))?;
    let popped = pop_at(cx, &key, count)?;
    let mut reply = cx.reply();
    reply.set(popped.len());
    popped.iter().for_each(|member| reply.bulk(member));
    Ok(())
}

/// SRANDMEMBER key \[count\]
pub fn srandmember(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = cx.key(&args[1]);
    let mut rng = cx.random();
    let Some(count) = args.get(2) else {
        return cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| {
            match set.and_then(|set| set.sample(split_mix(&mut rng))) {
                Some(member) => member.reply(&mut reply),
                None => reply.null(),
            }
        });
    };
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(text::OUT_OF_RANGE_LONG.into());
    }
    if count < 0 && count.unsigned_abs() > MAX_REPEATED {
        return Err(text::OUT_OF_RANGE.into());
    }
    cx.read_as_and(&key, |set: Option<&SetValue>, mut reply| match set {
        None => reply.array(0),
        Some(set) if count < 0 => repeated(set, count.unsigned_abs(), &mut rng, &mut reply),
        Some(set) => distinct(set, count as u64, &mut rng, &mut reply),
    })
}

fn repeated(set: &SetValue, count: u64, rng: &mut u64, reply: &mut ReplyWriter<'_>) {
    reply.array(count as usize);
    // A packed set is short, and walked once.
    let all: Vec<_> = if set.is_packed() { set.iter().collect() } else { Vec::new() };
    for _ in 0..count {
        let r = split_mix(rng);
        let member = if all.is_empty() { set.sample(r) } else { all.get(r as usize % all.len()).copied() };
        match member {
            Some(member) => member.reply(reply),
            None => reply.bulk(b""),
        }
    }
}

fn distinct(set: &SetValue, count: u64, rng: &mut u64, reply: &mut ReplyWriter<'_>) {
    let size = set.len() as u64;
    reply.array(count.min(size) as usize);
    if count >= size / DRAW_SHARE || set.is_packed() {
        return choose(set, count, rng, |member| member.reply(reply));
    }
    let mut drawn = ahash::AHashSet::with_capacity(count as usize);
    while (drawn.len() as u64) < count {
        let Some(member) = set.sample(split_mix(rng)) else { return };
        if drawn.insert(member) {
            member.reply(reply);
        }
    }
}
