//! Counts replies in a byte stream without keeping them.
//!
//! A [`Counter`] belongs to one connection and remembers where in a reply the last bytes ended.

use super::args::Protocol;

/// The longest line of a reply that is looked at, bytes.
const MAX_LINE_BYTES: usize = 1024;

/// How a reply came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A value, or an OK.
    Fine,
    /// A read that found nothing.
    Miss,
    /// An error.
    Error,
}

/// The bytes are no replies of the protocol.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer is not of the protocol: {0:?}")]
pub struct Strange(String);

/// Splits a stream of bytes into replies.
#[derive(Debug)]
pub struct Counter {
    protocol: Protocol,
    /// The part of a line that has come so far.
    line: Vec<u8>,
    /// Bytes of a bulk or data block still to skip.
    skip: u64,
    /// Elements of the current reply still to come.
    elements: u64,
    verdict: Verdict,
}

impl Counter {
    /// At the start of a connection.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            line: Vec::with_capacity(MAX_LINE_BYTES),
            skip: 0,
            elements: 0,
            verdict: Verdict::Fine,
        }
    }

    /// Takes bytes; `reply` is called at each reply's end with the verdict and, for an error, its line.
    ///
    /// # Errors
    /// [`Strange`], after which the connection is of no use.
    pub fn feed(&mut self, mut bytes: &[u8], mut reply: impl FnMut(Verdict, &[u8])) -> Result<(), Strange> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len() as u64);
                bytes = &bytes[step as usize..];
                self.skip -= step;
                if self.skip == 0 && self.protocol == Protocol::Resp {
                    self.element(&mut reply, b"");
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
                if self.line.len() + bytes.len() > MAX_LINE_BYTES {
                    return Err(strange(&self.line));
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            let (head, rest) = bytes.split_at(end + 1);
            bytes = rest;
            if self.line.is_empty() {
                self.whole_line(head, &mut reply)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                let result = self.whole_line(&line, &mut reply);
                line.clear();
                self.line = line;
                result?;
            }
        }
        Ok(())
    }

    fn whole_line(&mut self, line: &[u8], reply: &mut impl FnMut(Verdict, &[u8])) -> Result<(), Strange> {
        let text = line.strip_suffix(b"\r\n").ok_or_else(|| strange(line))?;
        match self.protocol {
            Protocol::Resp => self.resp_line(text, reply),
            Protocol::Memcached => self.memcached_line(text, reply),
        }
    }

    fn resp_line(&mut self, line: &[u8], reply: &mut impl FnMut(Verdict, &[u8])) -> Result<(), Strange> {
        let (&kind, rest) = line.split_first().ok_or_else(|| strange(line))?;
        let length =
            || if rest == b"-1" { Ok(None) } else { number(rest).map(Some).ok_or_else(|| strange(line)) };
        match kind {
            b'+' | b':' | b',' | b'#' | b'(' => self.element(reply, line),
            b'_' => self.miss(reply),
            b'-' => {
                self.verdict = Verdict::Error;
                self.element(reply, line);
            }
            b'$' | b'=' | b'!' => match length()? {
                None => self.miss(reply),
                Some(length) => self.skip = length + 2,
            },
            b'*' | b'~' | b'>' | b'%' => match length()? {
                None => self.miss(reply),
                Some(length) => {
                    let children = if kind == b'%' { length.saturating_mul(2) } else { length };
                    // The aggregate is an element itself, done when its children are.
                    self.elements = self.elements.max(1).saturating_add(children);
                    self.element(reply, line);
                }
            },
            _ => return Err(strange(line)),
        }
        Ok(())
    }

    fn miss(&mut self, reply: &mut impl FnMut(Verdict, &[u8])) {
        if self.elements == 0 && self.verdict == Verdict::Fine {
            self.verdict = Verdict::Miss;
        }
        self.element(reply, b"");
    }

    fn element(&mut self, reply: &mut impl FnMut(Verdict, &[u8]), line: &[u8]) {
        self.elements = self.elements.saturating_sub(1);
        if self.elements == 0 {
            reply(self.verdict, line);
            self.verdict = Verdict::Fine;
        }
    }

    fn memcached_line(&mut self, line: &[u8], reply: &mut impl FnMut(Verdict, &[u8])) -> Result<(), Strange> {
        if let Some(value) = line.strip_prefix(b"VALUE ") {
            let bytes =
                value.split(|&byte| byte == b' ').nth(2).and_then(number).ok_or_else(|| strange(line))?;
            self.skip = bytes + 2;
            self.elements = 1;
            return Ok(());
        }
        let verdict = if line == b"END" {
            if self.elements > 0 { Verdict::Fine } else { Verdict::Miss }
        } else if line == b"STORED" {
            Verdict::Fine
        } else {
            Verdict::Error
        };
        self.elements = 0;
        reply(verdict, line);
        Ok(())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |sum: u64, &digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

fn strange(line: &[u8]) -> Strange {
    Strange(String::from_utf8_lossy(&line[..line.len().min(100)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(protocol: Protocol, stream: &[u8], piece: usize) -> Vec<Verdict> {
        let mut counter = Counter::new(protocol);
        let mut found = Vec::new();
        for bytes in stream.chunks(piece) {
            counter.feed(bytes, |verdict, _| found.push(verdict)).expect("of the protocol");
        }
        found
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        use Verdict::{Error, Fine, Miss};
        let resp = b"+OK\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n:1\r\n*2\r\n$1\r\nx\r\n$-1\r\n*0\r\n_\r\n$0\r\n\r\n*2\r\n*1\r\n:1\r\n%1\r\n+a\r\n+b\r\n+OK\r\n";
        let resp_verdicts = [Fine, Fine, Miss, Error, Fine, Fine, Fine, Miss, Fine, Fine, Fine];
        let memcached =
            b"STORED\r\nEND\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\nSERVER_ERROR x\r\nVALUE k 0 0\r\n\r\nEND\r\n";
        let memcached_verdicts = [Fine, Miss, Fine, Error, Fine];
        for piece in 1..60 {
            assert_eq!(verdicts(Protocol::Resp, resp, piece), resp_verdicts, "pieces of {piece}");
            assert_eq!(
                verdicts(Protocol::Memcached, memcached, piece),
                memcached_verdicts,
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn strange_bytes_are_refused() {
        for bytes in [&b"HTTP/1.1 400\r\n"[..], b"\r\n", b"$x\r\n", b"+OK\n", &[b'+'; 5000]] {
            assert!(Counter::new(Protocol::Resp).feed(bytes, |_, _| {}).is_err());
        }
    }
}
