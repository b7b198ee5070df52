//! What an expiry time of the protocol means.

/// Times up to thirty days are counted from now; larger ones are seconds since 1970.
pub const MAX_RELATIVE_S: i64 = 60 * 60 * 24 * 30;

/// When an item expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Never,
    /// Milliseconds since 1970.
    At(u64),
    /// It is gone as soon as it is stored.
    AlreadyExpired,
}

/// The meaning of `exptime` at `now_s`, seconds since 1970, with memcached's own coarse clock: an item may go up to a
/// second early.
pub fn exptime(exptime: i64, now_s: u64) -> Expiry {
    exptime_ms(exptime, now_s.saturating_mul(1000))
}

/// The same at `now_ms`, milliseconds since 1970: a time counted from now is kept to the millisecond.
pub fn exptime_ms(exptime: i64, now_ms: u64) -> Expiry {
    match u64::try_from(exptime) {
        Err(_) => Expiry::AlreadyExpired,
        Ok(0) => Expiry::Never,
        Ok(seconds) if exptime <= MAX_RELATIVE_S => Expiry::At(now_ms.saturating_add(seconds * 1000)),
        Ok(seconds) => {
            let at_ms = seconds.saturating_mul(1000);
            if at_ms <= now_ms { Expiry::AlreadyExpired } else { Expiry::At(at_ms) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        let now = 1_700_000_000;
        assert_eq!(exptime(0, now), Expiry::Never);
        assert_eq!(exptime(-1, now), Expiry::AlreadyExpired);
        assert_eq!(exptime(10, now), Expiry::At((now + 10) * 1000));
        assert_eq!(exptime(MAX_RELATIVE_S, now), Expiry::At((now + 2_592_000) * 1000));
        assert_eq!(exptime(MAX_RELATIVE_S + 1, now), Expiry::AlreadyExpired);
        assert_eq!(exptime(now as i64 + 5, now), Expiry::At((now + 5) * 1000));
        assert_eq!(exptime_ms(1, 500), Expiry::At(1500));
        assert_eq!(exptime(i64::MAX, u64::MAX), Expiry::AlreadyExpired);
    }
}
