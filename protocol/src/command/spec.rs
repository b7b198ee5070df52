//! One row of the command table, and the small builder that rows are written with.

use super::flags::{Acl, Flags};
use super::keys::{KeyError, KeyIndexes, KeySpec};
use super::lookup;
use crate::resp::{Args, parse_double, parse_i64};

/// How a proxy sends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The proxy answers itself, from the state of the client or of its own.
    Local,
    /// To the shard of its keys, which must share one slot; a request without keys goes to any shard.
    Key,
    /// Keys may be anywhere: one request per group of keys, each with the arguments from that key to the next.
    SplitKeys,
    /// To every shard.
    AllShards,
    /// To any one shard.
    AnyShard,
    /// SCAN: shard after shard, named by the cursor.
    Cursor,
    /// Part of a transaction: the client keeps to the shard of the first key until EXEC or DISCARD.
    Transaction,
    /// To the shard of the slot of its first argument, the name of a channel.
    Channel,
    /// Not through a proxy; says why and what to do.
    Refuse(&'static str),
}

/// How a proxy makes one reply out of those of several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// There is only one.
    Single,
    /// An array with one element per key, put back in the order of the request.
    InOrder,
    /// Integers are added up.
    Sum,
    /// OK when all say OK, else the first error.
    AllOk,
    /// The first success, else the first error.
    AnyOk,
    /// Arrays are joined.
    Concat,
    /// The first reply stands for all.
    First,
    /// All replies must be the same.
    AllEqual,
    /// Element by element: 1 only when all say 1.
    LogicalAnd,
    /// The command has its own way.
    Custom,
}

impl Route {
    /// As `docs/commands.md` and `PROXY EXPLAIN` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Route::Local => "local",
            Route::Key => "key",
            Route::SplitKeys => "split",
            Route::AllShards => "all shards",
            Route::AnyShard => "any shard",
            Route::Cursor => "cursor",
            Route::Transaction => "transaction",
            Route::Channel => "channel",
            Route::Refuse(_) => "refused",
        }
    }
}

impl Merge {
    /// As `docs/commands.md` and `PROXY EXPLAIN` call it; empty where there is nothing to merge.
    pub const fn name(self) -> &'static str {
        match self {
            Merge::Single => "",
            Merge::InOrder => "in order",
            Merge::Sum => "sum",
            Merge::AllOk => "all ok",
            Merge::AnyOk => "any ok",
            Merge::Concat => "concat",
            Merge::First => "first",
            Merge::AllEqual => "all equal",
            Merge::LogicalAnd => "logical and",
            Merge::Custom => "custom",
        }
    }
}

/// A wait without an end; see [`CommandSpec::wait_ms`].
pub const FOREVER: u64 = u64::MAX;

/// Where a request says how long it may wait at the node; a negative index counts from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It does not wait.
    Never,
    /// This argument: seconds, which may have a fraction; 0 is for ever.
    Seconds(i32),
    /// As the command says that begins at this argument.
    Inner(usize),
    /// The argument after this word, one of the options that begin at this place: milliseconds; `forever`: 0 is for
    /// ever, else 0 is not at all. The last one counts.
    Word { word: &'static str, from: usize, forever: bool, others: &'static [(&'static str, Span)] },
}

/// How many arguments one of the other options of a [`Wait::Word`] is, with its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// So many.
    Of(usize),
    /// All that follow.
    Rest,
}

/// One row of the command table.
#[derive(Debug, Clone, Copy)]
pub struct CommandSpec {
    /// In lower case, as `COMMAND` shows it; `container|sub` for a subcommand.
    pub name: &'static str,
    /// Redis's sign rule, the name included: `n` is exactly n arguments, `-n` at least n.
    pub arity: i32,
    pub flags: Flags,
    pub keys: KeySpec,
    /// The categories that the flags do not imply; see [`CommandSpec::acl`].
    pub categories: Acl,
    pub route: Route,
    /// How long a request of a blocking command may wait.
    pub wait: Wait,
    pub merge: Merge,
    /// The group in the documentation: `string`, `hash`, ….
    pub group: &'static str,
    /// The first version of Redis (or of Torc, for its own commands) with this command.
    pub since: &'static str,
    pub complexity: &'static str,
    pub summary: &'static str,
    /// How the arguments are written, without the name.
    pub usage: &'static str,
    /// The tips that `COMMAND INFO` shows.
    pub tips: &'static [&'static str],
}

/// Starts a row.
pub const fn row(name: &'static str, arity: i32) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags: Flags::NONE,
        keys: KeySpec::None,
        categories: Acl::NONE,
        route: Route::Local,
        wait: Wait::Never,
        merge: Merge::Single,
        group: "",
        since: "",
        complexity: "O(1)",
        summary: "",
        usage: "",
        tips: &[],
    }
}

