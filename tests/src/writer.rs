//! A client that writes all the time, each key once, and remembers what was acknowledged when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Connection, Endpoint};

/// Keys looked up by one MGET when writes are counted.
const CHECK_BATCH: usize = 200;

/// A running writer.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<Written>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

/// What a writer did.
#[derive(Debug, Default)]
pub struct Written {
    /// Numbers of the keys whose write was acknowledged, rising.
    pub acknowledged: Vec<u64>,
    /// Other answers by their text, and broken connections, with their count.
    pub errors: BTreeMap<String, usize>,
    /// The longest time from one acknowledgement to the next.
    pub longest_gap: Duration,
    prefix: String,
}

impl Writer {
    /// Starts to write `<prefix><n>` = `n`, n = 1, 2, …, with `CLIENT ACK <ack>`.
    pub fn start(endpoint: Endpoint, ack: &'static str, prefix: &str) -> Writer {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let prefix = prefix.to_owned();
        let thread = std::thread::spawn(move || write(&endpoint, ack, prefix, &shared.0, &shared.1));
        Writer { thread, stop, acknowledged }
    }

    /// Writes acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` further writes are acknowledged.
    ///
    /// # Panics
    /// When that takes longer than any test waits.
    pub fn wait_more(&self, more: usize) {
        let wanted = self.acknowledged() + more;
        crate::cluster::wait_for(&format!("{more} more writes"), || {
            assert!(!self.thread.is_finished(), "the writer has ended");
            (self.acknowledged() >= wanted).then_some(())
        });
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it panicked.
    pub fn finish(self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer does not panic")
    }
}

fn write(
    endpoint: &Endpoint,
    ack: &str,
    prefix: String,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Written {
    let mut written = Written { prefix, ..Written::default() };
    let mut connection = None;
    let mut last = None;
    for n in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match write_one(&mut connection, endpoint, ack, &format!("{}{n}", written.prefix), n) {
            Ok(()) => {
                let now = Instant::now();
                written.longest_gap =
                    written.longest_gap.max(last.map_or(Duration::ZERO, |last| now.duration_since(last)));
                last = Some(now);
                written.acknowledged.push(n);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                *written.errors.entry(error).or_default() += 1;
                std::thread::sleep(crate::process::POLL);
            }
        }
    }
    written
}

fn write_one(
    connection: &mut Option<Connection>,
    endpoint: &Endpoint,
    ack: &str,
    key: &str,
    n: u64,
) -> Result<(), String> {
    let io = |error: std::io::Error| format!("connection: {error}");
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let mut open = Connection::open(endpoint).map_err(io)?;
            let reply = open.call(&["CLIENT", "ACK", ack]).map_err(io)?;
            assert!(!reply.is_error(), "CLIENT ACK {ack}: {reply:?}");
            open
        }
    };
    let reply = open.call(&["SET", key, &n.to_string()]).map_err(io)?;
    *connection = Some(open);
    match reply.text() {
        Some(text) if !reply.is_error() && text == "OK" => Ok(()),
        text => Err(text.unwrap_or_else(|| format!("{reply:?}"))),
    }
}

impl Written {
    /// Acknowledged writes that are not there any more.
    ///
    /// # Panics
    /// When a key holds something else than was written, or the reads fail.
    pub fn lost(&self, connection: &mut Connection) -> Vec<u64> {
        let mut lost = Vec::new();
        for batch in self.acknowledged.chunks(CHECK_BATCH) {
            let mut args = vec!["MGET".to_owned()];
            args.extend(batch.iter().map(|n| format!("{}{n}", self.prefix)));
            let reply = connection.call(&args).expect("MGET answers");
            let values = reply.children().unwrap_or_else(|| panic!("MGET: {reply:?}"));
            assert_eq!(values.len(), batch.len());
            for (n, value) in batch.iter().zip(values) {
                match value.text() {
                    None => lost.push(*n),
                    Some(text) => assert_eq!(text, n.to_string(), "{}{n}", self.prefix),
                }
            }
        }
        lost
    }

    /// Numbers for a person.
    pub fn summary(&self) -> String {
        format!(
            "{} acknowledged, longest time without one {:.2} s, errors {:?}",
            self.acknowledged.len(),
            self.longest_gap.as_secs_f64(),
            self.errors
        )
    }
}
