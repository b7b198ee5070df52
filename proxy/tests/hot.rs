//! Hot keys: found and told of, answered with copies, asked for once.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::{Act, FakeNode};
use common::{World, key_on};
use torc_cluster::map::Policy;
use torc_protocol::context::ReadLevel;
use torc_protocol::resp::Value;
use torc_proxy::ProxyConfig;

/// The names of PROXY HOT and their rates, the hottest first.
async fn hot(world: &World, command: &str) -> Vec<(String, i64, i64)> {
    let mut client = world.client().await;
    let reply = client.ask(command).await;
    let (value, _) = Value::decode(reply.as_bytes()).expect("sound").expect("whole");
    let fields = value.into_array().expect("a map of RESP2");
    let keys = fields[3].as_array().expect("keys").to_vec();
    keys.into_iter()
        .map(|key| {
            let key = key.into_array().expect("a map");
            let number = |at: usize| key[at].as_int().expect("a number");
            (String::from_utf8_lossy(key[1].as_bytes().expect("a name")).into_owned(), number(7), number(11))
        })
        .collect()
}

#[tokio::test]
async fn what_is_asked_for_most_is_told() {
    let world = World::new(2, ProxyConfig { threads: 2, ..ProxyConfig::default() }).await;
    let (mut client, mut other) = (world.client().await, world.memcached().await);
    let mut seen = Vec::new();
    for round in 0..200 {
        for n in 0..64 {
            client.ask(if n % 4 == 0 { "SET often x" } else { "GET often" }).await;
            client.ask(&format!("GET seldom:{}", round * 64 + n)).await;
        }
        for n in 0..16 {
            other.send_raw(b"get cached\r\n").await;
            other.until("END\r\n").await;
            client.ask(&format!("MGET a{n} b{n} often c{n}")).await;
        }
        seen = hot(&world, "PROXY HOT").await;
        if seen.len() >= 2 && seen.iter().any(|(name, ..)| name == "cached") {
            break;
        }
    }
    let (name, rate, writes) = &seen[0];
    assert!(name == "often" && *writes > 0 && writes < rate, "{seen:?}");
    assert!(seen.iter().any(|(name, ..)| name == "cached"), "{seen:?}");
    assert_eq!(hot(&world, "PROXY HOT 1").await.len(), 1);
    assert!(client.ask("PROXY HOT x").await.starts_with("-ERR count"));
    assert_eq!(client.ask("PROXY HOT RESET").await, "+OK\r\n");
    world.end().await;
}

#[tokio::test]
async fn who_does_not_look_says_so() {
    let world = World::new(1, ProxyConfig { hot_keys: false, ..ProxyConfig::default() }).await;
    let mut client = world.client().await;
    client.ask("GET a").await;
    assert!(client.ask("PROXY HOT").await.contains("hot_keys is off"));
    world.end().await;
}

/// Sends a request until a copy answers it, and gives the copy; `ends`: how its reply ends.
async fn heat(world: &World, client: &mut Client, request: &[u8], ends: &str) -> String {
    for _ in 0..5_000 {
        let before = asked(world);
        client.send_raw(request).await;
        let reply = client.until(ends).await;
        if asked(world) == before {
            // It has to pay, or the next one would have to wait.
            for _ in 0..4 {
                client.send_raw(request).await;
                client.until(ends).await;
            }
            return reply;
        }
    }
    panic!("no copy answers {}", String::from_utf8_lossy(request));
}

/// Requests of clients that the nodes have seen.
fn asked(world: &World) -> usize {
    world.nodes.iter().map(FakeNode::asked).sum()
}

/// Whether the nodes are asked for it.
async fn asks(world: &World, client: &mut Client, line: &str) -> bool {
    let before = asked(world);
    client.ask(line).await;
    asked(world) > before
}

fn copying() -> ProxyConfig {
    // One that stands on its own for long: only what the test does ends a copy.
    ProxyConfig {
        local_copies: true,
        copy_rate: 1,
        copy_ttl_ms: 60_000,
        copy_bound_ms: 20_000,
        ..ProxyConfig::default()
    }
}

const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";

#[tokio::test]
async fn a_copy_answers_until_the_node_tells_of_a_change() {
    let world = World::new(1, copying()).await;
    let (mut client, node) = (world.client().await, &world.nodes[0]);
    node.set("k", "old");
    assert_eq!(heat(&world, &mut client, GET, "\r\n").await, "$3\r\nold\r\n");
    // Somebody changes it at the node, which tells.
    node.set("k", "new");
    assert_eq!(client.ask("GET k").await, "$3\r\nold\r\n");
    node.push(&["invalidate", "1", "k"]);
    node.push(&["invalidate", "0", "j"]);
    node.push(&["invalidate", "0", "k"]);
    for _ in 0.. {
        if client.ask("GET k").await == "$3\r\nnew\r\n" {
            break;
        }
    }
    assert_eq!(heat(&world, &mut client, GET, "\r\n").await, "$3\r\nnew\r\n");
    world.end().await;
}

