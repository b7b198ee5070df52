//! Lists for the memcached text protocol, `differential/memcached/*.cmds`.
//!
//! Lines are sent as they are, with escapes as in the other lists and `\r\n` behind each; a blank line
//! ends a step. After a step `version` is sent, and all that came before its reply is compared.
//!
//! Directives: `#! raw TEXT` (bytes without line end), `#! sleep MS`, `#! reset` (flush_all, new
//! connection), `#! closed` (this step makes the server close the connection), `#! partial` (the step ends
//! in half a request: the client stops sending), `#! first` (only the first line of the answer is
//! compared), `#! lines` (answers sorted by line), `#! ours TEXT` (required of us alone), `#! gap WHY`.
//!
//! `<cas>` in a request `cas KEY …` or `ms KEY …` stands for the last unique number that this server gave for that key;
//! in answers unique numbers are compared only as being there, and so are seconds left or gone (`t`, `l` of meta
//! commands). With `TORC_DIFF_TRACE=1` every step is printed.

mod random;
mod random_meta;
mod watch;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::compare;
use super::{Pair, Report};
use crate::client::{Connection, Endpoint};
use crate::quote;

pub use watch::run as run_watched;

/// Steps that failed in one run before it is given up.
const MAX_BROKEN: usize = 3;

/// Stands for a unique number.
const CAS: &[u8] = b"<cas>";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Open,
    Closed,
    Partial,
}

/// What a list does between two blank lines.
#[derive(Debug, Default)]
struct Step {
    line: usize,
    reset: bool,
    sleep_ms: u64,
    bytes: Vec<u8>,
    ending: Ending,
    first_line_only: bool,
    any_order: bool,
    wanted: Option<Vec<u8>>,
    gap: bool,
}

fn parse(name: &str, text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = Step::default();
    for (index, line) in text.lines().chain([""]).enumerate() {
        let fail = |error: &dyn std::fmt::Display| -> ! { panic!("{name}:{}: {error}", index + 1) };
        let bytes = |text: &str| quote::unescape(text).unwrap_or_else(|e| fail(&e));
        if let Some(directive) = line.strip_prefix("#!") {
            let directive = directive.trim();
            let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
            match word {
                "raw" => {
                    step.line = index + 1;
                    step.bytes.extend(bytes(rest));
                }
                "sleep" => step.sleep_ms += rest.trim().parse::<u64>().unwrap_or_else(|e| fail(&e)),
                "reset" => step.reset = true,
                "closed" => step.ending = Ending::Closed,
                "partial" => step.ending = Ending::Partial,
                "first" => step.first_line_only = true,
                "lines" => step.any_order = true,
                "ours" => step.wanted = Some(bytes(rest)),
                "gap" => step.gap = true,
                other => fail(&format!("unknown directive {other:?}")),
            }
        } else if line.starts_with('#') {
        } else if !line.is_empty() {
            step.line = index + 1;
            step.bytes.extend(bytes(line));
            step.bytes.extend(b"\r\n");
        } else if !step.bytes.is_empty() || step.reset || step.sleep_ms > 0 {
            steps.push(std::mem::take(&mut step));
        }
    }
    steps
}

struct Side<'a> {
    endpoint: &'a Endpoint,
    connection: Option<Connection>,
    /// The last unique number of each key.
    cas: HashMap<Vec<u8>, Vec<u8>>,
}

