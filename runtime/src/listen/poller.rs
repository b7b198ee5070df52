//! Readiness of many sockets for one task: an epoll set of its own, edge-triggered.
//!
//! A runtime wakes a task for each socket that is ready, and the task then asks the runtime again what it was woken
//! for. Who drives many connections in one task learns from [`Poller::look`] about all of them with one system call,
//! and waits on the set as a whole ([`Poller::poll_ready`]) when there is nothing to do.
//!
//! An edge is reported once: the owner remembers that a socket is readable until a read has found nothing more.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Events that one look takes at most; the others are found by the next one.
const EVENTS: usize = 256;

/// What has happened to a socket since it was last told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// As given to [`Poller::add`].
    pub token: u64,
    /// There is something to read, or the end, or an error.
    pub readable: bool,
    /// The peer sends no more: a read that is not full is not the last one.
    pub ended: bool,
    /// There is room to write.
    pub writable: bool,
}

impl Readiness {
    /// What happened to one socket at two looks.
    pub fn and(self, later: Readiness) -> Readiness {
        Readiness {
            token: later.token,
            readable: self.readable || later.readable,
            ended: self.ended || later.ended,
            writable: self.writable || later.writable,
        }
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        let flags = event.flags;
        let over = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        Readiness {
            token: event.data.u64(),
            readable: over || flags.contains(EventFlags::IN),
            ended: over,
            writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
        }
    }
}

/// See the module's text. Belongs to the runtime it was made in.
pub struct Poller {
    set: AsyncFd<OwnedFd>,
    events: Vec<Event>,
    /// The latest look has found as much as it takes: there may be more.
    full: bool,
}

impl Poller {
    /// An empty set, known to the runtime this is called in.
    #[expect(unsafe_code, reason = "tokio offers no safe form for any kind of descriptor")]
    pub fn new() -> io::Result<Poller> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is open as long as the `AsyncFd` owns it, and nothing else gets at it: an `OwnedFd`
        // always answers the same `as_fd`, and it is neither taken out nor replaced here.
        let set = unsafe { AsyncFd::register_with_interest(set, Interest::READABLE) }?;
        Ok(Poller { set, events: Vec::with_capacity(EVENTS), full: false })
    }

    /// From now on what happens to `socket` is told under `token`.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(self.set.get_ref(), socket, EventData::new_u64(token), flags)?)
    }

    /// No longer. A socket whose only descriptor is closed leaves the set by itself.
    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(self.set.get_ref(), socket)?)
    }

    /// What has happened since the last look, up to a bound; waits for nothing.
    pub fn look(&mut self) -> io::Result<impl Iterator<Item = Readiness>> {
        self.events.clear();
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(self.set.get_ref(), spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.full = self.events.len() == self.events.capacity();
        Ok(self.events.iter().map(Readiness::from))
    }

    /// Ready when something may have happened since it last was: look then. May be ready for nothing.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was left over makes the set ready no second time.
        if self.full {
            return Poll::Ready(Ok(()));
        }
        let mut guard = ready!(self.set.poll_read_ready(cx))?;
        // Cleared in front of the look: what happens behind it makes the set ready again.
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Poller").field("set", &self.set).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().expect("two sockets");
        near.set_nonblocking(true).expect("set");
        (near, far)
    }

    fn look(poller: &mut Poller) -> Vec<Readiness> {
        poller.look().expect("looked").collect()
    }

    #[tokio::test]
    async fn an_edge_is_told_once() {
        let mut poller = Poller::new().expect("a set");
        let (mut near, mut far) = pair();
        poller.add(&near, 7).expect("added");
        let room = Readiness { token: 7, readable: false, ended: false, writable: true };
        assert_eq!(look(&mut poller), [room]);
        assert_eq!(look(&mut poller), []);
        far.write_all(b"one").expect("sent");
        poll_fn(|cx| poller.poll_ready(cx)).await.expect("ready");
        assert_eq!(look(&mut poller), [Readiness { readable: true, ..room }]);
        assert_eq!(look(&mut poller), [], "though nothing was read");
        // More behind it is another edge, and so is the end.
        far.write_all(b"two").expect("sent");
        drop(far);
        poll_fn(|cx| poller.poll_ready(cx)).await.expect("ready");
        assert_eq!(look(&mut poller), [Readiness { readable: true, ended: true, ..room }]);
        let mut all = String::new();
        near.read_to_string(&mut all).expect("read");
        assert_eq!(all, "onetwo");
    }

    #[tokio::test]
    async fn what_one_look_does_not_take_is_found_by_the_next() {
        let mut poller = Poller::new().expect("a set");
        let pairs: Vec<_> = (0..EVENTS as u64 + 1).map(|_| pair()).collect();
        for (token, (near, _)) in pairs.iter().enumerate() {
            poller.add(near, token as u64).expect("added");
        }
        let mut told = 0;
        while told <= EVENTS {
            poll_fn(|cx| poller.poll_ready(cx)).await.expect("ready");
            told += look(&mut poller).len();
        }
        assert_eq!(told, EVENTS + 1);
    }

    #[tokio::test]
    async fn what_was_removed_is_not_told() {
        let mut poller = Poller::new().expect("a set");
        let ((near, mut far), (other, mut beyond)) = (pair(), pair());
        poller.add(&near, 1).expect("added");
        poller.add(&other, 2).expect("added");
        assert_eq!(look(&mut poller).len(), 2);
        poller.remove(&near).expect("removed");
        far.write_all(b"x").expect("sent");
        beyond.write_all(b"x").expect("sent");
        poll_fn(|cx| poller.poll_ready(cx)).await.expect("ready");
        assert_eq!(look(&mut poller).iter().map(|ready| ready.token).collect::<Vec<_>>(), [2]);
        drop(other);
        drop(beyond);
        assert_eq!(look(&mut poller), []);
        poller.add(&near, 3).expect("added again");
        assert_eq!(look(&mut poller).iter().map(|ready| ready.token).collect::<Vec<_>>(), [3]);
    }
}
