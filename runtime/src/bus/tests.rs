//! Both ends over loopback sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use torc_protocol::bus::{FrameKind, MAX_FRAME_BYTES, encode_frame};
use torc_protocol::handshake::{Role, Secret};

use super::*;
use crate::listen::{Address, SocketOptions, bind};
use crate::shutdown::Shutdown;

const WAIT: Duration = Duration::from_secs(30);

fn identity(secret: &[u8], name: &str) -> BusIdentity {
    BusIdentity { secret: Secret::new(secret).unwrap(), role: Role::Node, name: name.to_owned() }
}

fn ours(name: &str) -> BusIdentity {
    identity(b"0123456789abcdef", name)
}

fn start(server: BusServer, port: u16) -> (String, Shutdown, JoinHandle<std::io::Result<()>>) {
    let listener = bind(&Address::tcp("127.0.0.1", port), &SocketOptions::default()).unwrap();
    let address = listener.local_address().to_string();
    let shutdown = Shutdown::new();
    let task = tokio::spawn(server.serve(listener, shutdown.clone()));
    (address, shutdown, task)
}

fn echo() -> BusServer {
    BusServer::new(ours("1@1"), BusLimits::default())
        .on_call(FrameKind::Admin, |peer, body| async move {
            match &body[..] {
                b"fail" => Err("as you wish".to_owned()),
                b"who" => Ok(Bytes::from(format!("{:?}", peer.member()))),
                b"slow" => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok(body)
                }
                b"never" => std::future::pending().await,
                _ => Ok(body),
            }
        })
        .on_stream(FrameKind::Watch, |mut conn, first| async move {
            let _ = conn.write_frame(FrameKind::MapUpdate, &first.payload).await;
            while let Ok(Some(frame)) = conn.read_frame().await {
                let _ = conn.write_frame(FrameKind::MapUpdate, &frame.payload).await;
            }
        })
}

async fn ask(client: &BusClient, text: &'static [u8]) -> Result<Bytes, CallError> {
    client.call(FrameKind::Admin, Bytes::from_static(text), WAIT).await
}

#[tokio::test]
async fn calls_share_a_connection_and_are_told_apart() {
    let (address, _shutdown, _task) = start(echo(), 0);
    let client = BusClient::new(address, BusIdentity::node(ours("").secret, 7, 9), ClientConfig::default());
    let slow = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, b"slow").await }
    });
    assert_eq!(ask(&client, b"quick").await.unwrap(), "quick");
    assert_eq!(ask(&client, b"who").await.unwrap(), "Some((7, 9))");
    assert!(
        matches!(ask(&client, b"fail").await, Err(CallError::Refused { reason, .. }) if reason == "as you wish")
    );
    assert_eq!(slow.await.unwrap().unwrap(), "slow");
    let soon = Duration::from_millis(50);
    let never = client.call(FrameKind::Admin, Bytes::from_static(b"never"), soon).await;
    assert!(matches!(never, Err(CallError::Timeout { .. })));
    assert_eq!(client.call(FrameKind::Ping, Bytes::from_static(b"hi"), WAIT).await.unwrap(), "hi");
    let unknown = client.call(FrameKind::Seal, Bytes::new(), WAIT).await;
    assert!(matches!(unknown, Err(CallError::Refused { .. })), "{unknown:?}");
    let large = Bytes::from(vec![0; MAX_FRAME_BYTES]);
    assert!(matches!(client.call(FrameKind::Admin, large, WAIT).await, Err(CallError::TooLarge(_))));
    let big = Bytes::from(vec![7; 3 * 1024 * 1024]);
    assert_eq!(client.call(FrameKind::Admin, big.clone(), WAIT).await.unwrap(), big);
}

