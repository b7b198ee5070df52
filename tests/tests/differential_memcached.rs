//! Torc and Debian's `memcached` answer the same to the text protocol.

use torc_tests::client::Endpoint;
use torc_tests::differential::{Pair, files, folder, memcached, random};
use torc_tests::peer::Peer;
use torc_tests::torc::Server;

fn against_memcached(file: &str) {
    let Some(peer) = Peer::memcached() else { return };
    let server = Server::start();
    let pair = Pair::new(Endpoint::Tcp(server.memcached()), peer.endpoint().clone());
    memcached::run(&pair, &folder("memcached").join(file)).finish(file);
}

#[test]
fn classic() {
    against_memcached("classic.cmds");
}

#[test]
fn malformed() {
    against_memcached("malformed.cmds");
}

#[test]
fn meta() {
    against_memcached("meta.cmds");
}

#[test]
fn random_requests() {
    let Some(peer) = Peer::memcached() else { return };
    let server = Server::start();
    let pair = Pair::new(Endpoint::Tcp(server.memcached()), peer.endpoint().clone());
    let (seed, sequences) = random::settings();
    memcached::run_random(&pair, seed, sequences * memcached::REQUESTS).finish("random requests");
}

#[test]
fn what_watchers_see() {
    let Some(peer) = Peer::memcached() else { return };
    let server = Server::start();
    let pair = Pair::new(Endpoint::Tcp(server.memcached()), peer.endpoint().clone());
    let (seed, count) = random::settings();
    memcached::run_watched(&pair, seed, count).finish("lines of the log");
}

#[test]
fn every_file_is_a_test() {
    for file in files(&folder("memcached"), "cmds") {
        let name = file.file_name().and_then(|n| n.to_str()).expect("a text name");
        assert!(
            ["classic.cmds", "malformed.cmds", "meta.cmds"].contains(&name),
            "{name} has no test in {}",
            file!()
        );
    }
}
