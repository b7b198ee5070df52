//! Rules of a member: sealing, leading, following.

use super::*;
use crate::ids::{Incarnation, NodeId, SetVersion};
use crate::map::{MapCommand, MapReply, NodeInfo, PromotionCost, Settings};
use std::collections::BTreeSet;

const S: ShardId = ShardId(0);
const MS: u64 = 1_000_000;

fn id(node: u64) -> Member {
    Member::new(NodeId(node), Incarnation(1))
}

fn map() -> ClusterMap {
    let mut map = ClusterMap::default();
    for node in 1..=2 {
        let info = NodeInfo {
            id: NodeId(node),
            incarnation: Incarnation(1),
            host: "h".into(),
            weight: 1,
            ..NodeInfo::default()
        };
        map.apply(MapCommand::RegisterNode { info });
    }
    let settings = Settings::default();
    map.apply(MapCommand::InitCluster { name: "t".into(), shards: 1, replicas: 1, settings });
    map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(0) });
    let first = MapCommand::ResetShard {
        reign: 0,
        shard: S,
        expected_term: Term(0),
        new_term: Term(1),
        primary: id(1),
    };
    assert_eq!(map.apply(first), MapReply::Done);
    map
}

/// A primary with a lease until 500 ms, and its replica, both of term 1.
fn pair(map: &ClusterMap) -> (ShardMember, ShardMember) {
    let (mut primary, mut replica) = (ShardMember::new(S, id(1)), ShardMember::new(S, id(2)));
    let change = primary.on_map(map, 0);
    assert_eq!(change, Some(Change::Lead { term: Term(1), empty: true, locks_closed_until_ns: 0 }));
    assert_eq!(replica.on_map(map, 0), Some(Change::Follow { term: Term(1), primary: Some(id(1)) }));
    primary.renewal_sent(1, 0);
    assert!(primary.granted(&Grant { shard: S, term: Term(1), lease_ms: 500 }, 1));
    (primary, replica)
}

fn connect(primary: &mut ShardMember, replica: &mut ShardMember) -> Next {
    let (_, hello) = replica.hello().expect("a primary is known");
    let reply = primary.on_hello(&hello, StreamId(1), Offset(0), 0);
    replica.on_hello_reply(hello.term, &reply)
}

fn seal(term: u64) -> SealRequest {
    SealRequest { shard: S, term: Term(term) }
}

#[test]
fn a_primary_serves_under_its_lease_only() {
    let map = map();
    let (primary, replica) = pair(&map);
    assert!(primary.may_execute(499 * MS) && primary.may_reply(499 * MS));
    assert!(!primary.may_execute(500 * MS) && !primary.may_reply(500 * MS));
    assert!(!replica.may_execute(0));
}

#[test]
fn who_sealed_takes_nothing_from_below_and_serves_nothing() {
    let map = map();
    let (mut primary, mut replica) = pair(&map);
    assert_eq!(connect(&mut primary, &mut replica), Next::Stream { after: Offset(0), clear: false });
    let first = primary.next_position().expect("leads");
    primary.wrote(first.offset).expect("fits");
    assert_eq!(replica.on_record(Term(1), first), Ok(()));
    let reply = replica.on_seal(seal(2)).expect("higher");
    assert_eq!(reply.last, first);
    let second = Position::new(Term(1), Offset(2));
    assert!(matches!(replica.on_record(Term(1), second), Err(RecordRefused::Sealed { .. })));
    assert_eq!(replica.on_seal(seal(1)), None);
    assert_eq!(replica.on_seal(seal(2)), Some(reply), "asked again");
    primary.on_seal(seal(2));
    assert!(!primary.may_execute(0) && !primary.may_reply(0));
    assert_eq!(primary.next_position(), None);
    assert!(primary.report().handed_back);
    assert_eq!(primary.on_map(&map, 0), None, "the map of a sealed term crowns nobody");
}

