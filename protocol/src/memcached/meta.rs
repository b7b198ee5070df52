//! The flags of meta commands: single letters, some with an argument behind them.

use super::MAX_KEY_BYTES;
use super::base64;
use super::line::{Line, data_bytes, plain, refuse};
use super::number::{parse_i32, parse_u32, parse_u64};
use super::request::{Rejection, Request, RequestError, Unlink, Verb};

/// The longest opaque token, its `O` counted.
const MAX_OPAQUE_BYTES: usize = 32;
/// Words of a line that carries flags, at most.
const MAX_WORDS: usize = 19;
/// What the flags of a meta command say. Arguments that classic commands have as well are fields of
/// [`Request`]: `T` is its `exptime`, `F` its `flags`, `C` its `cas`, `D` its `delta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta<'a> {
    seen: u128,
    /// Single letters, the key not among them: in which order the reply gives what they ask for.
    words: &'a [u8],
    /// The letter of `M`; 0 when there is none.
    pub mode: u8,
    /// The argument of `N`: create what is missing, with this expiry time.
    pub vivify: i64,
    /// The argument of `R`: the remaining seconds below which a client is told to load anew.
    pub recache_s: i64,
    /// The argument of `E`.
    pub new_cas: u64,
    /// The argument of `J`.
    pub initial: u64,
}

impl<'a> Meta<'a> {
    /// Whether this letter was given.
    #[inline]
    pub fn has(&self, letter: u8) -> bool {
        letter < 128 && self.seen & (1 << letter) != 0
    }

    /// The flags with their arguments, in their order.
    pub fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.words.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
    }

    /// The argument of `E`, if it was given; 0 is none, as in memcached.
    pub fn client_cas(&self) -> Option<u64> {
        self.has(b'E').then_some(self.new_cas).filter(|cas| *cas != 0)
    }

    /// Whether replies that say nothing new are left out.
    pub fn is_quiet(&self) -> bool {
        self.has(b'q')
    }
}

/// What is behind the first `count` words of a line.
fn behind(line: &[u8], count: usize) -> &[u8] {
    let mut rest = line;
    for _ in 0..count {
        let start = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
        let word = &rest[start..];
        let end = memchr::memchr(b' ', word).unwrap_or(word.len());
        rest = &word[end..];
    }
    rest
}

/// `mg`, `md`, `ma`, `me`: `<key> <flag>*`; `text` is the line as far as it counts.
pub(super) fn keyed<'a>(
    mut request: Request<'a>,
    text: &'a [u8],
    words: &[&'a [u8]],
) -> Result<Line<'a>, Rejection<'a>> {
    let verb = request.verb;
    let Some(key) = words.first() else {
        let error = if verb == Verb::MetaDebug { RequestError::BadFormat } else { RequestError::Unknown };
        return Err(refuse(error, false));
    };
    if key.len() > MAX_KEY_BYTES {
        return Err(refuse(RequestError::BadFormat, false));
    }
    // `me` does not count its words.
    if words.len() >= MAX_WORDS && verb != Verb::MetaDebug {
        let error =
            if verb == Verb::MetaGet { RequestError::FlagsAreTooLong } else { RequestError::FlagsTooLong };
        return Err(refuse(error, false));
    }
    request.keys.push(key);
    request.delta = 1;
    if verb == Verb::MetaDebug {
        // It knows one flag, and looks at no other.
        if words.get(1).is_some_and(|word| *word == b"b") {
            request.decoded = decoded(key);
            if request.decoded.is_none() {
                return Err(refuse(RequestError::BadFormat, false));
            }
            request.meta.seen = 1 << b'b';
        }
        return Ok(plain(request));
    }
    request.meta.words = behind(text, 2);
    match flags(&mut request) {
        Ok(()) => Ok(plain(request)),
        // Both say the same of anything that is wrong.
        Err(error) if matches!(verb, Verb::MetaDelete | Verb::MetaArithmetic) => {
            let known = matches!(error, RequestError::OpaqueTooLong | RequestError::BadArithmeticMode);
            Err(refuse(if known { error } else { RequestError::InvalidOrDuplicateFlag }, false))
        }
        Err(error) => Err(refuse(error, false)),
    }
}

