//! No internal door answers without the cluster secret: not the bus, not the commands of proxies.

// Tests wait on real processes by real time.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use torc_protocol::bus::{FrameKind, HEADER_BYTES, MAX_FRAME_BYTES, decode_header, encode_frame};
use torc_protocol::handshake::{ClientHandshake, HelloReply, Role, Secret, VERSION};
use torc_tests::client::{Connection, REPLY_DEADLINE, encode};
use torc_tests::cluster::{Cluster, Entry};
use torc_tests::steps::Steps;

const NONCE: [u8; 16] = *b"sixteen bytes ..";

/// A raw connection to the bus.
struct Bus(TcpStream);

impl Bus {
    fn open(address: SocketAddr) -> Bus {
        let socket = TcpStream::connect_timeout(&address, REPLY_DEADLINE).expect("the bus listens");
        socket.set_read_timeout(Some(REPLY_DEADLINE)).expect("set");
        Bus(socket)
    }

    fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        let mut frame = Vec::new();
        encode_frame(&mut frame, kind, payload).expect("a short frame");
        // It may have hung up already.
        let _ = self.0.write_all(&frame);
    }

    /// The next frame; `None` when the connection is closed.
    fn read(&mut self) -> Option<(FrameKind, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact(&mut header).ok()?;
        let header = decode_header(header, MAX_FRAME_BYTES).expect("the bus sends frames");
        let mut payload = vec![0; header.payload_bytes];
        self.0.read_exact(&mut payload).ok()?;
        Some((header.kind, payload))
    }

    /// Everything until the connection is closed must be refusals.
    fn expect_closed(&mut self, what: &str) {
        while let Some((kind, payload)) = self.read() {
            let text = String::from_utf8_lossy(&payload).into_owned();
            assert_eq!(kind, FrameKind::Refused, "{what}: {text}");
        }
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("{what}: not closed but {other:?}"),
        }
    }
}

fn handshake(secret: &Secret) -> (ClientHandshake, Vec<u8>) {
    let handshake = ClientHandshake::new(secret.clone(), Role::Tool, "test", NONCE);
    let mut hello = Vec::new();
    handshake.hello().encode(&mut hello);
    (handshake, hello)
}

/// Goes through the handshake with that secret up to the proof; the connection and the proof.
fn prove(address: SocketAddr, secret: &Secret) -> (Bus, [u8; 32]) {
    let (handshake, hello) = handshake(secret);
    let mut bus = Bus::open(address);
    bus.send(FrameKind::HelloRequest, &hello);
    let (kind, payload) = bus.read().expect("an answer to the first step");
    assert_eq!(kind, FrameKind::HelloReply);
    let proof =
        handshake.prove(&HelloReply::decode(&payload).expect("it is whole")).expect("the secret is right");
    (bus, proof)
}

fn the_bus(entry: &Entry, secret: &Secret) {
    let all = || FrameKind::ALL.iter().copied();
    // Any kind but the first step, without a handshake.
    for kind in all().filter(|kind| *kind != FrameKind::HelloRequest) {
        let mut bus = Bus::open(entry.bus());
        bus.send(kind, &[0; 64]);
        bus.expect_closed(&format!("{kind:?} before the handshake"));
    }
    // Any kind after the first step, without a proof.
    for kind in all().filter(|kind| *kind != FrameKind::Auth) {
        let (mut bus, _) = prove(entry.bus(), secret);
        bus.send(kind, &[0; 64]);
        bus.expect_closed(&format!("{kind:?} without a proof"));
    }
    // A wrong proof, one of another length, and none at all.
    for proof in [vec![7; 32], vec![7; 31], Vec::new()] {
        let (mut bus, _) = prove(entry.bus(), secret);
        bus.send(FrameKind::Auth, &proof);
        bus.expect_closed("a wrong proof");
    }
    // The proof of one connection, replayed on another with the same nonce of the client.
    let (mut first, proof) = prove(entry.bus(), secret);
    first.send(FrameKind::Auth, &proof);
    assert_eq!(first.read().map(|(kind, _)| kind), Some(FrameKind::AuthOk), "the right proof opens the bus");
    let (mut second, _) = prove(entry.bus(), secret);
    second.send(FrameKind::Auth, &proof);
    second.expect_closed("a replayed proof");
    // The server's own proof, sent back.
    let (_, hello) = handshake(secret);
    let mut bus = Bus::open(entry.bus());
    bus.send(FrameKind::HelloRequest, &hello);
    let (_, payload) = bus.read().expect("an answer");
    bus.send(FrameKind::Auth, &HelloReply::decode(&payload).expect("it is whole").proof);
    bus.expect_closed("a reflected proof");
    // Bytes of all kinds.
    let endless = [u32::MAX.to_le_bytes().as_slice(), &[1]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"*1\r\n$4\r\nPING\r\n", &[0; 64], &[0xff; 64], &endless] {
        let mut bus = Bus::open(entry.bus());
        let _ = bus.0.write_all(bytes);
        bus.expect_closed(&String::from_utf8_lossy(bytes));
    }
}