#[test]
fn a_promoted_replica_keeps_what_it_has() {
    let mut map = map();
    let (mut primary, mut replica) = pair(&map);
    connect(&mut primary, &mut replica);
    primary.wrote(Offset(1)).expect("fits");
    replica.on_record(Term(1), Position::new(Term(1), Offset(1))).expect("fits");
    let propose = MapCommand::ProposeSet {
        shard: S,
        term: Term(1),
        by: id(1),
        expected_set_version: map.shards[&S].set_version,
        in_sync: BTreeSet::from([id(1), id(2)]),
        discard: BTreeSet::new(),
        eligible: BTreeSet::new(),
    };
    assert_eq!(map.apply(propose), MapReply::Done);
    map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(1) });
    let expected_set_version: SetVersion = map.shards[&S].set_version;
    let promote = MapCommand::Promote {
        shard: S,
        expected_term: Term(1),
        expected_set_version,
        new_term: Term(2),
        primary: id(2),
        in_sync: BTreeSet::from([id(2)]),
        handed_back: false,
        cost: PromotionCost::default(),
        reign: 0,
    };
    assert_eq!(map.apply(promote), MapReply::Done);
    assert_eq!(
        replica.on_map(&map, 0),
        Some(Change::Lead { term: Term(2), empty: false, locks_closed_until_ns: 0 })
    );
    assert_eq!(replica.next_position(), Some(Position::new(Term(2), Offset(2))));
    assert!(!replica.may_execute(0), "no lease yet");
    // The old one wrote on; it has to drop that, and leaves the eligible members before.
    primary.wrote(Offset(3)).expect("fits");
    assert_eq!(primary.on_map(&map, 0), Some(Change::Follow { term: Term(2), primary: Some(id(2)) }));
    assert_eq!(connect(&mut replica, &mut primary), Next::Retry);
    let proposal = replica.set_mut().and_then(|set| set.propose(0)).expect("to discard");
    assert_eq!(map.apply(proposal.command), MapReply::Done);
    replica.on_map(&map, 0);
    assert_eq!(connect(&mut replica, &mut primary), Next::Sync { common: Offset(1) });
    assert!(!primary.is_whole());
    assert_eq!(primary.on_seal(seal(3)).map(|reply| reply.last), Some(Position::ZERO), "not whole");
    assert!(!primary.sync_done(Term(2), replica.history().clone(), Offset(1)), "sealed away meanwhile");
}

#[test]
fn who_compares_what_it_holds_is_no_candidate_meanwhile() {
    let map = map();
    let (mut primary, mut replica) = pair(&map);
    connect(&mut primary, &mut replica);
    replica.on_record(Term(1), Position::new(Term(1), Offset(1))).expect("fits");
    primary.wrote(Offset(5)).expect("fits");
    replica.disconnected();
    let (_, mut hello) = replica.hello().expect("a primary is known");
    hello.holds_data = true;
    // The backlog has records after 3 only.
    let reply = primary.on_hello(&hello, StreamId(1), Offset(3), 0);
    assert_eq!(reply, HelloReply::Compare { common: Offset(1), after: Offset(5) });
    let next = replica.on_hello_reply(Term(1), &reply);
    assert_eq!(next, Next::Compare { common: Offset(1), after: Offset(5) });
    assert!(!replica.is_whole() && !replica.is_streaming());
    assert_eq!(
        replica.hello().map(|(_, hello)| hello.history),
        Some(History::default()),
        "cut off: no history"
    );
    assert_eq!(replica.on_seal(seal(2)).map(|reply| reply.last), Some(Position::ZERO), "not whole");
    assert!(!replica.sync_done(Term(1), primary.history().clone(), Offset(5)), "sealed away meanwhile");
    assert!(!replica.is_whole());
}

#[test]
fn half_a_sync_counts_as_nothing() {
    let map = map();
    let (mut primary, mut replica) = pair(&map);
    connect(&mut primary, &mut replica);
    replica.on_record(Term(1), Position::new(Term(1), Offset(1))).expect("fits");
    replica.disconnected();
    // The primary has another record there: the replica has to start over, and is cut off in the middle.
    let (_, hello) = replica.hello().expect("a primary is known");
    assert_eq!(primary.on_hello(&hello, StreamId(1), Offset(0), 0), HelloReply::Resync { common: Offset(0) });
    assert_eq!(
        replica.on_hello_reply(Term(1), &HelloReply::Resync { common: Offset(0) }),
        Next::Sync { common: Offset(0) }
    );
    replica.disconnected();
    assert_eq!(replica.hello().map(|(_, hello)| hello.history), Some(History::default()));
    // An answer to something else does not make it whole.
    assert_eq!(replica.on_hello_reply(Term(1), &HelloReply::Continue { after: Offset(3) }), Next::Retry);
    assert!(!replica.is_whole());
    assert_eq!(replica.hello().map(|(_, hello)| hello.history), Some(History::default()));
    let next = replica.on_hello_reply(Term(1), &HelloReply::Continue { after: Offset(0) });
    assert_eq!(next, Next::Stream { after: Offset(0), clear: true });
    assert!(replica.is_whole() && replica.is_streaming());
}

