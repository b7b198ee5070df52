//! A client's replies: the bytes that leave, and the slots of requests that are not answered yet.
//!
//! Each request takes the next slot; its answer may come at any time, but leaves only when every slot before it
//! has been answered. An answer for the first slot goes straight into the bytes that leave.

use std::collections::VecDeque;

use super::render::Render;
use crate::buffer::Pool;
use crate::join::Join;

/// One request that is not answered yet, or whose answer waits for those before it.
#[derive(Debug)]
struct Slot {
    render: Render,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    /// Rendered bytes.
    Ready(Vec<u8>),
    /// Several nodes answer.
    Joining(Box<Join>),
    /// A big answer goes straight into the bytes that leave, as it comes; only the first slot can be this.
    Streaming,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// A request was answered by it (a part of several answers may not be enough).
    pub answered: bool,
    /// It had to be translated to RESP2.
    pub translated: bool,
    /// It was an error.
    pub error: bool,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbox {
    out: Vec<u8>,
    /// Bytes of `out` that have left.
    sent: usize,
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    base: u64,
    /// Bytes in slots that wait for earlier ones.
    parked: usize,
    /// The code of the latest error that replies were joined to, until it is asked for.
    joined_error: Option<Box<[u8]>>,
}

impl Outbox {
    /// Requests that are not answered.
    #[inline]
    pub fn pending(&self) -> usize {
        self.slots.len()
    }

    /// The number of the first slot that has not been answered in its order.
    #[inline]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes that have not left.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }

    /// Bytes that are held for the client.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.unsent() + self.parked
    }

    /// Takes the next slot; gives its number.
    #[inline]
    pub fn open(&mut self, render: Render) -> u64 {
        self.slots.push_back(Slot { render, state: State::Waiting });
        self.base + self.slots.len() as u64 - 1
    }

    /// Takes the next slot for a request that several nodes answer.
    pub fn open_join(&mut self, render: Render, join: Join) -> u64 {
        self.slots.push_back(Slot { render, state: State::Joining(Box::new(join)) });
        self.base + self.slots.len() as u64 - 1
    }

    /// Answers the latest request at once (in its order).
    pub fn reply(&mut self, render: Render, pool: &Pool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.slots.is_empty() {
            if self.out.capacity() == 0 {
                self.out = pool.take();
            }
            let before = self.out.len();
            write(&mut self.out);
            if render == Render::Silent {
                self.out.truncate(before);
            }
            return;
        }
        let mut bytes = pool.take();
        write(&mut bytes);
        if render == Render::Silent {
            bytes.clear();
        }
        self.parked += bytes.len();
        self.slots.push_back(Slot { render, state: State::Ready(bytes) });
    }

    /// Answers slot `seq` with a node's reply; `part` tells the answers of several nodes apart.
    #[inline]
    pub fn deliver(&mut self, seq: u64, part: u32, frame: &[u8], pool: &Pool) -> Delivered {
        let error = frame.first() == Some(&b'-');
        let Some(at) = seq.checked_sub(self.base).and_then(|at| usize::try_from(at).ok()) else {
            return Delivered::default();
        };
        let Some(slot) = self.slots.get_mut(at) else { return Delivered::default() };
        let render = slot.render;
        match &mut slot.state {
            State::Waiting if at == 0 => {
                if self.out.capacity() == 0 {
                    self.out = pool.take();
                }
                let translated = render.write(frame, &mut self.out);
                self.slots.pop_front();
                self.base += 1;
                self.release(pool);
                Delivered { answered: true, translated, error }
            }
            State::Waiting => {
                let mut bytes = pool.take();
                let translated = render.write(frame, &mut bytes);
                self.parked += bytes.len();
                slot.state = State::Ready(bytes);
                Delivered { answered: true, translated, error }
            }
            State::Joining(join) => {
                let before = join.held_bytes();
                let whole = join.feed(part, frame);
                self.parked = (self.parked + join.held_bytes()).saturating_sub(before);
                if !whole {
                    return Delivered::default();
                }
                let held = join.held_bytes();
                let mut bytes = pool.take();
                let (error, translated) = join.finish(render, &mut bytes);
                if error {
                    let code =
                        bytes.get(1..).unwrap_or_default().split(|byte| matches!(byte, b' ' | b'\r')).next();
                    self.joined_error = code.map(Box::from);
                }
                self.parked = (self.parked + bytes.len()).saturating_sub(held);
                slot.state = State::Ready(bytes);
                if at == 0 {
                    self.release(pool);
                }
                Delivered { answered: true, translated, error }
            }
            // Answered before (its deadline passed), or half of its answer has left.
            State::Ready(_) | State::Streaming => Delivered::default(),
        }
    }

