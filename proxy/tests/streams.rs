//! Big values pass through in pieces: nothing of them is kept, nobody else waits for them, and their client gets them whole
//! or is closed.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::Act;
use common::{PATIENCE, World};
use tokio::sync::watch;
use torc_proxy::ProxyConfig;

/// Above what stands aside at once.
const BIG: usize = 24 * 1024 * 1024;
const SOFT: usize = 256 * 1024;

fn config() -> ProxyConfig {
    ProxyConfig { client_output_soft_bytes: SOFT, request_timeout_ms: 20_000, ..ProxyConfig::default() }
}

/// A value in which no two places near each other look alike.
fn value(bytes: usize) -> String {
    (0..bytes).map(|at| char::from(b'a' + (at % 23 + at / 1_000) as u8 % 26)).collect()
}

/// What the proxy's buffers hold, as of its latest look.
async fn buffered(client: &mut Client) -> usize {
    let info = client.ask("INFO memory").await;
    let line = info.lines().find_map(|line| line.strip_prefix("proxy_buffer_bytes:")).expect("a line");
    line.parse().expect("a number")
}

async fn asked_for(world: &World, line: &str) {
    world.until(|world| world.nodes[0].count(line) > 0).await;
    // Until the sockets are full.
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_slow_reader_of_a_big_value_holds_nobody_up() {
    let world = World::new(1, config()).await;
    // One that has the connection to itself at once, and one that is found to be slow.
    for bytes in [BIG, 10 * 1024 * 1024] {
        let big = value(bytes);
        world.nodes[0].set(&format!("big{bytes}"), &big);
        let (mut slow, mut other) = (world.client().await, world.client().await);
        slow.send(&format!("GET big{bytes}")).await;
        asked_for(&world, &format!("GET big{bytes}")).await;
        for n in 0..100 {
            assert_eq!(other.ask(&format!("SET k{n} {n}")).await, "+OK\r\n");
            assert_eq!(other.ask(&format!("GET k{n}")).await, format!("${}\r\n{n}\r\n", n.to_string().len()));
        }
        let held = buffered(&mut other).await;
        assert!(held < 4 * 1024 * 1024, "{held} bytes are held of {bytes}");
        assert_eq!(slow.reply().await.as_bytes(), Some(big.as_bytes()));
        assert_eq!(slow.ask("PING").await, "+PONG\r\n");
    }
    assert!(world.nodes[0].connections() >= 2);
    world.end().await;
}

#[tokio::test]
async fn what_is_behind_a_big_value_happens_once_and_in_order() {
    let world = World::new(1, config()).await;
    let big = value(BIG);
    world.nodes[0].set("big", &big);
    let mut client = world.client().await;
    for round in 0..3 {
        for line in ["GET big", "INCR n", "GET big", "INCR n", "GET n"] {
            client.send(line).await;
        }
        let mut other = world.client().await;
        other.send("INCR m").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(client.reply().await.as_bytes(), Some(big.as_bytes()));
        assert_eq!(client.reply().await.as_int(), Some(round * 2 + 1));
        assert_eq!(client.reply().await.as_bytes(), Some(big.as_bytes()));
        assert_eq!(client.reply().await.as_int(), Some(round * 2 + 2));
        assert_eq!(client.reply().await.as_str(), Some((round * 2 + 2).to_string().as_str()));
        assert_eq!(other.reply().await.as_int(), Some(round + 1));
    }
    world.end().await;
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_nothing_behind() {
    let world = World::new(1, config()).await;
    world.nodes[0].set("big", &value(BIG));
    let mut other = world.client().await;
    for _ in 0..3 {
        let mut slow = world.client().await;
        slow.send("GET big").await;
        asked_for(&world, "GET big").await;
        drop(slow);
        assert_eq!(other.ask("SET a 1").await, "+OK\r\n");
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while buffered(&mut other).await > 1024 * 1024 {
        assert!(tokio::time::Instant::now() < deadline, "still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn half_a_value_is_followed_by_the_end() {
    let world = World::new(1, config()).await;
    world.nodes[0].set("big", &value(BIG));
    let mut slow = world.client().await;
    slow.send("GET big").await;
    asked_for(&world, "GET big").await;
    world.nodes[0].kill();
    let left = slow.rest().await;
    assert!(left.len() < BIG, "{} bytes", left.len());
    assert!(!left.windows(12).any(|part| part == b"CLUSTERDOWN "), "no error inside a value");
    world.end().await;
}

#[tokio::test]
async fn big_items_of_memcached() {
    let world = World::new(1, config()).await;
    let big = value(8 * 1024 * 1024);
    world.nodes[0].set("big", &big);
    let (mut client, mut resp2) = (world.memcached().await, world.client().await);
    client.send_raw(b"get big\r\nget none\r\nversion\r\n").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let wanted = format!("VALUE big 0 {}\r\n{big}\r\nEND\r\nEND\r\nVERSION ", big.len());
    let mut bytes = Vec::new();
    while bytes.len() < wanted.len() {
        let read = tokio::io::AsyncReadExt::read_buf(&mut client.stream, &mut bytes);
        assert!(tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("reads") > 0);
    }
    assert!(bytes.starts_with(wanted.as_bytes()));
    // A client that wants no reply is given no part of one.
    resp2.send("CLIENT REPLY OFF").await;
    resp2.send("GET big").await;
    resp2.send("CLIENT REPLY ON").await;
    assert_eq!(resp2.reply_bytes().await, "+OK\r\n");
    world.end().await;
}

/// `SET key value` up to `bytes` of the value, and the rest.
fn set(key: &str, value: &str, bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
    let (first, rest) = value.split_at(bytes);
    ([head.as_bytes(), first.as_bytes()].concat(), [rest.as_bytes(), b"\r\n"].concat())
}

#[tokio::test]
async fn a_big_request_is_not_kept() {
    let world = World::new(1, config()).await;
    let big = value(BIG);
    let (mut client, mut other) = (world.client().await, world.client().await);
    let (first, rest) = set("big", &big, BIG / 2);
    client.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Half of it is at the node; nobody else waits.
    let held = buffered(&mut other).await;
    assert!(held < 6 * 1024 * 1024, "{held} bytes are held");
    assert_eq!(other.ask("SET a 1").await, "+OK\r\n");
    // What comes behind it is answered behind it.
    let behind = format!("*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n{}", "*1\r\n$4\r\nPING\r\n");
    client.send_raw(&[&rest[..], behind.as_bytes()].concat()).await;
    assert_eq!(client.reply_bytes().await, "+OK\r\n");
    assert_eq!(client.reply().await.as_bytes(), Some(big.as_bytes()));
    assert_eq!(client.reply_bytes().await, "+PONG\r\n");
    // Arguments may come behind the big one, and another big one.
    let hset = format!(
        "*6\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n${0}\r\n{big}\r\n$1\r\ng\r\n${0}\r\n{big}\r\n",
        big.len()
    );
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "HSET" => Act::Reply(format!(":{}\r\n", seen.args.iter().map(String::len).sum::<usize>())),
        _ => Act::Usual,
    });
    client.send_raw(hset.as_bytes()).await;
    assert_eq!(client.reply().await.as_int(), Some(7 + 2 * BIG as i64));
    world.end().await;
}

#[tokio::test]
async fn a_big_request_without_an_end_is_not_executed() {
    let mut world = World::new(1, config()).await;
    let big = value(BIG);
    // Its client goes.
    let (first, rest) = set("gone", &big, BIG / 2);
    let mut client = world.client().await;
    client.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(client);
    // The node goes: the client is told, when it has sent the rest, and goes on.
    let mut client = world.client().await;
    client.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.nodes[0].kill();
    let heir = world.nodes[0].twin(Some(common::secret())).await;
    world.nodes[0] = heir;
    world.set_map(&world.ports());
    client.send_raw(&rest).await;
    let reply = client.reply_bytes().await;
    assert!(reply.starts_with("-CLUSTERDOWN ") && reply.contains("was not executed"), "{reply}");
    assert_eq!(client.ask("GET gone").await, "$-1\r\n");
    // The node refuses: the bytes are not there to be sent again.
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "SET" => Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into()),
        _ => Act::Usual,
    });
    client.send_raw(&first).await;
    client.send_raw(&rest).await;
    let reply = client.reply_bytes().await;
    assert!(reply.starts_with("-TRYAGAIN ") && reply.contains("was not executed"), "{reply}");
    world.nodes[0].unhook();
    // The answer is lost: nobody knows.
    world.nodes[0].hook(|seen| if seen.args[0] == "SET" { Act::ExecuteAndDrop } else { Act::Usual });
    client.send_raw(&first).await;
    client.send_raw(&rest).await;
    assert!(client.reply_bytes().await.starts_with("-UNCERTAIN "));
    world.nodes[0].unhook();
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    // Malformed behind its beginning: told, and closed.
    let head = format!("*5\r\n$3\r\nSET\r\n$4\r\ngone\r\n${}\r\n{big}\r\n", big.len());
    client.send_raw(&[head.as_bytes(), b"$2\r\nEX\r\n?what is this, no argument\r\n"].concat()).await;
    let rest = String::from_utf8_lossy(&client.rest().await).into_owned();
    assert!(rest.contains("was not executed") && rest.contains("Protocol error"), "{rest}");
    world.end().await;
}

