//! Invariants that are looked up in the whole world: 1, 2, 5, 7, 8, 10, 11, 13, and the coming back.

use super::super::execute::MAX_PENDING;
use super::super::message::Key;
use super::super::network::{Host, MS};
use super::super::world::{CONTROL_HOSTS, Event, World};
use crate::Slot;
use crate::ids::{Member, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, PromotionReason};

/// 1, 7, 8: what a commit may change.
pub(in super::super) fn committed(world: &mut World, by: Host, before: &ClusterMap, command: &MapCommand) {
    let map = world.consensus.map.clone();
    if let MapCommand::ProposeSet { shard, eligible, .. } = command {
        world.check.report.eligible += eligible.len() as u64;
        world.check.eligible.extend(eligible.iter().map(|member| (*shard, *member)));
        eligible.iter().for_each(|member| holds_promises(world, *shard, *member, 5, "became eligible"));
    }
    for (id, after) in &map.shards {
        let Some(before) = before.shard(*id) else { continue };
        if before.term == after.term {
            let same = before.primary == after.primary;
            world.check.demand(1, same, || format!("{id} changed its primary within term {}", after.term));
            let added: Vec<Member> = after.in_sync.difference(&before.in_sync).copied().collect();
            for member in added {
                holds_promises(world, *id, member, 8, "joined the in-sync set");
            }
            continue;
        }
        let rises = after.term > before.term;
        world
            .check
            .demand(1, rises, || format!("the term of {id} went from {} to {}", before.term, after.term));
        let Some(primary) = after.primary else { continue };
        let known = *world.check.terms.entry(after.term).or_insert((*id, primary));
        world
            .check
            .demand(1, known == (*id, primary), || format!("term {} was {known:?} before", after.term));
        let reason = after.last_promotion.as_ref().map(|promotion| promotion.reason);
        match reason {
            Some(PromotionReason::Reset | PromotionReason::First) => {
                world.check.report.resets += u64::from(reason == Some(PromotionReason::Reset));
                let nobody = before.candidates().is_empty();
                world
                    .check
                    .demand(7, nobody, || format!("{id} was reset while someone remembered: {before:?}"));
                outsider_remembers(world, by, *id);
                world.check.forget(*id);
                if reason == Some(PromotionReason::Reset) && world.rng.chance(300) {
                    // What is rare and must hold: the next failover comes soon after the loss.
                    let soon = world.rng.range(50 * MS, 1_500 * MS);
                    world.after(soon, Event::AskFailover(*id));
                }
            }
            Some(PromotionReason::Unclean) => {
                world.check.report.unclean += 1;
                let asked = world.check.unclean.contains(&(*id, primary));
                let nobody = before.candidates().is_empty();
                world.check.demand(7, asked && nobody, || {
                    format!("{primary} of {id} was promoted without need, or without a person: {before:?}")
                });
                world.check.forget(*id);
            }
            _ => {
                world.check.report.promotions += 1;
                let saved =
                    before.eligible.contains(&primary) && world.check.eligible.contains(&(*id, primary));
                world.check.report.saved += u64::from(saved);
                let candidate = before.is_candidate(primary);
                world
                    .check
                    .demand(7, candidate, || format!("{primary} was no candidate of {id}: {command:?}"));
            }
        }
    }
}

/// 7: a shard that starts empty drops what nobody has told its controller of lately.
fn outsider_remembers(world: &mut World, by: Host, id: ShardId) {
    let map = world.consensus.map.clone();
    // Shorter than the controller has to wait, by whatever clock.
    let lately = map.settings.lease_ms * MS * 7 / 10;
    for node in world.nodes.iter().flatten().filter(|node| map.is_current(node.me)) {
        let assigned = map.shard(id).is_some_and(|shard| shard.members.contains(&node.me.node));
        let Some(shard) = node.shards.get(&id).filter(|_| assigned) else { continue };
        let told = world.controls[by].told_at(id, node.me);
        let lately = told.is_some_and(|at| world.now.saturating_sub(at) < lately);
        if lately && shard.member.report().remembers() {
            let (who, last) = (node.me, shard.member.last());
            world.check.demand(7, false, || format!("{id} was reset, though {who} remembers up to {last}"));
        }
    }
}

