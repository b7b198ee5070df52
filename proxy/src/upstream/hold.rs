//! Requests that wait for their shard: it has no primary, cannot be reached, or refused them.
//!
//! One row per worker, oldest first. While a shard has requests in the row later ones for it join them, so that
//! none overtakes.

use std::collections::{HashMap, VecDeque};

use torc_cluster::ShardId;

use super::pending::Pending;

/// The pause before a shard is tried again, doubled from try to try: at first, and at last. A primary that the map has
/// just named gets its lease some milliseconds later; clients wait for nothing else then.
const FIRST_PAUSE_NS: u64 = 4_000_000;
const LAST_PAUSE_NS: u64 = 100_000_000;
/// A shard that was not tried for so long, because nothing had to wait for it, begins with the first pause again.
const FORGET_NS: u64 = 1_000_000_000;

/// A request that waits.
#[derive(Debug)]
pub struct Held {
    /// What it is.
    pub pending: Pending,
    /// Its frames.
    pub bytes: Vec<u8>,
    /// Where it waits; `None`: its slot has no owner.
    pub shard: Option<ShardId>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// How many wait; none while those that were tried are on their way.
    requests: usize,
    tries: u32,
    not_before_ns: u64,
    tried_ns: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Hold {
    row: VecDeque<Held>,
    bytes: usize,
    shards: HashMap<Option<ShardId>, Waiting, ahash::RandomState>,
}

impl Hold {
    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether requests wait for that shard.
    pub fn waits_for(&self, shard: Option<ShardId>) -> bool {
        self.shards.get(&shard).is_some_and(|waiting| waiting.requests > 0)
    }

    /// Adds a request. True when it is the first one for its shard: [`Hold::next_due_ns`] may have changed.
    pub fn push(&mut self, held: Held, now_ns: u64) -> bool {
        let waiting = self.shards.entry(held.shard).or_default();
        let first = waiting.requests == 0;
        if first {
            if now_ns.saturating_sub(waiting.tried_ns) > FORGET_NS {
                waiting.tries = 0;
            }
            // What was tried and refused waits as long as the number of tries says.
            waiting.not_before_ns = waiting.not_before_ns.max(now_ns + FIRST_PAUSE_NS);
        }
        waiting.requests += 1;
        self.bytes += held.bytes.len();
        // What was sent first goes first: a request that comes back from a node is older than those that waited.
        let place = self.row.iter().rposition(|known| known.pending.since_ns <= held.pending.since_ns);
        self.row.insert(place.map_or(0, |place| place + 1), held);
        first
    }

    /// When some shard may be tried next; `None` while nothing waits.
    pub fn next_due_ns(&self) -> Option<u64> {
        let waiting = self.shards.values().filter(|waiting| waiting.requests > 0);
        waiting.map(|waiting| waiting.not_before_ns).min()
    }

    /// Takes all requests whose shard may be tried now, and those whose deadline has passed.
    pub fn take_due(&mut self, now_ns: u64, all: bool) -> Vec<Held> {
        let due: Vec<Option<ShardId>> = self
            .shards
            .iter_mut()
            .filter(|(_, waiting)| all || (waiting.requests > 0 && waiting.not_before_ns <= now_ns))
            .map(|(shard, waiting)| {
                waiting.tries = if all { 0 } else { waiting.tries.saturating_add(1) };
                let pause = (FIRST_PAUSE_NS << waiting.tries.min(8)).min(LAST_PAUSE_NS);
                waiting.not_before_ns = now_ns + pause;
                waiting.tried_ns = now_ns;
                *shard
            })
            .collect();
        let (mut taken, mut kept) = (Vec::new(), VecDeque::with_capacity(self.row.len()));
        for held in self.row.drain(..) {
            if due.contains(&held.shard) || held.pending.deadline_ns <= now_ns {
                taken.push(held);
            } else {
                kept.push_back(held);
            }
        }
        self.row = kept;
        for held in &taken {
            self.forget(held);
        }
        taken
    }

    /// Takes the requests of a client that is gone, but for those that `hand_on` gives to another one.
    pub fn disown(&mut self, client: u64, hand_on: impl Fn(&mut Pending)) {
        self.row
            .iter_mut()
            .filter(|held| held.pending.flight.is_some())
            .for_each(|held| hand_on(&mut held.pending));
        let is_its = |held: &Held| held.pending.client.as_ref().is_some_and(|known| known.id() == client);
        let (gone, kept): (VecDeque<Held>, _) = self.row.drain(..).partition(is_its);
        self.row = kept;
        gone.iter().for_each(|held| self.forget(held));
    }

