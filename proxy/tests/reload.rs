//! A configuration that is taken while clients are connected: what changes for them, what stays, what is refused.

mod common;

use std::time::Duration;

use common::World;
use common::node::Act;
use torc_cluster::map::Policy;
use torc_protocol::context::Ack;
use torc_proxy::ProxyConfig;

/// Workers take changed settings in their next round.
async fn a_round() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

#[tokio::test]
async fn a_connected_client_goes_by_the_new_settings() {
    let world = World::new(1, ProxyConfig { threads: 2, ..ProxyConfig::default() }).await;
    let mut client = world.client().await;
    assert_eq!(client.ask("SET safe:a 1").await, "+OK\r\n");
    // A request that is under way is not touched.
    world.nodes[0].hook(|seen| match seen.args[0].as_str() {
        "GETDEL" => Act::Late(Duration::from_millis(400)),
        _ => Act::Usual,
    });
    let mut busy = world.client().await;
    busy.send("GETDEL safe:a").await;
    let policy = Policy { prefix: "safe:".into(), ack: Some(Ack::InSync), ..Policy::default() };
    let config = ProxyConfig {
        threads: 7,
        name: "other".into(),
        request_timeout_ms: 1_234,
        max_clients: 2,
        max_bulk_bytes: 2_000,
        policy: vec![policy],
        ..ProxyConfig::default()
    };
    let needs_restart = world.proxy.reload(config).expect("fine");
    assert_eq!(needs_restart, ["threads", "name"]);
    a_round().await;
    assert_eq!(client.ask("SET safe:a 2").await, "+OK\r\n");
    let seen = world.nodes[0].seen();
    let set = |value: &str| {
        seen.iter().find(|seen| seen.args.join(" ") == format!("SET safe:a {value}")).expect("sent")
    };
    assert_eq!((set("1").ack, set("1").deadline_ms), (None, 5_000));
    assert_eq!((set("2").ack, set("2").deadline_ms), (Some(Ack::InSync), 1_234));
    assert_eq!(busy.reply_bytes().await, "$13\r\nGETDEL safe:a\r\n");
    assert_eq!(world.client().await.rest().await, b"-ERR max number of clients reached\r\n");
    assert_eq!(client.ask("CONFIG GET io-threads").await, "*2\r\n$10\r\nio-threads\r\n$1\r\n2\r\n");
    let long = format!("SET a {}", "x".repeat(3_000));
    client.send(&long).await;
    assert!(client.reply_bytes().await.starts_with("-ERR Protocol error"));
    world.end().await;
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    for config in [
        ProxyConfig { max_clients: 0, request_timeout_ms: 77, ..ProxyConfig::default() },
        ProxyConfig {
            memcached_auth_file: Some("/nosuch/file".into()),
            request_timeout_ms: 77,
            ..ProxyConfig::default()
        },
    ] {
        world.proxy.reload(config).expect_err("refused");
    }
    a_round().await;
    client.ask("SET a 1").await;
    assert!(world.nodes[0].seen().iter().all(|seen| seen.deadline_ms == 5_000));
    // What CONFIG SET changed holds until the next reload.
    assert_eq!(client.ask("CONFIG SET requirepass secret timeout 9").await, "+OK\r\n");
    assert!(world.client().await.ask("GET a").await.starts_with("-NOAUTH"));
    world.proxy.reload(ProxyConfig::default()).expect("fine");
    assert_eq!(world.client().await.ask("GET a").await, "$1\r\n1\r\n");
    assert_eq!(client.ask("CONFIG GET timeout").await, "*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
    world.end().await;
}

#[tokio::test]
async fn maps_and_configurations_come_in_any_order() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let mut client = world.client().await;
    for round in 0..20_u32 {
        let ack = if round % 2 == 0 { Ack::InSync } else { Ack::None };
        let policy = Policy { prefix: String::new(), ack: Some(ack), ..Policy::default() };
        world.proxy.reload(ProxyConfig { policy: vec![policy], ..ProxyConfig::default() }).expect("fine");
        world.set_map(&world.ports());
        assert_eq!(client.ask(&format!("SET k{round} 1")).await, "+OK\r\n");
    }
    a_round().await;
    client.ask("SET last 1").await;
    let seen: Vec<_> = world.nodes.iter().flat_map(|node| node.seen()).collect();
    let last = seen.iter().find(|seen| seen.args[1] == "last").expect("sent");
    assert_eq!((last.ack, last.epoch), (Some(Ack::None), world.epoch));
    world.end().await;
}