#[tokio::test]
async fn a_node_that_stops_in_the_middle_is_given_up() {
    let world = World::new(1, ProxyConfig { request_timeout_ms: 1_000, ..config() }).await;
    // One that has the connection to itself, and one that shares it.
    for bytes in [BIG, 4 * 1024 * 1024] {
        let half = format!("${bytes}\r\n{}", value(bytes / 2));
        let is_it = |line: &[String]| line == ["GET", "half"];
        world.nodes[0].hook(
            move |seen| {
                if is_it(&seen.args) { Act::Reply(half.clone()) } else { Act::Usual }
            },
        );
        let (mut reader, mut other) = (world.client().await, world.client().await);
        reader.send("GET half").await;
        assert!(reader.rest().await.len() < bytes, "closed with a part of it");
        world.nodes[0].unhook();
        assert_eq!(other.ask("SET k 1").await, "+OK\r\n");
    }
    world.end().await;
}

#[tokio::test]
async fn a_request_that_has_begun_ends_where_it_began() {
    let mut world = World::new(1, config()).await;
    let big = value(BIG);
    let (first, rest) = set("moved", &big, BIG / 2);
    let mut client = world.client().await;
    // Its node leaves the map meanwhile, and is still there.
    client.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.set_map(&[None]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.send_raw(&rest).await;
    assert_eq!(client.reply_bytes().await, "+OK\r\n");
    world.set_map(&world.ports());
    assert_eq!(client.ask("PING").await, "+PONG\r\n");
    // The proxy is told to end meanwhile.
    client.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.shutdown.trigger();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.send_raw(&rest).await;
    assert_eq!(client.reply_bytes().await, "+OK\r\n");
    world.end().await;
}

/// What is found to be slow at a look at it: less than what stands aside at once.
const SLOW: usize = 10 * 1024 * 1024;

/// Requests that the proxy has given to connections to the node, and that are not answered.
async fn in_flight(client: &mut Client) -> usize {
    let info = client.ask("INFO proxy").await;
    let line = info.lines().find(|line| line.starts_with("upstream0:")).expect("a line");
    let number = line.split(',').find_map(|part| part.strip_prefix("in_flight=")).expect("a part");
    number.parse().expect("a number")
}

/// A client that asks for a big value and does not read it, on a connection that others have requests on: the node answers
/// it when they have been sent. Gives that client, `other`, which has sent `lines`, and the connections that the node had
/// before it answered.
async fn behind_a_slow_reader(world: &World, lines: &[&str]) -> (Client, Client, u64) {
    world.nodes[0].set("slow", &value(SLOW));
    let (gate, open) = watch::channel(false);
    world.nodes[0].hook(move |seen| match seen.args.join(" ").as_str() {
        "GET slow" => Act::Gate(open.clone()),
        _ => Act::Usual,
    });
    let (mut slow, mut other, mut watcher) =
        (world.client().await, world.client().await, world.client().await);
    other.ask("PING").await;
    slow.send("GET slow").await;
    world.until(|world| world.nodes[0].count("GET slow") > 0).await;
    for line in lines {
        other.send(line).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while in_flight(&mut watcher).await < 1 + lines.len() {
        assert!(tokio::time::Instant::now() < deadline, "the lines are not on the connection");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let connections = world.nodes[0].connections();
    gate.send_replace(true);
    (slow, other, connections)
}

/// The reply to `GET slow` stands aside: those behind it were sent elsewhere, over more than these connections.
async fn stands_aside(world: &World, connections: u64) {
    world.until(|world| world.nodes[0].connections() > connections).await;
}

#[tokio::test]
async fn nothing_overtakes_what_stays_behind_a_big_value() {
    let world = World::new(1, config()).await;
    let lines = ["SET k 1", "INCR n", "FLUSHALL", "INCR n", "GET n", "INCR n", "SET k 2"];
    let (mut slow, mut other, connections) = behind_a_slow_reader(&world, &lines).await;
    stands_aside(&world, connections).await;
    // What comes now waits as well.
    for line in ["INCR n", "GET k", "PING"] {
        other.send(line).await;
    }
    // Others do not.
    let mut third = world.client().await;
    assert_eq!(third.ask("SET third 3").await, "+OK\r\n");
    assert_eq!(other.reply_bytes().await, "+OK\r\n");
    assert_eq!(other.reply().await.as_int(), Some(1));
    assert!(other.is_silent(200).await, "{:?}", String::from_utf8_lossy(&other.buffer));
    assert_eq!(
        world.nodes[0].value("n").as_deref(),
        Some("1"),
        "what was sent before FLUSHALL, and nothing else"
    );
    assert_eq!(slow.reply().await.as_bytes().map(<[u8]>::len), Some(SLOW));
    for wanted in
        ["+OK\r\n", ":1\r\n", "$1\r\n1\r\n", ":2\r\n", "+OK\r\n", ":3\r\n", "$1\r\n2\r\n", "+PONG\r\n"]
    {
        assert_eq!(other.reply_bytes().await, wanted);
    }
    // Nobody waited for the shard.
    let info = third.ask("INFO proxy").await;
    assert!(info.contains("\r\nheld_requests_total:0\r\n"), "{info}");
    world.end().await;
}

#[tokio::test]
async fn who_must_stay_behind_a_slow_reader_outlives_it() {
    let world = World::new(1, ProxyConfig { request_timeout_ms: 6_000, ..config() }).await;
    let (mut slow, mut other, _) = behind_a_slow_reader(&world, &["FLUSHALL", "INCR n"]).await;
    assert_eq!(other.reply_bytes().await, "+OK\r\n");
    assert_eq!(other.reply().await.as_int(), Some(1));
    assert!(slow.rest().await.len() < SLOW, "closed with a part of it");
    world.end().await;
}

#[tokio::test]
async fn what_has_not_left_is_sent_elsewhere_once() {
    let world = World::new(1, config()).await;
    // More than the sockets take while the node does not read.
    let fill = value(7 * 1024 * 1024);
    let lines: Vec<String> = (0..4).map(|n| format!("SET fill{n} {fill}")).collect();
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.extend(["INCR n", "GET n", "INCR n", "FLUSHALL", "INCR n"]);
    let (mut slow, mut other, _) = behind_a_slow_reader(&world, &lines).await;
    for _ in 0..4 {
        assert_eq!(other.reply_bytes().await, "+OK\r\n");
    }
    for wanted in [":1\r\n", "$1\r\n1\r\n", ":2\r\n", "+OK\r\n", ":1\r\n"] {
        assert_eq!(other.reply_bytes().await, wanted);
    }
    assert_eq!(slow.reply().await.as_bytes().map(<[u8]>::len), Some(SLOW));
    assert_eq!(slow.ask("PING").await, "+PONG\r\n");
    assert_eq!(world.nodes[0].count("INCR n"), 3);
    assert_eq!(other.ask("GET n").await, "$1\r\n1\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_pause_holds_big_requests() {
    let world = World::new(1, config()).await;
    let big = value(BIG);
    let mut other = world.client().await;
    // Half of one is at the node already.
    let (mut begun, mut fresh) = (world.client().await, world.client().await);
    let (first, rest) = set("begun", &big, BIG / 2);
    begun.send_raw(&first).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(other.ask("CLIENT PAUSE 60000 WRITE").await, "+OK\r\n");
    let whole = set("fresh", &big, BIG);
    let fresh = tokio::spawn(async move {
        fresh.send_raw(&[whole.0, whole.1].concat()).await;
        fresh.reply_bytes().await
    });
    let begun = tokio::spawn(async move {
        begun.send_raw(&rest).await;
        begun.reply_bytes().await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((world.nodes[0].value("begun"), world.nodes[0].value("fresh")), (None, None));
    assert_eq!(other.ask("GET k").await, "$-1\r\n");
    assert_eq!(other.ask("CLIENT UNPAUSE").await, "+OK\r\n");
    assert_eq!(begun.await.expect("answered"), "+OK\r\n");
    assert_eq!(fresh.await.expect("answered"), "+OK\r\n");
    let sizes = ["begun", "fresh"].map(|key| world.nodes[0].value(key).map(|value| value.len()));
    assert_eq!(sizes, [Some(BIG); 2]);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_is_killed_gets_a_part_of_a_big_value_and_nothing_behind_it() {
    let world = World::new(1, config()).await;
    world.nodes[0].set("big", &value(BIG));
    let (mut slow, mut other) = (world.client().await, world.client().await);
    slow.send("CLIENT ID").await;
    let id = slow.reply().await.as_int().expect("a number");
    slow.send("GET big").await;
    slow.send("PING").await;
    asked_for(&world, "GET big").await;
    assert_eq!(other.ask(&format!("CLIENT KILL ID {id}")).await, ":1\r\n");
    let left = slow.rest().await;
    assert!(left.len() < BIG && !left.ends_with(b"+PONG\r\n"), "{} bytes", left.len());
    assert_eq!(other.ask("SET a 1").await, "+OK\r\n");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while buffered(&mut other).await > 1024 * 1024 {
        assert!(tokio::time::Instant::now() < deadline, "still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn messages_come_behind_a_big_value() {
    let world = World::new(1, config()).await;
    let big = value(BIG);
    world.nodes[0].set("big", &big);
    let mut slow = world.client().await;
    slow.ask("HELLO 3").await;
    slow.ask("SUBSCRIBE news").await;
    slow.send("GET big").await;
    asked_for(&world, "GET big").await;
    world.nodes[0].push(&["message", "news", "hello"]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(slow.reply().await.as_bytes(), Some(big.as_bytes()));
    assert_eq!(slow.reply_bytes().await, ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    assert_eq!(slow.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_big_request_that_fails_leaves_what_is_watched() {
    let world = World::new(1, config()).await;
    let big = value(BIG);
    let (first, rest) = set("big", &big, BIG / 2);
    let mut client = world.client().await;
    let is_big = |args: &[String]| args.first().is_some_and(|name| name == "SET") && args[1] == "big";
    assert_eq!(client.ask("WATCH k").await, "+OK\r\n");
    world.nodes[0].hook(move |seen| match is_big(&seen.args) {
        true => Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into()),
        false => Act::Usual,
    });
    client.send_raw(&first).await;
    client.send_raw(&rest).await;
    let reply = client.reply_bytes().await;
    assert!(reply.starts_with("-TRYAGAIN "), "{reply}");
    // One of which the connection is lost, too.
    world.nodes[0].hook(move |seen| if is_big(&seen.args) { Act::Drop } else { Act::Usual });
    client.send_raw(&first).await;
    client.send_raw(&rest).await;
    let reply = client.reply_bytes().await;
    assert!(reply.starts_with("-UNCERTAIN "), "{reply}");
    world.nodes[0].unhook();
    assert_eq!(client.ask("MULTI").await, "+OK\r\n");
    assert_eq!(client.ask("INCR k").await, "+QUEUED\r\n");
    assert_eq!(client.ask("EXEC").await, "*1\r\n:1\r\n");
    world.end().await;
}
