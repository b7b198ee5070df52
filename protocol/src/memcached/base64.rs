//! Base64 as the meta commands' binary keys have it: the standard alphabet, padded.

use smallvec::SmallVec;

use super::MAX_KEY_BYTES;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the encoded form of `bytes`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|i| u32::from(chunk.get(i).copied().unwrap_or(0)));
        let word = (a << 16) | (b << 8) | c;
        let digit = |shift: u32| ALPHABET[(word >> shift) as usize & 63];
        out.push(digit(18));
        out.push(digit(12));
        out.push(if chunk.len() > 1 { digit(6) } else { b'=' });
        out.push(if chunk.len() > 2 { digit(0) } else { b'=' });
    }
}

fn value(digit: u8) -> Option<u32> {
    Some(u32::from(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// The bytes that `text` stands for; `None` when it is no base64. It passes what memcached lets pass: characters that are
/// no digits are left out, `=` counts as the digit 0 and shortens its block wherever it stands, and what comes behind such
/// a block is not looked at.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    const PADDING: u8 = b'=';
    let is_digit = |digit: &u8| *digit == PADDING || value(*digit).is_some();
    let digits: SmallVec<[u8; MAX_KEY_BYTES]> = text.iter().copied().filter(is_digit).collect();
    if digits.is_empty() || !digits.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3);
    for block in digits.chunks(4) {
        let word = block.iter().fold(0, |word, digit| (word << 6) | value(*digit).unwrap_or(0));
        let [_, bytes @ ..] = word.to_be_bytes();
        let padding = block.iter().filter(|digit| **digit == PADDING).count();
        match padding {
            0 => out.extend_from_slice(&bytes),
            1 | 2 => {
                out.extend_from_slice(&bytes[..bytes.len() - padding]);
                break;
            }
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forms() {
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foo bar", "Zm9vIGJhcg==")] {
            let mut out = Vec::new();
            encode(bytes.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decode(text.as_bytes()).as_deref(), Some(bytes.as_bytes()));
        }
        for text in ["", "Z", "Zm9", "====", "Z===", "Zm9vZ===", "Zm9v\tb==", "Zm9\u{7f}"] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_passes() {
        for (text, canonical) in [
            ("Zm==", "Zg=="),
            ("Zg==Zm9v", "Zg=="),
            ("Zm=v", "ZmA="),
            ("=Zm9", "AZk="),
            ("Z=m9", "ZAk="),
            ("Z=m=", "ZA=="),
            ("Z\tm9\u{7f}v", "Zm9v"),
        ] {
            let mut out = Vec::new();
            encode(&decode(text.as_bytes()).expect(text), &mut out);
            assert_eq!(out, canonical.as_bytes(), "{text}");
        }
    }
}
