//! How two replies are compared. Pure functions.

use crate::frame::{self, Node};
use crate::quote;

use super::SHOWN_BYTES;

/// How to compare a reply; the table in [`super::list`] describes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Byte for byte.
    Exact,
    /// Innermost arrays as sets of groups of this many elements.
    Unordered(usize),
    /// Texts of the same double are the same: Redis prints the shortest one from 7.2 on.
    Doubles,
    /// Types and lengths.
    Shape,
    /// The outermost type.
    Type,
    /// Our map has the keys of theirs.
    Keys,
    /// Numbers may differ by this.
    Near(u64),
    /// The first word of an error; anything else byte for byte.
    Code,
    /// Not compared.
    Ignore,
    /// A peer before this version may take, or refuse in other words, what we refuse; see [`Check::for_peer`].
    ErrorsSince((u32, u32)),
    /// A peer before this version may take what we refuse, and refuse what we take.
    RulesSince((u32, u32)),
    /// Ours is this; theirs too when it is at least of that version.
    Expect {
        /// The reply in RESP2.
        resp2: Vec<u8>,
        /// The reply in RESP3.
        resp3: Vec<u8>,
        /// The first version of Redis that answers so; `None` when Redis does not.
        since: Option<(u32, u32)>,
    },
}

impl Check {
    /// The check for a peer of this version.
    pub fn for_peer(&self, version: (u32, u32)) -> &Self {
        match self {
            Self::ErrorsSince(since) | Self::RulesSince(since) if version >= *since => &Self::Exact,
            other => other,
        }
    }
}

/// Compares two whole reply frames; the error says what differs.
pub fn compare(check: &Check, ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let both = || -> Result<(Node, Node), String> {
        let tree = |bytes: &[u8]| match frame::decode(bytes) {
            Ok(Some((node, _))) => Ok(node),
            Ok(None) => Err("half a frame".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        Ok((tree(ours)?, tree(theirs)?))
    };
    let same = match check {
        Check::Exact => false,
        Check::Ignore | Check::Expect { .. } => true,
        Check::ErrorsSince(_) => ours.first() == Some(&b'-'),
        Check::RulesSince(_) => [ours, theirs].iter().any(|reply| reply.first() == Some(&b'-')),
        Check::Unordered(group) => {
            let (ours, theirs) = both()?;
            sorted(ours, *group) == sorted(theirs, *group)
        }
        Check::Doubles => {
            let (ours, theirs) = both()?;
            as_doubles(ours) == as_doubles(theirs)
        }
        Check::Shape => {
            let (ours, theirs) = both()?;
            same_shape(&ours, &theirs)
        }
        Check::Type => ours.first() == theirs.first(),
        Check::Keys => {
            let (ours, theirs) = both()?;
            return has_keys(&ours, &theirs);
        }
        Check::Near(most) => {
            let (ours, theirs) = both()?;
            near(&ours, &theirs, *most)
        }
        Check::Code => {
            let word = |bytes: &[u8]| bytes.split(|&b| b == b' ' || b == b'\r').next().map(<[u8]>::to_vec);
            ours.first() == Some(&b'-') && word(ours) == word(theirs)
        }
    };
    if same { Ok(()) } else { Err("the replies differ".into()) }
}

/// Sorts arrays and sets of scalars in groups of `group`, maps by pairs; other arrays keep their order.
fn sorted(node: Node, group: usize) -> Node {
    let Node::Aggregate(kind, list) = node else { return node };
    let list: Vec<_> = list.into_iter().map(|child| sorted(child, group)).collect();
    let scalars = list.iter().all(|child| !matches!(child, Node::Aggregate(..)));
    let group = match kind {
        b'%' => 2,
        // A RESP3 array of pairs is compared like a RESP2 array in groups.
        b'*' if group > 1 && list.iter().all(|c| c.children().is_some_and(|c| c.len() == group)) => 1,
        _ if scalars => group,
        _ => return Node::Aggregate(kind, list),
    };
    let mut groups: Vec<_> = list.chunks(group).map(<[Node]>::to_vec).collect();
    groups.sort();
    Node::Aggregate(kind, groups.concat())
}

/// Writes each scalar that is a double in one way.
pub fn as_doubles(node: Node) -> Node {
    match node {
        Node::Scalar(kind @ (b'$' | b',' | b'+'), bytes) => {
            let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<f64>().ok());
            // Zero has two signs.
            Node::Scalar(kind, number.map_or(bytes, |number| (number + 0.0).to_string().into_bytes()))
        }
        Node::Aggregate(kind, list) => Node::Aggregate(kind, list.into_iter().map(as_doubles).collect()),
        other => other,
    }
}

fn same_shape(ours: &Node, theirs: &Node) -> bool {
    match (ours, theirs) {
        (Node::Scalar(a, _), Node::Scalar(b, _)) | (Node::Null(a), Node::Null(b)) => a == b,
        (Node::Aggregate(a, ours), Node::Aggregate(b, theirs)) => {
            a == b && ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| same_shape(a, b))
        }
        _ => false,
    }
}

