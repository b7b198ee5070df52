//! Requests and their replies, one after another on one connection, and the check that no command is without any.
//!
//! A line of a file in `vectors/` is one of
//!
//! ```text
//! # a comment
//! request => "reply"        the reply, escaped as a Rust string is
//! request ~> pattern        a glob that the reply matches, for what differs from run to run
//! ```
//!
//! An empty reply is none: the request waits, or its answer goes another way. Unless a file says otherwise the
//! replies with `=>` were recorded from a Redis 7.0 (BITCOUNT with a start alone: a Valkey 8).

use std::collections::BTreeSet;

use torc_protocol::command::{self, Command};
use torc_protocol::glob;
use torc_protocol::resp::split_args;
use torc_server::exec::testing::Harness;
use torc_server::settings::Settings;

/// A file's text, and how it is replayed.
struct Vectors {
    file: &'static str,
    text: &'static str,
    harness: fn() -> Harness,
}

macro_rules! vectors {
    ($($file:literal by $harness:expr),* $(,)?) => {
        &[$(Vectors { file: $file, text: include_str!(concat!("vectors/", $file)), harness: $harness }),*]
    };
}

const ALL: &[Vectors] = vectors! {
    "cluster.txt" by Harness::primary,
    "connection.txt" by Harness::new,
    "data_resp2.txt" by Harness::new,
    "data_resp3.txt" by resp3,
    "debug.txt" by debugged,
    "field_expiry.txt" by Harness::new,
    "generic.txt" by Harness::new,
    "geo.txt" by Harness::new,
    "hyperloglog.txt" by Harness::new,
    "internal.txt" by trusted,
    "lists.txt" by Harness::new,
    "locks_and_leases.txt" by Harness::new,
    "pubsub.txt" by Harness::new,
    "scripting.txt" by Harness::new,
    "server.txt" by Harness::new,
    "sets.txt" by Harness::new,
    "sorted_sets.txt" by Harness::new,
    "streams.txt" by Harness::new,
    "transactions.txt" by Harness::new,
};

/// Files that a primary behind a proxy answers in the same way, byte for byte.
const THROUGH_PROXY: &[&str] = &[
    "data_resp2.txt",
    "field_expiry.txt",
    "geo.txt",
    "hyperloglog.txt",
    "lists.txt",
    "sets.txt",
    "sorted_sets.txt",
    "streams.txt",
];

fn resp3() -> Harness {
    let mut t = Harness::new();
    t.resp3();
    t
}

fn debugged() -> Harness {
    Harness::with_settings(Settings { enable_debug: true, ..Settings::default() })
}

fn trusted() -> Harness {
    let mut t = Harness::primary();
    t.session.trusted = true;
    t
}

/// The requests of a text, each with what is said of its reply.
fn lines(text: &str) -> impl Iterator<Item = (&str, Said<'_>)> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let exact = line.split_once(" => ").map(|(request, reply)| (request, Said::Exactly(reply)));
        exact
            .or_else(|| line.split_once(" ~> ").map(|(request, glob)| (request, Said::Like(glob))))
            .unwrap_or_else(|| panic!("no reply in {line:?}"))
    })
}

enum Said<'a> {
    /// Escaped, in quotes.
    Exactly(&'a str),
    Like(&'a str),
}

/// Runs the requests; gives the lines that would have been right for the replies that were wrong.
fn replay(mut t: Harness, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (request, said) in lines(text) {
        let reply = t.run(request);
        let right = match said {
            Said::Exactly(escaped) => format!("{reply:?}") == escaped,
            Said::Like(pattern) => glob::matches(pattern.as_bytes(), reply.as_bytes()),
        };
        if !right {
            wrong.push(format!("{request} => {reply:?}"));
        }
    }
    wrong
}

fn check(file: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{file}: {} replies differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn replies_are_those_recorded() {
    let mut all = Vec::new();
    for vectors in ALL {
        let wrong = replay((vectors.harness)(), vectors.text);
        all.extend(wrong.into_iter().map(|line| format!("{}: {line}", vectors.file)));
    }
    check("vectors", &all);
}

#[test]
fn a_primary_answers_the_same() {
    for name in THROUGH_PROXY {
        let vectors = ALL.iter().find(|vectors| vectors.file == *name).expect("a file of the list");
        let mut t = Harness::primary();
        t.through_proxy();
        check(name, &replay(t, vectors.text));
    }
}

/// The rows that a request is a vector of: its command, or its container and the subcommand.
fn rows(request: &str) -> impl Iterator<Item = Command> {
    let args = split_args(request.as_bytes()).unwrap_or_default();
    let command = args.first().and_then(|name| command::lookup(name));
    let sub = command.zip(args.get(1)).and_then(|(command, name)| command::lookup_sub(command, name));
    command.into_iter().chain(sub)
}

#[test]
fn every_command_has_a_vector() {
    let seen: BTreeSet<usize> =
        ALL.iter().flat_map(|v| lines(v.text)).flat_map(|(r, _)| rows(r)).map(Command::index).collect();
    let missing: Vec<&str> = Command::ALL
        .iter()
        .filter(|command| !seen.contains(&command.index()))
        .map(|command| command.spec().name)
        .collect();
    assert!(missing.is_empty(), "no line in server/tests/vectors for {missing:?}");
}

#[test]
fn every_file_is_replayed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    for entry in std::fs::read_dir(folder).expect("the folder").flatten() {
        let name = entry.file_name();
        assert!(ALL.iter().any(|vectors| name == *vectors.file), "{} is not in the list", name.display());
    }
}
