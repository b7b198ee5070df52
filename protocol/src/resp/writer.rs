//! Writing replies into a connection's buffer, in the version of the protocol that its client speaks.

use std::fmt::{self, Write};
use std::io::Write as _;

use smallvec::SmallVec;

use super::double::DoubleBuffer;
use super::encode::length_line;
use super::error::ProtocolError;

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Version {
    #[default]
    Resp2,
    Resp3,
}

impl Version {
    /// 2 or 3.
    pub fn number(self) -> i64 {
        match self {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        }
    }
}

/// Appends replies to a buffer. It never looks at what the buffer already holds.
pub struct ReplyWriter<'a> {
    out: &'a mut Vec<u8>,
    version: Version,
}

impl<'a> ReplyWriter<'a> {
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, version: Version) -> Self {
        ReplyWriter { out, version }
    }

    #[inline]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Replies from here on in another version: HELLO answers in the new one.
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    fn resp3(&self) -> bool {
        self.version == Version::Resp3
    }

    /// Bytes in the buffer so far; with [`ReplyWriter::truncate`] a reply can be taken back.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Takes back everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }

    /// The buffer itself.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, reply: &[u8]) {
        self.out.extend_from_slice(reply);
    }

    /// A simple string. Line ends in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// A simple string that may be no UTF-8.
    pub fn simple_bytes(&mut self, text: &[u8]) {
        self.line(b'+', text);
    }

    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error: its code, then its text, without the leading `-`. Line ends in it become spaces, those at its
    /// end go.
    pub fn error(&mut self, text: impl fmt::Display) {
        self.out.push(b'-');
        let start = self.out.len();
        // Writing to a vector does not fail.
        let _ = write!(self.out, "{text}");
        while self.out.len() > start && matches!(self.out.last(), Some(b'\r' | b'\n')) {
            self.out.pop();
        }
        self.end_line(start);
    }

    /// An error whose text may hold bytes of the client that are no UTF-8; line ends as in [`Self::error`].
    pub fn error_bytes(&mut self, text: &[u8]) {
        let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
        self.line(b'-', &text[..end]);
    }

    /// A violation of the protocol, as `-ERR Protocol error: …` with the offending byte as it was.
    pub fn protocol_error(&mut self, error: &ProtocolError) {
        match error {
            ProtocolError::ExpectedBulk(byte) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.push(*byte);
                text.push(b'\'');
                self.error_bytes(&text);
            }
            other => self.error(format_args!("ERR {other}")),
        }
    }

    #[inline]
    pub fn integer(&mut self, value: i64) {
        if (0..10).contains(&value) {
            self.out.extend_from_slice(&[b':', b'0' + value as u8, b'\r', b'\n']);
            return;
        }
        self.out.push(b':');
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 16);
        length_line(self.out, b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A bulk string with the decimal text of `value`.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string, or [`ReplyWriter::null`] where there is none.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// A bulk string with the text of `value`.
    pub fn bulk_fmt(&mut self, value: impl fmt::Display) {
        let mut text = Text(SmallVec::new());
        // A `Display` that fails leaves the text that it gave so far: still one whole reply.
        let _ = write!(text, "{value}");
        self.bulk(&text.0);
    }

    /// No such value: `$-1` in RESP2, `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// No such aggregate: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array; `len` replies must follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        length_line(self.out, b'*', len);
    }

    /// The header of a map; `pairs` times two replies must follow.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() {
            length_line(self.out, b'%', pairs);
        } else {
            length_line(self.out, b'*', pairs.saturating_mul(2));
        }
    }

    /// The header of a set; `len` replies must follow.
    pub fn set(&mut self, len: usize) {
        length_line(self.out, if self.resp3() { b'~' } else { b'*' }, len);
    }

    /// The header of a push message; `len` replies must follow.
    pub fn push(&mut self, len: usize) {
        length_line(self.out, if self.resp3() { b'>' } else { b'*' }, len);
    }

    /// The header of an attribute: `pairs` times two replies must follow, then the reply that it belongs to.
    /// RESP2 has none: nothing is written, and the answer is `false`.
    #[must_use = "under RESP2 the attribute's content must not be written either"]
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.resp3() {
            length_line(self.out, b'|', pairs);
        }
        self.resp3()
    }

    /// A double: its own type in RESP3, a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let mut buffer = DoubleBuffer::new();
        let text = buffer.format(value);
        if self.resp3() {
            self.line(b',', text);
        } else {
            self.bulk(text);
        }
    }

    /// A boolean: its own type in RESP3, 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match (self.version, value) {
            (Version::Resp3, true) => self.raw(b"#t\r\n"),
            (Version::Resp3, false) => self.raw(b"#f\r\n"),
            (Version::Resp2, value) => self.integer(i64::from(value)),
        }
    }

    /// Text of a kind named by three letters (`txt`, `mkd`): a bulk string in RESP2.
    pub fn verbatim(&mut self, extension: &[u8; 3], text: &[u8]) {
        if !self.resp3() {
            return self.bulk(text);
        }
        length_line(self.out, b'=', text.len() + 4);
        self.out.extend_from_slice(extension);
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer beyond 64 bits, given as its decimal digits: a bulk string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3() {
            self.line(b'(', digits.as_bytes());
        } else {
            self.bulk(digits.as_bytes());
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        let start = self.out.len();
        self.out.extend_from_slice(text);
        self.end_line(start);
    }

    /// Ends the line whose text starts at `start`: nothing in it may end it early.
    fn end_line(&mut self, start: usize) {
        for byte in &mut self.out[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// A short text on the stack.
struct Text(SmallVec<[u8; 128]>);

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(write: impl Fn(&mut ReplyWriter<'_>)) -> (String, String) {
        let text = |version| {
            let mut out = Vec::new();
            write(&mut ReplyWriter::new(&mut out, version));
            String::from_utf8_lossy(&out).into_owned()
        };
        (text(Version::Resp2), text(Version::Resp3))
    }

    fn same(write: impl Fn(&mut ReplyWriter<'_>)) -> String {
        let (resp2, resp3) = both(write);
        assert_eq!(resp2, resp3);
        resp2
    }

    #[test]
    fn what_both_versions_share() {
        assert_eq!(same(|w| w.ok()), "+OK\r\n");
        assert_eq!(same(|w| w.simple("a\r\nb")), "+a  b\r\n");
        assert_eq!(same(|w| w.error("ERR a\nb")), "-ERR a b\r\n");
        assert_eq!(same(|w| w.integer(7)), ":7\r\n");
        assert_eq!(same(|w| w.integer(-70)), ":-70\r\n");
        assert_eq!(same(|w| w.bulk(b"a\r\nb")), "$4\r\na\r\nb\r\n");
        assert_eq!(same(|w| w.bulk_fmt(12)), "$2\r\n12\r\n");
        assert_eq!(same(|w| w.bulk_integer(-12)), "$3\r\n-12\r\n");
        assert_eq!(same(|w| w.array(12)), "*12\r\n");
    }

    #[test]
    fn what_differs() {
        let pair = |resp2: &str, resp3: &str| (resp2.to_string(), resp3.to_string());
        assert_eq!(both(|w| w.null()), pair("$-1\r\n", "_\r\n"));
        assert_eq!(both(|w| w.null_array()), pair("*-1\r\n", "_\r\n"));
        assert_eq!(both(|w| w.map(2)), pair("*4\r\n", "%2\r\n"));
        assert_eq!(both(|w| w.set(2)), pair("*2\r\n", "~2\r\n"));
        assert_eq!(both(|w| w.push(2)), pair("*2\r\n", ">2\r\n"));
        assert_eq!(both(|w| w.double(1.5)), pair("$3\r\n1.5\r\n", ",1.5\r\n"));
        assert_eq!(both(|w| w.boolean(true)), pair(":1\r\n", "#t\r\n"));
        assert_eq!(both(|w| w.verbatim(b"txt", b"hi")), pair("$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"));
        assert_eq!(both(|w| w.big_number("12")), pair("$2\r\n12\r\n", "(12\r\n"));
        assert_eq!(both(|w| assert_eq!(w.attribute(1), w.version() == Version::Resp3)), pair("", "|1\r\n"));
    }

    #[test]
    fn a_protocol_error_keeps_the_byte() {
        let mut out = Vec::new();
        ReplyWriter::new(&mut out, Version::Resp2).protocol_error(&ProtocolError::ExpectedBulk(0xff));
        assert_eq!(out, b"-ERR Protocol error: expected '$', got '\xff'\r\n");
    }
}
