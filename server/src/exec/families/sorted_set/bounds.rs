//! Ranges as arguments write them.

use torc_protocol::error as text;
use torc_protocol::resp::parse_bound;

use crate::exec::CommandError;
use crate::store::value::{LexBound, LexRange, ScoreRange};

/// One end of a range of scores, and whether the score itself is left out.
fn score(arg: &[u8]) -> Option<(f64, bool)> {
    match arg.split_first() {
        Some((b'(', rest)) => Some((parse_bound(rest)?, true)),
        _ => Some((parse_bound(arg)?, false)),
    }
}

/// `1.5`, `(1.5`, `-inf`, `+inf` …
pub fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    match (score(min), score(max)) {
        (Some((min, min_open)), Some((max, max_open))) => Ok(ScoreRange { min, min_open, max, max_open }),
        _ => Err(text::SCORE_RANGE.into()),
    }
}

fn lex(arg: &[u8]) -> Option<LexBound<'_>> {
    match arg.split_first()? {
        (b'+', []) => Some(LexBound::Highest),
        (b'-', []) => Some(LexBound::Lowest),
        (b'(', member) => Some(LexBound::Open(member)),
        (b'[', member) => Some(LexBound::Closed(member)),
        _ => None,
    }
}

/// `[member`, `(member`, `-`, `+`
pub fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    match (lex(min), lex(max)) {
        (Some(min), Some(max)) => Ok(LexRange { min, max }),
        _ => Err(text::LEX_RANGE.into()),
    }
}

/// The ranks from `start` to `end`, both counted from the end when negative: the first, and how many.
pub fn rank_range(start: i64, end: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |n: i64| if n < 0 { n.saturating_add(len) } else { n };
    let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
    if start > end { (0, 0) } else { (start as usize, (end - start + 1) as usize) }
}
