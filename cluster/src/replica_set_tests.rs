//! Rules of the in-sync set as its primary keeps it.

use super::*;
use crate::ids::{Incarnation, Position};
use crate::map::{NodeInfo, PromotionCost, Settings};

const S: ShardId = ShardId(0);
const MS: u64 = 1_000_000;
const ONE: StreamId = StreamId(1);

fn member(id: u64) -> Member {
    Member::new(NodeId(id), Incarnation(1))
}

fn history(term: u64, last: u64) -> History {
    let mut history = History::default();
    history.extend(Term(term), Offset(last)).expect("fits");
    history
}

/// A map with three nodes on one shard, n1 its primary in term 1 and alone in the set.
fn map() -> ClusterMap {
    let mut map = ClusterMap::default();
    for id in 1..=3 {
        let info = NodeInfo {
            id: NodeId(id),
            incarnation: Incarnation(1),
            host: "h".into(),
            weight: 1,
            ..NodeInfo::default()
        };
        map.apply(MapCommand::RegisterNode { info });
    }
    let settings = Settings::default();
    map.apply(MapCommand::InitCluster { name: "t".into(), shards: 1, replicas: 2, settings });
    map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(0) });
    let first = MapCommand::ResetShard {
        reign: 0,
        shard: S,
        expected_term: Term(0),
        new_term: Term(1),
        primary: member(1),
    };
    assert_eq!(map.apply(first), MapReply::Done);
    map
}

fn greeting(from: Member, theirs: &History) -> ReplicaHello {
    ReplicaHello { from, shard: S, term: Term(1), history: theirs.clone(), holds_data: false }
}

struct Bench {
    map: ClusterMap,
    set: ReplicaSet,
    mine: History,
}

impl Bench {
    fn new() -> Bench {
        let map = map();
        let set = ReplicaSet::new(member(1), &map, &map.shards[&S], Offset(0), Offset(0), 0);
        Bench { map, set, mine: History::default() }
    }

    fn write(&mut self, last: u64) {
        self.mine.extend(Term(1), Offset(last)).expect("fits");
        self.set.appended(Offset(last));
    }

    fn hello(&mut self, id: u64, theirs: &History, now: u64) -> HelloReply {
        self.set.hello(&greeting(member(id), theirs), ONE, &self.mine, Offset(0), now)
    }

    /// Commits what is wanted, without the primary knowing it.
    fn commit(&mut self, now: u64) -> Option<(u64, MapReply)> {
        let proposal = self.set.propose(now)?;
        Some((proposal.id, self.map.apply(proposal.command)))
    }

    fn learn(&mut self, now: u64) {
        let map = self.map.clone();
        self.set.on_map(&map, &map.shards[&S], now);
    }

    /// n2 joins.
    fn joined(&mut self, now: u64) {
        self.hello(2, &History::default(), now);
        self.set.acked(member(2), ONE, self.set.last(), now);
        assert_eq!(self.commit(now).map(|c| c.1), Some(MapReply::Done));
        self.learn(now);
    }

    fn mark(&self) -> u64 {
        self.set.high_water_mark().0
    }
}

#[test]
fn alone_below_the_minimum_the_mark_stands_still() {
    let mut bench = Bench::new();
    bench.write(5);
    assert_eq!(bench.mark(), 0);
    assert!(!bench.set.can_ack_in_sync());
    assert_eq!(bench.set.propose(0), None);
}

#[test]
fn a_replica_that_caught_up_joins_and_moves_the_mark() {
    let mut bench = Bench::new();
    bench.write(5);
    assert_eq!(bench.hello(2, &History::default(), 0), HelloReply::Continue { after: Offset(0) });
    bench.set.acked(member(2), ONE, Offset(3), MS);
    let proposal = bench.set.clone().propose(400 * MS).expect("it may be promoted");
    let joins = matches!(proposal.command, MapCommand::ProposeSet { in_sync, .. } if in_sync.len() == 2);
    assert!(!joins, "three of five is not caught up");
    bench.set.acked(member(2), ONE, Offset(5), 400 * MS);
    assert_eq!(bench.commit(400 * MS).map(|c| c.1), Some(MapReply::Done));
    assert_eq!(bench.mark(), 0, "not known to be committed yet");
    bench.learn(401 * MS);
    assert_eq!(bench.mark(), 5);
    bench.write(7);
    assert_eq!(bench.mark(), 5);
    bench.set.acked(member(2), ONE, Offset(6), 402 * MS);
    assert_eq!((bench.mark(), bench.set.holding(Offset(6))), (6, 1));
    bench.set.acked(member(2), ONE, Offset(99), 402 * MS);
    assert_eq!(bench.mark(), 6, "nobody holds what was not written");
}

