//! A whole server in this process, spoken to over real sockets.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown as Half;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_cluster::ids::{Incarnation, Member, NodeId, ShardId, Term};
use torc_cluster::map::ClusterMap;
use torc_protocol::error as text;
use torc_protocol::slot::SLOTS;
use torc_runtime::listen::PortChoice;
use torc_runtime::shutdown::Shutdown;
use torc_server::node::Node;
use torc_server::shard::{Role, View};
use torc_server::{ServerConfig, StartError, run};

use common::{Client, config, eventually, start, stop};

#[test]
fn pipelines_are_answered_in_order() {
    let server = start(&config());
    let mut client = Client::connect(server.addresses.port);
    let (mut requests, mut replies) = (Vec::new(), Vec::new());
    for i in 0..3000 {
        write!(requests, "*3\r\n$3\r\nSET\r\n$4\r\n{i:04}\r\n$4\r\n{i:04}\r\nGET {i:04}\r\n")
            .expect("written");
        write!(replies, "+OK\r\n$4\r\n{i:04}\r\n").expect("written");
    }
    // In odd pieces, so that frames are cut anywhere.
    for piece in requests.chunks(997) {
        client.send(piece);
    }
    client.expect(&replies);
    client.ask("CLIENT REPLY SKIP\r\nPING\r\nECHO a", "$1\r\na\r\n");
    client.ask("CLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON", "+OK\r\n");
    client.ask("QUIT\r\nPING", "+OK\r\n");
    assert_eq!(client.rest(), "");
    stop(server);
}

#[test]
fn big_values_go_in_and_out() {
    let server = start(&config());
    let mut client = Client::connect(server.addresses.port);
    let value = vec![b'x'; 20 << 20];
    client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len()));
    client.send(&value);
    client.send("\r\nSTRLEN big\r\nGET big\r\n");
    client.expect(format!("+OK\r\n:{}\r\n${}\r\n", value.len(), value.len()));
    client.expect(&value);
    client.expect("\r\n");
    // No connection keeps such a buffer.
    client.ask("PING", "+PONG\r\n");
    let kept = || server.node.clients.all()[0].buffer_bytes.load(Ordering::Relaxed);
    eventually("giving the buffers back", || kept() == 0);
    stop(server);
}

