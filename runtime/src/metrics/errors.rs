//! Error replies by their codes, as INFO's `errorstats` has them.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Codes that are counted one by one; further ones are counted together as [`OTHER`].
const MAX_CODES: usize = 128;
/// See [`MAX_CODES`].
const OTHER: &str = "OTHER";
/// The longest code, bytes.
const MAX_CODE_BYTES: usize = 32;

/// One worker's counts. Behind a lock, which is off the path of what succeeds.
#[derive(Debug, Default)]
pub struct ErrorCodes(Mutex<BTreeMap<Box<str>, u64>>);

impl ErrorCodes {
    /// Counts an error by the code that its text begins with.
    #[cold]
    pub fn count(&self, text: &[u8]) {
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let known = |code: &[u8]| {
            (1..=MAX_CODE_BYTES).contains(&code.len()) && code.iter().all(u8::is_ascii_uppercase)
        };
        let code = std::str::from_utf8(code).ok().filter(|code| known(code.as_bytes())).unwrap_or("ERR");
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
            return;
        }
        let code = if counts.len() < MAX_CODES { code } else { OTHER };
        *counts.entry(code.into()).or_default() += 1;
    }

    /// Adds this worker's counts to `into`.
    pub fn add_to(&self, into: &mut BTreeMap<Box<str>, u64>) {
        for (code, count) in &*self.0.lock() {
            *into.entry(code.clone()).or_default() += count;
        }
    }

    /// Begins anew.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_by_their_code() {
        let codes = ErrorCodes::default();
        for text in ["ERR no", "WRONGTYPE x", "ERR", "odd text", ""] {
            codes.count(text.as_bytes());
        }
        let all = || {
            let mut all = BTreeMap::new();
            codes.add_to(&mut all);
            all.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(all(), [("ERR".into(), 4), ("WRONGTYPE".into(), 1)]);
        codes.clear();
        assert!(all().is_empty());
    }
}
