//! ZSCAN and ZRANDMEMBER.

use smallvec::SmallVec;
use torc_protocol::glob;
use torc_protocol::resp::{Args, DoubleBuffer};
use torc_runtime::random::split_mix;

use super::read::with_set;
use super::reply::Pairs;
use crate::exec::parse::{ScanOptions, cursor, picks};
use crate::exec::{CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::SortedSetValue;

/// When so many times the members that are wanted are there, single ones are drawn, else all are walked through.
const DRAW_FROM: usize = 4;

/// ZSCAN key cursor \[MATCH pattern\] \[COUNT count\] \[NOSCORES\]
pub fn zscan(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let from = cursor(&args[2])?;
    with_set(cx, args, |set, mut reply| {
        let mut found: SmallVec<[(&[u8], f64); 32]> = SmallVec::new();
        let (mut next, mut names_only) = (0, false);
        // Redis looks at the options only when there is something to scan.
        if let Some(set) = set {
            let options = ScanOptions::parse_with_names(args, 3, b"NOSCORES")?;
            names_only = options.names_only;
            let visit = |member, score| {
                if options.pattern.is_none_or(|p| glob::matches(p, member)) {
                    found.push((member, score));
                }
            };
            next = set.scan(from, options.count, visit).unwrap_or(0);
        }
        reply.array(2);
        reply.bulk_fmt(next);
        reply.array(if names_only { found.len() } else { found.len() * 2 });
        for (member, score) in found {
            reply.bulk(member);
            if !names_only {
                // A string in both versions of the protocol.
                reply.bulk(DoubleBuffer::new().format(score));
            }
        }
        Ok(())
    })?
}

/// ZRANDMEMBER key \[count \[WITHSCORES\]\]
pub fn zrandmember(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let seed = cx.random();
    let Some(count) = args.get(2) else {
        return with_set(cx, args, |set, mut reply| {
            let rank = set.map_or(0, |s| seed as usize % s.len().max(1));
            match set.and_then(|s| s.at(rank)) {
                Some((member, _)) => reply.bulk(member),
                None => reply.null(),
            }
        });
    };
    let (count, with_scores) = picks(args, count, b"WITHSCORES")?;
    with_set(cx, args, |set, reply| {
        let Some(set) = set else {
            Pairs::start(reply, 0, false);
            return;
        };
        if count < 0 {
            let reply = Pairs::start(reply, count.unsigned_abs() as usize, with_scores);
            repeated(set, count.unsigned_abs(), seed, reply);
        } else {
            let count = usize::try_from(count).map_or(set.len(), |count| count.min(set.len()));
            distinct(set, count, seed, Pairs::start(reply, count, with_scores));
        }
    })
}

fn repeated(set: &SortedSetValue, count: u64, mut rng: u64, mut reply: Pairs<'_>) {
    // A packed set is short, and walked once.
    let all: Option<Vec<_>> = matches!(set, SortedSetValue::Packed(_)).then(|| set.iter().collect());
    for _ in 0..count {
        let rank = split_mix(&mut rng) as usize % set.len().max(1);
        let element = match &all {
            Some(all) => all.get(rank).copied(),
            None => set.at(rank),
        };
        reply.pair(element.unwrap_or_default());
    }
}

/// Each member at most once.
fn distinct(set: &SortedSetValue, count: usize, mut rng: u64, mut reply: Pairs<'_>) {
    if count < set.len() / DRAW_FROM && matches!(set, SortedSetValue::Indexed(_)) {
        // Floyd's way: ranks without repetition, in as many steps as are wanted.
        let mut chosen = std::collections::BTreeSet::new();
        for last in set.len() - count..set.len() {
            let rank = split_mix(&mut rng) as usize % (last + 1);
            if !chosen.insert(rank) {
                chosen.insert(last);
            }
        }
        for rank in chosen {
            reply.pair(set.at(rank).unwrap_or_default());
        }
        return;
    }
    // Each is taken with the chance that is left for it.
    let (mut left, mut wanted) = (set.len() as u64, count as u64);
    for element in set.iter() {
        if wanted == 0 {
            break;
        }
        if split_mix(&mut rng) % left < wanted {
            reply.pair(element);
            wanted -= 1;
        }
        left -= 1;
    }
}