    /// The code of the error that the latest answer was joined to.
    pub fn take_joined_error(&mut self) -> Option<Box<[u8]>> {
        self.joined_error.take()
    }

    /// Answers slot `seq` with bytes that the client gets as they are.
    pub fn deliver_raw(&mut self, seq: u64, bytes: &[u8], pool: &Pool) {
        let Some(at) = seq.checked_sub(self.base).and_then(|at| usize::try_from(at).ok()) else { return };
        let Some(slot) = self.slots.get_mut(at) else { return };
        if matches!(slot.state, State::Streaming) {
            return;
        }
        let mut ready = pool.take();
        ready.extend_from_slice(bytes);
        self.parked += ready.len();
        slot.state = State::Ready(ready);
        if at == 0 {
            self.release(pool);
        }
    }

    /// How the answer of slot `seq` is given, if it is the first one and one node answers it.
    pub fn waits_for_one(&self, seq: u64) -> Option<Render> {
        match self.slots.front() {
            Some(Slot { render, state: State::Waiting }) if seq == self.base => Some(*render),
            _ => None,
        }
    }

    /// The answer of the first slot comes in pieces from now on.
    pub fn begin_stream(&mut self) {
        if let Some(slot) = self.slots.front_mut() {
            slot.state = State::Streaming;
        }
    }

    /// A piece of it, as the client gets it.
    pub fn feed(&mut self, bytes: &[u8], pool: &Pool) {
        if self.out.capacity() == 0 {
            self.out = pool.take();
        }
        self.out.extend_from_slice(bytes);
    }

    /// It is whole.
    pub fn end_stream(&mut self, pool: &Pool) {
        if matches!(self.slots.front(), Some(Slot { state: State::Streaming, .. })) {
            self.slots.pop_front();
            self.base += 1;
            self.release(pool);
        }
    }

    /// Adds a message that answers nothing, its first byte apart: behind the replies of all requests so far, or, when
    /// `now`, before those that are still to come.
    pub fn push(&mut self, first: u8, rest: &[u8], now: bool, pool: &Pool) {
        let inside = matches!(self.slots.front(), Some(Slot { state: State::Streaming, .. }));
        if (now && !inside) || self.slots.is_empty() {
            if self.out.capacity() == 0 {
                self.out = pool.take();
            }
            self.out.push(first);
            self.out.extend_from_slice(rest);
            return;
        }
        self.parked += rest.len() + 1;
        if let Some(Slot { render: Render::Push, state: State::Ready(bytes) }) = self.slots.back_mut() {
            bytes.push(first);
            bytes.extend_from_slice(rest);
            return;
        }
        let mut bytes = pool.take();
        bytes.push(first);
        bytes.extend_from_slice(rest);
        self.slots.push_back(Slot { render: Render::Push, state: State::Ready(bytes) });
    }

    /// Answers slot `seq` with an error of the proxy. `text` starts with its code.
    pub fn fail(&mut self, seq: u64, part: u32, text: &str, pool: &Pool) -> Delivered {
        let mut frame = pool.take();
        Render::Resp3.error(text, &mut frame);
        let delivered = self.deliver(seq, part, &frame, pool);
        pool.give(frame);
        delivered
    }

    /// Moves the answers that wait for nothing any more to the bytes that leave.
    fn release(&mut self, pool: &Pool) {
        while let Some(Slot { state: State::Ready(_), .. }) = self.slots.front() {
            let Some(Slot { state: State::Ready(bytes), .. }) = self.slots.pop_front() else { return };
            self.base += 1;
            self.parked = self.parked.saturating_sub(bytes.len());
            if self.out.is_empty() && bytes.len() > self.out.capacity() {
                pool.give(std::mem::replace(&mut self.out, bytes));
            } else {
                self.out.extend_from_slice(&bytes);
                pool.give(bytes);
            }
        }
    }

