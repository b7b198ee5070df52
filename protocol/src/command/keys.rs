//! Where the keys of a command are.

use smallvec::SmallVec;
use thiserror::Error;

use super::lookup;
use crate::resp::{Args, parse_i64};

/// Indexes of arguments that are keys, in the order of the arguments.
pub type KeyIndexes = SmallVec<[usize; 4]>;

/// Why the keys of a request could not be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Fewer arguments than the arity asks for, or a step that does not come out even.
    #[error("ERR Invalid number of arguments specified for command")]
    Arity,
    /// `FENCE` before something that is no command with keys.
    #[error("ERR FENCE must be followed by a command that takes keys")]
    NotFenceable,
}

/// Where the keys of a command are.
#[derive(Debug, Clone, Copy)]
pub enum KeySpec {
    /// It has none.
    None,
    /// Redis's convention: from argument `first` to `last`, each `step`; a negative `last` counts from the end
    /// (-1 is the last argument).
    Range { first: usize, last: i32, step: usize },
    /// Argument `at` says how many keys there are; they start at `first`. A number that is none, or too large, means that
    /// there are no keys: the handler says what is wrong.
    NumKeys { at: usize, first: usize },
    /// XREAD and XREADGROUP: the first half of what follows the word STREAMS. Not to be found where the options before
    /// it are wrong, or where there is no ID for each key: the command says so itself.
    Streams,
    /// `first` is a key (0: none); `find` gives all of them, in the order of the arguments, and none where the command
    /// will refuse its arguments in its own words.
    Found { first: usize, find: fn(&Args<'_>) -> KeyIndexes },
    /// The command has its own way.
    Custom(fn(&Args<'_>) -> Result<KeyIndexes, KeyError>),
    /// A memcached request line: `memcached::parse` finds the keys.
    Memcached,
}

/// The key is argument `at`.
pub const fn one(at: usize) -> KeySpec {
    KeySpec::Range { first: at, last: at as i32, step: 1 }
}

/// Keys from `first` to `last`, each `step`.
pub const fn range(first: usize, last: i32, step: usize) -> KeySpec {
    KeySpec::Range { first, last, step }
}

/// `at` holds the number of keys, which start at `first`.
pub const fn numkeys(at: usize, first: usize) -> KeySpec {
    KeySpec::NumKeys { at, first }
}

impl KeySpec {
    /// The index of the first key in `args`, when it stands at a fixed place and is there: what most commands need to
    /// know about their keys.
    #[inline]
    pub fn first(&self, args: &Args<'_>) -> Option<usize> {
        match *self {
            KeySpec::Range { first, .. } => (first < args.len()).then_some(first),
            KeySpec::Found { first, .. } if first > 0 => (first < args.len()).then_some(first),
            _ => None,
        }
    }

    /// Whether the command has one key, at the place that [`KeySpec::first`] gives.
    #[inline]
    pub const fn is_single(&self) -> bool {
        matches!(*self, KeySpec::Range { first, last, .. } if last >= 0 && first == last as usize)
    }

    /// The indexes of the keys in `args`, whose argument 0 is the command's name.
    #[inline]
    pub fn find(&self, args: &Args<'_>) -> Result<KeyIndexes, KeyError> {
        match *self {
            KeySpec::None | KeySpec::Memcached => Ok(KeyIndexes::new()),
            KeySpec::Range { first, last, step } => in_range(args.len(), first, last, step),
            KeySpec::Streams => Ok(streams(args)),
            KeySpec::NumKeys { at, first } => Ok(counted(args, at, first).unwrap_or_default()),
            KeySpec::Found { find, .. } => Ok(find(args)),
            KeySpec::Custom(find) => find(args),
        }
    }

    /// `first`, `last`, `step` as `COMMAND INFO` shows them (0, 0, 0 without keys at fixed places).
    pub fn as_range(&self) -> (i64, i64, i64) {
        match *self {
            KeySpec::Range { first, last, step } => (first as i64, i64::from(last), step as i64),
            KeySpec::Found { first, .. } if first > 0 => (first as i64, first as i64, 1),
            _ => (0, 0, 0),
        }
    }

    /// Whether there are no keys.
    pub fn is_none(&self) -> bool {
        matches!(self, KeySpec::None)
    }
}

#[inline]
fn in_range(count: usize, first: usize, last: i32, step: usize) -> Result<KeyIndexes, KeyError> {
    if last >= 0 && first == last as usize {
        // One key: nearly always.
        let mut keys = KeyIndexes::new();
        keys.push(first);
        return if first < count { Ok(keys) } else { Err(KeyError::Arity) };
    }
    many_in_range(count, first, last, step)
}

fn many_in_range(count: usize, first: usize, last: i32, step: usize) -> Result<KeyIndexes, KeyError> {
    let last = if last < 0 {
        count.checked_sub(last.unsigned_abs() as usize).ok_or(KeyError::Arity)?
    } else {
        last as usize
    };
    if last >= count {
        return Err(KeyError::Arity);
    }
    // None at all: only where the arity allows it.
    let mut keys = KeyIndexes::new();
    let mut index = first;
    while index <= last {
        keys.push(index);
        index += step.max(1);
    }
    Ok(keys)
}

fn counted(args: &Args<'_>, at: usize, first: usize) -> Option<KeyIndexes> {
    let count = usize::try_from(parse_i64(args.get(at)?)?).ok()?;
    (count <= args.len().saturating_sub(first)).then(|| (first..first + count).collect())
}

fn streams(args: &Args<'_>) -> KeyIndexes {
    let mut at = 1;
    while let Some(option) = args.get(at) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        at += match () {
            () if is(b"STREAMS") => {
                let first = at + 1;
                let count = args.len() - first;
                let keys = if count.is_multiple_of(2) { count / 2 } else { 0 };
                return (first..first + keys).collect();
            }
            () if is(b"BLOCK") || is(b"COUNT") => 2,
            () if is(b"GROUP") => 3,
            () if is(b"NOACK") => 1,
            () => break,
        };
    }
    KeyIndexes::new()
}

/// The keys that follow their number at `at`.
fn listed(args: &Args<'_>, at: usize) -> KeyIndexes {
    let count = args.get(at).and_then(parse_i64).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let first = at + 1;
    if count > args.len().saturating_sub(first) {
        KeyIndexes::new()
    } else {
        (first..first + count).collect()
    }
}

/// `ZUNIONSTORE destination numkeys key …`
pub(super) fn stored_from_list(args: &Args<'_>) -> KeyIndexes {
    let mut keys = listed(args, 2);
    if !keys.is_empty() {
        keys.insert(0, 1);
    }
    keys
}

/// `GEORADIUS key … [STORE key] [STOREDIST key]`; the last of them counts.
pub(super) fn geo_radius(args: &Args<'_>) -> KeyIndexes {
    let words: [&[u8]; 2] = [b"STORE", b"STOREDIST"];
    stored_after(args, 5, |word| words.iter().any(|w| word.eq_ignore_ascii_case(w)).then_some(1).ok_or(0))
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [STORE key]`; the last of them counts.
pub(super) fn sort(args: &Args<'_>) -> KeyIndexes {
    stored_after(args, 2, |word| {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match () {
            () if is(b"STORE") => Ok(1),
            () if is(b"LIMIT") => Err(2),
            () if is(b"GET") || is(b"BY") => Err(1),
            () => Err(0),
        }
    })
}

/// Argument 1 and the one behind the last word from `at` on that `word` says is followed by a key: it answers how many
/// arguments belong to a word, `Ok` where they are a key.
fn stored_after(args: &Args<'_>, mut at: usize, word: impl Fn(&[u8]) -> Result<usize, usize>) -> KeyIndexes {
    let mut keys = KeyIndexes::from_slice(&[1]);
    while let Some(arg) = args.get(at) {
        let skip = match word(arg) {
            Ok(skip) => {
                if at + 1 < args.len() {
                    keys.truncate(1);
                    keys.push(at + 1);
                }
                skip
            }
            Err(skip) => skip,
        };
        at += 1 + skip;
    }
    keys
}

/// `BITOP operation destination source [source …]`, `LCS a b …` and the like need no own way: this one is for
/// `FENCE key-lock token command …`.
pub(super) fn fenced(args: &Args<'_>) -> Result<KeyIndexes, KeyError> {
    /// Where the inner command begins.
    const INNER: usize = 3;
    let inner = args.tail(INNER);
    let command = lookup::resolve(&inner).map_err(|_| KeyError::NotFenceable)?;
    let spec = command.spec();
    // A fence in a fence would say nothing, and would recurse as deep as a request is long.
    if matches!(spec.keys, KeySpec::Custom(_)) || spec.keys.is_none() {
        return Err(KeyError::NotFenceable);
    }
    let mut keys = spec.keys.find(&inner)?;
    keys.iter_mut().for_each(|index| *index += INNER);
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn find(spec: KeySpec, line: &str) -> Result<Vec<usize>, KeyError> {
        spec.find(&OwnedArgs::new(line.split(' ')).view()).map(|keys| keys.to_vec())
    }

    #[test]
    fn ranges() {
        assert_eq!(find(one(1), "get k"), Ok(vec![1]));
        assert_eq!(find(range(1, -1, 2), "mset a 1 b 2"), Ok(vec![1, 3]));
        assert_eq!(find(range(1, -1, 1), "del a b c"), Ok(vec![1, 2, 3]));
        assert_eq!(find(range(1, -1, 1), "del"), Ok(vec![]));
        assert_eq!(find(one(3), "a b"), Err(KeyError::Arity));
    }

    #[test]
    fn counted_keys() {
        let spec = numkeys(2, 3);
        assert_eq!(find(spec, "eval s 2 a b c"), Ok(vec![3, 4]));
        assert_eq!(find(spec, "eval s 0"), Ok(vec![]));
        for wrong in ["eval s 3 a b", "eval s -1", "eval s x", "eval s 9223372036854775807"] {
            assert_eq!(find(spec, wrong), Ok(vec![]), "{wrong}");
        }
    }

    #[test]
    fn keys_after_a_word() {
        let spec = KeySpec::Streams;
        assert_eq!(find(spec, "xread streams a b 0 0"), Ok(vec![2, 3]));
        assert_eq!(find(spec, "xread count 1 BLOCK streams STREAMS a 0"), Ok(vec![6]));
        assert_eq!(find(spec, "xreadgroup group g streams noack streams a >"), Ok(vec![6]));
        for line in
            ["xread streams", "xread streams a", "xread streams a b 0", "xread x streams a 0", "xread a b c"]
        {
            assert_eq!(find(spec, line), Ok(vec![]), "{line}");
        }
    }

    #[test]
    fn keys_that_are_found() {
        let spec = |find| KeySpec::Found { first: 1, find };
        assert_eq!(find(spec(stored_from_list), "zunionstore d 2 a b"), Ok(vec![1, 3, 4]));
        assert_eq!(find(spec(stored_from_list), "zunionstore d -1 a b"), Ok(vec![]));
        assert_eq!(find(spec(sort), "sort k by store get store limit 0 store"), Ok(vec![1]));
        assert_eq!(find(spec(sort), "sort k store a desc store b"), Ok(vec![1, 6]));
        assert_eq!(find(spec(sort), "sort k store"), Ok(vec![1]));
        assert_eq!(find(spec(geo_radius), "georadius k 1 2 3 km storedist d"), Ok(vec![1, 7]));
        assert_eq!(find(spec(geo_radius), "georadiusbymember k m 3 km store a store b"), Ok(vec![1, 8]));
    }

    #[test]
    fn fences_look_inside() {
        let spec = KeySpec::Custom(fenced);
        assert_eq!(find(spec, "fence lock 7 set k v"), Ok(vec![4]));
        assert_eq!(find(spec, "fence lock 7 mget a b"), Ok(vec![4, 5]));
        assert_eq!(find(spec, "fence lock 7 ping"), Err(KeyError::NotFenceable));
        assert_eq!(find(spec, "fence lock 7 fence lock 7 set k v"), Err(KeyError::NotFenceable));
        assert_eq!(find(spec, "fence lock 7"), Err(KeyError::NotFenceable));
    }
}
