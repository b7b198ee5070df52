//! Random meta commands, sound and damaged ones.
//!
//! Left out is what memcached 1.6.18 does not know yet (`E`, `x`, `C` of `mg`, `s` of `ms`, `N` of an append), and where
//! nobody can want what it does: a quiet `ma` that creates its item is answered there, and a command whose opaque token is
//! too long is refused after it was executed. An item that `mg` or `ma` created by its key in base64 forgets there that it
//! was so.

use rand::Rng;
use rand::rngs::StdRng;

use super::random::{key, pick, value};

const TIMES: [&str; 6] = ["0", "100", "300", "-1", "2592001", "4000000000"];

/// Some flags of these, each at most once but for a mistake now and then.
fn flags(rng: &mut StdRng, choices: &[&str]) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    for _ in 0..rng.random_range(0..6) {
        let flag = match pick(rng, choices) {
            "T" | "N" | "R" if rng.random_range(0..25) == 0 => "Tx".to_owned(),
            timed @ ("T" | "N" | "R") => format!("{timed}{}", pick(rng, &TIMES)),
            "F" => format!("F{}", pick(rng, &["0", "7", "4294967295", "4294967296", "-1", "x"])),
            "C" => format!("C{}", pick(rng, &["<cas>", "<cas>", "<cas>", "1", "0", "99999999", "x"])),
            "D" => format!("D{}", pick(rng, &["0", "1", "20", "18446744073709551615", "x"])),
            "J" => format!("J{}", pick(rng, &["0", "1", "20", "18446744073709551615", "x"])),
            "O" => format!("O{}", rng.random_range(0..1000)),
            other => other.to_owned(),
        };
        if !flags.iter().any(|known| known[..1] == flag[..1]) || rng.random_range(0..20) == 0 {
            flags.push(flag);
        }
    }
    flags
}

/// A request's words, and its data.
pub(super) fn request(rng: &mut StdRng, alone: bool) -> (Vec<String>, Option<Vec<u8>>) {
    let mut key = key(rng, alone);
    let mut data = None;
    let mut words = match rng.random_range(0..12) {
        0..=4 => {
            let mut flags =
                flags(rng, &["v", "v", "v", "k", "q", "u", "s", "t", "c", "f", "h", "O", "T", "N", "R"]);
            flags.splice(0..0, ["mg".to_owned(), key.clone()]);
            flags
        }
        5..=7 => {
            let mut flags = flags(rng, &["T", "F", "C", "I", "k", "O", "q", "c"]);
            if rng.random_range(0..3) == 0 {
                flags.push(format!("M{}", pick(rng, &["E", "A", "P", "R", "S", "S", "X", ""])));
            }
            let value = value(rng);
            flags.splice(0..0, ["ms".to_owned(), key.clone(), value.len().to_string()]);
            data = Some(value);
            flags
        }
        8 | 9 => {
            let mut flags = flags(rng, &["q", "k", "O", "C", "I", "T"]);
            flags.splice(0..0, ["md".to_owned(), key.clone()]);
            flags
        }
        10 if alone => {
            let mut flags = flags(rng, &["v", "v", "k", "O", "C", "T", "D", "t", "c", "N", "J"]);
            if rng.random_range(0..3) == 0 {
                flags.push(format!("M{}", pick(rng, &["I", "D", "+", "-", "x", ""])));
            }
            flags.splice(0..0, ["ma".to_owned(), key.clone()]);
            flags
        }
        _ => vec![pick(rng, &["mn", "mn x", "mg", "md", "ma", "mx k1"]).to_owned()],
    };
    // The name of one of the keys in base64, now and then.
    let creates = words[0] == "ma" || words.iter().skip(2).any(|word| word.starts_with('N'));
    if words.len() > 1 && !creates && rng.random_range(0..12) == 0 && key.len() == 2 {
        key = format!("a{}==", pick(rng, &["w", "x", "y"]));
        words[1] = key;
        words.push("b".to_owned());
    }
    if rng.random_range(0..40) == 0 {
        words.push(pick(rng, &["z", "1", "noreply", "\u{7f}"]).to_owned());
    }
    (words, data)
}
