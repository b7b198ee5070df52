//! The arguments of a request as ranges of somebody's buffer, and the view that joins the two.

use std::ops::Index;

use smallvec::SmallVec;

/// One argument: the bytes `start..end`, counted from the start of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArgRange {
    pub start: u32,
    pub end: u32,
}

impl ArgRange {
    /// The length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        bytes.get(self.start as usize..self.end as usize)
    }
}

/// The arguments of one request; eight of them need no allocation.
pub type ArgRanges = SmallVec<[ArgRange; 8]>;

/// A request's arguments: the frame's bytes seen through ranges. Argument 0 is the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// Whether the request is a line of HTTP, which a browser can be talked into sending: the connection has to be
    /// closed before anything in its body is executed, as Redis does.
    pub fn is_http(&self) -> bool {
        self.get(0)
            .is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
    }

    /// Joins a frame's bytes and the ranges that the parser found in them.
    /// A range that does not lie in `bytes` reads as no argument in [`Args::get`].
    #[inline]
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Args { bytes, ranges }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index)?.of(self.bytes)
    }

    /// The arguments from `from` on; none when there are not that many.
    #[inline]
    pub fn tail(&self, from: usize) -> Args<'a> {
        Args { bytes: self.bytes, ranges: self.ranges.get(from..).unwrap_or_default() }
    }

    /// The arguments from `from` on (the same as [`Args::tail`]).
    #[inline]
    pub fn range(&self, from: std::ops::RangeFrom<usize>) -> Args<'a> {
        self.tail(from.start)
    }

    #[inline]
    pub fn iter(&self) -> ArgsIter<'a> {
        ArgsIter { bytes: self.bytes, ranges: self.ranges.iter() }
    }

    /// The bytes that the ranges point into.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The ranges themselves.
    #[inline]
    pub fn ranges(&self) -> &'a [ArgRange] {
        self.ranges
    }

    /// How many bytes all arguments have together.
    pub fn total_bytes(&self) -> usize {
        self.ranges.iter().map(|range| range.len()).sum()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    /// # Panics
    /// When there is no such argument: only for indexes that the command's arity covers.
    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        let range = self.ranges[index];
        &self.bytes[range.start as usize..range.end as usize]
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = ArgsIter<'a>;

    fn into_iter(self) -> ArgsIter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| String::from_utf8_lossy(arg))).finish()
    }
}

/// Iterates over the arguments of [`Args`].
#[derive(Clone)]
pub struct ArgsIter<'a> {
    bytes: &'a [u8],
    ranges: std::slice::Iter<'a, ArgRange>,
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        Some(self.ranges.next()?.of(self.bytes).unwrap_or_default())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranges.size_hint()
    }
}

impl DoubleEndedIterator for ArgsIter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        Some(self.ranges.next_back()?.of(self.bytes).unwrap_or_default())
    }
}

impl ExactSizeIterator for ArgsIter<'_> {}

/// Arguments that own their bytes: for tests, queued transactions and whoever has no frame at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    ranges: ArgRanges,
}

impl OwnedArgs {
    /// Copies `args` one after the other. Bytes beyond 4 GiB are not kept (no parsed frame has them).
    pub fn new<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Self {
        let mut owned = OwnedArgs::default();
        for arg in args {
            owned.push(arg.as_ref());
        }
        owned
    }

    fn push(&mut self, arg: &[u8]) {
        let start = self.bytes.len();
        let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + arg.len())) else { return };
        self.bytes.extend_from_slice(arg);
        self.ranges.push(ArgRange { start, end });
    }

    pub fn view(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}
