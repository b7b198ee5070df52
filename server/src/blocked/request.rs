//! What a handler says when it has to wait.

use torc_protocol::resp::{Args, OwnedArgs, ReplyWriter, parse_i64};

use crate::exec::CommandError;
use crate::long_double::LongDouble;
use crate::store::value::Kind;

/// Nobody waits longer, in milliseconds: as good as for ever.
const MAX_TIMEOUT_MS: u64 = i64::MAX as u64 / 2;

/// How a command that would wait is answered where nothing waits: inside MULTI and in scripts. (The end of the time is
/// a null array for all of them.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// `*-1`, as most blocking commands do.
    Array,
    /// `$-1`: BLMOVE, BRPOPLPUSH.
    Bulk,
}

impl Null {
    /// Writes it.
    pub fn write(self, reply: &mut ReplyWriter<'_>) {
        match self {
            Null::Array => reply.null_array(),
            Null::Bulk => reply.null(),
        }
    }
}

/// What a key must become for a waiter to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The type of value.
    pub kind: Kind,
    /// Look again whatever happens to the key, its end and another type as well (XREADGROUP).
    pub anything: bool,
}

impl Wanted {
    /// Values of this type, nothing else.
    pub const fn only(kind: Kind) -> Wanted {
        Wanted { kind, anything: false }
    }
}

/// See [`Cx::block`](crate::exec::Cx::block).
#[derive(Debug)]
pub struct Block {
    /// The keys that may bring something: among the command's declared keys.
    pub keys: Vec<Box<[u8]>>,
    /// What is waited for.
    pub wanted: Wanted,
    /// How long at most; `None`: for ever.
    pub timeout_ms: Option<u64>,
    /// What is answered where nothing waits.
    pub null: Null,
    /// The handler's arguments as they are to be when it runs again; `None`: as they are.
    pub rewritten: Option<OwnedArgs>,
}

impl Block {
    /// Waits for values of one type at these keys.
    pub fn on<'k>(
        keys: impl IntoIterator<Item = &'k [u8]>,
        kind: Kind,
        timeout_ms: Option<u64>,
        null: Null,
    ) -> Block {
        let keys = keys.into_iter().map(Box::from).collect();
        Block { keys, wanted: Wanted::only(kind), timeout_ms, null, rewritten: None }
    }

    /// The whole request as it is to run again: `args` with the handler's part (the end of it) replaced.
    pub(crate) fn request(&self, args: &Args<'_>) -> OwnedArgs {
        match &self.rewritten {
            None => OwnedArgs::new(args.iter()),
            Some(tail) => {
                let tail = tail.view();
                let front = args.len().saturating_sub(tail.len());
                OwnedArgs::new(args.iter().take(front).chain(tail.iter()))
            }
        }
    }
}

/// A time-out argument in seconds, which may have a fraction, as milliseconds; `None`: for ever (0).
///
/// # Errors
/// Redis's texts for what is no number, negative or too large.
pub fn timeout_seconds(arg: &[u8]) -> Result<Option<u64>, CommandError> {
    let number = LongDouble::parse(arg).ok_or("ERR timeout is not a float or out of range")?;
    if !number.is_finite() {
        let negative = arg.starts_with(b"-");
        return Err(if negative { "ERR timeout is negative" } else { "ERR timeout is out of range" }.into());
    }
    // A double is exact enough for milliseconds.
    let ms = number.format().parse::<f64>().unwrap_or(0.0) * 1000.0;
    if ms > i64::MAX as f64 {
        return Err("ERR timeout is out of range".into());
    }
    bounded(ms.ceil() as i64)
}

/// A time-out argument in whole milliseconds; `None`: for ever (0).
///
/// # Errors
/// Redis's texts for what is no integer or negative.
pub fn timeout_ms(arg: &[u8]) -> Result<Option<u64>, CommandError> {
    bounded(parse_i64(arg).ok_or("ERR timeout is not an integer or out of range")?)
}

fn bounded(ms: i64) -> Result<Option<u64>, CommandError> {
    match u64::try_from(ms) {
        Err(_) => Err("ERR timeout is negative".into()),
        Ok(0) => Ok(None),
        Ok(ms) if ms > MAX_TIMEOUT_MS => Err("ERR timeout is out of range".into()),
        Ok(ms) => Ok(Some(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        assert_eq!(timeout_seconds(b"0"), Ok(None));
        assert_eq!(timeout_seconds(b"0.0001"), Ok(Some(1)));
        assert_eq!(timeout_seconds(b"1.5"), Ok(Some(1500)));
        for (bad, why) in [
            ("x", "ERR timeout is not a float or out of range"),
            ("-1", "ERR timeout is negative"),
            ("inf", "ERR timeout is out of range"),
            ("9223372036854775808", "ERR timeout is out of range"),
        ] {
            assert_eq!(timeout_seconds(bad.as_bytes()), Err(why.into()), "{bad}");
        }
        assert_eq!(timeout_ms(b"1.5"), Err("ERR timeout is not an integer or out of range".into()));
        assert_eq!(timeout_ms(b"-5"), Err("ERR timeout is negative".into()));
        assert_eq!(timeout_ms(b"5"), Ok(Some(5)));
    }
}
