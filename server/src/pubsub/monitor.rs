//! MONITOR: a request as those who watch see it.

use std::fmt::Write as _;
use std::io::Write as _;

use torc_protocol::command::Command;
use torc_protocol::resp::Args;

use crate::exec::redact;

/// `+seconds.micros [db source] "word" "word" …`, a whole line of the protocol. `source` is the client's address, or
/// `lua`. Secrets are left out.
pub fn describe_request(now_ms: u64, db: u8, source: &str, command: Command, args: &Args<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(64 + args.total_bytes() + args.len() * 3);
    // Writing to a vector does not fail.
    let _ = write!(line, "+{}.{:06} [{db} {source}]", now_ms / 1000, now_ms % 1000 * 1000);
    for (index, arg) in args.iter().enumerate() {
        line.push(b' ');
        quote(if redact::is_secret(command, args, index) { redact::SHOWN } else { arg }, &mut line);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// A word in double quotes, with what is no printable ASCII escaped.
fn quote(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..0x7f => out.push(byte),
            _ => {
                let mut hex = String::with_capacity(4);
                let _ = write!(hex, "\\x{byte:02x}");
                out.extend_from_slice(hex.as_bytes());
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use torc_protocol::command::resolve;
    use torc_protocol::resp::OwnedArgs;

    use super::*;

    fn line(words: &[&[u8]]) -> String {
        let args = OwnedArgs::new(words);
        let command = resolve(&args.view()).expect("known");
        String::from_utf8_lossy(&describe_request(1_700_000_000_123, 9, "1.2.3.4:5", command, &args.view()))
            .into_owned()
    }

    #[test]
    fn a_request_is_shown_as_redis_shows_it() {
        assert_eq!(
            line(&[b"set", b"k", b"a\"\\\n\x01\xff b"]),
            "+1700000000.123000 [9 1.2.3.4:5] \"set\" \"k\" \"a\\\"\\\\\\n\\x01\\xff b\"\r\n"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        for (words, shown) in [
            (&["auth", "pw"][..], r#""auth" "(redacted)""#),
            (&["auth", "user", "pw"], r#""auth" "(redacted)" "(redacted)""#),
            (
                &["hello", "3", "AUTH", "u", "pw", "SETNAME", "n"],
                r#""hello" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "n""#,
            ),
            (
                &["config", "set", "timeout", "1", "RequirePass", "pw"],
                r#""config" "set" "timeout" "1" "RequirePass" "(redacted)""#,
            ),
        ] {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            assert!(line(&words).ends_with(&format!("] {shown}\r\n")), "{}", line(&words));
        }
    }
}
