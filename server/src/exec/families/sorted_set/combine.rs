//! Unions, intersections and differences of sorted sets and sets.

use hashbrown::HashTable;
use smallvec::SmallVec;
use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_double, parse_i64};

use super::reply::{Pairs, store};
use crate::exec::parse::integer;
use crate::exec::{CommandError, CommandResult, Cx};
use crate::store::value::{SetValue, SortedSetValue};
use crate::store::{Collection, Entry, Key, KeyHasher, ValueRef};

/// What is made of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// What any has.
    Union,
    /// What all have.
    Inter,
    /// What the first has and no other.
    Diff,
}

/// What the score of a member becomes that several inputs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(word: &[u8]) -> Option<Aggregate> {
        let names = [(&b"SUM"[..], Aggregate::Sum), (b"MIN", Aggregate::Min), (b"MAX", Aggregate::Max)];
        names.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, aggregate)| aggregate)
    }

    fn join(self, old: f64, new: f64) -> f64 {
        match self {
            // Infinities of both signs make nothing.
            Aggregate::Sum if (old + new).is_nan() => 0.0,
            Aggregate::Sum => old + new,
            Aggregate::Min => {
                if new < old {
                    new
                } else {
                    old
                }
            }
            Aggregate::Max => {
                if new > old {
                    new
                } else {
                    old
                }
            }
        }
    }
}

