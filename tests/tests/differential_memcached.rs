//! Torc and Debian's `memcached` answer the same to the text protocol.

use torc_tests::client::{Connection, Endpoint};
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

/// The names in the answer to a kind of `stats`.
fn names(endpoint: &Endpoint, kind: &str) -> Vec<String> {
    let mut connection = Connection::open(endpoint).expect("it listens");
    connection.send(b"set k 0 100 1\r\nx\r\nget k\r\n").expect("sent");
    connection.read_until(|bytes| bytes.ends_with(b"END\r\n")).expect("an answer");
    connection.send(format!("stats {kind}\r\n").as_bytes()).expect("sent");
    let (bytes, _) = connection.read_until(|bytes| bytes.ends_with(b"END\r\n")).expect("an answer");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.lines().filter_map(|line| Some(line.strip_prefix("STAT ")?.split(' ').next()?.to_owned())).collect()
}

#[test]
fn statistics_have_all_names() {
    let Some(peer) = Peer::memcached() else { return };
    let server = Server::start();
    let ours = Endpoint::Tcp(server.memcached());
    // What a build without TLS and without storage on flash has not either.
    const OPTIONAL: [&str; 3] = ["ssl_", "ext_", "slab_automove_freeratio"];
    for kind in ["", "settings", "items", "slabs", "sizes"] {
        let (wanted, found) = (names(peer.endpoint(), kind), names(&ours, kind));
        assert!(!wanted.is_empty(), "stats {kind}");
        let optional = |name: &str| OPTIONAL.iter().any(|prefix| name.starts_with(prefix));
        let missing: Vec<_> = wanted.iter().filter(|name| !optional(name) && !found.contains(name)).collect();
        assert!(missing.is_empty(), "stats {kind}: {missing:?}");
        let mut once = found.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), found.len(), "stats {kind}: a name comes twice: {found:?}");
    }
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