fn unknown(connection: &mut Connection, args: &[&[u8]]) {
    let reply = connection.call(args).expect("an answer");
    let text = reply.text().unwrap_or_default();
    assert!(
        reply.is_error() && text.contains("unknown command"),
        "{}: {text}",
        String::from_utf8_lossy(&encode(args))
    );
}

/// What a client without the handshake may not do, on the RESP port of a proxy or node.
fn commands(entry: &Entry) {
    let mut connection = entry.connect();
    for args in [
        &[&b"CTX"[..], &[0; 32], b"GET", b"k"][..],
        &[b"CTX", b"", b"PING"],
        &[b"CTX"],
        &[b"MC", b"get k"],
        &[b"TORC.APPLY", b"x"],
    ] {
        unknown(&mut connection, args);
    }
    // The same inside a transaction and a script.
    assert!(!connection.call(&["MULTI"]).expect("an answer").is_error());
    unknown(&mut connection, &[b"CTX", &[0; 32], b"SET", b"k", b"v"]);
    let reply = connection.call(&["EXEC"]).expect("an answer").text().unwrap_or_default();
    assert!(reply.starts_with("EXECABORT"), "{reply}");
    assert!(!connection.call(&["PING"]).expect("an answer").is_error());
}

/// The handshake of proxies on a node's RESP port.
fn proxy_handshake(entry: &Entry) {
    let nonce = "00".repeat(16);
    let version = VERSION.to_string();
    let hello = ["TORC.HELLO", &version, "proxy", "test", &nonce];
    for proof in ["00".repeat(32), "00".repeat(31), String::new(), "no digits".to_owned()] {
        let mut connection = entry.connect();
        let reply = connection.call(&hello).expect("an answer");
        assert_eq!(reply.children().map(<[_]>::len), Some(3), "{reply:?}");
        let reply = connection.call(&["TORC.AUTH", &proof]).expect("an answer");
        assert!(reply.is_error(), "{reply:?}");
        let text = connection.send_command(&["CTX", "", "PING"]).and_then(|()| connection.read_frame());
        if let Ok(text) = text {
            assert!(text.starts_with(b"-"), "{}", String::from_utf8_lossy(&text));
        }
    }
    // Out of order, and in a version of tomorrow.
    let reply = entry.connect().call(&["TORC.AUTH", &"00".repeat(32)]).expect("an answer");
    assert!(reply.is_error(), "{reply:?}");
    let reply = entry.connect().call(&["TORC.HELLO", "9", "proxy", "test", &nonce]).expect("an answer");
    assert!(reply.text().is_some_and(|text| text.contains("version")), "{reply:?}");
}

#[test]
fn no_internal_door_opens_without_the_secret() {
    let mut cluster = Cluster::start(1);
    let file = cluster.dir().join("cluster.secret");
    let text = std::fs::read_to_string(&file).expect("the secret");
    let secret = Secret::from_hex(&text).expect("it is whole");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("it is there"));
    assert_eq!(mode & 0o777, 0o600);
    let (proxy, primary, replica) = (cluster.proxy(), cluster.primary(0), cluster.replica(0));
    let mut steps = Steps::default();
    steps.step("the bus of the primary", || the_bus(&primary, &secret));
    steps.step("the bus of the replica", || the_bus(&replica, &secret));
    steps.step("internal commands at the proxy", || commands(&proxy));
    steps.step("internal commands at a node", || commands(&primary));
    steps.step("the proxy's handshake", || proxy_handshake(&primary));
    steps.step("the secret is in no log and on no command line", || {
        for entry in cluster.file().processes {
            let log = std::fs::read_to_string(&entry.log).expect("a log");
            let line = torc_tests::cluster::command_line(entry.running_pid()).join(" ");
            assert!(!log.contains(text.trim()) && !line.contains(text.trim()), "{}", entry.name);
        }
    });
    // None of it has harmed anybody.
    steps.step("the cluster works on", || {
        assert!(!cluster.connect().call(&["SET", "k", "v"]).expect("an answer").is_error());
        cluster.wait_in_sync(0, 2);
    });
    steps.finish();
    cluster.stop(Signal::INT);
}
