//! The numbers that name things in the cluster. All are `Copy`, ordered and travel as plain integers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            /// Reads the number with or without the letter that `Display` puts before it.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix).unwrap_or(text).parse().map($name)
            }
        }
    };
}

id! {
    /// A process with a data folder; kept in that folder.
    NodeId(u64), "n"
}
id! {
    /// New at each process start and rising per node, so that a node that came back empty is never taken
    /// for the one that left.
    Incarnation(u64), ""
}
id! {
    /// A replica group.
    ShardId(u16), "s"
}
id! {
    /// A reign of one primary over one shard. One counter for the whole cluster; never repeats, never falls.
    Term(u64), ""
}
id! {
    /// One per effect record of a shard's history; the first record has offset 1, 0 is "nothing yet".
    Offset(u64), ""
}
id! {
    /// Version of the cluster map; rises by one with each change.
    Epoch(u64), ""
}
id! {
    /// Version of a shard's in-sync set; rises with each change of the set, its eligible members, its term or
    /// of a setting that the set's meaning depends on.
    SetVersion(u64), ""
}

id! {
    /// A replica's connection to its primary, numbered by whoever takes it there; 0 is none. Of several connections of
    /// one member only the one that said hello last counts: others may still be there, long after they broke.
    StreamId(u64), ""
}

impl Term {
    /// The last term: a fencing token `term << 32 | n` stays exact in a double below 2^53.
    pub const MAX: Term = Term((1 << 21) - 1);
    /// Before the first term.
    pub const NONE: Term = Term(0);

    /// The term after this one, or `None` when terms are used up.
    pub fn next(self) -> Option<Term> {
        (self < Term::MAX).then(|| Term(self.0 + 1))
    }
}

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

/// One life of a node: what leases, sets and acknowledgements speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    pub node: NodeId,
    pub incarnation: Incarnation,
}

impl Member {
    pub fn new(node: NodeId, incarnation: Incarnation) -> Self {
        Member { node, incarnation }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.incarnation)
    }
}

/// A place in a shard's history. Ordered by term first: an offset alone says nothing across terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub term: Term,
    pub offset: Offset,
}

impl Position {
    /// Before the first record.
    pub const ZERO: Position = Position { term: Term(0), offset: Offset(0) };

    pub fn new(term: Term, offset: Offset) -> Self {
        Position { term, offset }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.term, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_end_and_do_not_wrap() {
        assert_eq!(Term(1).next(), Some(Term(2)));
        assert_eq!(Term::MAX.next(), None);
        assert_eq!((Term::MAX.0 << 32) + u64::from(u32::MAX), (1 << 53) - 1);
    }

    #[test]
    fn positions_compare_by_term_first() {
        assert!(Position::new(Term(2), Offset(1)) > Position::new(Term(1), Offset(9)));
    }

    #[test]
    fn ids_print_and_parse() {
        assert_eq!("n7".parse::<NodeId>(), Ok(NodeId(7)));
        assert_eq!("7".parse::<ShardId>(), Ok(ShardId(7)));
        assert_eq!(Member::new(NodeId(3), Incarnation(9)).to_string(), "n3/9");
        assert_eq!(serde_json::to_string(&Term(5)).ok().as_deref(), Some("5"));
    }
}
