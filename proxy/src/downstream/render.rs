//! How the bytes of a node's reply become what the client reads.

use torc_protocol::resp::{NullKind, Version, downgrade};

/// What a client is given for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Render {
    /// The bytes as they came.
    Resp3,
    /// As Redis answers under RESP2.
    Resp2,
    /// The same, for commands whose "nothing" is a null array.
    Resp2NullArray,
    /// memcached: the text inside the bulk string.
    Memcached,
    /// memcached's retrieval: the same, and `END` behind the values.
    MemcachedEnd,
    /// A message, as it is: it answers nothing.
    Push,
    /// Nothing at all (`CLIENT REPLY OFF`, `noreply`).
    Silent,
}

/// What cannot be sent to a RESP2 client because it is no reply.
const MALFORMED: &[u8] = b"-ERR the node's reply could not be understood\r\n";

impl Render {
    /// For a RESP client of that version.
    pub fn resp(version: Version) -> Render {
        match version {
            Version::Resp2 => Render::Resp2,
            Version::Resp3 => Render::Resp3,
        }
    }

    /// Appends a whole reply frame for the client. True when it had to be translated.
    #[inline]
    pub fn write(self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        match (self, frame.first()) {
            (Render::Silent, _) => false,
            (Render::Resp3 | Render::Push, _) => {
                out.extend_from_slice(frame);
                false
            }
            (Render::Resp2 | Render::Resp2NullArray, Some(b'+' | b'-' | b':' | b'$')) => {
                out.extend_from_slice(frame);
                false
            }
            (Render::Resp2, _) => translate(frame, out, NullKind::Bulk),
            (Render::Resp2NullArray, _) => translate(frame, out, NullKind::Array),
            (Render::Memcached, _) => {
                memcached(frame, out);
                false
            }
            (Render::MemcachedEnd, _) => {
                let start = out.len();
                // An error of the node is the whole answer.
                if memcached(frame, out) && (out.len() == start || out[start..].starts_with(b"VALUE ")) {
                    out.extend_from_slice(b"END\r\n");
                }
                false
            }
        }
    }

    /// Appends an error that arose at the proxy; `text` starts with its code.
    #[cold]
    pub fn error(self, text: &str, out: &mut Vec<u8>) {
        match self {
            Render::Silent => {}
            Render::Memcached | Render::MemcachedEnd => server_error(text.as_bytes(), out),
            _ => {
                out.push(b'-');
                out.extend_from_slice(text.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

#[cold]
fn translate(frame: &[u8], out: &mut Vec<u8>, null: NullKind) -> bool {
    let start = out.len();
    if downgrade(frame, out, null).is_err() {
        out.truncate(start);
        out.extend_from_slice(MALFORMED);
    }
    true
}

/// The bytes inside a bulk string frame.
pub fn bulk_text(frame: &[u8]) -> Option<&[u8]> {
    let header = memchr::memchr(b'\n', frame)? + 1;
    (frame.first() == Some(&b'$')).then(|| frame.get(header..frame.len().checked_sub(2)?))?
}

/// True when the frame held memcached text, false when it was turned into an error.
fn memcached(frame: &[u8], out: &mut Vec<u8>) -> bool {
    if let Some(text) = bulk_text(frame) {
        out.extend_from_slice(text);
        return true;
    }
    match frame.split_first() {
        Some((b'-', rest)) => server_error(rest.strip_suffix(b"\r\n").unwrap_or(rest), out),
        _ => server_error(b"the node's reply could not be understood", out),
    }
    false
}

fn server_error(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"SERVER_ERROR ");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(render: Render, frame: &str) -> String {
        let mut out = Vec::new();
        render.write(frame.as_bytes(), &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_client_gets_its_own_bytes() {
        assert_eq!(text(Render::Resp3, "_\r\n"), "_\r\n");
        assert_eq!(text(Render::Resp2, "_\r\n"), "$-1\r\n");
        assert_eq!(text(Render::Resp2NullArray, "_\r\n"), "*-1\r\n");
        assert_eq!(text(Render::Resp2, "$1\r\na\r\n"), "$1\r\na\r\n");
        assert_eq!(text(Render::Resp2, "%1\r\n+a\r\n#t\r\n"), "*2\r\n+a\r\n:1\r\n");
        assert_eq!(text(Render::Memcached, "$8\r\nSTORED\r\n\r\n"), "STORED\r\n");
        assert_eq!(text(Render::MemcachedEnd, "$0\r\n\r\n"), "END\r\n");
        let value = "VALUE k 0 1\r\nx\r\n";
        assert_eq!(text(Render::MemcachedEnd, &format!("$16\r\n{value}\r\n")), format!("{value}END\r\n"));
        assert_eq!(text(Render::MemcachedEnd, "$16\r\nSERVER_ERROR x\r\n\r\n"), "SERVER_ERROR x\r\n");
        assert_eq!(text(Render::MemcachedEnd, "-CLUSTERDOWN x\r\n"), "SERVER_ERROR CLUSTERDOWN x\r\n");
        assert_eq!(text(Render::Silent, "+OK\r\n"), "");
    }
}
