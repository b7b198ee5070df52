//! The way to the driver for all other tasks of the worker's thread: whoever has come, and whose turn is wanted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::Accepted;
use crate::upstream::connection::Connection;

/// Somebody new.
#[derive(Debug)]
pub enum Arrival {
    /// A client.
    Client(Accepted),
    /// A connection to a node, which has been opened.
    Node(Rc<Connection>),
}

/// See the module's text. What it holds is bounded: each arrival had a place before, and a seat is called once.
#[derive(Debug, Default)]
pub struct Door {
    arrivals: RefCell<Vec<Arrival>>,
    called: RefCell<Vec<Token>>,
    driver: RefCell<Option<Waker>>,
    /// The driver is at work, and looks here before it rests.
    at_work: Cell<bool>,
}

/// A seat of the driver, and which of those who have had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// Asks for a turn of one seat.
#[derive(Debug)]
pub struct Call {
    door: Rc<Door>,
    token: Token,
    /// It is asked for already.
    noted: Cell<bool>,
}

impl Door {
    /// Lets somebody in.
    pub fn enter(&self, arrival: Arrival) {
        self.arrivals.borrow_mut().push(arrival);
        self.ring();
    }

    /// Has the driver look about.
    #[inline]
    pub fn ring(&self) {
        if !self.at_work.get()
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// The driver begins to work.
    pub fn begin_work(&self, waker: &Waker) {
        self.at_work.set(true);
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *driver = Some(waker.clone());
        }
    }

    /// The driver rests: it has to be woken.
    pub fn end_work(&self) {
        self.at_work.set(false);
    }

    /// The next one who has come.
    pub fn next_arrival(&self) -> Option<Arrival> {
        self.arrivals.borrow_mut().pop()
    }

    /// Moves what was called behind what is in `into`.
    pub fn take_called(&self, into: &mut Vec<Token>) {
        into.append(&mut self.called.borrow_mut());
    }

    /// Whether somebody has come or was called.
    #[inline]
    pub fn is_knocked_at(&self) -> bool {
        !self.called.borrow().is_empty() || !self.arrivals.borrow().is_empty()
    }
}

impl Call {
    /// For that seat.
    pub fn new(door: Rc<Door>, token: Token) -> Call {
        Call { door, token, noted: Cell::new(false) }
    }

    /// Asks for a turn.
    pub fn wake(&self) {
        if !self.noted.replace(true) {
            self.door.called.borrow_mut().push(self.token);
            self.door.ring();
        }
    }

    /// The turn has come: the next call is noted anew.
    #[inline]
    pub fn answered(&self) {
        self.noted.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_seat_is_called_once_until_it_had_its_turn() {
        let (door, count) = (Rc::new(Door::default()), Arc::new(Count(AtomicUsize::new(0))));
        let (one, two) = (Call::new(Rc::clone(&door), Token(1)), Call::new(Rc::clone(&door), Token(2)));
        one.wake();
        door.begin_work(&Waker::from(Arc::clone(&count)));
        two.wake();
        two.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 0, "who works is not woken");
        let mut called = Vec::new();
        door.take_called(&mut called);
        assert_eq!((called.as_slice(), door.is_knocked_at()), (&[Token(1), Token(2)][..], false));
        door.end_work();
        one.wake();
        assert!(!door.is_knocked_at(), "it has not had its turn");
        one.answered();
        one.wake();
        assert!(door.is_knocked_at());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
