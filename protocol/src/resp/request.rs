//! The request parser: in place, a frame at a time, and never twice over the same bytes.
//!
//! The parser belongs to whoever owns the connection's buffer. It keeps only how far it has come in the frame
//! that starts the buffer, so the owner may move or grow the buffer between calls, but must not drop bytes
//! of a frame that is not whole.

use super::args::{ArgRange, ArgRanges, Args};
use super::error::ProtocolError;
use super::inline::split_words;
use super::integer::parse_i64;
use super::limits::{Limits, MAX_UNAUTHENTICATED_ARGS, MAX_UNAUTHENTICATED_BULK_BYTES};

/// One whole request.
#[derive(Debug)]
pub struct Frame {
    /// How many bytes of the buffer it took.
    pub len: usize,
    /// Its arguments; none for an empty request (`*0`, `*-1`, an empty line), which is skipped without a reply.
    pub args: ArgRanges,
    /// The bytes that `args` point into when they are not those of the buffer: an inline request with quotes.
    /// [`Frame::view`] chooses.
    pub unescaped: Option<Box<[u8]>>,
}

impl Frame {
    /// The arguments; `buf` starts at the frame, as it did for [`RequestParser::next`].
    #[inline]
    pub fn view<'a>(&'a self, buf: &'a [u8]) -> Args<'a> {
        match &self.unescaped {
            None => Args::new(buf, &self.args),
            Some(bytes) => Args::new(bytes, &self.args),
        }
    }

    /// Whether there is nothing to do.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty()
    }
}

/// Finds request after request in a buffer.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    /// The first byte of the frame that is not understood yet.
    at: usize,
    /// How far the end of the current line has been looked for.
    searched: usize,
    /// Arguments still to come; 0 at the start of a frame.
    args_left: usize,
    /// The length of the argument at `at`, when its length line has been read.
    bulk: Option<usize>,
    /// The largest argument and the largest frame, out of the limits.
    max_bulk: usize,
    max_frame: usize,
    /// Bytes known to be missing when the last call found no whole frame.
    missing: usize,
    args: ArgRanges,
}

impl RequestParser {
    pub fn new(limits: Limits) -> Self {
        let mut parser = RequestParser {
            limits,
            at: 0,
            searched: 0,
            args_left: 0,
            bulk: None,
            max_bulk: 0,
            max_frame: 0,
            missing: 0,
            args: ArgRanges::new(),
        };
        parser.set_limits(limits);
        parser
    }

    /// Other bounds from the next length on: when a client has authenticated, for instance.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        let unauthenticated =
            if limits.unauthenticated { MAX_UNAUTHENTICATED_BULK_BYTES } else { usize::MAX };
        self.max_bulk = limits.max_bulk_bytes.min(unauthenticated);
        self.max_frame = limits.max_frame_bytes.min(u32::MAX as usize);
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes that the frame is known to lack after [`RequestParser::next`] gave `None`: the rest of the argument
    /// that has begun. A reader may reserve them.
    pub fn need_hint(&self) -> usize {
        self.missing
    }

    /// Whether a frame has begun that is not whole yet.
    pub fn is_partial(&self) -> bool {
        self.args_left > 0 || self.searched > 0 || self.at > 0
    }

