//! The replies of `COMMAND` and of every `… HELP`, rendered from the table: servers and proxies give the same ones.

use super::flags::{Acl, Flags};
use super::keys::{KeyIndexes, KeySpec};
use super::lookup::lookup_full;
use super::spec::{CommandSpec, Merge, Route};
use super::{Command, ServerCommand, all, resolve, subcommands};
use crate::error;
use crate::glob;
use crate::resp::{Args, ReplyWriter};

/// Answers `COMMAND` and its subcommands. Any other command of the family is not answered: `false`.
pub fn answer_command(command: ServerCommand, args: &Args<'_>, reply: &mut ReplyWriter<'_>) -> bool {
    match command {
        ServerCommand::Command => info_of_all(reply),
        ServerCommand::CommandCount => reply.integer(public().count() as i64),
        ServerCommand::CommandInfo if args.len() == 2 => info_of_all(reply),
        ServerCommand::CommandInfo => {
            reply.array(args.len() - 2);
            for name in args.tail(2) {
                match known(name) {
                    Some(command) => info(command, reply),
                    None => reply.null(),
                }
            }
        }
        ServerCommand::CommandDocs => docs(args, reply),
        ServerCommand::CommandGetkeys => keys(&args.tail(2), reply),
        ServerCommand::CommandGetkeysandflags => keys_and_flags(&args.tail(2), reply),
        ServerCommand::CommandList => list(&args.tail(2), reply),
        ServerCommand::CommandHelp => help(command.into(), reply),
        _ => return false,
    }
    true
}

/// Answers the HELP subcommand of a container; `command` is the container or any of its subcommands.
pub fn help(command: Command, reply: &mut ReplyWriter<'_>) {
    let spec = command.spec();
    let container = spec.container().unwrap_or(spec.name);
    let subs: Vec<_> =
        all().map(Command::spec).filter(|sub| sub.container() == Some(container)).map(help_lines).collect();
    reply.array(1 + subs.len() * 2);
    reply.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.to_ascii_uppercase()
    ));
    for [usage, summary] in subs {
        reply.simple(&usage);
        reply.simple(&summary);
    }
}

fn help_lines(spec: &CommandSpec) -> [String; 2] {
    let name = spec.name.rsplit('|').next().unwrap_or(spec.name).to_ascii_uppercase();
    let usage = if spec.usage.is_empty() { name } else { format!("{name} {}", spec.usage) };
    [usage, format!("    {}", spec.summary)]
}

/// The commands that `COMMAND` shows, without subcommands.
fn public() -> impl Iterator<Item = Command> {
    all().filter(|command| !command.spec().flags.intersects(Flags::INTERNAL.or(Flags::SUBCOMMAND)))
}

/// The command or subcommand of that name, unless it is internal.
fn known(name: &[u8]) -> Option<Command> {
    lookup_full(name).filter(|command| !command.spec().is_internal())
}

fn info_of_all(reply: &mut ReplyWriter<'_>) {
    reply.array(public().count());
    public().for_each(|command| info(command, reply));
}

fn info(command: Command, reply: &mut ReplyWriter<'_>) {
    let spec = command.spec();
    let (first, last, step) = spec.keys.as_range();
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.integer(i64::from(spec.arity));
    let flags: Vec<_> = spec.flags.public().names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories: Vec<_> = spec.acl_categories().names().collect();
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(&format!("@{category}")));
    let tips = spec.all_tips();
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    key_specification(spec, reply);
    let subs: Vec<_> = subcommands(command).collect();
    if subs.is_empty() {
        reply.set(0);
    } else {
        reply.array(subs.len());
        subs.into_iter().for_each(|sub| info(sub, reply));
    }
}

fn key_specification(spec: &CommandSpec, reply: &mut ReplyWriter<'_>) {
    if matches!(spec.keys, KeySpec::Streams) {
        return streams_specification(spec, reply);
    }
    let (index, kind, fields): (usize, &str, [(&str, i64); 3]) = match spec.keys {
        KeySpec::Range { first, last, step } => {
            // Redis counts the last key from the first one, unless it counts from the end.
            let last = if last < 0 { i64::from(last) } else { i64::from(last) - first as i64 };
            (first, "range", [("lastkey", last), ("keystep", step as i64), ("limit", 0)])
        }
        KeySpec::NumKeys { at, first } => {
            let first = first as i64 - at as i64;
            (at, "keynum", [("keynumidx", 0), ("firstkey", first), ("keystep", 1)])
        }
        KeySpec::None
        | KeySpec::Streams
        | KeySpec::Found { .. }
        | KeySpec::Custom(_)
        | KeySpec::Memcached => {
            return reply.set(0);
        }
    };
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    let flags = key_flags(spec);
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(index as i64);
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
}

