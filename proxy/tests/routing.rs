//! Requests go where their keys are, and their replies come back joined and in order.

mod common;

use common::node::Act;
use common::{World, key_on};
use torc_proxy::ProxyConfig;

#[tokio::test]
async fn one_key() {
    let world = World::new(3, ProxyConfig::default()).await;
    let mut client = world.client().await;
    for shard in 0..3 {
        let key = key_on(shard, 3, "k");
        assert_eq!(client.ask(&format!("SET {key} v{shard}")).await, "+OK\r\n");
        assert_eq!(client.ask(&format!("get {key}")).await, format!("$2\r\nv{shard}\r\n"));
        assert_eq!(world.nodes[shard].value(&key).as_deref(), Some(format!("v{shard}").as_str()));
    }
    assert_eq!(client.ask("GET nothing").await, "$-1\r\n");
    client.send_raw(b"GET nothing\r\nECHO \"a b\"\r\n").await;
    assert_eq!(client.reply_bytes().await, "$-1\r\n");
    assert_eq!(client.reply_bytes().await, "$3\r\na b\r\n");
    let seen = world.nodes[0].seen();
    assert!(seen.iter().all(|seen| seen.epoch == 1 && seen.deadline_ms == 5000), "{seen:?}");
    // One connection per node serves everybody.
    assert_eq!(world.nodes.iter().map(|node| node.connections()).max(), Some(1));
    world.end().await;
}