#[tokio::test]
async fn protocols_and_databases_have_copies_of_their_own() {
    let world = World::new(1, copying()).await;
    let (mut client, mut third, mut other) =
        (world.client().await, world.client().await, world.memcached().await);
    client.ask("SET k v").await;
    heat(&world, &mut client, GET, "\r\n").await;
    assert_eq!(heat(&world, &mut other, b"get k\r\n", "END\r\n").await, "VALUE k 0 1\r\nv\r\nEND\r\n");
    assert!(!asks(&world, &mut client, "GET k").await);
    // RESP3 and another database have none yet.
    third.ask("SELECT 3").await;
    assert!(asks(&world, &mut third, "GET k").await);
    third.ask("SELECT 0").await;
    assert!(!asks(&world, &mut third, "GET k").await);
    third.ask("HELLO 3").await;
    assert!(asks(&world, &mut third, "GET k").await);
    // A change ends them all.
    other.send_raw(b"set k 0 0 1\r\nw\r\n").await;
    assert_eq!(other.until("\r\n").await, "STORED\r\n");
    assert_eq!(client.ask("GET k").await, "$1\r\nw\r\n");
    other.send_raw(b"get k\r\n").await;
    assert_eq!(other.until("END\r\n").await, "VALUE k 0 1\r\nw\r\nEND\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_write_through_the_proxy_is_seen_at_once_on_all_threads() {
    let world = World::new(1, ProxyConfig { threads: 2, ..copying() }).await;
    let mut clients = [world.client().await, world.client().await];
    let (node, mut writer) = (&world.nodes[0], world.client().await);
    node.set("k", "0");
    for n in 1..20 {
        for client in &mut clients {
            heat(&world, client, GET, "\r\n").await;
        }
        // The node tells nobody here: only the proxy itself can know.
        let write = ["SET k", "MSET a 1 k", "EVAL x 1 k", "SET k"][n % 4];
        if write.starts_with("EVAL") {
            writer.ask("MULTI").await;
            writer.ask(&format!("SET k {n}")).await;
            writer.ask("EXEC").await;
        } else {
            writer.ask(&format!("{write} {n}")).await;
        }
        for client in &mut clients {
            assert_eq!(client.ask("GET k").await, format!("${}\r\n{n}\r\n", n.to_string().len()), "{write}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn behind_its_own_write_a_client_gets_no_copy() {
    let world = World::new(1, copying()).await;
    let (mut client, mut other) = (world.client().await, world.client().await);
    client.ask("SET k 1").await;
    heat(&world, &mut client, GET, "\r\n").await;
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "SET" => Act::Late(Duration::from_millis(200)),
        _ => Act::Usual,
    });
    client.send_raw(b"SET k 2\r\nGET k\r\n").await;
    // Who asks meanwhile waits with it: nobody knows which of the two values is the answer.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = asked(&world);
    other.send("GET k").await;
    assert_eq!(client.until("2\r\n").await, "+OK\r\n$1\r\n2\r\n");
    assert_eq!(other.reply_bytes().await, "$1\r\n2\r\n");
    assert_eq!(asked(&world), before + 2);
    world.end().await;
}

#[tokio::test]
async fn who_must_not_see_copies_sees_none() {
    let mut config = copying();
    config.policy = vec![
        Policy { prefix: "off:".into(), copies: Some(false), ..Policy::default() },
        Policy { prefix: "strong:".into(), read: Some(ReadLevel::Strong), ..Policy::default() },
    ];
    let world = World::new(1, config).await;
    let mut client = world.client().await;
    client.ask("SET k v").await;
    heat(&world, &mut client, GET, "\r\n").await;
    for key in ["off:k", "strong:k"] {
        for _ in 0..600 {
            assert!(asks(&world, &mut client, &format!("GET {key}")).await, "{key}");
        }
    }
    let mut strong = world.client().await;
    strong.ask("CLIENT READ strong").await;
    assert!(asks(&world, &mut strong, "GET k").await);
    strong.ask("CLIENT READ any").await;
    assert!(!asks(&world, &mut strong, "GET k").await);
    let mut watches = world.client().await;
    watches.ask("WATCH k").await;
    assert!(asks(&world, &mut watches, "GET k").await);
    watches.ask("UNWATCH").await;
    assert!(!asks(&world, &mut watches, "GET k").await);
    let mut locks = world.client().await;
    locks.ask("LOCK.RELEASE l 1").await;
    assert!(asks(&world, &mut locks, "GET k").await);
    world.end().await;
}

#[tokio::test]
async fn a_node_that_does_not_vouch_and_another_primary_end_copies() {
    let mut world = World::new(1, ProxyConfig { copy_bound_ms: 200, ..copying() }).await;
    let mut client = world.client().await;
    client.ask("SET k v").await;
    heat(&world, &mut client, GET, "\r\n").await;
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "TORC.TRACK" => Act::Reply("*2\r\n:0\r\n:1\r\n".into()),
        _ => Act::Usual,
    });
    while !asks(&world, &mut client, "GET k").await {}
    for _ in 0..600 {
        assert!(asks(&world, &mut client, "GET k").await);
    }
    world.nodes[0].unhook();
    heat(&world, &mut client, GET, "\r\n").await;
    // A node that says nothing any more.
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "TORC.TRACK" => Act::Never,
        _ => Act::Usual,
    });
    while !asks(&world, &mut client, "GET k").await {}
    world.nodes[0].unhook();
    // Another primary, which has another value.
    let next = FakeNode::start(Some(common::secret())).await;
    next.set("k", "next");
    world.nodes.push(next);
    let port = world.nodes[1].port;
    world.set_map(&[Some(port)]);
    while client.ask("GET k").await != "$4\r\nnext\r\n" {}
    for _ in 0..600 {
        assert_eq!(client.ask("GET k").await, "$4\r\nnext\r\n");
    }
    world.end().await;
}

