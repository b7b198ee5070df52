//! Replies on their way out, and what must hold before each of them may leave.
//!
//! In a cluster a reply that shows or changed data carries a [`Mark`]: it leaves only while the lease under
//! which it was made still holds (looked at before every write), and only when the high-water mark has reached
//! its barrier. One that may not leave is replaced by an error; the order of replies never changes.

use std::collections::VecDeque;
use std::ops::Range;

use torc_protocol::error as text;

use crate::exec::ReplyKind;

/// Sent bytes in front of the buffer that are worth moving the rest for.
const COMPACT_BYTES: usize = 64 * 1024;

/// What a reply depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where the reply is in the buffer.
    pub range: Range<usize>,
    /// Read or Write.
    pub kind: ReplyKind,
    /// The term it was made in.
    pub term: u64,
    /// The offset that the high-water mark must reach; 0: none.
    pub barrier: u64,
    /// CLOCK_BOOTTIME nanoseconds at which it no longer waits.
    pub deadline_ns: u64,
}

/// As [`Mark`], of a reply that waits for nothing but the lease: most of them.
#[derive(Clone, Copy, Debug)]
struct Lease {
    start: u32,
    end: u32,
    kind: ReplyKind,
}

/// The node's state at a flush, freshly read.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// CLOCK_BOOTTIME.
    pub now_ns: u64,
    /// The term in which the node is primary and holds its lease at `now_ns`.
    pub term: Option<u64>,
    /// The high-water mark.
    pub mark: u64,
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The mark must reach this.
    pub barrier: u64,
    /// Or the time be this.
    pub deadline_ns: u64,
}

/// How errors of the connection layer look in the connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    /// `-…`
    Resp,
    /// `SERVER_ERROR …`
    Memcached,
}

/// How many replies were replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// By an UNCERTAIN.
    pub uncertain: u64,
    /// By another error.
    pub refused: u64,
}

/// See the module's text. Owned by its connection.
#[derive(Debug)]
pub struct Output {
    /// What was written, from `sent` on still to be sent.
    pub bytes: Vec<u8>,
    sent: usize,
    marks: VecDeque<Mark>,
    /// Replies behind those of `marks` that depend on the lease of one term, `leases_term`, and on nothing else.
    leases: Vec<Lease>,
    leases_term: u64,
    form: ErrorForm,
}

impl Output {
    /// An empty output without a buffer.
    pub fn new(form: ErrorForm) -> Output {
        Output {
            bytes: Vec::new(),
            sent: 0,
            marks: VecDeque::new(),
            leases: Vec::new(),
            leases_term: 0,
            form,
        }
    }

    /// Bytes that were not sent yet.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Adds what the last reply depends on.
    #[inline]
    pub fn mark(&mut self, mark: Mark) {
        let (start, end) = (u32::try_from(mark.range.start), u32::try_from(mark.range.end));
        if let (0, Ok(start), Ok(end)) = (mark.barrier, start, end) {
            if mark.term != self.leases_term {
                if !self.leases.is_empty() {
                    self.spread();
                }
                self.leases_term = mark.term;
            }
            self.leases.push(Lease { start, end, kind: mark.kind });
        } else {
            if !self.leases.is_empty() {
                self.spread();
            }
            self.marks.push_back(mark);
        }
    }

    /// Gives each reply a mark of its own: their order among those with a barrier shows, or some of them leave alone.
    #[cold]
    fn spread(&mut self) {
        let term = self.leases_term;
        self.marks.extend(self.leases.drain(..).map(|Lease { start, end, kind }| {
            let range = start as usize..end as usize;
            Mark { range, kind, term, barrier: 0, deadline_ns: 0 }
        }));
    }

    /// Whether any reply depends on something.
    #[inline]
    pub fn is_marked(&self) -> bool {
        !self.leases.is_empty() || !self.marks.is_empty()
    }

    /// The first barrier that the reply at the head of what is unsent waits for.
    pub fn waits(&self, check: &Check) -> Option<Wait> {
        let first = self.marks.front()?;
        (first.range.start <= self.sent && first.barrier > check.mark)
            .then_some(Wait { barrier: first.barrier, deadline_ns: first.deadline_ns })
    }

