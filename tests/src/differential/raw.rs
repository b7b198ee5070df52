//! Byte streams against two servers: what a broken or strange client sends.
//!
//! A file holds cases. `== NAME ENDING` starts one; each further line is one piece of bytes to send
//! (escapes as in the lists, no line end added); `~ MS` pauses between two pieces; `#` comments. ENDING:
//! - `closes`: the server must close the connection by itself;
//! - `open`: the connection must still work: an ECHO is sent after the pieces and its reply awaited;
//! - `partial`: the last piece is half a request: the client stops sending, the server has to close.
//!
//! In the first line of a case `ours "BYTES"` may follow the ending: required of us instead of what the
//! peer says (the comment says why), and `gap WHY` for a known difference.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::compare;
use super::{Pair, Report};
use crate::client::{Connection, Endpoint};
use crate::quote;

const SENTINEL: &[u8] = b"*2\r\n$4\r\nECHO\r\n$14\r\n<<still here>>\r\n";
const SENTINEL_REPLY: &[u8] = b"$14\r\n<<still here>>\r\n";

/// How a case ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By the server.
    Closes,
    /// Not at all.
    Open,
    /// In half a request.
    Partial,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    Pause(Duration),
}

/// One case of a file.
#[derive(Debug)]
pub struct Case {
    name: String,
    line: usize,
    ending: Ending,
    wanted: Option<Vec<u8>>,
    gap: bool,
    pieces: Vec<Piece>,
}

/// Reads the cases of a file.
///
/// # Panics
/// When it cannot be read or parsed; the message names the line.
pub fn read(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), index + 1);
        if let Some(head) = line.strip_prefix("== ") {
            cases.push(head_line(head, index + 1).unwrap_or_else(|e| panic!("{place}: {e}")));
        } else if !line.trim().is_empty() && !line.starts_with('#') {
            let case = cases.last_mut().unwrap_or_else(|| panic!("{place}: no case was started"));
            case.pieces.push(match line.strip_prefix("~ ") {
                Some(ms) => Piece::Pause(Duration::from_millis(
                    ms.trim().parse().unwrap_or_else(|e| panic!("{place}: {e}")),
                )),
                None => Piece::Bytes(quote::unescape(line).unwrap_or_else(|e| panic!("{place}: {e}"))),
            });
        }
    }
    cases
}

fn head_line(head: &str, line: usize) -> Result<Case, String> {
    let words = quote::split(head).map_err(|e| e.to_string())?;
    let text = |at: usize| words.get(at).map(|w| String::from_utf8_lossy(w).into_owned()).unwrap_or_default();
    let ending = match text(1).as_str() {
        "closes" => Ending::Closes,
        "open" => Ending::Open,
        "partial" => Ending::Partial,
        other => return Err(format!("an ending, not {other:?}")),
    };
    let (wanted, gap) = match text(2).as_str() {
        "" => (None, false),
        "ours" => (Some(words.get(3).ok_or("ours needs bytes")?.clone()), false),
        "gap" => (None, true),
        other => return Err(format!("ours or gap, not {other:?}")),
    };
    Ok(Case { name: text(0), line, ending, wanted, gap, pieces: Vec::new() })
}

/// Runs the cases of one file.
pub fn run(pair: &Pair, file: &Path) -> Report {
    let mut report = Report::default();
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    for case in read(file) {
        let place = format!("{name}:{} {}", case.line, case.name);
        let theirs = play(&pair.theirs, &case);
        let ours = play(&pair.ours, &case);
        report.compared += 1;
        let difference = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => match case.wanted.as_ref().filter(|_| pair.ours_is_torc) {
                Some(wanted) if ours == *wanted => None,
                Some(wanted) => Some(compare::describe(&place, "", "not the wanted bytes", &ours, wanted)),
                None if ours == theirs => None,
                None => Some(compare::describe(&place, "", "the answers differ", &ours, &theirs)),
            },
            (Err(error), Ok(theirs)) => Some(format!(
                "{place}: ours: {error}\n    theirs: {}",
                quote::show(&theirs, super::SHOWN_BYTES)
            )),
            (_, Err(error)) => Some(format!("{place}: theirs: {error}")),
        };
        match difference {
            Some(_) if case.gap => report.gaps += 1,
            Some(text) => report.differences.push(text),
            None if case.gap => report.differences.push(format!("{place}: agrees now: remove its mark")),
            None => {}
        }
        if report.is_full() {
            break;
        }
    }
    report
}

fn play(endpoint: &Endpoint, case: &Case) -> io::Result<Vec<u8>> {
    let mut connection = Connection::open(endpoint)?;
    for piece in &case.pieces {
        match piece {
            // A server that has answered an error may close before it has read all.
            Piece::Bytes(bytes) => match connection.send(bytes) {
                Err(_) if case.ending == Ending::Closes => break,
                result => result?,
            },
            Piece::Pause(time) => std::thread::sleep(*time),
        }
    }
    match case.ending {
        Ending::Closes => connection.read_until(|_| false).map(|(bytes, _)| bytes),
        Ending::Partial => {
            connection.finish_sending()?;
            connection.read_until(|_| false).map(|(bytes, _)| bytes)
        }
        Ending::Open => {
            connection.send(SENTINEL)?;
            match connection.read_until(|bytes| bytes.ends_with(SENTINEL_REPLY))? {
                (bytes, false) => Ok(bytes),
                (bytes, true) => {
                    let text = quote::show(&bytes, super::SHOWN_BYTES);
                    Err(io::Error::other(format!("closed the connection after {text:?}")))
                }
            }
        }
    }
}