#[tokio::test]
async fn a_pipeline_over_shards_keeps_its_order() {
    let world = World::new(3, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let mut bytes = Vec::new();
    for n in 0..500 {
        torc_protocol::resp::encode_request(&mut bytes, &["STRLEN", &format!("key:{n}")]);
        if n % 10 == 0 {
            torc_protocol::resp::encode_request(&mut bytes, &["PING", &format!("p{n}")]);
        }
    }
    client.send_raw(&bytes).await;
    for n in 0..500 {
        let wanted = format!("STRLEN key:{n}");
        assert_eq!(client.reply().await.as_bytes(), Some(wanted.as_bytes()));
        if n % 10 == 0 {
            assert_eq!(client.reply().await.as_bytes(), Some(format!("p{n}").as_bytes()));
        }
    }
    world.end().await;
}

#[tokio::test]
async fn many_keys_are_split_and_joined() {
    let world = World::new(3, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let (a, b, c) = (key_on(0, 3, "a"), key_on(1, 3, "b"), key_on(2, 3, "c"));
    assert_eq!(client.ask(&format!("MSET {a} 1 {b} 2 {c} 3 {a}{{{a}}} 4")).await, "+OK\r\n");
    assert_eq!(
        client.ask(&format!("MGET {c} {a} nothing {b} {a}{{{a}}} {c}")).await,
        "*6\r\n$1\r\n3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n$1\r\n4\r\n$1\r\n3\r\n"
    );
    assert_eq!(client.ask("DBSIZE").await, ":4\r\n");
    assert_eq!(client.ask(&format!("DEL {a} {b} nothing")).await, ":2\r\n");
    assert_eq!(
        client.ask(&format!("MSET {a} 1 {b}")).await,
        "-ERR wrong number of arguments for 'mset' command\r\n"
    );
    assert_eq!(
        client.ask(&format!("RENAME {a} {b}")).await,
        "-CROSSSLOT Keys in request don't hash to the same slot: give them one {hash tag}\r\n"
    );
    // SCAN goes from shard to shard, until its cursor is 0 again.
    let (mut cursor, mut keys) = ("0".to_owned(), Vec::new());
    loop {
        let reply = client.send(&format!("SCAN {cursor} COUNT 10")).await;
        let () = reply;
        let mut parts = client.reply().await.into_array().expect("an array").into_iter();
        cursor = parts.next().and_then(|cursor| cursor.as_str().map(str::to_owned)).expect("a cursor");
        for key in parts.next().and_then(|keys| keys.into_array()).expect("keys") {
            keys.push(key.as_str().expect("text").to_owned());
        }
        if cursor == "0" {
            break;
        }
    }
    keys.sort();
    let mut wanted = [c.clone(), format!("{a}{{{a}}}")];
    wanted.sort();
    assert_eq!(keys, wanted);
    assert_eq!(client.ask("SCAN 18446744073709551615").await, "-ERR invalid cursor\r\n");
    // The keyspace of INFO is summed.
    let info = client.ask("INFO keyspace").await;
    assert!(info.contains("db0:keys=2,expires=0"), "{info}");
    world.end().await;
}

#[tokio::test]
async fn each_client_gets_its_protocol() {
    let world = World::new(2, ProxyConfig::default()).await;
    let mut client = world.client().await;
    assert_eq!(client.ask("HGETALL k").await, "*2\r\n$5\r\nfield\r\n$1\r\nk\r\n");
    // The version changes between two pipelined requests.
    client.send_raw(b"GET none\r\nHELLO 3\r\nGET none\r\nHGETALL k\r\n").await;
    assert_eq!(client.reply_bytes().await, "$-1\r\n");
    let hello = client.reply_bytes().await;
    assert!(hello.starts_with("%7\r\n$6\r\nserver\r\n"), "{hello}");
    assert_eq!(client.reply_bytes().await, "_\r\n");
    assert_eq!(client.reply_bytes().await, "%1\r\n$5\r\nfield\r\n$1\r\nk\r\n");
    world.end().await;
}

#[tokio::test]
async fn database_and_levels_travel_in_the_context() {
    let config = ProxyConfig {
        policy: vec![torc_cluster::map::Policy {
            prefix: "lock:".into(),
            ack: Some(torc_protocol::context::Ack::InSync),
            ..Default::default()
        }],
        ..ProxyConfig::default()
    };
    let world = World::new(1, config).await;
    let mut client = world.client().await;
    assert_eq!(client.ask("SELECT 7").await, "+OK\r\n");
    client.ask("SET a 1").await;
    client.ask("SET lock:a 1").await;
    assert_eq!(client.ask("CLIENT ACK none").await, "+OK\r\n");
    client.ask("SET lock:a 2").await;
    assert_eq!(client.ask("SELECT 16").await, "-ERR DB index is out of range\r\n");
    use torc_protocol::context::Ack;
    let seen: Vec<_> = world.nodes[0].seen().iter().map(|seen| (seen.db, seen.ack)).collect();
    assert_eq!(seen, [(7, None), (7, Some(Ack::InSync)), (7, Some(Ack::None))]);
    world.end().await;
}

#[tokio::test]
async fn bad_input_harms_nobody_else() {
    let world = World::new(1, ProxyConfig::default()).await;
    let (mut good, mut bad) = (world.client().await, world.client().await);
    bad.send_raw(b"*1\r\n$4\r\nPING\r\n*1\r\nPING\r\n").await;
    assert_eq!(bad.rest().await, b"+PONG\r\n-ERR Protocol error: expected '$', got 'P'\r\n");
    assert_eq!(
        good.ask("NOSUCH a").await,
        "-ERR unknown command 'NOSUCH', with args beginning with: 'a' \r\n"
    );
    assert_eq!(
        good.ask("CTX x GET k").await,
        "-ERR unknown command 'CTX', with args beginning with: 'x' 'GET' 'k' \r\n"
    );
    assert_eq!(good.ask("GET").await, "-ERR wrong number of arguments for 'get' command\r\n");
    assert_eq!(good.ask("PING").await, "+PONG\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_password_opens_the_door() {
    let config = ProxyConfig { requirepass: "secret".into(), ..ProxyConfig::default() };
    let world = World::new(1, config).await;
    let mut client = world.client().await;
    assert_eq!(client.ask("GET k").await, "-NOAUTH Authentication required.\r\n");
    assert!(client.ask("AUTH wrong").await.starts_with("-WRONGPASS"));
    assert_eq!(client.ask("AUTH default secret").await, "+OK\r\n");
    assert_eq!(client.ask("GET k").await, "$-1\r\n");
    let mut other = world.client().await;
    assert!(other.ask("HELLO 3 AUTH default secret").await.starts_with("%7"));
    assert_eq!(world.nodes[0].count("GET k"), 1);
    // Without a password the door is open, for those who had come before as well.
    let mut early = world.client().await;
    assert!(early.ask("PING").await.starts_with("-NOAUTH"));
    let mut cached = world.memcached().await;
    cached.send_raw(b"get k\r\n").await;
    assert_eq!(cached.until("\r\n").await, "CLIENT_ERROR unauthenticated\r\n");
    client.send_raw(b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$11\r\nrequirepass\r\n$0\r\n\r\n").await;
    assert_eq!(client.reply_bytes().await, "+OK\r\n");
    assert_eq!(early.ask("PING").await, "+PONG\r\n");
    cached.send_raw(b"get k\r\n").await;
    assert_eq!(cached.until("\r\n").await, "END\r\n");
    world.end().await;
}

#[tokio::test]
async fn with_one_shard_keys_are_together_whatever_their_slots() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let whole = format!("SUNION {a} {b}");
    assert_eq!(client.ask(&whole).await, format!("${}\r\n{whole}\r\n", whole.len()));
    assert_eq!(client.ask(&format!("WATCH {a} {b}")).await, "+OK\r\n");
    assert_eq!(client.ask("MULTI").await, "+OK\r\n");
    for line in [format!("SET {a} 1"), format!("SET {b} 2"), "DBSIZE".into()] {
        assert_eq!(client.ask(&line).await, "+QUEUED\r\n");
    }
    assert_eq!(client.ask("EXEC").await, "*3\r\n+OK\r\n+OK\r\n:2\r\n");
    world.end().await;
}

#[tokio::test]
async fn who_stops_a_script_does_not_stand_behind_it() {
    let world = World::new(1, ProxyConfig::default()).await;
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "EVAL" => Act::Never,
        "SCRIPT" => Act::Reply("+OK\r\n".into()),
        _ => Act::Usual,
    });
    let (mut runs, mut stops) = (world.client().await, world.client().await);
    runs.send("EVAL loop 0").await;
    world.until(|world| world.nodes[0].count("EVAL loop 0") == 1).await;
    assert_eq!(stops.ask("SCRIPT KILL").await, "+OK\r\n");
    world.end().await;
}
