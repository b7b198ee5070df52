//! Rules of the controller, stepped by hand. The simulation goes much further.

use super::*;
use crate::ids::{Incarnation, Member, NodeId, Offset, Position, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, MapReply, NodeInfo, Settings};
use crate::message::{Denial, Heartbeat, HeartbeatReply, SealReply, ShardReport};
use std::sync::Arc;

const S: ShardId = ShardId(0);
const MS: u64 = 1_000_000;

fn member(id: u64) -> Member {
    Member::new(NodeId(id), Incarnation(1))
}

/// A controller with its map; proposals are applied at once.
struct Bench {
    map: ClusterMap,
    controller: Controller,
    now: u64,
    replies: Vec<HeartbeatReply>,
    seals: Vec<(Member, Term)>,
    commands: Vec<MapCommand>,
    stories: Vec<String>,
    sent: u64,
    confirm: bool,
}

impl Bench {
    fn new(nodes: u64) -> Bench {
        let mut map = ClusterMap::default();
        for id in 1..=nodes {
            let info = NodeInfo {
                id: NodeId(id),
                incarnation: Incarnation(1),
                host: "h".into(),
                weight: 1,
                ..NodeInfo::default()
            };
            map.apply(MapCommand::RegisterNode { info });
        }
        let replicas = nodes as u8 - 1;
        map.apply(MapCommand::InitCluster {
            name: "t".into(),
            shards: 1,
            replicas,
            settings: Settings::default(),
        });
        let controller = Controller::new(Arc::new(map.clone()));
        let mut bench = Bench {
            map,
            controller,
            now: 1_000 * MS,
            replies: vec![],
            seals: vec![],
            commands: vec![],
            stories: vec![],
            sent: 0,
            confirm: true,
        };
        bench.step(Event::BecameLeader);
        bench
    }

    fn step(&mut self, event: Event) {
        let mut decisions = self.controller.step(self.now, event);
        while !decisions.is_empty() {
            let mut next = Vec::new();
            for decision in decisions {
                match decision {
                    Decision::ConfirmLeadership { batch } if self.confirm => {
                        next.extend(self.controller.step(self.now, Event::Confirmed { batch }));
                    }
                    Decision::ConfirmLeadership { .. } => {}
                    Decision::Story { text, .. } => self.stories.push(text),
                    Decision::Reply(reply) => self.replies.push(reply),
                    Decision::Seal { to, request } => self.seals.push((to, request.term)),
                    Decision::Propose { id, command } => {
                        self.commands.push(command.clone());
                        let outcome = Some(self.map.apply(command));
                        let map = Arc::new(self.map.clone());
                        next.extend(self.controller.step(self.now, Event::MapChanged(map)));
                        next.extend(self.controller.step(self.now, Event::Proposed { id, outcome }));
                    }
                }
            }
            decisions = next;
        }
    }

    fn apply(&mut self, command: MapCommand) -> MapReply {
        let reply = self.map.apply(command);
        self.step(Event::MapChanged(Arc::new(self.map.clone())));
        reply
    }

    fn beat(&mut self, id: u64, wants_lease: bool, handed_back: bool) -> HeartbeatReply {
        self.beat_of(id, wants_lease, handed_back, true)
    }

    fn beat_of(&mut self, id: u64, wants_lease: bool, handed_back: bool, healthy: bool) -> HeartbeatReply {
        self.sent += 1;
        let term = self.map.shards[&S].term;
        let report = ShardReport {
            shard: S,
            term,
            last: Position::ZERO,
            whole: true,
            mark: Offset(0),
            wants_lease,
            handed_back,
        };
        self.step(Event::Heartbeat(Heartbeat {
            from: member(id),
            sent_id: self.sent,
            epoch: self.map.epoch,
            healthy,
            leaving: false,
            shards: vec![report],
        }));
        self.replies.last().cloned().expect("a reply")
    }

