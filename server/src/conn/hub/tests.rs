use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use torc_runtime::clock;
use torc_runtime::listen::acceptor::ConnectionLimit;
use torc_runtime::listen::{PeerAddr, StdStream};

use super::*;
use crate::node::Node;
use crate::settings::Settings;
use crate::store::KeyHasher;

/// A hub, and `count` clients that are connected to it.
async fn connected(count: usize) -> (Hub, Vec<TcpStream>) {
    let node = Node::new(Settings::default(), 1, false, KeyHasher::new(1), clock::unix_ms(), [0; 20], None);
    let hub = Hub::new(Rc::new(Worker::new(node, 0, 1))).expect("a hub");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let limit = ConnectionLimit::new(count);
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(TcpStream::connect(address).await.expect("connected"));
        let (stream, peer) = listener.accept().await.expect("accepted");
        let (stream, peer) = (StdStream::Tcp(stream.into_std().expect("a socket")), PeerAddr::Tcp(peer));
        let (tag, permit) = (Protocol::Resp, limit.try_take().expect("a place"));
        hub.door().enter(Arrival::Fresh(Accepted { stream, peer, tag, permit }));
    }
    (hub, clients)
}

#[tokio::test]
async fn many_are_served_side_by_side_up_to_their_last_request() {
    // More than one group, and more requests than one turn of a connection takes.
    const REQUESTS: usize = 1000;
    let (hub, clients) = connected(2 * GROUP + 3).await;
    let door = hub.door().clone();
    let tasks = LocalSet::new();
    let hub = tasks.spawn_local(hub.run());
    let mut talks = JoinSet::new();
    for (n, mut client) in clients.into_iter().enumerate() {
        talks.spawn(async move {
            let requests = format!("INCRBY k{n} 1\r\n").repeat(REQUESTS);
            client.write_all(requests.as_bytes()).await.expect("sent");
            client.shutdown().await.expect("half closed");
            let mut all = String::new();
            client.read_to_string(&mut all).await.expect("read");
            all == (1..=REQUESTS).map(|n| format!(":{n}\r\n")).collect::<String>()
        });
    }
    tasks
        .run_until(async move {
            assert!(talks.join_all().await.into_iter().all(|right| right));
            door.close();
            assert!(hub.await.expect("no panic").is_ok());
        })
        .await;
}

#[tokio::test]
async fn a_seat_is_taken_again_and_calls_for_who_left_wake_nobody() {
    let (mut hub, mut clients) = connected(2).await;
    hub.look().expect("looked");
    hub.turn();
    let old = token(0, hub.seats[0].left);
    drop(clients.remove(0));
    hub.end(0, End::Quiet);
    assert!(hub.seats[0].connection.is_none());
    hub.stir(old);
    hub.look().expect("looked");
    assert!(hub.busy.is_empty(), "nobody sits there");
    let worker = hub.worker.clone();
    assert_eq!(worker.node.clients.len(), 1);
    assert_ne!(token(0, hub.seats[0].left), old, "who comes next is called otherwise");
    assert_eq!(hub.free, [0]);
}

#[tokio::test]
async fn a_closed_door_ends_the_hub_when_all_is_sent() {
    let (hub, mut clients) = connected(1).await;
    let door = hub.door().clone();
    clients[0].write_all(b"PING\r\n").await.expect("sent");
    door.close();
    let tasks = LocalSet::new();
    tasks.run_until(hub.run()).await.expect("no failure");
    let mut all = String::new();
    clients[0].read_to_string(&mut all).await.expect("read");
    assert_eq!(all, "+PONG\r\n");
}