impl Side<'_> {
    fn play(&mut self, step: &Step) -> io::Result<Vec<u8>> {
        if step.reset {
            self.connection = None;
            let mut fresh = Connection::open(self.endpoint)?;
            fresh.send(b"flush_all\r\n")?;
            fresh.read_until(|bytes| bytes.ends_with(b"\r\n"))?;
        }
        let request = self.with_cas(&step.bytes);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.endpoint)?),
        };
        match connection.send(&request) {
            Err(_) if step.ending == Ending::Closed => {}
            result => result?,
        }
        let answer = match step.ending {
            Ending::Open => {
                connection.send(b"version\r\n")?;
                let (mut bytes, ended) = connection.read_until(|bytes| version_start(bytes).is_some())?;
                if ended {
                    let text = quote::show(&bytes, super::SHOWN_BYTES);
                    return Err(io::Error::other(format!("closed the connection after {text:?}")));
                }
                bytes.truncate(version_start(&bytes).unwrap_or(bytes.len()));
                bytes
            }
            Ending::Closed => connection.read_until(|_| false)?.0,
            Ending::Partial => {
                connection.finish_sending()?;
                connection.read_until(|_| false)?.0
            }
        };
        if step.ending != Ending::Open {
            self.connection = None;
        }
        Ok(mask_cas(&answer, &mut self.cas))
    }

    /// Puts the unique numbers in.
    fn with_cas(&self, request: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(request.len());
        for line in request.split_inclusive(|&b| b == b'\n') {
            let verb =
                [&b"cas "[..], b"ms ", b"md ", b"ma ", b"mg "].into_iter().find(|v| line.starts_with(v));
            let key = verb.and_then(|verb| line[verb.len()..].split(|&b| b == b' ').next());
            let place = line.windows(CAS.len()).position(|window| window == CAS);
            if let (Some(key), Some(at)) = (key, place) {
                out.extend(&line[..at]);
                out.extend(self.cas.get(key).map_or(&b"0"[..], Vec::as_slice));
                out.extend(&line[at + CAS.len()..]);
            } else {
                out.extend(line);
            }
        }
        out
    }
}

/// Where the answer to the closing `version` starts, when the bytes end with it.
fn version_start(bytes: &[u8]) -> Option<usize> {
    let body = bytes.strip_suffix(b"\r\n")?;
    let start = body.windows(2).rposition(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    body[start..].starts_with(b"VERSION ").then_some(start)
}

/// The flags of a meta command's answer, with what no two servers say alike left out.
fn mask_flags(words: &[&[u8]], out: &mut Vec<u8>) {
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        let number = word.get(1..).is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
        match word.first() {
            Some(flag @ (b'c' | b't' | b'l')) if number => out.extend([*flag, b'#']),
            _ => out.extend_from_slice(word),
        }
    }
    out.extend(b"\r\n");
}

/// Replaces the unique numbers of `VALUE` lines and of meta commands' answers, and remembers the last one of each key.
fn mask_cas(answer: &[u8], known: &mut HashMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.len());
    let mut rest = answer;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, after) = rest.split_at(end);
        rest = after;
        let words: Vec<&[u8]> = line.strip_suffix(b"\r\n").unwrap_or(line).split(|&b| b == b' ').collect();
        let bytes = match words[..] {
            [b"VALUE", key, flags, bytes, unique] => {
                known.insert(key.to_vec(), unique.to_vec());
                out.extend([b"VALUE", key, flags, bytes, b"<cas>\r\n"].join(&b' '));
                Some(bytes)
            }
            [b"VALUE", _, _, bytes] => {
                out.extend(line);
                Some(bytes)
            }
            [b"VA", bytes, ..] => {
                mask_flags(&words, &mut out);
                Some(bytes)
            }
            [b"HD" | b"EX" | b"NS" | b"NF" | b"EN", _, ..] => {
                mask_flags(&words, &mut out);
                None
            }
            _ => {
                out.extend(line);
                None
            }
        };
        // The data block is taken over as it is: it may hold anything.
        if let Some(bytes) = bytes
            && let Some(len) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<usize>().ok())
        {
            let (data, after) = rest.split_at(len.saturating_add(2).min(rest.len()));
            out.extend(data);
            rest = after;
        }
    }
    out
}

/// Runs the list of one file.
///
/// # Panics
/// When the file cannot be read or parsed.
pub fn run(pair: &Pair, file: &Path) -> Report {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    run_steps(pair, &name, parse(&name, &text))
}

/// Random requests for each sequence that the families of Redis commands are asked for.
pub const REQUESTS: usize = 14;

/// Runs `count` random requests in small pipelined batches.
pub fn run_random(pair: &Pair, seed: u64, count: usize) -> Report {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut done = 0;
    let mut steps = Vec::new();
    while done < count {
        let (bytes, requests) = random::step(&mut rng);
        steps.push(Step { line: done, bytes, ..Step::default() });
        done += requests;
    }
    run_steps(pair, &format!("random seed {seed}"), steps)
}