impl CommandSpec {
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = self.flags.or(flags);
        self
    }

    pub const fn keys(mut self, keys: KeySpec) -> Self {
        self.keys = keys;
        self
    }

    /// Categories beyond the family's and those that the flags imply.
    pub const fn acl(mut self, categories: Acl) -> Self {
        self.categories = self.categories.or(categories);
        self
    }

    pub const fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    pub const fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    pub const fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    pub const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    pub const fn since(mut self, since: &'static str) -> Self {
        self.since = since;
        self
    }

    pub const fn complexity(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    pub const fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    pub const fn usage(mut self, usage: &'static str) -> Self {
        self.usage = usage;
        self
    }

    pub const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    /// What every row of a family has: its group (unless the row has its own) and categories.
    pub(super) const fn in_family(mut self, group: &'static str, categories: Acl) -> Self {
        if self.group.is_empty() {
            self.group = group;
        }
        // A container by itself does nothing that a category could stand for.
        if !self.flags.contains(Flags::CONTAINER) {
            self.categories = self.categories.or(categories);
        }
        let name = self.name.as_bytes();
        let mut at = 0;
        while at < name.len() {
            if name[at] == b'|' {
                self.flags = self.flags.or(Flags::SUBCOMMAND);
            }
            at += 1;
        }
        self
    }

    /// Where a request says how long it may wait, and in which way.
    fn wait_argument(&self, args: &Args<'_>) -> Option<(usize, Wait)> {
        match self.wait {
            Wait::Never => None,
            Wait::Inner(from) => {
                let inner = args.tail(from);
                let spec = lookup::resolve(&inner).ok()?.spec();
                if matches!(spec.wait, Wait::Inner(_)) {
                    return None;
                }
                let (at, how) = spec.wait_argument(&inner)?;
                Some((from + at, how))
            }
            Wait::Seconds(at) if at < 0 => {
                Some((args.len().checked_sub(at.unsigned_abs() as usize)?, self.wait))
            }
            Wait::Seconds(at) => Some((at as usize, self.wait)),
            Wait::Word { word, from, others, .. } => {
                let (mut at, mut found) = (from, None);
                while let Some(arg) = args.get(at) {
                    let is = |word: &str| arg.eq_ignore_ascii_case(word.as_bytes());
                    if is(word) {
                        found = Some((at + 1, self.wait));
                        at += 2;
                        continue;
                    }
                    match others.iter().find(|(other, _)| is(other)) {
                        Some((_, Span::Of(count))) => at += (*count).max(1),
                        Some((_, Span::Rest)) => break,
                        // The node refuses the request.
                        None => return None,
                    }
                }
                found
            }
        }
    }

    /// How long a request waits at the node if it must, in milliseconds ([`FOREVER`]: without an end, and where it says
    /// how long in a way that is not understood here); `None` when it does not, or the node refuses it for certain.
    pub fn wait_ms(&self, args: &Args<'_>) -> Option<u64> {
        let (at, how) = self.wait_argument(args)?;
        let text = args.get(at)?;
        let ms = if matches!(how, Wait::Seconds(_)) {
            match parse_double(text) {
                // Rounded up to milliseconds it may be 0, which is for ever.
                Some(seconds) if seconds > -1.0 && seconds < 0.0 => FOREVER,
                // Saturates.
                Some(seconds) if seconds >= 0.0 => (seconds * 1000.0).ceil() as u64,
                Some(_) => return None,
                None => FOREVER,
            }
        } else {
            match parse_i64(text) {
                Some(ms) => u64::try_from(ms).ok()?,
                None => FOREVER,
            }
        };
        match ms {
            0 if matches!(how, Wait::Word { forever: false, .. }) => None,
            0 => Some(FOREVER),
            ms => Some(ms),
        }
    }

    /// The argument that says how long a request may wait, and its text for `ms` milliseconds (0: as little as can be).
    pub fn renewed_wait(&self, args: &Args<'_>, ms: u64) -> Option<(usize, String)> {
        let (at, how) = self.wait_argument(args)?;
        let ms = ms.max(1);
        let seconds = matches!(how, Wait::Seconds(_));
        Some((at, if seconds { format!("{}.{:03}", ms / 1000, ms % 1000) } else { ms.to_string() }))
    }

    /// Whether `count` arguments (the name included) are as many as the arity allows.
    #[inline]
    pub const fn arity_allows(&self, count: usize) -> bool {
        if self.arity >= 0 {
            count == self.arity as usize
        } else {
            count >= self.arity.unsigned_abs() as usize
        }
    }

    /// The indexes of the arguments that are keys.
    #[inline]
    pub fn find_keys(&self, args: &Args<'_>) -> Result<KeyIndexes, KeyError> {
        self.keys.find(args)
    }

    /// All ACL categories, with those that the flags imply (as Redis derives them).
    pub const fn acl_categories(&self) -> Acl {
        let mut acl = self.categories;
        // Scripts may do both; their rows say nothing about reading and writing.
        if self.flags.contains(Flags::WRITE) {
            acl = acl.or(Acl::WRITE);
        }
        if self.flags.contains(Flags::READONLY) && !acl.contains(Acl::SCRIPTING) {
            acl = acl.or(Acl::READ);
        }
        if self.flags.contains(Flags::ADMIN) {
            acl = acl.or(Acl::ADMIN).or(Acl::DANGEROUS);
        }
        if self.flags.contains(Flags::PUBSUB) {
            acl = acl.or(Acl::PUBSUB);
        }
        if self.flags.contains(Flags::BLOCKING) {
            acl = acl.or(Acl::BLOCKING);
        }
        acl.or(if self.flags.contains(Flags::FAST) { Acl::FAST } else { Acl::SLOW })
    }

    /// The container's name of a subcommand.
    pub fn container(&self) -> Option<&'static str> {
        Some(self.name.split_once('|')?.0)
    }

    pub const fn is_write(&self) -> bool {
        self.flags.contains(Flags::WRITE)
    }

    pub const fn is_readonly(&self) -> bool {
        self.flags.contains(Flags::READONLY)
    }

    /// Whether only parts of Torc may send it.
    pub const fn is_internal(&self) -> bool {
        self.flags.contains(Flags::INTERNAL)
    }
}