    fn wait(&mut self, ms: u64) {
        self.now += ms * MS;
        self.step(Event::Tick);
    }

    fn seal(&mut self, id: u64, term: Term, last: (u64, u64)) {
        let last = Position::new(Term(last.0), Offset(last.1));
        self.step(Event::SealReply(SealReply { from: member(id), shard: S, term, last }));
    }

    /// n1 is primary of the first term, all others in-sync.
    fn started(nodes: u64) -> Bench {
        let mut bench = Bench::new(nodes);
        bench.beat(1, false, false);
        bench.wait(1);
        assert_eq!(bench.map.shards[&S].primary, Some(member(1)));
        let shard = &bench.map.shards[&S];
        let command = MapCommand::ProposeSet {
            shard: S,
            term: shard.term,
            by: member(1),
            expected_set_version: shard.set_version,
            in_sync: (1..=nodes).map(member).collect(),
            discard: Default::default(),
            eligible: Default::default(),
        };
        assert_eq!(bench.apply(command), MapReply::Done);
        bench
    }
}

#[test]
fn a_renewal_needs_a_confirmed_leadership() {
    let mut bench = Bench::started(2);
    bench.confirm = false;
    let before = bench.replies.len();
    bench.step(Event::Heartbeat(Heartbeat {
        from: member(1),
        sent_id: 90,
        epoch: bench.map.epoch,
        healthy: true,
        leaving: false,
        shards: vec![],
    }));
    assert_eq!(bench.replies.len(), before);
}

#[test]
fn the_primary_is_granted_and_nobody_else() {
    let mut bench = Bench::started(2);
    assert_eq!(bench.beat(1, true, false).grants.len(), 1);
    assert_eq!(bench.beat(2, true, false).denials, vec![(S, Denial::NotPrimary)]);
}

#[test]
fn promotion_waits_for_the_lease_and_takes_the_highest_position() {
    let mut bench = Bench::started(3);
    bench.wait(600);
    bench.beat(1, true, false);
    for _ in 0..4 {
        bench.wait(100);
        bench.beat(2, false, false);
        bench.beat(3, false, false);
    }
    bench.wait(100);
    assert_eq!(bench.seals, vec![], "the lease may be valid for half a thousandth longer");
    bench.wait(1);
    let term = Term(2);
    assert_eq!(bench.seals, vec![(member(1), term), (member(2), term), (member(3), term)]);
    assert_eq!(bench.beat(1, true, false).denials, vec![(S, Denial::FailoverPending)]);
    bench.wait(1);
    // n1 is back: its answer is awaited as well.
    bench.seal(2, term, (1, 5));
    bench.seal(3, term, (1, 7));
    assert_eq!(bench.map.shards[&S].term, Term(1));
    bench.seal(1, term, (1, 6));
    let shard = &bench.map.shards[&S];
    assert_eq!((shard.term, shard.primary), (term, Some(member(3))));
    assert_eq!(shard.in_sync.len(), 3, "they hold a part of its history");
    assert_eq!(bench.controller.failovers(), 0);
}

#[test]
fn who_does_not_answer_is_waited_for_a_moment() {
    let mut bench = Bench::started(3);
    bench.wait(600);
    for id in 1..=3 {
        bench.beat(id, false, false);
    }
    bench.wait(0);
    let term = Term(2);
    bench.seal(2, term, (1, 5));
    assert_eq!(bench.map.shards[&S].term, Term(1));
    bench.wait(100);
    let shard = &bench.map.shards[&S];
    assert_eq!((shard.term, shard.primary), (term, Some(member(2))));
    assert_eq!(shard.eligible.len(), 2, "the others hold everything up to the mark");
}

