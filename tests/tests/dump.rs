//! Payloads of DUMP go from Torc to redis-server and back, for every type and encoding.

use torc_tests::client::{Connection, Endpoint};
use torc_tests::differential::compare::{Check, compare};
use torc_tests::peer::Peer;
use torc_tests::quote;
use torc_tests::torc::Server;

/// What is done to a key `K`, how often (`#` is the number), and how the value is read: in order, or sorted in groups.
struct Case {
    name: &'static str,
    lines: &'static [&'static str],
    times: usize,
    read: &'static str,
    group: Option<usize>,
}

const fn case(name: &'static str, lines: &'static [&'static str], times: usize, read: &'static str) -> Case {
    Case { name, lines, times, read, group: None }
}

const fn unordered(case: Case, group: usize) -> Case {
    Case { group: Some(group), ..case }
}

const CASES: &[Case] = &[
    case("short string", &["SET K text"], 1, "GET K"),
    case("integer", &["SET K -70000"], 1, "GET K"),
    case("long string", &["APPEND K some-text-that-repeats-#"], 2000, "GET K"),
    unordered(case("small hash", &["HSET K field# value# # -#"], 20, "HGETALL K"), 2),
    unordered(case("hash", &["HSET K field# value# # -#"], 500, "HGETALL K"), 2),
    case("list", &["RPUSH K # element#", "LPUSH K -#"], 5, "LRANGE K 0 -1"),
    case("long list", &["RPUSH K # element# a-longer-element-#-#-#-#"], 3000, "LRANGE K 0 -1"),
    unordered(case("set of integers", &["SADD K #00 -#"], 300, "SMEMBERS K"), 1),
    unordered(case("small set", &["SADD K # member#"], 20, "SMEMBERS K"), 1),
    unordered(case("set", &["SADD K # member#"], 500, "SMEMBERS K"), 1),
    case(
        "small sorted set",
        &["ZADD K #.5 member#", "ZADD K -inf first inf last"],
        20,
        "ZRANGE K 0 -1 WITHSCORES",
    ),
    case("sorted set", &["ZADD K #.5 member#", "ZADD K -# #"], 500, "ZRANGE K 0 -1 WITHSCORES"),
    case("stream", &["XADD K #-1 field value#", "XADD K #-2 other # more -#"], 300, "XRANGE K - +"),
    case(
        "stream with groups",
        &[
            "XADD K #-1 f v",
            "XGROUP CREATE K g# 0",
            "XREADGROUP GROUP g1 alice COUNT 1 STREAMS K >",
            "XDEL K 2-1",
        ],
        9,
        "XPENDING K g1 - + 100",
    ),
    case("emptied stream", &["XADD K #-1 f v", "XTRIM K MAXLEN 0"], 3, "XINFO STREAM K"),
];

fn call(connection: &mut Connection, line: &str) -> Vec<u8> {
    let words = quote::split(line).expect("balanced quotes");
    connection.call_raw(&words).expect("a reply")
}

/// From one server to the other; what differs there.
fn carry(from: &Endpoint, to: &Endpoint, way: &str) -> Vec<String> {
    let mut failed = Vec::new();
    let [mut from, mut to] = [from, to].map(|endpoint| Connection::open(endpoint).expect("connects"));
    for connection in [&mut from, &mut to] {
        assert_eq!(call(connection, "FLUSHALL"), b"+OK\r\n");
    }
    for case in CASES {
        for n in 1..=case.times {
            for line in case.lines {
                let line = line.replace('K', "key").replace('#', &n.to_string());
                from.call_raw(&quote::split(&line).expect("balanced quotes")).expect("a reply");
            }
        }
        let payload = from.call(&["DUMP", "key"]).expect("a reply");
        let payload = payload.bytes().unwrap_or_else(|| panic!("{way}: {} is not there", case.name));
        let restored = to.call_raw(&[b"RESTORE", &b"key"[..], b"0", payload, b"REPLACE"]).expect("a reply");
        let read = case.read.replace('K', "key");
        let (here, there) = (call(&mut from, &read), call(&mut to, &read));
        let check = match case.group {
            // Which idle times and radix nodes a server shows is its own.
            _ if read.starts_with('X') && !read.starts_with("XRANGE") => Check::Shape,
            Some(group) => Check::Unordered(group),
            None => Check::Exact,
        };
        if restored != b"+OK\r\n" {
            failed.push(format!("{way}: {}: {}", case.name, String::from_utf8_lossy(&restored)));
        } else if let Err(difference) = compare(&check, &here, &there) {
            failed.push(format!("{way}: {}: {difference}", case.name));
        }
        call(&mut from, "DEL key");
    }
    failed
}

#[test]
fn payloads_are_understood_on_both_sides() {
    let Some(peer) = Peer::redis() else { return };
    let server = Server::start();
    let ours = server.endpoint();
    let mut failed = carry(&ours, peer.endpoint(), "Torc to Redis");
    failed.extend(carry(peer.endpoint(), &ours, "Redis to Torc"));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