#[test]
fn until_the_outcome_is_known_the_union_counts() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.write(1);
    bench.set.acked(member(2), ONE, Offset(1), 0);
    assert_eq!(bench.mark(), 1);
    bench.hello(3, &History::default(), 0);
    bench.set.acked(member(3), ONE, Offset(1), 0);
    let (id, reply) = bench.commit(0).expect("n3 wants in");
    assert_eq!(reply, MapReply::Done);
    bench.write(2);
    bench.set.acked(member(2), ONE, Offset(2), 0);
    assert_eq!(bench.mark(), 1, "n3 may be in the set");
    // The answer to a second copy of the proposal says nothing of the first.
    bench.set.outcome(id, Some(&MapReply::Refused(Refusal::StaleSetVersion { current: SetVersion(9) })), 0);
    assert_eq!(bench.mark(), 1);
    bench.set.acked(member(3), ONE, Offset(2), 0);
    assert_eq!(bench.mark(), 2);
}

#[test]
fn a_silent_replica_leaves_and_stays_eligible() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.write(1);
    assert_eq!(bench.set.propose(400 * MS), None);
    assert_eq!(bench.commit(600 * MS).map(|c| c.1), Some(MapReply::Done));
    assert_eq!(bench.set.propose(601 * MS), None, "one at a time");
    bench.learn(602 * MS);
    assert_eq!(bench.mark(), 0);
    assert!(bench.map.shards[&S].eligible.contains(&member(2)));
}

#[test]
fn who_must_discard_leaves_the_sets_first() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.write(3);
    bench.set.acked(member(2), ONE, Offset(3), 0);
    // It comes back with a tail of another term.
    let mut tail = history(1, 3);
    tail.append(Position::new(Term(7), Offset(4))).expect("fits");
    assert_eq!(bench.hello(2, &tail, MS), HelloReply::Wait);
    assert_eq!(bench.commit(2 * MS).map(|c| c.1), Some(MapReply::Done));
    assert!(!bench.map.shards[&S].is_candidate(member(2)), "not eligible either");
    assert_eq!(bench.hello(2, &tail, 3 * MS), HelloReply::Wait, "not known yet");
    bench.learn(4 * MS);
    assert_eq!(bench.hello(2, &tail, 5 * MS), HelloReply::Resync { common: Offset(3) });
    bench.set.acked(member(2), ONE, Offset(3), 5 * MS);
    assert_eq!(bench.set.propose(6 * MS), None, "what it acknowledges does not count before it is whole");
    bench.set.synced(member(2), ONE, Offset(3), 7 * MS);
    bench.set.acked(member(2), ONE, Offset(3), 7 * MS);
    assert!(bench.set.propose(8 * MS).is_some());
}

#[test]
fn who_holds_data_compares_it() {
    let mut bench = Bench::new();
    bench.write(5);
    let mut tail = history(1, 3);
    tail.append(Position::new(Term(7), Offset(4))).expect("fits");
    let (behind, broken_off) = (history(1, 2), History::default());
    let mut ask = |theirs: &History, backlog_after, holds_data| {
        let hello = ReplicaHello { holds_data, ..greeting(member(2), theirs) };
        let reply = bench.set.hello(&hello, ONE, &bench.mine, Offset(backlog_after), 0);
        bench.set.acked(member(2), ONE, Offset(5), 0);
        if !matches!(reply, HelloReply::Continue { .. }) {
            assert_eq!(bench.set.acked_by(member(2)), None, "as little in sync as in a full sync");
        }
        reply
    };
    // Behind what both have from the last common record on, if the backlog has it; else from where the primary is.
    let compare = |common, after| HelloReply::Compare { common: Offset(common), after: Offset(after) };
    assert_eq!(ask(&tail, 0, true), compare(3, 3));
    assert_eq!(ask(&tail, 3, true), compare(3, 3));
    assert_eq!(ask(&tail, 4, true), compare(3, 5));
    assert_eq!(ask(&behind, 3, true), compare(2, 5));
    assert_eq!(ask(&behind, 2, true), HelloReply::Continue { after: Offset(2) });
    assert_eq!(ask(&broken_off, 1, true), compare(0, 5));
    // It has nothing to compare.
    assert_eq!(ask(&tail, 0, false), HelloReply::Resync { common: Offset(3) });
    assert_eq!(ask(&broken_off, 1, false), HelloReply::Resync { common: Offset(0) });
}

