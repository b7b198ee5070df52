//! Keys as dumps and logs show them.

use std::fmt;

/// A key in memcached's "URI encoding": what is no letter, digit or one of `-._~` becomes `%` and two hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct UriEncoded<'a>(pub &'a [u8]);

impl fmt::Display for UriEncoded<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
            let end = rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len());
            let (text, after) = rest.split_at(end);
            out.write_str(std::str::from_utf8(text).unwrap_or_default())?;
            rest = match after.split_first() {
                Some((byte, after)) => {
                    write!(out, "%{byte:02X}")?;
                    after
                }
                None => after,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_characters_stay() {
        assert_eq!(UriEncoded(b"a-Z_0.~").to_string(), "a-Z_0.~");
        assert_eq!(UriEncoded(b"k%,\xc3 ").to_string(), "k%25%2C%C3%20");
        assert_eq!(UriEncoded(b"").to_string(), "");
    }
}
