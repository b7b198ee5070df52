//! Requests out of a connection's buffer.
//!
//! The parser belongs to whoever owns the buffer. It keeps how far it has come in a request that is not whole: a
//! data block that arrives in pieces is not looked at before it is all there, and one that is refused is passed
//! over without being kept.

use thiserror::Error;

use super::Limits;
use super::line::{is_http, parse_line};
use super::meta::unlink;
use super::request::{Rejection, Request, RequestError};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item<'a> {
    Request(Request<'a>),
    /// Answer with the error, unless it is not to be answered.
    Rejected(Rejection<'a>),
    /// Bytes of a data block that was refused: nothing to do.
    Swallowed,
}

/// One step through the buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// How many bytes of the buffer it took.
    pub len: usize,
    pub item: Item<'a>,
}

/// After any of these the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseError {
    /// Closed without a word, as memcached does.
    #[error("a command line without an end")]
    LineTooLong,
    /// `Display` gives the line to answer before closing.
    #[error("CLIENT_ERROR line too long")]
    MultigetTooLong,
    /// Somebody's browser; closed without a word, as memcached does.
    #[error("an HTTP request")]
    Http,
}

impl ParseError {
    /// The line to answer before closing, if any.
    pub fn reply(self) -> Option<String> {
        matches!(self, ParseError::MultigetTooLong).then(|| self.to_string())
    }
}

/// Finds request after request in a buffer.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    /// How far the end of the line has been looked for.
    searched: usize,
    /// How many bytes the request that starts the buffer takes, when its line has been read and its data block is
    /// not all there.
    expected: Option<usize>,
    /// Bytes of a refused data block that are still to come.
    swallow: usize,
    missing: usize,
}

impl RequestParser {
    pub fn new(limits: Limits) -> Self {
        RequestParser { limits, searched: 0, expected: None, swallow: 0, missing: 0 }
    }

    /// Other bounds from the next line on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes that the request is known to lack after [`RequestParser::next`] gave `None`.
    pub fn need_hint(&self) -> usize {
        self.missing
    }

    /// Whether a request has begun that is not whole yet.
    pub fn is_partial(&self) -> bool {
        self.searched > 0 || self.expected.is_some() || self.swallow > 0
    }