#[cfg(test)]
mod wait_tests {
    use super::*;
    use crate::resp::OwnedArgs;

    #[test]
    fn rows_say_how_long_requests_wait() {
        let ask = |line: &str| {
            let args = OwnedArgs::new(line.split(' '));
            let spec = lookup::resolve(&args.view()).expect("a command").spec();
            (
                spec.wait_ms(&args.view()),
                spec.renewed_wait(&args.view(), 1250).map(|(at, text)| format!("{at} {text}")),
            )
        };
        let renewed = |text: &str| Some(text.to_owned());
        assert_eq!(ask("blpop a b 1.5"), (Some(1500), renewed("3 1.250")));
        assert_eq!(ask("blpop a 0"), (Some(FOREVER), renewed("2 1.250")));
        assert_eq!(ask("blmpop 2 1 a left"), (Some(2000), renewed("1 1.250")));
        assert_eq!(ask("blpop k 0x10").0, Some(16_000));
        assert_eq!(ask("blmpop 0x10 1 a left").0, Some(16_000));
        // What is not understood may wait; what the node refuses for certain does not.
        assert_eq!(ask("blpop a x").0, Some(FOREVER));
        assert_eq!(ask("blpop a 1e-400").0, Some(FOREVER));
        assert_eq!(ask("blpop a -0.0001").0, Some(FOREVER));
        assert_eq!(ask("blpop a -1").0, None);
        assert_eq!(ask("xread block x streams s 0").0, Some(FOREVER));
        assert_eq!(ask("xread block -1 streams s 0").0, None);
        // Words that are values.
        let line = "XREADGROUP GROUP block c BLOCK 0 STREAMS s >";
        assert_eq!(ask(line), (Some(FOREVER), renewed("5 1250")));
        assert_eq!(ask("xreadgroup group g block noack count 1 block 9 streams s >").0, Some(9));
        assert_eq!(ask("xread count block block 9 streams s 0"), (Some(9), renewed("4 1250")));
        assert_eq!(ask("XREAD STREAMS block 5"), (None, None));
        assert_eq!(ask("xread block 5 streams block 7"), (Some(5), renewed("2 1250")));
        assert_eq!(ask("xread block 5 block 6 streams s 0"), (Some(6), renewed("4 1250")));
        assert_eq!(ask("xread nothing block 5 streams s 0"), (None, None));
        let line = "LOCK.ACQUIRE l TTL 5 OWNER wait WAIT 5000";
        assert_eq!(ask(line), (Some(5000), renewed("7 1250")));
        assert_eq!(ask("lock.acquire l wait 8 shared reqid wait ttl 5"), (Some(8), renewed("3 1250")));
        assert_eq!(ask("lock.acquire l ttl 5 owner wait"), (None, None));
        let line = "fence l 1 xreadgroup group block c block 2 streams s >";
        assert_eq!(ask(line), (Some(2), renewed("8 1250")));
        assert_eq!(ask("lock.acquire l ttl 5 wait 7"), (Some(7), renewed("5 1250")));
        assert_eq!(ask("lock.acquire l ttl 5 wait 0").0, None);
        assert_eq!(ask("lock.acquire l ttl 5"), (None, None));
        assert_eq!(ask("fence l 1 blpop a 2"), (Some(2000), renewed("5 1.250")));
        assert_eq!(ask("get a"), (None, None));
    }
}
