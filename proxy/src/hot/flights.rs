//! Identical reads of several clients that share one request.
//!
//! A read joins another one only while that has not left the proxy, and only when its client has nothing else under way:
//! so it is executed after it came, as if it had gone by itself, and no client's requests change their order. The request
//! of the first one carries all; its reply is written to each client from where it was read.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use ahash::RandomState;
use smallvec::SmallVec;

use super::copies::Form;
use crate::downstream::client::Client;

/// Clients that share one request, beside the first one.
const MOST_FOLLOWERS: usize = 1024;

/// A client that waits for another one's request.
#[derive(Debug)]
pub struct Follower {
    /// It.
    pub client: Rc<Client>,
    /// Which of its slots is to be answered.
    pub seq: u64,
    /// When its request came, on the worker's clock.
    pub since_ns: u64,
}

/// The clients that share a request, without the one it is sent for.
#[derive(Debug, Default)]
pub struct Flight {
    followers: RefCell<SmallVec<[Follower; 4]>>,
}

impl Flight {
    /// Takes all that are still there.
    pub fn take(&self) -> SmallVec<[Follower; 4]> {
        let mut followers = self.followers.take();
        followers.retain(|follower| !follower.client.closed.get());
        followers
    }

    /// Takes one that is still there, to be the one that the request is sent for.
    pub fn take_one(&self) -> Option<Follower> {
        let mut followers = self.followers.borrow_mut();
        while let Some(follower) = followers.pop() {
            if !follower.client.closed.get() {
                return Some(follower);
            }
        }
        None
    }
}

#[derive(Debug)]
struct Waiting {
    db: u8,
    resp2: bool,
    args: Box<[u8]>,
    flight: Rc<Flight>,
}

/// The requests that have not left yet and may be joined.
#[derive(Debug, Default)]
pub struct Flights {
    hasher: RandomState,
    waiting: RefCell<HashMap<u64, Waiting, RandomState>>,
    any: Cell<bool>,
}

impl Flights {
    fn place(&self, form: &Form<'_>) -> u64 {
        self.hasher.hash_one((form.db, form.resp2, form.args))
    }

    /// The request that a read of this form may join.
    pub fn find(&self, form: &Form<'_>) -> Option<Rc<Flight>> {
        let waiting = self.waiting.borrow();
        let waiting = waiting.get(&self.place(form))?;
        let same = waiting.db == form.db && waiting.resp2 == form.resp2 && *waiting.args == *form.args;
        let flight = &waiting.flight;
        (same && flight.followers.borrow().len() < MOST_FOLLOWERS).then(|| Rc::clone(flight))
    }

    /// A client joins.
    pub fn join(flight: &Flight, follower: Follower) {
        flight.followers.borrow_mut().push(follower);
    }

    /// A request that others may join until [`Flights::left`].
    pub fn begin(&self, form: &Form<'_>) -> Rc<Flight> {
        let flight = Rc::new(Flight::default());
        let waiting =
            Waiting { db: form.db, resp2: form.resp2, args: form.args.into(), flight: Rc::clone(&flight) };
        self.waiting.borrow_mut().insert(self.place(form), waiting);
        self.any.set(true);
        flight
    }

    /// What was to be sent may have left: nothing of it is joined any more.
    #[inline]
    pub fn left(&self) {
        if self.any.replace(false) {
            self.waiting.borrow_mut().clear();
        }
    }
}