#[tokio::test]
async fn another_secret_is_refused_by_both_sides() {
    let (address, _shutdown, _task) = start(echo(), 0);
    let error = dial(&address, &identity(b"another secret!!", "2@2"), WAIT).await.unwrap_err();
    assert!(error.to_string().contains("secret"), "{error}");

    // A client that does not check the server's proof gets no further either.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let mut bytes = Vec::new();
    let hello = torc_protocol::handshake::ClientHandshake::new(
        Secret::new(b"another secret!!").unwrap(),
        Role::Node,
        "2@2",
        [0; 16],
    );
    let mut payload = Vec::new();
    hello.hello().encode(&mut payload);
    encode_frame(&mut bytes, FrameKind::HelloRequest, &payload).unwrap();
    encode_frame(&mut bytes, FrameKind::Auth, &[0; 32]).unwrap();
    encode_frame(&mut bytes, FrameKind::Admin, b"\x01\0\0\0\0\0\0\0quick").unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("does not know the cluster secret") && !text.contains("quick"), "{text}");
}

#[tokio::test]
async fn nothing_is_answered_before_the_handshake() {
    let limits = BusLimits { pending: 1, handshake_time: Duration::from_millis(300), ..BusLimits::default() };
    let server = BusServer::new(ours("1@1"), limits);
    let (address, _shutdown, _task) = start(server, 0);
    for kind in [FrameKind::Ping, FrameKind::Admin, FrameKind::Raft, FrameKind::Watch, FrameKind::AuthOk] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, kind, b"\x01\0\0\0\0\0\0\0x").unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        // A word that it is out of order, or (the place of the last one not yet free) nothing.
        assert!(answer.is_empty() || answer[4] == FrameKind::Refused.number(), "{kind:?}: {answer:?}");
    }
    // A large length before the handshake ends the connection at once; a silent one in its time.
    for bytes in [&b"\xff\xff\xff\x00\x01"[..], &b""[..], &b"GET / HTTP/1.1\r\n\r\n"[..]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_stream_belongs_to_its_handler_and_can_change_threads() {
    let (address, _shutdown, _task) = start(echo(), 0);
    let mut conn = dial(&address, &ours("3@1"), WAIT).await.unwrap();
    conn.write_frame(FrameKind::Watch, b"one").await.unwrap();
    assert_eq!(conn.expect_frame().await.unwrap().payload, "one");
    let detached = conn.detach().unwrap();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut conn = detached.attach().unwrap();
            conn.write_frame(FrameKind::Watch, b"two").await.unwrap();
            conn.expect_frame().await.unwrap()
        })
    });
    let frame = tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
    assert_eq!((frame.kind, &frame.payload[..]), (FrameKind::MapUpdate, &b"two"[..]));
}

#[tokio::test]
async fn a_kind_that_nobody_serves_is_refused_in_words() {
    let (address, _shutdown, _task) = start(echo(), 0);
    let mut conn = dial(&address, &ours("3@1"), WAIT).await.unwrap();
    conn.write_frame(FrameKind::ReplicaHello, b"").await.unwrap();
    let frame = conn.expect_frame().await.unwrap();
    assert_eq!(frame.kind, FrameKind::Refused);
    assert!(String::from_utf8_lossy(&frame.payload).contains("ReplicaHello"));
    assert!(conn.read_frame().await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_comes_back_after_its_peer_does() {
    let (address, shutdown, task) = start(echo(), 0);
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let config = ClientConfig { longest_pause: Duration::from_millis(100), ..ClientConfig::default() };
    let client = BusClient::new(address, ours("4@1"), config);
    ask(&client, b"x").await.unwrap();
    shutdown.trigger();
    task.await.unwrap().unwrap();
    while ask(&client, b"x").await.is_ok() {}
    assert!(matches!(ask(&client, b"x").await, Err(CallError::Unreachable { .. })));

    let (_address, _shutdown, _task) = start(echo(), port);
    let again = async {
        while ask(&client, b"x").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT, again).await.expect("the client never came back");
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let config =
        ClientConfig { connect_time: WAIT, silence: Duration::from_millis(100), ..ClientConfig::default() };
    let client = BusClient::new(address, ours("5@1"), config);
    let accepted = AtomicUsize::new(0);
    let serve = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            accepted.fetch_add(1, Ordering::SeqCst);
            let conn =
                super::handshake::as_server(super::conn::RawConn::new(stream), &ours("1@1")).await.unwrap();
            // Authenticated, and then mute.
            std::mem::forget(Arc::new(conn));
        }
    };
    let calls = async {
        for _ in 0..2 {
            assert!(matches!(ask(&client, b"x").await, Err(CallError::Unreachable { .. })));
        }
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = calls => {}
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 2);
}
