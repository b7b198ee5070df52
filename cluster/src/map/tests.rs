//! Rules of `apply`.

use super::*;
use crate::ids::{Incarnation, SetVersion};
use std::collections::BTreeSet;

pub(crate) fn node(id: u64, incarnation: u64) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        incarnation: Incarnation(incarnation),
        host: "127.0.0.1".into(),
        port: 7000 + id as u16,
        bus_port: 17000 + id as u16,
        zone: format!("z{}", id % 2),
        weight: 1,
        ..NodeInfo::default()
    }
}

fn member(id: u64, incarnation: u64) -> Member {
    Member::new(NodeId(id), Incarnation(incarnation))
}

fn map(nodes: u64, shards: u16, replicas: u8) -> ClusterMap {
    let mut map = ClusterMap::default();
    for id in 1..=nodes {
        assert_eq!(map.apply(MapCommand::RegisterNode { info: node(id, 1) }), MapReply::Done);
    }
    let reply = map.apply(MapCommand::InitCluster {
        name: "test".into(),
        shards,
        replicas,
        settings: Settings::default(),
    });
    assert_eq!(reply, MapReply::Done);
    map
}

const S0: ShardId = ShardId(0);

fn term(map: &mut ClusterMap, expected: u64) -> Term {
    match map.apply(MapCommand::AllocateTerm { shard: S0, expected_term: Term(expected) }) {
        MapReply::Term(term) => term,
        other => panic!("{other:?}"),
    }
}

fn reset(map: &mut ClusterMap, expected: u64, primary: Member) -> MapReply {
    let new_term = term(map, expected);
    map.apply(MapCommand::ResetShard {
        reign: 0,
        shard: S0,
        expected_term: Term(expected),
        new_term,
        primary,
    })
}

fn propose(map: &mut ClusterMap, by: Member, set: &[Member]) -> MapReply {
    let shard = &map.shards[&S0];
    map.apply(MapCommand::ProposeSet {
        shard: S0,
        term: shard.term,
        by,
        expected_set_version: shard.set_version,
        in_sync: set.iter().copied().collect(),
        discard: BTreeSet::new(),
        eligible: BTreeSet::new(),
    })
}

#[test]
fn shards_spread_over_nodes_and_zones() {
    let map = map(6, 3, 1);
    let firsts: BTreeSet<_> = map.shards.values().map(|shard| shard.members[0]).collect();
    assert_eq!(firsts.len(), 3);
    let mut all = BTreeSet::new();
    for shard in map.shards.values() {
        assert_eq!(shard.members.len(), 2);
        assert_ne!(shard.members[0].0 % 2, shard.members[1].0 % 2, "{shard:?} lies in one zone");
        all.extend(shard.members.iter().copied());
    }
    assert_eq!(all.len(), 6, "every node has one shard");
    assert_eq!(map.slots.assigned(), usize::from(crate::SLOTS));
}

#[test]
fn a_late_node_fills_what_is_missing() {
    let mut map = map(2, 1, 1);
    map.shards.get_mut(&S0).expect("exists").replicas_wanted = 2;
    map.apply(MapCommand::RegisterNode { info: node(9, 1) });
    assert_eq!(map.shards[&S0].members.len(), 3);
}

#[test]
fn terms_rise_over_all_shards_and_a_pending_one_is_kept() {
    let mut map = map(4, 2, 1);
    let first = term(&mut map, 0);
    assert_eq!(term(&mut map, 0), first);
    let other = map.apply(MapCommand::AllocateTerm { shard: ShardId(1), expected_term: Term(0) });
    assert_eq!(other, MapReply::Term(Term(first.0 + 1)));
    map.last_term = Term::MAX;
    map.shards.get_mut(&S0).expect("exists").pending_term = None;
    let reply = map.apply(MapCommand::AllocateTerm { shard: S0, expected_term: Term(0) });
    assert_eq!(reply, MapReply::Refused(Refusal::TermsExhausted));
}

