//! Identical reads of several clients that share one request.
//!
//! A read joins another one only while that has not left the proxy, and only when its client has nothing else under way:
//! so it is executed after it came, as if it had gone by itself, and no client's requests change their order. The request
//! of the first one carries all; its reply is written to each client from where it was read. The request alone owns its
//! [`Flight`]: one that was answered, failed or was dropped before it left can be joined by nobody.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use ahash::RandomState;
use smallvec::SmallVec;

use super::copies::Form;
use crate::downstream::client::Client;
use crate::downstream::render::Render;
use crate::table::RouteTable;
use crate::upstream::pending::Lane;
use crate::worker::Worker;

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
    /// A client joins.
    fn join(&self, follower: Follower) {
        self.followers.borrow_mut().push(follower);
    }

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
    flight: Weak<Flight>,
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
        self.hasher.hash_one(form)
    }

    /// The request that a read of this form may join.
    pub fn find(&self, form: &Form<'_>) -> Option<Rc<Flight>> {
        let waiting = self.waiting.borrow();
        let waiting = waiting.get(&self.place(form))?;
        let same = Form { db: waiting.db, resp2: waiting.resp2, args: &waiting.args } == *form;
        let flight = waiting.flight.upgrade().filter(|_| same)?;
        let followers = flight.followers.borrow().len();
        (followers < MOST_FOLLOWERS).then_some(flight)
    }

    /// A request that others may join until [`Flights::left`], while it is under way.
    pub fn begin(&self, form: &Form<'_>) -> Rc<Flight> {
        let flight = Rc::new(Flight::default());
        let waiting = Waiting {
            db: form.db,
            resp2: form.resp2,
            args: form.args.into(),
            flight: Rc::downgrade(&flight),
        };
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

/// What becomes of a read that may share a request.
#[derive(Debug)]
pub enum Share {
    /// It goes by itself.
    No,
    /// It has joined another one, and is answered with that.
    Joined,
    /// It goes first, and others may join it.
    First(Rc<Flight>),
}

impl Worker {
    /// Lets a client's plain read of `key`, which the primary would answer, share a request.
    pub fn share(
        &self,
        table: &RouteTable,
        client: &Rc<Client>,
        (form, key): (&Form<'_>, &[u8]),
        render: Render,
    ) -> Share {
        let may = self.hot.coalesces.get()
            && client.lane.get() == Lane::Quick
            && client.outbox.borrow().pending() == 0
            && self.hot.coalesces_for(table, key);
        if !may {
            return Share::No;
        }
        let Some(found) = self.hot.flights.find(form) else {
            return Share::First(self.hot.flights.begin(form));
        };
        let seq = client.outbox.borrow_mut().open(render);
        found.join(Follower { client: Rc::clone(client), seq, since_ns: self.clock.now_ns() });
        self.metrics.coalesced.add(1);
        Share::Joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_left_or_is_gone_is_joined_by_nobody() {
        let (flights, form) = (Flights::default(), Form { db: 0, resp2: true, args: b"get k" });
        let first = flights.begin(&form);
        assert!(flights.find(&form).is_some_and(|found| Rc::ptr_eq(&found, &first)));
        assert!(
            flights.find(&Form { db: 1, ..form }).is_none()
                && flights.find(&Form { resp2: false, ..form }).is_none()
        );
        // Its request failed, or its client went, before it was written.
        drop(first);
        assert!(flights.find(&form).is_none());
        let second = flights.begin(&form);
        flights.left();
        assert!(flights.find(&form).is_none());
        drop(second);
    }
}