#[test]
fn stepping_down_waits_for_the_in_sync_set_but_not_for_ever() {
    let map = map();
    let (mut primary, _) = pair(&map);
    primary.wrote(Offset(1)).expect("fits");
    primary.step_down(Term(9), 0);
    assert!(primary.may_execute(0), "another term was meant");
    primary.step_down(Term(1), 0);
    assert!(!primary.may_execute(0) && primary.may_reply(0));
    assert!(!primary.tick(MS, 100 * MS, false), "not all that was executed is known");
    assert!(primary.tick(MS, 100 * MS, true), "alone in the set it holds everything");
    assert!(!primary.may_reply(MS) && primary.report().handed_back);
    assert!(!primary.tick(2 * MS, 100 * MS, true), "once");
}

/// A shard forgets everything, and fails over a moment later: who leads then knows as little of the locks that were
/// held before as who led first.
#[test]
fn a_failover_does_not_open_the_locks_that_a_loss_closed() {
    let mut map = map();
    let again = |node| Member::new(NodeId(node), Incarnation(2));
    let mut second = ShardMember::new(S, again(2));
    for node in 1..=2 {
        let mut info = map.nodes[&NodeId(node)].clone();
        info.incarnation = Incarnation(2);
        assert_eq!(map.apply(MapCommand::RegisterNode { info }), MapReply::Done);
    }
    assert!(second.on_map(&map, 0).is_some());
    map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(1) });
    let (expected_term, new_term, primary) = (Term(1), Term(2), again(1));
    let reset = MapCommand::ResetShard { reign: 0, shard: S, expected_term, new_term, primary };
    assert_eq!(map.apply(reset), MapReply::Done);
    let ttl_ns = map.settings.max_lock_ttl_ms * MS;
    let mut first = ShardMember::new(S, again(1));
    let closed = Change::Lead { term: Term(2), empty: true, locks_closed_until_ns: 10 + ttl_ns };
    assert_eq!(first.on_map(&map, 10), Some(closed));
    assert!(second.on_map(&map, 20).is_some());
    // Started after the loss: one goes on from nothing, the other learns the rest by a full sync.
    let (mut late, mut synced) = (ShardMember::new(S, again(2)), ShardMember::new(S, again(2)));
    assert!(late.on_map(&map, 30).is_some() && synced.on_map(&map, 30).is_some());
    synced.hello();
    synced.on_hello_reply(Term(2), &HelloReply::Resync { common: Offset(0) });
    assert!(synced.sync_done(Term(2), History::default(), Offset(0)));
    // The other one is taken in, and leads next.
    let set = &map.shards[&S];
    let propose = MapCommand::ProposeSet {
        shard: S,
        term: Term(2),
        by: again(1),
        expected_set_version: set.set_version,
        in_sync: BTreeSet::from([again(1), again(2)]),
        discard: BTreeSet::new(),
        eligible: BTreeSet::new(),
    };
    assert_eq!(map.apply(propose), MapReply::Done);
    map.apply(MapCommand::AllocateTerm { shard: S, expected_term: Term(2) });
    let promote = MapCommand::Promote {
        shard: S,
        expected_term: Term(2),
        expected_set_version: map.shards[&S].set_version,
        new_term: Term(3),
        primary: again(2),
        in_sync: BTreeSet::from([again(2)]),
        handed_back: true,
        reign: 0,
        cost: PromotionCost::default(),
    };
    assert_eq!(map.apply(promote), MapReply::Done);
    let still = Change::Lead { term: Term(3), empty: false, locks_closed_until_ns: 20 + ttl_ns };
    assert_eq!(second.on_map(&map, 1_000 * MS), Some(still));
    let lead = |locks_closed_until_ns| Change::Lead { term: Term(3), empty: false, locks_closed_until_ns };
    assert_eq!(late.on_map(&map, 1_000 * MS), Some(lead(30 + ttl_ns)));
    assert_eq!(synced.on_map(&map, 1_000 * MS), Some(lead(0)));
}