/// What a command does with its keys.
fn key_flags(spec: &CommandSpec) -> &'static [&'static str] {
    if spec.flags.contains(Flags::PUBSUB) {
        &["not_key"]
    } else if spec.is_readonly() {
        &["RO", "access"]
    } else {
        &["RW", "access", "update"]
    }
}

/// Keys that follow a word, with as many other arguments behind them.
fn streams_specification(spec: &CommandSpec, reply: &mut ReplyWriter<'_>) {
    // XREADGROUP has its group before.
    let start = if spec.is_readonly() { 1 } else { 4 };
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(2);
    reply.simple("RO");
    reply.simple("access");
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"keyword");
    reply.bulk(b"spec");
    reply.map(2);
    reply.bulk(b"keyword");
    reply.bulk(b"STREAMS");
    reply.bulk(b"startfrom");
    reply.integer(start);
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    for (name, value) in [("lastkey", -1), ("keystep", 1), ("limit", 2)] {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
}

fn docs(args: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let commands: Vec<_> =
        if args.len() == 2 { public().collect() } else { args.tail(2).iter().filter_map(known).collect() };
    reply.map(commands.len());
    commands.into_iter().for_each(|command| doc(command, reply));
}

fn doc(command: Command, reply: &mut ReplyWriter<'_>) {
    let spec = command.spec();
    let subs: Vec<_> = subcommands(command).collect();
    reply.bulk(spec.name.as_bytes());
    reply.map(4 + usize::from(!subs.is_empty()));
    for (name, text) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group),
        ("complexity", spec.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !subs.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subs.len());
        subs.into_iter().for_each(|sub| doc(sub, reply));
    }
}

/// `ACL CAT [category]`
pub(super) fn categories(asked: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let Some(name) = asked.get(0) else {
        let all: Vec<_> = Acl::ALL.names().collect();
        reply.array(all.len());
        return all.iter().for_each(|name| reply.bulk(name.as_bytes()));
    };
    let Some(category) = std::str::from_utf8(name).ok().and_then(Acl::from_name).filter(|_| asked.len() == 1)
    else {
        let mut text = b"ERR Unknown category '".to_vec();
        text.extend_from_slice(name);
        text.push(b'\'');
        return reply.error_bytes(&text);
    };
    let commands: Vec<_> = all()
        .map(Command::spec)
        .filter(|spec| !spec.is_internal() && spec.acl_categories().contains(category))
        .collect();
    reply.array(commands.len());
    commands.iter().for_each(|spec| reply.bulk(spec.name.as_bytes()));
}

/// The row of the command in `inner` and where its keys are; an error's text if it has none.
fn find_keys(inner: &Args<'_>) -> Result<(&'static CommandSpec, KeyIndexes), &'static str> {
    let command = resolve(inner).map_err(|why| match why {
        super::ResolveError::Arity(_) => error::GETKEYS_ARITY,
        _ => error::GETKEYS_UNKNOWN,
    })?;
    let spec = command.spec();
    // The names of channels are no keys.
    if spec.keys.is_none() || spec.flags.contains(Flags::PUBSUB) {
        return Err(error::GETKEYS_NONE);
    }
    // As in Redis a count that does not fit gives no keys rather than an error.
    Ok((spec, spec.find_keys(inner).unwrap_or_default()))
}

fn keys(inner: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let keys = match find_keys(inner) {
        Ok((_, keys)) => keys,
        Err(text) => return reply.error(text),
    };
    reply.array(keys.len());
    for index in keys {
        reply.bulk(inner.get(index).unwrap_or_default());
    }
}