/// Where members come from.
#[derive(Clone, Copy, Debug)]
enum Input<'a> {
    Missing,
    SortedSet(&'a SortedSetValue),
    Set(&'a SetValue),
}

impl<'a> Input<'a> {
    fn of(entry: Option<Entry<'a>>) -> Result<Input<'a>, CommandError> {
        match entry.map(Entry::value) {
            None => Ok(Input::Missing),
            Some(ValueRef::SortedSet(set)) => Ok(Input::SortedSet(set)),
            Some(ValueRef::Set(set)) => Ok(Input::Set(set)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    fn len(self) -> usize {
        match self {
            Input::Missing => 0,
            Input::SortedSet(set) => set.len(),
            Input::Set(set) => set.len(),
        }
    }

    /// Each member with its score, which is 1 in a set.
    fn for_each(self, mut visit: impl FnMut(&[u8], f64)) {
        match self {
            Input::Missing => {}
            Input::SortedSet(set) => set.iter().for_each(|(member, score)| visit(member, score)),
            Input::Set(set) => {
                let mut room = itoa::Buffer::new();
                set.iter().for_each(|member| visit(member.bytes(&mut room), 1.0));
            }
        }
    }

    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Input::Missing => None,
            Input::SortedSet(set) => set.score(member),
            Input::Set(set) => set.contains(member).then_some(1.0),
        }
    }
}

/// A request: what is to be done with which keys.
struct Request<'a> {
    operation: Operation,
    keys: SmallVec<[Key<'a>; 8]>,
    weights: SmallVec<[f64; 8]>,
    aggregate: Aggregate,
    with_scores: bool,
}

/// The keys behind their number at argument `at`.
fn keys<'a>(
    cx: &Cx<'_, '_>,
    args: &Args<'a>,
    at: usize,
    name: &str,
) -> Result<SmallVec<[Key<'a>; 8]>, CommandError> {
    let count = integer(args.get(at).unwrap_or_default())?;
    if count < 1 {
        return Err(format!("ERR at least 1 input key is needed for '{name}' command").into());
    }
    let left = args.len() - at - 1;
    let count = usize::try_from(count).ok().filter(|n| *n <= left).ok_or(CommandError::Syntax)?;
    Ok(args.tail(at + 1).iter().take(count).map(|name| cx.key(name)).collect())
}

/// Sees to it that no key holds another type; notes that they are read.
fn check_types(cx: &mut Cx<'_, '_>, keys: &[Key<'_>]) -> CommandResult {
    for key in keys {
        Input::of(cx.read(key))?;
    }
    Ok(())
}

/// The inputs, which [`check_types`] has seen.
fn inputs<'c>(cx: &'c Cx<'_, '_>, keys: &[Key<'_>]) -> SmallVec<[Input<'c>; 8]> {
    let entry = |key: &Key<'_>| cx.access.get(key.slot)?.get(cx.db, key, cx.now_ms);
    keys.iter().map(|key| Input::of(entry(key)).unwrap_or(Input::Missing)).collect()
}

impl<'a> Request<'a> {
    fn parse(
        cx: &mut Cx<'_, '_>,
        args: &Args<'a>,
        at: usize,
        (operation, name, stored): (Operation, &str, bool),
    ) -> Result<Request<'a>, CommandError> {
        let keys = keys(cx, args, at, name)?;
        check_types(cx, &keys)?;
        let mut request = Request {
            operation,
            weights: SmallVec::from_elem(1.0, keys.len()),
            aggregate: Aggregate::Sum,
            with_scores: false,
            keys,
        };
        let mut next = at + 1 + request.keys.len();
        while let Some(option) = args.get(next) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            let left = args.len() - next;
            let scored = operation != Operation::Diff;
            next += 1;
            if scored && is(b"WEIGHTS") && left > request.keys.len() {
                for weight in &mut request.weights {
                    let number = args.get(next).and_then(parse_double);
                    *weight = number.ok_or(CommandError::from("ERR weight value is not a float"))?;
                    next += 1;
                }
            } else if scored && is(b"AGGREGATE") && left >= 2 {
                request.aggregate = args.get(next).and_then(Aggregate::parse).ok_or(CommandError::Syntax)?;
                next += 1;
            } else if !stored && is(b"WITHSCORES") {
                request.with_scores = true;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(request)
    }

    fn run(&self, cx: &Cx<'_, '_>) -> Tally {
        let mut inputs: SmallVec<[(Input<'_>, f64); 8]> =
            inputs(cx, &self.keys).into_iter().zip(self.weights.iter().copied()).collect();
        let mut tally = Tally::new(cx.node.store.hasher());
        match self.operation {
            Operation::Union => {
                inputs.sort_by_key(|(input, _)| input.len());
                for (input, weight) in inputs {
                    input.for_each(|member, score| {
                        tally.join(member, or_zero(weight * score), self.aggregate);
                    });
                }
            }
            Operation::Inter => {
                inputs.sort_by_key(|(input, _)| input.len());
                let Some(((first, weight), others)) = inputs.split_first() else { return tally };
                first.for_each(|member, score| {
                    let found = others.iter().try_fold(or_zero(weight * score), |sum, (input, weight)| {
                        Some(self.aggregate.join(sum, input.score(member)? * weight))
                    });
                    if let Some(score) = found {
                        tally.push(member, score);
                    }
                });
            }
            Operation::Diff => {
                let Some(((first, _), others)) = inputs.split_first() else { return tally };
                first.for_each(|member, score| {
                    if others.iter().all(|(input, _)| input.score(member).is_none()) {
                        tally.push(member, score);
                    }
                });
            }
        }
        tally.sort();
        tally
    }
}

/// Zero times infinity is nothing.
fn or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

struct Item {
    start: usize,
    len: usize,
    score: f64,
}

/// A result: members one after another in one piece of memory, with their scores.
struct Tally {
    hasher: KeyHasher,
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Indexes of the items, while members may come again.
    table: HashTable<u32>,
}

impl Tally {
    fn new(hasher: KeyHasher) -> Tally {
        Tally { hasher, bytes: Vec::new(), items: Vec::new(), table: HashTable::new() }
    }

    fn push(&mut self, member: &[u8], score: f64) {
        self.items.push(Item { start: self.bytes.len(), len: member.len(), score });
        self.bytes.extend_from_slice(member);
    }

    fn join(&mut self, member: &[u8], score: f64, aggregate: Aggregate) {
        let hash = self.hasher.hash(member);
        let (items, bytes, hasher) = (&self.items, &self.bytes, self.hasher);
        let of = |index: u32| {
            let item = &items[index as usize];
            &bytes[item.start..item.start + item.len]
        };
        match self.table.find(hash, |&index| of(index) == member) {
            Some(&index) => {
                let item = &mut self.items[index as usize];
                item.score = aggregate.join(item.score, score);
            }
            None => {
                self.table.insert_unique(hash, items.len() as u32, |&index| hasher.hash(of(index)));
                self.push(member, score);
            }
        }
    }

    fn member(&self, item: &Item) -> &[u8] {
        &self.bytes[item.start..item.start + item.len]
    }

    fn sort(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable_by(|a, b| {
            let scores = a.score.partial_cmp(&b.score).unwrap_or(std::cmp::Ordering::Equal);
            scores.then_with(|| self.member(a).cmp(self.member(b)))
        });
        self.items = items;
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.items.iter().map(|item| (self.member(item), item.score))
    }
}

/// ZUNION numkeys key \[key …\] \[WEIGHTS …\] \[AGGREGATE …\] \[WITHSCORES\], ZINTER, ZDIFF
pub fn combine(cx: &mut Cx<'_, '_>, args: &Args<'_>, operation: Operation, name: &str) -> CommandResult {
    let request = Request::parse(cx, args, 1, (operation, name, false))?;
    let tally = request.run(cx);
    let mut reply = Pairs::start(cx.reply(), tally.items.len(), request.with_scores);
    tally.iter().for_each(|element| reply.pair(element));
    Ok(())
}

/// ZUNIONSTORE destination numkeys key \[key …\] \[WEIGHTS …\] \[AGGREGATE …\], ZINTERSTORE, ZDIFFSTORE
pub fn combine_store(
    cx: &mut Cx<'_, '_>,
    args: &Args<'_>,
    operation: Operation,
    name: &'static str,
) -> CommandResult {
    let request = Request::parse(cx, args, 2, (operation, name, true))?;
    let tally = request.run(cx);
    let env = cx.env();
    let mut result = SortedSetValue::default();
    for (member, score) in tally.iter() {
        result.set(member, score, &env.limits.sorted_set, env.hasher);
    }
    drop(tally);
    let key = cx.key(&args[1]);
    store(cx, &key, result, name);
    Ok(())
}

/// ZINTERCARD numkeys key \[key …\] \[LIMIT limit\]
pub fn zintercard(cx: &mut Cx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let keys = keys(cx, args, 1, "zintercard")?;
    check_types(cx, &keys)?;
    let mut limit = usize::MAX;
    let mut next = 2 + keys.len();
    while let Some(option) = args.get(next) {
        let Some(number) = args.get(next + 1).filter(|_| option.eq_ignore_ascii_case(b"LIMIT")) else {
            return Err(CommandError::Syntax);
        };
        let number = parse_i64(number).and_then(|n| usize::try_from(n).ok());
        limit = match number.ok_or(CommandError::from(text::LIMIT_NEGATIVE))? {
            0 => usize::MAX,
            limit => limit,
        };
        next += 2;
    }
    let mut inputs = inputs(cx, &keys);
    inputs.sort_by_key(|input| input.len());
    let mut count = 0;
    if let Some((first, others)) = inputs.split_first() {
        let everywhere = |member: &[u8]| others.iter().all(|input| input.score(member).is_some());
        match first {
            Input::Missing => {}
            Input::SortedSet(set) => {
                count = set.iter().filter(|(member, _)| everywhere(member)).take(limit).count();
            }
            Input::Set(set) => {
                let mut room = itoa::Buffer::new();
                let found = set.iter().filter(|member| everywhere(member.bytes(&mut room)));
                count = found.take(limit).count();
            }
        }
    }
    drop(inputs);
    cx.reply().integer(count as i64);
    Ok(())
}
