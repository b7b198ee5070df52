//! How two parts of Torc prove the cluster secret to each other, without sending it.
//!
//! ```text
//! client                                               server
//!   TORC.HELLO version role name client-nonce   ──▶
//!                                               ◀──    [version, server-nonce, server-proof]
//!   (checks the server's proof)
//!   TORC.AUTH client-proof                      ──▶    (checks the client's proof)
//!                                               ◀──    OK
//!
//! proof = hex(HMAC-SHA256(secret, "torc-handshake-v1" 0x00 side 0x00 client-nonce server-nonce))
//! side  = "client" | "server"
//! ```
//!
//! The server proves itself first, so that nobody speaks to a stranger. The proofs of the two sides differ, so
//! that neither can be sent back as the other. On the bus the same three records travel as frames
//! ([`Hello::encode`] and so on). Nonces come in as arguments: 16 bytes from the system's generator, new for each
//! connection.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::resp::{Args, ReplyWriter, Value, encode_request};

/// The version of everything that parts of Torc say to each other.
pub const VERSION: u32 = 4;
/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;
/// The longest secret, in bytes.
pub const MAX_SECRET_BYTES: usize = 1024;
/// The longest name of a peer, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Bytes of a proof: HMAC-SHA256.
pub const PROOF_BYTES: usize = 32;

const DOMAIN: &[u8] = b"torc-handshake-v1";

/// Sixteen bytes that were never used before.
pub type Nonce = [u8; 16];

/// Proof of knowing the secret.
pub type Proof = [u8; PROOF_BYTES];

/// The cluster secret. It is never printed.
#[derive(Clone)]
pub struct Secret(Box<[u8]>);

/// Why a text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    #[error("the cluster secret must be given as hexadecimal digits, two for each byte")]
    NotHex,
    #[error("the cluster secret must have between {MIN_SECRET_BYTES} and {MAX_SECRET_BYTES} bytes")]
    Length,
}

impl Secret {
    pub fn new(bytes: &[u8]) -> Result<Secret, SecretError> {
        if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&bytes.len()) {
            Ok(Secret(bytes.into()))
        } else {
            Err(SecretError::Length)
        }
    }

    /// Reads what a secret's file holds: hexadecimal digits, blanks around them ignored.
    pub fn from_hex(text: &str) -> Result<Secret, SecretError> {
        Secret::new(&decode_hex(text.trim().as_bytes()).ok_or(SecretError::NotHex)?)
    }

    /// The text for a secret's file. Whoever calls this must keep it from logs.
    pub fn to_hex(&self) -> String {
        encode_hex(&self.0)
    }

    /// Bytes that only who knows the secret can compute, for one purpose: HMAC-SHA256 over a label. Nothing is learnt
    /// of the secret from them.
    pub fn derive(&self, label: &str) -> [u8; PROOF_BYTES] {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; PROOF_BYTES] };
        mac.update(b"torc-derive-v1");
        mac.update(&[0]);
        mac.update(label.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The proof of one side.
    pub fn proof(&self, side: Side, client: &Nonce, server: &Nonce) -> Proof {
        // HMAC takes a key of any length: it cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return [0; PROOF_BYTES] };
        mac.update(DOMAIN);
        mac.update(&[0]);
        mac.update(side.name().as_bytes());
        mac.update(&[0]);
        mac.update(client);
        mac.update(server);
        mac.finalize().into_bytes().into()
    }

    /// Whether `proof` is right, in a time that does not depend on it.
    pub fn verify(&self, side: Side, client: &Nonce, server: &Nonce, proof: &Proof) -> bool {
        bool::from(self.proof(side, client, server).ct_eq(proof))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// What the side that dials is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Proxy,
    Node,
    Tool,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Proxy, Role::Node, Role::Tool];

    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Proxy => "proxy",
            Role::Node => "node",
            Role::Tool => "tool",
        }
    }

    fn from_bytes(name: &[u8]) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.as_str().as_bytes() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a handshake failed. The connection is closed after it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandshakeError {
    #[error(
        "the peer speaks version {theirs} of the internal protocol, this one version {VERSION}: upgrade the older one"
    )]
    Version { theirs: u32 },
    #[error("the peer does not know the cluster secret, or has another one")]
    WrongProof,
    #[error("the peer's handshake is malformed: {0}")]
    Malformed(&'static str),
    #[error("the peer refused the handshake: {0}")]
    Refused(String),
    #[error("the handshake's steps came out of order")]
    OutOfOrder,
}

