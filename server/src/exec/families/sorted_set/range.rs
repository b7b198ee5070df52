//! ZRANGE, its older names, and ZRANGESTORE.

use torc_protocol::resp::Args;

use super::bounds::{lex_range, rank_range, score_range};
use super::read::with_set;
use super::reply::{Pairs, store};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::Collection;
use crate::store::value::{LexRange, ScoreRange, SortedSetValue};

const LIMIT_BY_RANK: &str =
    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
const SCORES_BY_LEX: &str = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";

/// What the ends of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Ranks.
    Rank,
    /// Scores.
    Score,
    /// Members.
    Lex,
}

/// In which order elements are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest score on.
    Forward,
    /// From the highest score on.
    Reverse,
    /// From the lowest score on, unless REV says otherwise.
    AsAsked,
}

#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexRange<'a>),
}

/// A range as it was asked for.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Request<'a> {
    /// Reads `min max [options]` from argument `at` on. Without `by` BYSCORE and BYLEX are options; what is stored has
    /// no WITHSCORES.
    fn parse(
        args: &Args<'a>,
        at: usize,
        mut by: Option<By>,
        direction: Direction,
        stored: bool,
    ) -> Result<Request<'a>, CommandError> {
        let may_choose = by.is_none();
        let mut reverse = direction == Direction::Reverse;
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut next = at + 2;
        while let Some(option) = args.get(next) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            next += 1;
            if !stored && is(b"WITHSCORES") {
                with_scores = true;
            } else if is(b"LIMIT")
                && let (Some(first), Some(count)) = (args.get(next), args.get(next + 1))
            {
                (offset, limit) = (integer(first)?, integer(count)?);
                next += 2;
            } else if direction == Direction::AsAsked && !reverse && is(b"REV") {
                reverse = true;
            } else if may_choose && by.is_none() && is(b"BYLEX") {
                by = Some(By::Lex);
            } else if may_choose && by.is_none() && is(b"BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        let by = by.unwrap_or(By::Rank);
        if limit != -1 && by == By::Rank {
            return Err(LIMIT_BY_RANK.into());
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX.into());
        }
        let (first, second) = (args.get(at).unwrap_or_default(), args.get(at + 1).unwrap_or_default());
        let (min, max) = if reverse { (second, first) } else { (first, second) };
        let ends = match by {
            By::Rank => Ends::Rank(integer(first)?, integer(second)?),
            By::Score => Ends::Score(score_range(min, max)?),
            By::Lex => Ends::Lex(lex_range(min, max)?),
        };
        Ok(Request { ends, reverse, with_scores, offset, limit })
    }

    /// Which elements of a set are meant: the first rank (from the highest score on when reversed) and how many.
    fn select(&self, set: &SortedSetValue) -> (usize, usize) {
        let (start, end) = match &self.ends {
            Ends::Rank(start, end) => return rank_range(*start, *end, set.len()),
            Ends::Score(range) => set.by_score(range),
            Ends::Lex(range) => set.by_lex(range),
        };
        let first = if self.reverse { set.len() - end } else { start };
        let Ok(offset) = usize::try_from(self.offset) else { return (0, 0) };
        let left = (end - start).saturating_sub(offset);
        let count = usize::try_from(self.limit).map_or(left, |limit| limit.min(left));
        if count == 0 { (0, 0) } else { (first + offset, count) }
    }
}

/// ZRANGE key start stop \[BYSCORE | BYLEX\] \[REV\] \[LIMIT offset count\] \[WITHSCORES\], and its older names
pub fn zrange(cx: &mut Cx<'_, '_>, args: &Args<'_>, by: Option<By>, direction: Direction) -> CommandResult {
    let request = Request::parse(args, 2, by, direction, false)?;
    with_set(cx, args, |set, reply| {
        let (start, count) = set.map_or((0, 0), |s| request.select(s));
        let mut reply = Pairs::start(reply, count, request.with_scores);
        if let Some(set) = set {
            set.range(start, count, request.reverse).for_each(|element| reply.pair(element));
        }
    })
}

/// ZRANGESTORE dst src min max \[BYSCORE | BYLEX\] \[REV\] \[LIMIT offset count\]
pub fn zrangestore(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(args, 3, None, Direction::AsAsked, true)?;
    let (to, from) = (cx.key(&args[1]), cx.key(&args[2]));
    let env = cx.env();
    let mut result = SortedSetValue::default();
    if let Some(set) = cx.read_as::<&SortedSetValue>(&from)? {
        let (start, count) = request.select(set);
        for (member, score) in set.range(start, count, request.reverse) {
            result.set(member, score, &env.limits.sorted_set, env.hasher);
        }
    }
    store(cx, &to, result, "zrangestore");
    Ok(())
}