#[test]
fn the_first_start_is_no_reset() {
    let mut map = map(2, 1, 1);
    assert_eq!(reset(&mut map, 0, member(1, 1)), MapReply::Done);
    let shard = &map.shards[&S0];
    assert_eq!((shard.resets, shard.failovers, shard.reset_term), (0, 0, None));
    assert_eq!(shard.primary, Some(member(1, 1)));
}

#[test]
fn a_shrink_below_the_minimum_keeps_the_leaver_eligible() {
    let mut map = map(3, 1, 2);
    reset(&mut map, 0, member(1, 1));
    let (a, b, c) = (member(1, 1), member(2, 1), member(3, 1));
    assert_eq!(propose(&mut map, a, &[a, b, c]), MapReply::Done);
    assert_eq!(propose(&mut map, a, &[a, b]), MapReply::Done);
    assert!(map.shards[&S0].eligible.is_empty(), "two are enough: c may fall behind the mark");
    assert_eq!(propose(&mut map, a, &[a]), MapReply::Done);
    assert_eq!(map.shards[&S0].eligible, BTreeSet::from([b]));
    assert_eq!(propose(&mut map, a, &[a, c]), MapReply::Done);
    assert!(map.shards[&S0].eligible.is_empty(), "the mark moves again, without b");
}

#[test]
fn only_the_primary_of_the_term_and_version_changes_the_set() {
    let mut map = map(2, 1, 1);
    reset(&mut map, 0, member(1, 1));
    let (a, b) = (member(1, 1), member(2, 1));
    assert_eq!(propose(&mut map, b, &[a, b]), MapReply::Refused(Refusal::NotPrimary(b)));
    let version = map.shards[&S0].set_version;
    assert_eq!(propose(&mut map, a, &[a, b]), MapReply::Done);
    let stale = map.apply(MapCommand::ProposeSet {
        shard: S0,
        term: map.shards[&S0].term,
        by: a,
        expected_set_version: version,
        in_sync: BTreeSet::from([a]),
        discard: BTreeSet::new(),
        eligible: BTreeSet::new(),
    });
    assert!(matches!(stale, MapReply::Refused(Refusal::StaleSetVersion { .. })), "{stale:?}");
    assert_eq!(propose(&mut map, a, &[b]), MapReply::Refused(Refusal::SetWithoutPrimary));
    assert_eq!(
        propose(&mut map, a, &[a, member(2, 7)]),
        MapReply::Refused(Refusal::NotCurrent(member(2, 7)))
    );
}

#[test]
fn another_minimum_makes_old_proposals_stale() {
    let mut map = map(2, 1, 1);
    reset(&mut map, 0, member(1, 1));
    let version = map.shards[&S0].set_version;
    let settings = Settings { min_in_sync: 1, ..Settings::default() };
    map.apply(MapCommand::SetSettings { settings });
    assert!(map.shards[&S0].set_version > version);
}

#[test]
fn promotion_is_a_compare_and_set_from_the_candidates() {
    let mut map = map(3, 1, 2);
    reset(&mut map, 0, member(1, 1));
    let (a, b, c) = (member(1, 1), member(2, 1), member(3, 1));
    propose(&mut map, a, &[a, b]);
    let new_term = term(&mut map, 1);
    let version = map.shards[&S0].set_version;
    let promote = |primary: Member, version: SetVersion, new_term: Term| MapCommand::Promote {
        shard: S0,
        expected_term: Term(1),
        expected_set_version: version,
        new_term,
        primary,
        in_sync: BTreeSet::from([primary]),
        handed_back: false,
        cost: PromotionCost::default(),
        reign: 0,
    };
    assert_eq!(map.apply(promote(c, version, new_term)), MapReply::Refused(Refusal::NotCandidate(c)));
    let unknown = Term(new_term.0 + 1);
    assert_eq!(
        map.apply(promote(b, version, unknown)),
        MapReply::Refused(Refusal::TermNotAllocated(unknown))
    );
    let stale = map.apply(promote(b, SetVersion(version.0 - 1), new_term));
    assert!(matches!(stale, MapReply::Refused(Refusal::StaleSetVersion { .. })));
    assert_eq!(propose(&mut map, a, &[a]), MapReply::Refused(Refusal::FailoverPending(new_term)));
    assert_eq!(map.apply(promote(b, version, new_term)), MapReply::Done);
    let shard = &map.shards[&S0];
    assert_eq!((shard.term, shard.primary, shard.failovers), (new_term, Some(b), 1));
    assert_eq!(shard.eligible, BTreeSet::from([a]), "the old primary still holds everything up to the mark");
    assert_eq!(
        map.apply(promote(b, version, new_term)),
        MapReply::Refused(Refusal::StaleTerm { current: new_term })
    );
}

