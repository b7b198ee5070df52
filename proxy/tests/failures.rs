//! Nodes that refuse, vanish, hang and come back: what is sent again under which id, what is answered UNCERTAIN, what
//! waits.

mod common;

use std::time::Duration;

use common::node::{Act, FakeNode};
use common::{World, key_on, secret};
use torc_proxy::ProxyConfig;

fn quick() -> ProxyConfig {
    ProxyConfig { request_timeout_ms: 700, ..ProxyConfig::default() }
}

/// Answers the first `times` requests named `name` so, the others as usual.
fn first(name: &'static str, mut times: usize, act: Act) -> impl FnMut(&common::node::Seen) -> Act + Send {
    move |seen| {
        if seen.args[0].eq_ignore_ascii_case(name) && times > 0 {
            times -= 1;
            return act.clone();
        }
        Act::Usual
    }
}

/// A connection after a lost one is probed before requests go on it.
fn is_probe(seen: &common::node::Seen) -> bool {
    seen.args[0] == "PING"
}

/// Answers requests by the acts from the last to the first, the others as usual.
fn in_turn(mut acts: Vec<Act>) -> impl FnMut(&common::node::Seen) -> Act + Send {
    move |seen| if is_probe(seen) { Act::Usual } else { acts.pop().unwrap_or(Act::Usual) }
}

#[tokio::test]
async fn what_is_refused_is_tried_again() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    for refusal in [
        "-MOVED 7 10.0.0.1:6379\r\n",
        "-CLUSTERDOWN this node no longer holds the lease of the shard\r\n",
        "-TRYAGAIN the request was routed by an old map\r\n",
    ] {
        world.nodes[0].hook(first("incr", 3, Act::Reply(refusal.into())));
        client.ask("DEL n").await;
        assert_eq!(client.ask("INCR n").await, ":1\r\n", "{refusal}");
    }
    // What a command may really answer is passed on.
    world.nodes[0].hook(first(
        "set",
        1,
        Act::Reply("-NOREPLICAS Not enough good replicas to write.\r\n".into()),
    ));
    assert_eq!(client.ask("SET n 1").await, "-NOREPLICAS Not enough good replicas to write.\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_lost_connection() {
    let world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.ask("SET n 5").await;
    // Reads and what can be repeated are repeated.
    world.nodes[0].hook(first("get", 2, Act::Drop));
    assert_eq!(client.ask("GET n").await, "$1\r\n5\r\n");
    world.nodes[0].hook(first("set", 1, Act::ExecuteAndDrop));
    assert_eq!(client.ask("SET n 6").await, "+OK\r\n");
    // What changes something at each execution is repeated under its id, and happens once.
    for act in [Act::ExecuteAndDrop, Act::Drop] {
        client.ask("SET n 6").await;
        world.nodes[0].hook(first("incr", 2, act));
        assert_eq!(client.ask("INCR n").await, ":7\r\n");
        let sent: Vec<_> = world.nodes[0].seen().into_iter().filter(|seen| seen.args[0] == "INCR").collect();
        let last = &sent[sent.len() - 3..];
        assert!(last.iter().all(|seen| seen.id.map(|id| id.seq) == last[0].id.map(|id| id.seq)), "{last:?}");
        assert_eq!(last.iter().map(|seen| seen.repeated).collect::<Vec<_>>(), [false, true, true]);
    }
    // In a pipeline each is judged by itself, and the answers keep their order.
    world.nodes[0].hook(first("incr", 1, Act::ExecuteAndDrop));
    client.send_raw(b"GET n\r\nINCR n\r\nGET n\r\nPING\r\n").await;
    for wanted in ["$1\r\n7\r\n", ":8\r\n", "$1\r\n8\r\n", "+PONG\r\n"] {
        assert_eq!(client.reply_bytes().await, wanted);
    }
    // Without a key nobody remembers: uncertain.
    world.nodes[0].hook(first("lock.acquire", 1, Act::Drop));
    assert!(client.ask("LOCK.ACQUIRE l TTL 500").await.starts_with("-UNCERTAIN "));
    world.end().await;
}

