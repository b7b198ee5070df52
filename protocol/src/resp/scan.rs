//! Finds where a reply ends without building it: what the proxy needs to forward bytes.
//!
//! The scanner belongs to whoever owns the connection's buffer, like the request parser, and remembers how far it
//! has come in a reply that is not whole.

use std::ops::Range;

use smallvec::SmallVec;

use super::error::ProtocolError;
use super::integer::parse_i64;

/// The most aggregates inside each other.
pub const MAX_DEPTH: usize = 128;
/// The most bytes of a line: simple strings, errors, numbers and lengths.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The most bytes of one bulk string in a reply.
pub const MAX_REPLY_BULK_BYTES: usize = super::limits::MAX_BULK_BYTES;
/// The most bytes of one whole reply.
pub const MAX_REPLY_BYTES: usize = u32::MAX as usize;
/// The most elements of one aggregate (a map counts twice its pairs): the widest that 32 bits hold.
pub const MAX_ELEMENTS: u64 = u32::MAX as u64;

/// Whether a reply answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    Normal,
    /// Out of band: answers nothing.
    Push,
}

/// One whole reply; the ranges count from its first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyFrame {
    /// The attributes before the reply proper, if there are any.
    pub attribute: Option<Range<usize>>,
    /// The reply proper.
    pub body: Range<usize>,
    /// How many bytes of the buffer all of it took.
    pub len: usize,
    pub kind: ReplyKind,
}

/// What one element turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// A scalar that ends with its line.
    Line,
    /// A string of so many bytes after its line.
    Bulk(usize),
    /// An aggregate of so many elements after its line.
    Aggregate(u64),
    /// Attributes of so many elements after its line, followed by the element they belong to.
    Attribute(u64),
}

/// Reads the line of an element: its first byte and what follows up to the line end.
pub(super) fn element(kind: u8, text: &[u8]) -> Result<Element, ProtocolError> {
    let length = |factor: u64| -> Result<u64, ProtocolError> {
        if text == b"?" {
            return Err(ProtocolError::Streamed);
        }
        let length = parse_i64(text).and_then(|length| u64::try_from(length).ok());
        let length =
            length.and_then(|length| length.checked_mul(factor)).filter(|length| *length <= MAX_ELEMENTS);
        length.ok_or(ProtocolError::InvalidMultibulkLength)
    };
    Ok(match kind {
        b'+' | b'-' => Element::Line,
        b':' => {
            parse_i64(text).ok_or(ProtocolError::MalformedReply)?;
            Element::Line
        }
        b'_' if text.is_empty() => Element::Line,
        b'#' if matches!(text, b"t" | b"f") => Element::Line,
        b',' if is_double(text) => Element::Line,
        b'(' if is_big_number(text) => Element::Line,
        b'$' | b'=' | b'!' => match text {
            b"-1" if kind == b'$' => Element::Line,
            b"?" => return Err(ProtocolError::Streamed),
            _ => {
                let length = parse_i64(text).and_then(|length| usize::try_from(length).ok());
                let length = length.filter(|length| *length <= MAX_REPLY_BULK_BYTES);
                let length = length.ok_or(ProtocolError::InvalidBulkLength)?;
                if kind == b'=' && length < 4 {
                    return Err(ProtocolError::MalformedReply);
                }
                Element::Bulk(length)
            }
        },
        b'*' if text == b"-1" => Element::Line,
        b'*' | b'~' | b'>' => Element::Aggregate(length(1)?),
        b'%' => Element::Aggregate(length(2)?),
        b'|' => Element::Attribute(length(2)?),
        b'_' | b'#' | b',' | b'(' => return Err(ProtocolError::MalformedReply),
        other => return Err(ProtocolError::UnknownType(other)),
    })
}

pub(super) fn is_double(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| !text.is_empty() && text.parse::<f64>().is_ok())
}

