//! RESP2 and RESP3 replies as the tests see them: where a frame ends, and its tree.
//!
//! This is deliberately not the product's own parser, so that an error in that one shows. Pure
//! functions, no state.

/// A reply as a tree. Scalars keep their type byte and text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Type byte and payload (`+ - : $ _ , # = ( !`).
    Scalar(u8, Vec<u8>),
    /// `$-1` or `*-1`: the type byte.
    Null(u8),
    /// Type byte (`* ~ > % |`) and children; a map's keys and values alternate.
    Aggregate(u8, Vec<Node>),
}

/// The bytes are no RESP.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFrame(pub String);

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a RESP reply: {}", self.0)
    }
}

impl std::error::Error for BadFrame {}

/// Aggregates nested deeper than this are refused.
pub const MAX_DEPTH: usize = 64;

/// The tree of the first whole frame in `bytes` and how many bytes it takes; `None` when more are
/// needed. An attribute (`|`) counts as part of the frame it stands before.
pub fn decode(bytes: &[u8]) -> Result<Option<(Node, usize)>, BadFrame> {
    let mut at = 0;
    Ok(node(bytes, &mut at, 0)?.map(|node| (node, at)))
}

/// Length of the first whole frame in `bytes`, or `None` when more are needed.
pub fn frame_len(bytes: &[u8]) -> Result<Option<usize>, BadFrame> {
    Ok(decode(bytes)?.map(|(_, len)| len))
}

fn node(bytes: &[u8], at: &mut usize, depth: usize) -> Result<Option<Node>, BadFrame> {
    if depth > MAX_DEPTH {
        return Err(BadFrame("nested too deeply".into()));
    }
    let Some((kind, line)) = line(bytes, at)? else { return Ok(None) };
    let count = || -> Result<i64, BadFrame> {
        let text = std::str::from_utf8(line).map_err(|_| BadFrame("length".into()))?;
        text.parse().map_err(|_| BadFrame(format!("length {text:?}")))
    };
    match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(Some(Node::Scalar(kind, line.to_vec()))),
        b'$' | b'=' | b'!' => {
            let len = count()?;
            if len == -1 {
                return Ok(Some(Node::Null(kind)));
            }
            let len = usize::try_from(len).map_err(|_| BadFrame(format!("bulk length {len}")))?;
            let Some(body) = bytes.get(*at..*at + len + 2) else { return Ok(None) };
            if &body[len..] != b"\r\n" {
                return Err(BadFrame("bulk without its CRLF".into()));
            }
            *at += len + 2;
            Ok(Some(Node::Scalar(kind, body[..len].to_vec())))
        }
        b'*' | b'~' | b'>' | b'%' | b'|' => {
            let len = count()?;
            if len == -1 {
                return Ok(Some(Node::Null(kind)));
            }
            let len = usize::try_from(len).map_err(|_| BadFrame(format!("aggregate length {len}")))?;
            let children = if matches!(kind, b'%' | b'|') { len * 2 } else { len };
            let mut list = Vec::with_capacity(children.min(1024));
            for _ in 0..children {
                let Some(child) = node(bytes, at, depth + 1)? else { return Ok(None) };
                list.push(child);
            }
            if kind == b'|' {
                let Some(described) = node(bytes, at, depth + 1)? else { return Ok(None) };
                list.push(described);
            }
            Ok(Some(Node::Aggregate(kind, list)))
        }
        other => Err(BadFrame(format!("type byte {:?}", char::from(other)))),
    }
}

type Line<'a> = (u8, &'a [u8]);

fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<Line<'a>>, BadFrame> {
    let rest = &bytes[*at..];
    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let Some((&kind, text)) = rest[..end].split_first() else {
        return Err(BadFrame("empty line".into()));
    };
    *at += end + 2;
    Ok(Some((kind, text)))
}

impl Node {
    /// Whether this is an error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Scalar(b'-' | b'!', _))
    }

    /// The payload of a scalar.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Scalar(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The payload of a scalar as text, with strange bytes replaced.
    pub fn text(&self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The number of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Scalar(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// The children of an aggregate.
    pub fn children(&self) -> Option<&[Node]> {
        match self {
            Self::Aggregate(_, list) => Some(list),
            _ => None,
        }
    }

    /// The value of a map's (or flat pair list's) text key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let list = self.children()?;
        list.chunks_exact(2).find(|pair| pair[0].bytes() == Some(key.as_bytes())).map(|pair| &pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_where_they_should() {
        let cases: &[&[u8]] = &[
            b"+OK\r\n",
            b"-ERR no\r\n",
            b":-3\r\n",
            b"$0\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"$4\r\na\r\nb\r\n",
            b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n",
            b"%1\r\n+a\r\n*0\r\n",
            b"_\r\n",
            b"#t\r\n",
            b",1.5\r\n",
            b"=5\r\ntxt:x\r\n",
            b"|1\r\n+a\r\n:1\r\n+OK\r\n",
        ];
        for whole in cases {
            let mut longer = whole.to_vec();
            longer.extend(b"+next");
            assert_eq!(frame_len(&longer), Ok(Some(whole.len())));
            for cut in 0..whole.len() {
                assert_eq!(frame_len(&whole[..cut]), Ok(None), "cut at {cut}");
            }
        }
        assert!(frame_len(b"?\r\n").is_err());
        assert!(frame_len(b"$1\r\nabc\r\n").is_err());
    }
}
