//! Sorted sets, and the places that are kept in them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::map::{Model, Run, Value};
use super::reply::{Answer, Reply, WRONG_TYPE, int};
use super::words::{Bytes, Request, key, keys, member, members, some};

/// A range of ranks, of scores or of members.
#[derive(Clone, Debug)]
pub enum Range {
    Rank(i64, i64),
    /// From one score to another; whether each is excluded.
    Score((u8, bool), (u8, bool)),
    /// Members between two, both included, as long as all have one score.
    Lex(u8, u8),
}

#[derive(Clone, Debug)]
pub enum Step {
    Add { key: u8, only: u8, better: u8, changed: bool, pairs: Vec<(u8, u8)> },
    Incr { key: u8, only: u8, by: u8, member: u8 },
    Rem { key: u8, members: Vec<u8> },
    Pop { key: u8, max: bool, count: u8 },
    RemRange { key: u8, range: Range },
    Range { key: u8, range: Range, reverse: bool, limit: Option<(u8, i8)> },
    RangeStore { to: u8, from: u8, range: Range, reverse: bool },
    Count { key: u8, range: Range },
    Rank { key: u8, member: u8, reverse: bool },
    Store { op: u8, to: u8, keys: Vec<u8>, weights: Option<i8>, aggregate: u8 },
    GeoAdd { key: u8, place: u8, member: u8 },
    GeoNear { to: u8, from: u8, place: u8 },
}

/// Scores that are written as they are computed: quarters, and what is beyond all numbers.
fn score(n: u8) -> f64 {
    match n {
        20 => f64::INFINITY,
        21 => f64::NEG_INFINITY,
        _ => (f64::from(n) - 6.0) / 4.0,
    }
}

fn scores() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![9 => 0u8..20, 3 => Just(6u8), 1 => 20u8..22]
}

/// Longitude, latitude and the score that Redis gives them.
const PLACES: [(&str, &str, f64); 5] = [
    ("0", "0", 3_377_699_720_527_872.0),
    ("13.361389", "38.115556", 3_479_099_956_230_698.0),
    ("-122.27652", "37.805186", 1_367_952_638_197_536.0),
    ("179.5", "-84.9", 3_002_391_893_572_759.0),
    ("2.5", "48.9", 3_663_839_366_572_886.0),
];

