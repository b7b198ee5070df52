//! Commands that show scores, ranks and numbers of members.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, ReplyWriter};

use super::bounds::{lex_range, score_range};
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::SortedSetValue;

/// Runs `then` on the sorted set at the command's key (`None` when there is no key) with the reply at hand.
pub fn with_set<'c, R>(
    cx: &'c mut Cx<'_, '_>,
    args: &Args<'_>,
    then: impl FnOnce(Option<&'c SortedSetValue>, ReplyWriter<'c>) -> R,
) -> Result<R, CommandError> {
    let key = cx.key(&args[1]);
    cx.read_as_and(&key, then)
}

fn score_or_null(reply: &mut ReplyWriter<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// ZCARD key
pub fn zcard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_set(cx, args, |set, mut reply| reply.integer(set.map_or(0, SortedSetValue::len) as i64))
}

/// ZSCORE key member
pub fn zscore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_set(cx, args, |set, mut reply| score_or_null(&mut reply, set.and_then(|s| s.score(&args[2]))))
}

/// ZMSCORE key member \[member …\]
pub fn zmscore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    with_set(cx, args, |set, mut reply| {
        let members = args.tail(2);
        reply.array(members.len());
        for member in members {
            score_or_null(&mut reply, set.and_then(|s| s.score(member)));
        }
    })
}

/// ZRANK key member \[WITHSCORE\], ZREVRANK
pub fn zrank(cx: &mut Cx<'_, '_>, args: &Args<'_>, reverse: bool) -> CommandResult {
    let with_score = match (args.get(3), args.len()) {
        (None, _) => false,
        (Some(_), 5..) => {
            return Err(text::wrong_arity(if reverse { "zrevrank" } else { "zrank" }).into());
        }
        (Some(option), _) if option.eq_ignore_ascii_case(b"WITHSCORE") => true,
        _ => return Err(CommandError::Syntax),
    };
    with_set(cx, args, |set, mut reply| {
        let found = set.and_then(|s| Some((s.rank(&args[2])?, s.len())));
        match found {
            Some(((rank, score), len)) => {
                let rank = if reverse { len - 1 - rank } else { rank };
                if with_score {
                    reply.array(2);
                }
                reply.integer(rank as i64);
                if with_score {
                    reply.double(score);
                }
            }
            None if with_score => reply.null_array(),
            None => reply.null(),
        }
    })
}

/// ZCOUNT key min max
pub fn zcount(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = score_range(&args[2], &args[3])?;
    with_set(cx, args, |set, mut reply| {
        let (start, end) = set.map_or((0, 0), |s| s.by_score(&range));
        reply.integer((end - start) as i64);
    })
}

/// ZLEXCOUNT key min max
pub fn zlexcount(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let range = lex_range(&args[2], &args[3])?;
    with_set(cx, args, |set, mut reply| {
        let (start, end) = set.map_or((0, 0), |s| s.by_lex(&range));
        reply.integer((end - start) as i64);
    })
}
