//! Reads the files of `vectors/`; their README says how they are written.

/// One vector.
pub struct Vector {
    pub name: String,
    pub options: Vec<String>,
    pub input: Vec<u8>,
    pub expected: Vec<String>,
}

impl Vector {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|it| it == option)
    }
}

const OPTIONS: [&str; 2] = ["unauthenticated", "whole"];

/// All vectors of a file.
pub fn read(text: &str) -> Vec<Vector> {
    let mut vectors: Vec<Vector> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(title) = line.strip_prefix(": ") {
            let words = title.split(' ').map(str::to_string);
            let (options, name): (Vec<_>, Vec<_>) = words.partition(|word| OPTIONS.contains(&word.as_str()));
            vectors.push(Vector { name: name.join(" "), options, input: Vec::new(), expected: Vec::new() });
            continue;
        }
        let vector = vectors.last_mut().expect("a vector starts with its name");
        match line.strip_prefix("< ") {
            Some(bytes) => vector.input.extend(unescape(bytes)),
            None => vector.expected.push(expand(line)),
        }
    }
    vectors
}

/// Writes `{30*k}` out.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        let Some((count, tail)) = tail[1..].split_once('*') else { break };
        let (Ok(count), Some((byte, tail))) = (count.parse(), tail.split_once('}')) else { break };
        out.push_str(before);
        out.push_str(&byte.repeat(count));
        rest = tail;
    }
    out + rest
}

fn unescape(text: &str) -> Vec<u8> {
    let text = expand(text).into_bytes();
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let (&escape, tail) = rest.split_first().expect("an escape is not the end");
        rest = tail;
        out.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'x' => {
                let (digits, tail) = rest.split_at(2);
                rest = tail;
                u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("two digits")
            }
            other => other,
        });
    }
    out
}

/// The escaped text of bytes, in quotes.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b'"' => out.push_str("\\\""),
            b' '..=b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out + "\""
}
