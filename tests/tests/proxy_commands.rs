//! Every row of the command table through the proxy: it works, or its row refuses it with a reason and an advice.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use torc_protocol::command::{self, CommandSpec, Flags, KeySpec, Route};
use torc_tests::client::Connection;
use torc_tests::cluster::{Cluster, Entry};
use torc_tests::frame::{self, Node};

/// The smallest request that a row allows.
fn smallest(spec: &CommandSpec) -> Vec<String> {
    let mut args: Vec<String> = spec.name.split('|').map(str::to_owned).collect();
    while args.len() < spec.arity.unsigned_abs() as usize {
        args.push(format!("arg{}", args.len()));
    }
    if let KeySpec::NumKeys { at, .. } = spec.keys
        && let Some(count) = args.get_mut(at)
    {
        *count = "1".into();
    }
    args
}

fn answer(connection: &mut Connection, args: &[String]) -> Node {
    let bytes = connection.call_raw(args).unwrap_or_else(|error| panic!("{args:?}: {error}"));
    frame::decode(&bytes).expect("a frame").expect("a whole one").0
}

/// Texts of which none may be an answer: they say that the proxy does not know what to do, or did it wrong.
const FORBIDDEN: [&str; 6] = [
    "the proxy cannot answer this command",
    "the node's reply could not be understood",
    "ERR unknown command",
    "ERR unknown subcommand",
    "wrong number of arguments",
    "the shards gave different replies",
];

#[test]
fn every_row_is_answered() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let proxy = cluster.proxy();
    let (mut worked, mut failed, mut refused) = (0, Vec::new(), 0);
    for command in command::all() {
        let spec = command.spec();
        // A container by itself is nothing.
        if spec.is_internal() || spec.flags.contains(Flags::CONTAINER) && spec.name != "command" {
            continue;
        }
        // Each on a connection of its own: some change what a connection may do.
        let mut connection = proxy.connect();
        let mut args = smallest(spec);
        if spec.name == "proxy|explain" {
            // Its argument is a command.
            args[2] = "ping".to_owned();
        }
        let reply = answer(&mut connection, &args);
        let text = reply.text().unwrap_or_default();
        if let Route::Refuse(why) = spec.route {
            refused += 1;
            assert!(reply.is_error() && text.contains(why), "{args:?}: {text}");
            // What to do is named: another command, or where to connect to.
            assert!(["torc", "connect"].iter().any(|advice| why.contains(advice)), "{}: {why}", spec.name);
            continue;
        }
        if FORBIDDEN.iter().any(|forbidden| text.contains(forbidden)) {
            failed.push(format!("{args:?}: {text}"));
        }
        worked += 1;
        // The connection is still good, or was to be closed.
        if spec.name != "quit" && spec.name != "client|reply" {
            connection.send_command(&["PING", "still here"]).expect("sent");
            loop {
                let bytes = connection.read_frame().unwrap_or_else(|error| panic!("{args:?}: {error}"));
                if bytes.windows(10).any(|part| part == b"still here") || bytes.starts_with(b"+QUEUED") {
                    break;
                }
            }
        }
    }
    println!("{worked} rows are answered, {refused} are refused by their rows");
    assert!(failed.is_empty(), "{} rows:\n{}", failed.len(), failed.join("\n"));
    cluster.stop(rustix::process::Signal::INT);
}

/// What `CONFIG GET` says of an option.
fn option(connection: &mut Connection, name: &str) -> Option<String> {
    let reply = answer(connection, &["CONFIG", "GET", name].map(str::to_owned));
    reply.children()?.get(1)?.text()
}

fn memcached_set(stream: &mut TcpStream, bytes: usize) -> String {
    let value = vec![b'v'; bytes];
    stream.write_all(format!("set item 0 0 {bytes}\r\n").as_bytes()).expect("written");
    stream.write_all(&[&value[..], b"\r\n"].concat()).expect("written");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("a line");
    line
}