    /// All that is unsent, where nothing depends on anything.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Decides about all replies up to the first that must wait: those that may not leave any more are
    /// replaced. Answers the bytes that may be sent now.
    pub fn settle(&mut self, check: &Check) -> (&[u8], Replaced) {
        if !self.leases.is_empty() && check.term != Some(self.leases_term) {
            self.spread();
        }
        let mut replaced = Replaced::default();
        let mut end = self.bytes.len();
        let mut index = 0;
        while let Some(mark) = self.marks.get(index) {
            let write = mark.kind == ReplyKind::Write;
            let error = if check.term != Some(mark.term) {
                if write { text::UNCERTAIN_LEASE } else { text::CLUSTERDOWN_LEASE }
            } else if mark.barrier > check.mark {
                if check.now_ns < mark.deadline_ns {
                    end = mark.range.start;
                    break;
                }
                if write { text::UNCERTAIN } else { text::NOREPLICAS_READ }
            } else {
                index += 1;
                continue;
            };
            if write {
                replaced.uncertain += 1;
            } else {
                replaced.refused += 1;
            }
            self.replace(index, error);
            end = self.bytes.len();
        }
        (&self.bytes[self.sent..end.max(self.sent)], replaced)
    }

    /// Puts an error in the place of a reply (an empty one stays empty: nobody waits for it).
    fn replace(&mut self, index: usize, error: &str) {
        // Those behind it move as well.
        self.spread();
        let Some(mark) = self.marks.remove(index) else { return };
        if mark.range.is_empty() {
            return;
        }
        let error = match self.form {
            ErrorForm::Resp => format!("-{error}\r\n"),
            ErrorForm::Memcached => format!("SERVER_ERROR {error}\r\n"),
        };
        let (old, new) = (mark.range.len(), error.len());
        self.bytes.splice(mark.range, error.into_bytes());
        for later in self.marks.iter_mut().skip(index) {
            later.range = later.range.start + new - old..later.range.end + new - old;
        }
    }

