use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use torc_protocol::handshake::Secret;
use torc_runtime::listen::acceptor::ConnectionLimit;
use torc_runtime::listen::{PeerAddr, StdStream};

use super::execute::ROOM_PATIENCE;
use super::stranger::DENIED;
use super::*;
use crate::conn::hub::{Arrival, Hub};
use crate::effect::Records;
use crate::exec::testing::Harness;
use crate::node::Node;
use crate::store::KeyHasher;

/// Everything that a client from `peer` hears when it says `request` and then no more.
async fn heard(secret: Option<Secret>, settings: Settings, peer: &str, request: &str) -> String {
    let node = Node::new(settings, 1, false, KeyHasher::new(1), clock::unix_ms(), [0; 20], secret);
    heard_of(node, Protocol::Resp, peer, request).await
}

/// The same, of a node that is looked at afterwards.
async fn heard_of(node: Arc<Node>, protocol: Protocol, peer: &str, request: &str) -> String {
    let worker = Rc::new(Worker::new(node, 0, 1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let mut client = TcpStream::connect(address).await.expect("connected");
    let (stream, _) = listener.accept().await.expect("accepted");
    let accepted = Accepted {
        stream: StdStream::Tcp(stream.into_std().expect("a socket")),
        peer: PeerAddr::Tcp(peer.parse().expect("an address")),
        tag: protocol,
        permit: ConnectionLimit::new(1).try_take().expect("a place"),
    };
    let hub = Hub::new(worker).expect("a hub");
    hub.door().enter(Arrival::Fresh(accepted));
    let tasks = LocalSet::new();
    tasks.spawn_local(hub.run());
    let talk = async move {
        client.write_all(request.as_bytes()).await.expect("sent");
        client.shutdown().await.expect("half closed");
        let mut all = Vec::new();
        // A reset behind the last word is an end, too.
        let _ = client.read_to_end(&mut all).await;
        String::from_utf8_lossy(&all).into_owned()
    };
    tasks.run_until(talk).await
}

fn secret() -> Option<Secret> {
    Some(Secret::new(&[7; 32]).expect("long enough"))
}

fn denied() -> String {
    String::from_utf8_lossy(DENIED).into_owned()
}

const STRANGER: &str = "192.0.2.7:5000";

#[tokio::test]
async fn strangers_need_a_password_or_the_secret() {
    let none = Settings::default;
    assert_eq!(heard(None, none(), "127.0.0.1:5000", "PING\r\n").await, "+PONG\r\n");
    assert_eq!(heard(None, none(), STRANGER, "PING\r\n").await, denied());
    let open = Settings { protected_mode: false, ..none() };
    assert_eq!(heard(None, open, STRANGER, "PING\r\n").await, "+PONG\r\n");
    let locked = Settings { requirepass: "pw".into(), ..none() };
    assert!(heard(None, locked, STRANGER, "PING\r\n").await.starts_with("-NOAUTH"));
    assert_eq!(heard(secret(), none(), STRANGER, "PING\r\n").await, denied());
}

#[tokio::test]
async fn nothing_slips_through_behind_a_handshake() {
    let version = torc_protocol::handshake::VERSION;
    let hello = format!(
        "*5\r\n$10\r\nTORC.HELLO\r\n$1\r\n{version}\r\n$5\r\nproxy\r\n$1\r\np\r\n$32\r\n00112233445566778899aabbccddeeff\r\n"
    );
    for smuggled in ["GET k\r\n", "*0\r\nGET k\r\n", "\r\nSET k v\r\n", "*1\r\n$4\r\nPING\r\n"] {
        let said = heard(secret(), Settings::default(), STRANGER, &format!("{hello}{smuggled}")).await;
        assert!(said.starts_with("*3\r\n") && said.ends_with(&denied()), "{smuggled:?}: {said}");
        let said = heard(secret(), Settings::default(), STRANGER, smuggled).await;
        assert_eq!(said, denied(), "{smuggled:?}");
    }
}

#[tokio::test]
async fn what_is_parsed_ahead_runs_in_its_order() {
    // What stands in database 0 and 1; the one that was chosen last counts, not that at the time of the parsing.
    let mut stands = [None, None];
    let (mut request, mut replies, mut db) = (String::new(), String::new(), 0);
    let bulk = |value: Option<i32>| match value {
        Some(n) => format!("${}\r\n{n}\r\n", n.to_string().len()),
        None => "$-1\r\n".to_string(),
    };
    for n in 0..50 {
        let next = n as usize / 3 % 2;
        request += &format!("SET k {n}\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n\r\nSELECT {next}\r\nGET k\r\n");
        stands[db] = Some(n);
        replies += &format!("+OK\r\n{}+OK\r\n{}", bulk(stands[db]), bulk(stands[next]));
        db = next;
    }
    let said = heard(None, Settings::default(), "127.0.0.1:5000", &request).await;
    assert_eq!(said, replies);
}

#[tokio::test]
async fn what_is_no_request_ends_only_what_follows() {
    let request = "SET k v\r\nGET k\r\n*1\r\n!4\r\nPING\r\nGET k\r\n";
    let said = heard(None, Settings::default(), "127.0.0.1:5000", request).await;
    assert_eq!(said, "+OK\r\n$1\r\nv\r\n-ERR Protocol error: expected '$', got '!'\r\n");
}

#[tokio::test]
async fn a_password_lifts_the_bounds_for_what_follows_it() {
    let locked = || Settings { requirepass: "pw".into(), ..Settings::default() };
    let big = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n{}\r\n", "x".repeat(20_000));
    let said = heard(None, locked(), "127.0.0.1:5000", &format!("AUTH pw\r\n{big}STRLEN k\r\n")).await;
    assert_eq!(said, "+OK\r\n+OK\r\n:20000\r\n");
    let said = heard(None, locked(), "127.0.0.1:5000", &format!("AUTH no\r\n{big}")).await;
    assert!(said.ends_with("-ERR Protocol error: unauthenticated bulk length\r\n"), "{said}");
}

const LONG: usize = 3 << 20;

fn set_long(key: &str, byte: &str, len: usize) -> String {
    format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${len}\r\n{}\r\n", byte.repeat(len))
}

fn plain_node() -> Arc<Node> {
    Node::new(Settings::default(), 1, false, KeyHasher::new(1), clock::unix_ms(), [0; 20], None)
}

/// Whether the value of a key is in the buffer in which it came; the account is right in any case.
fn is_adopted(node: &Node, key: &str) -> bool {
    let key = node.store.key(key.as_bytes());
    let stripe = node.store.stripe(crate::store::stripe_of(key.slot));
    assert_eq!(stripe.used_bytes(), stripe.recount().0);
    stripe.peek(0, &key).expect("a key").is_adopted()
}

#[tokio::test]
async fn long_values_stay_where_they_came() {
    let with_expiry = |options: &str| {
        let value = "x".repeat(LONG);
        format!("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n${LONG}\r\n{value}\r\n{options}")
    };
    let item = format!("set k 5 100 {LONG}\r\n{}\r\n", "x".repeat(LONG));
    for (protocol, request, reply) in [
        (Protocol::Resp, set_long("k", "x", LONG), "+OK\r\n"),
        (Protocol::Resp, set_long("k", "x", LONG) + "PING\r\n", "+OK\r\n+PONG\r\n"),
        (Protocol::Resp, with_expiry("$2\r\nEX\r\n$3\r\n100\r\n"), "+OK\r\n"),
        (Protocol::Resp, "PING\r\n".to_owned() + &set_long("k", "x", LONG), "+PONG\r\n+OK\r\n"),
        (Protocol::Memcached, item, "STORED\r\n"),
    ] {
        let settings = Settings { max_item_bytes: 8 << 20, ..Settings::default() };
        let node = Node::new(settings, 1, false, KeyHasher::new(1), clock::unix_ms(), [0; 20], None);
        assert_eq!(heard_of(node.clone(), protocol, "127.0.0.1:5000", &request).await, reply);
        assert!(is_adopted(&node, "k"), "{protocol:?} {reply}");
    }
}

#[tokio::test]
async fn long_values_are_changed_and_replaced_as_others_are() {
    // A long one alone, two in a row, a change of one, a copy, and one again in the place of another.
    let request = [
        &set_long("a", "a", LONG),
        "PING\r\n",
        &set_long("b", "b", LONG),
        &set_long("c", "c", 2 * LONG),
        "APPEND b tail\r\nSETRANGE a 1 xy\r\nCOPY c d\r\nRENAME d f\r\n",
        &set_long("c", "e", LONG),
        "GETRANGE a 0 4\r\nGETRANGE b -6 -1\r\nSTRLEN c\r\nGETRANGE c -1 -1\r\nSTRLEN f\r\nGETRANGE f 0 1\r\n",
        "OBJECT ENCODING c\r\n",
    ];
    let node = plain_node();
    let said = heard_of(node.clone(), Protocol::Resp, "127.0.0.1:5000", &request.concat()).await;
    let ok = "+OK\r\n";
    let strlens = [LONG + 4, LONG, 2 * LONG].map(|len| format!(":{len}\r\n"));
    let replies = [
        ok,
        "+PONG\r\n",
        ok,
        ok,
        &strlens[0],
        &strlens[1],
        ":1\r\n",
        ok,
        ok,
        "$5\r\naxyaa\r\n",
        "$6\r\nbbtail\r\n",
        &strlens[1],
        "$1\r\ne\r\n",
        &strlens[2],
        "$2\r\ncc\r\n",
        "$3\r\nraw\r\n",
    ];
    assert_eq!(said, replies.concat());
    assert!(!is_adopted(&node, "a") && !is_adopted(&node, "b"));
    for key in ["c", "f"] {
        is_adopted(&node, key);
    }
}

/// A primary whose replication has more records to place than it should hold, and how many they are.
fn behind() -> (Arc<Node>, crate::effect::Amount) {
    let node = Harness::primary().node.clone();
    let short = vec![0; crate::shard::MAX_UNPLACED_BYTES + 1];
    let mut records = Records { short, long: Vec::new() };
    let amount = records.amount();
    node.shard.hand_over(0, &mut records);
    (node, amount)
}

/// Has the records placed as soon as a request waits.
fn place_then(node: &Arc<Node>, amount: crate::effect::Amount) -> std::thread::JoinHandle<()> {
    let node = node.clone();
    std::thread::spawn(move || {
        while node.clients.blocked.load(Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        node.shard.placed(amount);
    })
}

#[tokio::test]
async fn writes_wait_for_room_for_their_records() {
    let (node, amount) = behind();
    let placed = place_then(&node, amount);
    let request = "GET k\r\nSET k v\r\nMULTI\r\nAPPEND k w\r\nGET k\r\nEXEC\r\n";
    let said = heard_of(node.clone(), Protocol::Resp, "127.0.0.1:5000", request).await;
    assert_eq!(said, "$-1\r\n+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:2\r\n$2\r\nvw\r\n");
    placed.join().expect("a request has waited");
    assert_eq!(node.clients.blocked.load(Ordering::Relaxed), 0);

    let (node, amount) = behind();
    let placed = place_then(&node, amount);
    let request = "get k\r\nset k 0 0 1\r\nv\r\nget k\r\nget k\r\n";
    let said = heard_of(node.clone(), Protocol::Memcached, "127.0.0.1:5000", request).await;
    let value = "VALUE k 0 1\r\nv\r\nEND\r\n";
    assert_eq!(said, format!("END\r\nSTORED\r\n{value}{value}"));
    placed.join().expect("a request has waited");
}

#[tokio::test]
async fn writes_do_not_wait_for_room_for_ever() {
    let (node, _) = behind();
    let began_ns = clock::boottime_ns();
    let said = heard_of(node, Protocol::Resp, "127.0.0.1:5000", "SET k v\r\nGET k\r\n").await;
    assert_eq!(said, format!("-{}\r\n$-1\r\n", torc_protocol::error::REPLICATION_BEHIND));
    assert!(u128::from(clock::boottime_ns() - began_ns) >= ROOM_PATIENCE.as_nanos());
}

#[tokio::test]
async fn what_a_client_that_went_while_it_was_paused_has_asked_for_is_not_executed() {
    let node = plain_node();
    for bytes in [10, 2 << 20] {
        let value = "x".repeat(bytes);
        let request =
            format!("CLIENT PAUSE 100 WRITE\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${bytes}\r\n{value}\r\n");
        let said = heard_of(node.clone(), Protocol::Resp, "127.0.0.1:5000", &request).await;
        assert_eq!(said, "+OK\r\n");
        let said = heard_of(node.clone(), Protocol::Resp, "127.0.0.1:5000", "EXISTS k\r\n").await;
        assert_eq!(said, ":0\r\n", "{bytes} bytes");
    }
}
