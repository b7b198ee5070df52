//! How a replica gets on with long records: it acknowledges one when it has applied it, which may take longer than a
//! replica may be behind. But it answers each frame, and so each part of the record.
//!
//! Shared by the two halves of a stream's task: one sends, one takes the answers.

use std::collections::VecDeque;

use parking_lot::Mutex;
use torc_runtime::bus::{BusWriter, ConnError, FrameKind};

/// How fast a long record must get on, from the moment on which it is sent: who is slower is behind.
const BYTES_PER_S: u64 = 8 << 20;

/// How fast it is applied at least, when all of it has come: nothing is answered meanwhile.
const APPLIED_BYTES_PER_S: u64 = 64 << 20;

fn nanos(bytes: usize, bytes_per_s: u64) -> u64 {
    (bytes as u64).saturating_mul(1_000_000_000) / bytes_per_s
}

/// A long record on its way.
#[derive(Debug)]
struct Long {
    /// Numbers of its frames.
    first: u64,
    last: u64,
    bytes: usize,
    since_ns: u64,
}

#[derive(Debug, Default)]
struct State {
    sent: u64,
    answered: u64,
    /// Those that are not wholly answered: a socket has room for few.
    long: VecDeque<Long>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Transit {
    state: Mutex<State>,
}

impl Transit {
    fn sends(&self) {
        self.state.lock().sent += 1;
    }

    /// A long record goes in the next frames.
    pub fn begins(&self, frames: usize, bytes: usize, now_ns: u64) {
        let mut state = self.state.lock();
        let first = state.sent + 1;
        let last = state.sent + frames as u64;
        state.long.push_back(Long { first, last, bytes, since_ns: now_ns });
    }

    /// A frame was answered. Says until when the replica needs not be behind, when it is taking a long record and gets on.
    pub fn answered(&self, now_ns: u64) -> Option<u64> {
        let mut state = self.state.lock();
        state.answered += 1;
        let next = state.answered + 1;
        while state.long.front().is_some_and(|long| next > long.last) {
            state.long.pop_front();
        }
        let long = state.long.front().filter(|long| next >= long.first)?;
        let late_ns = long.since_ns.saturating_add(nanos(long.bytes, BYTES_PER_S));
        let applies_ns = if next == long.last { nanos(long.bytes, APPLIED_BYTES_PER_S) } else { 0 };
        (now_ns <= late_ns).then(|| now_ns.saturating_add(applies_ns))
    }
}

/// The writing half of a stream, which counts what is to be answered.
#[derive(Debug)]
pub struct Sender<'a> {
    writer: BusWriter,
    transit: &'a Transit,
}

impl<'a> Sender<'a> {
    /// Everything that is sent from here on is answered.
    pub fn new(writer: BusWriter, transit: &'a Transit) -> Sender<'a> {
        Sender { writer, transit }
    }

    /// Sends a frame, whose payload may be in pieces.
    pub async fn send(&mut self, kind: FrameKind, parts: &[&[u8]]) -> Result<(), ConnError> {
        self.transit.sends();
        self.writer.queue_parts(kind, parts)?;
        self.writer.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_the_parts_of_a_long_record_gets_on() {
        let transit = Transit::default();
        let (second, bytes) = (1_000_000_000, 64 << 20);
        transit.sends();
        transit.sends();
        transit.begins(3, bytes, 0);
        (0..3).for_each(|_| transit.sends());
        transit.begins(4, bytes, second);
        transit.sends();
        assert_eq!(transit.answered(1), None, "what came before it");
        assert_eq!(transit.answered(2), Some(2), "it is next");
        assert_eq!(transit.answered(3), Some(3));
        assert_eq!(transit.answered(4), Some(4 + second), "the last part is applied");
        assert_eq!(transit.answered(5), Some(5), "the next one");
        assert_eq!(transit.answered(9 * second), Some(9 * second));
        assert_eq!(transit.answered(10 * second), None, "too slow");
        assert_eq!(transit.answered(10 * second), None);
        assert_eq!(transit.answered(10 * second), None, "nothing is on its way");
        assert!(transit.state.lock().long.is_empty());
    }
}
