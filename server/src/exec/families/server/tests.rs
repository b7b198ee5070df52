//! CONFIG, INFO, MEMORY, SLOWLOG, DEBUG, WAIT, SHUTDOWN, and what is refused.

use torc_protocol::resp::Version;

use crate::exec::testing::Harness;
use crate::exec::{Flow, Park};
use crate::settings::Settings;

fn info(t: &mut Harness, section: &str) -> String {
    t.run(&format!("INFO {section}"))
}

#[test]
fn config_is_all_or_nothing() {
    let mut t = Harness::new();
    t.expect(&[
        ("CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$1\r\n0\r\n"),
        ("CONFIG SET maxmemory 1mb maxmemory-policy allkeys-lru", "+OK\r\n"),
        ("CONFIG GET MAXMEMORY maxmemory-p*", "*4\r\n$9\r\nMAXMEMORY\r\n$7\r\n1048576\r\n$16\r\nmaxmemory-policy\r\n$11\r\nallkeys-lru\r\n"),
        ("CONFIG SET maxmemory 2mb nosuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n"),
        ("CONFIG SET maxmemory 2mb timeout", "-ERR syntax error\r\n"),
        (
            "CONFIG SET timeout 1 TIMEOUT 2",
            "-ERR CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter\r\n",
        ),
        (
            "CONFIG SET maxmemory 2mb timeout x",
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an \
             integer\r\n",
        ),
        // Names are looked at before values.
        ("CONFIG SET TIMEOUT x NoSuch 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'NoSuch'\r\n"),
        (
            "CONFIG SET timeout x TIMEOUT 1",
            "-ERR CONFIG SET failed (possibly related to argument 'TIMEOUT') - duplicate parameter\r\n",
        ),
        (
            "CONFIG SET timeout x daemonize yes",
            "-ERR CONFIG SET failed (possibly related to argument 'daemonize') - can't set immutable config\r\n",
        ),
        (
            "CONFIG SET TIMEOUT x",
            "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an \
             integer\r\n",
        ),
        ("CONFIG GET maxmemory", "*2\r\n$9\r\nmaxmemory\r\n$7\r\n1048576\r\n"),
        ("CONFIG GET nosuch", "*0\r\n"),
        ("CONFIG REWRITE", "-ERR The server is running without a config file\r\n"),
        ("CONFIG SET a", "-ERR wrong number of arguments for 'config|set' command\r\n"),
    ]);
    t.session.version = Version::Resp3;
    assert_eq!(t.run("CONFIG GET timeout"), "%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
}

#[test]
fn config_rewrite_keeps_what_was_set() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("torc.toml");
    std::fs::write(&path, "port = 7000\n").expect("writable");
    let mut t = Harness::with_settings(Settings { config_file: Some(path.clone()), ..Settings::default() });
    t.run("CONFIG SET maxmemory 1mb");
    assert_eq!(t.run("CONFIG REWRITE"), "+OK\r\n");
    let text = std::fs::read_to_string(path).expect("there");
    assert_eq!(text, "port = 7000\n\n[redis]\n\"maxmemory\" = \"1048576\"\n");
}

/// Every policy keeps the store below its limit; those that look at uses keep what is used.
#[test]
fn eviction_keeps_the_limit_and_what_is_used() {
    for (policy, keeps_used) in
        [("allkeys-s3fifo", true), ("allkeys-lfu", true), ("allkeys-lru", false), ("allkeys-random", false)]
    {
        let mut t = Harness::new();
        t.run(&format!("CONFIG SET maxmemory 2mb maxmemory-policy {policy}"));
        let value = "x".repeat(200);
        for n in 0..20_000u32 {
            assert_eq!(t.run(&format!("SET cold:{n} {value}")), "+OK\r\n");
            if n < 100 {
                t.run(&format!("SET used:{n} {value}"));
            }
            if n % 10 == 0 {
                t.run(&format!("GET used:{}", n / 10 % 100));
            }
        }
        let used: u64 = info(&mut t, "memory")
            .lines()
            .find_map(|line| line.strip_prefix("used_memory_dataset:")?.trim().parse().ok())
            .expect("INFO says it");
        assert!(used < 2 << 20 | 1 << 12, "{policy}: {used}");
        let left = (0..100).filter(|n| t.run(&format!("EXISTS used:{n}")) == ":1\r\n").count();
        assert!(!keeps_used || left >= 90, "{policy}: {left} of 100");
    }
}

