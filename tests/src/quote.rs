//! Bytes as text and back: the quoting of the command lists, and the escapes of the reports.
//!
//! Pure functions, no state.

/// Why a line of a command list could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum QuoteError {
    /// A quote was opened and not closed on this line.
    Unbalanced,
    /// `\x` without two hexadecimal digits behind it.
    BadHex,
    /// Text directly behind a closing quote.
    Glued,
    /// `${` without a count such as `${a*300}`.
    BadRepeat,
}

impl std::fmt::Display for QuoteError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unbalanced => "unbalanced quotes",
            Self::BadHex => "\\x needs two hexadecimal digits",
            Self::Glued => "text directly behind a closing quote",
            Self::BadRepeat => "a repeat is written ${text*count}",
        })
    }
}

impl std::error::Error for QuoteError {}

/// The longest run of bytes that one `${text*count}` may make.
pub const MAX_REPEAT_BYTES: usize = 64 << 20;

/// Splits a line into arguments. `"…"` knows `\n \r \t \0 \\ \" \xNN`, `'…'` is literal, and outside
/// of single quotes `${text*count}` stands for a text repeated.
pub fn split(line: &str) -> Result<Vec<Vec<u8>>, QuoteError> {
    let mut args = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (arg, after) = match rest.as_bytes()[0] {
            b'"' => {
                let end = closing_quote(rest).ok_or(QuoteError::Unbalanced)?;
                (unescape(&rest[1..end])?, &rest[end + 1..])
            }
            b'\'' => {
                let end = rest[1..].find('\'').ok_or(QuoteError::Unbalanced)? + 1;
                (rest.as_bytes()[1..end].to_vec(), &rest[end + 1..])
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (unescape(&rest[..end])?, &rest[end..])
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(QuoteError::Glued);
        }
        args.push(arg);
        rest = after.trim_start();
    }
    Ok(args)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Turns escapes and repeats into bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>, QuoteError> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'\\' => {
                let Some(&kind) = bytes.get(at) else {
                    out.push(b'\\');
                    break;
                };
                at += 1;
                match kind {
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'0' => out.push(0),
                    b'x' => {
                        let digits = text.get(at..at + 2).ok_or(QuoteError::BadHex)?;
                        out.push(u8::from_str_radix(digits, 16).map_err(|_| QuoteError::BadHex)?);
                        at += 2;
                    }
                    other => out.push(other),
                }
            }
            b'$' if bytes.get(at) == Some(&b'{') => {
                let end = text[at..].find('}').ok_or(QuoteError::BadRepeat)? + at;
                let (unit, count) = text[at + 1..end].rsplit_once('*').ok_or(QuoteError::BadRepeat)?;
                let unit = unescape(unit)?;
                let count: usize = count.parse().map_err(|_| QuoteError::BadRepeat)?;
                if unit.len().saturating_mul(count) > MAX_REPEAT_BYTES {
                    return Err(QuoteError::BadRepeat);
                }
                out.extend(unit.repeat(count));
                at = end + 1;
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Bytes as printable text, cut after `limit` bytes.
pub fn show(bytes: &[u8], limit: usize) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for &byte in bytes.iter().take(limit) {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    if bytes.len() > limit {
        let _ = write!(text, "… ({} bytes)", bytes.len());
    }
    text
}

/// A command as a line that [`split`] reads back.
pub fn show_command(args: &[Vec<u8>], limit: usize) -> String {
    let plain = |arg: &[u8]| {
        !arg.is_empty()
            && arg.iter().all(|&b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'$'))
    };
    let mut words = Vec::with_capacity(args.len());
    for arg in args {
        if plain(arg) && arg.len() <= limit {
            words.push(String::from_utf8_lossy(arg).into_owned());
        } else {
            words.push(format!("\"{}\"", show(arg, limit).replace('"', "\\\"")));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        split(line).expect(line).iter().map(|w| show(w, 1000)).collect()
    }

    #[test]
    fn quotes_escapes_and_repeats_are_read() {
        assert_eq!(words("SET  k v "), ["SET", "k", "v"]);
        assert_eq!(words(r#"SET "a b" "\x00\r\n""#), ["SET", "a b", "\\x00\\r\\n"]);
        assert_eq!(words(r#"SET '' "" '\n'"#), ["SET", "", "", "\\\\n"]);
        assert_eq!(words(r#"a\x20b "${xy*3}" ${z*2}"#), ["a b", "xyxyxy", "zz"]);
        assert_eq!(words(r#""a\"b""#), ["a\"b"]);
        assert!(words("   ").is_empty());
    }

    #[test]
    fn broken_lines_are_refused() {
        assert_eq!(split("a \"b"), Err(QuoteError::Unbalanced));
        assert_eq!(split("a 'b"), Err(QuoteError::Unbalanced));
        assert_eq!(split("\"a\"b"), Err(QuoteError::Glued));
        assert_eq!(split("\\xz1"), Err(QuoteError::BadHex));
        assert_eq!(split("${a}"), Err(QuoteError::BadRepeat));
    }

    #[test]
    fn shown_commands_read_back() {
        let args = vec![b"SET".to_vec(), b"a \"b\"\r\n\xff".to_vec(), b"$".to_vec(), Vec::new()];
        assert_eq!(split(&show_command(&args, 100)).expect("reads back"), args);
    }
}