#[test]
fn nonsense_is_answered_and_ends_the_connection() {
    let server = start(&config());
    for (request, reply) in [
        ("*1\r\n!4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '!'\r\n"),
        ("*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("PING\r\n*1\r\n$-5\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"),
        ("SET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut client = Client::connect(server.addresses.port);
        client.send(request);
        assert_eq!(client.rest(), reply, "{request:?}");
    }
    let mut client = Client::connect(server.addresses.port);
    client.send("*0\r\n\r\n*-1\r\nPING\r\n");
    client.0.shutdown(Half::Write).expect("half closed");
    assert_eq!(client.rest(), "+PONG\r\n");
    stop(server);
}

#[test]
fn who_sends_all_before_reading_gets_all() {
    let server = start(&config());
    let mut client = Client::connect(server.addresses.port);
    client.ask(&format!("SET k {}", "v".repeat(1000)), "+OK\r\n");
    // 20 MB of replies: more than any socket buffer holds.
    const COUNT: usize = 20_000;
    client.send("GET k\r\n".repeat(COUNT));
    let reply = format!("$1000\r\n{}\r\n", "v".repeat(1000));
    for _ in 0..COUNT {
        client.expect(&reply);
    }
    eventually("an even account", || server.node.clients.unsent_bytes.load(Ordering::Relaxed) == 0);
    stop(server);
}

#[test]
fn a_slow_reader_is_not_read_from_and_harms_nobody() {
    let server = start(&config());
    let mut other = Client::connect(server.addresses.port);
    other.ask("CONFIG SET client-unread-bound 1mb", "+OK\r\n");
    other.ask(&format!("SET k {}", "v".repeat(60_000)), "+OK\r\n");
    let slow = Client::connect(server.addresses.port);
    slow.0.set_write_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    let requests = "GET k\r\n".repeat(4096);
    let mut sent = 0;
    while (&slow.0).write_all(requests.as_bytes()).is_ok() && sent < 100 {
        sent += 1;
    }
    let unsent = server.node.clients.unsent_bytes.load(Ordering::Relaxed);
    // The bound, and what one batch may add to it.
    assert!(unsent < (1 << 20) + 128 * 61_000, "{unsent} bytes wait");
    other.ask("PING", "+PONG\r\n");
    // A hard limit ends it.
    other.ask("CONFIG SET client-output-buffer-limit \"normal 100kb 0 0\"", "+OK\r\n");
    drop(slow);
    eventually("the end of the slow client", || server.node.clients.len() == 1);
    assert_eq!(server.node.clients.unsent_bytes.load(Ordering::Relaxed), 0);
    let slow = Client::connect(server.addresses.port);
    slow.0.set_write_timeout(Some(Duration::from_millis(300))).expect("a time-out");
    let _ = (&slow.0).write_all(requests.as_bytes());
    eventually("the end of the second slow client", || server.node.clients.len() == 1);
    stop(server);
}

#[test]
fn clients_are_killed_paused_and_unblocked_across_workers() {
    let server = start(&config());
    let port = server.addresses.port;
    // Connections go round the workers: these two are on different ones.
    let mut one = Client::connect(port);
    one.ask("CLIENT ID", ":1\r\n");
    let mut two = Client::connect(port);
    two.ask("CLIENT ID", ":2\r\n");

    two.send("WAIT 1 0\r\nPING\r\n");
    eventually("blocking", || server.node.clients.blocked.load(Ordering::Relaxed) == 1);
    two.expect_silence();
    one.ask("CLIENT UNBLOCK 2 ERROR", ":1\r\n");
    two.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n+PONG\r\n");
    one.ask("CLIENT UNBLOCK 2", ":0\r\n");
    two.ask("WAIT 1 20", ":0\r\n");

    one.ask("CLIENT PAUSE 100000 WRITE", "+OK\r\n");
    two.send("GET k\r\nSET k v\r\nPING\r\n");
    two.expect("$-1\r\n");
    two.expect_silence();
    one.ask("CLIENT UNPAUSE", "+OK\r\n");
    two.expect("+OK\r\n+PONG\r\n");
    one.ask("CLIENT PAUSE 50", "+OK\r\n");
    two.ask("PING", "+PONG\r\n");

    one.ask("CLIENT KILL ID 2", ":1\r\n");
    assert_eq!(two.rest(), "");
    eventually("one client", || server.node.clients.len() == 1);
    one.ask("CLIENT KILL ID 1 SKIPME no", ":1\r\n");
    assert_eq!(one.rest(), "");
    // A blocked client that hangs up is noticed.
    let mut three = Client::connect(port);
    three.send("WAIT 1 0\r\n");
    eventually("blocking", || server.node.clients.blocked.load(Ordering::Relaxed) == 1);
    drop(three);
    eventually("no client", || server.node.clients.is_empty());
    assert_eq!(server.node.clients.blocked.load(Ordering::Relaxed), 0);
    stop(server);
}

#[test]
fn there_is_a_limit_on_clients_and_on_their_silence() {
    let server = start(&config());
    let port = server.addresses.port;
    let mut one = Client::connect(port);
    one.ask("CONFIG SET maxclients 1", "+OK\r\n");
    assert_eq!(Client::connect(port).rest(), "-ERR max number of clients reached\r\n");
    one.ask("CONFIG SET timeout 1", "+OK\r\n");
    assert_eq!(one.rest(), "");
    stop(server);
}

#[test]
fn a_password_is_asked_for_and_bounds_strangers() {
    let server =
        start(&ServerConfig { requirepass: "pw".into(), bind: vec!["127.0.0.1".into()], ..config() });
    let port = server.addresses.port;
    let mut client = Client::connect(port);
    client.ask("GET k", "-NOAUTH Authentication required.\r\n");
    client.ask("*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n*11\r\n$4\r\nMGET\r\n$1\r\na", "+OK\r\n");
    let mut stranger = Client::connect(port);
    stranger.send("*11\r\n");
    assert_eq!(stranger.rest(), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let mut late = Client::connect(port);
    late.ask("AUTH pw", "+OK\r\n");
    late.ask("CONFIG SET requirepass \"\"", "+OK\r\n");
    Client::connect(port).ask("PING", "+PONG\r\n");
    stop(server);
}

#[test]
fn unix_sockets_memcached_and_http_are_served() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("torc.sock");
    let memcached_socket = dir.path().join("memcached.sock");
    let server = start(&ServerConfig {
        memcached_port: PortChoice::Auto,
        memcached_unixsocket: Some(memcached_socket.clone()),
        http_port: PortChoice::Auto,
        unixsocket: Some(socket.clone()),
        dir: Some(dir.path().join("data")),
        ..config()
    });
    let file = dir.path().join("data/server.json");
    let told: torc_server::Addresses =
        serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
    assert_eq!(told, server.addresses);

    let mut unix = Client(UnixStream::connect(&socket).expect("connects"));
    unix.ask("SET k from-unix", "+OK\r\n");
    unix.send("CLIENT LIST\r\n");
    unix.line();
    let list = unix.line_with_newline();
    assert!(
        list.contains(" flags=U ") && list.contains(&format!(" laddr={}:0 ", socket.display())),
        "{list}"
    );

    let mut memcached = Client::connect(server.addresses.memcached_port);
    memcached.ask("get k", "VALUE k 0 9\r\nfrom-unix\r\nEND\r\n");
    let mut unix = Client(UnixStream::connect(&memcached_socket).expect("connects"));
    unix.ask("mg k v", "VA 9\r\nfrom-unix\r\n");
    memcached.send("stats conns\r\n");
    let stats: Vec<_> =
        std::iter::repeat_with(|| memcached.line()).take_while(|line| line != "END\r\n").collect();
    let path = format!(":listen_addr unix:{}\r\n", memcached_socket.display());
    assert!(stats.iter().any(|line| line.ends_with(&path)), "{stats:?}");
    memcached.send("set k 5 0 3\r\nabc\r\nget k\r\nquit\r\n");
    memcached.expect("STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\n");
    assert_eq!(memcached.rest(), "");

    let mut http = Client::connect(server.addresses.http_port);
    http.send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(http.rest().contains("torc_server_requests_total{command=\"set\"} 1\n"));
    let mut http = Client::connect(server.addresses.http_port);
    http.send("GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(http.rest().starts_with("HTTP/1.1 200"));

    // SHUTDOWN ends it, and nothing is left behind.
    Client::connect(server.addresses.port).ask("SHUTDOWN NOSAVE", "");
    server.wait();
    assert!(!file.exists() && !socket.exists() && !memcached_socket.exists());
}

impl<S: Read + Write> Client<S> {
    fn line_with_newline(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte[0] != b'\n' {
            assert_eq!(self.0.read(&mut byte).expect("a line"), 1, "the connection ended");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let taken = start(&config());
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("torc.sock");
    let wanted = ServerConfig {
        port: PortChoice::Number(taken.addresses.port),
        unixsocket: Some(socket.clone()),
        dir: Some(dir.path().to_owned()),
        ..config()
    };
    let error = run(&wanted, Shutdown::new()).err().expect("the port is taken");
    assert!(matches!(error, StartError::Listen(_)));
    assert!(error.to_string().contains(&taken.addresses.port.to_string()), "{error}");
    assert!(!socket.exists() && !dir.path().join("server.json").exists());
    stop(taken);
    let server = start(&ServerConfig { dir: Some(dir.path().to_owned()), ..config() });
    let error = run(&ServerConfig { dir: Some(dir.path().to_owned()), ..config() }, Shutdown::new());
    assert!(error.err().expect("the folder is in use").to_string().contains("in use"));
    stop(server);
    let config = ServerConfig { dir: Some(Path::new("/proc/torc").to_owned()), ..config() };
    assert!(run(&config, Shutdown::new()).err().expect("no folder").to_string().contains("/proc/torc"));
}

/// Makes the plain store of a server the primary of a shard with every slot.
fn make_primary(node: &Arc<Node>) {
    let me = Member::new(NodeId(1), Incarnation(1));
    let mut map = ClusterMap::default();
    (0..SLOTS).for_each(|slot| map.slots.set(slot, ShardId(1)));
    node.shard.set_view(View::new(Arc::new(map), me, Some(ShardId(1))));
    let closed = node.shard.gate.close();
    node.shard.set_role(&closed, Role::Primary, Term(1));
    drop(closed);
    node.shard.set_in_sync_enough(true);
    node.shard.extend_lease(Term(1), u64::MAX);
}

#[test]
fn in_sync_writes_wait_for_the_mark() {
    let server = start(&config());
    let node = server.node.clone();
    make_primary(&node);
    let mut client = Client::connect(server.addresses.port);
    client.ask("CLIENT ACK in-sync", "+OK\r\n");
    client.send("PING\r\nSET a 1\r\nGET a\r\nPING\r\n");
    client.expect("+PONG\r\n");
    client.expect_silence();
    node.shard.set_mark(1);
    client.expect("+OK\r\n$1\r\n1\r\n+PONG\r\n");
    // A read that must not show what could be lost waits, too.
    let mut reader = Client::connect(server.addresses.port);
    client.send("SET a 2\r\n");
    eventually("the second write", || node.shard.last_offset() == 2);
    reader.ask("CLIENT READ strong", "+OK\r\n");
    reader.send("GET a\r\n");
    reader.expect_silence();
    node.shard.set_mark(2);
    reader.expect("$1\r\n2\r\n");
    client.expect("+OK\r\n");
    stop(server);
}

#[test]
fn what_cannot_be_confirmed_is_uncertain() {
    let server = start(&config());
    let node = server.node.clone();
    make_primary(&node);
    let mut client = Client::connect(server.addresses.port);
    client.ask("CONFIG SET ack-timeout-ms 50", "+OK\r\n");
    client.ask("CLIENT ACK in-sync", "+OK\r\n");
    client.ask("SET a 1\r\nPING", format!("-{}\r\n+PONG\r\n", text::UNCERTAIN));
    client.ask("CLIENT READ strong", "+OK\r\n");
    client.ask("GET a", format!("-{}\r\n", text::NOREPLICAS_READ));
    // The lease ends while a write waits.
    client.ask("CONFIG SET ack-timeout-ms 600000", "+OK\r\n");
    client.send("SET a 2\r\nGET a\r\nPING\r\n");
    client.expect_silence();
    node.shard.drop_lease();
    client.expect(format!("-{}\r\n-{}\r\n+PONG\r\n", text::UNCERTAIN_LEASE, text::CLUSTERDOWN_LEASE));
    assert_eq!(node.total(|s| s.uncertain.get()), 2);
    client.ask("GET a", format!("-{}\r\n", text::CLUSTERDOWN_LEASE));
    stop(server);
}

#[test]
fn who_waits_for_a_key_is_served_across_workers() {
    let server = start(&config());
    let node = server.node.clone();
    let port = server.addresses.port;
    let mut one = Client::connect(port);
    one.ask("CLIENT ID", ":1\r\n");
    let mut two = Client::connect(port);
    let waiting = |count| eventually("waiting", || node.clients.blocked.load(Ordering::Relaxed) == count);
    one.send("BLPOP a b 0\r\nPING\r\n");
    waiting(1);
    one.expect_silence();
    two.ask("RPUSH b x y\r\nLLEN b", ":2\r\n:1\r\n");
    one.expect("*2\r\n$1\r\nb\r\n$1\r\nx\r\n+PONG\r\n");
    // Its time is over; somebody ends it; it goes.
    one.ask("BLPOP a 0.05", "*-1\r\n");
    one.ask("BRPOPLPUSH a b 0.05", "*-1\r\n");
    one.send("BLPOP a 0\r\n");
    waiting(1);
    two.ask("CLIENT UNBLOCK 1 ERROR", ":1\r\n");
    one.expect("-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n");
    one.send("BLPOP a 0\r\n");
    waiting(1);
    drop(one);
    waiting(0);
    two.ask("RPUSH a x\r\nLLEN a\r\nDEL a b", ":1\r\n:1\r\n:2\r\n");
    // A destination whose stripe is another one.
    let mut one = Client::connect(port);
    one.send("BLMOVE a other LEFT LEFT 0\r\n");
    waiting(1);
    two.ask("RPUSH a x", ":1\r\n");
    one.expect("$1\r\nx\r\n");
    two.ask("LRANGE other 0 -1", "*1\r\n$1\r\nx\r\n");
    stop(server);
}

#[test]
fn an_answer_to_who_waited_is_as_safe_as_any() {
    let server = start(&config());
    let node = server.node.clone();
    make_primary(&node);
    let port = server.addresses.port;
    let (mut one, mut two) = (Client::connect(port), Client::connect(port));
    let waiting = |count| eventually("waiting", || node.clients.blocked.load(Ordering::Relaxed) == count);
    one.ask("CLIENT ACK in-sync", "+OK\r\n");
    one.send("BLPOP a 0\r\n");
    waiting(1);
    two.ask("RPUSH a x", ":1\r\n");
    assert_eq!(node.shard.last_offset(), 2);
    node.shard.set_mark(1);
    one.expect_silence();
    node.shard.set_mark(2);
    one.expect("*2\r\n$1\r\na\r\n$1\r\nx\r\n");
    // Served, but the lease is gone before the set has it.
    one.send("BLPOP a 0\r\n");
    waiting(1);
    two.ask("RPUSH a y", ":1\r\n");
    one.expect_silence();
    node.shard.drop_lease();
    one.expect(format!("-{}\r\n", text::UNCERTAIN_LEASE));
    node.shard.extend_lease(Term(1), u64::MAX);
    one.send("BLPOP a 0\r\n");
    waiting(1);
    node.blocked.send_away();
    one.expect(
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n",
    );
    stop(server);
}