fn has_keys(ours: &Node, theirs: &Node) -> Result<(), String> {
    let (Node::Aggregate(a, ours), Node::Aggregate(b, theirs)) = (ours, theirs) else {
        return Err("not two maps".into());
    };
    if a != b {
        return Err("maps of different types".into());
    }
    let missing: Vec<_> = theirs
        .chunks(2)
        .filter(|pair| !ours.chunks(2).any(|our| our[0] == pair[0]))
        .filter_map(|pair| pair[0].text())
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("our map lacks {missing:?}")) }
}

fn near(ours: &Node, theirs: &Node, most: u64) -> bool {
    let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    match (ours, theirs) {
        (Node::Scalar(a, ours), Node::Scalar(b, theirs)) => {
            a == b
                && (ours == theirs
                    || matches!((number(ours), number(theirs)), (Some(x), Some(y)) if x.abs_diff(y) <= most
                        // A sign is never a matter of time: -1 and -2 have meanings.
                        && (x < 0) == (y < 0)))
        }
        (Node::Aggregate(a, ours), Node::Aggregate(b, theirs)) => {
            a == b && ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| near(a, b, most))
        }
        _ => ours == theirs,
    }
}

/// A difference, ready to print.
pub fn describe(place: &str, request: &str, why: &str, ours: &[u8], theirs: &[u8]) -> String {
    let first = ours.iter().zip(theirs).position(|(a, b)| a != b).unwrap_or(ours.len().min(theirs.len()));
    // Long replies are shown from a little before the first difference.
    let from = if first > SHOWN_BYTES / 2 { first - SHOWN_BYTES / 4 } else { 0 };
    let lead = if from > 0 { format!("[{from} equal bytes] …") } else { String::new() };
    let show =
        |bytes: &[u8]| format!("{lead}{}", quote::show(bytes.get(from..).unwrap_or_default(), SHOWN_BYTES));
    format!(
        "{place}: {request}\n    {why} (at byte {first})\n    ours:   {}\n    theirs: {}",
        show(ours),
        show(theirs)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_allows_what_it_says_and_no_more() {
        let cases: &[(Check, &str, &str, bool)] = &[
            (Check::Exact, "+OK\r\n", "+OK\r\n", true),
            (Check::Exact, "+OK\r\n", "+ok\r\n", false),
            (Check::Unordered(1), "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", true),
            (Check::Unordered(1), "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:2\r\n", false),
            (Check::Unordered(2), "*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "*4\r\n:3\r\n:4\r\n:1\r\n:2\r\n", true),
            (Check::Unordered(2), "*4\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "*4\r\n:2\r\n:1\r\n:3\r\n:4\r\n", false),
            (Check::Unordered(2), "%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "%2\r\n:3\r\n:4\r\n:1\r\n:2\r\n", true),
            (Check::Unordered(1), "*2\r\n+0\r\n*2\r\n:1\r\n:2\r\n", "*2\r\n+0\r\n*2\r\n:2\r\n:1\r\n", true),
            (Check::Unordered(1), "*2\r\n*0\r\n+0\r\n", "*2\r\n+0\r\n*0\r\n", false),
            (Check::Shape, "*2\r\n:1\r\n+a\r\n", "*2\r\n:7\r\n+b\r\n", true),
            (Check::Shape, "*2\r\n:1\r\n+a\r\n", "*2\r\n:7\r\n$1\r\na\r\n", false),
            (Check::Type, "*2\r\n:1\r\n+a\r\n", "*0\r\n", true),
            (Check::Type, "*0\r\n", "%0\r\n", false),
            (Check::Keys, "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n", "%1\r\n+b\r\n:3\r\n", true),
            (Check::Keys, "%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:3\r\n", false),
            (Check::Near(2), ":100\r\n", ":102\r\n", true),
            (Check::Near(2), ":100\r\n", ":103\r\n", false),
            (Check::Near(2), ":-1\r\n", ":0\r\n", false),
            (Check::Near(2), "$2\r\n10\r\n", "$2\r\n11\r\n", true),
            (Check::Code, "-ERR a\r\n", "-ERR b\r\n", true),
            (Check::Code, "-ERR a\r\n", "-WRONGTYPE b\r\n", false),
            (Check::Code, ":1\r\n", ":2\r\n", false),
            (Check::Ignore, ":1\r\n", ":2\r\n", true),
        ];
        for (check, ours, theirs, same) in cases {
            assert_eq!(
                compare(check, ours.as_bytes(), theirs.as_bytes()).is_ok(),
                *same,
                "{check:?} {ours:?} {theirs:?}"
            );
        }
    }
}
