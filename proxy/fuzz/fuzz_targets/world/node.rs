//! A node that does the handshake and then answers every request at once: with a reply that its bytes choose, fitting or
//! not.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use torc_protocol::handshake::ServerHandshake;
use torc_protocol::resp::{Args, Limits, ReplyWriter, RequestParser, Version};

use super::common::secret;

/// Replies to commands.
const REPLIES: [&str; 16] = [
    "+OK\r\n",
    "+QUEUED\r\n",
    ":1\r\n",
    ":-9223372036854775808\r\n",
    "$1\r\nx\r\n",
    "$0\r\n\r\n",
    "_\r\n",
    "*0\r\n",
    "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
    "%1\r\n+a\r\n,1.5\r\n",
    "#t\r\n",
    "=5\r\ntxt:x\r\n",
    "-ERR no\r\n",
    "-WRONGTYPE no\r\n",
    "-MOVED 1 127.0.0.1:1\r\n",
    "-UNCERTAIN who knows\r\n",
];

/// Answers to memcached requests, all of whole lines as a node's are; `%` stands for the first key.
const TEXTS: [&str; 12] = [
    "",
    "STORED\r\n",
    "VALUE % 0 1\r\nx\r\n",
    "VALUE % 0 3\r\n\r\n\r\r\n",
    "VALUE\r\n",
    "VALUE x 0 99999999999999999999\r\n",
    "HD\r\n",
    "VA 1 c1\r\nx\r\n",
    "STAT n 1\r\nSTAT t x\r\nEND\r\n",
    "key=% exp=-1\nEND\r\n",
    "SERVER_ERROR no\r\n",
    "5\r\n",
];

/// Starts one; its port.
pub async fn start() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    port
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut input, mut parser) = (Vec::new(), RequestParser::new(Limits::default()));
    let (mut handshake, mut trusted) = (None, false);
    loop {
        let mut out = Vec::new();
        // The proxy sends nothing but requests, whatever its clients do.
        while let Some(frame) = parser.next(&input).expect("a request") {
            let args = frame.view(&input);
            if trusted {
                answer(&args, &mut out);
            } else {
                let mut reply = ReplyWriter::new(&mut out, Version::Resp2);
                match handshake.take() {
                    None => {
                        let hello = ServerHandshake::parse_hello(&args).expect("a hello");
                        let (server, answer) =
                            ServerHandshake::accept(secret(), hello, [3; 16]).expect("a known version");
                        answer.write(&mut reply);
                        handshake = Some(server);
                    }
                    Some(server) => {
                        let server: ServerHandshake = server;
                        let proof = ServerHandshake::parse_auth(&args).expect("a proof");
                        server.finish(&proof).expect("the right secret");
                        reply.ok();
                        trusted = true;
                    }
                }
            }
            let length = frame.len;
            input.drain(..length);
        }
        stream.write_all(&out).await?;
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn answer(args: &Args<'_>, out: &mut Vec<u8>) {
    let mut hasher = DefaultHasher::new();
    args.iter().skip(2).for_each(|arg| arg.hash(&mut hasher));
    let chosen = hasher.finish() as usize;
    let name = args.get(2).unwrap_or_default();
    if args.get(0) != Some(b"CTX".as_slice()) || name != b"MC" {
        out.extend_from_slice(REPLIES[chosen % REPLIES.len()].as_bytes());
        return;
    }
    let line = args.get(3).unwrap_or_default();
    let key = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1).unwrap_or_default();
    let mut text = Vec::new();
    for byte in TEXTS[chosen % TEXTS.len()].bytes() {
        if byte == b'%' { text.extend_from_slice(key) } else { text.push(byte) }
    }
    ReplyWriter::new(out, Version::Resp3).bulk(&text);
}
