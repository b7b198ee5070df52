//! From RESP3 to RESP2: what a server would have answered to a client of the older version.

use super::encode::length_line;
use super::error::ProtocolError;
use super::scan::{Element, element};

/// Which null a command answers with in RESP2, where there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NullKind {
    /// `$-1`
    #[default]
    Bulk,
    /// `*-1`
    Array,
}

/// Appends to `out` the RESP2 bytes of `frame`, one whole reply in RESP3 (or RESP2 already, which stays as it
/// is). Attributes are left out. `null` says what a null becomes that is the whole reply; inside aggregates it is
/// always a bulk null.
///
/// On an error `out` is as it was.
pub fn downgrade(frame: &[u8], out: &mut Vec<u8>, null: NullKind) -> Result<(), ProtocolError> {
    let before = out.len();
    let outcome = translate(frame, out, null);
    if outcome.is_err() {
        out.truncate(before);
    }
    outcome
}

fn translate(frame: &[u8], out: &mut Vec<u8>, null: NullKind) -> Result<(), ProtocolError> {
    let mut rest = frame;
    // Elements of attributes that are still to be left out.
    let mut skip = 0u64;
    let mut top = true;
    while let Some((&kind, tail)) = rest.split_first() {
        let end = memchr::memchr(b'\r', tail).ok_or(ProtocolError::MalformedReply)?;
        let (text, tail) = tail.split_at(end);
        rest = tail.strip_prefix(b"\r\n").ok_or(ProtocolError::MalformedReply)?;
        let element = element(kind, text)?;
        let mut body: &[u8] = &[];
        if let Element::Bulk(length) = element {
            let (bytes, tail) = rest.split_at_checked(length).ok_or(ProtocolError::MalformedReply)?;
            body = bytes;
            rest = tail.strip_prefix(b"\r\n").ok_or(ProtocolError::MalformedReply)?;
        }
        if let Element::Attribute(count) = element {
            skip = skip.checked_add(count).ok_or(ProtocolError::InvalidMultibulkLength)?;
            continue;
        }
        if skip > 0 {
            skip -= 1;
            if let Element::Aggregate(count) = element {
                skip = skip.checked_add(count).ok_or(ProtocolError::InvalidMultibulkLength)?;
            }
            continue;
        }
        match (element, kind) {
            (Element::Aggregate(count), _) => {
                length_line(
                    out,
                    b'*',
                    usize::try_from(count).map_err(|_| ProtocolError::InvalidMultibulkLength)?,
                );
            }
            (Element::Bulk(_), b'=') => bulk(out, body.get(4..).unwrap_or_default()),
            (Element::Bulk(_), b'!') => {
                out.push(b'-');
                out.extend(body.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
                out.extend_from_slice(b"\r\n");
            }
            (Element::Bulk(_), _) => bulk(out, body),
            (_, b'_') => out.extend_from_slice(match null {
                NullKind::Array if top => b"*-1\r\n",
                _ => b"$-1\r\n",
            }),
            (_, b'#') => out.extend_from_slice(if text == b"t" { b":1\r\n" } else { b":0\r\n" }),
            (_, b',' | b'(') => bulk(out, text),
            (_, _) => {
                out.push(kind);
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
        }
        top = false;
    }
    Ok(())
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    length_line(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down(frame: &str) -> String {
        let mut out = Vec::new();
        downgrade(frame.as_bytes(), &mut out, NullKind::Bulk).expect("valid");
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_type() {
        for (resp3, resp2) in [
            ("+OK\r\n", "+OK\r\n"),
            ("-ERR x\r\n", "-ERR x\r\n"),
            (":1\r\n", ":1\r\n"),
            ("$2\r\nab\r\n", "$2\r\nab\r\n"),
            ("_\r\n", "$-1\r\n"),
            ("#t\r\n", ":1\r\n"),
            ("#f\r\n", ":0\r\n"),
            (",1.5\r\n", "$3\r\n1.5\r\n"),
            (",inf\r\n", "$3\r\ninf\r\n"),
            ("(123\r\n", "$3\r\n123\r\n"),
            ("=6\r\ntxt:hi\r\n", "$2\r\nhi\r\n"),
            ("!5\r\nERR x\r\n", "-ERR x\r\n"),
            ("%1\r\n+a\r\n_\r\n", "*2\r\n+a\r\n$-1\r\n"),
            ("~1\r\n#t\r\n", "*1\r\n:1\r\n"),
            (">2\r\n+a\r\n+b\r\n", "*2\r\n+a\r\n+b\r\n"),
            ("|1\r\n+a\r\n*2\r\n:1\r\n:2\r\n:3\r\n", ":3\r\n"),
            ("*1\r\n|1\r\n+a\r\n+b\r\n:3\r\n", "*1\r\n:3\r\n"),
            ("$-1\r\n", "$-1\r\n"),
            ("*-1\r\n", "*-1\r\n"),
        ] {
            assert_eq!(down(resp3), resp2);
        }
    }

    #[test]
    fn the_null_of_a_whole_reply() {
        let mut out = Vec::new();
        downgrade(b"_\r\n", &mut out, NullKind::Array).expect("valid");
        assert_eq!(out, b"*-1\r\n");
        assert!(downgrade(b"$5\r\nab", &mut out, NullKind::Array).is_err());
        assert_eq!(out, b"*-1\r\n");
    }
}