#[tokio::test]
async fn another_primary_knows_what_the_old_one_executed() {
    let mut world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.ask("SET n 1").await;
    world.nodes[0].hook({
        let node = world.nodes[0].clone();
        move |seen| {
            if seen.args[0] == "INCR" {
                node.kill();
                return Act::ExecuteAndDrop;
            }
            Act::Usual
        }
    });
    client.send("INCR n").await;
    let old = world.nodes[0].clone();
    world.until(|_| old.value("n").as_deref() == Some("2")).await;
    let fresh = FakeNode::start(Some(secret())).await;
    fresh.take_over(&old);
    world.set_map(&[Some(fresh.port)]);
    assert_eq!(client.reply_bytes().await, ":2\r\n");
    assert_eq!(client.ask("GET n").await, "$1\r\n2\r\n");
    world.end().await;
}

#[tokio::test]
async fn what_a_refusal_settles() {
    let world = World::new(1, quick()).await;
    let mut client = world.client().await;
    let too_old = format!("-{}\r\n", torc_protocol::error::REQUEST_ID_TOO_OLD);
    // The only sending was refused: the request gets another number.
    world.nodes[0].hook(first("incr", 1, Act::Reply(too_old.clone())));
    assert_eq!(client.ask("INCR n").await, ":1\r\n");
    let numbers: Vec<_> = world.nodes[0].seen().iter().filter_map(|seen| Some(seen.id?.seq)).collect();
    assert!(numbers.len() == 2 && numbers[0] < numbers[1], "{numbers:?}");
    // A second sending was: nobody knows of the first one.
    let acts = vec![Act::Reply(too_old), Act::ExecuteAndDrop];
    world.nodes[0].hook(in_turn(acts));
    assert!(client.ask("INCR n").await.starts_with("-UNCERTAIN "));
    // What says "not executed" says it of its own sending: tried on until the deadline, and never a plain error.
    let mut acts = vec![Act::Reply("-NOREPLICAS Not enough good replicas to write.\r\n".into()); 3];
    acts.push(Act::ExecuteAndDrop);
    world.nodes[0].hook(in_turn(acts));
    assert_eq!(client.ask("INCR n").await, ":3\r\n");
    let mut executed = false;
    world.nodes[0].hook(move |seen| match is_probe(seen) || std::mem::replace(&mut executed, true) {
        true if is_probe(seen) => Act::Usual,
        false => Act::ExecuteAndDrop,
        true => Act::Reply("-NOREPLICAS Not enough good replicas to write.\r\n".into()),
    });
    assert!(client.ask("INCR n").await.starts_with("-UNCERTAIN "));
    assert_eq!(world.nodes[0].value("n").as_deref(), Some("4"));
    // A reply that was too long to be kept is final.
    let kept = format!("-{}\r\n", torc_protocol::error::UNCERTAIN_REPLY);
    world.nodes[0].hook(first("incr", 9, Act::Reply(kept.clone())));
    assert_eq!(client.ask("INCR n").await, kept);
    world.end().await;
}

