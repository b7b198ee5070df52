//! Doubles as C's `strtod` reads them, which is what Redis uses for scores: decimal and hexadecimal numbers,
//! `inf`, `infinity`, in any case and with a sign.

/// A number that was read, and whether it lies beyond what a double can hold (it is infinite or zero then).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Read {
    value: f64,
    out_of_range: bool,
}

/// The whole of `text` as a double, without white space, in range and not NaN: what Redis takes for a score.
#[inline]
pub fn parse_double(text: &[u8]) -> Option<f64> {
    if let Some(small) = small_integer(text) {
        return Some(small);
    }
    read(text).filter(|read| !read.out_of_range).map(|read| read.value)
}

/// The whole of `text` as a number that SORT sorts by: white space may precede, and nothing stands for zero.
pub fn parse_weight(text: &[u8]) -> Option<f64> {
    if let Some(small) = small_integer(text) {
        return Some(small);
    }
    if text.is_empty() {
        return Some(0.0);
    }
    read(text.trim_ascii_start()).filter(|read| !read.out_of_range).map(|read| read.value)
}

/// The whole of `text` as one end of a range of scores: white space may precede, nothing stands for zero, and what a
/// double cannot hold is infinite or zero.
pub fn parse_bound(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    read(text.trim_ascii_start()).map(|read| read.value)
}

/// Integers of up to fifteen digits: nearly all scores.
#[inline]
fn small_integer(text: &[u8]) -> Option<f64> {
    let (sign, digits) = match text.split_first() {
        Some((b'-', digits)) => (-1.0, digits),
        _ => (1.0, text),
    };
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let mut value = 0u64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    Some(sign * value as f64)
}

fn read(text: &[u8]) -> Option<Read> {
    let digits = match text.first()? {
        b'+' | b'-' => &text[1..],
        _ => text,
    };
    if let [b'0', b'x' | b'X', hex @ ..] = digits {
        let read = hexadecimal(hex)?;
        return Some(if text[0] == b'-' { Read { value: -read.value, ..read } } else { read });
    }
    // The rest of what strtod takes Rust takes as well, and nothing else. (A second sign it refuses.)
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if value.is_nan() {
        return None;
    }
    let is_word = digits.first().is_some_and(u8::is_ascii_alphabetic);
    let mantissa = digits.split(|b| matches!(b, b'e' | b'E')).next().unwrap_or_default();
    let is_zero = mantissa.iter().all(|b| matches!(b, b'0' | b'.'));
    let out_of_range = (value.is_infinite() && !is_word) || (value == 0.0 && !is_zero);
    Some(Read { value, out_of_range })
}

/// `[hex].[hex][p[+-]dec]`, with at least one digit.
fn hexadecimal(text: &[u8]) -> Option<Read> {
    let at = text.iter().position(|b| matches!(b, b'p' | b'P')).unwrap_or(text.len());
    let (digits, exponent) = text.split_at(at);
    let mut power = match exponent {
        [] => 0,
        [_, b'+', rest @ ..] if !rest.starts_with(b"-") => super::parse_i64(rest)?,
        [_, rest @ ..] => super::parse_i64(rest)?,
    };
    let (mut mantissa, mut seen, mut point) = (0u64, 0, false);
    for &byte in digits {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(byte).to_digit(16)?;
        seen += 1;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            power = power.saturating_sub(if point { 4 } else { 0 });
        } else {
            // Too fine for a double; only whether it is nothing can matter, for rounding.
            mantissa |= u64::from(digit != 0);
            power = power.saturating_add(if point { 0 } else { 4 });
        }
    }
    if seen == 0 {
        return None;
    }
    if mantissa == 0 {
        // Whatever the exponent: zero times a power beyond the range would be no number.
        return Some(Read { value: 0.0, out_of_range: false });
    }
    // In two steps: one power of two may be beyond the range although the result is not.
    let power = power.clamp(-4096, 4096) as i32;
    let half = power / 2;
    let value = mantissa as f64 * 2f64.powi(half) * 2f64.powi(power - half);
    Some(Read { value, out_of_range: value.is_infinite() || value == 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_at_the_ends_of_their_range() {
        let huge =
            [format!("0x11111111111111111p{}", i64::MAX), format!("0x1p{}", i64::MAX), "0x1p4096".to_owned()];
        let tiny = [
            format!("0x0.1p{}", i64::MIN),
            format!("0x1.11111111111111111p{}", i64::MIN),
            "0x1p-4096".to_owned(),
        ];
        for text in huge.iter().chain(&tiny) {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
        assert!(huge.iter().all(|text| parse_bound(text.as_bytes()) == Some(f64::INFINITY)));
        assert!(tiny.iter().all(|text| parse_bound(text.as_bytes()) == Some(0.0)));
        assert_eq!(parse_double(format!("0x0p{}", i64::MAX).as_bytes()), Some(0.0));
    }

    #[test]
    fn as_strtod_reads_them() {
        for (text, value) in [
            ("0", 0.0),
            ("-12", -12.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0X.8P-1", 0.25),
            ("1e-320", 1e-320),
            ("0e999", 0.0),
            ("1234567890123456789", 1_234_567_890_123_456_789.0),
        ] {
            assert_eq!(parse_double(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_score() {
        for text in [
            "", " 1", "1 ", "1e", "nan", "-nan", "x", "1e400", "1e-400", "0x", "0xp1", "--1", "1_0",
            "0x1e+-2",
        ] {
            assert_eq!(parse_double(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn ends_of_ranges_may_be_more() {
        assert_eq!(parse_bound(b""), Some(0.0));
        assert_eq!(parse_bound(b" 1"), Some(1.0));
        assert_eq!(parse_bound(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_bound(b"1 "), None);
        assert_eq!(parse_bound(b"nan"), None);
    }
}
