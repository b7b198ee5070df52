//! The first line of a script, if it is `#!lua [flags=…]`.

use smallvec::SmallVec;

/// What a script may do, by the flags it declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// There is a first line with `#!`: what it does not allow is forbidden from the start.
    pub explicit: bool,
    /// `no-writes`.
    pub no_writes: bool,
    /// `allow-oom`.
    pub allow_oom: bool,
    /// `no-cluster`.
    pub no_cluster: bool,
}

/// Reads the first line; answers what it declares and the rest, which begins with the line's end so that line
/// numbers stay.
pub fn split(body: &[u8]) -> Result<(Declared, &[u8]), Vec<u8>> {
    if !body.starts_with(b"#!") {
        return Ok((Declared::default(), body));
    }
    let end = memchr::memchr(b'\n', body).ok_or_else(|| b"ERR Invalid script shebang".to_vec())?;
    let words: SmallVec<[&[u8]; 4]> =
        body[..end].split(|b| matches!(b, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty()).collect();
    let engine = words.first().copied().unwrap_or_default();
    if engine != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", engine].concat());
    }
    let mut declared = Declared { explicit: true, ..Declared::default() };
    for option in &words[1..] {
        let Some(flags) = option.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", *option].concat());
        };
        for flag in flags.split(|b| *b == b',').filter(|flag| !flag.is_empty()) {
            match flag {
                b"no-writes" => declared.no_writes = true,
                b"allow-oom" => declared.allow_oom = true,
                b"no-cluster" => declared.no_cluster = true,
                // Reads on a replica that may be behind are the client's choice; keys of several slots are
                // refused by where they are, not by a flag.
                b"allow-stale" | b"allow-cross-slot-keys" => {}
                other => return Err([b"ERR Unexpected flag in script shebang: ", other].concat()),
            }
        }
    }
    Ok((declared, &body[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        assert_eq!(split(b"return 1"), Ok((Declared::default(), &b"return 1"[..])));
        let (declared, rest) = split(b"#!lua flags=no-writes,allow-stale\nreturn 1").expect("sound");
        assert!(declared.explicit && declared.no_writes && !declared.allow_oom);
        assert_eq!(rest, b"\nreturn 1");
        let error = |body: &[u8]| String::from_utf8_lossy(&split(body).unwrap_err()).into_owned();
        assert_eq!(error(b"#!lua"), "ERR Invalid script shebang");
        assert_eq!(error(b"#!py\n"), "ERR Unexpected engine in script shebang: #!py");
        assert_eq!(error(b"#!lua name=x\n"), "ERR Unknown lua shebang option: name=x");
        assert_eq!(error(b"#!lua flags=bad\n"), "ERR Unexpected flag in script shebang: bad");
    }
}
