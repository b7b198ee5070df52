//! Other people's command-line tools against one server.

use torc_tests::tools;
use torc_tests::torc::Server;

#[test]
fn redis_cli() {
    let server = Server::start();
    for (args, wanted) in [
        (&["SET", "a", "1"][..], "OK"),
        (&["INCR", "a"], "(integer) 2"),
        (&["GET", "nosuch"], "(nil)"),
        (&["HSET", "h", "f", "v"], "(integer) 1"),
        (&["HGETALL", "h"], "1) \"f\"\n2) \"v\""),
        (&["-3", "HGETALL", "h"], "1# \"f\" => \"v\""),
        (&["HGET", "a", "f"], "(error) WRONGTYPE Operation against a key holding the wrong kind of value"),
        (&["-n", "1", "DBSIZE"], "(integer) 0"),
        (&["EVAL", "return {KEYS[1],ARGV[1]}", "1", "k", "v"], "1) \"k\"\n2) \"v\""),
    ] {
        let Some(answer) = tools::redis_cli(server.resp(), args) else { return };
        assert_eq!(answer, wanted, "{args:?}");
    }
    let Some(keys) = tools::redis_cli(server.resp(), &["--scan", "--pattern", "*"]) else { return };
    let mut keys: Vec<_> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["\"a\"", "\"h\""]);
}

#[test]
fn redis_benchmark() {
    let server = Server::start();
    for pipeline in ["1", "16"] {
        tools::redis_benchmark(server.resp(), 3000, &["-P", pipeline]);
    }
}

#[test]
fn memcapable() {
    tools::memcapable(Server::start().memcached());
}

#[test]
fn memcstat() {
    tools::memcstat(Server::start().memcached());
}
