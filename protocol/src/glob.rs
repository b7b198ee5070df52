//! Glob patterns as in `KEYS`, `SCAN … MATCH` and `CONFIG GET`: `*`, `?`, `[a-z]`, `[^a-z]`, and `\` before a byte
//! that is meant as it is. Bytes, not characters.

/// Behind so many stars nothing matches: Redis's guard against patterns that take for ever, part of what it answers.
const MAX_STARS: usize = 1000;

/// Whether `text` matches `pattern`. The time is at most proportional to the product of the two lengths, whatever the
/// pattern: only the last `*` is ever gone back to.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    Glob { ignore_case: false }.matches(pattern, text)
}

/// The same without regard to the case of ASCII letters.
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    Glob { ignore_case: true }.matches(pattern, text)
}

struct Glob {
    ignore_case: bool,
}

impl Glob {
    fn matches(&self, pattern: &[u8], text: &[u8]) -> bool {
        let (mut p, mut t) = (0, 0);
        // Behind the last star, and where in the text it stopped eating.
        let mut star: Option<(usize, usize)> = None;
        // Stars (rows of them count once) in front of `p`.
        let mut stars = 0;
        loop {
            if pattern.get(p) == Some(&b'*') {
                while pattern.get(p) == Some(&b'*') {
                    p += 1;
                }
                if p == pattern.len() {
                    return true;
                }
                stars += 1;
                if stars > MAX_STARS {
                    return false;
                }
                star = Some((p, t));
                continue;
            }
            let Some(&byte) = text.get(t) else { return p == pattern.len() };
            if let Some(next) = self.one(pattern, p, byte) {
                p = next;
                t += 1;
            } else if let Some((behind, eaten)) = star {
                // The star eats one byte more.
                star = Some((behind, eaten + 1));
                p = behind;
                t = eaten + 1;
            } else {
                return false;
            }
        }
    }

    /// Matches one byte with what stands at `p`; gives what stands behind it.
    fn one(&self, pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
        match *pattern.get(p)? {
            b'?' => Some(p + 1),
            b'[' => self.class(pattern, p + 1, byte),
            b'\\' if p + 1 < pattern.len() => self.same(pattern[p + 1], byte).then_some(p + 2),
            other => self.same(other, byte).then_some(p + 1),
        }
    }

    /// A class; one that is not closed ends with the pattern.
    fn class(&self, pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
        let negated = pattern.get(p) == Some(&b'^');
        if negated {
            p += 1;
        }
        let mut found = false;
        loop {
            match pattern.get(p..).unwrap_or_default() {
                [] => break,
                [b'\\', literal, ..] => {
                    found |= self.same(*literal, byte);
                    p += 2;
                }
                [b']', ..] => {
                    p += 1;
                    break;
                }
                [from, b'-', to, ..] => {
                    let (from, to, byte) = (self.fold(*from), self.fold(*to), self.fold(byte));
                    found |= (from.min(to)..=from.max(to)).contains(&byte);
                    p += 3;
                }
                [literal, ..] => {
                    found |= self.same(*literal, byte);
                    p += 1;
                }
            }
        }
        (found != negated).then_some(p)
    }

    fn fold(&self, byte: u8) -> u8 {
        if self.ignore_case { byte.to_ascii_lowercase() } else { byte }
    }

    fn same(&self, a: u8, b: u8) -> bool {
        self.fold(a) == self.fold(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*a*b*c*", "xxaxxbxxc", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            (r"[\]]", "]", true),
            ("[]a]", "a]", false),
            ("[abc", "b", true),
            ("a\\", "a\\", true),
            ("ABC", "abc", false),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        assert!(matches_ignoring_case(b"A[B-D]*", b"acx"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = b"a*".repeat(200);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &[b'a'; 2000]));
    }

    #[test]
    fn behind_too_many_stars_nothing_matches() {
        let text = [b'a'; 3000];
        assert!(matches(&b"*?".repeat(1000), &text[..1000]));
        assert!(!matches(&b"*?".repeat(1001), &text));
        // A star at the end needs no look.
        assert!(matches(&[&b"*?".repeat(1000)[..], b"**"].concat(), &text));
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_escaped(text in proptest::collection::vec(any::<u8>(), 0..20)) {
            let pattern: Vec<u8> = text.iter().flat_map(|byte| [b'\\', *byte]).collect();
            prop_assert!(matches(&pattern, &text));
        }

        #[test]
        fn no_bytes_panic(
            pattern in proptest::collection::vec(proptest::sample::select(b"*?[]^-\\ab".to_vec()), 0..20),
            text in proptest::collection::vec(proptest::sample::select(b"ab]-".to_vec()), 0..20),
        ) {
            let _ = matches(&pattern, &text);
        }
    }
}
