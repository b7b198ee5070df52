//! Parts of a sorted set: from one score to another, from one member to another.

/// Scores from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lower end.
    pub min: f64,
    /// The lower end itself is not meant.
    pub min_open: bool,
    /// The upper end.
    pub max: f64,
    /// The upper end itself is not meant.
    pub max_open: bool,
}

impl ScoreRange {
    /// Whether a score lies below the range.
    #[inline]
    pub fn is_above(&self, score: f64) -> bool {
        if self.min_open { score <= self.min } else { score < self.min }
    }

    /// Whether a score lies in the range or below it.
    #[inline]
    pub fn reaches(&self, score: f64) -> bool {
        if self.max_open { score < self.max } else { score <= self.max }
    }
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before all members.
    Lowest,
    /// Behind all members.
    Highest,
    /// This member, which is meant as well.
    Closed(&'a [u8]),
    /// This member, which is not meant.
    Open(&'a [u8]),
}

/// Members from `min` to `max`, where all have the same score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower end.
    pub min: LexBound<'a>,
    /// The upper end.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether a member lies below the range.
    #[inline]
    pub fn is_above(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(min) => member < min,
            LexBound::Open(min) => member <= min,
        }
    }

    /// Whether a member lies in the range or below it.
    #[inline]
    pub fn reaches(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(max) => member <= max,
            LexBound::Open(max) => member < max,
        }
    }
}