#[test]
fn a_lease_given_back_makes_way_at_once() {
    let mut bench = Bench::started(2);
    bench.wait(600);
    bench.beat(1, true, false);
    bench.beat(2, false, false);
    bench.step(Event::FailoverRequested { shard: S, to: None, term: None });
    // The next term is there before the primary stops; no more of its lease is granted.
    assert_eq!(bench.map.shards[&S].pending_term, Some(Term(2)));
    let reply = bench.beat(1, true, false);
    assert_eq!((reply.step_down, reply.grants), (vec![(S, Term(1))], vec![]));
    assert!(bench.seals.is_empty(), "it may still serve");
    bench.beat(1, false, true);
    bench.seal(1, Term(2), (1, 9));
    bench.seal(2, Term(2), (1, 9));
    let shard = &bench.map.shards[&S];
    assert_eq!((shard.term, shard.primary), (Term(2), Some(member(2))));
    assert_eq!(shard.in_sync.len(), 2);
}

#[test]
fn a_wish_does_not_wait_for_a_term_that_is_not_given() {
    let mut bench = Bench::started(2);
    bench.wait(600);
    bench.beat(1, true, false);
    bench.beat(2, false, false);
    // The proposal is lost.
    bench.controller.step(bench.now, Event::FailoverRequested { shard: S, to: None, term: None });
    assert_eq!(bench.beat(1, true, false).step_down, vec![]);
    bench.wait(2 * Settings::default().renew_ms);
    let reply = bench.beat(1, true, false);
    assert_eq!(reply.step_down, vec![(S, Term(1))]);
}

#[test]
fn a_wish_that_is_said_again_moves_the_primary_once() {
    let mut bench = Bench::started(2);
    bench.wait(600);
    bench.beat(1, true, false);
    bench.beat(2, false, false);
    let wish = Event::FailoverRequested { shard: S, to: None, term: Some(Term(1)) };
    bench.step(wish.clone());
    bench.wait(2 * Settings::default().renew_ms);
    bench.step(wish.clone());
    assert_eq!(bench.beat(1, true, false).step_down, vec![(S, Term(1))], "not put off by it");
    bench.beat(1, false, true);
    bench.seal(1, Term(2), (1, 9));
    bench.seal(2, Term(2), (1, 9));
    assert_eq!(bench.map.shards[&S].term, Term(2));
    bench.step(wish);
    bench.beat(1, false, false);
    assert_eq!(bench.beat(2, true, false).step_down, vec![], "its term is over");
    assert_eq!(bench.map.shards[&S].pending_term, None);
}

#[test]
fn a_primary_that_asks_keeps_its_shard_while_the_quorum_is_slow() {
    let mut bench = Bench::started(2);
    bench.wait(600);
    bench.beat(1, true, false);
    bench.beat(2, false, false);
    bench.confirm = false;
    bench.commands.clear();
    let lease_ms = bench.map.settings.lease_bound_ns() / MS + 1;
    for _ in 0..lease_ms.div_ceil(100) {
        bench.wait(100);
        bench.beat(1, true, false);
        bench.beat(2, false, false);
    }
    assert_eq!(bench.commands, [], "its lease is over, and it asks for the next");
    // One that asks no more is replaced, whether confirmations come or not.
    for _ in 0..2 * lease_ms.div_ceil(100) {
        bench.wait(100);
        bench.beat(2, false, false);
    }
    assert!(matches!(bench.commands[..], [MapCommand::AllocateTerm { .. }]), "{:?}", bench.commands);
}

/// Its agent goes on and asks, but a worker hangs: nobody would be served.
#[test]
fn a_primary_whose_worker_hangs_is_replaced_by_one_that_is_fit() {
    let mut bench = Bench::started(3);
    bench.wait(600);
    bench.beat(1, true, false);
    let lease_ms = bench.map.settings.lease_bound_ns() / MS + 1;
    for _ in 0..lease_ms.div_ceil(100) {
        bench.wait(100);
        assert_eq!(bench.beat_of(1, true, false, false).grants, []);
        bench.beat_of(2, false, false, false);
        bench.beat(3, false, false);
    }
    let term = bench.map.shards[&S].pending_term.expect("its lease is over");
    bench.seal(1, term, (1, 9));
    bench.seal(2, term, (1, 9));
    bench.seal(3, term, (1, 8));
    assert_eq!(bench.map.shards[&S].primary, Some(member(3)), "the second hangs as well");
}

