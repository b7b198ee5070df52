//! What `watch` shows of random requests.
//!
//! memcached's log comes from a thread of its own, some time after the requests: a `get` of a key that nobody else asks
//! for tells where the lines of the requests before it end.
//!
//! Left out: times and numbers of lines, sockets, classes but "none" (0), the `ttl` of what has expired when it is stored
//! (memcached gives a number that depends on how long it runs), and whether what is not found had expired.

use std::collections::HashMap;
use std::io;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Side, Step, random};
use crate::client::Connection;
use crate::differential::{Pair, Report};

/// Steps between two looks at the log: few enough for memcached's buffers.
const STEPS: usize = 20;

/// A `ttl` above it is a time that had passed, in 32 unsigned bits.
const PASSED: u64 = 1 << 31;

/// A side, and the connection that watches it.
struct Watched<'a> {
    side: Side<'a>,
    log: Connection,
}

impl<'a> Watched<'a> {
    fn new(endpoint: &'a crate::client::Endpoint) -> io::Result<Self> {
        let mut log = Connection::open(endpoint)?;
        log.send(b"watch fetchers mutations\r\n")?;
        // The lines of others may come before the word that it watches.
        let (answer, ended) = log.read_until(|bytes| bytes.ends_with(b"OK\r\n"))?;
        if ended {
            return Err(io::Error::other(format!("no watcher: {}", String::from_utf8_lossy(&answer))));
        }
        Ok(Watched { side: Side { endpoint, connection: None, cas: HashMap::new() }, log })
    }

    /// The lines that these steps cause.
    fn lines(&mut self, steps: &[Step], mark: &str) -> io::Result<Vec<String>> {
        for step in steps {
            self.side.play(step)?;
        }
        let mut end = Connection::open(self.side.endpoint)?;
        end.send(format!("get {mark}\r\n").as_bytes())?;
        let end = format!("key={mark} ");
        let (bytes, ended) = self.log.read_until(|bytes| {
            bytes.ends_with(b"\n") && bytes.windows(end.len()).any(|window| window == end.as_bytes())
        })?;
        if ended {
            return Err(io::Error::other("the watcher was closed"));
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter(|line| !line.contains(&end)).map(mask).collect())
    }
}

fn mask(line: &str) -> String {
    let words = line.split(' ').filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        match name {
            "ts" | "gid" | "cfd" => None,
            "status" if value == "expired" => Some("status=not_found".to_owned()),
            "clsid" if value != "0" => Some("clsid=#".to_owned()),
            "ttl" if value.parse::<u64>().is_ok_and(|ttl| ttl >= PASSED) => Some("ttl=#".to_owned()),
            _ => Some(word.to_owned()),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs `count` random requests on both sides and compares what their watchers see.
///
/// # Panics
/// When one of the servers does not answer.
pub fn run(pair: &Pair, seed: u64, count: usize) -> Report {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut report = Report::default();
    let mut theirs = Watched::new(&pair.theirs).unwrap_or_else(|error| panic!("{}: {error}", pair.theirs));
    let mut ours = Watched::new(&pair.ours).unwrap_or_else(|error| panic!("{}: {error}", pair.ours));
    let mut done = 0;
    while done < count && !report.is_full() {
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            let (bytes, requests) = random::step(&mut rng);
            steps.push(Step { reset: done == 0 && steps.is_empty(), bytes, ..Step::default() });
            done += requests;
        }
        let mark = format!("mark-{done}");
        let right = theirs.lines(&steps, &mark).unwrap_or_else(|error| panic!("{}: {error}", pair.theirs));
        let found = ours.lines(&steps, &mark).unwrap_or_else(|error| panic!("{}: {error}", pair.ours));
        report.compared += right.len();
        if let Some(at) = (0..right.len().max(found.len())).find(|at| right.get(*at) != found.get(*at)) {
            let context =
                |lines: &[String]| lines.get(at.saturating_sub(2)..).unwrap_or_default().join("\n        ");
            let few = |text: String| text.chars().take(super::super::SHOWN_BYTES).collect::<String>();
            report.differences.push(format!(
                "watch, seed {seed}, before {mark}:\n    theirs: {}\n    ours:   {}",
                few(context(&right)),
                few(context(&found))
            ));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_two_servers_say_alike_is_left_out() {
        assert_eq!(
            mask(
                "ts=1.2 gid=7 type=item_store key=a status=stored cmd=set ttl=4294967226 clsid=1 cfd=15 size=1"
            ),
            "type=item_store key=a status=stored cmd=set ttl=# clsid=# size=1"
        );
        assert_eq!(mask("ts=1.2 gid=7 type=item_get clsid=0 cfd=1 ttl=30"), "type=item_get clsid=0 ttl=30");
    }
}