pub(super) fn is_big_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Finds reply after reply in a buffer.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// The first byte of the reply that is not understood yet.
    at: usize,
    /// How far the end of the current line has been looked for.
    searched: usize,
    /// Where a bulk string that has begun ends, line end included.
    bulk_end: Option<usize>,
    /// Elements still to come in each aggregate that is open, outermost first.
    open: SmallVec<[u64; 8]>,
    /// Where the reply proper starts, once that is known.
    body: Option<usize>,
    push: bool,
    missing: usize,
}

impl ReplyScanner {
    pub fn new() -> Self {
        ReplyScanner::default()
    }

    /// Bytes that the reply is known to lack after [`ReplyScanner::next`] gave `None`.
    pub fn need_hint(&self) -> usize {
        self.missing
    }

    /// Whether a reply has begun that is not whole yet.
    pub fn is_partial(&self) -> bool {
        self.at > 0 || self.searched > 0
    }

    /// The next reply of `buf`, which starts at the first byte that no reply has consumed; `None` when it is not
    /// whole yet. After an error the connection cannot be read any more.
    pub fn next(&mut self, buf: &[u8]) -> Result<Option<ReplyFrame>, ProtocolError> {
        self.missing = 0;
        loop {
            if let Some(end) = self.bulk_end {
                if buf.len() < end {
                    self.missing = end - buf.len();
                    return Ok(None);
                }
                if buf.get(end - 2..end) != Some(b"\r\n") {
                    return Err(ProtocolError::MalformedReply);
                }
                self.bulk_end = None;
                self.move_to(end);
                if let Some(frame) = self.element_done() {
                    return Ok(Some(frame));
                }
                continue;
            }
            let Some((kind, text, next)) = self.line(buf)? else { return Ok(None) };
            let element = element(kind, text)?;
            if self.open.is_empty() && self.body.is_none() && !matches!(element, Element::Attribute(_)) {
                self.body = Some(self.at);
                self.push = kind == b'>';
            }
            if next > MAX_REPLY_BYTES {
                return Err(ProtocolError::FrameTooBig);
            }
            self.move_to(next);
            match element {
                Element::Line => {
                    if let Some(frame) = self.element_done() {
                        return Ok(Some(frame));
                    }
                }
                Element::Bulk(length) => {
                    let end = next + length + 2;
                    if end > MAX_REPLY_BYTES {
                        return Err(ProtocolError::FrameTooBig);
                    }
                    self.bulk_end = Some(end);
                }
                Element::Aggregate(0) => {
                    if let Some(frame) = self.element_done() {
                        return Ok(Some(frame));
                    }
                }
                // No attributes: as good as not there.
                Element::Attribute(0) => {}
                Element::Aggregate(count) => self.enter(count)?,
                // They are no element of what they stand in: one more is owed when they end.
                Element::Attribute(count) => {
                    if let Some(left) = self.open.last_mut() {
                        *left += 1;
                    }
                    self.enter(count)?;
                }
            }
        }
    }