#[test]
fn a_shard_that_nobody_remembers_starts_empty() {
    let mut bench = Bench::started(2);
    for id in [1, 2] {
        let mut info = bench.map.nodes[&NodeId(id)].clone();
        info.incarnation = Incarnation(2);
        bench.apply(MapCommand::RegisterNode { info });
    }
    bench.wait(600);
    bench.step(Event::Heartbeat(Heartbeat {
        from: Member::new(NodeId(1), Incarnation(2)),
        sent_id: 1,
        epoch: bench.map.epoch,
        healthy: true,
        leaving: false,
        shards: vec![],
    }));
    bench.wait(1);
    for _ in 0..5 {
        assert_eq!(bench.resets(), 0, "n2 may have something to say");
        bench.wait(100);
        bench.says(1, 0, true);
    }
    bench.wait(1);
    let shard = &bench.map.shards[&S];
    assert_eq!((shard.term, shard.resets), (Term(2), 1));
    assert_eq!(shard.primary, Some(Member::new(NodeId(1), Incarnation(2))));
}

#[test]
fn a_set_that_changed_meanwhile_is_sealed_again() {
    let mut bench = Bench::started(3);
    bench.wait(600);
    for id in 1..=3 {
        bench.beat(id, false, false);
    }
    bench.wait(0);
    bench.seal(2, Term(2), (1, 5));
    // n2 restarts: what it sealed is gone.
    let mut info = bench.map.nodes[&NodeId(2)].clone();
    info.incarnation = Incarnation(2);
    bench.apply(MapCommand::RegisterNode { info });
    bench.wait(150);
    assert_eq!(bench.map.shards[&S].term, Term(1), "nobody who counts has sealed");
    bench.seal(3, Term(2), (1, 4));
    bench.wait(100);
    assert_eq!(bench.map.shards[&S].primary, Some(member(3)));
}

impl Bench {
    /// n1 was alone in the set of three and comes back empty; its lease is over.
    fn forgotten() -> Bench {
        let mut bench = Bench::started(3);
        let command = MapCommand::ProposeSet {
            shard: S,
            term: Term(1),
            by: member(1),
            expected_set_version: bench.map.shards[&S].set_version,
            in_sync: [member(1)].into(),
            discard: [member(2), member(3)].into(),
            eligible: Default::default(),
        };
        assert_eq!(bench.apply(command), MapReply::Done);
        bench.wait(600);
        let mut info = bench.map.nodes[&NodeId(1)].clone();
        info.incarnation = Incarnation(2);
        bench.apply(MapCommand::RegisterNode { info });
        assert!(bench.map.shards[&S].is_forgotten());
        bench.says(1, 0, true);
        bench.wait(1);
        assert_eq!(bench.controller.failovers(), 1);
        bench
    }

    /// A heartbeat of whoever is registered, which holds records up to `last`.
    fn says(&mut self, id: u64, last: u64, whole: bool) {
        self.sent += 1;
        let term = if last == 0 { Term::NONE } else { Term(1) };
        let report = ShardReport {
            shard: S,
            term: Term(1),
            last: Position::new(term, Offset(last)),
            whole,
            mark: Offset(0),
            wants_lease: false,
            handed_back: false,
        };
        self.step(Event::Heartbeat(Heartbeat {
            from: self.map.nodes[&NodeId(id)].member(),
            sent_id: self.sent,
            epoch: self.map.epoch,
            healthy: true,
            leaving: false,
            shards: vec![report],
        }));
    }

    fn resets(&self) -> u64 {
        self.map.shards[&S].resets
    }

