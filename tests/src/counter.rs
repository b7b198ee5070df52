//! A client that counts one key up all the time, and remembers what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::client::{Connection, Endpoint};

/// A running counter.
#[derive(Debug)]
pub struct Counter {
    thread: JoinHandle<Counted>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
}

/// What a counter was told.
#[derive(Debug, Default)]
pub struct Counted {
    /// The key.
    pub key: String,
    /// Acknowledged INCRs.
    pub acknowledged: usize,
    /// INCRs answered UNCERTAIN: each counts once or not at all.
    pub uncertain: usize,
    /// Other errors by their text: none of them counts.
    pub errors: BTreeMap<String, usize>,
    /// The last value that it was told.
    pub last: i64,
}

impl Counter {
    /// Starts to INCR `key` with `CLIENT ACK <ack>`.
    pub fn start(endpoint: Endpoint, ack: &'static str, key: &str) -> Counter {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let shared = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let key = key.to_owned();
        let thread = std::thread::spawn(move || {
            let mut open = Connection::open(&endpoint).expect("the proxy accepts");
            let reply = open.call(&["CLIENT", "ACK", ack]).expect("the proxy answers");
            assert!(!reply.is_error(), "CLIENT ACK {ack}: {reply:?}");
            let mut counted = Counted { key, ..Counted::default() };
            while !shared.0.load(Ordering::Relaxed) {
                counted.step(&mut open);
                shared.1.store(counted.acknowledged, Ordering::Relaxed);
            }
            counted
        });
        Counter { thread, stop, acknowledged }
    }

    /// Waits until `more` further INCRs are acknowledged.
    ///
    /// # Panics
    /// When that takes longer than any test waits.
    pub fn wait_more(&self, more: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        crate::cluster::wait_for(&format!("{more} more INCRs"), || {
            assert!(!self.thread.is_finished(), "the counter has ended");
            (self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        });
    }

    /// Stops it.
    ///
    /// # Panics
    /// When it panicked.
    pub fn finish(self) -> Counted {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the counter does not panic")
    }
}

impl Counted {
    /// One INCR. Every acknowledged one must have counted by itself: the value is above the last one by one, and at
    /// most by one more for each uncertain one in between.
    fn step(&mut self, open: &mut Connection) {
        let reply = open.call(&["INCR", &self.key]).expect("the proxy stays");
        let text = reply.text().unwrap_or_else(|| format!("{reply:?}"));
        match text.parse::<i64>() {
            Ok(value) if !reply.is_error() => {
                assert!(value > self.last, "{}: {value} after {}", self.key, self.last);
                self.last = value;
                self.acknowledged += 1;
                let most = (self.acknowledged + self.uncertain) as i64;
                let least = self.acknowledged as i64;
                assert!((least..=most).contains(&value), "{}: {value} is not in {least}..={most}", self.key);
            }
            _ if text.starts_with("UNCERTAIN") => self.uncertain += 1,
            _ => {
                *self.errors.entry(text).or_default() += 1;
                std::thread::sleep(crate::process::POLL);
            }
        }
    }

    /// Compares with what the key holds in the end.
    ///
    /// # Panics
    /// When an INCR is missing or counted twice.
    pub fn check(&self, connection: &mut Connection) {
        let reply = connection.call(&["GET", &self.key]).expect("GET answers");
        let value: usize = reply.text().and_then(|text| text.parse().ok()).expect("a number");
        println!("{}: {value}; {self:?}", self.key);
        let bounds = self.acknowledged..=self.acknowledged + self.uncertain;
        assert!(bounds.contains(&value), "{}: {value} is not in {bounds:?}", self.key);
    }
}