/// Who dialled, as it says itself; worth something only after its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub role: Role,
    pub name: String,
}

/// The first step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub version: u32,
    pub peer: Peer,
    pub nonce: Nonce,
}

impl Hello {
    /// Appends the record, as on the bus: version (4 bytes), nonce (16), role, name (each one byte of length and
    /// its text). The name is cut at [`MAX_NAME_BYTES`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        for text in [self.peer.role.as_str(), cut(&self.peer.name)] {
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Hello, HandshakeError> {
        let (version, rest) = version_first(bytes)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(HandshakeError::Malformed("short nonce"))?;
        let (role, rest) = short_text(rest)?;
        let (name, rest) = short_text(rest)?;
        if !rest.is_empty() {
            return Err(HandshakeError::Malformed("trailing bytes"));
        }
        Ok(Hello { version, peer: peer(role, name)?, nonce: *nonce })
    }
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloReply {
    pub version: u32,
    pub nonce: Nonce,
    pub proof: Proof,
}

impl HelloReply {
    /// Appends the record, as on the bus: version (4 bytes), nonce (16), proof (32).
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.proof);
    }

    pub fn decode(bytes: &[u8]) -> Result<HelloReply, HandshakeError> {
        let (version, rest) = version_first(bytes)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(HandshakeError::Malformed("short nonce"))?;
        let proof = rest.try_into().map_err(|_| HandshakeError::Malformed("wrong length of the proof"))?;
        Ok(HelloReply { version, nonce: *nonce, proof })
    }

    /// The reply to `TORC.HELLO`.
    pub fn write(&self, reply: &mut ReplyWriter<'_>) {
        reply.array(3);
        reply.integer(i64::from(self.version));
        reply.bulk(encode_hex(&self.nonce).as_bytes());
        reply.bulk(encode_hex(&self.proof).as_bytes());
    }

    /// Reads the reply to `TORC.HELLO`.
    pub fn from_value(value: &Value) -> Result<HelloReply, HandshakeError> {
        if let Value::Error(text) = value {
            return Err(HandshakeError::Refused(String::from_utf8_lossy(text).into_owned()));
        }
        let Value::Array(items) = value else { return Err(HandshakeError::Malformed("not an array")) };
        let [version, nonce, proof] = &items[..] else {
            return Err(HandshakeError::Malformed("not three elements"));
        };
        let version = version.as_int().and_then(|version| u32::try_from(version).ok());
        let version = version.ok_or(HandshakeError::Malformed("no version"))?;
        same_version(version)?;
        let nonce = nonce.as_bytes().and_then(hex_array).ok_or(HandshakeError::Malformed("no nonce"))?;
        let proof = proof.as_bytes().and_then(hex_array).ok_or(HandshakeError::Malformed("no proof"))?;
        Ok(HelloReply { version, nonce, proof })
    }
}

/// The side that dials.
#[derive(Debug)]
pub struct ClientHandshake {
    secret: Secret,
    hello: Hello,
}

impl ClientHandshake {
    pub fn new(secret: Secret, role: Role, name: &str, nonce: Nonce) -> Self {
        let peer = Peer { role, name: cut(name).to_string() };
        ClientHandshake { secret, hello: Hello { version: VERSION, peer, nonce } }
    }

    /// What to send first.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Appends `TORC.HELLO …`.
    pub fn hello_request(&self, out: &mut Vec<u8>) {
        let version = self.hello.version.to_string();
        let nonce = encode_hex(&self.hello.nonce);
        encode_request(
            out,
            &["TORC.HELLO", &version, self.hello.peer.role.as_str(), &self.hello.peer.name, &nonce],
        );
    }

    /// Checks the server's proof and gives the client's.
    pub fn prove(self, reply: &HelloReply) -> Result<Proof, HandshakeError> {
        same_version(reply.version)?;
        if !self.secret.verify(Side::Server, &self.hello.nonce, &reply.nonce, &reply.proof) {
            return Err(HandshakeError::WrongProof);
        }
        Ok(self.secret.proof(Side::Client, &self.hello.nonce, &reply.nonce))
    }

