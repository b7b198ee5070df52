//! Real clients on a whole cluster: through its proxy, and straight to its nodes.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::{Cluster, Entry};
use torc_tests::peer;
use torc_tests::python::{self, Addresses};
use torc_tests::steps::Steps;
use torc_tests::tools;

const PROTOCOLS: [(&str, &str); 2] = [("TORC_PROTOCOL", "2"), ("TORC_PROTOCOL", "3")];

#[test]
fn through_the_proxy() {
    let mut cluster = Cluster::start(3);
    let proxy = cluster.proxy();
    let addresses = Addresses { resp: proxy.resp(), memcached: proxy.memcached() };
    let python = |script: &str, module: &str, environment: (&str, &str)| {
        python::run(script, &["redis", module], addresses, &[environment]);
    };
    let mut steps = Steps::default();
    steps.step("redis-cli", || {
        for (args, wanted) in [
            (&["SET", "a", "1"][..], "OK"),
            (&["INCR", "a"], "(integer) 2"),
            (&["GET", "nosuch"], "(nil)"),
            (&["HSET", "h", "f", "v"], "(integer) 1"),
            (&["-3", "HGETALL", "h"], "1# \"f\" => \"v\""),
            (&["MSET", "b", "2", "c", "3", "d", "4"], "OK"),
            (&["MGET", "b", "c", "d"], "1) \"2\"\n2) \"3\"\n3) \"4\""),
            (&["DEL", "b", "c", "d", "nosuch"], "(integer) 3"),
            (
                &["HGET", "a", "f"],
                "(error) WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
            (&["EVAL", "return {KEYS[1],ARGV[1]}", "1", "k", "v"], "1) \"k\"\n2) \"v\""),
        ] {
            let Some(answer) = tools::redis_cli(proxy.resp(), args) else { return };
            assert_eq!(answer, wanted, "{args:?}");
        }
        let Some(keys) = tools::redis_cli(proxy.resp(), &["--scan", "--pattern", "*"]) else { return };
        let mut keys: Vec<_> = keys.lines().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["\"a\"", "\"h\""]);
    });
    steps.step("redis-benchmark", || tools::redis_benchmark(proxy.resp(), 1000, &[]));
    steps.step("redis-benchmark, pipelined", || tools::redis_benchmark(proxy.resp(), 3000, &["-P", "16"]));
    for environment in PROTOCOLS {
        let [basics, pipelines, pubsub, lock] = if environment.1 == "2" {
            [
                "redis-py in RESP2",
                "redis-py's pipelines in RESP2",
                "redis-py's PubSub in RESP2",
                "redis-py's Lock in RESP2",
            ]
        } else {
            [
                "redis-py in RESP3",
                "redis-py's pipelines in RESP3",
                "redis-py's PubSub in RESP3",
                "redis-py's Lock in RESP3",
            ]
        };
        steps.step(basics, || python("redis_basics", "redis", environment));
        steps.step(pipelines, || python("redis_pipelines", "redis", environment));
        steps.step(pubsub, || python("redis_pubsub", "redis", environment));
        steps.step(lock, || python("redis_lock", "redis", environment));
    }
    steps.step("LOCK and FENCE", || python("locks_and_fences", "redis", PROTOCOLS[0]));
    steps.step("Redlock libraries on one address, in-sync by a policy", || {
        let done = cluster.torc(&["cluster", "policy", "redlock:", "--set", r#"{"ack":"in-sync"}"#]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        python::run("redis_redlock", &["redis", "redlock", "pottery"], addresses, &[]);
    });
    steps.step("pymemcache", || python("memcached_basics", "pymemcache", PROTOCOLS[0]));
    steps.step("memcached meta commands", || python("memcached_meta", "pymemcache", PROTOCOLS[0]));
    steps.step("memcstat", || tools::memcstat(proxy.memcached()));
    steps.step("memcapable", || tools::memcapable(proxy.memcached()));
    // Values of all lengths went by: each must have reached the replica, which must not have stopped at one.
    steps.step("every replica holds what its primary holds", || {
        for shard in 0..3 {
            cluster.wait_in_sync(shard, 2);
            let keys = |entry: &Entry| entry.connect().call(&["DBSIZE"]).expect("an answer");
            let (primary, replica) = (cluster.primary(shard), cluster.replica(shard));
            cluster.wait("as many keys on both", || (keys(&primary) == keys(&replica)).then_some(()));
        }
    });
    steps.finish();
    cluster.stop(Signal::INT);
}

#[test]
fn straight_to_the_nodes() {
    let mut cluster = Cluster::start(3);
    let node = cluster.primary(0);
    let addresses = Addresses { resp: node.resp(), memcached: node.memcached() };
    let mut steps = Steps::default();
    for environment in PROTOCOLS {
        let name = if environment.1 == "2" { "RedisCluster in RESP2" } else { "RedisCluster in RESP3" };
        steps.step(name, || python::run("redis_cluster", &["redis"], addresses, &[environment]));
    }
    steps.step("redis-cli -c", || {
        for n in 0..20 {
            let (key, value) = (format!("cli:{n}"), n.to_string());
            let Some(answer) = tools::redis_cli(node.resp(), &["-c", "SET", &key, &value]) else { return };
            assert!(answer.ends_with("OK"), "{answer}");
            let answer = tools::redis_cli(node.resp(), &["-c", "GET", &key]).unwrap_or_default();
            assert!(answer.ends_with(&format!("\"{n}\"")), "{answer}");
        }
    });
    steps.step("redis-benchmark --cluster", || {
        tools::redis_benchmark(node.resp(), 1000, &["--cluster"]);
    });
    steps.step("memcached on a node", || {
        let tag = cluster.tag(0);
        let mut memcached = Connection::open(&Endpoint::Tcp(node.memcached())).expect("it listens");
        memcached.send(format!("set {tag}m 0 0 1\r\nx\r\nget {tag}m\r\n").as_bytes()).expect("sent");
        let (answer, _) = memcached.read_until(|bytes| bytes.ends_with(b"END\r\n")).expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer), format!("STORED\r\nVALUE {tag}m 0 1\r\nx\r\nEND\r\n"));
    });
    steps.finish();
    cluster.stop(Signal::INT);
}

