//! Numbers with a 64-bit mantissa, as INCRBYFLOAT and HINCRBYFLOAT of Redis count with.
//!
//! Redis computes with C's `long double`, on x86-64 the 80-bit extended format, and prints with 17 digits after
//! the point. Rust has no such type, and `f64` shows differences that clients would see (0.1 + 0.2), so the three
//! operations that are needed are done here in integers: read, add, print; each correctly rounded (to nearest,
//! ties to even). Numbers too small for the format's normal range are kept exactly: they print as 0 either way.

use std::cmp::Ordering;

/// The longest text that is read, bytes; Redis's limit.
const MAX_TEXT_BYTES: usize = 5 * 1024 - 1;

/// Numbers of 2 to this power and above are infinite.
const MAX_EXPONENT: i32 = 16_384;

/// Numbers below 2 to this power are zero.
const MIN_EXPONENT: i32 = -16_445;

/// Decimal exponents beyond this are out of range whatever the digits are.
const MAX_DECIMAL_EXPONENT: i64 = 5_000;

/// Ten to the seventeenth: the digits after the point that are printed.
const FRACTION: u128 = 100_000_000_000_000_000;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

/// A number without its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    Zero,
    /// `mantissa * 2^exponent`; the mantissa's top bit is set.
    Finite {
        mantissa: u64,
        exponent: i32,
    },
    Infinite,
}

impl LongDouble {
    /// Nothing.
    pub const ZERO: LongDouble = LongDouble { negative: false, magnitude: Magnitude::Zero };

    /// Reads a decimal or hexadecimal number as `strtold` does, the whole text, without blanks. `None` when it is no number or
    /// out of range.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.is_empty() || text.len() > MAX_TEXT_BYTES {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let magnitude = if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            Magnitude::Infinite
        } else if let [b'0', b'x' | b'X', rest @ ..] = digits {
            parse_hex(rest)?
        } else {
            parse_decimal(digits)?
        };
        Some(LongDouble { negative, magnitude })
    }

    /// False for the infinities.
    pub fn is_finite(&self) -> bool {
        self.magnitude != Magnitude::Infinite
    }

    /// The sum; `None` where it is no number.
    pub fn add(self, other: LongDouble) -> Option<LongDouble> {
        use Magnitude::{Finite, Infinite, Zero};
        Some(match (self.magnitude, other.magnitude) {
            (Infinite, Infinite) if self.negative != other.negative => return None,
            (Infinite, _) | (_, Zero) => self,
            (_, Infinite) | (Zero, _) => other,
            (Finite { mantissa: am, exponent: ae }, Finite { mantissa: bm, exponent: be }) => {
                // The larger first: its mantissa's top bit is set, so the exponent decides.
                let ((big, big_exponent, negative), (small, small_exponent)) = if (ae, am) >= (be, bm) {
                    ((am, ae, self.negative), (bm, be))
                } else {
                    ((bm, be, other.negative), (am, ae))
                };
                let distance = (big_exponent - small_exponent).unsigned_abs();
                let big = u128::from(big) << 62;
                let small = u128::from(small) << 62;
                let (shifted, lost) = match distance {
                    0 => (small, false),
                    1..=127 => (small >> distance, small & ((1 << distance) - 1) != 0),
                    _ => (0, true),
                };
                let sum = if self.negative == other.negative {
                    big + shifted
                } else {
                    // What was lost made the subtrahend smaller than it is.
                    big - shifted - u128::from(lost)
                };
                LongDouble { negative, magnitude: rounded(sum, big_exponent - 62, lost) }
            }
        })
    }

    /// Prints with at most 17 digits after the point, without zeros at the end.
    pub fn format(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        match self.magnitude {
            Magnitude::Zero => "0".into(),
            Magnitude::Infinite => format!("{sign}inf"),
            Magnitude::Finite { mantissa, exponent } if exponent >= 0 => {
                let mut big = Big::from(mantissa);
                big.shift_left(exponent as u32);
                format!("{sign}{}", big.decimal())
            }
            Magnitude::Finite { mantissa, exponent } => {
                // Below 2^121, so the product fits.
                let scaled = u128::from(mantissa) * FRACTION;
                let units = shift_right_rounded(scaled, exponent.unsigned_abs());
                let (whole, fraction) = (units / FRACTION, units % FRACTION);
                let sign = if units == 0 { "" } else { sign };
                if fraction == 0 {
                    return format!("{sign}{whole}");
                }
                let text = format!("{sign}{whole}.{fraction:017}");
                text.trim_end_matches('0').into()
            }
        }
    }
}

