//! The fencing token.

use crate::ids::Term;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `term << 32 | n`: rises with every grant of a shard's locks, over terms and moves too (terms rise over the
/// whole cluster). Below 2^53, so exact in a double. 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u64);

impl Token {
    /// The largest token there may be.
    pub const MAX: Token = Token((Term::MAX.0 << 32) | u32::MAX as u64);

    /// The `n`th token of a term; `None` for a term beyond the last.
    pub fn new(term: Term, n: u32) -> Option<Token> {
        (term <= Term::MAX).then_some(Token((term.0 << 32) | u64::from(n)))
    }

    pub fn term(self) -> Term {
        Term(self.0 >> 32)
    }

    /// Its number within the term.
    pub fn number(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
