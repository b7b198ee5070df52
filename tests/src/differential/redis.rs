//! Runs a list of commands against two servers that speak RESP.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::compare::{self, Check};
use super::list::{Action, List, Step, parse_version};
use super::{Pair, Report, SHOWN_ARG_BYTES, tagged};
use crate::client::{Connection, Endpoint};
use crate::frame::{self, Node};
use crate::quote;

/// Connections that failed in one run before it is given up.
const MAX_BROKEN: usize = 3;
/// Rounds of one cursor command before it is called endless.
const MAX_SCAN_ROUNDS: usize = 100_000;

/// Runs a list in each of its protocols.
pub fn run(pair: &Pair, list: &List) -> Report {
    let mut report = Report::default();
    for &protocol in &list.protocols {
        report.merge(run_in(pair, list, protocol));
    }
    report
}

/// Runs a list in one protocol (2 or 3).
pub fn run_in(pair: &Pair, list: &List, protocol: u8) -> Report {
    let mut run = Run {
        pair,
        list,
        protocol,
        their_version: (0, 0),
        lines: BTreeMap::new(),
        current: String::from("main"),
        report: Report { sequences: 1, ..Report::default() },
        broken: 0,
    };
    match version(&pair.theirs) {
        Ok(version) => run.their_version = version,
        Err(error) => run.report.differences.push(format!("{}: no version of the peer: {error}", list.name)),
    }
    if let Err(error) = run.reset() {
        run.report.differences.push(format!("{}: cannot start: {error}", list.name));
        return run.report;
    }
    for step in &list.steps {
        if run.report.is_full() || run.broken >= MAX_BROKEN {
            break;
        }
        run.step(step);
    }
    run.report
}

/// The version that a server gives in INFO.
///
/// # Errors
/// Those of the connection.
pub fn version(endpoint: &Endpoint) -> io::Result<(u32, u32)> {
    let info = Connection::open(endpoint)?.call(&["INFO", "server"])?;
    let text = info.text().unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.and_then(|v| parse_version(v.trim())).ok_or_else(|| io::Error::other("no redis_version in INFO"))
}

struct Line {
    ours: Connection,
    theirs: Connection,
    protocol: u8,
}

struct Run<'a> {
    pair: &'a Pair,
    list: &'a List,
    protocol: u8,
    their_version: (u32, u32),
    lines: BTreeMap<String, Line>,
    current: String,
    report: Report,
    broken: usize,
}