    /// The next request of `buf`, which starts at the first byte that no frame has consumed; `None` when it is
    /// not whole yet. After a frame the caller moves on by `Frame::len`; after an error the connection cannot be
    /// read any more.
    #[inline]
    pub fn next(&mut self, buf: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        self.missing = 0;
        if self.args_left == 0 {
            match buf.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(buf),
            }
            let Some(count) = self.count(buf)? else { return Ok(None) };
            if count == 0 {
                return Ok(Some(self.finish()));
            }
            self.args_left = count;
        }
        while self.args_left > 0 {
            let length = match (self.bulk, short_length(buf.get(self.at..).unwrap_or_default(), b'$')) {
                (Some(length), _) => length,
                (None, Some((length, line_bytes))) if length <= self.max_bulk => {
                    self.at += line_bytes;
                    length
                }
                (None, _) => {
                    let Some(length) = self.bulk_length(buf)? else { return Ok(None) };
                    length
                }
            };
            // Redis looks at no byte of the line end either.
            let end = self.at + length;
            let next = end + 2;
            if next > self.max_frame {
                return Err(ProtocolError::FrameTooBig);
            }
            if buf.len() < next {
                self.bulk = Some(length);
                self.missing = next - buf.len();
                return Ok(None);
            }
            // `max_frame` keeps ranges within 32 bits.
            self.args.push(ArgRange { start: self.at as u32, end: end as u32 });
            self.at = next;
            self.bulk = None;
            self.args_left -= 1;
        }
        Ok(Some(self.finish()))
    }

    fn finish(&mut self) -> Frame {
        let frame = Frame { len: self.at, args: std::mem::take(&mut self.args), unescaped: None };
        self.reset();
        frame
    }

    fn reset(&mut self) {
        self.at = 0;
        self.searched = 0;
        self.args_left = 0;
        self.bulk = None;
        self.args.clear();
    }

    /// How many arguments the frame at the start of `buf` has; 0 for none at all.
    #[inline]
    fn count(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let count = match short_length(buf, b'*') {
            Some((count, line_bytes)) => {
                self.at = line_bytes;
                count
            }
            None => {
                let Some(count) = self.length_line(buf, ProtocolError::MultibulkCountTooLong)? else {
                    return Ok(None);
                };
                let count = count.ok_or(ProtocolError::InvalidMultibulkLength)?;
                usize::try_from(count.max(0)).unwrap_or(usize::MAX)
            }
        };
        if count > self.limits.max_args {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if self.limits.unauthenticated && count > MAX_UNAUTHENTICATED_ARGS {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some(count))
    }

    /// The length of the argument that begins at `at`, the slow way: long, refused, or not there yet.
    #[cold]
    fn bulk_length(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let kind = buf.get(self.at).copied();
        let Some(length) = self.length_line(buf, ProtocolError::BulkCountTooLong)? else { return Ok(None) };
        if kind != Some(b'$') {
            return Err(ProtocolError::ExpectedBulk(kind.unwrap_or_default()));
        }
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length <= self.limits.max_bulk_bytes);
        let length = length.ok_or(ProtocolError::InvalidBulkLength)?;
        if length > self.max_bulk {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        Ok(Some(length))
    }

    /// Reads the line `?<integer>\r\n` at `at` and moves behind it. The inner option is `None` when what
    /// follows the first byte is not an integer.
    fn length_line(
        &mut self,
        buf: &[u8],
        too_long: ProtocolError,
    ) -> Result<Option<Option<i64>>, ProtocolError> {
        let from = self.searched.max(self.at);
        let Some(found) = buf.get(from..).and_then(|rest| memchr::memchr(b'\r', rest)) else {
            self.searched = buf.len();
            if buf.len().saturating_sub(self.at) > self.limits.max_inline_bytes {
                return Err(too_long);
            }
            return Ok(None);
        };
        let end = from + found;
        if end + 2 > buf.len() {
            // The line feed is still to come.
            self.searched = end;
            return Ok(None);
        }
        if end - self.at > self.limits.max_inline_bytes {
            return Err(too_long);
        }
        let number = buf.get(self.at + 1..end).and_then(parse_i64);
        self.at = end + 2;
        Ok(Some(number))
    }

    fn inline(&mut self, buf: &[u8]) -> Result<Option<Frame>, ProtocolError> {
        let Some(found) = memchr::memchr(b'\n', &buf[self.searched.min(buf.len())..]) else {
            self.searched = buf.len();
            if buf.len() > self.limits.max_inline_bytes {
                return Err(ProtocolError::InlineTooBig);
            }
            return Ok(None);
        };
        let end = self.searched + found;
        if end > self.limits.max_inline_bytes {
            return Err(ProtocolError::InlineTooBig);
        }
        let line = &buf[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let words = split_words(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        self.reset();
        Ok(Some(Frame { len: end + 1, args: words.ranges, unescaped: words.unescaped }))
    }
}

/// The number in a line such as `$12\r\n`, when it has the kind that is looked for, at most three digits and is there
/// already, as nearly every one is; and how many bytes the line takes.
#[inline(always)]
fn short_length(buf: &[u8], kind: u8) -> Option<(usize, usize)> {
    let &[found, first, second, third, fourth, _line_feed] = buf.first_chunk::<6>()?;
    let digit = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    let one = digit(first);
    if found != kind || one > 9 {
        return None;
    }
    if second == b'\r' {
        return Some((one, 4));
    }
    let two = digit(second);
    // Leading zeros are refused elsewhere.
    if one == 0 || two > 9 {
        return None;
    }
    if third == b'\r' {
        return Some((one * 10 + two, 5));
    }
    let three = digit(third);
    if three <= 9 && fourth == b'\r' { Some((one * 100 + two * 10 + three, 6)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(bytes: &[u8], limits: Limits) -> Result<Vec<Vec<String>>, ProtocolError> {
        let mut parser = RequestParser::new(limits);
        let mut rest = bytes;
        let mut requests = Vec::new();
        while let Some(frame) = parser.next(rest)? {
            requests
                .push(frame.view(rest).iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect());
            rest = &rest[frame.len..];
        }
        Ok(requests)
    }

    #[test]
    fn pipelined_requests() {
        let requests = parse_all(
            b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\nPING\r\n*1\r\n$4\r\nPING\r\n*-1\r\n",
            Limits::default(),
        );
        assert_eq!(
            requests.expect("valid"),
            [vec!["GET", "k"], vec![], vec!["PING"], vec!["PING"], vec![]] as [Vec<&str>; 5]
        );
    }

    #[test]
    fn a_partial_argument_says_what_is_missing() {
        let mut parser = RequestParser::new(Limits::default());
        assert!(parser.next(b"*1\r\n$1000\r\nabc").expect("valid").is_none());
        assert_eq!(parser.need_hint(), 999);
        assert!(parser.is_partial());
    }

    #[test]
    fn bounds() {
        let small = Limits { max_bulk_bytes: 10, max_args: 3, ..Limits::default() };
        assert_eq!(parse_all(b"*4\r\n", small), Err(ProtocolError::InvalidMultibulkLength));
        assert_eq!(parse_all(b"*1\r\n$11\r\n", small), Err(ProtocolError::InvalidBulkLength));
        assert_eq!(
            parse_all(b"*11\r\n", Limits::unauthenticated()),
            Err(ProtocolError::UnauthenticatedMultibulkLength)
        );
        assert_eq!(
            parse_all(b"*1\r\n$16385\r\n", Limits::unauthenticated()),
            Err(ProtocolError::UnauthenticatedBulkLength)
        );
        let frame = Limits { max_frame_bytes: 30, ..Limits::default() };
        assert_eq!(parse_all(b"*2\r\n$10\r\n0123456789\r\n$10\r\n", frame), Err(ProtocolError::FrameTooBig));
        assert_eq!(parse_all(&[b'a'; 65 * 1024], Limits::default()), Err(ProtocolError::InlineTooBig));
    }
}