/// What memcached answers to one request.
fn memcached(connection: &mut Connection, request: &str) -> String {
    connection.send(request.as_bytes()).expect("sent");
    let (answer, _) = connection.read_until(|bytes| bytes.ends_with(b"\r\n")).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_password_guards_every_door() {
    let mut cluster = Cluster::start_with(&["--shards", "1", "--requirepass", "open sesame"]);
    for entry in [cluster.proxy(), cluster.primary(0), cluster.replica(0)] {
        let name = &entry.name;
        let mut resp = entry.connect();
        let call = |resp: &mut Connection, args: &[&str]| {
            String::from_utf8_lossy(&resp.call_raw(args).expect("an answer")).into_owned()
        };
        for args in [&["GET", "a"][..], &["PING"], &["INFO"], &["CLUSTER", "SLOTS"]] {
            assert!(call(&mut resp, args).starts_with("-NOAUTH "), "{name}: {args:?}");
        }
        assert!(call(&mut resp, &["AUTH", "wrong"]).starts_with("-WRONGPASS "), "{name}");
        assert!(call(&mut resp, &["HELLO", "3"]).starts_with("-NOAUTH "), "{name}");
        assert!(call(&mut resp, &["GET", "a"]).starts_with("-NOAUTH "), "{name}");
        assert_eq!(call(&mut resp, &["AUTH", "open sesame"]), "+OK\r\n", "{name}");
        assert_eq!(call(&mut resp, &["PING"]), "+PONG\r\n", "{name}");
        let mut other = entry.connect();
        assert!(
            call(&mut other, &["HELLO", "3", "AUTH", "default", "open sesame"]).starts_with('%'),
            "{name}"
        );

        // memcached's text protocol has the credentials in its first set, "user password".
        let mut text = Connection::open(&Endpoint::Tcp(entry.memcached())).expect("it listens");
        let answer = memcached(&mut text, "get a\r\n");
        assert!(answer.starts_with("CLIENT_ERROR unauthenticated"), "{name}: {answer}");
        let mut text = Connection::open(&Endpoint::Tcp(entry.memcached())).expect("it listens");
        let answer = memcached(&mut text, "set auth 0 0 13\r\ndefault wrong\r\n");
        assert!(answer.starts_with("CLIENT_ERROR authentication failure"), "{name}: {answer}");
        let mut text = Connection::open(&Endpoint::Tcp(entry.memcached())).expect("it listens");
        let answer = memcached(&mut text, "set auth 0 0 19\r\ndefault open sesame\r\n");
        assert_eq!(answer, "STORED\r\n", "{name}");
        assert!(memcached(&mut text, "version\r\n").starts_with("VERSION "), "{name}");
    }
    // Real clients with it, and one protocol's key read by the other.
    let proxy = cluster.proxy();
    if peer::find("redis-cli").is_some() {
        let answer =
            tools::redis_cli(proxy.resp(), &["--no-auth-warning", "-a", "open sesame", "SET", "k", "v"]);
        assert_eq!(answer.as_deref(), Some("OK"));
    }
    // The password is in no log and on no command line.
    for entry in cluster.file().processes {
        let log = std::fs::read_to_string(&entry.log).expect("a log");
        let line = torc_tests::cluster::command_line(entry.running_pid()).join(" ");
        assert!(!log.contains("sesame") && !line.contains("sesame"), "{} shows the password", entry.name);
    }
    cluster.stop(Signal::INT);
}
