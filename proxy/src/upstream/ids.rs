//! Numbers for requests: with them a node knows a second sending of a request, and executes nothing twice.
//!
//! A worker numbers what it sends; each life of a worker is an *origin* of its own. A number is drawn when the request
//! is put on a connection, and a request of which no sending can have been executed gets another one at its next
//! sending, so the numbers reach a node nearly in their order. Each request also tells up to which number all are
//! *settled*: answered or given up, never sent again. What a node remembers below that it may forget.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use torc_protocol::context::RequestId;

/// Numbers that may be open behind the first open one. Beyond it that one counts as settled: should it ever be sent
/// again, it is refused as too old.
const MAX_OPEN: usize = 1 << 20;

/// A worker's numbers.
#[derive(Debug)]
pub struct Numbers {
    origin: u64,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    /// All before it are settled.
    first: u64,
    /// Whether `first`, `first + 1`, … are settled.
    settled: VecDeque<bool>,
}

/// One number. Dropped, it is settled: whoever may still send the request holds on to it.
#[derive(Debug)]
pub struct Ticket {
    numbers: Rc<Numbers>,
    seq: u64,
}

impl Numbers {
    /// None is drawn yet. `origin`: nobody else's, ever.
    pub fn new(origin: u64) -> Rc<Numbers> {
        let state = RefCell::new(State { first: 1, settled: VecDeque::new() });
        Rc::new(Numbers { origin, state })
    }

    /// Draws the next number.
    #[inline]
    pub fn draw(self: &Rc<Self>) -> Ticket {
        let mut state = self.state.borrow_mut();
        let seq = state.first + state.settled.len() as u64;
        state.settled.push_back(false);
        if state.settled.len() > MAX_OPEN {
            state.settle(seq - MAX_OPEN as u64);
        }
        drop(state);
        Ticket { numbers: Rc::clone(self), seq }
    }
}

impl State {
    #[inline]
    fn settle(&mut self, seq: u64) {
        let Some(at) = seq.checked_sub(self.first).and_then(|at| usize::try_from(at).ok()) else { return };
        if let Some(place) = self.settled.get_mut(at) {
            *place = true;
        }
        while self.settled.front() == Some(&true) {
            self.settled.pop_front();
            self.first += 1;
        }
    }
}

impl Ticket {
    /// The id as a node gets it now.
    #[inline]
    pub fn id(&self) -> RequestId {
        let settled = self.numbers.state.borrow().first - 1;
        RequestId { origin: self.numbers.origin, seq: self.seq, settled }
    }
}

impl Drop for Ticket {
    #[inline]
    fn drop(&mut self) {
        self.numbers.state.borrow_mut().settle(self.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_settled_up_to_the_first_open_one() {
        let numbers = Numbers::new(9);
        let (a, b, c) = (numbers.draw(), numbers.draw(), numbers.draw());
        assert_eq!(a.id(), RequestId { origin: 9, seq: 1, settled: 0 });
        drop(b);
        assert_eq!(c.id(), RequestId { origin: 9, seq: 3, settled: 0 });
        drop(a);
        assert_eq!(c.id(), RequestId { origin: 9, seq: 3, settled: 2 });
        drop(c);
        assert_eq!(numbers.draw().id(), RequestId { origin: 9, seq: 4, settled: 3 });
    }

    #[test]
    fn one_that_stays_open_does_not_hold_up_all() {
        let numbers = Numbers::new(9);
        let stuck = numbers.draw();
        for _ in 0..MAX_OPEN {
            drop(numbers.draw());
        }
        assert_eq!(stuck.id(), RequestId { origin: 9, seq: 1, settled: MAX_OPEN as u64 + 1 });
        assert!(numbers.state.borrow().settled.is_empty());
        drop(stuck);
        assert_eq!(numbers.draw().id().settled, MAX_OPEN as u64 + 1);
    }
}
