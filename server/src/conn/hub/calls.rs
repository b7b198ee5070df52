//! Wakers of a hub's connections: who is called is noted, and the hub's task woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// Tokens of connections that were called. Any thread calls; the hub takes.
#[derive(Debug, Default)]
pub struct Calls {
    waiting: AtomicBool,
    called: Mutex<Vec<u64>>,
    hub: OnceLock<Waker>,
}

impl Calls {
    /// The task that takes the calls; the first one that says so.
    pub fn set_hub(&self, waker: &Waker) {
        self.hub.get_or_init(|| waker.clone());
    }

    /// Has the hub look about.
    pub fn wake_hub(&self) {
        if let Some(hub) = self.hub.get() {
            hub.wake_by_ref();
        }
    }

    /// Whether there are calls to take.
    #[inline]
    pub fn are_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// Moves all tokens behind those in `into`.
    pub fn take(&self, into: &mut Vec<u64>) {
        let mut called = self.called.lock();
        self.waiting.store(false, Ordering::Release);
        into.append(&mut called);
    }

    fn put(&self, token: u64) {
        let mut called = self.called.lock();
        called.push(token);
        let first = !self.waiting.swap(true, Ordering::AcqRel);
        drop(called);
        if first {
            self.wake_hub();
        }
    }
}

/// Wakes one connection.
#[derive(Debug)]
pub struct Call {
    calls: Arc<Calls>,
    token: u64,
    /// It is noted already.
    noted: AtomicBool,
}

impl Call {
    /// For the connection with this token.
    pub fn new(calls: Arc<Calls>, token: u64) -> Arc<Call> {
        Arc::new(Call { calls, token, noted: AtomicBool::new(false) })
    }

    /// The hub has come to the connection: the next call is noted anew.
    pub fn answered(&self) {
        self.noted.store(false, Ordering::Release);
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.noted.swap(true, Ordering::AcqRel) {
            self.calls.put(self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_connection_is_noted_once_until_it_was_answered() {
        let (calls, count) = (Arc::new(Calls::default()), Arc::new(Count(0.into())));
        calls.set_hub(&Waker::from(count.clone()));
        let (one, two) = (Call::new(calls.clone(), 1), Call::new(calls.clone(), 2));
        one.wake_by_ref();
        two.wake_by_ref();
        one.wake_by_ref();
        assert!(calls.are_waiting());
        let mut taken = Vec::new();
        calls.take(&mut taken);
        assert_eq!((taken.as_slice(), calls.are_waiting()), (&[1, 2][..], false));
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "one waking for both");
        one.wake_by_ref();
        assert!(!calls.are_waiting(), "it was not answered yet");
        one.answered();
        one.wake_by_ref();
        calls.take(&mut taken);
        assert_eq!((taken.as_slice(), count.0.load(Ordering::Relaxed)), (&[1, 2, 1][..], 2));
    }
}