#[test]
fn the_end_of_a_connection_that_was_replaced_changes_nothing() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.write(3);
    // Its host is cut off; it comes back on another connection before the first one is known to be broken.
    let two = StreamId(2);
    let hello = greeting(member(2), &bench.mine);
    let again = bench.set.hello(&hello, two, &bench.mine, Offset(0), MS);
    assert_eq!(again, HelloReply::Continue { after: Offset(3) });
    bench.set.disconnected(member(2), ONE);
    bench.write(5);
    bench.set.acked(member(2), ONE, Offset(5), 2 * MS);
    assert_eq!(bench.mark(), 3, "said on the old one");
    bench.set.acked(member(2), two, Offset(4), 2 * MS);
    assert_eq!((bench.mark(), bench.set.acked_by(member(2))), (4, Some(Offset(4))));
    // A full sync that the old one carried says nothing of what it holds now.
    bench.set.disconnected(member(2), two);
    bench.set.synced(member(2), ONE, Offset(5), 3 * MS);
    assert_eq!(bench.set.acked_by(member(2)), None);
}

#[test]
fn a_new_life_that_the_map_does_not_know_yet_is_kept() {
    let mut bench = Bench::new();
    let again = Member::new(NodeId(2), Incarnation(2));
    bench.set.hello(&greeting(again, &History::default()), ONE, &bench.mine, Offset(0), 0);
    bench.learn(0);
    bench.set.acked(again, ONE, Offset(0), 0);
    assert_eq!(bench.set.acked_by(again), Some(Offset(0)));
    let refused = bench.commit(0).map(|c| c.1);
    assert!(matches!(refused, Some(MapReply::Refused(Refusal::NotCurrent(_)))), "{refused:?}");
}

#[test]
fn a_deposed_primary_counts_nothing() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(1) });
    let shard = &bench.map.shards[&S];
    let promote = MapCommand::Promote {
        shard: S,
        expected_term: Term(1),
        expected_set_version: shard.set_version,
        new_term: Term(2),
        primary: member(2),
        in_sync: BTreeSet::from([member(2)]),
        handed_back: false,
        cost: PromotionCost::default(),
        reign: 0,
    };
    assert_eq!(bench.map.apply(promote), MapReply::Done);
    bench.learn(0);
    bench.write(1);
    bench.set.acked(member(2), ONE, Offset(1), 0);
    assert!(bench.set.is_deposed() && !bench.set.can_ack_in_sync());
    assert_eq!((bench.mark(), bench.set.propose(900 * MS)), (0, None));
    assert_eq!(bench.hello(3, &History::default(), 0), HelloReply::NotPrimary { term: Term(1) });
}

/// It may lack what a primary before has acknowledged, whatever mark is known.
#[test]
fn who_takes_a_long_record_does_not_come_into_the_set_by_that() {
    let map = map();
    let mine = history(1, 9);
    let mut set = ReplicaSet::new(member(1), &map, &map.shards[&S], Offset(9), Offset(2), 0);
    set.hello(&greeting(member(2), &history(1, 5)), ONE, &mine, Offset(0), 0);
    set.appended(Offset(10));
    set.takes(member(2), ONE, 60_000 * MS);
    set.acked(member(2), ONE, Offset(5), 1_000 * MS);
    assert_eq!(set.propose(1_000 * MS), None, "it holds five of nine");
}

/// A record of hundreds of megabytes takes longer than the time-out: who gets on with it stays.
#[test]
fn who_takes_a_long_record_is_not_behind() {
    let mut bench = Bench::new();
    bench.joined(0);
    bench.write(1);
    for now in [300, 600, 900] {
        bench.set.takes(member(2), ONE, now * MS);
        bench.set.acked(member(2), ONE, Offset(0), now * MS);
        assert_eq!(bench.set.propose((now + 300) * MS), None);
    }
    // What it has not acknowledged it does not hold.
    assert_eq!(bench.mark(), 0);
    // On another connection nothing is taken, and who stands still leaves.
    bench.set.takes(member(2), StreamId(7), 2_000 * MS);
    assert_eq!(bench.commit(1_500 * MS).map(|c| c.1), Some(MapReply::Done));
    assert!(!bench.map.shards[&S].in_sync.contains(&member(2)));
}