    /// Appends `TORC.AUTH …`.
    pub fn auth_request(out: &mut Vec<u8>, proof: &Proof) {
        encode_request(out, &["TORC.AUTH", &encode_hex(proof)]);
    }
}

/// The side that listens, after it has answered [`Hello`].
#[derive(Debug)]
pub struct ServerHandshake {
    secret: Secret,
    peer: Peer,
    client: Nonce,
    server: Nonce,
}

impl ServerHandshake {
    /// Answers [`Hello`] with `nonce`, the server's own.
    pub fn accept(
        secret: Secret,
        hello: Hello,
        nonce: Nonce,
    ) -> Result<(ServerHandshake, HelloReply), HandshakeError> {
        same_version(hello.version)?;
        let proof = secret.proof(Side::Server, &hello.nonce, &nonce);
        let reply = HelloReply { version: VERSION, nonce, proof };
        Ok((ServerHandshake { secret, peer: hello.peer, client: hello.nonce, server: nonce }, reply))
    }

    /// Reads the arguments of `TORC.HELLO`; a foreign version is named even when the rest is not understood.
    pub fn parse_hello(args: &Args<'_>) -> Result<Hello, HandshakeError> {
        let text = args.get(1).and_then(|version| std::str::from_utf8(version).ok());
        let version =
            text.and_then(|version| version.parse().ok()).ok_or(HandshakeError::Malformed("no version"))?;
        same_version(version)?;
        let (Some(role), Some(name), Some(nonce), None) =
            (args.get(2), args.get(3), args.get(4), args.get(5))
        else {
            return Err(HandshakeError::Malformed("wrong number of arguments"));
        };
        let nonce = hex_array(nonce).ok_or(HandshakeError::Malformed("no nonce"))?;
        Ok(Hello { version, peer: peer(role, name)?, nonce })
    }

    /// Reads the argument of `TORC.AUTH`.
    pub fn parse_auth(args: &Args<'_>) -> Result<Proof, HandshakeError> {
        args.get(1).and_then(hex_array).ok_or(HandshakeError::Malformed("no proof"))
    }

    /// The name that the connection has in logs; see [`crate::trace`].
    pub fn connection(&self) -> u64 {
        crate::trace::Trace::connection_of(&self.client)
    }

    /// Checks the client's proof: only then is the peer who it says.
    pub fn finish(self, proof: &Proof) -> Result<Peer, HandshakeError> {
        if self.secret.verify(Side::Client, &self.client, &self.server, proof) {
            Ok(self.peer)
        } else {
            Err(HandshakeError::WrongProof)
        }
    }
}

fn same_version(theirs: u32) -> Result<(), HandshakeError> {
    if theirs == VERSION { Ok(()) } else { Err(HandshakeError::Version { theirs }) }
}

fn version_first(bytes: &[u8]) -> Result<(u32, &[u8]), HandshakeError> {
    let (version, rest) = bytes.split_first_chunk().ok_or(HandshakeError::Malformed("no version"))?;
    let version = u32::from_le_bytes(*version);
    same_version(version)?;
    Ok((version, rest))
}

fn short_text(bytes: &[u8]) -> Result<(&[u8], &[u8]), HandshakeError> {
    let (length, rest) = bytes.split_first().ok_or(HandshakeError::Malformed("short"))?;
    rest.split_at_checked(usize::from(*length)).ok_or(HandshakeError::Malformed("short"))
}

