//! IDs as clients write them.

use torc_protocol::error as text;
use torc_protocol::resp::parse_i64;

use crate::exec::CommandError;
use crate::store::value::stream::{StreamId, WantedId};

/// A longer text is no ID.
const MAX_ID_TEXT: usize = 127;

/// A number as C's `strtoull` reads it, which Redis falls back on: blanks and a sign in front, any zeros.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_i64(text) {
        return u64::try_from(number).ok();
    }
    let blanks = text.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
    let rest = text.get(blanks..)?;
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })?;
    Some(if negative { number.wrapping_neg() } else { number })
}

fn wanted(text: &[u8], missing_seq: u64, star: bool) -> Option<WantedId> {
    if text.len() > MAX_ID_TEXT {
        return None;
    }
    // As far as a C string goes.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let Some(dash) = text.iter().position(|byte| *byte == b'-') else {
        return Some(WantedId::Exact(StreamId::new(number(text)?, missing_seq)));
    };
    let (ms, seq) = (number(text.get(..dash)?)?, text.get(dash + 1..)?);
    if star && seq == b"*" {
        return Some(WantedId::Within(ms));
    }
    Some(WantedId::Exact(StreamId::new(ms, number(seq)?)))
}

/// `ms-seq`, or `ms` with this sequence number.
pub fn strict_or(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match wanted(text, missing_seq, false) {
        Some(WantedId::Exact(id)) => Ok(id),
        _ => Err(text::STREAM_ID.into()),
    }
}

/// `ms-seq` or `ms`.
#[inline]
pub fn strict(text: &[u8]) -> Result<StreamId, CommandError> {
    strict_or(text, 0)
}

/// As [`strict_or`], and `-` and `+` for the smallest and the greatest.
pub fn lenient(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict_or(text, missing_seq),
    }
}

/// The ID of XADD: `ms-seq`, `ms`, `ms-*`.
pub fn to_add(text: &[u8]) -> Result<WantedId, CommandError> {
    wanted(text, 0, true).ok_or_else(|| text::STREAM_ID.into())
}

/// The start of a range: `(` in front leaves the ID itself out.
pub fn range_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => strict(id)?.next().ok_or_else(|| text::STREAM_START.into()),
        _ => lenient(text, 0),
    }
}

/// The end of a range, likewise.
pub fn range_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => {
            strict_or(id, u64::MAX)?.previous().ok_or_else(|| text::STREAM_END.into())
        }
        _ => lenient(text, u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let id = |text: &str| strict(text.as_bytes()).ok().map(|id| (id.ms, id.seq));
        assert_eq!(id("1-2"), Some((1, 2)));
        assert_eq!(id("7"), Some((7, 0)));
        assert_eq!(id("007-+1"), Some((7, 1)));
        assert_eq!(id(" 7"), Some((7, 0)));
        assert_eq!(id("1--05"), Some((1, u64::MAX - 4)));
        assert_eq!(id("18446744073709551615-18446744073709551615"), Some((u64::MAX, u64::MAX)));
        for bad in
            ["", "-", "+", "a", "1-", "-1", "1-2-3", "1--5", "18446744073709551616", "1-*", "$", ">", "1 "]
        {
            assert_eq!(id(bad), None, "{bad}");
        }
        assert_eq!(to_add(b"5-*"), Ok(WantedId::Within(5)));
        assert!(to_add(b"*-*").is_err());
        assert_eq!(range_start(b"(1-5"), Ok(StreamId::new(1, 6)));
        assert_eq!(range_end(b"(1-0"), Ok(StreamId::new(0, u64::MAX)));
        assert_eq!(range_end(b"5"), Ok(StreamId::new(5, u64::MAX)));
        assert_eq!(range_end(b"(5"), Ok(StreamId::new(5, u64::MAX - 1)));
        assert_eq!(range_end(b"(0-0"), Err(text::STREAM_END.into()));
        assert!(range_start(b"(-").is_err() && range_start(b"(").is_err());
    }
}