#[test]
fn options_of_the_nodes_reach_all_of_them() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "1"]);
    (0..2).for_each(|shard| cluster.wait_in_sync(shard, 2));
    let mut client = cluster.connect();
    let call = |client: &mut Connection, words: &[&str]| {
        String::from_utf8(client.call_raw(words).expect("an answer")).expect("text")
    };
    // Of the nodes, of the proxy, and of both.
    let words = ["CONFIG", "SET", "maxmemory-samples", "7", "timeout", "77", "max-item-bytes", "4096"];
    assert_eq!(call(&mut client, &words), "+OK\r\n");
    let nodes: Vec<Entry> =
        cluster.file().processes.into_iter().filter(|process| process.role != "proxy").collect();
    assert_eq!(nodes.len(), 4);
    let at_nodes = |wanted: [&str; 3]| {
        for node in &nodes {
            let mut node = node.connect();
            let found =
                ["maxmemory-samples", "timeout", "max-item-bytes"].map(|name| option(&mut node, name));
            assert_eq!(found, wanted.map(|value| Some(value.to_owned())));
        }
    };
    at_nodes(["7", "0", "4096"]);
    assert_eq!(option(&mut client, "timeout").as_deref(), Some("77"));
    let mut memcached = TcpStream::connect(cluster.proxy().memcached()).expect("connects");
    assert_eq!(memcached_set(&mut memcached, 4096), "STORED\r\n");
    assert_eq!(memcached_set(&mut memcached, 4097), "SERVER_ERROR object too large for cache\r\n");
    // Nothing is set when something cannot be: whoever it is that refuses.
    for words in [["maxmemory-samples", "9", "timeout", "x"], ["timeout", "9", "maxmemory-samples", "x"]] {
        let reply = call(&mut client, &[&["CONFIG", "SET"], &words[..]].concat());
        assert!(reply.starts_with("-ERR CONFIG SET failed "), "{reply}");
    }
    at_nodes(["7", "0", "4096"]);
    assert_eq!(option(&mut client, "timeout").as_deref(), Some("77"));
    cluster.stop(rustix::process::Signal::INT);
}

#[test]
fn errors_are_counted_by_their_code() {
    let mut cluster = Cluster::start_with(&["--shards", "2", "--replicas", "0"]);
    let (mut client, mut watcher) = (cluster.connect(), cluster.connect());
    let mut section =
        |name: &str| answer(&mut watcher, &["INFO", name].map(str::to_owned)).text().expect("text");
    assert_eq!(client.call_raw(&["CONFIG", "RESETSTAT"]).expect("an answer"), b"+OK\r\n");
    assert_eq!(section("errorstats"), "# Errorstats\r\n");
    client.call(&["SET", "s", "x"]).expect("an answer");
    let (other, another) = (cluster.tag(0), cluster.tag(1));
    // At the proxy, at nodes, of all nodes joined, and of a command that goes to several.
    for words in [
        &["NOSUCH"][..],
        &["GET"],
        &["CONFIG", "SET", "nosuch", "1"],
        &["LATENCY", "GRAPH", "nosuch"],
        &["RENAME", &other, &another],
        &["LPUSH", "s", "y"],
        &["SUNION", "s", &other, &another],
    ] {
        assert!(client.call(words).expect("an answer").is_error(), "{words:?}");
    }
    let wanted = "# Errorstats\r\nerrorstat_CROSSSLOT:count=1\r\nerrorstat_ERR:count=4\r\nerrorstat_WRONGTYPE:count=2\r\n";
    assert_eq!(section("errorstats"), wanted);
    let stats = section("stats");
    assert!(stats.contains("\r\ntotal_error_replies:7\r\n"), "{stats}");
    let commands = section("commandstats");
    let pushed = commands.lines().find(|line| line.starts_with("cmdstat_lpush:calls=1,")).expect("a line");
    assert!(pushed.ends_with(",failed_calls=1"), "{pushed}");
    // After a reset they begin anew.
    assert_eq!(client.call_raw(&["CONFIG", "RESETSTAT"]).expect("an answer"), b"+OK\r\n");
    assert_eq!(section("errorstats"), "# Errorstats\r\n");
    assert!(!section("commandstats").contains("cmdstat_lpush:"));
    cluster.stop(rustix::process::Signal::INT);
}