#[test]
fn a_shard_is_reset_only_when_every_incarnation_is_gone() {
    let mut map = map(2, 1, 1);
    reset(&mut map, 0, member(1, 1));
    let (a, b) = (member(1, 1), member(2, 1));
    propose(&mut map, a, &[a, b]);
    map.apply(MapCommand::RegisterNode { info: node(1, 2) });
    assert_eq!(map.shards[&S0].in_sync, BTreeSet::from([b]));
    assert_eq!(reset(&mut map, 1, member(1, 2)), MapReply::Refused(Refusal::StillRemembered(b)));
    map.apply(MapCommand::RegisterNode { info: node(2, 2) });
    assert_eq!(reset(&mut map, 1, b), MapReply::Refused(Refusal::NotCurrent(b)));
    assert_eq!(reset(&mut map, 1, member(2, 2)), MapReply::Done);
    assert_eq!((map.shards[&S0].resets, map.shards[&S0].reset_term), (1, Some(Term(2))));
}

#[test]
fn an_older_incarnation_is_refused() {
    let mut map = map(2, 1, 1);
    map.apply(MapCommand::RegisterNode { info: node(1, 5) });
    let reply = map.apply(MapCommand::RegisterNode { info: node(1, 4) });
    assert!(matches!(reply, MapReply::Refused(Refusal::StaleIncarnation { .. })));
}

#[test]
fn the_epoch_rises_with_changes_only() {
    let mut map = map(2, 1, 1);
    let epoch = map.epoch;
    map.apply(MapCommand::RegisterNode { info: node(1, 1) });
    map.apply(MapCommand::RemoveShard { shard: S0 });
    assert_eq!(map.epoch, epoch);
    map.apply(MapCommand::SetWeight { shard: S0, weight: 2 });
    assert_eq!(map.epoch.0, epoch.0 + 1);
}

#[test]
fn the_longest_prefix_wins() {
    let mut map = ClusterMap::default();
    for (prefix, no_evict) in [("lock:", false), ("lock:a", true), ("", false)] {
        map.apply(MapCommand::SetPolicy {
            policy: Policy { prefix: prefix.into(), no_evict, ..Policy::default() },
        });
    }
    assert!(map.policy_for(b"lock:abc").is_some_and(|policy| policy.no_evict));
    assert_eq!(map.policy_for(b"x").map(|policy| policy.prefix.as_str()), Some(""));
}

#[test]
fn a_map_travels_as_json() {
    let mut map = map(6, 3, 1);
    reset(&mut map, 0, member(1, 1));
    let text = serde_json::to_string(&map).expect("serializes");
    let back: ClusterMap = serde_json::from_str(&text).expect("parses");
    assert_eq!(back, map);
    assert!(map.summary().to_string().contains("cluster test"));
}

/// As [`propose`], with members to make eligible, based on `version`.
fn propose_eligible(
    map: &mut ClusterMap,
    version: SetVersion,
    set: &[Member],
    eligible: &[Member],
) -> MapReply {
    map.apply(MapCommand::ProposeSet {
        shard: S0,
        term: map.shards[&S0].term,
        by: set[0],
        expected_set_version: version,
        in_sync: set.iter().copied().collect(),
        discard: BTreeSet::new(),
        eligible: eligible.iter().copied().collect(),
    })
}