#[tokio::test]
async fn requests_wait_for_a_primary() {
    let mut world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    client.ask(&format!("SET {a} 1")).await;
    world.set_map(&[None, Some(world.nodes[1].port)]);
    world.until(|world| world.proxy.ready().is_err()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut held = Vec::new();
    torc_protocol::resp::encode_request(&mut held, &["INCR", &a]);
    torc_protocol::resp::encode_request(&mut held, &["INCR", &a]);
    torc_protocol::resp::encode_request(&mut held, &["GET", &a]);
    client.send_raw(&held).await;
    // The other shard goes on.
    let mut other = world.client().await;
    assert_eq!(other.ask(&format!("SET {b} 1")).await, "+OK\r\n");
    assert!(client.is_silent(150).await);
    // A new primary, with all that the old one had: everything held comes in its order.
    let fresh = FakeNode::start(Some(secret())).await;
    fresh.set(&a, "1");
    world.set_map(&[Some(fresh.port), Some(world.nodes[1].port)]);
    for wanted in [":2\r\n", ":3\r\n", "$1\r\n3\r\n"] {
        assert_eq!(client.reply_bytes().await, wanted);
    }
    assert!(fresh.seen().iter().all(|seen| seen.epoch == 3));
    world.end().await;
}

#[tokio::test]
async fn a_deadline_ends_the_waiting() {
    let mut world = World::new(1, quick()).await;
    let mut client = world.client().await;
    client.ask("SET n 1").await;
    // Never sent: not executed.
    world.set_map(&[None]);
    world.until(|world| world.proxy.ready().is_err()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let reply = client.ask("INCR n").await;
    assert!(reply.starts_with("-CLUSTERDOWN ") && reply.contains("not executed"), "{reply}");
    // Sent, and no answer.
    world.set_map(&world.ports());
    world.nodes[0].hook(|seen| if seen.args[1] == "stuck" { Act::Never } else { Act::Usual });
    assert!(client.ask("INCR stuck").await.starts_with("-UNCERTAIN "));
    world.end().await;
}

#[tokio::test]
async fn a_hanging_node_is_left_when_the_map_says_so() {
    let mut world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.ask("SET n 1").await;
    world.nodes[0].hook(|_| Act::Never);
    client.send("GET n").await;
    client.send("SET m 2").await;
    world.until(|world| world.nodes[0].count("GET n") == 1).await;
    let fresh = FakeNode::start(Some(secret())).await;
    fresh.set("n", "new");
    world.set_map(&[Some(fresh.port)]);
    assert_eq!(client.reply_bytes().await, "$3\r\nnew\r\n");
    assert_eq!(client.reply_bytes().await, "+OK\r\n");
    assert_eq!(fresh.value("m").as_deref(), Some("2"));
    world.end().await;
}

#[tokio::test]
async fn a_node_that_is_down_is_found_again() {
    let mut world = World::new(1, ProxyConfig::default()).await;
    let mut client = world.client().await;
    client.ask("SET n 1").await;
    let port = world.nodes[0].port;
    world.nodes[0].kill();
    client.send("GET n").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.nodes[0] = FakeNode::start_on(port, Some(secret())).await;
    world.nodes[0].set("n", "2");
    assert_eq!(client.reply_bytes().await, "$1\r\n2\r\n");
    world.end().await;
}

#[tokio::test]
async fn a_stranger_is_not_spoken_to() {
    let world = World::new(1, quick()).await;
    let stranger =
        FakeNode::start(Some(torc_protocol::handshake::Secret::new(&[1; 32]).expect("long enough"))).await;
    let mut world = world;
    world.set_map(&[Some(stranger.port)]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut client = world.client().await;
    assert!(client.ask("GET n").await.starts_with("-CLUSTERDOWN "));
    assert!(stranger.seen().is_empty());
    world.end().await;
}

#[tokio::test]
async fn parts_of_a_request_are_tried_again_by_themselves() {
    let world = World::new(2, ProxyConfig::default()).await;
    let (a, b) = (key_on(0, 2, "a"), key_on(1, 2, "b"));
    let mut client = world.client().await;
    world.nodes[1].hook(first("mset", 2, Act::Reply("-CLUSTERDOWN Hash slot not served\r\n".into())));
    assert_eq!(client.ask(&format!("MSET {a} 1 {b} 2")).await, "+OK\r\n");
    world.nodes[1].hook(first("mget", 1, Act::Drop));
    assert_eq!(client.ask(&format!("MGET {b} {a}")).await, "*2\r\n$1\r\n2\r\n$1\r\n1\r\n");
    world.nodes[1].hook(first("del", 1, Act::ExecuteAndDrop));
    assert_eq!(client.ask(&format!("DEL {a} {b}")).await, ":2\r\n");
    assert_eq!(world.nodes[0].count(&format!("MSET {a} 1")), 1);
    world.end().await;
}
