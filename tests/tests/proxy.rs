//! A proxy as a process of its own: signals, its log beside the nodes', failovers under an ordinary client, and what it
//! takes beside an application.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::{self, Cluster};
use torc_tests::process::Workdir;
use torc_tests::proxy::Proxy;
use torc_tests::python::{self, Addresses};
use torc_tests::scrape::Scrape;

fn text(connection: &mut Connection, args: &[&str]) -> String {
    let bytes = connection.call_raw(args).expect("an answer");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn one_node() -> Cluster {
    Cluster::start_with(&["--shards", "1", "--replicas", "0"])
}

#[test]
fn hangup_takes_the_file_again_and_refuses_a_bad_one() {
    let cluster = one_node();
    let mut proxy = Proxy::start(&cluster, "request_timeout_ms = 4000\n");
    let mut client = proxy.connect();
    let timeout = |client: &mut Connection| text(client, &["CONFIG", "GET", "proxy-request-timeout-ms"]);
    assert!(timeout(&mut client).contains("\r\n4000\r\n"));
    let id = text(&mut client, &["CLIENT", "ID"]);
    // A request that is under way while the file is taken.
    let mut waiting = proxy.connect();
    waiting.send_command(&["BLPOP", "list", "20"]).expect("sent");

    proxy.write_config(
        "request_timeout_ms = 3000\nthreads = 2\n\n[[policy]]\nprefix = \"p:\"\nack = \"none\"\n",
    );
    proxy.process().signal(Signal::HUP);
    cluster::wait_for("the new time-out", || timeout(&mut client).contains("\r\n3000\r\n").then_some(()));
    let log = cluster::wait_for("a line about threads", || {
        Some(proxy.process().log_text()).filter(|log| log.contains("only a restart takes these"))
    });
    assert!(log.contains("threads"), "{log}");
    cluster::wait_for("the policy", || {
        text(&mut client, &["PROXY", "EXPLAIN", "SET", "p:a", "1"]).contains("p:\r\n").then_some(())
    });

    for bad in ["request_timeout_ms = 1\n", "nosuch_option = 1\n", "this is no TOML\n"] {
        let before = proxy.process().log_text().matches("the old one stays in force").count();
        proxy.write_config(bad);
        proxy.process().signal(Signal::HUP);
        cluster::wait_for("the refusal", || {
            (proxy.process().log_text().matches("the old one stays in force").count() > before).then_some(())
        });
        assert!(timeout(&mut client).contains("\r\n3000\r\n"), "{bad}");
    }
    // Nobody was disconnected.
    assert_eq!(text(&mut client, &["CLIENT", "ID"]), id);
    text(&mut client, &["RPUSH", "list", "x"]);
    let popped = String::from_utf8_lossy(&waiting.read_frame().expect("an answer")).into_owned();
    assert_eq!(popped, "*2\r\n$4\r\nlist\r\n$1\r\nx\r\n");
    let metrics = Scrape::of(proxy.http());
    assert_eq!(metrics.sum("torc_proxy_reloads_total", &[]), 1.0);
    assert_eq!(metrics.sum("torc_proxy_reload_failures_total", &[]), 3.0);
}

#[test]
fn terminate_answers_what_was_taken() {
    let cluster = one_node();
    let mut proxy = Proxy::start(&cluster, "");
    let (mut busy, mut idle) = (proxy.connect(), proxy.connect());
    assert_eq!(text(&mut idle, &["PING"]), "+PONG\r\n");
    busy.send_command(&["BLPOP", "nothing", "1"]).expect("sent");
    cluster::wait_for("the request at the node", || {
        text(&mut cluster.primary(0).connect(), &["CLIENT", "LIST"]).contains("cmd=blpop").then_some(())
    });
    proxy.process().signal(Signal::TERM);
    assert_eq!(busy.read_frame().expect("its answer"), b"*-1\r\n");
    assert!(busy.read_frame().is_err() && idle.read_frame().is_err(), "then both are closed");
    let status = cluster::wait_for("its end", || proxy.process().try_ended());
    assert!(status.success(), "{status}");
    assert!(Connection::open(&Endpoint::Tcp(proxy.resp())).is_err(), "nobody listens");
}

#[test]
fn a_slow_request_has_one_name_in_both_logs() {
    let cluster = one_node();
    let mut proxy = Proxy::start(&cluster, "slow_request_ms = 20\n");
    let mut client = proxy.connect();
    // Longer than the node's own threshold, 10 ms.
    let script = "local n = 0 for i = 1, 2e6 do n = n + i % 7 end return n";
    let name = cluster::wait_for("a slow script", || {
        text(&mut client, &["EVAL", script, "1", "slow-key"]);
        let log = text(&mut client, &["PROXY", "SLOWLOG", "1"]);
        let mut words = log.split("\r\n");
        words.find(|word| *word == "request")?;
        assert!(log.contains("\r\neval\r\n") && log.contains("\r\nslow-key\r\n"), "{log}");
        words.nth(1).map(str::to_owned)
    });
    let in_log = |log: String| log.lines().any(|line| line.contains("slow request") && line.contains(&name));
    cluster::wait_for("the name in the proxy's log", || in_log(proxy.process().log_text()).then_some(()));
    let log = cluster.primary(0).log;
    cluster::wait_for("the name in the node's log", || {
        in_log(std::fs::read_to_string(&log).ok()?).then_some(())
    });
    let entries = client.call(&["SLOWLOG", "LEN"]).expect("an answer").integer().expect("a number");
    assert!(entries >= 1);
}

#[test]
fn redis_py_notices_no_failover() {
    let cluster = Cluster::start(2);
    // On a loaded machine a failover of this cluster, whose leases are long, may take longer than the default 5 s.
    let proxy = Proxy::start(&cluster, "request_timeout_ms = 30000\n");
    let files = Workdir::new("failover-loop");
    let (started, stop) = (files.path().join("started"), files.path().join("stop"));
    std::thread::scope(|scope| {
        let (started_text, stop_text) = (started.display().to_string(), stop.display().to_string());
        let addresses = Addresses { resp: proxy.resp(), memcached: proxy.resp() };
        let looping = scope.spawn(move || {
            let environment = [("TORC_STARTED_FILE", &*started_text), ("TORC_STOP_FILE", &*stop_text)];
            python::run("redis_through_failover", &["redis"], addresses, &environment);
        });
        for shard in 0..2 {
            cluster::wait_for("the loop under way", || {
                (started.exists() || looping.is_finished()).then_some(())
            });
            cluster.wait_in_sync(shard, 2);
            let victim = cluster.primary(shard);
            let killed = Instant::now();
            victim.signal(Signal::KILL);
            cluster.wait("another primary", || {
                Some(cluster.primary(shard)).filter(|now| now.name != victim.name)
            });
            println!("shard {shard} leads again after {:.2} s", killed.elapsed().as_secs_f64());
        }
        std::fs::write(&stop, "").expect("the folder can be written");
        looping.join().expect("not one exception");
    });
    drop(proxy);
}

/// As a sidecar: five lines, a unix socket, the map by itself. How much it takes is measured by `bench/sidecar`.
#[test]
fn a_sidecar_follows_the_map_by_itself() {
    let cluster = Cluster::start(2);
    let proxy = Proxy::start(&cluster, "");
    let mut over_socket =
        Connection::open(&Endpoint::Unix(proxy.socket())).expect("the socket takes connections");
    let mut over_loopback = proxy.connect();
    for n in 0..100 {
        assert_eq!(text(&mut over_socket, &["SET", &format!("k{n}"), "v"]), "+OK\r\n");
    }
    for shard in 0..2_u16 {
        cluster.wait_in_sync(shard, 2);
        let output = cluster.torc(&["cluster", "failover", &shard.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for n in 0..100 {
        assert_eq!(text(&mut over_loopback, &["GET", &format!("k{n}")]), "$1\r\nv\r\n");
        assert_eq!(text(&mut over_socket, &["DEL", &format!("k{n}")]), ":1\r\n");
    }
}

const MIB: u64 = 1024 * 1024;

/// What a value of that many bytes makes the proxy hold at most, beside what it held before.
fn big_value(megabytes: u64) {
    let cluster = one_node();
    let proxy = Proxy::start(&cluster, "");
    let before = proxy.resident_bytes();
    let size = megabytes * MIB;
    let value = vec![b'x'; usize::try_from(size).expect("fits")];
    let mut client = proxy.connect();
    let set = [&b"SET"[..], b"big", &value];
    assert_eq!(client.call_raw(&set).expect("an answer"), b"+OK\r\n");
    let head = format!("${size}\r\n").len();
    let reply = client.call_raw(&["GET", "big"]).expect("an answer");
    assert!(reply.len() == head + value.len() + 2 && reply[head..head + value.len()] == value[..]);
    let most = proxy.peak_bytes().saturating_sub(before);
    println!("{megabytes} MB: {} MiB beside the {} MiB before", most / MIB, before / MIB);
    // On its way in it is in the client's buffer and in the node's, on its way out the other way round.
    assert!(most < size * 5 / 2 + 16 * MIB, "{most} bytes for a value of {size}");
    // Others are served as before, and the memory goes back.
    assert_eq!(text(&mut proxy.connect(), &["DEL", "big"]), ":1\r\n");
    cluster::wait_for("the memory to go back", || (proxy.resident_bytes() < before + 16 * MIB).then_some(()));
}

#[test]
fn a_big_value_is_held_twice_for_a_moment() {
    big_value(48);
}

#[test]
#[ignore = "takes two gigabytes of memory"]
fn a_value_of_500_mb_is_held_twice_for_a_moment() {
    big_value(500);
}

/// Idle clients hold no buffers: what each costs is the memory of its task.
fn idle_clients(count: u64) {
    let cluster = one_node();
    let proxy = Proxy::start(&cluster, "max_clients = 20000\n");
    let mut clients = vec![proxy.connect()];
    text(&mut clients[0], &["GET", "nosuch"]);
    let before = proxy.resident_bytes();
    for n in 1..=count {
        let mut client = proxy.connect();
        assert_eq!(text(&mut client, &["GET", &format!("nosuch:{n}")]), "$-1\r\n");
        clients.push(client);
    }
    let each = proxy.resident_bytes().saturating_sub(before) / count;
    println!("{count} idle clients: {each} bytes each");
    assert!(each < 8 * 1024, "{each} bytes for each idle client");
    assert_eq!(
        Scrape::of(proxy.http()).sum("torc_proxy_clients", &[("protocol", "resp")]),
        (count + 1) as f64
    );
    assert_eq!(text(&mut clients[0], &["PING"]), "+PONG\r\n");
}

#[test]
fn idle_clients_hold_no_buffers() {
    idle_clients(500);
}

#[test]
#[ignore = "needs ten thousand file descriptors"]
fn ten_thousand_idle_clients() {
    idle_clients(10_000);
}