#[test]
fn info_has_what_tools_look_for() {
    let mut t = Harness::new();
    t.run("SET a 1 EX 100");
    t.run("SET b 2");
    t.run("GET a");
    t.run("GET nosuch");
    t.run("INCR b c");
    t.run("HGET a f");
    let text = info(&mut t, "");
    for wanted in [
        "# Server\r\nredis_version:7.2.4\r\ntorc_version:",
        "redis_mode:standalone\r\n",
        "connected_clients:1\r\n",
        "\r\n\r\n# Memory\r\nused_memory:",
        "maxmemory_policy:noeviction\r\n",
        "keyspace_hits:2\r\nkeyspace_misses:1\r\n",
        "# Persistence\r\nloading:0\r\n",
        "role:master\r\nconnected_slaves:0\r\n",
        "used_cpu_sys:",
        "# Errorstats\r\nerrorstat_ERR:count=1\r\nerrorstat_WRONGTYPE:count=1\r\n",
        "# Cluster\r\ncluster_enabled:0\r\n",
        "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=100000\r\n",
        "torc_role:plain\r\n",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
    assert!(!text.contains("# Commandstats"));
    let text = info(&mut t, "commandstats");
    assert!(text.starts_with('$') && text.contains("\r\n# Commandstats\r\n"), "{text}");
    assert!(
        text.contains("cmdstat_set:calls=2,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0\r\n")
    );
    assert!(
        text.contains("cmdstat_incr:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n")
    );
    assert!(
        text.contains("cmdstat_hget:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=1\r\n")
    );
    assert!(!text.contains("# Server"));
    assert_eq!(info(&mut t, "nosuch"), "$0\r\n\r\n");
    assert!(info(&mut t, "everything").contains("# Latencystats"));
    t.run("CONFIG RESETSTAT");
    assert!(info(&mut t, "stats").contains("keyspace_hits:0\r\n"));
    // Inside a transaction the stripes of other commands are held.
    t.run("MULTI");
    t.run("DBSIZE");
    t.run("INFO keyspace");
    assert!(t.run("EXEC").contains("db0:keys=2,"));
}

#[test]
fn databases_are_counted_flushed_and_swapped() {
    let mut t = Harness::new();
    t.run("SET a 1");
    t.run("SELECT 3");
    t.run("SET b 1");
    t.expect(&[
        ("DBSIZE", ":1\r\n"),
        ("SWAPDB 0 3", "+OK\r\n"),
        ("GET a", "$1\r\n1\r\n"),
        ("SWAPDB a 1", "-ERR invalid first DB index\r\n"),
        ("SWAPDB 0 b", "-ERR invalid second DB index\r\n"),
        ("SWAPDB 0 99", "-ERR DB index is out of range\r\n"),
        ("FLUSHDB ASYNC", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("DBSIZE", ":1\r\n"),
        ("FLUSHALL foo", "-ERR syntax error\r\n"),
        ("FLUSHALL ASYNC SYNC", "-ERR syntax error\r\n"),
        ("FLUSHALL", "+OK\r\n"),
        ("DBSIZE", ":0\r\n"),
    ]);
}

#[test]
fn memory_is_accounted_for() {
    let mut t = Harness::new();
    t.run("SET k v");
    t.expect(&[
        ("MEMORY USAGE nosuch", "$-1\r\n"),
        ("MEMORY USAGE k SAMPLES x", "-ERR value is not an integer or out of range\r\n"),
        ("MEMORY USAGE k SAMPLES -1", "-ERR syntax error\r\n"),
        ("MEMORY USAGE k foo", "-ERR syntax error\r\n"),
        ("MEMORY NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try MEMORY HELP.\r\n"),
    ]);
    let usage = t.run("MEMORY USAGE k SAMPLES 5");
    let bytes: u32 = usage.trim_start_matches(':').trim_end().parse().expect("a number");
    assert!((20..100).contains(&bytes), "{usage}");
    t.session.version = Version::Resp3;
    let stats = t.run("MEMORY STATS");
    assert!(stats.starts_with("%22\r\n$14\r\npeak.allocated\r\n:"), "{stats}");
    assert!(
        stats.contains("$4\r\ndb.0\r\n%2\r\n") && stats.contains("$10\r\nkeys.count\r\n:1\r\n"),
        "{stats}"
    );
    assert!(t.run("MEMORY DOCTOR").contains("txt:There is too little data"));
}

#[test]
fn slow_requests_are_remembered() {
    let mut t = Harness::new();
    t.expect(&[
        ("SLOWLOG LEN", ":0\r\n"),
        ("SLOWLOG GET", "*0\r\n"),
        ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1\r\n"),
        ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1\r\n"),
        ("SLOWLOG RESET", "+OK\r\n"),
        ("LATENCY LATEST", "*0\r\n"),
        ("LATENCY HISTORY command", "*0\r\n"),
        ("LATENCY RESET a b", ":0\r\n"),
    ]);
    let keys = torc_protocol::command::lookup(b"keys").expect("known");
    let args = torc_protocol::resp::OwnedArgs::new(["KEYS", "*"]);
    t.node.slow.note(keys, &args.view(), &t.session, 20_000_000, 5_000);
    assert_eq!(
        t.run("SLOWLOG GET 1"),
        "*1\r\n*6\r\n:0\r\n:5\r\n:20000\r\n*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n$6\r\ntest:0\r\n$0\r\n\r\n"
    );
    assert_eq!(t.run("SLOWLOG LEN"), ":1\r\n");
}

/// A clock on which everything takes a millisecond.
fn ticking_ns() -> u64 {
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NOW.fetch_add(1_000_000, std::sync::atomic::Ordering::Relaxed)
}

/// The requests in the slow log, newest first.
fn slow_requests(t: &Harness) -> Vec<String> {
    let text = |args: &[Box<[u8]>]| String::from_utf8_lossy(&args.join(&b' ')).into_owned();
    t.node.slow.latest(10).iter().map(|entry| text(&entry.args)).collect()
}

#[test]
fn who_waits_is_in_the_slow_log_once_it_is_served() {
    let all = Settings { slowlog_slower_than_us: 0, ..Settings::default() };
    let mut t = Harness::with_settings(all).timed_by(ticking_ns);
    let client = t.session.client.clone();
    let mut other = crate::exec::Session { client, ..crate::exec::Session::new(7, true) };
    std::mem::swap(&mut t.session, &mut other);
    let waiting = t.execute(["BLPOP", "l", "0"]).1;
    std::mem::swap(&mut t.session, &mut other);
    assert!(matches!(waiting.flow, Flow::Park(Park::Blocked { .. })));
    assert_eq!(slow_requests(&t), [""; 0]);
    for line in ["MULTI", "RPUSH l x", "SLOWLOG RESET", "EXEC"] {
        t.run(line);
    }
    assert_eq!(slow_requests(&t), ["BLPOP l 0", "SLOWLOG RESET"]);
    assert_eq!(&*t.node.slow.latest(1)[0].addr, "test:0");
}

#[test]
fn commands_of_scripts_and_transactions_are_in_the_slow_log() {
    let all = Settings { slowlog_slower_than_us: 0, ..Settings::default() };
    let mut t = Harness::with_settings(all).timed_by(ticking_ns);
    t.run("EVAL \"return server.call('echo', 'x')\" 0");
    assert_eq!(slow_requests(&t), ["EVAL return server.call('echo', 'x') 0", "echo x"]);
    t.node.slow.reset();
    for line in ["MULTI", "GET k", "EXEC"] {
        t.run(line);
    }
    assert_eq!(slow_requests(&t), ["GET k", "MULTI"]);
}

#[test]
fn what_the_freeing_thread_drops_is_counted() {
    let mut t = Harness::new();
    let figure = |t: &mut Harness, name: &str| -> u64 {
        let text = info(t, "memory");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|n| n.trim().parse().ok()).expect("INFO says it")
    };
    let empty = figure(&mut t, "used_memory");
    assert_eq!(empty, figure(&mut t, "used_memory_startup"));
    assert!(empty > 0);
    t.run("CONFIG SET stream-node-max-entries 5");
    for n in 0..400 {
        t.run(&format!("XADD s * n {n}"));
        t.run("XADD small * a b");
        t.run("XTRIM small MAXLEN 1");
    }
    assert!(figure(&mut t, "used_memory") > empty);
    t.run("UNLINK s small");
    let pause = std::time::Duration::from_millis(1);
    for _ in 0..20_000 {
        if figure(&mut t, "lazyfree_pending_objects") == 0 {
            break;
        }
        std::thread::sleep(pause);
    }
    assert_eq!(figure(&mut t, "lazyfreed_objects"), 1);
    assert_eq!(figure(&mut t, "used_memory"), empty);
    t.run("CONFIG RESETSTAT");
    assert_eq!(figure(&mut t, "lazyfreed_objects"), 0);
}

#[test]
fn debug_must_be_allowed() {
    let mut t = Harness::new();
    assert!(t.run("DEBUG SLEEP 0").starts_with("-ERR DEBUG command not allowed."));
    let mut t = Harness::with_settings(Settings { enable_debug: true, ..Settings::default() });
    t.run("SET k 12");
    assert!(t.run("DEBUG OBJECT k").starts_with("+Value at:0x0 refcount:1 encoding:int serializedlength:"));
    t.expect(&[
        ("DEBUG OBJECT nosuch", "-ERR no such key\r\n"),
        ("DEBUG SET-ACTIVE-EXPIRE 0", "+OK\r\n"),
        ("DEBUG SLEEP x", "-ERR value is not a valid float\r\n"),
    ]);
    assert!(!t.node.active_expiry.load(std::sync::atomic::Ordering::Relaxed));
    let done = t.execute(["DEBUG", "SLEEP", "0.5"]).1;
    assert!(matches!(done.flow, Flow::Park(Park::Sleep { ms: 500 })));
}

#[test]
fn wait_counts_replicas() {
    let mut t = Harness::primary();
    t.run("SET k v");
    t.expect(&[
        ("WAIT 0 100", ":0\r\n"),
        ("WAIT x 0", "-ERR value is not an integer or out of range\r\n"),
        ("WAIT 0 x", "-ERR timeout is not an integer or out of range\r\n"),
        ("WAIT 0 -1", "-ERR timeout is negative\r\n"),
        ("WAITAOF 1 0 0", "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.\r\n"),
        ("WAITAOF 2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n"),
        ("WAITAOF 0 1 0", "*2\r\n:0\r\n:0\r\n"),
    ]);
    let (reply, done) = t.execute(["WAIT", "1", "100"]);
    assert!(reply.is_empty());
    assert!(matches!(done.flow, Flow::Park(Park::Replicas { offset: 1, replicas: 1, timeout_ms: 100 })));
    t.node.shard.set_acked([1, 0].into());
    assert_eq!(t.run("WAIT 1 100"), ":1\r\n");
    // Nothing waits inside a transaction.
    t.run("MULTI");
    t.run("WAIT 5 100");
    assert_eq!(t.run("EXEC"), "*1\r\n:1\r\n");
}

#[test]
fn what_is_refused_says_why() {
    let mut t = Harness::new();
    for command in ["SAVE", "BGSAVE", "BGSAVE SCHEDULE", "SHUTDOWN SAVE"] {
        assert!(t.run(command).starts_with("-ERR data is kept in memory only"), "{command}");
    }
    assert!(t.run("REPLICAOF a 1").starts_with("-ERR replication is decided by the cluster's map"));
    t.expect(&[
        ("REPLICAOF NO ONE", "+OK\r\n"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        ("SHUTDOWN ABORT", "-ERR No shutdown in progress.\r\n"),
        ("SHUTDOWN what", "-ERR syntax error\r\n"),
        ("LASTSAVE", ":1700000000\r\n"),
        ("TIME", "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n"),
    ]);
    assert!(t.run("LOLWUT").contains("Redis ver. 7.2.4"));
    assert!(t.run("COMMAND COUNT").starts_with(':'));
    assert!(t.run("COMMAND INFO get").starts_with("*1\r\n*10\r\n$3\r\nget\r\n:2\r\n"));
    assert!(t.run("SLOWLOG HELP").contains("SLOWLOG <subcommand>"));
}

#[test]
fn shutdown_trips_the_token() {
    let mut t = Harness::new();
    let token = torc_runtime::shutdown::Shutdown::new();
    assert!(t.node.shutdown.set(token.clone()).is_ok());
    let (reply, done) = t.execute(["SHUTDOWN", "NOSAVE"]);
    assert!(reply.is_empty() && matches!(done.flow, Flow::Close) && token.triggered());
}

#[test]
fn digests_are_equal_for_equal_data() {
    let allowed = || Harness::with_settings(Settings { enable_debug: true, ..Settings::default() });
    let (mut a, mut b) = (allowed(), allowed());
    let nothing = format!("+{}\r\n", "0".repeat(40));
    assert_eq!(a.run("DEBUG DIGEST"), nothing);
    let lines =
        ["HSET h a 1", "HSET h b 2", "SADD s x 1", "SADD s y z", "SET k v", "SET n 12 PXAT 1800000000000"];
    lines.iter().for_each(|line| drop(a.run(line)));
    lines.iter().rev().for_each(|line| drop(b.run(line)));
    // The form in which a value is kept does not matter.
    b.run("CONFIG SET hash-max-listpack-entries 1 set-max-listpack-entries 1");
    b.run("HSET h c 3");
    b.run("HDEL h c");
    let digest = a.run("DEBUG DIGEST");
    assert_ne!(digest, nothing);
    assert_eq!(digest, b.run("DEBUG DIGEST"));
    assert_eq!(a.run("DEBUG DIGEST-VALUE h s k nosuch"), b.run("DEBUG DIGEST-VALUE h s k nosuch"));
    b.run("HSET h b 3");
    assert_ne!(digest, b.run("DEBUG DIGEST"));
    b.run("HSET h b 2");
    b.run("PERSIST n");
    assert_ne!(digest, b.run("DEBUG DIGEST"));
    assert_eq!(a.run("DEBUG STRINGMATCH-LEN 1000 a*a"), ":1\r\n");
    assert_eq!(a.run("DEBUG RELOAD"), "+OK\r\n");
    assert_eq!(digest, a.run("DEBUG DIGEST"));
    assert!(a.run("DEBUG LOADAOF").starts_with("-ERR data is kept in memory only"));
}

#[test]
fn latencies_are_shown() {
    let mut t = Harness::new();
    assert!(t.run("LATENCY DOCTOR").contains("monitoring is disabled"));
    assert_eq!(t.run("LATENCY HISTOGRAM nosuch"), "*0\r\n");
    t.run("SET k v");
    assert_eq!(
        t.run("LATENCY HISTOGRAM set"),
        "*2\r\n$3\r\nset\r\n*4\r\n$5\r\ncalls\r\n:1\r\n$14\r\nhistogram_usec\r\n*2\r\n:1\r\n:1\r\n"
    );
    assert!(t.run("COMMAND GETKEYSANDFLAGS SET k v").starts_with("*1\r\n*2\r\n$1\r\nk\r\n*3\r\n+RW\r\n"));
    assert!(t.run("CLIENT TRACKING ON").starts_with("-ERR client-side caching"));
}
