//! Lists of commands: one command per line, quoted as in `redis-cli`; `#` starts a comment line, `#!` a
//! directive. A directive that says how to compare holds for the next command only.
//!
//! | directive | meaning |
//! | --- | --- |
//! | `only resp2`, `only resp3` | the file is run in that protocol only (else in both) |
//! | `only direct` | the file is not run through the proxy |
//! | `resp2`, `resp3` | the connection changes its protocol by HELLO |
//! | `on NAME` | the next commands go through connection NAME, opened when new; `main` is the first |
//! | `reset` | connections closed, FLUSHALL on both servers |
//! | `sleep MS` | pause |
//! | `closed` | both servers must now close the connection |
//! | `unordered [N]` | the innermost arrays are compared as sets of groups of N |
//! | `doubles` | texts of the same double are the same |
//! | `shape` | same types and lengths, any scalars |
//! | `type` | same type of the whole reply |
//! | `keys` | our map has at least the keys of theirs |
//! | `near N` | integers, also within text of digits, may differ by N |
//! | `code` | of errors only the first word is compared |
//! | `ignore` | the replies are read and not compared |
//! | `replies N` | the command has N replies (0 with CLIENT REPLY OFF) |
//! | `scan` | the SCAN-like command is repeated to its end, the elements compared as a set |
//! | `scan pairs` | the same with elements in pairs (HSCAN) |
//! | `since V REPLY [REPLY3]` | Redis V or later answers REPLY (RESP3: REPLY3): required of us, and of a peer that new |
//! | `errors-since V` | Redis before V may take, or refuse in other words, what we refuse as V does |
//! | `rules-since V` | Redis before V may take what we refuse, and refuse what we take, as V does |
//! | `ours REPLY [REPLY3]` | required of us alone, where we differ on purpose (the comment above says why) |
//! | `direct` | not through the proxy, which says itself why not (or has a reply of its own) |
//! | `one-shard` | not through the proxy of several shards |
//! | `gap WHY` | a known difference: it may differ, and when it agrees the mark must go |

use std::path::Path;

use super::compare::Check;
use crate::quote;

/// Of which Torc a command is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// Any.
    #[default]
    All,
    /// Not of the proxy of several shards.
    OneShard,
    /// Not of any proxy.
    Direct,
}

/// One thing a list does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Sends a command and compares.
    Call {
        /// The command and its arguments.
        args: Vec<Vec<u8>>,
        /// How to compare.
        check: Check,
        /// How many replies come.
        replies: usize,
        /// Why a difference is known.
        gap: Option<String>,
        /// Of whom it is asked.
        of: Of,
    },
    /// Repeats a cursor command to its end; elements in groups of this size.
    Scan(Vec<Vec<u8>>, usize),
    /// Goes on with the connection of this name.
    On(String),
    /// Changes the protocol of the connection.
    Protocol(u8),
    /// Starts over with empty servers and new connections.
    Reset,
    /// Pauses, milliseconds.
    Sleep(u64),
    /// Requires the end of the stream on both.
    Closed,
}

/// An action and its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// 1-based line of the file.
    pub line: usize,
    /// What to do.
    pub action: Action,
}

/// A parsed list.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// Its name in reports.
    pub name: String,
    /// The protocols it is run in.
    pub protocols: Vec<u8>,
    /// Not through the proxy.
    pub direct: bool,
    /// What it does, in order.
    pub steps: Vec<Step>,
}

impl List {
    /// Reads a file.
    ///
    /// # Panics
    /// When it cannot be read or a line cannot be parsed; the message names file and line.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Parses the text of a list.
    ///
    /// # Errors
    /// A message that names the file and the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut list =
            Self { name: name.to_owned(), protocols: vec![2, 3], direct: false, steps: Vec::new() };
        let mut next = Pending::default();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let at = |error: String| format!("{name}:{number}: {error}");
            if let Some(directive) = line.strip_prefix("#!") {
                if directive.trim() == "only direct" {
                    list.direct = true;
                } else if let Some(protocol) = directive.trim().strip_prefix("only resp") {
                    let protocol = protocol.parse().map_err(|_| at("only resp2 or resp3".into()))?;
                    list.protocols = vec![protocol];
                } else if let Some(action) = next.directive(directive.trim()).map_err(at)? {
                    if next != Pending::default() {
                        return Err(at("a directive about the next command stands before no command".into()));
                    }
                    list.steps.push(Step { line: number, action });
                }
                continue;
            }
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let args = quote::split(line).map_err(|e| at(e.to_string()))?;
            list.steps.push(Step { line: number, action: std::mem::take(&mut next).call(args) });
        }
        if next != Pending::default() {
            return Err(format!("{name}: the last directive stands before no command"));
        }
        Ok(list)
    }
}