/// `ms`: `<key> <bytes> <flag>*`
pub(super) fn storage<'a>(
    mut request: Request<'a>,
    text: &'a [u8],
    words: &[&'a [u8]],
) -> Result<Line<'a>, Rejection<'a>> {
    let bad = refuse(RequestError::BadFormat, false);
    let key = match words {
        [] => return Err(refuse(RequestError::Unknown, false)),
        [_] => return Err(bad),
        [key, ..] if key.len() > MAX_KEY_BYTES => return Err(bad),
        [key, ..] => *key,
    };
    if words.len() >= MAX_WORDS {
        return Err(refuse(RequestError::FlagsTooLong, false));
    }
    let length = data_bytes(words[1]).ok_or(bad)?;
    request.keys.push(key);
    request.meta.words = behind(text, 3);
    match flags(&mut request) {
        Ok(()) => Ok(Line { request, data_bytes: Some(length) }),
        // What follows the line is known to be data.
        Err(error) => Err(Rejection { swallow: length + 2, ..refuse(error, false) }),
    }
}

fn decoded(key: &[u8]) -> Option<Box<[u8]>> {
    base64::decode(key).map(Vec::into_boxed_slice)
}

/// Reads the flags. Letters that no command knows, and repeated ones, end it; of other mistakes the last one is told,
/// a long opaque token only where nothing else is wrong.
fn flags(request: &mut Request<'_>) -> Result<(), RequestError> {
    let mut error = None;
    let mut opaque_is_too_long = false;
    for word in request.meta.words() {
        let (letter, argument) = (word[0], &word[1..]);
        if letter >= 127 || request.meta.has(letter) {
            return Err(RequestError::DuplicateFlag);
        }
        request.meta.seen |= 1 << letter;
        match letter {
            b'b' => match decoded(request.keys.first().copied().unwrap_or_default()) {
                Some(key) => request.decoded = Some(key),
                None => error = Some(RequestError::BadBinaryKey),
            },
            b'N' | b'T' | b'R' => match parse_i32(argument).map(i64::from) {
                Some(value) if letter == b'N' => request.meta.vivify = value,
                Some(value) if letter == b'T' => request.exptime = value,
                Some(value) => request.meta.recache_s = value,
                None => error = Some(RequestError::BadToken),
            },
            b'C' | b'E' => match parse_u64(argument) {
                Some(value) if letter == b'C' => request.cas = value,
                Some(value) => request.meta.new_cas = value,
                None => error = Some(RequestError::BadToken),
            },
            b'F' => match parse_u32(argument) {
                Some(value) => request.flags = value,
                None => error = Some(error.unwrap_or(RequestError::BadFormat)),
            },
            b'D' | b'J' => match parse_u64(argument) {
                Some(value) if letter == b'D' => request.delta = value,
                Some(value) => request.meta.initial = value,
                None if letter == b'D' => error = Some(RequestError::InvalidDeltaValue),
                None => error = Some(RequestError::InvalidInitialValue),
            },
            b'M' => match argument {
                [mode] => request.meta.mode = *mode,
                _ => error = Some(RequestError::BadModeLength),
            },
            b'O' => opaque_is_too_long = word.len() > MAX_OPAQUE_BYTES,
            // Accepted everywhere, even where they mean nothing.
            b'P' | b'L' | b'k' | b's' | b't' | b'c' | b'f' | b'v' | b'h' | b'l' | b'u' | b'q' | b'I'
            | b'x' => {}
            _ => return Err(RequestError::InvalidFlag),
        }
    }
    let mode_is_known = match (request.verb, request.meta.mode) {
        (_, 0) => true,
        (Verb::MetaSet, mode) => b"EAPRS".contains(&mode),
        (Verb::MetaArithmetic, mode) => b"ID+-".contains(&mode),
        _ => true,
    };
    match error {
        Some(error) => Err(error),
        None if !mode_is_known && request.verb == Verb::MetaSet => Err(RequestError::BadSetMode),
        None if !mode_is_known => Err(RequestError::BadArithmeticMode),
        None if opaque_is_too_long => Err(RequestError::OpaqueTooLong),
        None => Ok(()),
    }
}