impl Run<'_> {
    fn reset(&mut self) -> io::Result<()> {
        self.lines.clear();
        self.current = "main".into();
        for endpoint in [&self.pair.ours, &self.pair.theirs] {
            let reply = Connection::open(endpoint)?.call(&["FLUSHALL"])?;
            if reply.is_error() {
                return Err(io::Error::other(format!("FLUSHALL at {endpoint}: {reply:?}")));
            }
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<&mut Line> {
        if !self.lines.contains_key(&self.current) {
            let mut line = Line {
                ours: Connection::open(&self.pair.ours)?,
                theirs: Connection::open(&self.pair.theirs)?,
                protocol: 2,
            };
            if self.protocol != 2 {
                line.switch(self.protocol)?;
            }
            self.lines.insert(self.current.clone(), line);
        }
        self.lines.get_mut(&self.current).ok_or_else(|| io::Error::other("no connection"))
    }

    fn step(&mut self, step: &Step) {
        let result = match &step.action {
            Action::On(name) => {
                self.current.clone_from(name);
                Ok(())
            }
            Action::Reset => self.reset(),
            Action::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(*ms));
                Ok(())
            }
            Action::Protocol(version) => self.line().and_then(|line| line.switch(*version)),
            Action::Closed => self.closed(step),
            Action::Scan(args, group) => self.scan(step, args, *group),
            Action::Call { of, .. } if self.pair.leaves_out(*of) => Ok(()),
            Action::Call { args, check, replies, gap, .. } => {
                let args = if self.pair.several_shards { &tagged(args) } else { args };
                self.call(step, args, check, *replies, gap.as_deref())
            }
        };
        if let Err(error) = result {
            self.broken += 1;
            let command = match &step.action {
                Action::Call { args, .. } | Action::Scan(args, _) => {
                    quote::show_command(args, SHOWN_ARG_BYTES)
                }
                other => format!("{other:?}"),
            };
            self.report.differences.push(format!("{}: {command}\n    {error}", self.place(step)));
            self.lines.remove(&self.current);
        }
    }

    fn place(&self, step: &Step) -> String {
        format!("{}:{} (RESP{})", self.list.name, step.line, self.protocol)
    }

    fn call(
        &mut self,
        step: &Step,
        args: &[Vec<u8>],
        check: &Check,
        replies: usize,
        gap: Option<&str>,
    ) -> io::Result<()> {
        let their_version = self.their_version;
        let ours_is_torc = self.pair.ours_is_torc;
        let line = self.line()?;
        line.theirs.send_command(args)?;
        line.ours.send_command(args)?;
        let protocol = line.protocol;
        let (mut all_ours, mut all_theirs) = (Vec::new(), Vec::new());
        for _ in 0..replies {
            let line = self.line()?;
            let theirs = line.theirs.read_frame().map_err(|e| io::Error::other(format!("theirs: {e}")))?;
            let ours = line.ours.read_frame().map_err(|e| {
                let text = quote::show(&theirs, super::SHOWN_BYTES);
                io::Error::other(format!("ours: {e}\n    theirs: {text}"))
            })?;
            all_ours.push(ours);
            all_theirs.push(theirs);
        }
        if self.pair.through_proxy {
            // Messages come another way than replies: their order is compared, not their place between replies.
            all_ours.sort_by_key(|frame| source(frame).is_none());
            all_theirs.sort_by_key(|frame| source(frame).is_none());
        }
        if self.pair.several_shards {
            // Between channels of two shards there is no order.
            all_ours.sort_by_cached_key(|frame| source(frame));
            all_theirs.sort_by_cached_key(|frame| source(frame));
        }
        for (ours, theirs) in all_ours.into_iter().zip(all_theirs) {
            let verdict = match check {
                Check::Expect { resp2, resp3, since } => {
                    let wanted = if protocol == 3 { resp3 } else { resp2 };
                    let peer_too = since.is_some_and(|since| their_version >= since);
                    if ours_is_torc && ours != *wanted {
                        Err((format!("wanted {}", quote::show(wanted, super::SHOWN_BYTES)), ours, theirs))
                    } else if peer_too && theirs != *wanted {
                        Err(("the peer does not do what the list says of its version".into(), ours, theirs))
                    } else {
                        Ok(())
                    }
                }
                _ => compare::compare(check.for_peer(their_version), &ours, &theirs)
                    .map_err(|why| (why, ours, theirs)),
            };
            self.report.compared += 1;
            let place = self.place(step);
            let command = quote::show_command(args, SHOWN_ARG_BYTES);
            match (verdict, gap) {
                (Ok(()), None) => {}
                (Err(_), Some(_)) => self.report.gaps += 1,
                (Ok(()), Some(why)) => self
                    .report
                    .differences
                    .push(format!("{place}: {command}\n    agrees now: remove its mark (gap {why})")),
                (Err((why, ours, theirs)), None) => {
                    self.report.differences.push(compare::describe(&place, &command, &why, &ours, &theirs));
                }
            }
        }
        Ok(())
    }

    fn closed(&mut self, step: &Step) -> io::Result<()> {
        let place = self.place(step);
        let line = self.line()?;
        let (theirs, _) = line.theirs.read_until(|_| false)?;
        let (ours, _) = line.ours.read_until(|_| false)?;
        self.report.compared += 1;
        if ours != theirs {
            let text = compare::describe(&place, "before the close", "the rest differs", &ours, &theirs);
            self.report.differences.push(text);
        }
        self.lines.remove(&self.current);
        Ok(())
    }

    fn scan(&mut self, step: &Step, args: &[Vec<u8>], group: usize) -> io::Result<()> {
        let place = self.place(step);
        let line = self.line()?;
        let theirs = scan_all(&mut line.theirs, args, group)?;
        let ours = scan_all(&mut line.ours, args, group)?;
        self.report.compared += 1;
        if ours != theirs {
            let only = |a: &[Vec<Node>], b: &[Vec<Node>]| -> Vec<String> {
                let lacks = a.iter().filter(|x| !b.contains(x)).take(10);
                lacks.map(|x| x.iter().filter_map(Node::text).collect::<Vec<_>>().join("=")).collect()
            };
            self.report.differences.push(format!(
                "{place}: {}\n    only ours: {:?}\n    only theirs: {:?}",
                quote::show_command(args, SHOWN_ARG_BYTES),
                only(&ours, &theirs),
                only(&theirs, &ours)
            ));
        }
        Ok(())
    }
}

/// Where a message comes from (its kind, its channel, its pattern); `None` when the frame is none.
fn source(bytes: &[u8]) -> Option<Vec<Node>> {
    let Ok(Some((frame, _))) = frame::decode(bytes) else { return None };
    let (_payload, source) = frame.children()?.split_last()?;
    let is_message = matches!(source.first()?.bytes()?, b"message" | b"pmessage" | b"smessage");
    is_message.then(|| source.to_vec())
}

impl Line {
    fn switch(&mut self, version: u8) -> io::Result<()> {
        let text = version.to_string();
        for (side, connection) in [("theirs", &mut self.theirs), ("ours", &mut self.ours)] {
            let reply = connection.call(&["HELLO", &text])?;
            if reply.is_error() {
                return Err(io::Error::other(format!("{side}: HELLO {version}: {reply:?}")));
            }
        }
        self.protocol = version;
        Ok(())
    }
}

/// Repeats a cursor command until its cursor is 0; the elements, sorted, each once.
fn scan_all(connection: &mut Connection, args: &[Vec<u8>], group: usize) -> io::Result<Vec<Vec<Node>>> {
    let mut args = args.to_vec();
    let cursor_at = usize::from(!args[0].eq_ignore_ascii_case(b"SCAN")) + 1;
    let mut elements = Vec::new();
    for _ in 0..MAX_SCAN_ROUNDS {
        let reply = connection.call(&args)?;
        let (Some(cursor), Some(page)) = (
            reply.children().and_then(|c| c.first()).and_then(Node::bytes),
            reply.children().and_then(|c| c.get(1)).and_then(Node::children),
        ) else {
            return Err(io::Error::other(format!("no cursor and elements: {reply:?}")));
        };
        elements.extend(page.chunks(group).map(<[Node]>::to_vec));
        if cursor == b"0" {
            elements.sort();
            elements.dedup();
            return Ok(elements);
        }
        let cursor = cursor.to_vec();
        *args.get_mut(cursor_at).ok_or_else(|| io::Error::other("no place for a cursor"))? = cursor;
    }
    Err(io::Error::other(format!("the cursor did not come to 0 in {MAX_SCAN_ROUNDS} rounds")))
}
