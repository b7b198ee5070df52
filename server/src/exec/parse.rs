//! Arguments that many commands share: numbers and times.

use torc_protocol::error as text;
use torc_protocol::resp::parse_i64;

use super::CommandError;

/// A 64-bit integer argument.
#[inline]
pub fn integer(arg: &[u8]) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(CommandError::NotInteger)
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
