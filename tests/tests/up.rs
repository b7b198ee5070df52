//! `torc up`: what it says is true, what it cannot do it names, and nothing of it is left behind.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use rustix::process::Signal;
use torc_tests::client::{Connection, Endpoint};
use torc_tests::cluster::{self, Cluster, Entry};
use torc_tests::http;
use torc_tests::process::Workdir;

/// Runs a `torc up` that must fail by itself, on free ports where `options` name none; its output.
fn fails(dir: &Path, options: &[&str]) -> String {
    let mut command = std::process::Command::new("timeout");
    command.args(["--signal=KILL", "60"]).arg(torc_tests::torc::binary()).arg("up").arg("--dir").arg(dir);
    for option in ["--port", "--memcached-port", "--http-port"] {
        if !options.contains(&option) {
            command.args([option, "auto"]);
        }
    }
    let Output { status, stdout, stderr } = command.args(options).output().expect("timeout can be started");
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(1), "{text}");
    assert_eq!(cluster::processes_in(dir), Vec::<u32>::new(), "left over\n{text}");
    text
}

fn answers(entry: &Entry) {
    let mut resp = entry.connect();
    assert_eq!(resp.call_raw(&["PING"]).expect("PING is answered"), b"+PONG\r\n", "{}", entry.name);
    let mut memcached =
        Connection::open(&Endpoint::Tcp(entry.memcached())).expect("the memcached port listens");
    memcached.send(b"version\r\n").expect("sent");
    let (answer, _) = memcached.read_until(|bytes| bytes.ends_with(b"\r\n")).expect("version is answered");
    assert!(answer.starts_with(b"VERSION "), "{}: {}", entry.name, String::from_utf8_lossy(&answer));
    for page in ["/healthz", "/readyz", "/metrics"] {
        let (status, body) = http::get(entry.http(), page).expect("the HTTP port answers");
        assert_eq!(status, 200, "{} {page}: {body}", entry.name);
    }
}

