//! The queues of a stripe's keys, and which of them are ready.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::AHashMap;

use super::Waiter;
use crate::store::value::Kind;

/// Keys with a queue at which those of waiters that have gone are looked for.
const SWEEP_MIN: usize = 64;

/// Those who wait for one key, first come first.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    /// Those among them who look again whatever happens.
    anything: usize,
    /// Its key is among the ready ones.
    ready: bool,
}

/// See the module's text. Owner: the stripe's lock.
#[derive(Debug)]
pub struct Queues {
    queues: AHashMap<(u8, Box<[u8]>), Queue>,
    /// Keys that changed since they were last served, with the order in which they did.
    ready: VecDeque<(u64, u8, Box<[u8]>)>,
    sweep_at: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Queues { queues: AHashMap::new(), ready: VecDeque::new(), sweep_at: SWEEP_MIN }
    }
}

/// A waiter is in one queue less.
fn left(waiter: &Waiter, queue: &mut Queue) {
    waiter.queued.fetch_sub(1, Ordering::AcqRel);
    if waiter.wanted.anything {
        queue.anything -= 1;
        if queue.anything == 0 {
            waiter.desk().keys_until_gone.fetch_sub(1, Ordering::Relaxed);
        }
    }
    if queue.waiters.is_empty() {
        waiter.desk().keys.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queues {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Puts a waiter at the end of a key's queue.
    pub fn push(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        if self.queues.len() >= self.sweep_at {
            self.sweep();
            self.sweep_at = (2 * self.queues.len()).max(SWEEP_MIN);
        }
        let queue = self.queues.entry((waiter.asked.db, key.into())).or_default();
        if queue.waiters.is_empty() {
            waiter.desk().keys.fetch_add(1, Ordering::Relaxed);
        }
        if waiter.wanted.anything {
            if queue.anything == 0 {
                waiter.desk().keys_until_gone.fetch_add(1, Ordering::Relaxed);
            }
            queue.anything += 1;
        }
        waiter.queued.fetch_add(1, Ordering::AcqRel);
        queue.waiters.push_back(waiter.clone());
    }

    /// Takes a waiter out of a key's queue.
    pub fn leave(&mut self, db: u8, key: &[u8], ticket: u64) {
        let name = (db, Box::from(key));
        let Some(queue) = self.queues.get_mut(&name) else { return };
        if let Ok(at) = queue.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket)
            && let Some(waiter) = queue.waiters.remove(at)
        {
            left(&waiter, queue);
        }
        if queue.waiters.is_empty() {
            self.queues.remove(&name);
        }
    }

    /// The key changed: if somebody waits for it, it is ready.
    pub fn touched(&mut self, db: u8, key: &[u8]) {
        let name = (db, Box::from(key));
        let Some(queue) = self.queues.get_mut(&name) else { return };
        if let Some(first) = queue.waiters.front()
            && !queue.ready
        {
            queue.ready = true;
            self.ready.push_back((first.desk().next_readiness(), db, name.1));
        }
    }

    /// As [`Queues::touched`], for all keys of one database or of all.
    pub fn touched_all(&mut self, db: Option<u8>) {
        let names: Vec<_> =
            self.queues.keys().filter(|(own, _)| db.is_none_or(|db| db == *own)).cloned().collect();
        names.iter().for_each(|(db, key)| self.touched(*db, key));
    }

    /// When the first ready key became so.
    #[inline]
    pub fn first_ready(&self) -> Option<u64> {
        self.ready.front().map(|(at, ..)| *at)
    }

    /// Takes the first ready key.
    pub fn take_ready(&mut self) -> Option<(u8, Box<[u8]>)> {
        let (_, db, key) = self.ready.pop_front()?;
        if let Some(queue) = self.queues.get_mut(&(db, key.clone())) {
            queue.ready = false;
        }
        Some((db, key))
    }

    /// The next waiter behind `after` (0: the first) in a key's queue for whom a value of this kind (`None`: no key, or
    /// a string) is worth a look. Those that have gone are dropped.
    pub fn next(&mut self, db: u8, key: &[u8], after: u64, kind: Option<Kind>) -> Option<Arc<Waiter>> {
        let name = (db, Box::from(key));
        let queue = self.queues.get_mut(&name)?;
        if kind.is_none() && queue.anything == 0 {
            return None;
        }
        let mut at = queue.waiters.partition_point(|waiter| waiter.ticket <= after);
        let found = loop {
            let Some(waiter) = queue.waiters.get(at) else { break None };
            if waiter.is_over() {
                if let Some(gone) = queue.waiters.remove(at) {
                    left(&gone, queue);
                }
            } else if waiter.wanted.anything || kind == Some(waiter.wanted.kind) {
                break Some(waiter.clone());
            } else {
                at += 1;
            }
        };
        if queue.waiters.is_empty() {
            self.queues.remove(&name);
        }
        found
    }

    /// All who wait for ready keys are to try by themselves.
    pub fn nudge_ready(&mut self) {
        while let Some((db, key)) = self.take_ready() {
            if let Some(queue) = self.queues.get(&(db, key)) {
                queue.waiters.iter().for_each(|waiter| waiter.nudge());
            }
        }
    }

    /// Drops waiters that have gone while the stripe could not be had.
    fn sweep(&mut self) {
        self.queues.retain(|_, queue| {
            let mut at = 0;
            while let Some(waiter) = queue.waiters.get(at) {
                if !waiter.is_over() {
                    at += 1;
                } else if let Some(gone) = queue.waiters.remove(at) {
                    left(&gone, queue);
                }
            }
            !queue.waiters.is_empty()
        });
    }
}