fn shift_right_rounded(n: u128, by: u32) -> u128 {
    if by > 127 {
        return 0;
    }
    let (kept, rest, half) = (n >> by, n & ((1 << by) - 1), 1u128 << (by - 1).min(127));
    match rest.cmp(&half) {
        Ordering::Less => kept,
        Ordering::Equal => kept + (kept & 1),
        Ordering::Greater => kept + 1,
    }
}

/// `n * 2^exponent` with a 64-bit mantissa; `more`: the true number is a little above `n`.
fn rounded(n: u128, exponent: i32, more: bool) -> Magnitude {
    if n == 0 {
        return Magnitude::Zero;
    }
    let excess = 64 - n.leading_zeros() as i32;
    let (mut mantissa, mut exponent) = (n, exponent);
    if excess <= 0 {
        mantissa <<= excess.unsigned_abs();
        exponent += excess;
    } else {
        let rest = n & ((1 << excess) - 1);
        let half = 1u128 << (excess - 1);
        mantissa >>= excess;
        exponent += excess;
        if rest > half || (rest == half && (more || mantissa & 1 == 1)) {
            mantissa += 1;
            if mantissa >> 64 != 0 {
                mantissa >>= 1;
                exponent += 1;
            }
        }
    }
    if exponent + 64 > MAX_EXPONENT {
        return Magnitude::Infinite;
    }
    Magnitude::Finite { mantissa: mantissa as u64, exponent }
}

/// The digits of a number.
struct Digits {
    number: Big,
    /// How many there are without zeros in front.
    significant: i64,
    /// How many are behind the point.
    fraction: i64,
}

/// Reads digits of `radix` with an optional point; `None` when there are none, or something else.
fn parse_digits(text: &[u8], radix: u32) -> Option<Digits> {
    let mut found = Digits { number: Big::from(0), significant: 0, fraction: 0 };
    let (mut count, mut point) = (0, false);
    for &byte in text {
        if byte == b'.' && !point {
            point = true;
            continue;
        }
        let digit = char::from(byte).to_digit(radix)?;
        count += 1;
        found.number.multiply_add(radix, digit);
        found.significant += i64::from(found.significant > 0 || digit != 0);
        found.fraction += i64::from(point);
    }
    (count > 0).then_some(found)
}

