//! Torc and Debian's `redis-server` answer the same.
//!
//! Every file under `differential/redis` and `differential/random` is a test of its own here;
//! [`every_file_is_a_test`] says when one is missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use torc_tests::client::{Connection, Endpoint};
use torc_tests::differential::list::List;
use torc_tests::differential::{Pair, Report, files, folder, random, raw, redis};
use torc_tests::frame::Node;
use torc_tests::peer::Peer;
use torc_tests::torc::Server;

/// Makes a test per file.
macro_rules! file_tests {
    ($all:ident, $folder:literal, $run:ident: $($(#[$attribute:meta])* $test:ident = $file:literal),* $(,)?) => {
        const $all: &[&str] = &[$($file),*];
        $(
            #[test]
            $(#[$attribute])*
            fn $test() {
                against_redis($file, |pair| $run(pair, &folder($folder).join($file)));
            }
        )*
    };
}

file_tests! { LISTS, "redis", list:
    connection = "connection.cmds",
    hello = "hello.cmds",
    client = "client.cmds",
    config = "config.cmds",
    strings = "strings.cmds",
    lcs = "lcs.cmds",
    bitmaps = "bitmaps.cmds",
    generic = "generic.cmds",
    geo = "geo.cmds",
    dump = "dump.cmds",
    expiry = "expiry.cmds",
    hashes = "hashes.cmds",
    lists = "lists.cmds",
    sets = "sets.cmds",
    streams = "streams.cmds",
    stream_groups = "stream-groups.cmds",
    hyperloglog = "hyperloglog.cmds",
    scan = "scan.cmds",
    sort = "sort.cmds",
    sorted_sets = "sorted-sets.cmds",
    pubsub = "pubsub.cmds",
    pubsub_resp2 = "pubsub-resp2.cmds",
    events = "events.cmds",
    transactions = "transactions.cmds",
    transactions_server = "transactions-server.cmds",
    scripting = "scripting.cmds",
    server = "server.cmds",
    introspection = "introspection.cmds",
}

file_tests! { RAW, "redis", raw_bytes:
    pipeline = "pipeline.raw",
    protocol_errors = "protocol-errors.raw",
}

file_tests! { RANDOM, "random", random_commands:
    random_strings = "strings.gen",
    random_expiry = "expiry.gen",
    random_bitmaps = "bitmaps.gen",
    random_generic = "generic.gen",
    random_geo = "geo.gen",
    random_hashes = "hashes.gen",
    random_lists = "lists.gen",
    random_sets = "sets.gen",
    random_streams = "streams.gen",
    random_sorted_sets = "sorted-sets.gen",
    random_hyperloglog = "hyperloglog.gen",
    random_transactions = "transactions.gen",
}

fn list(pair: &Pair, file: &Path) -> Report {
    redis::run(pair, &List::read(file))
}

fn raw_bytes(pair: &Pair, file: &Path) -> Report {
    raw::run(pair, file)
}

fn random_commands(pair: &Pair, file: &Path) -> Report {
    let (seed, count) = random::settings();
    random::run(pair, &random::Family::read(file), seed, count)
}

fn against_redis(what: &str, run: impl FnOnce(&Pair) -> Report) {
    let Some(peer) = Peer::redis() else { return };
    let server = Server::start();
    run(&Pair::new(server.endpoint(), peer.endpoint().clone())).finish(what);
}

/// What a command table says of a command: arity, key positions, and the flags that clients act on.
fn table(endpoint: &Endpoint) -> BTreeMap<String, String> {
    const FLAGS: [&str; 7] = ["write", "readonly", "denyoom", "noscript", "blocking", "movablekeys", "fast"];
    let reply = Connection::open(endpoint).and_then(|mut c| c.call(&["COMMAND"])).expect("COMMAND answers");
    let mut table = BTreeMap::new();
    for row in reply.children().expect("an array").iter().filter_map(Node::children) {
        let integer = |at: usize| row.get(at).and_then(Node::integer).expect("an integer");
        let mut flags: Vec<_> = row[2].children().expect("flags").iter().filter_map(Node::text).collect();
        flags.retain(|flag| FLAGS.contains(&flag.as_str()));
        flags.sort();
        let line =
            format!("arity {}, keys {}..{} by {}, {flags:?}", integer(1), integer(3), integer(4), integer(5));
        table.insert(row[0].text().expect("a name"), line);
    }
    table
}

/// Redis 7.2 and later have these as we do: blocking commands may be called by scripts, where they do not wait.
const AS_LATER: &[&str] =
    &["blmove", "blpop", "brpop", "brpoplpush", "bzpopmax", "bzpopmin", "wait", "zrank", "zrevrank"];

#[test]
fn command_table() {
    against_redis("the command table", |pair| {
        let (ours, theirs) = (table(&pair.ours), table(&pair.theirs));
        let mut report = Report::default();
        for (name, right) in &theirs {
            if let Some(found) = ours.get(name).filter(|_| !AS_LATER.contains(&name.as_str())) {
                report.compared += 1;
                if found != right {
                    report.differences.push(format!("{name}\n    ours:   {found}\n    theirs: {right}"));
                }
            }
        }
        report
    });
}

/// Runs one more list: `TORC_DIFF_FILE=<file>`, such as the random tests write for a difference.
#[test]
fn named_file() {
    let Some(file) = std::env::var_os("TORC_DIFF_FILE").map(PathBuf::from) else { return };
    against_redis("the named file", |pair| list(pair, &file));
}

#[test]
fn every_file_is_a_test() {
    for (folder_name, extension, tested) in
        [("redis", "cmds", LISTS), ("redis", "raw", RAW), ("random", "gen", RANDOM)]
    {
        for file in files(&folder(folder_name), extension) {
            let name = file.file_name().and_then(|n| n.to_str()).expect("a text name");
            assert!(tested.contains(&name), "differential/{folder_name}/{name} has no line in {}", file!());
        }
    }
}