fn keys_and_flags(inner: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let (spec, keys) = match find_keys(inner) {
        Ok(found) => found,
        Err(text) => return reply.error(text),
    };
    let flags = key_flags(spec);
    reply.array(keys.len());
    for index in keys {
        reply.array(2);
        reply.bulk(inner.get(index).unwrap_or_default());
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
}

fn list(filter: &Args<'_>, reply: &mut ReplyWriter<'_>) {
    let every = || all().map(Command::spec).filter(|spec| !spec.is_internal());
    let names: Vec<_> = match (filter.len(), filter.get(0), filter.get(1), filter.get(2)) {
        (0, ..) => every().collect(),
        (3, Some(by), Some(kind), Some(value)) if by.eq_ignore_ascii_case(b"filterby") => {
            if kind.eq_ignore_ascii_case(b"module") {
                Vec::new()
            } else if kind.eq_ignore_ascii_case(b"aclcat") {
                let category = std::str::from_utf8(value).ok().and_then(Acl::from_name);
                every().filter(|spec| category.is_some_and(|it| spec.acl_categories().contains(it))).collect()
            } else if kind.eq_ignore_ascii_case(b"pattern") {
                every().filter(|spec| glob::matches_ignoring_case(value, spec.name.as_bytes())).collect()
            } else {
                return reply.error(error::SYNTAX);
            }
        }
        _ => return reply.error(error::SYNTAX),
    };
    reply.array(names.len());
    names.into_iter().for_each(|spec| reply.bulk(spec.name.as_bytes()));
}

impl CommandSpec {
    /// The tips that `COMMAND INFO` shows: those of the row, and those that route and merge imply.
    pub fn all_tips(&self) -> Vec<&'static str> {
        let request = match self.route {
            Route::SplitKeys => Some("request_policy:multi_shard"),
            Route::AllShards => Some("request_policy:all_shards"),
            Route::Cursor => Some("request_policy:special"),
            _ => None,
        };
        let response = match self.merge {
            Merge::Sum => Some("response_policy:agg_sum"),
            Merge::AllOk | Merge::AllEqual => Some("response_policy:all_succeeded"),
            Merge::AnyOk => Some("response_policy:one_succeeded"),
            Merge::LogicalAnd => Some("response_policy:agg_logical_and"),
            _ => None,
        };
        self.tips.iter().copied().chain(request).chain(response).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{OwnedArgs, Value, Version};

    fn ask(line: &str) -> Value {
        let args = OwnedArgs::new(line.split(' '));
        let Ok(Command::Server(command)) = resolve(&args.view()) else { panic!("{line}: not a COMMAND") };
        let mut out = Vec::new();
        assert!(answer_command(command, &args.view(), &mut ReplyWriter::new(&mut out, Version::Resp3)));
        let (value, len) = Value::decode(&out).expect("valid").expect("whole");
        assert_eq!(len, out.len(), "{line}: one reply");
        value
    }

    fn names(value: Value) -> Vec<String> {
        let items = value.into_array().expect("an array");
        items.iter().map(|item| item.as_str().expect("text").to_string()).collect()
    }

    #[test]
    fn info_as_redis_gives_it() {
        let args = OwnedArgs::new(["command", "info", "mset", "nothing"]);
        let mut out = Vec::new();
        answer_command(
            ServerCommand::CommandInfo,
            &args.view(),
            &mut ReplyWriter::new(&mut out, Version::Resp2),
        );
        let expected = "*2\r\n*10\r\n$4\r\nmset\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:-1\r\n:2\r\n\
            *3\r\n+@write\r\n+@string\r\n+@slow\r\n\
            *2\r\n$26\r\nrequest_policy:multi_shard\r\n$29\r\nresponse_policy:all_succeeded\r\n\
            *1\r\n*6\r\n$5\r\nflags\r\n*3\r\n+RW\r\n+access\r\n+update\r\n\
            $12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n\
            $9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n\
            *6\r\n$7\r\nlastkey\r\n:-1\r\n$7\r\nkeystep\r\n:2\r\n$5\r\nlimit\r\n:0\r\n*0\r\n$-1\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn the_whole_table_is_one_reply() {
        let commands = ask("command").into_array().expect("an array");
        assert_eq!(ask("command count"), Value::Integer(commands.len() as i64));
        assert_eq!(ask("command info").into_array().map(|all| all.len()), Some(commands.len()));
        let docs = ask("command docs").into_map().expect("a map");
        assert_eq!(docs.len(), commands.len());
        assert!(docs.iter().all(|(name, _)| name.as_str() != Some("ctx")));
        assert_eq!(ask("command docs get nothing").into_map().map(|docs| docs.len()), Some(1));
    }

    #[test]
    fn keys_of_commands() {
        assert_eq!(names(ask("command getkeys mset a 1 b 2")), ["a", "b"]);
        assert_eq!(names(ask("command getkeys object encoding b")), ["b"]);
        assert_eq!(names(ask("command getkeys eval x 5 a")), Vec::<String>::new());
        let error = |line: &str| ask(line).as_error().expect("an error").into_owned();
        assert_eq!(error("command getkeys ping x"), "ERR The command has no key arguments");
        assert_eq!(error("command getkeys nothing x"), "ERR Invalid command specified");
        assert_eq!(error("command getkeys get a b"), "ERR Invalid number of arguments specified for command");
    }

    #[test]
    fn lists() {
        assert_eq!(names(ask("command list filterby pattern M?ET")), ["mget", "mset"]);
        assert_eq!(names(ask("command list filterby module x")), Vec::<String>::new());
        assert!(names(ask("command list filterby aclcat scripting")).contains(&"script|load".to_string()));
        assert!(ask("command list filterby x y").is_error());
        assert!(ask("command list x").is_error());
        assert!(names(ask("command list")).contains(&"client|list".to_string()));
    }

    #[test]
    fn help_is_rendered_from_the_rows() {
        let lines = names(ask("command help"));
        assert_eq!(lines[0], "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert_eq!(lines[1..3], ["COUNT", "    Counts the commands."]);
    }
}