fn peer(role: &[u8], name: &[u8]) -> Result<Peer, HandshakeError> {
    let role = Role::from_bytes(role).ok_or(HandshakeError::Malformed("unknown role"))?;
    if name.len() > MAX_NAME_BYTES {
        return Err(HandshakeError::Malformed("long name"));
    }
    // The name ends up in logs and lists: plain text only.
    let name = std::str::from_utf8(name).ok().filter(|name| !name.chars().any(char::is_control));
    Ok(Peer { role, name: name.ok_or(HandshakeError::Malformed("the name is no plain text"))?.to_string() })
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn encode_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn hex_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    decode_hex(text)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, RequestParser, Version};
    use proptest::prelude::*;

    const CLIENT: Nonce = [1; 16];
    const SERVER: Nonce = [2; 16];

    fn secret(byte: u8) -> Secret {
        Secret::new(&[byte; 32]).expect("long enough")
    }

    /// A whole handshake over RESP bytes.
    fn over_resp(client: Secret, server: Secret) -> Result<Peer, HandshakeError> {
        let client = ClientHandshake::new(client, Role::Proxy, "edge-1", CLIENT);
        let mut wire = Vec::new();
        client.hello_request(&mut wire);
        let frame = RequestParser::new(Limits::unauthenticated()).next(&wire).expect("valid").expect("whole");
        let hello = ServerHandshake::parse_hello(&frame.view(&wire))?;
        let (server, reply) = ServerHandshake::accept(server, hello, SERVER)?;
        let mut wire = Vec::new();
        reply.write(&mut ReplyWriter::new(&mut wire, Version::Resp2));
        let (value, _) = Value::decode(&wire).expect("valid").expect("whole");
        let proof = client.prove(&HelloReply::from_value(&value)?)?;
        let mut wire = Vec::new();
        ClientHandshake::auth_request(&mut wire, &proof);
        let frame = RequestParser::new(Limits::unauthenticated()).next(&wire).expect("valid").expect("whole");
        server.finish(&ServerHandshake::parse_auth(&frame.view(&wire))?)
    }

    #[test]
    fn both_sides_know_the_secret() {
        let peer = over_resp(secret(7), secret(7));
        assert_eq!(peer, Ok(Peer { role: Role::Proxy, name: "edge-1".to_string() }));
    }

    #[test]
    fn a_stranger_is_found_out() {
        assert_eq!(over_resp(secret(7), secret(8)), Err(HandshakeError::WrongProof));
        let hello = ClientHandshake::new(secret(7), Role::Node, "n", CLIENT).hello().clone();
        let (server, reply) = ServerHandshake::accept(secret(7), hello, SERVER).expect("same version");
        // Sending the server's proof back does not do.
        assert_eq!(server.finish(&reply.proof), Err(HandshakeError::WrongProof));
    }

    #[test]
    fn another_version_is_named() {
        let mut hello = ClientHandshake::new(secret(7), Role::Node, "n", CLIENT).hello().clone();
        hello.version = 9;
        let mut bytes = Vec::new();
        hello.encode(&mut bytes);
        let error = Hello::decode(&bytes).expect_err("another version");
        assert_eq!(error, HandshakeError::Version { theirs: 9 });
        assert!(error.to_string().contains("version 9"), "{error}");
        let value = Value::Array(vec![Value::Integer(9), Value::Null, Value::Null]);
        assert_eq!(HelloReply::from_value(&value), Err(HandshakeError::Version { theirs: 9 }));
    }

    #[test]
    fn the_proof_stays() {
        // Computed with another implementation (Python's hmac) over the formula in the module's text.
        let proof =
            Secret::new(b"0123456789abcdef").expect("long enough").proof(Side::Client, &CLIENT, &SERVER);
        assert_eq!(encode_hex(&proof), "361f6596fc98aa9bdb51769067dfd30a3e84810196fc73bcdb221f8dc8a3c821");
    }

    #[test]
    fn secrets() {
        let secret = Secret::from_hex(" 000102030405060708090a0b0c0d0e0f\n").expect("sixteen bytes");
        assert_eq!(secret.to_hex(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(Secret::from_hex("00").map(|_| ()), Err(SecretError::Length));
        assert_eq!(Secret::from_hex("0x").map(|_| ()), Err(SecretError::NotHex));
        assert_eq!(Secret::from_hex("000").map(|_| ()), Err(SecretError::NotHex));
    }

    proptest! {
        #[test]
        fn records_round_trip(name in "[a-z0-9 -]{0,128}", nonce: Nonce, proof: Proof) {
            let hello = Hello { version: VERSION, peer: Peer { role: Role::Tool, name }, nonce };
            let mut bytes = Vec::new();
            hello.encode(&mut bytes);
            prop_assert_eq!(Hello::decode(&bytes), Ok(hello));
            let reply = HelloReply { version: VERSION, nonce, proof };
            let mut bytes = Vec::new();
            reply.encode(&mut bytes);
            prop_assert_eq!(HelloReply::decode(&bytes), Ok(reply));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Hello::decode(&bytes);
            let _ = HelloReply::decode(&bytes);
            let versioned = [&VERSION.to_le_bytes()[..], &bytes[..]].concat();
            let _ = Hello::decode(&versioned);
            let _ = HelloReply::decode(&versioned);
        }
    }
}
