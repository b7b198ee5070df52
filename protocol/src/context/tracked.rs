//! What a reply says that a proxy keeps: the attribute that a server puts before it.

/// For how long a reply that was asked for with [`Context::track`](super::Context::track) would hold if nobody changed
/// the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tracked {
    /// Milliseconds until the key, or something in it, expires, from the moment of the read; `None`: never.
    pub left_ms: Option<u64>,
}

/// `|1`, `+track`, and the `:` before the value.
const BEFORE: &[u8] = b"|1\r\n+track\r\n:";

impl Tracked {
    /// The attribute `|1 +track :<milliseconds>`, -1 for `None`; the reply it belongs to must follow.
    pub fn attribute(self) -> Vec<u8> {
        let left = self.left_ms.map_or(-1, |ms| i64::try_from(ms).unwrap_or(i64::MAX));
        [BEFORE, left.to_string().as_bytes(), b"\r\n"].concat()
    }

    /// Reads the bytes of an attribute (`ReplyFrame::attribute`); `None` when it says nothing of this.
    pub fn from_attribute(attribute: &[u8]) -> Option<Tracked> {
        let text = attribute.strip_prefix(BEFORE)?.strip_suffix(b"\r\n")?;
        let left: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(Tracked { left_ms: u64::try_from(left).ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_as_it_was_written() {
        for tracked in
            [Tracked { left_ms: None }, Tracked { left_ms: Some(0) }, Tracked { left_ms: Some(77) }]
        {
            assert_eq!(Tracked::from_attribute(&tracked.attribute()), Some(tracked));
        }
        assert_eq!(Tracked::from_attribute(b"|1\r\n+pos\r\n+7:1\r\n"), None);
        assert_eq!(Tracked { left_ms: None }.attribute(), b"|1\r\n+track\r\n:-1\r\n");
    }
}
