//! Pages of a server's HTTP port, as a person or Prometheus asks for them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::client::REPLY_DEADLINE;

/// A page that is longer than this is an error of the server under test.
const MAX_PAGE_BYTES: u64 = 64 << 20;

/// Status and body of a page.
///
/// # Errors
/// Those of the socket; an answer that is no HTTP.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut socket = TcpStream::connect_timeout(&address, REPLY_DEADLINE)?;
    socket.set_read_timeout(Some(REPLY_DEADLINE))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    socket.take(MAX_PAGE_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let bad = || io::Error::other(format!("not an HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}