/// 2: two leases of different terms at one moment.
pub(in super::super) fn leases(world: &mut World) {
    let shards: Vec<ShardId> = world.consensus.map.shards.keys().copied().collect();
    for id in shards {
        let mut valid: Option<(Member, Term)> = None;
        for index in 0..world.nodes.len() {
            let now = world.local(CONTROL_HOSTS + index);
            let Some(node) = &world.nodes[index] else { continue };
            let Some(lease) = node.shards.get(&id).and_then(|shard| shard.member.lease()) else { continue };
            if !lease.valid_at(now) {
                continue;
            }
            let holder = (node.me, lease.term());
            if let Some(other) = valid {
                world.check.demand(2, false, || format!("{other:?} and {holder:?} hold leases of {id}"));
            }
            valid = Some(holder);
        }
    }
}

/// 2, 11, 14: a node executes (a request for this slot), or answers.
pub(in super::super) fn serves(world: &mut World, host: Host, id: ShardId, slot: Option<Slot>) {
    let Some(shard) = world.node_shard(host, id) else { return };
    let term = shard.member.term();
    let highest = world.check.served.entry(id).or_default();
    let before = *highest;
    *highest = (*highest).max(term);
    world.check.demand(2, term >= before, || format!("{id} was served in term {term} after term {before}"));
    leases(world);
    if let Some(slot) = slot {
        one_owner(world, host, slot);
    }
    let index = host - CONTROL_HOSTS;
    if let Some(node) = world.nodes[index].as_ref()
        && let Some(shard) = node.shards.get(&id)
    {
        world.check.whole(id, &shard.data, node.me);
    }
}

/// 11: nobody else would serve this slot now, by its own map and lease.
fn one_owner(world: &mut World, host: Host, slot: Slot) {
    for other in (CONTROL_HOSTS..CONTROL_HOSTS + world.nodes.len()).filter(|other| *other != host) {
        let now = world.local(other);
        let Some(node) = world.nodes[other - CONTROL_HOSTS].as_ref() else { continue };
        let serves = node.map.slots.owner(slot).and_then(|owner| node.shards.get(&owner));
        if serves.is_some_and(|shard| shard.member.may_execute(now)) {
            let who = node.me;
            world.check.demand(11, false, || format!("{who} serves slot {slot} beside h{host}"));
        }
    }
}

/// 5, 6, 14: a new primary has everything that was promised, and of everything all or nothing.
pub(in super::super) fn leads(world: &mut World, me: Member, id: ShardId, term: Term) {
    world.check.note(world.now, || format!("{me} leads {id} in term {term}"));
    if world.consensus.map.shard(id).is_some_and(|shard| shard.term == term) {
        holds_promises(world, id, me, 5, "leads");
    }
    let index = world.host_of(me.node) - CONTROL_HOSTS;
    if let Some(shard) = world.nodes[index].as_ref().and_then(|node| node.shards.get(&id)) {
        world.check.whole(id, &shard.data, me);
        world.check.replayed(id, &shard.data, shard.member.history(), me);
    }
    leases(world);
}

/// 5, 6, 8, 13: every candidate holds what was promised, at any time; nothing grows beyond its bound.
pub(in super::super) fn sweep(world: &mut World) {
    let map = world.consensus.map.clone();
    for (id, shard) in &map.shards {
        for member in shard.candidates() {
            holds_promises(world, *id, member, 5, "may become primary");
        }
    }
    leases(world);
    for node in world.nodes.iter().flatten() {
        for (id, shard) in &node.shards {
            let (pending, log, locks) = (shard.pending.len(), shard.log.len(), shard.data.locks.bytes());
            let terms = shard.member.history().terms().len();
            let bounded = pending <= MAX_PENDING
                && log <= shard.backlog
                && locks <= shard.data.locks.limits().max_bytes
                && terms <= crate::history::MAX_HISTORY_TERMS;
            world.check.demand(13, bounded, || {
                format!("{id}: {pending} requests, {log} records, {locks} bytes of locks, {terms} terms")
            });
        }
    }
}

