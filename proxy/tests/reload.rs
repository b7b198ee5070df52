//! A configuration that is taken while clients are connected: what changes for them, what stays, what is refused; and
//! options that CONFIG SET sets at the nodes.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::World;
use common::node::{Act, FakeNode};
use parking_lot::Mutex;
use tokio::sync::watch;
use torc_cluster::map::Policy;
use torc_protocol::context::Ack;
use torc_protocol::error::unknown_option;
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

/// Lets a node have one option, `maxmemory-samples`, which is 5. Gives what it is, as of any time.
fn has_an_option(
    node: &FakeNode,
    mut on_set: impl FnMut(&str) -> Act + Send + 'static,
) -> Arc<Mutex<String>> {
    let option = Arc::new(Mutex::new("5".to_owned()));
    let theirs = Arc::clone(&option);
    node.hook(move |seen| match (seen.args[0].as_str(), seen.args.get(1).map(String::as_str)) {
        ("CONFIG", Some("GET")) => {
            Act::Reply(format!("*2\r\n$17\r\nmaxmemory-samples\r\n$1\r\n{}\r\n", theirs.lock()))
        }
        ("CONFIG", Some("SET")) => match seen.args.get(4) {
            Some(unknown) => Act::Reply(format!("-{}\r\n", unknown_option(unknown))),
            None => {
                seen.args[3].clone_into(&mut theirs.lock());
                on_set(&seen.args[3])
            }
        },
        _ => Act::Usual,
    });
    option
}

#[tokio::test]
async fn an_option_of_which_the_answer_is_lost_is_taken_back() {
    let world = World::new(3, ProxyConfig { request_timeout_ms: 300, ..ProxyConfig::default() }).await;
    let options: Vec<_> = (0..3)
        .map(|at| {
            has_an_option(&world.nodes[at], move |value| match (at, value) {
                (1, "9") => Act::ExecuteAndDrop,
                _ => Act::Usual,
            })
        })
        .collect();
    let now = || options.iter().map(|option| option.lock().clone()).collect::<Vec<_>>();
    let mut client = world.client().await;
    let reply = client.ask("CONFIG SET maxmemory-samples 9").await;
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
    assert_eq!(now(), ["5"; 3]);
    assert_eq!(client.ask("CONFIG SET maxmemory-samples 7").await, "+OK\r\n");
    assert_eq!(now(), ["7"; 3]);
    world.end().await;
}

#[tokio::test]
async fn options_that_two_clients_set_at_once_are_the_same_at_all_nodes() {
    let config = ProxyConfig { threads: 2, request_timeout_ms: 20_000, ..ProxyConfig::default() };
    let world = World::new(3, config).await;
    let (gate, open) = watch::channel(false);
    let options: Vec<_> = (0..3)
        .map(|at| {
            let open = open.clone();
            has_an_option(&world.nodes[at], move |value| match (at, value) {
                (0, "7") => Act::Gate(open.clone()),
                _ => Act::Usual,
            })
        })
        .collect();
    let (mut first, mut second) = (world.client().await, world.client().await);
    first.send("CONFIG SET maxmemory-samples 7").await;
    world.until(|world| world.nodes[0].count("CONFIG SET maxmemory-samples 7") > 0).await;
    second.send("CONFIG SET maxmemory-samples 9").await;
    assert!(second.is_silent(100).await, "not before the first is done");
    gate.send_replace(true);
    assert_eq!(first.reply_bytes().await, "+OK\r\n");
    assert_eq!(second.reply_bytes().await, "+OK\r\n");
    assert!(options.iter().all(|option| *option.lock() == "9"), "{options:?}");
    world.end().await;
}