    /// The next request of `buf`, which starts at the first byte that nothing has consumed; `None` when it is not
    /// whole yet. After a frame the caller moves on by `Frame::len`.
    pub fn next<'a>(&mut self, buf: &'a [u8]) -> Result<Option<Frame<'a>>, ParseError> {
        self.missing = 0;
        if self.swallow > 0 {
            let len = self.swallow.min(buf.len());
            self.swallow -= len;
            return Ok((len > 0).then_some(Frame { len, item: Item::Swallowed }));
        }
        if let Some(expected) = self.expected
            && buf.len() < expected
        {
            self.missing = expected - buf.len();
            return Ok(None);
        }
        let Some(line_end) = self.line_end(buf)? else { return Ok(None) };
        let next = line_end + 1;
        // A line of nothing but a carriage return keeps it, as it does in memcached.
        let text_end = if line_end > 1 && buf[line_end - 1] == b'\r' { line_end - 1 } else { line_end };
        let line = match parse_line(&buf[..text_end]) {
            Ok(line) => line,
            Err(rejection) => {
                self.reset();
                if is_http(&buf[..text_end]) {
                    return Err(ParseError::Http);
                }
                self.swallow = rejection.swallow;
                return Ok(Some(Frame { len: next, item: Item::Rejected(rejection) }));
            }
        };
        let Some(data_bytes) = line.data_bytes else {
            self.reset();
            return Ok(Some(Frame { len: next, item: Item::Request(line.request) }));
        };
        Ok(self.with_block(buf, line_end, line.request, data_bytes))
    }

    /// A request whose line ends at `line_end`, with the data block that follows it.
    #[inline]
    fn with_block<'a>(
        &mut self,
        buf: &'a [u8],
        line_end: usize,
        mut request: Request<'a>,
        data_bytes: usize,
    ) -> Option<Frame<'a>> {
        let start = line_end + 1;
        if data_bytes > self.limits.max_value_bytes {
            self.reset();
            self.swallow = data_bytes + 2;
            let rejection = Rejection {
                unlink: unlink(&request),
                swallow: self.swallow,
                ..Rejection::of(RequestError::TooLarge, request.noreply)
            };
            return Some(Frame { len: start, item: Item::Rejected(rejection) });
        }
        let end = start + data_bytes;
        let len = end + 2;
        let Some(block_end) = buf.get(end..len) else {
            self.expected = Some(len);
            self.missing = len - buf.len();
            // The line will be read once more, when its data are there: its end is known.
            self.searched = line_end;
            return None;
        };
        self.reset();
        let item = if block_end == b"\r\n" {
            request.data = &buf[start..end];
            Item::Request(request)
        } else {
            // As many bytes are consumed as the line said; what follows is read as a command line.
            Item::Rejected(Rejection::of(RequestError::BadDataChunk, request.noreply))
        };
        Some(Frame { len, item })
    }

    fn reset(&mut self) {
        self.searched = 0;
        self.expected = None;
    }

    /// Where the line feed is.
    fn line_end(&mut self, buf: &[u8]) -> Result<Option<usize>, ParseError> {
        let from = self.searched.min(buf.len());
        if let Some(found) = memchr::memchr(b'\n', &buf[from..]) {
            return Ok(Some(from + found));
        }
        self.searched = buf.len();
        if buf.len() <= self.limits.max_line_bytes {
            return Ok(None);
        }
        /// The most blanks before the name of a long command.
        const MAX_LEADING_BLANKS: usize = 100;
        let blanks = buf.iter().position(|byte| *byte != b' ').unwrap_or(buf.len());
        let name = &buf[blanks..];
        if blanks > MAX_LEADING_BLANKS || !(name.starts_with(b"get ") || name.starts_with(b"gets ")) {
            return Err(ParseError::LineTooLong);
        }
        if buf.len() > self.limits.max_multiget_bytes { Err(ParseError::MultigetTooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Unlink, Verb};
    use super::*;

    fn first(bytes: &[u8]) -> Item<'_> {
        RequestParser::new(Limits::default()).next(bytes).expect("open").expect("whole").item
    }

    #[test]
    fn a_storage_command_and_its_parts() {
        let Item::Request(request) = first(b"cas k 7 -1 2 9 noreply\r\nab\r\n") else { panic!("a request") };
        assert_eq!(request.verb, Verb::Cas);
        assert_eq!(request.key(), b"k");
        assert_eq!((request.flags, request.exptime, request.cas, request.noreply), (7, -1, 9, true));
        assert_eq!(request.data, b"ab");
        assert_eq!(Request::from_parts(request.line, request.data), Ok(request.clone()));
        let short = Request::from_parts(request.line, b"a").expect_err("another length");
        assert_eq!(short.error, RequestError::BadDataChunk);
    }

    #[test]
    fn a_large_value_is_passed_over() {
        let mut parser = RequestParser::new(Limits { max_value_bytes: 3, ..Limits::default() });
        let bytes = b"set k 0 0 4\r\nabcd\r\nget k\r\n";
        let frame = parser.next(bytes).expect("open").expect("whole");
        let unlink = Some(Unlink { key: b"k", binary: false });
        let rejection = Rejection { unlink, swallow: 6, ..Rejection::of(RequestError::TooLarge, false) };
        assert_eq!(frame.item, Item::Rejected(rejection));
        let frame = parser.next(&bytes[frame.len..frame.len + 2]).expect("open").expect("whole");
        assert_eq!(frame, Frame { len: 2, item: Item::Swallowed });
        assert_eq!(parser.next(b""), Ok(None));
        let frame = parser.next(b"cd\r\nget k\r\n").expect("open").expect("whole");
        assert_eq!(frame, Frame { len: 4, item: Item::Swallowed });
        assert!(!parser.is_partial());
    }

    #[test]
    fn a_partial_block_says_what_is_missing() {
        let mut parser = RequestParser::new(Limits::default());
        assert_eq!(parser.next(b"set k 0 0 1000\r\nabc"), Ok(None));
        assert_eq!(parser.need_hint(), 999);
    }

    #[test]
    fn endless_lines() {
        let parse = |bytes: &[u8]| {
            RequestParser::new(Limits { max_multiget_bytes: 5000, ..Limits::default() })
                .next(bytes)
                .map(|_| ())
        };
        assert_eq!(parse(&[b'x'; 2048]), Ok(()));
        assert_eq!(parse(&[b'x'; 2049]), Err(ParseError::LineTooLong));
        assert_eq!(parse(&[b"get ", &b"k ".repeat(1500)[..]].concat()), Ok(()));
        assert_eq!(parse(&[b"gat 0 ", &b"k ".repeat(1500)[..]].concat()), Err(ParseError::LineTooLong));
        assert_eq!(parse(&[b"gets ", &b"k ".repeat(3000)[..]].concat()), Err(ParseError::MultigetTooLong));
    }
}