/// What a `set` or `ms` that was too large leaves to be deleted.
pub(super) fn unlink<'a>(request: &Request<'a>) -> Option<Unlink<'a>> {
    let key = request.keys.first().copied()?;
    let binary = request.decoded.is_some();
    matches!(request.verb, Verb::Set | Verb::MetaSet).then_some(Unlink { key, binary })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::line::parse_line;

    fn request(line: &str) -> Request<'_> {
        parse_line(line.as_bytes()).expect(line).request
    }

    fn error(line: &str) -> String {
        parse_line(line.as_bytes()).map(|_| ()).expect_err(line).error.to_string()
    }

    #[test]
    fn flags_and_their_arguments() {
        let r = request("mg  k t  v O12 T-1 N30 R5 C7 E8 k");
        assert_eq!((r.key(), r.exptime, r.cas), (&b"k"[..], -1, 7));
        assert_eq!((r.meta.vivify, r.meta.recache_s, r.meta.client_cas()), (30, 5, Some(8)));
        let words: Vec<_> = r.meta.words().collect();
        assert_eq!(words.concat(), b"tvO12T-1N30R5C7E8k");
        assert!(r.meta.has(b'v') && !r.meta.has(b'q') && !r.meta.has(200));
        let r = request("ms Zm9vIGJhcg== 2 b MA F9");
        assert_eq!((r.key(), r.meta.mode, r.flags), (&b"foo bar"[..], b'A', 9));
        assert_eq!(request("ma k").delta, 1);
        assert_eq!(request(&format!("me k{}", " v".repeat(30))).key(), b"k");
        assert_eq!((request("me Zm9v b x").key(), request("me Zm9v bx").key()), (&b"foo"[..], &b"Zm9v"[..]));
    }

    #[test]
    fn mistakes() {
        assert_eq!(error("mg k v v"), "CLIENT_ERROR duplicate flag");
        assert_eq!(error("mg k z"), "CLIENT_ERROR invalid flag");
        assert_eq!(error("mg k Tx b"), "CLIENT_ERROR error decoding key");
        assert_eq!(error("mg k b Tx"), "CLIENT_ERROR bad token in command line format");
        assert_eq!(error("md k Tx"), "CLIENT_ERROR invalid or duplicate flag");
        assert_eq!(error("mg k Dx"), "CLIENT_ERROR invalid numeric delta value");
        assert_eq!(error("ms k 2 Jx"), "CLIENT_ERROR invalid numeric initial value");
        assert_eq!(error("ma k Jx"), "CLIENT_ERROR invalid or duplicate flag");
        assert_eq!(error("ms k 2 M"), "CLIENT_ERROR incorrect length for M token");
        assert_eq!(error("ms k 2 MX"), "CLIENT_ERROR invalid mode for ms M token");
        assert_eq!(error("ma k Mi"), "CLIENT_ERROR invalid mode for ma M token");
        let long = format!("O{}", "x".repeat(MAX_OPAQUE_BYTES));
        assert_eq!(error(&format!("mg k {long}")), "CLIENT_ERROR opaque token too long");
        for line in
            ["mg k Tx O", "mg k O Fx", "mg k b O", "ms k 2 O MX", "ma k O MX", "md k Tx O", "ma k M O"]
        {
            assert_eq!(error(&line.replace('O', &long)), error(&line.replace('O', "")), "{line}");
        }
        assert_eq!(error("mg"), "ERROR");
        assert_eq!(error("me"), "CLIENT_ERROR bad command line format");
        let swallowed = |line: &str| parse_line(line.as_bytes()).map(|_| ()).expect_err(line).swallow;
        assert_eq!((swallowed("ms k 5 z"), swallowed("ms k x z"), swallowed("ms k")), (7, 0, 0));
    }
}
