//! Inline requests: a line of words, as typed into telnet. Quoting as `sdssplitargs` of Redis understands it.

use super::args::{ArgRange, ArgRanges};

/// Words and where their bytes are. `unescaped` holds them when the line itself does not.
pub(super) struct Words {
    pub ranges: ArgRanges,
    pub unescaped: Option<Box<[u8]>>,
}

/// Splits the inline request `line` (without its line end); `None` when quotes are not balanced.
/// A line with a NUL ends there, as a C string would.
pub(super) fn split_words(line: &[u8]) -> Option<Words> {
    let line = memchr::memchr(0, line).map_or(line, |end| &line[..end]);
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        return Some(Words { ranges: plain_words(line), unescaped: None });
    }
    let mut words = Splitter { line, at: 0, bytes: Vec::with_capacity(line.len()), ranges: ArgRanges::new() };
    words.split()?;
    Some(Words { ranges: words.ranges, unescaped: Some(words.bytes.into_boxed_slice()) })
}

/// Splits a line into words as an inline request would be, for tools and test vectors; `None` when quotes are
/// not balanced.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let words = split_words(line)?;
    let bytes = words.unescaped.as_deref().unwrap_or(line);
    Some(words.ranges.iter().map(|range| bytes[range.start as usize..range.end as usize].to_vec()).collect())
}

/// What `isspace` of C says in the C locale.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// What ends a word that is not quoted: vertical tab and form feed do not.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn plain_words(line: &[u8]) -> ArgRanges {
    let mut ranges = ArgRanges::new();
    let mut at = 0;
    loop {
        while at < line.len() && is_blank(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return ranges;
        }
        let start = at;
        while at < line.len() && !ends_word(line[at]) {
            at += 1;
        }
        // Inline requests are bounded far below 4 GiB.
        ranges.push(ArgRange { start: start as u32, end: at as u32 });
    }
}

struct Splitter<'a> {
    line: &'a [u8],
    at: usize,
    bytes: Vec<u8>,
    ranges: ArgRanges,
}

impl Splitter<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.line.get(self.at + ahead).copied()
    }

    fn split(&mut self) -> Option<()> {
        loop {
            while self.peek(0).is_some_and(is_blank) {
                self.at += 1;
            }
            if self.peek(0).is_none() {
                return Some(());
            }
            let start = self.bytes.len() as u32;
            self.word()?;
            self.ranges.push(ArgRange { start, end: self.bytes.len() as u32 });
        }
    }

    fn word(&mut self) -> Option<()> {
        while let Some(byte) = self.peek(0) {
            self.at += 1;
            match byte {
                // A closing quote ends the word, and must be followed by a blank or the end.
                b'"' => return self.double_quoted(),
                b'\'' => return self.single_quoted(),
                byte if ends_word(byte) => return Some(()),
                byte => self.bytes.push(byte),
            }
        }
        Some(())
    }

    fn double_quoted(&mut self) -> Option<()> {
        loop {
            let byte = self.peek(0)?;
            self.at += 1;
            match byte {
                b'"' => return self.closed(),
                b'\\' => self.escape(),
                byte => self.bytes.push(byte),
            }
        }
    }

    /// After a backslash inside double quotes.
    fn escape(&mut self) {
        let Some(byte) = self.peek(0) else {
            // The last byte of the line: taken as it is; the missing quote is found next.
            self.bytes.push(b'\\');
            return;
        };
        if byte == b'x'
            && let (Some(high), Some(low)) = (self.peek(1).and_then(hex), self.peek(2).and_then(hex))
        {
            self.bytes.push(high << 4 | low);
            self.at += 3;
            return;
        }
        self.bytes.push(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'b' => 0x08,
            b'a' => 0x07,
            other => other,
        });
        self.at += 1;
    }

    fn single_quoted(&mut self) -> Option<()> {
        loop {
            let byte = self.peek(0)?;
            self.at += 1;
            match byte {
                b'\'' => return self.closed(),
                b'\\' if self.peek(0) == Some(b'\'') => {
                    self.bytes.push(b'\'');
                    self.at += 1;
                }
                byte => self.bytes.push(byte),
            }
        }
    }

    fn closed(&self) -> Option<()> {
        self.peek(0).is_none_or(is_blank).then_some(())
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_args(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn splits_as_redis_does() {
        let yes = |line: &str, expected: &[&str]| {
            assert_eq!(
                words(line).as_deref(),
                Some(&expected.iter().map(|w| w.to_string()).collect::<Vec<_>>()[..])
            );
        };
        yes("", &[]);
        yes("   ", &[]);
        yes("set  key\tvalue ", &["set", "key", "value"]);
        yes(r#"set "a b" 'c d'"#, &["set", "a b", "c d"]);
        yes(r#"a"b c""#, &["ab c"]);
        yes(r#""\x41\n\q\"""#, &["A\nq\""]);
        yes(r#"'\'\n'"#, &["'\\n"]);
        yes(r#""" ''"#, &["", ""]);
        yes("a\\b", &["a\\b"]);
        yes("a\0b", &["a"]);
        for line in [r#""a"#, "'a", r#""a"b"#, r#"'a'b"#, r#""a\"#] {
            assert_eq!(words(line), None, "{line}");
        }
    }
}
