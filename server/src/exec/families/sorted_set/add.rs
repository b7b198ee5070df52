//! ZADD and ZINCRBY.

use smallvec::SmallVec;
use torc_protocol::resp::{Args, parse_double};

use crate::exec::{CommandError, CommandResult, Cx};
use crate::notify::Class;
use crate::store::value::{SortedSetChange, SortedSetValue};
use crate::store::{Env, Key};

/// Which of the elements are taken.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    /// Only new members.
    nx: bool,
    /// Only members that exist.
    xx: bool,
    /// Existing members only to a higher score.
    gt: bool,
    /// Existing members only to a lower score.
    lt: bool,
    /// The reply counts changed scores as well.
    ch: bool,
    /// The score is added to the one that is there.
    incr: bool,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Added {
    /// New members.
    pub added: usize,
    /// Members with a new score.
    pub updated: usize,
    /// The elements that were not passed over.
    processed: usize,
    /// The last score.
    score: f64,
    /// The sum of two infinities was asked for.
    nan: bool,
    /// Index of the element and its score now, where something changed.
    changed: SmallVec<[(u32, f64); 8]>,
}

impl Options {
    /// Reads the options from argument `at` on; answers where they end.
    fn parse(args: &Args<'_>, mut at: usize, incr: bool) -> (Options, usize) {
        let mut options = Options { incr, ..Options::default() };
        while let Some(option) = args.get(at) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            match option.len() {
                2 if is(b"NX") => options.nx = true,
                2 if is(b"XX") => options.xx = true,
                2 if is(b"GT") => options.gt = true,
                2 if is(b"LT") => options.lt = true,
                2 if is(b"CH") => options.ch = true,
                4 if is(b"INCR") => options.incr = true,
                _ => break,
            }
            at += 1;
        }
        (options, at)
    }

    fn apply(self, set: &mut SortedSetValue, element: (u32, &[u8], f64), env: &Env, done: &mut Added) {
        let (index, member, mut score) = element;
        let must_look = self.nx || self.xx || self.gt || self.lt || self.incr;
        let old = if must_look { set.score(member) } else { None };
        match old {
            Some(_) if self.nx => return,
            None if self.xx => return,
            Some(old) => {
                if self.incr {
                    score += old;
                    if score.is_nan() {
                        done.nan = true;
                        return;
                    }
                }
                if (self.gt && score <= old) || (self.lt && score >= old) {
                    return;
                }
            }
            None => {}
        }
        done.processed += 1;
        done.score = score;
        // Zero has two signs, which are one score.
        if old == Some(score) {
            return;
        }
        match set.set(member, score, &env.limits.sorted_set, env.hasher) {
            None => done.added += 1,
            Some(old) if old != score => done.updated += 1,
            Some(_) => return,
        }
        done.changed.push((index, score));
    }
}

/// Sets the scores of members, as plain ZADD does, of the sorted set at a key; `elements` must be the same whenever it
/// is asked.
pub fn add_all<'m>(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    (nx, xx): (bool, bool),
    element: impl Fn(usize) -> Option<(&'m [u8], f64)>,
) -> Result<Added, CommandError> {
    change(cx, key, Options { nx, xx, ..Options::default() }, element)
}

fn change<'m>(
    cx: &mut Cx<'_, '_>,
    key: &Key<'_>,
    options: Options,
    element: impl Fn(usize) -> Option<(&'m [u8], f64)>,
) -> Result<Added, CommandError> {
    let env = cx.env();
    let done = cx.modify(
        key,
        |set: &mut SortedSetValue| {
            let mut done = Added::default();
            for index in 0.. {
                let Some((member, score)) = element(index) else { break };
                options.apply(set, (index as u32, member, score), &env, &mut done);
            }
            let changed = !done.changed.is_empty();
            (done, changed)
        },
        |out, done| {
            let elements = done.changed.iter();
            let elements = elements.filter_map(|(index, score)| Some((element(*index as usize)?.0, *score)));
            SortedSetChange::put_set(out, elements);
        },
    )?;
    if !done.changed.is_empty() {
        let event = if options.incr { "zincr" } else { "zadd" };
        cx.notify(Class::SORTED_SET, event, key.bytes);
    }
    Ok(done)
}

/// ZADD key \[NX | XX\] \[GT | LT\] \[CH\] \[INCR\] score member \[score member …\], ZINCRBY key increment member
pub fn zadd(cx: &mut Cx<'_, '_>, args: &Args<'_>, incr: bool) -> CommandResult {
    let (options, at) = Options::parse(args, 2, incr);
    let elements = args.tail(at);
    if elements.is_empty() || elements.len() % 2 == 1 {
        return Err(CommandError::Syntax);
    }
    if options.nx && options.xx {
        return Err("ERR XX and NX options at the same time are not compatible".into());
    }
    if (options.nx && (options.gt || options.lt)) || (options.gt && options.lt) {
        return Err("ERR GT, LT, and/or NX options at the same time are not compatible".into());
    }
    if options.incr && elements.len() > 2 {
        return Err("ERR INCR option supports a single increment-element pair".into());
    }
    let score = |index: usize| elements.get(index * 2).and_then(parse_double);
    let mut scores: SmallVec<[f64; 8]> = SmallVec::with_capacity(elements.len() / 2);
    for index in 0..elements.len() / 2 {
        scores.push(score(index).ok_or(CommandError::NotFloat)?);
    }
    let key = cx.key(&args[1]);
    let element = |index: usize| Some((elements.get(index * 2 + 1)?, *scores.get(index)?));
    let done = change(cx, &key, options, element)?;
    if done.nan {
        return Err("ERR resulting score is not a number (NaN)".into());
    }
    let mut reply = cx.reply();
    match (options.incr, options.ch) {
        (true, _) if done.processed > 0 => reply.double(done.score),
        (true, _) => reply.null(),
        (false, true) => reply.integer((done.added + done.updated) as i64),
        (false, false) => reply.integer(done.added as i64),
    }
    Ok(())
}