#[test]
fn members_become_eligible_only_while_the_mark_stands_still() {
    let mut map = map(4, 1, 2);
    reset(&mut map, 0, member(1, 1));
    let (a, b, c) = (member(1, 1), member(2, 1), member(3, 1));
    let version = map.shards[&S0].set_version;
    let invalid =
        |reply: MapReply| assert!(matches!(reply, MapReply::Refused(Refusal::Invalid(_))), "{reply:?}");
    invalid(propose_eligible(&mut map, version, &[a, c], &[b]));
    invalid(propose_eligible(&mut map, version, &[a], &[a]));
    let gone = member(2, 7);
    let reply = propose_eligible(&mut map, version, &[a], &[gone]);
    assert_eq!(reply, MapReply::Refused(Refusal::NotCurrent(gone)));
    let stranger = map.nodes.keys().find(|id| !map.shards[&S0].members.contains(id)).copied().expect("four");
    let reply = propose_eligible(&mut map, version, &[a], &[Member::new(stranger, Incarnation(1))]);
    assert_eq!(reply, MapReply::Refused(Refusal::NotAssigned(stranger)));
    assert_eq!(propose_eligible(&mut map, version, &[a], &[b]), MapReply::Done);
    assert_eq!(map.shards[&S0].eligible, BTreeSet::from([b]));
    // A second copy, or one that was made before another set was committed.
    let stale = propose_eligible(&mut map, version, &[a], &[b]);
    assert!(matches!(stale, MapReply::Refused(Refusal::StaleSetVersion { .. })));
    // The set is enough: what is outside may miss what is acknowledged from here on, also just before it shrinks.
    assert_eq!(propose(&mut map, a, &[a, c]), MapReply::Done);
    assert!(map.shards[&S0].eligible.is_empty());
    let version = map.shards[&S0].set_version;
    invalid(propose_eligible(&mut map, version, &[a], &[b]));
}

#[test]
fn nobody_is_eligible_where_the_set_is_enough_by_a_new_number_or_other_members() {
    let mut map = map(3, 1, 2);
    reset(&mut map, 0, member(1, 1));
    let (a, b, c) = (member(1, 1), member(2, 1), member(3, 1));
    let version = map.shards[&S0].set_version;
    propose_eligible(&mut map, version, &[a], &[b, c]);
    let before = map.clone();
    map.apply(MapCommand::SetSettings { settings: Settings { min_in_sync: 1, ..Settings::default() } });
    assert!(map.shards[&S0].eligible.is_empty());
    let mut map = before;
    // Who is left out drops what it holds.
    map.apply(MapCommand::SetMembers { shard: S0, members: vec![NodeId(1), NodeId(2)] });
    assert_eq!(map.shards[&S0].eligible, BTreeSet::from([b]));
    map.apply(MapCommand::SetMembers { shard: S0, members: vec![NodeId(1)] });
    assert!(map.shards[&S0].eligible.is_empty(), "one is all there is to be");
    map.apply(MapCommand::RegisterNode { info: node(1, 2) });
    assert!(map.shards[&S0].is_forgotten());
}

#[test]
fn members_that_alone_remember_are_not_taken_away() {
    let mut map = map(3, 1, 2);
    reset(&mut map, 0, member(1, 1));
    propose(&mut map, member(1, 1), &[member(1, 1), member(2, 1)]);
    map.apply(MapCommand::RegisterNode { info: node(1, 2) });
    let reply = map.apply(MapCommand::SetMembers { shard: S0, members: vec![NodeId(1), NodeId(3)] });
    assert_eq!(reply, MapReply::Refused(Refusal::NodeInUse { node: NodeId(2), shard: S0 }));
}

#[test]
fn a_proposal_written_before_anybody_became_eligible_again_is_read() {
    let old = r#"{"ProposeSet":{"shard":0,"term":1,"by":{"node":1,"incarnation":1},"expected_set_version":2,
        "in_sync":[],"discard":[]}}"#;
    let command: MapCommand = serde_json::from_str(old).expect("reads");
    assert!(matches!(&command, MapCommand::ProposeSet { eligible, .. } if eligible.is_empty()));
    let text = serde_json::to_string(&command).expect("writes");
    assert!(!text.contains("eligible"), "as before where nobody becomes eligible: {text}");
}