    fn enter(&mut self, count: u64) -> Result<(), ProtocolError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(ProtocolError::TooDeep);
        }
        self.open.push(count);
        Ok(())
    }

    fn move_to(&mut self, next: usize) {
        self.at = next;
        self.searched = next;
    }

    /// Counts an element that has ended, and all aggregates that end with it.
    fn element_done(&mut self) -> Option<ReplyFrame> {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return None;
            }
            self.open.pop();
        }
        // The outermost has ended: the attributes before a reply, or the reply.
        let body = self.body?;
        let frame = ReplyFrame {
            attribute: (body > 0).then_some(0..body),
            body: body..self.at,
            len: self.at,
            kind: if self.push { ReplyKind::Push } else { ReplyKind::Normal },
        };
        *self = ReplyScanner::default();
        Some(frame)
    }

    /// The line at `at`: its first byte, its text, and where the next one starts.
    #[allow(clippy::type_complexity, reason = "a private triple")]
    fn line<'a>(&mut self, buf: &'a [u8]) -> Result<Option<(u8, &'a [u8], usize)>, ProtocolError> {
        let Some(&kind) = buf.get(self.at) else { return Ok(None) };
        let from = self.searched.max(self.at + 1).min(buf.len());
        match memchr::memchr(b'\r', &buf[from..]) {
            Some(found) => {
                let end = from + found;
                if end - self.at > MAX_LINE_BYTES {
                    return Err(ProtocolError::FrameTooBig);
                }
                match buf.get(end + 1) {
                    Some(b'\n') => Ok(Some((kind, &buf[self.at + 1..end], end + 2))),
                    Some(_) => Err(ProtocolError::MalformedReply),
                    None => {
                        self.searched = end;
                        Ok(None)
                    }
                }
            }
            None => {
                self.searched = buf.len();
                if buf.len() - self.at > MAX_LINE_BYTES {
                    return Err(ProtocolError::FrameTooBig);
                }
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<ReplyFrame>, ProtocolError> {
        ReplyScanner::new().next(bytes)
    }

    fn whole(bytes: &[u8]) -> ReplyFrame {
        scan(bytes).expect("valid").expect("whole")
    }

    #[test]
    fn lengths() {
        for reply in [
            &b"+OK\r\n"[..],
            b"-ERR x\r\n",
            b":12\r\n",
            b"$-1\r\n",
            b"$0\r\n\r\n",
            b"$5\r\na\r\nb\n\r\n",
            b"*-1\r\n",
            b"*0\r\n",
            b"*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n_\r\n",
            b"~1\r\n#t\r\n",
            b",1.5\r\n",
            b",inf\r\n",
            b"(123456789012345678901234567890\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"!3\r\nERR\r\n",
        ] {
            let bytes = [reply, b"+next\r\n"].concat();
            let frame = whole(&bytes);
            assert_eq!(frame.len, reply.len(), "{}", String::from_utf8_lossy(reply));
            assert_eq!(frame.attribute, None);
            for end in 0..reply.len() {
                assert_eq!(scan(&reply[..end]), Ok(None));
            }
        }
    }

    #[test]
    fn attributes_and_pushes() {
        let frame = whole(b"|1\r\n+pos\r\n+1:2\r\n:5\r\n");
        assert_eq!((frame.attribute, frame.body), (Some(0..16), 16..20));
        let frame = whole(b"*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n:3\r\n");
        assert_eq!(frame.len, 24);
        assert_eq!(whole(b">1\r\n+x\r\n").kind, ReplyKind::Push);
        assert_eq!(whole(b"*1\r\n>1\r\n+x\r\n").kind, ReplyKind::Normal);
        let frame = whole(b"|0\r\n|1\r\n+a\r\n*0\r\n+x\r\n");
        assert_eq!(frame.body, 16..20);
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(scan(b"?\r\n"), Err(ProtocolError::UnknownType(b'?')));
        assert_eq!(scan(b":x\r\n"), Err(ProtocolError::MalformedReply));
        assert_eq!(scan(b"$-2\r\n"), Err(ProtocolError::InvalidBulkLength));
        assert_eq!(scan(b"$536870913\r\n"), Err(ProtocolError::InvalidBulkLength));
        assert_eq!(scan(b"$1\r\nabc"), Err(ProtocolError::MalformedReply));
        assert_eq!(scan(b"*?\r\n"), Err(ProtocolError::Streamed));
        assert_eq!(scan(b"*4294967296\r\n"), Err(ProtocolError::InvalidMultibulkLength));
        assert_eq!(scan(&b"*1\r\n".repeat(MAX_DEPTH + 1)), Err(ProtocolError::TooDeep));
        assert_eq!(scan(b"+a\rb"), Err(ProtocolError::MalformedReply));
    }

    #[test]
    fn a_partial_bulk_says_what_is_missing() {
        let mut scanner = ReplyScanner::new();
        assert_eq!(scanner.next(b"$1000\r\nabc"), Ok(None));
        assert_eq!(scanner.need_hint(), 999);
    }
}
