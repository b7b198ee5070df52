//! Nodes that are gone, that accept and never answer, that answer nothing any more, or slowly: each has its outcome.

mod common;

use std::time::Duration;

use common::client::Client;
use common::node::{Act, FakeNode};
use common::{World, key_on, secret};
use tokio::net::TcpListener;
use torc_proxy::ProxyConfig;

fn quick() -> ProxyConfig {
    ProxyConfig {
        request_timeout_ms: 500,
        connect_timeout_ms: 200,
        trip_after_timeouts: 3,
        ..ProxyConfig::default()
    }
}

/// The sum of a family's samples that have this text in their labels.
async fn metric(world: &World, name: &str, label: &str) -> f64 {
    let mut http = Client::connect(world.proxy.addresses().http_port).await;
    http.send_raw(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let text = String::from_utf8(http.rest().await).expect("text");
    let lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

async fn until_metric(world: &World, name: &str, label: &str, wanted: impl Fn(f64) -> bool) {
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while !wanted(metric(world, name, label).await) {
        assert!(tokio::time::Instant::now() < deadline, "{name} {label}: waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn label(port: u16) -> String {
    format!("127.0.0.1:{port}\"")
}

#[tokio::test]
async fn connections_are_open_before_they_are_needed() {
    let mut world = World::new(2, ProxyConfig { connections_per_node: 2, ..ProxyConfig::default() }).await;
    world.until(|world| world.nodes.iter().all(|node| node.connections() == 2)).await;
    // After a failure too, without any request.
    let port = world.nodes[0].port;
    world.nodes[0].kill();
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.nodes[0] = FakeNode::start_on(port, Some(secret())).await;
    world.until(|world| world.nodes[0].connections() >= 2).await;
    until_metric(&world, "torc_proxy_upstream_circuit_open", &label(port), |open| open == 0.0).await;
    // A new primary is dialled when the map names it.
    let fresh = FakeNode::start(Some(secret())).await;
    world.set_map(&[Some(fresh.port), Some(world.nodes[1].port)]);
    world.until(|_| fresh.connections() == 2).await;
    world.end().await;
    let cold = World::new(1, ProxyConfig { warm_up: false, ..ProxyConfig::default() }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cold.nodes[0].connections(), 0);
    cold.end().await;
}

#[tokio::test]
async fn a_dead_upstream_holds_up_only_its_own_shard() {
    let world = World::new(2, quick()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    assert_eq!(client.ask(&format!("SET {a} 1")).await, "+OK\r\n");
    world.nodes[0].kill();
    until_metric(&world, "torc_proxy_upstream_circuit_open", &label(world.nodes[0].port), |open| open > 0.0)
        .await;
    // Requests wait for the shard, and are answered at their deadline: not executed. Others notice nothing.
    let mut waiting = world.client().await;
    waiting.send(&format!("INCR {a}")).await;
    for _ in 0..50 {
        assert_eq!(client.ask(&format!("SET {b} 1")).await, "+OK\r\n");
    }
    let reply = waiting.reply_bytes().await;
    assert!(reply.starts_with("-CLUSTERDOWN ") && reply.contains("not executed"), "{reply}");
    // Tried again and again, but with pauses.
    let failures = metric(&world, "torc_proxy_upstream_failures_total", &label(world.nodes[0].port)).await;
    assert!((2.0..40.0).contains(&failures), "{failures}");
    let state = client.ask(&format!("PROXY EXPLAIN GET {a}")).await;
    assert!(state.contains("circuit open") || state.contains("being opened"), "{state}");
    world.end().await;
}

#[tokio::test]
async fn an_upstream_that_accepts_and_never_answers() {
    let mut world = World::new(1, quick()).await;
    // The kernel accepts; nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    world.set_map(&[Some(port)]);
    until_metric(&world, "torc_proxy_upstream_circuit_open", &label(port), |open| open > 0.0).await;
    let mut client = world.client().await;
    let reply = client.ask("INCR a").await;
    // Nothing was sent before the handshake: the outcome is certain.
    assert!(reply.starts_with("-CLUSTERDOWN ") && reply.contains("not executed"), "{reply}");
    assert!(metric(&world, "torc_proxy_upstream_requests_total", &label(port)).await >= 1.0);
    drop(silent);
    let real = FakeNode::start_on(port, Some(secret())).await;
    assert_eq!(client.ask("INCR a").await, ":1\r\n");
    assert!(real.seen().iter().any(|seen| seen.args[0] == "PING"), "it was probed first");
    world.end().await;
}

#[tokio::test]
async fn an_upstream_that_answers_nothing_any_more_is_given_up() {
    let world = World::new(2, quick()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(world.client().await);
    }
    clients[0].ask(&format!("SET {a} 1")).await;
    // It proves the secret, and then hangs.
    world.nodes[0].hook(|_| Act::Never);
    for client in &mut clients[..4] {
        client.send(&format!("INCR {a}")).await;
    }
    for client in &mut clients[..4] {
        let reply = client.reply_bytes().await;
        assert!(reply.starts_with("-UNCERTAIN "), "{reply}");
    }
    let port = world.nodes[0].port;
    until_metric(&world, "torc_proxy_upstream_trips_total", &label(port), |trips| trips == 1.0).await;
    assert_eq!(metric(&world, "torc_proxy_upstream_timeouts_total", &label(port)).await, 4.0);
    until_metric(&world, "torc_proxy_upstream_circuit_open", &label(port), |open| open > 0.0).await;
    // It does not answer the probe: from now on requests are not sent, so nobody is left in doubt.
    let incrs = |world: &World| world.nodes[0].seen().iter().filter(|seen| seen.args[0] == "INCR").count();
    let before = incrs(&world);
    let reply = clients[4].ask(&format!("INCR {a}")).await;
    assert!(reply.starts_with("-CLUSTERDOWN ") && reply.contains("not executed"), "{reply}");
    assert_eq!(incrs(&world), before);
    assert_eq!(clients[5].ask(&format!("SET {b} 1")).await, "+OK\r\n");
    // It comes round: the next probe is answered, and requests go on.
    world.nodes[0].unhook();
    assert!(clients[5].ask(&format!("GET {a}")).await.starts_with('$'));
    until_metric(&world, "torc_proxy_upstream_circuit_open", &label(port), |open| open == 0.0).await;
    world.end().await;
}

#[tokio::test]
async fn a_slow_upstream_is_marked_and_still_used() {
    let world = World::new(3, ProxyConfig::default()).await;
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "k")).collect();
    world.nodes[2].hook(|_| Act::Late(Duration::from_millis(40)));
    let port = world.nodes[2].port;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(world.client().await);
    }
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while metric(&world, "torc_proxy_upstream_slow", &label(port)).await == 0.0 {
        assert!(tokio::time::Instant::now() < deadline, "never marked");
        for (client, key) in clients.iter_mut().zip(&keys) {
            for _ in 0..8 {
                assert!(client.ask(&format!("GET {key}")).await.starts_with('$'));
            }
        }
    }
    let state = clients[0].ask(&format!("PROXY EXPLAIN GET {}", keys[2])).await;
    assert!(state.contains("slower than other nodes"), "{state}");
    assert_eq!(metric(&world, "torc_proxy_upstream_slow", &label(world.nodes[0].port)).await, 0.0);
    // No circuit opens for it.
    assert_eq!(metric(&world, "torc_proxy_upstream_trips_total", &label(port)).await, 0.0);
    world.nodes[2].unhook();
    while metric(&world, "torc_proxy_upstream_slow", &label(port)).await > 0.0 {
        assert!(tokio::time::Instant::now() < deadline, "marked for ever");
        for (client, key) in clients.iter_mut().zip(&keys) {
            for _ in 0..8 {
                client.ask(&format!("GET {key}")).await;
            }
        }
    }
    world.end().await;
}
