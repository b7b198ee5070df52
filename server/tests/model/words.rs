//! What the small numbers of the steps stand for: keys, fields, members and texts; and how requests are put together.

use proptest::prelude::*;

pub type Bytes = Vec<u8>;

/// Databases that the commands use.
pub const DBS: u8 = 3;

/// Keys that the commands use.
pub const KEYS: u8 = 14;

pub fn key(n: u8) -> Bytes {
    // Some share a stripe, one is long, one is empty.
    match n {
        0 => Vec::new(),
        1 => vec![b'k'; 300],
        2..8 => format!("{{t}}{n}").into_bytes(),
        _ => format!("key:{n}").into_bytes(),
    }
}

pub fn field(n: u8) -> Bytes {
    if n == 0 { vec![b'f'; 30] } else { format!("f{n}").into_bytes() }
}

pub fn member(n: u8) -> Bytes {
    // Integers of two widths, and what is none; one is longer than a bucket takes.
    match n {
        0..12 => i64::from(n).to_string().into_bytes(),
        12..14 => (i64::from(n) * 1_000_000_000).to_string().into_bytes(),
        14 => vec![b'm'; 300],
        _ => format!("m{n}").into_bytes(),
    }
}

pub fn text(n: u8) -> Bytes {
    // Numbers, short and long strings: compact, object, beyond both limits of a packed hash.
    match n {
        0..60 => i64::from(n).to_string().into_bytes(),
        60..120 => vec![n; usize::from(n - 60)],
        120..124 => vec![b'y'; 1000 + usize::from(n)],
        124..128 => vec![b'z'; 5000],
        _ => vec![n; 10],
    }
}

pub fn keys() -> impl Strategy<Value = u8> + Clone {
    0..KEYS
}

pub fn values() -> impl Strategy<Value = u8> + Clone {
    0u8..140
}

/// Numbers of members; half of the time integers alone.
pub fn members() -> impl Strategy<Value = u8> + Clone {
    prop_oneof![0u8..14, 0u8..24]
}

/// Between one and `most` of these.
pub fn some<S: Strategy>(of: S, most: usize) -> impl Strategy<Value = Vec<S::Value>> {
    prop::collection::vec(of, 1..=most)
}

/// A request under way.
pub struct Request(Vec<Bytes>);

impl Request {
    pub fn new(name: &str) -> Request {
        Request(vec![name.into()])
    }

    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Request {
        self.0.push(arg.as_ref().to_vec());
        self
    }

    pub fn number(self, n: impl Into<i64>) -> Request {
        self.arg(n.into().to_string())
    }

    pub fn args<A: AsRef<[u8]>>(self, args: impl IntoIterator<Item = A>) -> Request {
        args.into_iter().fold(self, Request::arg)
    }

    pub fn when(self, given: bool, word: &str) -> Request {
        if given { self.arg(word) } else { self }
    }

    pub fn done(self) -> Vec<Bytes> {
        self.0
    }
}
