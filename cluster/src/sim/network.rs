//! Links between hosts: delay, loss, repetition, cuts one way or both.

use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

pub(super) type Host = usize;
pub(super) const MS: u64 = 1_000_000;

pub(super) struct Network {
    /// Cut links, one way each.
    cut: BTreeSet<(Host, Host)>,
    loss_permille: u64,
    repeat_permille: u64,
    slow_permille: u64,
    /// When the last message of a connection arrives: the next does not overtake it.
    streams: BTreeMap<(u64, Host), u64>,
}

impl Network {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Network {
            cut: BTreeSet::new(),
            loss_permille: rng.range(0, 20),
            repeat_permille: rng.range(0, 30),
            slow_permille: rng.range(0, 20),
            streams: BTreeMap::new(),
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.loss_permille = 0;
        self.repeat_permille = 0;
        self.slow_permille = 0;
    }

    pub(super) fn set_cut(&mut self, from: Host, to: Host, cut: bool) {
        if cut {
            self.cut.insert((from, to));
        } else {
            self.cut.remove(&(from, to));
        }
    }

    /// When a message sent now arrives: never, once, or twice.
    pub(super) fn arrivals(
        &mut self,
        rng: &mut Rng,
        now: u64,
        from: Host,
        to: Host,
        stream: Option<u64>,
    ) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || rng.chance(self.loss_permille) {
            return Vec::new();
        }
        let mut delay = || {
            if rng.chance(self.slow_permille) {
                rng.range(10 * MS, 300 * MS)
            } else {
                rng.range(MS / 10, 3 * MS)
            }
        };
        match stream {
            Some(conn) => {
                let last = self.streams.entry((conn, to)).or_insert(0);
                *last = (now + delay()).max(*last + 1);
                vec![*last]
            }
            None => {
                let first = now + delay();
                let second = now + delay();
                if rng.chance(self.repeat_permille) { vec![first, second] } else { vec![first] }
            }
        }
    }
}