fn holds_promises(world: &mut World, id: ShardId, member: Member, rule: u8, what: &str) {
    let host = world.host_of(member.node);
    let Some(node) = world.nodes.get(host - CONTROL_HOSTS).and_then(Option::as_ref) else { return };
    if node.me != member {
        return;
    }
    let check = &mut world.check;
    let Some(promised) = check.promised.get(&id).filter(|promised| !promised.is_empty()) else { return };
    let lost = match node.shards.get(&id) {
        None => Some("everything".to_string()),
        Some(shard) if !shard.member.is_whole() => Some("what it is fetching".to_string()),
        Some(shard) => {
            let history = shard.member.history();
            let missing = promised
                .values()
                .flat_map(|(first, last)| [first, last])
                .find(|at| !history.holds(**at))
                .map(|at| at.to_string());
            let stale = || {
                check
                    .newest
                    .range((id, Key::MIN)..=(id, Key::MAX))
                    .find(|((_, key), at)| shard.data.get(*key).is_none_or(|(_, has)| has < **at))
                    .map(|((_, key), at)| format!("{at} of key {key} in its store"))
            };
            missing.or_else(stale)
        }
    };
    if let Some(lost) = lost {
        check.demand(rule, false, || {
            format!("{what} without what was promised: {member} of {id} lacks {lost}")
        });
    }
}

/// 10, that no lock outlives its holder (12), and that the cluster comes back by itself.
pub(in super::super) fn converged(world: &mut World) {
    let map = world.consensus.map.clone();
    sweep(world);
    for (id, shard) in &map.shards {
        let Some(primary) = shard.primary else {
            world.check.demand(0, false, || format!("{id} has no primary after the heal"));
            continue;
        };
        let host = world.host_of(primary.node);
        let now = world.local(host);
        let serves =
            world.node(host).filter(|node| node.me == primary).and_then(|node| node.shards.get(id)).map(
                |shard| {
                    let held = shard.data.locks.len();
                    let picture = shard.data.picture(now / MS);
                    (shard.member.may_execute(now), shard.member.last(), shard.member.mark(), held, picture)
                },
            );
        let Some((true, last, mark, held, picture)) = serves else {
            world
                .check
                .demand(0, false, || format!("{id}: {primary} does not serve after the heal: {shard:?}"));
            continue;
        };
        world.check.demand(12, held == 0, || format!("{held} locks of {id} are held after their time"));
        for node in &shard.members {
            let node = world.host_of(*node);
            let Some(node) = world.node(node) else { continue };
            let me = node.me;
            let Some(replica) = node.shards.get(id) else { continue };
            let (whole, at) = (replica.member.is_whole(), replica.member.last());
            let other = replica.data.picture(now / MS);
            let replica = &world.nodes[world.host_of(me.node) - CONTROL_HOSTS];
            if let Some(replica) = replica.as_ref().and_then(|node| node.shards.get(id)) {
                world.check.replayed(*id, &replica.data, replica.member.history(), me);
            }
            let in_sync = shard.in_sync.contains(&me);
            world.check.demand(10, whole && at == last, || {
                format!("{me} is at {at} (whole: {whole}), the primary {primary} of {id} at {last}")
            });
            world.check.demand(10, other == picture, || {
                format!("{me} and {primary} differ at {last}:\n    {other:?}\n    {picture:?}")
            });
            world.check.demand(0, in_sync, || format!("{me} is not in-sync after the heal: {shard:?}"));
        }
        world.check.demand(0, mark == last.offset, || format!("the mark of {id} is {mark}, not {last}"));
    }
}