impl Bench {
    /// n2 has come in sync, fell silent and left, wrote what nobody else has, and had to leave the eligible ones too: what
    /// it has is not behind the primary's backlog. Now it holds everything up to `at`, whole, at 3 s.
    fn came_back(&mut self, at: u64) {
        self.joined(0);
        self.write(3);
        self.set.acked(member(2), ONE, Offset(3), 0);
        assert_eq!(self.commit(600 * MS).map(|c| c.1), Some(MapReply::Done));
        self.learn(601 * MS);
        self.write(9);
        assert_eq!(self.hello_behind(602 * MS), HelloReply::Wait, "it may be promoted");
        assert_eq!(self.commit(700 * MS).map(|c| c.1), Some(MapReply::Done));
        self.learn(701 * MS);
        assert!(!self.map.shards[&S].is_candidate(member(2)));
        assert_eq!(self.hello_behind(702 * MS), HelloReply::Resync { common: Offset(3) });
        self.set.synced(member(2), ONE, Offset(at), 3_000 * MS);
    }

    /// n2 says hello with less than the backlog goes back to.
    fn hello_behind(&mut self, now: u64) -> HelloReply {
        self.set.hello(&greeting(member(2), &history(1, 3)), ONE, &self.mine, Offset(8), now)
    }

    fn eligible(&self, id: u64) -> bool {
        self.map.shards[&S].eligible.contains(&member(id))
    }
}

#[test]
fn who_came_back_is_eligible_although_too_slow_to_be_in_sync() {
    let mut bench = Bench::new();
    bench.came_back(9);
    bench.write(50);
    assert_eq!(bench.set.propose(3_001 * MS), None, "it may be in sync in a moment");
    assert_eq!(bench.commit(3_200 * MS).map(|c| c.1), Some(MapReply::Done));
    assert!(bench.eligible(2));
    bench.learn(3_201 * MS);
    assert_eq!(bench.map.shards[&S].in_sync, BTreeSet::from([member(1)]));
    assert_eq!((bench.mark(), bench.set.propose(9_000 * MS)), (3, None), "once is enough");
    // In sync it counts for the mark, and the eligible ones do no more.
    bench.set.acked(member(2), ONE, Offset(50), 9_001 * MS);
    assert_eq!(bench.commit(9_001 * MS).map(|c| c.1), Some(MapReply::Done));
    bench.learn(9_002 * MS);
    assert_eq!((bench.mark(), bench.eligible(2)), (50, false));
}

#[test]
fn who_is_below_the_mark_or_not_verified_is_not_eligible() {
    let mut bench = Bench::new();
    bench.came_back(2);
    assert_eq!(bench.set.propose(3_200 * MS), None, "the mark is at 3");
    bench.set.acked(member(2), ONE, Offset(3), 3_200 * MS);
    bench.set.disconnected(member(2), ONE);
    assert_eq!(bench.set.propose(3_201 * MS), None);
}

#[test]
fn what_others_acknowledged_before_counts_although_the_new_primary_knows_no_mark() {
    let map = map();
    // n1 wrote nine records as a replica, in sync for all of them; its primary's last mark did not reach it.
    let mine = history(1, 9);
    let now = 60_000 * MS;
    let mut set = ReplicaSet::new(member(1), &map, &map.shards[&S], Offset(9), Offset(2), now);
    set.hello(&greeting(member(2), &history(1, 5)), ONE, &mine, Offset(0), now);
    assert_eq!(set.high_water_mark(), Offset(2));
    assert_eq!(set.propose(now + 200 * MS), None, "any of nine may have been acknowledged");
    set.appended(Offset(20));
    set.acked(member(2), ONE, Offset(9), now);
    let proposal = set.propose(now + 900 * MS).expect("it holds all that may have been");
    let eligible =
        matches!(proposal.command, MapCommand::ProposeSet { eligible, .. } if !eligible.is_empty());
    assert!(eligible);
}

#[test]
fn who_may_be_eligible_by_an_open_proposal_discards_nothing() {
    let mut bench = Bench::new();
    bench.came_back(9);
    bench.write(50);
    // The commit is not known to the primary when the replica comes again, farther behind than the backlog.
    assert_eq!(bench.commit(3_200 * MS).map(|c| c.1), Some(MapReply::Done));
    assert_eq!(bench.hello_behind(3_201 * MS), HelloReply::Wait);
    bench.learn(3_202 * MS);
    assert_eq!(bench.hello_behind(3_203 * MS), HelloReply::Wait);
    assert_eq!(bench.commit(3_204 * MS).map(|c| c.1), Some(MapReply::Done));
    assert!(!bench.eligible(2));
    bench.learn(3_205 * MS);
    assert_eq!(bench.hello_behind(3_206 * MS), HelloReply::Resync { common: Offset(3) });
}