fn run_steps(pair: &Pair, name: &str, mut steps: Vec<Step>) -> Report {
    let mut report = Report::default();
    let mut theirs = Side { endpoint: &pair.theirs, connection: None, cas: HashMap::new() };
    let mut ours = Side { endpoint: &pair.ours, connection: None, cas: HashMap::new() };
    let mut broken = 0;
    let trace = std::env::var_os("TORC_DIFF_TRACE").is_some();
    if let Some(first) = steps.first_mut() {
        first.reset = true;
    }
    for step in steps {
        if report.is_full() || broken >= MAX_BROKEN {
            break;
        }
        std::thread::sleep(Duration::from_millis(step.sleep_ms));
        let place = format!("{name}:{}", step.line);
        let request = quote::show(&step.bytes, super::SHOWN_BYTES);
        let answers = (theirs.play(&step), ours.play(&step));
        report.compared += 1;
        if trace {
            let text = |answer: &io::Result<Vec<u8>>| match answer {
                Ok(bytes) => quote::show(bytes, super::SHOWN_BYTES),
                Err(error) => error.to_string(),
            };
            eprintln!(
                "{place}: {request}\n    theirs: {}\n    ours:   {}",
                text(&answers.0),
                text(&answers.1)
            );
        }
        let difference = match answers {
            (Ok(right), Ok(found)) => {
                let wanted = step.wanted.as_deref().filter(|_| pair.ours_is_torc).unwrap_or(&right);
                (view(&step, &found) != view(&step, wanted))
                    .then(|| compare::describe(&place, &request, "the answers differ", &found, wanted))
            }
            (right, found) => {
                broken += 1;
                ours.connection = None;
                theirs.connection = None;
                let text = |result: io::Result<Vec<u8>>| match result {
                    Ok(bytes) => quote::show(&bytes, super::SHOWN_BYTES),
                    Err(error) => format!("({error})"),
                };
                Some(format!("{place}: {request}\n    ours:   {}\n    theirs: {}", text(found), text(right)))
            }
        };
        match difference {
            Some(_) if step.gap => report.gaps += 1,
            Some(text) => report.differences.push(text),
            None if step.gap => report.differences.push(format!("{place}: agrees now: remove its gap mark")),
            None => {}
        }
    }
    report
}

/// The part of an answer that a step compares.
fn view(step: &Step, answer: &[u8]) -> Vec<u8> {
    if step.first_line_only {
        return answer.split(|&b| b == b'\n').next().unwrap_or_default().to_vec();
    }
    if step.any_order {
        let mut lines: Vec<_> = answer.split(|&b| b == b'\n').collect();
        lines.sort_unstable();
        return lines.join(&b'\n');
    }
    answer.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_numbers_are_masked_outside_of_data() {
        let answer = b"VALUE a 0 17 42\r\nVALUE b 0 1 7\r\nxx\r\nEND\r\n";
        let mut side = Side { endpoint: &Endpoint::Unix("/".into()), connection: None, cas: HashMap::new() };
        let masked = mask_cas(answer, &mut side.cas);
        assert_eq!(masked, b"VALUE a 0 17 <cas>\r\nVALUE b 0 1 7\r\nxx\r\nEND\r\n");
        let masked = mask_cas(b"VA 4 c12 t30 kc12 t-1 W\r\nHD 1\r\nHD c9\r\n", &mut HashMap::new());
        assert_eq!(masked, b"VA 4 c# t# kc12 t-1 W\r\nHD 1\r\nHD c#\r\n");
        let request = b"cas a 0 0 5 <cas>\r\n<cas>\r\ncas b 0 0 1 <cas>\r\nx\r\n";
        assert_eq!(side.with_cas(request), b"cas a 0 0 5 42\r\n<cas>\r\ncas b 0 0 1 0\r\nx\r\n");
    }

    #[test]
    fn steps_end_at_blank_lines() {
        let steps = parse("t", "set a 0 0 1\nx\n\n#! closed\nquit\n");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].bytes, b"set a 0 0 1\r\nx\r\n");
        assert_eq!(steps[1].ending, Ending::Closed);
        assert_eq!(version_start(b"END\r\nVERSION 1\r\n"), Some(5));
        assert_eq!(version_start(b"END\r\n"), None);
    }
}