#[tokio::test]
async fn identical_reads_share_a_request_and_outlive_its_client() {
    let world = World::new(1, ProxyConfig { coalesce_reads: true, ..ProxyConfig::default() }).await;
    let node = &world.nodes[0];
    node.set("k", "v");
    let (mut shared, mut sent) = (false, 0);
    for round in 0..200 {
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(world.client().await);
        }
        // Replies come late, and every second time the connection breaks first.
        let mut breaks = round % 2 == 1;
        node.hook(move |_| match std::mem::take(&mut breaks) {
            true => Act::Drop,
            false => Act::Late(Duration::from_millis(1)),
        });
        let before = node.count("GET k");
        for client in &mut clients {
            client.send("GET k").await;
            sent += 1;
        }
        // Those for whom requests were sent are among the ones that go.
        let left = clients.split_off(10);
        drop(clients);
        for mut client in left {
            assert_eq!(client.reply_bytes().await, "$1\r\nv\r\n");
        }
        shared |= node.count("GET k") - before < 38;
        if shared && round >= 5 {
            break;
        }
    }
    assert!(shared, "none of {sent} requests joined another one");
    world.end().await;
}

#[tokio::test]
async fn a_pipeline_joins_nobody() {
    let world = World::new(1, ProxyConfig { coalesce_reads: true, ..ProxyConfig::default() }).await;
    let mut client = world.client().await;
    client.send_raw(b"SET k 1\r\nGET k\r\nSET k 2\r\nGET k\r\nGET k\r\n").await;
    assert_eq!(client.until("2\r\n$1\r\n2\r\n").await, "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n$1\r\n2\r\n");
    assert_eq!(world.nodes[0].count("GET k"), 3);
    world.end().await;
}

/// Proved by breaking it: a flight whose request has failed that stays open until the flusher's turn leaves clients without
/// an answer.
#[tokio::test]
async fn what_could_not_be_held_is_joined_by_nobody() {
    // One is held, and all others are refused at once.
    let config = ProxyConfig {
        coalesce_reads: true,
        max_held_requests: 1,
        request_timeout_ms: 100,
        threads: 1,
        ..ProxyConfig::default()
    };
    let mut world = World::new(1, config).await;
    world.set_map(&[None]);
    world.until(|world| world.proxy.ready().is_err()).await;
    for _ in 0..20 {
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(world.client().await);
        }
        let mut holds = world.client().await;
        holds.send("GET first").await;
        for client in &mut clients {
            client.send("GET k").await;
        }
        for client in &mut clients {
            assert!(client.reply_bytes().await.starts_with('-'));
        }
    }
    world.end().await;
}

/// Without marks on the destination the copy from before PFMERGE answers.
#[tokio::test]
async fn a_merge_over_shards_ends_copies_of_its_destination() {
    let world = World::new(2, copying()).await;
    let (to, from) = (key_on(0, 2, "to"), key_on(1, 2, "from"));
    let (mut client, node) = (world.client().await, &world.nodes[0]);
    node.set(&to, "old");
    let get = format!("*2\r\n$3\r\nGET\r\n${}\r\n{to}\r\n", to.len());
    assert_eq!(heat(&world, &mut client, get.as_bytes(), "\r\n").await, "$3\r\nold\r\n");
    world.nodes[1].hook(|_| Act::Reply("*1\r\n$1\r\nx\r\n".into()));
    node.hook(|seen| match seen.args[0].as_str() {
        "TORC.PFMERGE" => Act::Reply("+OK\r\n".into()),
        _ => Act::Usual,
    });
    node.set(&to, "new");
    assert_eq!(client.ask(&format!("PFMERGE {to} {from}")).await, "+OK\r\n");
    assert_eq!(client.ask(&format!("GET {to}")).await, "$3\r\nnew\r\n");
    world.end().await;
}
