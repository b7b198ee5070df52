//! Links between hosts: delay, loss, repetition, reordering, cuts one way or both.

use super::plan::Faults;
use super::rng::Rng;
use std::collections::BTreeMap;

pub(super) type Host = usize;
pub(super) const MS: u64 = 1_000_000;
const US: u64 = 1_000;
/// By how much an overtaken message is late at most.
const OVERTAKEN: u64 = 40 * MS;
/// Above as many connections those go that were silent for long.
const STREAMS: usize = 1_024;
const SILENT: u64 = 10_000 * MS;

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By itself: it may come twice, and later than others.
    Alone,
    /// Once, on a connection that carries nothing else just then.
    Once,
    /// In order on this connection.
    Connection(u64),
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent: u64,
    /// By chance, or at a cut.
    pub lost: u64,
    pub repeated: u64,
    pub reordered: u64,
    pub slow: u64,
}

pub(super) struct Network {
    /// Cut links, one way each, with how many cuts they are part of.
    cut: BTreeMap<(Host, Host), u32>,
    faults: Faults,
    pub(super) traffic: Traffic,
    /// When the last message of a connection arrives: the next does not overtake it.
    streams: BTreeMap<(u64, Host), u64>,
    healed: bool,
}

impl Network {
    pub(super) fn new(faults: Faults) -> Self {
        Network {
            cut: BTreeMap::new(),
            faults,
            traffic: Traffic::default(),
            streams: BTreeMap::new(),
            healed: false,
        }
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.cut.clear();
    }

    pub(super) fn cut(&mut self, links: &[(Host, Host)]) {
        links.iter().for_each(|link| *self.cut.entry(*link).or_default() += 1);
    }

    pub(super) fn uncut(&mut self, links: &[(Host, Host)]) {
        for link in links {
            if let Some(cuts) = self.cut.get_mut(link) {
                *cuts -= 1;
                if *cuts == 0 {
                    self.cut.remove(link);
                }
            }
        }
    }

    /// When a message sent now arrives: never, once, or twice.
    pub(super) fn arrivals(
        &mut self,
        rng: &mut Rng,
        now: u64,
        from: Host,
        to: Host,
        way: Way,
    ) -> (Option<u64>, Option<u64>) {
        let Faults {
            delay_us, loss_permille, repeat_permille, reorder_permille, slow_permille, slow_ms, ..
        } = self.faults;
        let trouble = |rng: &mut Rng, permille| !self.healed && rng.chance(permille);
        self.traffic.sent += 1;
        if self.cut.contains_key(&(from, to)) || trouble(rng, loss_permille) {
            self.traffic.lost += 1;
            return (None, None);
        }
        let mut arrival = now + rng.range(US * 50, (delay_us * US).max(US * 51));
        if trouble(rng, slow_permille) {
            self.traffic.slow += 1;
            arrival += rng.range(0, slow_ms * MS);
        }
        match way {
            Way::Alone => {}
            Way::Once => return (Some(arrival), None),
            Way::Connection(conn) => {
                let last = self.streams.entry((conn, to)).or_insert(0);
                *last = arrival.max(*last + 1);
                let arrival = *last;
                if self.streams.len() > STREAMS {
                    self.streams.retain(|_, last| *last + SILENT > now);
                }
                return (Some(arrival), None);
            }
        }
        if trouble(rng, reorder_permille) {
            self.traffic.reordered += 1;
            arrival += rng.range(0, OVERTAKEN);
        }
        let again = trouble(rng, repeat_permille).then(|| now + rng.range(0, OVERTAKEN));
        self.traffic.repeated += u64::from(again.is_some());
        (Some(arrival), again)
    }
}
