//! Opens a connection to a node: TCP, then the proof of the cluster secret on both sides.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use torc_protocol::context::Context;
use torc_protocol::handshake::{ClientHandshake, HandshakeError, HelloReply, Role};
use torc_protocol::resp::{ProtocolError, Value, request_arg, request_header};
use torc_protocol::trace::Trace;
use torc_runtime::datadir::random_bytes;
use torc_runtime::listen::Stream;

use super::body::write_prefix;
use crate::worker::Worker;

/// The most bytes of a reply.
const MAX_REPLY_BYTES: usize = 64 * 1024;

/// Why a node could not be reached.
#[derive(Debug, Error)]
pub enum DialError {
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The node is not one of ours, or of another version.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The node does not speak RESP.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
}

/// A connection that has proved itself and speaks RESP3.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub stream: Stream,
    /// Its name in logs.
    pub name: u64,
    /// The node's number of it, as CLIENT LIST there has it; 0: not known.
    pub node_id: u64,
    /// Requests that the node has answered on it already.
    pub answered: u64,
}

/// Opens a connection. `probe`: the node must answer a PING on it as well, within the same time.
pub async fn dial(worker: &Rc<Worker>, address: &str, probe: bool) -> Result<Dialled, DialError> {
    let patience = Duration::from_millis(worker.settings().connect_timeout_ms);
    tokio::time::timeout(patience, connect(worker, address, probe)).await.map_err(|_| DialError::Timeout)?
}

/// Asks a node one thing, on a connection of its own; as long as opening one may take.
pub async fn ask(worker: &Rc<Worker>, address: &str, request: &[u8]) -> Result<Value, DialError> {
    let patience = Duration::from_millis(worker.settings().connect_timeout_ms);
    let asked = async {
        let mut stream = connect(worker, address, false).await?.stream;
        stream.write_all(request).await?;
        reply(&mut stream).await
    };
    tokio::time::timeout(patience, asked).await.map_err(|_| DialError::Timeout)?
}

async fn connect(worker: &Rc<Worker>, address: &str, probe: bool) -> Result<Dialled, DialError> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut name, mut node_id) = (0, 0);
    if let Some(secret) = &worker.shared.secret {
        let own_name = &worker.shared.config.name;
        let mut nonce = [0; 16];
        random_bytes(&mut nonce)?;
        name = Trace::connection_of(&nonce);
        let handshake = ClientHandshake::new(secret.clone(), Role::Proxy, own_name, nonce);
        let mut request = Vec::new();
        handshake.hello_request(&mut request);
        stream.write_all(&request).await?;
        let proof = handshake.prove(&HelloReply::from_value(&reply(&mut stream).await?)?)?;
        request.clear();
        ClientHandshake::auth_request(&mut request, &proof);
        stream.write_all(&request).await?;
        let done = reply(&mut stream).await?;
        if let Some(refusal) = done.as_error() {
            return Err(HandshakeError::Refused(refusal.into_owned()).into());
        }
        node_id = done.as_str().and_then(|text| text.strip_prefix("OK ")?.parse().ok()).unwrap_or(0);
    }
    if probe {
        let mut request = Vec::new();
        request_header(&mut request, 3);
        write_prefix(&Context::default(), &mut request);
        request_arg(&mut request, b"PING");
        stream.write_all(&request).await?;
        // Any reply will do: the node executes requests.
        reply(&mut stream).await?;
    }
    Ok(Dialled { stream: Stream::from(stream), name, node_id, answered: u64::from(probe) })
}

/// One reply: the node sends nothing beyond it before it is asked again.
async fn reply(stream: &mut (impl AsyncRead + Unpin)) -> Result<Value, DialError> {
    let mut bytes = Vec::with_capacity(256);
    loop {
        if let Some((value, used)) = Value::decode(&bytes)? {
            if used < bytes.len() {
                return Err(HandshakeError::Malformed("trailing bytes").into());
            }
            return Ok(value);
        }
        if bytes.len() >= MAX_REPLY_BYTES {
            return Err(HandshakeError::Malformed("a reply without an end").into());
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}