#[test]
fn comes_up_goes_down_and_comes_up_again() {
    let mut cluster = Cluster::start_with(&[]);
    let file = cluster.file();
    assert_eq!((file.shards, file.replicas, file.pid), (3, 1, cluster.up().pid()));
    assert_eq!(file.processes.len(), 7);

    // Every node is a process of its own, and what the file says of it is true.
    let pids: BTreeSet<u32> = file.processes.iter().map(Entry::running_pid).collect();
    assert_eq!(pids.len(), 7);
    for entry in &file.processes {
        assert_eq!(cluster::parent(entry.running_pid()), Some(file.pid), "{}", entry.name);
        assert!(entry.log.exists(), "{}", entry.log.display());
        answers(entry);
    }
    for shard in 0..3 {
        let (primary, replica) = (cluster.primary(shard), cluster.replica(shard));
        let tag = cluster.tag(shard);
        let mut connection = primary.connect();
        let reply = connection.call(&["SET", &format!("{tag}direct"), "x"]).expect("the primary answers");
        assert!(!reply.is_error(), "{reply:?}");
        let reply =
            replica.connect().call(&["SET", &format!("{tag}direct"), "y"]).expect("the replica answers");
        let text = reply.text().unwrap_or_default();
        assert!(text.starts_with("MOVED ") && text.ends_with(&primary.resp().to_string()), "{text}");
    }

    // Both protocols share the keys, whatever shard they are on.
    let mut resp = cluster.connect();
    let mut memcached = Connection::open(&Endpoint::Tcp(cluster.proxy().memcached())).expect("it listens");
    for n in 0..30 {
        let reply = resp.call(&["SET", &format!("key:{n}"), &n.to_string()]).expect("an answer");
        assert!(!reply.is_error(), "{reply:?}");
        memcached.send(format!("get key:{n}\r\n").as_bytes()).expect("sent");
        let (answer, _) = memcached.read_until(|bytes| bytes.ends_with(b"END\r\n")).expect("an answer");
        let value = n.to_string();
        let wanted = format!("VALUE key:{n} 0 {}\r\n{value}\r\nEND\r\n", value.len());
        assert_eq!(String::from_utf8_lossy(&answer), wanted);
    }

    // Nothing is kept on disk so far, and it says so.
    for mut connection in [cluster.connect(), cluster.primary(0).connect()] {
        for command in ["SAVE", "BGSAVE"] {
            let reply = connection.call(&[command]).expect("an answer");
            let text = reply.text().unwrap_or_default();
            assert!(reply.is_error() && text.contains("memory"), "{command}: {text}");
        }
    }

    // What it printed, and what `torc status` prints.
    let said = cluster.up().log_text();
    for wanted in ["redis-cli -p", "memcached", "/metrics", "folder", "logs in", "Ctrl-C"] {
        assert!(said.contains(wanted), "{wanted} is missing:\n{said}");
    }
    let status = String::from_utf8_lossy(&cluster.torc(&["status"]).stdout).into_owned();
    for wanted in
        ["shard 0", "shard 2", "term", "slots", "in sync 2 of 2", "primary", "replica", "lag", "epoch"]
    {
        assert!(status.contains(wanted), "{wanted} is missing:\n{status}");
    }

    // A policy is listed as it was set, until it is removed.
    let policy = |words: &[&str]| {
        let output = cluster.torc(&[&["cluster", "policy"][..], words].concat());
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(policy(&[]), (true, String::new()));
    assert!(!policy(&["lock:"]).0 && !policy(&["lock:", "--set", r#"{"akc":"in-sync"}"#]).0);
    assert!(policy(&["lock:", "--set", r#"{"ack":"in-sync"}"#]).0);
    let listed = "{\"prefix\":\"lock:\",\"ack\":\"in-sync\",\"no_evict\":false}\n";
    assert_eq!(policy(&[]), (true, listed.to_owned()));
    assert!(policy(&["lock:", "--remove"]).0);
    assert_eq!(policy(&[]), (true, String::new()));

    // A second one cannot have the folder.
    let text = fails(&cluster.dir().join("."), &[]);
    assert!(text.contains("in use") || text.contains("lock") || text.contains("already"), "{text}");

    let terms: Vec<u64> = (0..3).map(|shard| cluster.term(shard)).collect();
    let highest = terms.iter().copied().max().expect("three");
    cluster.stop(Signal::INT);
    let said = cluster.up().log_text();

    let text = fails(cluster.dir(), &["--shards", "2"]);
    assert!(text.contains("3 shards") && text.contains("--shards"), "{text}");
    let text = fails(cluster.dir(), &["--lease-ms", "1234"]);
    assert!(text.contains("leases of") && text.contains("--lease-ms"), "{text}");
    // Its nodes need the ports that the map knows.
    let port = file.processes[0].bus_port;
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("it is free now");
    let text = fails(cluster.dir(), &[]);
    assert!(text.contains(&format!("bus port {port} of node-1")) && text.contains("--dir"), "{text}");
    drop(taken);
    assert!(cluster.dir().join("layout.json").exists(), "the folder of a cluster stays");
    assert!(!said.contains("does not survive"), "{said}");

    // Started again it finds its folder and its map; memory is gone, terms go on.
    cluster.start_again();
    for shard in 0..3 {
        let term = cluster.term(shard);
        assert!(term > highest, "shard {shard}: term {term} after {terms:?}");
        let state = cluster.shard(shard);
        assert!(state["resets"].as_u64() >= Some(1), "{state}");
    }
    let mut resp = cluster.connect();
    assert_eq!(resp.call(&["DBSIZE"]).expect("an answer").integer(), Some(0));
    assert!(resp.call(&["GET", "key:1"]).expect("an answer").bytes().is_none());
    assert!(!resp.call(&["SET", "key:1", "again"]).expect("an answer").is_error());
    let again = cluster.up().log_text()[said.len()..].to_owned();
    assert!(again.contains("memory only"), "{again}");
    cluster.stop(Signal::TERM);
}

#[test]
fn a_taken_port_is_named() {
    let work = Workdir::new("taken");
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("it has an address").port().to_string();
    for option in ["--port", "--memcached-port", "--http-port"] {
        let dir = work.path().join("data");
        let text = fails(&dir, &["--shards", "1", option, &port]);
        assert!(text.contains(option) && text.contains(&port) && text.contains("taken"), "{text}");
        assert!(!dir.exists(), "the folder stays");
    }
}

#[test]
fn options_that_cannot_work_are_refused_before_anything_is_made() {
    let work = Workdir::new("options");
    let dir = work.path().join("data");
    let long = "n".repeat(256);
    let free = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = free.local_addr().expect("it has an address").port().to_string();
    drop(free);
    let wrong: [(&str, &[&str]); 8] = [
        ("--name", &["--name", ""]),
        ("--name", &["--name", &long]),
        ("--name", &["--name", "two words"]),
        ("--name", &["--name", "bell\u{7}"]),
        ("--node-threads", &["--node-threads", "257"]),
        ("--proxy-threads", &["--proxy-threads", "0"]),
        ("no client", &["--port", "0", "--memcached-port", "0"]),
        (&port, &["--port", &port, "--http-port", &port]),
    ];
    for (word, options) in wrong {
        let text = fails(&dir, options);
        assert!(text.contains(word) && !text.contains("making"), "{text}");
        assert!(!dir.exists(), "the folder stays");
    }
}

#[test]
fn a_node_that_cannot_start_is_named_at_once() {
    let mut cluster = Cluster::start(1);
    let dir = cluster.dir().to_owned();
    cluster.stop(Signal::INT);
    let text = fails(&dir, &["--name", "other"]);
    assert!(text.contains("is named torc"), "{text}");
    // Cut in half it is found damaged only after the node's bus answers.
    let file = dir.join("nodes/node-1/control.redb");
    let bytes = std::fs::read(&file).expect("the voter has its file");
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    let text = fails(&dir, &[]);
    assert!(text.contains("node-1 ended") && text.contains("control.redb is damaged"), "{text}");
}

#[test]
fn an_unusable_folder_is_named() {
    let work = Workdir::new("unusable");
    let file = work.path().join("file");
    std::fs::write(&file, "not a folder").expect("written");
    // Also for root, who may write everywhere else: a folder below a file, and one in /proc.
    for dir in [file.join("data").as_path(), Path::new("/proc/torc-data")] {
        let text = fails(dir, &["--shards", "1"]);
        assert!(text.contains(dir.to_str().expect("text")), "{text}");
        assert!(!dir.exists());
    }
    assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "not a folder");
    assert_eq!(std::fs::read_dir(work.path()).expect("read").count(), 1, "something was left behind");
}

#[test]
fn killed_it_leaves_no_orphans() {
    let mut cluster = Cluster::start(1);
    let dir = cluster.dir().to_owned();
    assert_eq!(cluster::processes_in(&dir).len(), 4);
    // Two nodes have one voter, and what that means is said, each time.
    let warning = "does not survive the loss of node-1";
    let said = cluster.up().log_text();
    assert_eq!(said.matches(warning).count(), 1, "{said}");
    cluster.up().kill();
    cluster::wait_for("all processes end", || cluster::processes_in(&dir).is_empty().then_some(()));
    // And the folder can be used again.
    cluster.start_again();
    let again = cluster.up().log_text();
    assert_eq!(again.matches(warning).count(), 2, "{again}");
    assert!(!cluster.connect().call(&["SET", "a", "1"]).expect("an answer").is_error());
    cluster.stop(Signal::INT);
}