/// Decimal digits with an optional point and exponent.
fn parse_decimal(text: &[u8]) -> Option<Magnitude> {
    let (digits, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let Digits { mut number, significant, fraction } = parse_digits(digits, 10)?;
    if significant == 0 {
        return Some(Magnitude::Zero);
    }
    let scale = exponent - fraction;
    if (scale + significant).abs() > MAX_DECIMAL_EXPONENT {
        return None;
    }
    let mut divisor = Big::from(1);
    let target = if scale >= 0 { &mut number } else { &mut divisor };
    for _ in 0..scale.unsigned_abs() {
        target.multiply_add(10, 0);
    }
    ratio(number, divisor, 0)
}

/// Hexadecimal digits, behind their `0x`, with an optional point and binary exponent.
fn parse_hex(text: &[u8]) -> Option<Magnitude> {
    let (digits, exponent) = match text.iter().position(|b| matches!(b, b'p' | b'P')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let Digits { number, significant, fraction } = parse_digits(digits, 16)?;
    if significant == 0 {
        return Some(Magnitude::Zero);
    }
    let scale = exponent - 4 * fraction;
    if (scale + 4 * significant).abs() > 2 * i64::from(MAX_EXPONENT) {
        return None;
    }
    ratio(number, Big::from(1), scale as i32)
}

/// `number / divisor * 2^scale`; `None` when that is out of range.
fn ratio(mut number: Big, mut divisor: Big, scale: i32) -> Option<Magnitude> {
    // So that the quotient has 66 or 67 bits.
    let shift = 66 - (number.bits() as i32 - divisor.bits() as i32);
    if shift >= 0 {
        number.shift_left(shift as u32);
    } else {
        divisor.shift_left(shift.unsigned_abs());
    }
    let (quotient, rest) = number.divide(divisor);
    match rounded(quotient, scale - shift, rest) {
        Magnitude::Infinite => None,
        // Smaller than the smallest number of the format: read as zero, which is out of range.
        Magnitude::Finite { exponent, .. } if exponent + 64 < MIN_EXPONENT => None,
        found => Some(found),
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut n = 0i64;
    for byte in digits {
        n = (n * 10 + i64::from(byte.checked_sub(b'0').filter(|d| *d < 10)?)).min(1 << 32);
    }
    Some(if negative { -n } else { n })
}

/// A natural number: 32 bits a word, the lowest first, no zero words at the end.
#[derive(Clone, Debug)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(n: u64) -> Big {
        let mut big = Big(vec![n as u32, (n >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for word in &mut self.0 {
            let n = u64::from(*word) * u64::from(factor) + carry;
            *word = n as u32;
            carry = n >> 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift_left(&mut self, by: u32) {
        if self.0.is_empty() {
            return;
        }
        let bits = by % 32;
        if bits > 0 {
            let mut carry = 0;
            for word in &mut self.0 {
                let n = (u64::from(*word) << bits) | carry;
                *word = n as u32;
                carry = n >> 32;
            }
            self.0.push(carry as u32);
            self.trim();
        }
        self.0.splice(0..0, std::iter::repeat_n(0, by as usize / 32));
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for word in self.0.iter_mut().rev() {
            let n = *word;
            *word = (n >> 1) | carry;
            carry = n << 31;
        }
        self.trim();
    }

    fn compare(&self, other: &Big) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Takes away a number that is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0i64;
        for (index, word) in self.0.iter_mut().enumerate() {
            let n = i64::from(*word) - i64::from(other.0.get(index).copied().unwrap_or(0)) - borrow;
            *word = n as u32;
            borrow = i64::from(n < 0);
        }
        self.trim();
    }

    /// The quotient, which has at most 67 bits, and whether something is left.
    fn divide(mut self, mut divisor: Big) -> (u128, bool) {
        const BITS: u32 = 67;
        divisor.shift_left(BITS);
        let mut quotient = 0u128;
        for _ in 0..=BITS {
            quotient <<= 1;
            if self.compare(&divisor) != Ordering::Less {
                self.subtract(&divisor);
                quotient |= 1;
            }
            divisor.halve();
        }
        (quotient, !self.0.is_empty())
    }

    fn decimal(mut self) -> String {
        const GROUP: u64 = 1_000_000_000;
        let mut groups = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for word in self.0.iter_mut().rev() {
                let n = (rest << 32) | u64::from(*word);
                *word = (n / GROUP) as u32;
                rest = n % GROUP;
            }
            self.trim();
            groups.push(rest);
        }
        let mut text = groups.pop().unwrap_or(0).to_string();
        for group in groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(a: &str, b: &str) -> Option<String> {
        let sum = LongDouble::parse(a.as_bytes())?.add(LongDouble::parse(b.as_bytes())?)?;
        Some(sum.format())
    }

    #[test]
    fn sums_are_those_of_the_extended_format() {
        // Asked of a Redis 7 on x86-64.
        for (a, b, expected) in [
            ("10.5", "0.1", "10.6"),
            ("1000000.1", "0.1", "1000000.20000000000004547"),
            ("5.0e3", "2.0e2", "5200"),
            ("3", "1e-17", "3.00000000000000001"),
            ("3", "1e-20", "3"),
            ("123456789.123456789", "0.1", "123456789.22345678899728227"),
            ("0.1", "0.2", "0.3"),
            ("-5", "5", "0"),
            ("0", "-0.0", "0"),
            ("+5", "1", "6"),
            (".5", ".5", "1"),
            ("5.", "1", "6"),
            ("-1e-30", "0", "0"),
            ("0x10", "0XaP-1", "21"),
            ("-0x.8", "0x1.8p+1", "2.5"),
        ] {
            assert_eq!(sum(a, b).as_deref(), Some(expected), "{a} + {b}");
        }
        let big = sum("1e4931", "1e4931").unwrap_or_default();
        assert_eq!(big.len(), 4932);
        assert!(big.starts_with("20000000000000000000120378987759277826476755485090662295"));
        assert!(
            sum("1e300", "1")
                .is_some_and(|s| s.starts_with("1000000000000000000008997324079559193870523944"))
        );
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "",
            " 1",
            "1 ",
            "1e",
            "e1",
            ".",
            "nan",
            "1e5000",
            "1e-5000",
            "-",
            "1.2.3",
            "1x",
            "--1",
            "0x",
            "0xg",
            "0x1p",
            "0x1p99999",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(sum("inf", "-inf"), None);
        assert_eq!(sum("inf", "1").as_deref(), Some("inf"));
        assert_eq!(LongDouble::parse(&[b'1'; 6000]), None);
    }

    proptest! {
        #[test]
        fn integers_are_exact(a in -(1i64 << 61)..1 << 61, b in -(1i64 << 61)..1 << 61) {
            prop_assert_eq!(sum(&a.to_string(), &b.to_string()), Some((a + b).to_string()));
        }

        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(any::<u8>(), 0..40), digits in "[-+]?[0-9]{0,30}[.]?[0-9]{0,30}(e[-+]?[0-9]{1,5})?") {
            for text in [&text[..], digits.as_bytes()] {
                if let Some(n) = LongDouble::parse(text) {
                    let _ = n.add(n).map(|sum| sum.format());
                    let _ = n.format();
                }
            }
        }
    }
}