fn range() -> impl Strategy<Value = Range> {
    let bound = || (scores(), any::<bool>());
    prop_oneof![
        2 => (-9i64..6, -6i64..12).prop_map(|(start, stop)| Range::Rank(start, stop)),
        2 => (bound(), bound()).prop_map(|(min, max)| Range::Score(min, max)),
        1 => (members(), members()).prop_map(|(min, max)| Range::Lex(min, max)),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    let limit = prop::option::weighted(0.3, (0u8..4, -1i8..5));
    let weights = prop::option::weighted(0.3, 1i8..4);
    prop_oneof![
        8 => (keys(), 0u8..5, 0u8..5, any::<bool>(), some((scores(), members()), 6))
            .prop_map(|(key, only, better, changed, pairs)| Step::Add { key, only, better, changed, pairs }),
        2 => (keys(), 0u8..5, scores(), members())
            .prop_map(|(key, only, by, member)| Step::Incr { key, only, by, member }),
        3 => (keys(), some(members(), 6)).prop_map(|(key, members)| Step::Rem { key, members }),
        2 => (keys(), any::<bool>(), 0u8..5).prop_map(|(key, max, count)| Step::Pop { key, max, count }),
        2 => (keys(), range()).prop_map(|(key, range)| Step::RemRange { key, range }),
        4 => (keys(), range(), any::<bool>(), limit)
            .prop_map(|(key, range, reverse, limit)| Step::Range { key, range, reverse, limit }),
        1 => (keys(), keys(), range(), any::<bool>())
            .prop_map(|(to, from, range, reverse)| Step::RangeStore { to, from, range, reverse }),
        1 => (keys(), range()).prop_map(|(key, range)| Step::Count { key, range }),
        2 => (keys(), members(), any::<bool>()).prop_map(|(key, member, reverse)| Step::Rank { key, member, reverse }),
        3 => (0u8..3, keys(), some(keys(), 3), weights, 0u8..4).prop_map(|(op, to, keys, weights, aggregate)| {
            Step::Store { op, to, keys, weights, aggregate }
        }),
        1 => (keys(), 0u8..5, members()).prop_map(|(key, place, member)| Step::GeoAdd { key, place, member }),
        1 => (keys(), keys(), 0u8..5).prop_map(|(to, from, place)| Step::GeoNear { to, from, place }),
    ]
}

type Sorted = BTreeMap<Bytes, f64>;

/// The elements by score, then by member.
fn in_order(set: &Sorted) -> Vec<(Bytes, f64)> {
    let mut all: Vec<_> = set.iter().map(|(member, score)| (member.clone(), *score)).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    all
}

fn written(score: f64) -> Bytes {
    score.to_string().into_bytes()
}

fn with_scores(elements: Vec<(Bytes, f64)>) -> Reply {
    Reply::List(elements.into_iter().flat_map(|(member, score)| [member, written(score)]).collect())
}

impl Range {
    /// The elements of the range, in their order; ranks count from the other end when it is reversed.
    fn of(&self, set: &Sorted, reverse: bool) -> Vec<(Bytes, f64)> {
        let all = in_order(set);
        let len = all.len() as i64;
        let kept = |at: usize, member: &Bytes, found: f64| match self {
            Range::Rank(start, stop) => {
                let rank = if reverse { len - 1 - at as i64 } else { at as i64 };
                let place = |n: i64| if n < 0 { n + len } else { n };
                place(*start).max(0) <= rank && rank <= place(*stop)
            }
            Range::Score((min, above), (max, below)) => {
                let (min, max) = (score(*min), score(*max));
                (found > min || found == min && !above) && (found < max || found == max && !below)
            }
            Range::Lex(min, max) => {
                *member >= super::words::member(*min) && *member <= super::words::member(*max)
            }
        };
        let found = all.into_iter().enumerate().filter(|(at, (m, s))| kept(*at, m, *s));
        found.map(|(_, element)| element).collect()
    }

    /// Its two ends as arguments, the lower one first.
    fn ends(&self) -> [Bytes; 2] {
        let bound = |(n, open): (u8, bool)| [if open { &b"("[..] } else { b"" }, &written(score(n))].concat();
        let lex = |n: u8| [b"[".to_vec(), member(n)].concat();
        match self {
            Range::Rank(start, stop) => [start.to_string().into_bytes(), stop.to_string().into_bytes()],
            Range::Score(min, max) => [bound(*min), bound(*max)],
            Range::Lex(min, max) => [lex(*min), lex(*max)],
        }
    }

    fn add_to(&self, request: Request, reverse: bool) -> Request {
        let [low, high] = self.ends();
        // The higher bound comes first when it is reversed; ranks stay as they are.
        let turned = reverse && !matches!(self, Range::Rank(..));
        let request = if turned { request.arg(high).arg(low) } else { request.arg(low).arg(high) };
        let request = match self {
            Range::Rank(..) => request,
            Range::Score(..) => request.arg("BYSCORE"),
            Range::Lex(..) => request.arg("BYLEX"),
        };
        request.when(reverse, "REV")
    }

    /// Members are in no order when they have different scores.
    fn is_open(&self, m: &Model, key: u8) -> bool {
        let mixed = |set: Sorted| set.values().any(|score| Some(score) != set.values().next());
        matches!(self, Range::Lex(..)) && m.sorted(key).is_ok_and(mixed)
    }
}

/// The sorted set, or the set with scores of 1, at a key.
fn source(m: &Model, n: u8) -> Result<Sorted, Reply> {
    match m.get(n) {
        None => Ok(Sorted::new()),
        Some((Value::Sorted(set), _)) => Ok(set.clone()),
        Some((Value::Set(set), _)) => Ok(set.iter().map(|member| (member.clone(), 1.0)).collect()),
        Some(_) => Err(WRONG_TYPE),
    }
}

/// What is no number counts as zero.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

fn combine(op: u8, sets: &[Sorted], weight: f64, aggregate: u8) -> Sorted {
    let mut result = Sorted::new();
    let mut sets: Vec<&Sorted> = sets.iter().collect();
    if op != 2 {
        // The smallest first, as Redis does: places have scores so big that the order of the sum shows.
        sets.sort_by_key(|set| set.len());
    }
    for member in sets.iter().copied().flat_map(BTreeMap::keys) {
        let found: Vec<f64> = sets.iter().filter_map(|set| set.get(member).copied()).collect();
        let first = sets.first().and_then(|set| set.get(member));
        match op {
            2 => {
                if let (Some(score), 1) = (first, found.len()) {
                    result.insert(member.clone(), *score);
                }
            }
            1 if found.len() < sets.len() => {}
            _ => {
                let scores = found.iter().map(|score| or_zero(score * weight));
                let total = scores.reduce(|a, b| match aggregate {
                    1 => a.min(b),
                    2 => a.max(b),
                    _ => or_zero(a + b),
                });
                result.insert(member.clone(), total.unwrap_or_default());
            }
        }
    }
    result
}

/// Whether ZADD's NX, XX, GT and LT let a member go from an old score to a new one.
fn allowed(only: u8, better: u8, old: Option<f64>, new: f64) -> bool {
    match (only, old) {
        (0, Some(_)) | (1, None) => return false,
        _ => {}
    }
    match (better, old) {
        (0, Some(old)) if only != 0 => new > old,
        (1, Some(old)) if only != 0 => new < old,
        _ => true,
    }
}

impl Run for Step {
    fn run(&self, m: &mut Model) -> Answer {
        match self {
            Step::Add { key, only, better, changed, pairs } => {
                let mut set = m.sorted(*key)?;
                let (mut added, mut moved) = (0, 0);
                for (new, n) in pairs {
                    let (name, new) = (member(*n), score(*new));
                    let old = set.get(&name).copied();
                    if allowed(*only, *better, old, new) {
                        added += usize::from(old.is_none());
                        moved += usize::from(old.is_some_and(|old| old != new));
                        set.insert(name, new);
                    }
                }
                if added + moved > 0 {
                    m.change(*key, Value::Sorted(set));
                }
                int(if *changed { added + moved } else { added })
            }
            Step::Incr { key, only, by, member: n } => {
                let mut set = m.sorted(*key)?;
                let old = set.get(&member(*n)).copied();
                if !allowed(*only, 9, old, 0.0) {
                    return Ok(Reply::Null);
                }
                let new = old.unwrap_or(0.0) + score(*by);
                if new.is_nan() {
                    return Err(Reply::Error("-ERR resulting score is not a number (NaN)"));
                }
                set.insert(member(*n), new);
                m.change(*key, Value::Sorted(set));
                Ok(Reply::Bulk(written(new)))
            }
            Step::Rem { key, members } => {
                let mut set = m.sorted(*key)?;
                let removed = members.iter().filter(|n| set.remove(&member(**n)).is_some()).count();
                if removed > 0 {
                    m.change(*key, Value::Sorted(set));
                }
                int(removed)
            }
            Step::Pop { key, max, count } => {
                let mut set = m.sorted(*key)?;
                let mut popped = in_order(&set);
                if *max {
                    popped.reverse();
                }
                popped.truncate(usize::from(*count));
                set.retain(|member, _| popped.iter().all(|(gone, _)| gone != member));
                if !popped.is_empty() {
                    m.change(*key, Value::Sorted(set));
                }
                Ok(with_scores(popped))
            }
            Step::RemRange { key, range } => {
                let mut set = m.sorted(*key)?;
                let gone = range.of(&set, false);
                set.retain(|member, _| gone.iter().all(|(gone, _)| gone != member));
                if !gone.is_empty() {
                    m.change(*key, Value::Sorted(set));
                }
                int(gone.len())
            }
            Step::Range { key, range, reverse, limit } => {
                let mut found = range.of(&m.sorted(*key)?, *reverse);
                if *reverse {
                    found.reverse();
                }
                if let (Some((skip, count)), false) = (limit, matches!(range, Range::Rank(..))) {
                    let most = usize::try_from(*count).unwrap_or(usize::MAX);
                    found = found.into_iter().skip(usize::from(*skip)).take(most).collect();
                }
                if matches!(range, Range::Lex(..)) {
                    return Ok(Reply::List(found.into_iter().map(|(member, _)| member).collect()));
                }
                Ok(with_scores(found))
            }
            Step::RangeStore { to, from, range, reverse } => {
                let found = range.of(&m.sorted(*from)?, *reverse);
                let len = found.len();
                m.put(*to, Value::Sorted(found.into_iter().collect()), None);
                int(len)
            }
            Step::Count { range: Range::Rank(..), .. } => Ok(Reply::None),
            Step::Count { key, range } => int(range.of(&m.sorted(*key)?, false).len()),
            Step::Rank { key, member: n, reverse } => {
                let mut all = in_order(&m.sorted(*key)?);
                if *reverse {
                    all.reverse();
                }
                let rank = all.iter().position(|(name, _)| *name == member(*n));
                Ok(rank.map_or(Reply::Null, |rank| Reply::Int(rank as i64)))
            }
            Step::Store { op, to, keys, weights, aggregate } => {
                let sets = keys.iter().map(|n| source(m, *n)).collect::<Result<Vec<_>, _>>()?;
                let result = combine(*op, &sets, weights.map_or(1.0, f64::from), *aggregate);
                let len = result.len();
                m.put(*to, Value::Sorted(result), None);
                int(len)
            }
            Step::GeoAdd { key, place, member: n } => {
                let mut set = m.sorted(*key)?;
                let added = set.insert(member(*n), PLACES[usize::from(*place)].2).is_none();
                m.change(*key, Value::Sorted(set));
                int(usize::from(added))
            }
            Step::GeoNear { to, from, place } => {
                let here = PLACES[usize::from(*place)].2;
                let near: Sorted = m.sorted(*from)?.into_iter().filter(|(_, score)| *score == here).collect();
                let len = near.len();
                m.put(*to, Value::Sorted(near), None);
                int(len)
            }
        }
    }

    fn request(&self) -> Vec<Bytes> {
        let request = match self {
            Step::Add { key: k, only, better, changed, pairs } => {
                let request = Request::new("ZADD").arg(key(*k)).args(["NX", "XX"].get(usize::from(*only)));
                let better = ["GT", "LT"].get(usize::from(*better)).filter(|_| *only != 0);
                let request = request.args(better).when(*changed, "CH");
                pairs.iter().fold(request, |all, (s, n)| all.arg(written(score(*s))).arg(member(*n)))
            }
            Step::Incr { key: k, only, by, member: n } => {
                let request = Request::new("ZADD").arg(key(*k)).args(["NX", "XX"].get(usize::from(*only)));
                request.arg("INCR").arg(written(score(*by))).arg(member(*n))
            }
            Step::Rem { key: k, members } => {
                Request::new("ZREM").arg(key(*k)).args(members.iter().map(|n| member(*n)))
            }
            Step::Pop { key: k, max, count } => {
                Request::new(if *max { "ZPOPMAX" } else { "ZPOPMIN" }).arg(key(*k)).number(*count)
            }
            Step::RemRange { key: k, range } => {
                let name = match range {
                    Range::Rank(..) => "ZREMRANGEBYRANK",
                    Range::Score(..) => "ZREMRANGEBYSCORE",
                    Range::Lex(..) => "ZREMRANGEBYLEX",
                };
                Request::new(name).arg(key(*k)).args(range.ends())
            }
            Step::Range { key: k, range, reverse, limit } => {
                let request = range.add_to(Request::new("ZRANGE").arg(key(*k)), *reverse);
                let request = match limit {
                    Some((skip, count)) if !matches!(range, Range::Rank(..)) => {
                        request.arg("LIMIT").number(*skip).number(*count)
                    }
                    _ => request,
                };
                request.when(!matches!(range, Range::Lex(..)), "WITHSCORES")
            }
            Step::RangeStore { to, from, range, reverse } => {
                range.add_to(Request::new("ZRANGESTORE").arg(key(*to)).arg(key(*from)), *reverse)
            }
            Step::Count { key: k, range } => {
                let name = match range {
                    // There is no count of ranks.
                    Range::Rank(..) => return Vec::new(),
                    Range::Score(..) => "ZCOUNT",
                    Range::Lex(..) => "ZLEXCOUNT",
                };
                Request::new(name).arg(key(*k)).args(range.ends())
            }
            Step::Rank { key: k, member: n, reverse } => {
                Request::new(if *reverse { "ZREVRANK" } else { "ZRANK" }).arg(key(*k)).arg(member(*n))
            }
            Step::Store { op, to, keys, weights, aggregate } => {
                let name = ["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"][usize::from(*op)];
                let request = Request::new(name).arg(key(*to)).number(keys.len() as i64);
                let request = request.args(keys.iter().map(|k| key(*k)));
                if *op == 2 {
                    return request.done();
                }
                let request = match weights {
                    Some(weight) => {
                        keys.iter().fold(request.arg("WEIGHTS"), |request, _| request.number(*weight))
                    }
                    None => request,
                };
                match ["SUM", "MIN", "MAX"].get(usize::from(*aggregate)) {
                    Some(how) => request.arg("AGGREGATE").arg(how),
                    None => request,
                }
            }
            Step::GeoAdd { key: k, place, member: n } => {
                let (longitude, latitude, _) = PLACES[usize::from(*place)];
                Request::new("GEOADD").arg(key(*k)).arg(longitude).arg(latitude).arg(member(*n))
            }
            Step::GeoNear { to, from, place } => {
                let (longitude, latitude, _) = PLACES[usize::from(*place)];
                let request = Request::new("GEOSEARCHSTORE").arg(key(*to)).arg(key(*from));
                request.arg("FROMLONLAT").arg(longitude).arg(latitude).args(["BYRADIUS", "100", "m"])
            }
        };
        request.done()
    }

    fn is_open(&self, m: &Model) -> bool {
        match self {
            Step::Range { key, range, .. }
            | Step::RemRange { key, range }
            | Step::Count { key, range }
            | Step::RangeStore { from: key, range, .. } => range.is_open(m, *key),
            // Other scores are places too, somewhere.
            Step::GeoNear { from, .. } => m
                .sorted(*from)
                .is_ok_and(|set| set.values().any(|score| PLACES.iter().all(|(.., place)| place != score))),
            _ => false,
        }
    }
}
