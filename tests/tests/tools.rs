//! Other people's command-line tools against one server.

use std::process::{Command, Output};

use torc_tests::peer;
use torc_tests::torc::Server;

/// Runs a tool; skips when it is not installed.
fn run(program: &str, hint: &str, args: &[&str]) -> Option<Output> {
    let path = peer::find_or_skip(program, hint)?;
    let output = Command::new("timeout").arg("--signal=KILL").arg("240").arg(path).args(args).output();
    let output = output.expect("timeout can be started");
    assert!(
        output.status.success(),
        "{program} {args:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(output)
}

#[test]
fn redis_cli() {
    let server = Server::start();
    let port = server.resp().port().to_string();
    let call = |args: &[&str]| {
        let output =
            run("redis-cli", "apt-get install redis-tools", &[&["-p", &port, "--no-raw"], args].concat())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
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
        let Some(answer) = call(args) else { return };
        assert_eq!(answer, wanted, "{args:?}");
    }
    let Some(keys) = call(&["--scan", "--pattern", "*"]) else { return };
    let mut keys: Vec<_> = keys.lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["\"a\"", "\"h\""]);
}

#[test]
fn redis_benchmark() {
    let server = Server::start();
    let port = server.resp().port().to_string();
    for pipeline in ["1", "16"] {
        let args = ["-p", &port, "-t", "ping,set,get,incr,hset,mset", "-n", "3000", "-P", pipeline, "--csv"];
        let Some(output) = run("redis-benchmark", "apt-get install redis-tools", &args) else { return };
        let text = String::from_utf8_lossy(&output.stdout);
        for name in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"] {
            assert!(text.contains(&format!("\"{name}\"")), "{name} is missing:\n{text}");
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("rror from server"), "{errors}");
    }
}

#[test]
fn memcapable() {
    let server = Server::start();
    let port = server.memcached().port().to_string();
    let args = ["-a", "-h", "127.0.0.1", "-p", &port];
    // Debian calls it memccapable.
    let name = if peer::find("memcapable").is_some() { "memcapable" } else { "memccapable" };
    let Some(output) = run(name, "apt-get install libmemcached-tools", &args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("All tests passed"), "{text}");
}

#[test]
fn memcstat() {
    let server = Server::start();
    let address = format!("--servers=127.0.0.1:{}", server.memcached().port());
    let Some(output) = run("memcstat", "apt-get install libmemcached-tools", &[&address]) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    for name in ["pid:", "version:", "curr_items:", "cmd_get:", "get_hits:", "limit_maxbytes:"] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
}
