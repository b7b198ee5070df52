//! The handshake over a socket, both sides. The rules are `torc_protocol::handshake`'s.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use torc_protocol::bus::FrameKind;
use torc_protocol::handshake::{
    ClientHandshake, HandshakeError, Hello, HelloReply, Nonce, Proof, Role, ServerHandshake,
};

use super::conn::{BusConn, Frame, RawConn};
use super::error::ConnError;
use super::identity::{BusIdentity, BusPeer};
use crate::datadir::random_bytes;
use crate::listen::SocketOptions;

/// Keepalive of bus connections: a peer that vanished without a word is found by it at the latest.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Connects to `address` (`HOST:PORT`) and proves our identity, all within `limit`.
///
/// Who listens there has proved that it knows the secret when this returns; it does not say its
/// name, so the peer is a node called by its address.
pub async fn dial(address: &str, identity: &BusIdentity, limit: Duration) -> Result<BusConn, ConnError> {
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        set_options(&stream);
        as_client(RawConn::new(stream), address, identity).await
    };
    timeout(limit, connect).await.unwrap_or(Err(ConnError::Timeout(limit)))
}

pub(super) fn set_options(stream: &TcpStream) {
    let options = SocketOptions { keepalive: Some(KEEPALIVE), ..SocketOptions::default() };
    options.apply_tcp(SockRef::from(stream));
}

async fn as_client(mut raw: RawConn, address: &str, identity: &BusIdentity) -> Result<BusConn, ConnError> {
    let handshake =
        ClientHandshake::new(identity.secret.clone(), identity.role, &identity.name, new_nonce()?);
    let mut hello = Vec::new();
    handshake.hello().encode(&mut hello);
    raw.writer.write_frame(FrameKind::HelloRequest, &hello).await?;
    let reply = HelloReply::decode(&expect(&mut raw, FrameKind::HelloReply).await?.payload)?;
    let proof = handshake.prove(&reply)?;
    raw.writer.write_frame(FrameKind::Auth, &proof).await?;
    expect(&mut raw, FrameKind::AuthOk).await?;
    let peer = BusPeer { role: Role::Node, name: address.to_owned(), address: raw.peer_address()? };
    Ok(raw.authenticated(peer))
}

/// Lets a peer prove itself. A failure is told to the peer in words.
pub(super) async fn as_server(mut raw: RawConn, identity: &BusIdentity) -> Result<BusConn, ConnError> {
    match prove_client(&mut raw, identity).await {
        Ok(peer) => {
            raw.writer.write_frame(FrameKind::AuthOk, &[]).await?;
            Ok(raw.authenticated(peer))
        }
        Err(ConnError::Handshake(error)) => {
            // Best effort: the error that matters is the handshake's.
            let _ = raw.writer.write_frame(FrameKind::Refused, error.to_string().as_bytes()).await;
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}

async fn prove_client(raw: &mut RawConn, identity: &BusIdentity) -> Result<BusPeer, ConnError> {
    let hello = Hello::decode(&expect(raw, FrameKind::HelloRequest).await?.payload)?;
    let (handshake, reply) = ServerHandshake::accept(identity.secret.clone(), hello, new_nonce()?)?;
    let mut payload = Vec::new();
    reply.encode(&mut payload);
    raw.writer.write_frame(FrameKind::HelloReply, &payload).await?;
    let auth = expect(raw, FrameKind::Auth).await?;
    let proof: &Proof = auth
        .payload
        .as_ref()
        .try_into()
        .map_err(|_| HandshakeError::Malformed("wrong length of the proof"))?;
    let peer = handshake.finish(proof)?;
    Ok(BusPeer { role: peer.role, name: peer.name, address: raw.peer_address()? })
}

async fn expect(raw: &mut RawConn, kind: FrameKind) -> Result<Frame, ConnError> {
    let frame = raw.reader.expect_frame().await?;
    if frame.kind == kind {
        return Ok(frame);
    }
    Err(match frame.kind {
        FrameKind::Refused => HandshakeError::Refused(String::from_utf8_lossy(&frame.payload).into_owned()),
        _ => HandshakeError::OutOfOrder,
    }
    .into())
}

fn new_nonce() -> io::Result<Nonce> {
    let mut nonce = Nonce::default();
    random_bytes(&mut nonce)?;
    Ok(nonce)
}
