//! SCAN over all shards: shard after shard, each with the cursors of its node.
//!
//! A cursor is `place << 50 | cursor of the node`: a node's own cursors stay below 2^50, and `place` counts the
//! shards in the order of their ids (so that it stays right when a shard's primary changes). 0 begins and ends.

use torc_protocol::resp::{ReplyScanner, ReplyWriter, parse_i64};

/// Bits of a node's own cursor.
const NODE_BITS: u32 = 50;
/// Shards that a cursor can name.
const MAX_PLACES: u64 = 1 << 12;

/// A client's cursor: the place of the shard, and the cursor there.
pub fn split(cursor: u64) -> Option<(usize, u64)> {
    let place = cursor >> NODE_BITS;
    (place < MAX_PLACES).then_some((place as usize, cursor & ((1 << NODE_BITS) - 1)))
}

/// What has to be done to a node's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanStep {
    /// The shard that was asked.
    pub place: usize,
    /// How many shards there are.
    pub shards: usize,
}

impl ScanStep {
    /// The client's cursor for what the node gave.
    fn next(self, cursor: u64) -> Option<u64> {
        let place = if cursor == 0 { self.place + 1 } else { self.place };
        if cursor >> NODE_BITS != 0 {
            return None;
        }
        if place >= self.shards { Some(0) } else { Some((place as u64) << NODE_BITS | cursor) }
    }

    /// Writes the node's reply with the client's cursor. `None`: it is no SCAN reply.
    pub fn rewrite(self, frame: &[u8], reply: &mut ReplyWriter<'_>) -> Option<()> {
        let rest = frame.strip_prefix(b"*2\r\n")?;
        let length = ReplyScanner::new().next(rest).ok()??.len;
        let (cursor, keys) = rest.split_at_checked(length)?;
        let digits = cursor.strip_suffix(b"\r\n")?;
        let digits = digits.get(memchr::memchr(b'\n', digits).map_or(1, |end| end + 1)..)?;
        let cursor = u64::try_from(parse_i64(digits)?).ok()?;
        let next = self.next(cursor)?;
        reply.array(2);
        reply.bulk_fmt(next);
        reply.raw(keys);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use torc_protocol::resp::Version;

    #[test]
    fn goes_from_shard_to_shard_and_ends() {
        let (mut cursor, mut asked) = (0_u64, Vec::new());
        loop {
            let (place, node) = split(cursor).expect("a cursor of ours");
            asked.push((place, node));
            // Each node gives cursor 77 once, then ends.
            let given = if node == 0 { 77 } else { 0 };
            let mut out = Vec::new();
            let frame = format!("*2\r\n${}\r\n{given}\r\n*1\r\n$1\r\nk\r\n", given.to_string().len());
            let step = ScanStep { place, shards: 3 };
            step.rewrite(frame.as_bytes(), &mut ReplyWriter::new(&mut out, Version::Resp3)).expect("a reply");
            let text = String::from_utf8(out).expect("text");
            cursor = text.split("\r\n").nth(2).expect("a cursor").parse().expect("a number");
            assert!(text.ends_with("*1\r\n$1\r\nk\r\n"));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(asked, [(0, 0), (0, 77), (1, 0), (1, 77), (2, 0), (2, 77)]);
    }

    #[test]
    fn strange_cursors_and_replies() {
        assert_eq!(split(u64::MAX), None);
        let step = ScanStep { place: 0, shards: 1 };
        assert_eq!(step.next(1 << 60), None);
        let mut out = Vec::new();
        assert!(step.rewrite(b"+x\r\n", &mut ReplyWriter::new(&mut out, Version::Resp3)).is_none());
    }
}
