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

/// Where a table's tokens come from. Tables of one shard that share the names among them share a source: no two
/// grants of a shard may carry the same token.
pub trait TokenSource {
    /// The next token of the term that [`TokenSource::begin`] named last; `None` when all are used up.
    fn next(&mut self) -> Option<Token>;

    /// Tokens start over in this term. A source that several tables share may have been told already.
    fn begin(&mut self, term: Term);
}

/// The source of a table that has no sisters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnTokens {
    term: Term,
    /// Tokens given out in this term.
    given: u32,
}

impl TokenSource for OwnTokens {
    fn next(&mut self) -> Option<Token> {
        let number = self.given.checked_add(1)?;
        let token = Token::new(self.term, number)?;
        self.given = number;
        Some(token)
    }

    fn begin(&mut self, term: Term) {
        *self = OwnTokens { term, given: 0 };
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
