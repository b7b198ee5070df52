//! Arguments that many commands share: numbers and times.

use torc_protocol::error as text;
use torc_protocol::resp::{Args, parse_i64};

use super::CommandError;
use crate::store::DATABASES;

/// What SCAN does without COUNT.
const SCAN_COUNT: usize = 10;

/// Elements that one command with a negative count may pick (HRANDFIELD, SRANDMEMBER, ZRANDMEMBER).
pub const MAX_REPEATED: u64 = 1 << 24;

/// The count of HRANDFIELD and ZRANDMEMBER, and whether `word` (WITHVALUES, WITHSCORES) stands behind it. A negative
/// count may pick an element more than once.
pub fn picks(args: &Args<'_>, count: &[u8], word: &[u8]) -> Result<(i64, bool), CommandError> {
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(text::OUT_OF_RANGE_LONG.into());
    }
    let with = match (args.get(3), args.len()) {
        (None, _) => false,
        (Some(option), 4) if option.eq_ignore_ascii_case(word) => true,
        _ => return Err(CommandError::Syntax),
    };
    let too_many = count < 0 && count.unsigned_abs() > MAX_REPEATED;
    if too_many || (with && count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(text::OUT_OF_RANGE.into());
    }
    Ok((count, with))
}

/// A 64-bit integer argument.
#[inline]
pub fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(CommandError::NotInteger)
}

/// Which part of a sequence of `len` elements `start..=end` means, negative numbers counting from the end, as
/// GETRANGE and BITCOUNT see it; `None` when that is nothing.
pub fn range_within(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    range_clamped(start, end, len)
}

/// As [`range_within`], but a start and an end that both lie before the first element mean that element, in
/// whichever order they stand (BITPOS).
pub fn range_clamped(start: i64, end: i64, len: usize) -> Option<(usize, usize)> {
    let len = i64::try_from(len).ok()?;
    let from_end = |n: i64| if n < 0 { n.saturating_add(len).max(0) } else { n };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { None } else { Some((start as usize, end as usize)) }
}

/// The database that an argument names.
pub fn database(arg: &[u8]) -> Result<u8, CommandError> {
    let index = i32::try_from(integer(arg)?).map_err(|_| text::NOT_AN_INT32)?;
    u8::try_from(index)
        .ok()
        .filter(|db| usize::from(*db) < DATABASES)
        .ok_or_else(|| text::DB_OUT_OF_RANGE.into())
}

/// In which unit and from where an expiry is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeUnit {
    /// Seconds, else milliseconds.
    pub seconds: bool,
    /// A point in time, else a duration from now.
    pub absolute: bool,
}

impl TimeUnit {
    /// EX
    pub const EX: TimeUnit = TimeUnit { seconds: true, absolute: false };
    /// PX
    pub const PX: TimeUnit = TimeUnit { seconds: false, absolute: false };
    /// EXAT
    pub const EXAT: TimeUnit = TimeUnit { seconds: true, absolute: true };
    /// PXAT
    pub const PXAT: TimeUnit = TimeUnit { seconds: false, absolute: true };

    /// The unit that an option names.
    pub fn of_option(option: &[u8]) -> Option<TimeUnit> {
        [(&b"EX"[..], Self::EX), (b"PX", Self::PX), (b"EXAT", Self::EXAT), (b"PXAT", Self::PXAT)]
            .into_iter()
            .find_map(|(name, unit)| option.eq_ignore_ascii_case(name).then_some(unit))
    }

    /// `n` of this unit as Unix milliseconds, which may lie before 1970; `None` when they do not fit.
    pub fn to_ms(self, n: i64, now_ms: u64) -> Option<i64> {
        let ms = if self.seconds { n.checked_mul(1000)? } else { n };
        if self.absolute { Some(ms) } else { ms.checked_add(i64::try_from(now_ms).ok()?) }
    }
}

/// The expiry that SET and its kin take: positive, and in range. `command` is named in the error.
pub fn positive_expiry(arg: &[u8], unit: TimeUnit, now_ms: u64, command: &str) -> Result<u64, CommandError> {
    let n = integer(arg)?;
    let at = if n <= 0 { None } else { unit.to_ms(n, now_ms) };
    at.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| text::invalid_expire(command).into())
}

/// A cursor of SCAN or HSCAN.
pub fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    // As C reads an unsigned number: a sign may stand in front, and nothing at all is zero.
    let (negative, digits) = match arg {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        [] => return Ok(0),
        digits => (false, digits),
    };
    let valid = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| valid).and_then(|text| text.parse::<u64>().ok());
    let number = number.ok_or(CommandError::from(text::INVALID_CURSOR))?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

/// Options of SCAN and HSCAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// Only names that match.
    pub pattern: Option<&'a [u8]>,
    /// How much work one call does.
    pub count: usize,
    /// Only values of this type.
    pub kind: Option<&'a [u8]>,
    /// Names without what belongs to them (NOVALUES, NOSCORES).
    pub names_only: bool,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from argument `at` on; TYPE only where `with_type`.
    pub fn parse(args: &Args<'a>, at: usize, with_type: bool) -> Result<Self, CommandError> {
        Self::parse_all(args, at, with_type, None)
    }

    /// Reads the options from argument `at` on, with the option (NOVALUES, NOSCORES) that asks for names only.
    pub fn parse_with_names(args: &Args<'a>, at: usize, names_only: &[u8]) -> Result<Self, CommandError> {
        Self::parse_all(args, at, false, Some(names_only))
    }

    fn parse_all(
        args: &Args<'a>,
        mut at: usize,
        with_type: bool,
        names_only: Option<&[u8]>,
    ) -> Result<Self, CommandError> {
        let mut found = ScanOptions { pattern: None, count: SCAN_COUNT, kind: None, names_only: false };
        while let Some(option) = args.get(at) {
            let foreign =
                [(&b"NOVALUES"[..], text::NOVALUES_ELSEWHERE), (b"NOSCORES", text::NOSCORES_ELSEWHERE)];
            if names_only.is_some_and(|name| option.eq_ignore_ascii_case(name)) {
                found.names_only = true;
                at += 1;
                continue;
            }
            if let Some((_, error)) = foreign.iter().find(|(name, _)| option.eq_ignore_ascii_case(name)) {
                return Err((*error).into());
            }
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"COUNT") {
                let count = integer(value)?;
                found.count = usize::try_from(count).ok().filter(|n| *n > 0).ok_or(CommandError::Syntax)?;
            } else if option.eq_ignore_ascii_case(b"MATCH") {
                // `*` matches all: no need to look.
                found.pattern = Some(value).filter(|p| *p != b"*");
            } else if with_type && option.eq_ignore_ascii_case(b"TYPE") {
                found.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(found)
    }
}
