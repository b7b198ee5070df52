//! What comes back on a connection: replies, and its end.

use std::rc::Rc;

use torc_protocol::command::{Command, TransactionCommand};
use torc_protocol::error;
use torc_protocol::resp::ReplyKind;
use torc_protocol::trace::Trace;

use super::stream::STREAM_BYTES;
use super::{COMPACT_BYTES, Connection, Ended, Input, KEEP_BYTES, Orphan, Phase};
use crate::text;
use crate::upstream::body::may_repeat;
use crate::upstream::pending::{Pending, Way};
use crate::upstream::refusal::{Answer, is_refusal, judge};
use crate::worker::Worker;

const WATCH: Command = Command::Transactions(TransactionCommand::Watch);

impl Connection {
    /// Hands out all whole replies.
    pub(super) fn deliver(&self, worker: &Rc<Worker>, input: &mut Input) -> Result<(), Ended> {
        let now_ns = worker.clock.refresh();
        if input.stream.is_some() && !self.feed(worker, input, now_ns)? {
            return Ok(());
        }
        let Input { buffer, scanner, .. } = input;
        let mut answered = 0;
        while let Some(frame) = scanner.next(buffer.unread())? {
            if frame.kind == ReplyKind::Normal {
                let bytes = buffer.unread();
                let body = bytes.get(frame.body.clone()).unwrap_or_default();
                let attribute = frame.attribute.clone().and_then(|range| bytes.get(range));
                answered += self.answer(worker, body, attribute, now_ns)?;
            }
            buffer.consume(frame.len);
        }
        self.link.metrics.in_flight.sub(answered);
        if scanner.need_hint() >= STREAM_BYTES {
            self.begin_stream(worker, input, now_ns);
            self.feed(worker, input, now_ns)?;
        }
        self.settle(worker);
        Ok(())
    }

    /// Notes how long a request took whose bytes begin at `start`, and that it was slow.
    #[inline]
    pub(super) fn note_time(&self, worker: &Worker, pending: &Pending, start: usize, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(pending.since_ns);
        self.link.metrics.latency.record(took_ns);
        if worker.is_slow(pending, took_ns) {
            let state = self.state.borrow();
            let bytes = state.out.get(start..state.acked).unwrap_or_default();
            let trace = Trace { connection: self.name.get(), request: state.answered };
            worker.note_slow(&self.link, pending, took_ns, bytes, (trace, true));
        }
    }

    /// Gives one reply to whom it is for. Says how many requests it answered.
    #[inline]
    fn answer(
        &self,
        worker: &Rc<Worker>,
        body: &[u8],
        attribute: Option<&[u8]>,
        now_ns: u64,
    ) -> Result<u64, Ended> {
        let mut state = self.state.borrow_mut();
        state.answered += 1;
        self.link.answered();
        let Some(front) = state.fifo.front_mut() else { return Err(Ended::Unasked) };
        if front.skip > 0 {
            front.skip -= 1;
            front.refused |= is_refusal(front.command, body);
            return Ok(0);
        }
        let Some(mut pending) = state.fifo.pop_front() else { return Err(Ended::Unasked) };
        let start = state.acked;
        state.acked += pending.len;
        let answer = match pending.way {
            Way::Shared | Way::OneShot | Way::Upload if pending.client.is_some() => judge(&pending, body),
            _ => Answer::Final,
        };
        let again = answer != Answer::Final;
        let bytes = again.then(|| state.out.get(start..state.acked).unwrap_or_default().to_vec());
        drop(state);
        if pending.way == Way::Upload {
            self.finish_upload();
        }
        if let Some(client) = &pending.client {
            // After EXEC or UNWATCH nothing is watched any more.
            if pending.way == Way::Watching && pending.command != WATCH {
                client.watching.set(false);
            }
            if matches!(pending.way, Way::OneShot | Way::Upload)
                || (pending.way == Way::Watching && pending.command != WATCH)
            {
                worker.give_back_one(client, self);
            }
        }
        if let Some(bytes) = bytes {
            self.link.metrics.refused.add(1);
            if pending.replica {
                worker.refused_by_replica(pending, &bytes, &self.link, body);
                return Ok(1);
            }
            if pending.way == Way::Upload && answer != Answer::Doubtful {
                worker.fail(&pending, text::UPLOAD_REFUSED);
                return Ok(1);
            }
            match answer {
                Answer::TooOld if pending.doubtful => {
                    worker.fail(&pending, error::UNCERTAIN_UPSTREAM);
                    return Ok(1);
                }
                // Its only sending was refused: it may have another number. (The next sending draws it.)
                Answer::TooOld | Answer::Refused => {
                    worker.hold(pending, bytes);
                    return Ok(1);
                }
                Answer::Doubtful if pending.way != Way::Upload && may_repeat(pending.command, &bytes) => {
                    pending.doubtful = true;
                    worker.hold(pending, bytes);
                    return Ok(1);
                }
                Answer::Doubtful | Answer::Final => {}
            }
        }
        self.note_time(worker, &pending, start, now_ns);
        if body.first() == Some(&b'-') {
            self.link.metrics.errors.add(1);
        }
        if pending.replica {
            worker.metrics.replica_reads.add(1);
        }
        worker.deliver(&pending, body, attribute, now_ns);
        Ok(1)
    }

    /// Drops what is answered from the buffer, and lets clients go on that wait for room.
    fn settle(&self, worker: &Rc<Worker>) {
        let mut state = self.state.borrow_mut();
        if state.fifo.is_empty() && state.written == state.out.len() {
            state.out.clear();
            (state.acked, state.written) = (0, 0);
            if state.out.capacity() > KEEP_BYTES {
                state.out = Vec::new();
            }
        } else if state.acked >= COMPACT_BYTES && state.acked * 2 >= state.out.len() {
            let acked = state.acked;
            state.out.drain(..acked);
            state.written -= acked;
            state.acked = 0;
        }
        let buffered = state.out.len() - state.acked;
        drop(state);
        self.link.let_go(buffered, worker);
    }

    /// Ends it: gives what was under way to the worker, which sends it again or answers.
    pub fn close(&self, worker: &Rc<Worker>, ended: &Ended) {
        self.stream.borrow_mut().take();
        self.break_stream();
        let uploaded = self.sent_upload();
        self.finish_upload();
        let mut state = self.state.borrow_mut();
        let opened = state.phase == Phase::Open;
        state.phase = Phase::Closed;
        let (out, fifo) = (std::mem::take(&mut state.out), std::mem::take(&mut state.fifo));
        let (mut at, written) = (state.acked, state.written);
        (state.acked, state.written) = (0, 0);
        drop(state);
        self.link.metrics.in_flight.sub(fifo.len() as u64);
        if opened {
            self.link.metrics.connections.sub(1);
        }
        self.link.closed(self, ended, worker);
        for mut pending in fifo {
            let end = at + pending.len;
            if let Some(client) = &pending.client
                && (pending.quest.is_some() || pending.way == Way::Upload)
            {
                worker.give_back_one(client, self);
            }
            if pending.client.is_some() {
                let bytes = out.get(at..end).unwrap_or_default().to_vec();
                pending.refused = false;
                let sent = opened && end <= written && (pending.way != Way::Upload || uploaded);
                worker.lost(Orphan { pending, bytes, sent });
            }
            at = end;
        }
        self.link.let_go(0, worker);
    }
}
