//! Torc and Debian's `redis-server` answer the same.
//!
//! Every file under `differential/redis` and `differential/random` is a test of its own here;
//! [`every_file_is_a_test`] says when one is missing.

use std::path::{Path, PathBuf};

use torc_tests::differential::list::List;
use torc_tests::differential::{Pair, Report, files, folder, random, raw, redis};
use torc_tests::peer::Peer;
use torc_tests::torc::Server;

/// Makes a test per file.
macro_rules! file_tests {
    ($all:ident, $folder:literal, $run:ident: $($test:ident = $file:literal),* $(,)?) => {
        const $all: &[&str] = &[$($file),*];
        $(
            #[test]
            #[ignore = "the server does not answer yet"]
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
    strings = "strings.cmds",
    lcs = "lcs.cmds",
    bitmaps = "bitmaps.cmds",
    generic = "generic.cmds",
    expiry = "expiry.cmds",
    hashes = "hashes.cmds",
    scan = "scan.cmds",
    transactions = "transactions.cmds",
    scripting = "scripting.cmds",
    server = "server.cmds",
}

file_tests! { RAW, "redis", raw_bytes:
    pipeline = "pipeline.raw",
    protocol_errors = "protocol-errors.raw",
}

file_tests! { RANDOM, "random", random_commands:
    random_strings = "strings.gen",
    random_bitmaps = "bitmaps.gen",
    random_generic = "generic.gen",
    random_hashes = "hashes.gen",
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
