//! Numbers as C's `%g` writes them: that is how scripts see theirs turned into text.

use std::fmt::Write;

use mlua::Value;

/// The value if it is a number; strings that look like one are none.
pub fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Number(n) => Some(*n),
        _ => None,
    }
}

/// The number that a library function gets: Lua lets strings that look like one pass.
pub fn number_argument(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::String(text) => text.to_str().ok()?.trim().parse().ok(),
        other => number_of(other),
    }
}

/// What an error calls the type of an argument.
pub fn type_name(value: Option<&Value>) -> &'static str {
    match value {
        None => "no value",
        Some(Value::Integer(_)) => "number",
        Some(other) => other.type_name(),
    }
}

/// `value` with `precision` significant digits (1 to 17).
pub fn format_g(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan" } else { "nan" }.to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let precision = precision.clamp(1, 17);
    // Rounding to the digits wanted may raise the exponent: it is read from the rounded number.
    let scientific = format!("{value:.*e}", precision - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mut text = if exponent < -4 || exponent >= precision as i32 {
        let mut text = trimmed(digits).to_owned();
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing to a string does not fail.
        let _ = write!(text, "e{sign}{:02}", exponent.abs());
        return text;
    } else {
        let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
        format!("{value:.decimals$}")
    };
    text.truncate(trimmed(&text).len());
    text
}

/// Without zeros at the end of a fraction.
fn trimmed(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// The text of a number that a script passes to a command: whole numbers without a fraction.
pub fn argument(value: f64) -> String {
    if value == value.trunc() && value.abs() < 9.2e18 {
        return (value as i64).to_string();
    }
    format_g(value, 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_c_does() {
        for (value, precision, text) in [
            (0.0, 17, "0"),
            (-0.0, 17, "-0"),
            (12.5, 17, "12.5"),
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (1e20, 17, "1e+20"),
            (1.5e300, 14, "1.5e+300"),
            (1e-5, 14, "1e-05"),
            (0.0001, 14, "0.0001"),
            (123456789.0, 3, "1.23e+08"),
            (9.9999, 3, "10"),
            (99999.0, 14, "99999"),
            (f64::INFINITY, 14, "inf"),
            (1.0 / 3.0, 14, "0.33333333333333"),
        ] {
            assert_eq!(format_g(value, precision), text, "{value}");
        }
        assert_eq!(argument(3.0), "3");
        assert_eq!(argument(1e16 + 1.0), "10000000000000000");
        assert_eq!(argument(1e20), "1e+20");
        assert_eq!(argument(-0.5), "-0.5");
    }
}