    /// `count` bytes were sent. Replies of which a byte has left are beyond recall.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.marks.clear();
            self.leases.clear();
            self.sent = 0;
            return;
        }
        self.spread();
        while self.marks.front().is_some_and(|mark| mark.range.start < self.sent) {
            self.marks.pop_front();
        }
        if self.sent >= COMPACT_BYTES && self.sent * 2 >= self.bytes.len() {
            let sent = std::mem::take(&mut self.sent);
            self.bytes.drain(..sent);
            for mark in &mut self.marks {
                mark.range = mark.range.start - sent..mark.range.end - sent;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(replies: &[(&str, ReplyKind, u64)]) -> Output {
        let mut output = Output::new(ErrorForm::Resp);
        for (reply, kind, barrier) in replies {
            let start = output.bytes.len();
            output.bytes.extend_from_slice(reply.as_bytes());
            if *kind != ReplyKind::Local {
                output.mark(Mark {
                    range: start..output.bytes.len(),
                    kind: *kind,
                    term: 3,
                    barrier: *barrier,
                    deadline_ns: 100,
                });
            }
        }
        output
    }

    fn check(now_ns: u64, term: Option<u64>, mark: u64) -> Check {
        Check { now_ns, term, mark }
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    use ReplyKind::{Local, Read, Write};

    #[test]
    fn a_barrier_holds_what_is_behind_it() {
        let mut out = output(&[("a", Local, 0), ("b", Read, 0), ("c", Write, 7), ("d", Local, 0)]);
        let (ready, _) = out.settle(&check(0, Some(3), 6));
        assert_eq!(ready, b"ab");
        out.advance(2);
        assert_eq!(out.settle(&check(0, Some(3), 6)).0, b"");
        assert_eq!(out.waits(&check(0, Some(3), 6)), Some(Wait { barrier: 7, deadline_ns: 100 }));
        assert_eq!(out.settle(&check(0, Some(3), 7)).0, b"cd");
        out.advance(2);
        assert_eq!((out.unsent(), out.is_marked()), (0, false));
    }

    #[test]
    fn without_the_lease_nothing_that_shows_data_leaves() {
        let mut out = output(&[("+PONG\r\n", Local, 0), ("$1\r\nx\r\n", Read, 0), ("+OK\r\n", Write, 0)]);
        let (ready, replaced) = out.settle(&check(0, None, 0));
        assert_eq!(
            text(ready),
            format!("+PONG\r\n-{}\r\n-{}\r\n", text::CLUSTERDOWN_LEASE, text::UNCERTAIN_LEASE)
        );
        assert_eq!(replaced, Replaced { uncertain: 1, refused: 1 });
        // Another term is no better than none.
        let mut out = output(&[("+OK\r\n", Write, 0)]);
        assert_eq!(out.settle(&check(0, Some(4), 9)).1, Replaced { uncertain: 1, refused: 0 });
    }

    #[test]
    fn the_lease_is_looked_at_again_for_what_was_not_sent() {
        let mut out = output(&[("+AAA\r\n", Read, 0), ("+BBB\r\n", Read, 0)]);
        assert_eq!(out.settle(&check(0, Some(3), 0)).0.len(), 12);
        out.advance(2);
        let (ready, replaced) = out.settle(&check(0, None, 0));
        // The first has begun to leave; the second has not.
        assert_eq!(text(ready), format!("AA\r\n-{}\r\n", text::CLUSTERDOWN_LEASE));
        assert_eq!(replaced.refused, 1);
    }

    #[test]
    fn replies_without_a_barrier_keep_their_order_among_others() {
        let kinds = [("r1", Read, 0), ("w1", Write, 0), ("w2", Write, 7), ("r2", Read, 0), ("w3", Write, 0)];
        let mut out = output(&kinds);
        assert_eq!((out.marks.len(), out.leases.len()), (3, 2));
        assert_eq!(out.settle(&check(0, Some(3), 6)).0, b"r1w1");
        out.advance(4);
        assert_eq!(out.settle(&check(0, Some(3), 7)).0, b"w2r2w3");
        // One byte more than the first of them has left: the second of the leases is replaced, the first is not.
        out.advance(3);
        let (ready, replaced) = out.settle(&check(0, None, 9));
        assert_eq!(text(ready), format!("2-{}\r\n", text::UNCERTAIN_LEASE));
        assert_eq!(replaced, Replaced { uncertain: 1, refused: 0 });
        // Those of two terms: each by its own.
        let mut out = output(&[("r1", Read, 0)]);
        out.bytes.extend_from_slice(b"r2");
        out.mark(Mark { range: 2..4, kind: Read, term: 4, barrier: 0, deadline_ns: 0 });
        assert_eq!(text(out.settle(&check(0, Some(4), 0)).0), format!("-{}\r\nr2", text::CLUSTERDOWN_LEASE));
        let (ready, _) = out.settle(&check(0, None, 0));
        assert_eq!(text(ready), format!("-{}\r\n", text::CLUSTERDOWN_LEASE).repeat(2));
        let mut out = output(&[("r1", Read, 0), ("w1", Write, 0)]);
        let (ready, replaced) = out.settle(&check(0, Some(4), 0));
        assert_eq!(text(ready), format!("-{}\r\n-{}\r\n", text::CLUSTERDOWN_LEASE, text::UNCERTAIN_LEASE));
        assert_eq!(replaced, Replaced { uncertain: 1, refused: 1 });
    }

    #[test]
    fn at_the_deadline_the_waiting_ends() {
        let mut out = output(&[("+OK\r\n", Write, 7), ("$1\r\nx\r\n", Read, 8), ("+LATER\r\n", Local, 0)]);
        assert_eq!(out.settle(&check(99, Some(3), 0)).0, b"");
        let (ready, replaced) = out.settle(&check(100, Some(3), 0));
        assert_eq!(text(ready), format!("-{}\r\n-{}\r\n+LATER\r\n", text::UNCERTAIN, text::NOREPLICAS_READ));
        assert_eq!(replaced, Replaced { uncertain: 1, refused: 1 });
    }

    #[test]
    fn what_nobody_waits_for_stays_silent() {
        let mut out = output(&[("", Write, 0), ("+OK\r\n", Local, 0)]);
        assert_eq!(out.settle(&check(0, None, 0)).0, b"+OK\r\n");
    }

    #[test]
    fn sent_bytes_are_dropped_and_marks_move_along() {
        let big = "x".repeat(COMPACT_BYTES + 10);
        let mut out = output(&[(&big, Read, 0), ("tail", Write, 5)]);
        out.advance(COMPACT_BYTES);
        assert_eq!((out.bytes.len(), out.unsent()), (14, 14));
        assert_eq!(out.settle(&check(0, Some(3), 0)).0, b"xxxxxxxxxx");
        out.advance(10);
        assert_eq!(text(out.settle(&check(0, None, 0)).0), format!("-{}\r\n", text::UNCERTAIN_LEASE));
    }
}