    /// What the controller told of waiting.
    fn waits(&self) -> Vec<&String> {
        self.stories.iter().filter(|text| text.contains("waits for a person")).collect()
    }
}

#[test]
fn a_shard_that_an_outsider_remembers_waits_for_a_person() {
    let mut bench = Bench::forgotten();
    for _ in 0..30 {
        bench.wait(100);
        bench.says(1, 0, true);
        bench.says(2, 7, true);
        bench.says(3, 5, true);
    }
    assert_eq!((bench.resets(), bench.map.shards[&S].term), (0, Term(1)));
    assert_eq!(bench.waits().len(), 1, "told once: {:?}", bench.stories);
    let told = bench.waits()[0].clone();
    assert!(told.contains("n2/1 remembers up to 1:7"), "{told}");
    assert!(told.contains("torc cluster failover-unclean 0 --to 2 --lose-writes"), "{told}");
    // Another state is told as well. Who is silent has not forgotten.
    let mut info = bench.map.nodes[&NodeId(2)].clone();
    info.incarnation = Incarnation(2);
    bench.apply(MapCommand::RegisterNode { info });
    for _ in 0..30 {
        bench.wait(100);
        bench.says(1, 0, true);
        bench.says(2, 0, true);
    }
    assert_eq!((bench.resets(), bench.waits().len()), (0, 2));
    assert!(bench.waits()[1].contains("--to 3"));
    bench.step(Event::UncleanRequested { shard: S, to: member(3), term: None });
    let shard = &bench.map.shards[&S];
    assert_eq!((shard.primary, shard.unclean, shard.resets), (Some(member(3)), 1, 0));
}

#[test]
fn a_person_may_choose_to_start_empty() {
    let mut bench = Bench::forgotten();
    bench.says(2, 7, true);
    bench.wait(1);
    assert_eq!(bench.waits().len(), 1);
    // One that is not registered is no answer, and is not tried for ever.
    bench.step(Event::UncleanRequested { shard: S, to: member(1), term: None });
    bench.wait(1);
    assert_eq!(bench.map.shards[&S].term, Term(1));
    let to = Member::new(NodeId(1), Incarnation(2));
    bench.step(Event::UncleanRequested { shard: S, to, term: None });
    assert_eq!(bench.map.shards[&S].primary, Some(to));
}

#[test]
fn a_shard_starts_empty_when_all_have_said_that_they_hold_nothing_whole() {
    let mut bench = Bench::forgotten();
    bench.says(1, 0, true);
    bench.says(2, 7, false);
    bench.wait(1);
    assert_eq!(bench.resets(), 0, "n3 was not asked");
    bench.says(3, 0, true);
    bench.wait(1);
    assert_eq!(bench.resets(), 1);
}

#[test]
fn who_stays_silent_is_waited_for_as_long_as_a_lease() {
    let mut bench = Bench::forgotten();
    // n3 says nothing.
    for _ in 0..5 {
        bench.wait(100);
        bench.says(1, 0, true);
        bench.says(2, 0, true);
    }
    assert_eq!(bench.resets(), 0);
    bench.wait(1);
    assert_eq!(bench.resets(), 1);
}

#[test]
fn a_new_controller_asks_before_a_shard_starts_empty() {
    let mut bench = Bench::forgotten();
    bench.wait(1);
    bench.says(1, 0, true);
    bench.step(Event::LostLeadership);
    bench.step(Event::BecameLeader);
    let lease_ms = bench.map.lease_bound_ns() / MS + 1;
    bench.wait(lease_ms);
    bench.says(1, 0, true);
    bench.wait(1);
    bench.wait(lease_ms / 2);
    assert_eq!(bench.resets(), 0, "the leases are over, and n2 and n3 had no time to say a word");
    bench.says(3, 5, true);
    bench.wait(1);
    assert_eq!((bench.resets(), bench.waits().len()), (0, 1));
}
