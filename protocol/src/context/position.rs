//! Where in a shard's history a reply stands: the attribute that a server puts before it.

use crate::resp::Value;

/// A place in the history of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    pub term: u64,
    pub offset: u64,
}

/// `|1`, `+pos`, and the `+` before the value.
const BEFORE: &[u8] = b"|1\r\n+pos\r\n+";

impl Position {
    /// Appends the attribute `|1 +pos +<term>:<offset>`; the reply it belongs to must follow.
    pub fn write_attribute(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(BEFORE);
        out.extend_from_slice(digits.format(self.term).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(self.offset).as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Reads the bytes of an attribute (`ReplyFrame::attribute`); `None` when it holds no position.
    pub fn from_attribute(attribute: &[u8]) -> Option<Position> {
        let text = attribute.strip_prefix(BEFORE)?.strip_suffix(b"\r\n")?;
        Position::from_text(text)
    }

    /// Reads `<term>:<offset>`.
    pub fn from_text(text: &[u8]) -> Option<Position> {
        let (term, offset) = std::str::from_utf8(text).ok()?.split_once(':')?;
        Some(Position { term: term.parse().ok()?, offset: offset.parse().ok()? })
    }

    /// Reads `<term>:<offset>` out of a reply.
    pub fn from_value(value: &Value) -> Option<Position> {
        Position::from_text(value.as_bytes()?)
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.term, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ReplyScanner;

    #[test]
    fn stands_before_a_reply() {
        let position = Position { term: 7, offset: u64::MAX };
        let mut out = Vec::new();
        position.write_attribute(&mut out);
        out.extend_from_slice(b"+OK\r\n");
        let frame = ReplyScanner::new().next(&out).expect("valid").expect("whole");
        let attribute = frame.attribute.expect("there");
        assert_eq!(Position::from_attribute(&out[attribute]), Some(position));
        assert_eq!(&out[frame.body], b"+OK\r\n");
        assert_eq!(Position::from_attribute(b"|1\r\n+pos\r\n+7\r\n"), None);
        assert_eq!(position.to_string(), "7:18446744073709551615");
    }
}
