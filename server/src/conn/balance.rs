//! Connections move to workers that have less to do.
//!
//! The acceptor hands connections round; which of them are busy shows only later. Once a second the requests of each
//! worker are compared ([`plan`]). When they are uneven, connections of the busiest worker move themselves, at a moment
//! when nothing of them is under way, until they have taken half of the difference along. A connection that alone makes
//! more than that stays: it would only carry the unevenness elsewhere.
//!
//! Owner of the plan: `torc-accept`, once a second; connections of the worker that it names draw from its budget.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::connection::Moving;

/// Connections that may be on their way to a worker.
const MOVING_QUEUE: usize = 64;

/// A worker with fewer requests a second is not busy.
const BUSY_RATE: u64 = 2000;

/// Nobody moves.
const NOBODY: u64 = u64::MAX;

/// Which worker has too much to do, and who can take some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    from: u16,
    to: u16,
    /// Requests a second that are to move.
    rate: u64,
}

/// What to move when the workers answer so many requests a second.
fn plan(rates: &[u64]) -> Option<Plan> {
    let (from, &most) = rates.iter().enumerate().max_by_key(|(_, rate)| **rate)?;
    let (to, &least) = rates.iter().enumerate().min_by_key(|(_, rate)| **rate)?;
    let uneven = most >= BUSY_RATE && most - least > most / 4;
    uneven.then(|| Plan { from: from as u16, to: to as u16, rate: (most - least) / 2 })
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Balance {
    doors: OnceLock<Vec<mpsc::Sender<Box<Moving>>>>,
    /// Rises once a second.
    second: AtomicU64,
    /// The worker that has too much to do, and the one that takes it: `from << 16 | to`.
    route: AtomicU64,
    /// Requests a second that may still move.
    budget: AtomicU64,
    /// Connections that have moved.
    moved: AtomicU64,
    /// Requests of each worker up to the last second.
    seen: Mutex<Vec<u64>>,
}

impl Balance {
    /// Makes a door for each of several workers; a single one needs none.
    pub fn open(&self, workers: usize) -> Vec<Option<mpsc::Receiver<Box<Moving>>>> {
        self.route.store(NOBODY, Ordering::Relaxed);
        if workers < 2 {
            return (0..workers).map(|_| None).collect();
        }
        let (doors, inside): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(MOVING_QUEUE)).unzip();
        // A node's workers are started once.
        let _ = self.doors.set(doors);
        inside.into_iter().map(Some).collect()
    }

    /// A second has passed; `requests` are those of each worker since the start.
    pub fn look(&self, requests: &[u64]) {
        if self.doors.get().is_none() {
            return;
        }
        let mut seen = self.seen.lock();
        let first = seen.len() != requests.len();
        let rates: Vec<u64> =
            requests.iter().zip(&*seen).map(|(now, then)| now.saturating_sub(*then)).collect();
        *seen = requests.to_vec();
        drop(seen);
        let plan = if first { None } else { plan(&rates) };
        self.route.store(NOBODY, Ordering::Relaxed);
        if let Some(Plan { from, to, rate }) = plan {
            self.budget.store(rate, Ordering::Relaxed);
            self.route.store(u64::from(from) << 16 | u64::from(to), Ordering::Release);
        }
        self.second.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that have moved since the start.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Where a connection of worker `from` that makes `rate` requests a second should go, if it should.
    #[inline]
    pub fn asks(&self, from: usize, rate: u64) -> Option<usize> {
        let route = self.route.load(Ordering::Acquire);
        if route >> 16 != from as u64 || rate == 0 {
            return None;
        }
        let draw = |left: u64| left.checked_sub(rate);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, draw).ok()?;
        Some((route & 0xffff) as usize)
    }

    /// Sends a connection to another worker; it comes back when that one takes no more.
    pub fn send(&self, to: usize, moving: Box<Moving>) -> Result<(), Box<Moving>> {
        let Some(door) = self.doors.get().and_then(|doors| doors.get(to)) else { return Err(moving) };
        door.try_send(moving).map_err(|refused| refused.into_inner())?;
        self.moved.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What a connection knows of its own requests.
#[derive(Debug, Default)]
pub struct Rate {
    second: u64,
    /// Requests of this second, so far.
    now: u64,
    /// Requests of the last second.
    last: u64,
}

impl Rate {
    /// Counts requests; answers those of the last whole second.
    #[inline]
    pub fn count(&mut self, balance: &Balance, requests: u64) -> u64 {
        let second = balance.second.load(Ordering::Relaxed);
        if second != self.second {
            self.last = if second == self.second + 1 { self.now } else { 0 };
            (self.second, self.now) = (second, 0);
        }
        self.now += requests;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_gives_half_of_the_difference() {
        assert_eq!(plan(&[10_000, 2000, 8000]), Some(Plan { from: 0, to: 1, rate: 4000 }));
        assert_eq!(plan(&[0, 5000]), Some(Plan { from: 1, to: 0, rate: 2500 }));
        assert_eq!(plan(&[10_000, 8000]), None, "even enough");
        assert_eq!(plan(&[1000, 0]), None, "nobody is busy");
        assert_eq!((plan(&[]), plan(&[9000])), (None, None));
    }

    #[test]
    fn connections_draw_from_the_budget_of_one_second() {
        let balance = Balance::default();
        let _inside = balance.open(2);
        let mut rate = Rate::default();
        balance.look(&[0, 0]);
        assert_eq!(rate.count(&balance, 3000), 0);
        balance.look(&[10_000, 0]);
        assert_eq!(rate.count(&balance, 1), 3000);
        assert_eq!(balance.asks(1, 3000), None, "not this worker");
        assert_eq!(balance.asks(0, 3000), Some(1));
        assert_eq!(balance.asks(0, 3000), None, "more than is left");
        assert_eq!(balance.asks(0, 2000), Some(1));
        balance.look(&[20_000, 10_000]);
        assert_eq!(balance.asks(0, 1), None, "even again");
        balance.look(&[30_000, 20_000]);
        assert_eq!(rate.count(&balance, 1), 0, "silent for more than a second");
    }
}