/// Directives seen since the last command.
#[derive(Debug, Default, PartialEq)]
struct Pending {
    check: Option<Check>,
    replies: Option<usize>,
    gap: Option<String>,
    scan: Option<usize>,
    of: Of,
}

impl Pending {
    fn call(self, args: Vec<Vec<u8>>) -> Action {
        match self.scan {
            Some(group) => Action::Scan(args, group),
            None => Action::Call {
                args,
                check: self.check.unwrap_or(Check::Exact),
                replies: self.replies.unwrap_or(1),
                gap: self.gap,
                of: self.of,
            },
        }
    }

    fn directive(&mut self, text: &str) -> Result<Option<Action>, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let number = |default: Option<u64>| match (rest, default) {
            ("", Some(default)) => Ok(default),
            _ => rest.parse::<u64>().map_err(|_| format!("{word} needs a number, not {rest:?}")),
        };
        let action = match word {
            "reset" => Action::Reset,
            "closed" => Action::Closed,
            "resp2" => Action::Protocol(2),
            "resp3" => Action::Protocol(3),
            "on" if !rest.is_empty() => Action::On(rest.to_owned()),
            "sleep" => Action::Sleep(number(None)?),
            "replies" => {
                self.replies = Some(usize::try_from(number(None)?).map_err(|e| e.to_string())?);
                return Ok(None);
            }
            "gap" if !rest.is_empty() => {
                self.gap = Some(rest.to_owned());
                return Ok(None);
            }
            "direct" | "one-shard" => {
                self.of = if word == "direct" { Of::Direct } else { Of::OneShard };
                return Ok(None);
            }
            "scan" => {
                self.scan = Some(if rest == "pairs" { 2 } else { 1 });
                return Ok(None);
            }
            _ => {
                let check = match word {
                    "unordered" => Check::Unordered(usize::try_from(number(Some(1))?).unwrap_or(1).max(1)),
                    "doubles" => Check::Doubles,
                    "shape" => Check::Shape,
                    "type" => Check::Type,
                    "keys" => Check::Keys,
                    "near" => Check::Near(number(None)?),
                    "code" => Check::Code,
                    "ignore" => Check::Ignore,
                    "since" => {
                        let (version, replies) = rest.split_once(' ').ok_or("since VERSION REPLY")?;
                        expected(replies, Some(parse_version(version).ok_or("since VERSION REPLY")?))?
                    }
                    "errors-since" => Check::ErrorsSince(parse_version(rest).ok_or("errors-since VERSION")?),
                    "rules-since" => Check::RulesSince(parse_version(rest).ok_or("rules-since VERSION")?),
                    "ours" => expected(rest, None)?,
                    _ => return Err(format!("unknown directive {text:?}")),
                };
                if self.check.replace(check).is_some() {
                    return Err("two directives say how to compare one command".into());
                }
                return Ok(None);
            }
        };
        Ok(Some(action))
    }
}

fn expected(replies: &str, since: Option<(u32, u32)>) -> Result<Check, String> {
    let mut replies = quote::split(replies).map_err(|e| e.to_string())?.into_iter();
    let resp2 = replies.next().ok_or("a reply is needed")?;
    let resp3 = replies.next().unwrap_or_else(|| resp2.clone());
    Ok(Check::Expect { resp2, resp3, since })
}

/// Major and minor of a version such as `7.0.15`.
pub fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_hold_for_one_command() {
        let list = List::parse("t", "# words\nSET a b\n#! near 2\nTTL a\nGET a\n#! sleep 5\n#! on b\n")
            .expect("parses");
        let checks: Vec<_> = list
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Call { check, .. } => Some(check.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(checks, [Check::Exact, Check::Near(2), Check::Exact]);
        assert_eq!(list.steps[3], Step { line: 6, action: Action::Sleep(5) });
        assert_eq!(list.steps[4].action, Action::On("b".into()));
        assert_eq!(list.protocols, [2, 3]);
    }

    #[test]
    fn mistakes_in_a_list_are_named_with_their_line() {
        for (text, error) in [
            ("#! unorderd\nX", "t:1: unknown directive"),
            ("PING\n\"x", "t:2: unbalanced"),
            ("#! shape\n#! code\nX", "t:2: two directives"),
            ("#! shape\n#! reset\nX", "t:2: a directive about the next"),
            ("#! shape", "t: the last directive"),
            ("#! sleep x", "t:1: sleep needs a number"),
        ] {
            let found = List::parse("t", text).expect_err(text);
            assert!(found.starts_with(error), "{found}");
        }
    }
}
