//! Doubles as Redis prints them: the shortest text that reads back as the same number.

use std::fmt::Write;

/// The longest text is that of a number such as -1.2345678901234567e-308.
const MAX_TEXT_BYTES: usize = 48;

/// Up to here Redis prints doubles without a fraction as the integers that they are, digit for digit: half of what 64
/// bits hold.
const EXACT_INTEGERS: f64 = (1u64 << 62) as f64;

/// Room for the text of one double.
pub struct DoubleBuffer {
    bytes: [u8; MAX_TEXT_BYTES],
    len: usize,
}

impl DoubleBuffer {
    pub fn new() -> Self {
        DoubleBuffer { bytes: [0; MAX_TEXT_BYTES], len: 0 }
    }

    /// Formats `value`: see [`format_double`].
    pub fn format(&mut self, value: f64) -> &[u8] {
        self.len = 0;
        if value.is_nan() {
            self.push(b"nan");
        } else if value.is_infinite() {
            self.push(if value > 0.0 { b"inf" } else { b"-inf" });
        } else if value == 0.0 {
            self.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        } else if value.fract() == 0.0 && value.abs() <= EXACT_INTEGERS {
            self.push(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            self.shortest(value);
        }
        &self.bytes[..self.len]
    }

    fn push(&mut self, text: &[u8]) {
        for &byte in text {
            self.push_byte(byte);
        }
    }

    fn push_byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn zeros(&mut self, count: i32) {
        for _ in 0..count {
            self.push_byte(b'0');
        }
    }

    /// The shortest digits, laid out by the rules of the routine that Redis uses: plain while there are few zeros
    /// to add, else with an exponent.
    fn shortest(&mut self, value: f64) {
        if value < 0.0 {
            self.push_byte(b'-');
        }
        // Rust gives the shortest digits that read back, as `d.ddde<exponent>`.
        let mut text = Scratch { bytes: [0; MAX_TEXT_BYTES], len: 0 };
        let _fits = write!(text, "{:e}", value.abs());
        let text = &text.bytes[..text.len];
        let mut digits = [0u8; 20];
        let mut count = 0;
        let mut exponent = 0i32;
        for (index, &byte) in text.iter().enumerate() {
            match byte {
                b'0'..=b'9' if count < digits.len() => {
                    digits[count] = byte;
                    count += 1;
                }
                b'e' => {
                    exponent = super::integer::parse_i64(&text[index + 1..]).unwrap_or(0) as i32;
                    break;
                }
                _ => {}
            }
        }
        let digits = &digits[..count];
        let count = count as i32;
        // The value is the digits as an integer, times ten to the power of `scale`.
        let scale = exponent - (count - 1);
        if scale >= 0 && exponent.abs() < count + 7 {
            self.push(digits);
            self.zeros(scale);
        } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
            let before_point = count + scale;
            if before_point <= 0 {
                self.push(b"0.");
                self.zeros(-before_point);
                self.push(digits);
            } else {
                let (whole, fraction) = digits.split_at(before_point as usize);
                self.push(whole);
                self.push_byte(b'.');
                self.push(fraction);
            }
        } else {
            self.push(&digits[..1]);
            if count > 1 {
                self.push_byte(b'.');
                self.push(&digits[1..]);
            }
            self.push_byte(b'e');
            self.push_byte(if exponent < 0 { b'-' } else { b'+' });
            self.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        }
    }
}

impl Default for DoubleBuffer {
    fn default() -> Self {
        DoubleBuffer::new()
    }
}

struct Scratch {
    bytes: [u8; MAX_TEXT_BYTES],
    len: usize,
}

impl Write for Scratch {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// Appends `value` to `out` as Redis prints doubles in replies: integers without a point, `inf`, `-inf`, `nan`,
/// otherwise the shortest digits that read back, with an exponent for the very large and the very small.
pub fn format_double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(DoubleBuffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        String::from_utf8_lossy(DoubleBuffer::new().format(value)).into_owned()
    }

    #[test]
    fn as_redis_prints_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (27_835_578_966_375_272.0, "27835578966375272"),
            (-4_611_686_018_427_387_904.0, "-4611686018427387904"),
            (4_611_686_018_427_388_928.0, "4611686018427389000"),
            (18_446_744_073_709_551_616.0, "18446744073709552000"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (3.0e-5, "0.00003"),
            (1.23e-10, "1.23e-10"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value).parse::<f64>().expect("a number").to_bits(), value.to_bits());
        }
    }
}
