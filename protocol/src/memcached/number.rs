//! Numbers as memcached reads them: by C's `strtol` family, with what that lets pass.

/// Digits with their sign; `None` for what C's functions do not take whole.
struct Number {
    negative: bool,
    magnitude: u64,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Blanks, a sign, digits; then the end, a blank or a NUL, whatever follows it.
fn read(text: &[u8]) -> Option<Number> {
    let start = text.iter().position(|byte| !is_blank(*byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let count = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if count == 0 || digits.get(count).is_some_and(|byte| *byte != 0 && !is_blank(*byte)) {
        return None;
    }
    let mut magnitude = 0u64;
    for &digit in &digits[..count] {
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(Number { negative, magnitude })
}

/// An unsigned number of 64 bits. One with a minus wraps, unless the outcome looks negative.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let number = read(text)?;
    let value = if number.negative { number.magnitude.wrapping_neg() } else { number.magnitude };
    if (value as i64) < 0 && text.contains(&b'-') { None } else { Some(value) }
}

/// An unsigned number of 32 bits: the lower half of one of 64.
pub(super) fn parse_u32(text: &[u8]) -> Option<u32> {
    parse_u64(text).map(|value| value as u32)
}

/// A signed number of 32 bits: the lower half of one of 64.
pub(super) fn parse_i32(text: &[u8]) -> Option<i32> {
    let number = read(text)?;
    let value = if number.negative {
        0i64.checked_sub_unsigned(number.magnitude)?
    } else {
        i64::try_from(number.magnitude).ok()?
    };
    Some(value as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"+07"), Some(7));
        assert_eq!(parse_u64(b"-1"), None);
        assert_eq!(parse_u64(b"-0"), Some(0));
        assert_eq!(parse_u64(b"1x"), None);
        assert_eq!(parse_u64(b"1\tx"), Some(1));
        assert_eq!(parse_u64(b"1937\x00\x8d"), Some(1937));
        assert_eq!(parse_u64(b""), None);
        assert_eq!(parse_u64(b"-"), None);
        assert_eq!(parse_u32(b"4294967296"), Some(0));
        assert_eq!(parse_u32(b"-1"), None);
        assert_eq!(parse_i32(b"-1"), Some(-1));
        assert_eq!(parse_i32(b"9999999999"), Some(1_410_065_407));
        assert_eq!(parse_i32(b"9223372036854775808"), None);
        assert_eq!(parse_i32(b"-9223372036854775808"), Some(0));
    }
}