    /// The bytes that are to leave.
    #[inline]
    pub fn to_send(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// `count` of them have left.
    pub fn sent(&mut self, count: usize, pool: &Pool) {
        self.sent += count;
        if self.sent >= self.out.len() {
            self.sent = 0;
            pool.give(std::mem::take(&mut self.out));
        } else if self.sent >= COMPACT_BYTES && self.sent * 2 >= self.out.len() {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Drops everything: the client is gone.
    pub fn clear(&mut self) {
        self.base += self.slots.len() as u64;
        self.slots = VecDeque::new();
        self.out = Vec::new();
        self.sent = 0;
        self.parked = 0;
    }
}

/// Bytes that have left are dropped from the front of the buffer when they are at least so many.
const COMPACT_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_leave_in_the_order_of_the_requests() {
        let (pool, mut outbox) = (Pool::default(), Outbox::default());
        let first = outbox.open(Render::Resp2);
        let second = outbox.open(Render::Resp2);
        outbox.reply(Render::Resp2, &pool, |out| out.extend_from_slice(b"+PONG\r\n"));
        outbox.deliver(second, 0, b":2\r\n", &pool);
        assert_eq!((outbox.to_send(), outbox.pending()), (&b""[..], 3));
        outbox.deliver(first, 0, b":1\r\n", &pool);
        assert_eq!((outbox.to_send(), outbox.pending()), (&b":1\r\n:2\r\n+PONG\r\n"[..], 0));
        // An answer that comes again, or for nobody, changes nothing.
        outbox.deliver(first, 0, b":9\r\n", &pool);
        outbox.deliver(77, 0, b":9\r\n", &pool);
        assert_eq!(outbox.unsent(), 15);
        outbox.sent(15, &pool);
        assert_eq!((outbox.unsent(), outbox.held_bytes()), (0, 0));
    }

    #[test]
    fn messages_wait_for_the_replies_before_them() {
        let (pool, mut outbox) = (Pool::default(), Outbox::default());
        outbox.push(b'>', b"0", false, &pool);
        let first = outbox.open(Render::Resp3);
        outbox.push(b'>', b"1", false, &pool);
        outbox.push(b'>', b"2", false, &pool);
        let second = outbox.open(Render::Resp3);
        outbox.push(b'>', b"now", true, &pool);
        outbox.push(b'*', b"3", false, &pool);
        assert_eq!((outbox.to_send(), outbox.held_bytes()), (&b">0>now"[..], 12));
        outbox.deliver(second, 0, b":2\r\n", &pool);
        outbox.deliver_raw(first, b"+raw+raw", &pool);
        assert_eq!(outbox.to_send(), b">0>now+raw+raw>1>2:2\r\n*3");
        assert_eq!((outbox.pending(), outbox.held_bytes()), (0, 24));
    }

    #[test]
    fn a_big_answer_goes_through_in_pieces() {
        let (pool, mut outbox) = (Pool::default(), Outbox::default());
        let first = outbox.open(Render::Resp3);
        let second = outbox.open(Render::Resp3);
        assert_eq!((outbox.waits_for_one(second), outbox.waits_for_one(first)), (None, Some(Render::Resp3)));
        outbox.begin_stream();
        assert_eq!(outbox.waits_for_one(first), None);
        outbox.feed(b"$4\r\na", &pool);
        // Nothing comes between the pieces: neither messages nor other answers, nor an error of its own.
        outbox.push(b'>', b"now", true, &pool);
        outbox.deliver(second, 0, b":2\r\n", &pool);
        outbox.fail(first, 0, "ERR late", &pool);
        outbox.deliver_raw(first, b"+raw", &pool);
        assert_eq!(outbox.to_send(), b"$4\r\na");
        outbox.feed(b"bcd\r\n", &pool);
        outbox.end_stream(&pool);
        assert_eq!(outbox.to_send(), b"$4\r\nabcd\r\n:2\r\n>now");
        assert_eq!((outbox.pending(), outbox.held_bytes()), (0, 18));
    }

    proptest! {
        #[test]
        fn any_order_of_answers_gives_the_same_bytes(order in Just((0..20_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let (pool, mut outbox) = (Pool::default(), Outbox::default());
            for _ in 0..20 {
                outbox.open(Render::Resp3);
            }
            for seq in order {
                outbox.deliver(seq, 0, format!(":{seq}\r\n").as_bytes(), &pool);
            }
            let wanted: String = (0..20).map(|seq| format!(":{seq}\r\n")).collect();
            prop_assert_eq!(outbox.to_send(), wanted.as_bytes());
            prop_assert_eq!(outbox.held_bytes(), wanted.len());
        }
    }
}