    /// Forgets the pauses of shards for which nothing waits any more. One whose requests were sent just now keeps its
    /// longer pause for when they come back.
    pub fn tidy(&mut self, now_ns: u64) {
        let lately = |waiting: &Waiting| now_ns.saturating_sub(waiting.tried_ns) <= FORGET_NS;
        self.shards.retain(|_, waiting| waiting.requests > 0 || lately(waiting));
    }

    fn forget(&mut self, held: &Held) {
        self.bytes -= held.bytes.len();
        if let Some(waiting) = self.shards.get_mut(&held.shard) {
            waiting.requests = waiting.requests.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::pending::{Dest, NEVER};
    use torc_protocol::command::{Command, StringCommand};

    fn held(shard: u16, since_ns: u64, deadline_ns: u64) -> Held {
        let command = Command::String(StringCommand::Get);
        let pending = Pending::new(Dest::Shard(ShardId(shard)), command, since_ns, 0);
        let pending = Pending { seq: since_ns, deadline_ns, ..pending };
        Held { pending, bytes: vec![0; 10], shard: Some(ShardId(shard)) }
    }

    fn order(taken: &[Held]) -> Vec<u64> {
        taken.iter().map(|held| held.pending.since_ns).collect()
    }

    #[test]
    fn the_oldest_goes_first_and_each_shard_has_its_pauses() {
        let mut hold = Hold::default();
        for (shard, since) in [(1, 5), (1, 7), (2, 6), (1, 3)] {
            hold.push(held(shard, since, NEVER), 100);
        }
        assert_eq!((hold.len(), hold.bytes()), (4, 40));
        assert!(hold.waits_for(Some(ShardId(1))) && !hold.waits_for(Some(ShardId(3))));
        assert!(hold.take_due(100, false).is_empty());
        let due = hold.take_due(100 + FIRST_PAUSE_NS, false);
        assert_eq!(order(&due), [3, 5, 6, 7]);
        // Those of shard 1 could not be sent: it waits longer now. Shard 2 is forgotten.
        for held in due.into_iter().filter(|held| held.shard == Some(ShardId(1))) {
            hold.push(held, 100 + FIRST_PAUSE_NS);
        }
        hold.tidy(100 + FIRST_PAUSE_NS);
        assert!(!hold.waits_for(Some(ShardId(2))));
        assert!(hold.take_due(100 + 2 * FIRST_PAUSE_NS, false).is_empty());
        assert_eq!(order(&hold.take_due(100 + 3 * FIRST_PAUSE_NS, false)), [3, 5, 7]);
        assert_eq!((hold.len(), hold.bytes()), (0, 0));
    }

    #[test]
    fn what_is_refused_again_and_again_waits_longer() {
        let mut hold = Hold::default();
        let (mut now, mut pauses) = (FORGET_NS, Vec::new());
        for _ in 0..7 {
            assert_eq!(hold.next_due_ns(), None);
            assert!(hold.push(held(1, 1, NEVER), now), "the first one");
            assert!(!hold.push(held(1, 2, NEVER), now), "another");
            let due = hold.next_due_ns().expect("one waits");
            assert!(hold.take_due(due - 1, false).is_empty());
            assert_eq!(order(&hold.take_due(due, false)), [1, 2]);
            hold.tidy(due);
            pauses.push((due - now) / 1_000_000);
            now = due;
        }
        assert_eq!(pauses, [4, 8, 16, 32, 64, 100, 100]);
        // Another map: the pauses begin anew, and so they do when all was well for a while.
        assert!(hold.take_due(now, true).is_empty());
        hold.push(held(1, 1, NEVER), now);
        assert_eq!(hold.next_due_ns(), Some(now + FIRST_PAUSE_NS));
        hold.take_due(now + FIRST_PAUSE_NS, false);
        now += FIRST_PAUSE_NS + FORGET_NS + 1;
        hold.tidy(now);
        assert!(hold.shards.is_empty());
        hold.push(held(1, 1, NEVER), now);
        assert_eq!(hold.next_due_ns(), Some(now + FIRST_PAUSE_NS));
    }

    #[test]
    fn a_new_map_or_a_deadline_ends_the_pause() {
        let mut hold = Hold::default();
        hold.push(held(1, 1, NEVER), 0);
        hold.push(held(1, 2, 50), 0);
        assert_eq!(order(&hold.take_due(50, false)), [2]);
        assert_eq!(order(&hold.take_due(51, true)), [1]);
        assert!(hold.is_empty());
    }
}
