use std::io::{Read, Write};
use std::time::Duration;

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
    let (hub, clients, accepted) = accepted(Settings::default(), count).await;
    accepted.into_iter().for_each(|accepted| hub.door().enter(Arrival::Fresh(accepted)));
    (hub, clients)
}

/// A hub, `count` clients, and the other ends of their connections.
async fn accepted(settings: Settings, count: usize) -> (Hub, Vec<TcpStream>, Vec<Accepted<Protocol>>) {
    let node = Node::new(settings, 1, false, KeyHasher::new(1), clock::unix_ms(), [0; 20], None);
    let hub = Hub::new(Rc::new(Worker::new(node, 0, 1))).expect("a hub");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let limit = ConnectionLimit::new(count);
    let (mut clients, mut all) = (Vec::new(), Vec::new());
    for _ in 0..count {
        clients.push(TcpStream::connect(address).await.expect("connected"));
        let (stream, peer) = listener.accept().await.expect("accepted");
        let (stream, peer) = (StdStream::Tcp(stream.into_std().expect("a socket")), PeerAddr::Tcp(peer));
        let (tag, permit) = (Protocol::Resp, limit.try_take().expect("a place"));
        all.push(Accepted { stream, peer, tag, permit });
    }
    (hub, clients, all)
}

/// Clients that talk from a thread of their own, since a script keeps the hub's.
struct Talk(Vec<std::net::TcpStream>);

impl Talk {
    fn new(clients: Vec<TcpStream>) -> Talk {
        let blocking = |client: TcpStream| {
            let client = client.into_std().expect("a socket");
            client.set_nonblocking(false).expect("set");
            client.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
            client
        };
        Talk(clients.into_iter().map(blocking).collect())
    }

    fn send(&mut self, client: usize, request: &str) {
        self.0[client].write_all(format!("{request}\r\n").as_bytes()).expect("sent");
    }

    fn line(&mut self, client: usize) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0[client].read_exact(&mut byte).expect("read");
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    fn ask(&mut self, client: usize, request: &str) -> String {
        self.send(client, request);
        self.line(client)
    }
}

#[tokio::test]
async fn a_script_that_goes_on_keeps_nobody_from_an_answer() {
    const BUSY: &str = torc_protocol::error::BUSY_SCRIPT;
    let settings = Settings { busy_reply_ms: 100, ..Settings::default() };
    let (hub, clients, mut accepted) = accepted(settings, 6).await;
    let late = accepted.pop().expect("the last of them");
    accepted.into_iter().for_each(|accepted| hub.door().enter(Arrival::Fresh(accepted)));
    let (acceptor, fresh) = mpsc::channel(1);
    let hub = hub.with_acceptor(Rc::new(RefCell::new(fresh)));
    let door = hub.door().clone();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let talk = std::thread::spawn(move || {
        let mut talk = Talk::new(clients);
        assert_eq!(talk.ask(1, "MULTI"), "+OK");
        assert_eq!(talk.ask(1, "SET k v"), "+QUEUED");
        assert_eq!(talk.ask(2, "WATCH k"), "+OK");
        talk.send(3, "BLPOP list 0");
        assert_eq!(talk.ask(2, "PING"), "+PONG", "and the other one waits");
        talk.send(0, "EVAL 'while true do end' 0\r\nECHO behind");
        // The script is heard of when it has been running for a while.
        while talk.ask(2, "PING") == "+PONG" {}
        assert_eq!(talk.ask(2, "GET k"), format!("-{BUSY}"));
        assert_eq!(talk.ask(1, "SET k w"), format!("-{BUSY}"));
        assert_eq!(talk.ask(1, "EXEC"), format!("-EXECABORT Transaction discarded because of: {BUSY}"));
        assert_eq!(talk.ask(1, "MULTI"), "+OK");
        assert_eq!(talk.ask(1, "GET k"), format!("-{BUSY}"));
        assert_eq!(talk.ask(1, "DISCARD"), "+OK");
        assert_eq!(talk.ask(2, "UNWATCH"), "+OK");
        assert_eq!(talk.ask(2, "WATCH k"), format!("-{BUSY}"));
        // Who leaves, and who said something where the script is.
        drop(talk.0.remove(4));
        talk.send(0, "ECHO later");
        assert_eq!(talk.ask(2, "QUIT"), "+OK");
        assert_eq!(talk.0[2].read(&mut [0]).expect("the end"), 0);
        // Somebody new has the script ended.
        acceptor.blocking_send(late).expect("the hub takes it");
        assert_eq!(talk.ask(4, "SCRIPT KILL"), "+OK");
        assert!(talk.line(0).starts_with("-ERR Script killed by user"));
        for word in ["behind", "later"] {
            assert_eq!((talk.line(0), talk.line(0)), (format!("${}", word.len()), word.to_owned()));
        }
        assert_eq!(talk.ask(1, "GET k"), "$-1");
        assert_eq!(talk.ask(4, "RPUSH list x"), ":1");
        assert_eq!((talk.line(3), talk.line(3)), ("*2".to_owned(), "$4".to_owned()));
        drop(tell);
    });
    let tasks = LocalSet::new();
    let hub = tasks.spawn_local(hub.run());
    tasks
        .run_until(async move {
            let _ended = told.await;
            door.close();
            assert!(hub.await.expect("no panic").is_ok());
        })
        .await;
    talk.join().expect("all was answered");
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
    let (hub, mut clients) = connected(2).await;
    let hub = RefCell::new(hub);
    hub.borrow_mut().look_at_others();
    assert!(hub.borrow_mut().look_at_sockets().expect("looked") > 0);
    Hub::turn(&hub);
    let mut hub = hub.into_inner();
    let old = token(0, hub.seats[0].left);
    drop(clients.remove(0));
    hub.end(0, End::Quiet);
    assert!(hub.seats[0].connection.is_none());
    hub.stir(old);
    hub.look_at_sockets().expect("looked");
    hub.look_at_others();
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
