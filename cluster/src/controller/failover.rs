//! Replacing a primary, one shard at a time, many shards side by side.
//!
//! ```text
//!  lease over ─► AllocateTerm ─► seal the candidates ─► choose ─► Promote (compare-and-set) ─► done
//!                (pending in the map: no grants for the old term from here on)  │ set changed: seal again
//!  no candidate is left in the map ─┬─ nobody remembers ─► ResetShard ──────────┤
//!                                   └─ somebody does: waits for a person ─► PromoteUnclean
//! ```
//!
//! A candidate is gone when a newer incarnation of its node is registered. With the last one what was promised is lost;
//! what is left may be a member outside of the sets that holds an older state, whole. A shard that starts empty would have
//! it drop that. Whether an old state is better than none, nobody but a person can say, and no member from outside the
//! sets is promoted without one: so the shard waits. It starts empty by itself when every member has said, knowing a map
//! without candidates, that it holds nothing whole; who stays silent is waited for as long as a lease may last. A member
//! that has said that it remembers keeps the shard waiting until it is proved gone as well.

use super::choose::{self, Wishes};
use super::roster::Roster;
use super::step::{Controller, Decision};
use crate::bugs::{Bug, planted};
use crate::ids::{Epoch, Member, NodeId, Position, ShardId, Term};
use crate::map::{ClusterMap, MapCommand, MapReply, NodeInfo, PromotionCost, Refusal, ShardState};
use crate::message::{SealReply, SealRequest};
use std::collections::{BTreeMap, BTreeSet};

const NS_PER_MS: u64 = 1_000_000;

/// A failover under way.
pub(super) struct Failover {
    began_ns: u64,
    /// The term that ends.
    old_term: Term,
    handed_back: bool,
    /// Asked for by a person.
    wish: Option<NodeId>,
    unclean: Option<Member>,
    /// Candidates that sealed the pending term, and where they are.
    sealed: BTreeMap<Member, Position>,
    first_seal_ns: Option<u64>,
    /// Since when no candidate is left, and the map that said so first.
    forgotten: Option<(u64, Epoch)>,
    /// Members outside of the sets that remember, as was told last: the shard waits for a person.
    remembering: BTreeMap<Member, Position>,
    asked_ns: Option<u64>,
    /// The proposal whose outcome is not known yet, and since when.
    proposal: Option<(u64, u64)>,
}

/// A wish that a primary steps down.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepDown {
    pub(super) term: Term,
    pub(super) until_ns: u64,
    /// Until then the primary goes on serving while the next term is allocated.
    ahead_until_ns: u64,
    to: Option<NodeId>,
}

impl StepDown {
    /// Whether the primary shall be told now. Each commit takes some ten milliseconds: the one that gives the next term
    /// is not waited for by clients.
    pub(super) fn is_due(&self, state: &ShardState, now_ns: u64) -> bool {
        state.term == self.term
            && now_ns < self.until_ns
            && (state.pending_term.is_some() || now_ns >= self.ahead_until_ns)
    }
}

/// Leases after which a wish that was not followed is dropped.
const STEP_DOWN_LEASES: u64 = 4;

/// Renewals for which the primary is left in place until the next term is there. Its lease is not renewed once it is, so
/// these and the time until it hears of the wish must be well within a lease.
const AHEAD_RENEWALS: u64 = 2;

/// Which registered members of a shard have said since a moment that they remember it, and where they are; and whether each
/// of them has said something, with a map of this epoch or a later one.
fn asked(
    roster: &Roster,
    map: &ClusterMap,
    state: &ShardState,
    since_ns: u64,
    epoch: Epoch,
) -> (BTreeMap<Member, Position>, bool) {
    let mut remembering = BTreeMap::new();
    let mut all_said = true;
    for member in state.members.iter().filter_map(|node| map.node(*node)).map(NodeInfo::member) {
        let said = roster.said(member, state.id).filter(|(heard_ns, ..)| *heard_ns >= since_ns);
        all_said &= said.is_some_and(|(_, knew, _)| knew >= epoch);
        if let Some((_, _, report)) = said.filter(|(_, _, report)| report.remembers()) {
            remembering.insert(member, report.last);
        }
    }
    (remembering, all_said)
}

impl Controller {
    pub(super) fn advance_all(&mut self, now_ns: u64) {
        if self.number().is_none() {
            return;
        }
        let map = self.map.clone();
        for shard in map.shards.keys() {
            self.advance(*shard, now_ns);
        }
    }

    /// Begins a failover of the shard when it needs one, or takes the next step of the one under way.
    pub(super) fn advance(&mut self, shard: ShardId, now_ns: u64) {
        let map = self.map.clone();
        let Some(state) = map.shard(shard) else { return };
        if self.number().is_none() {
            return;
        }
        let Some(reign) = &mut self.reign else { return };
        if let Some(wish) = reign.step_downs.get(&shard)
            && (wish.term != state.term || (now_ns >= wish.until_ns && !reign.failovers.contains_key(&shard)))
        {
            reign.step_downs.remove(&shard);
        }
        if let Some(failover) = reign.failovers.get(&shard) {
            if failover.old_term != state.term {
                let took_ms = now_ns.saturating_sub(failover.began_ns) / NS_PER_MS;
                let cost = state.last_promotion.as_ref().map(|promotion| promotion.cost).unwrap_or_default();
                reign.failovers.remove(&shard);
                // The new primary gets the time of one lease to ask for its first one: without it the next tick
                // would find a shard without a lease and begin all over.
                reign.leases.promoted(shard, state.term, now_ns, map.settings.lease_bound_ns());
                if let Some(primary) = state.primary {
                    let lost = match cost.lost_records {
                        0 => "nothing that was reported is lost".to_owned(),
                        lost => {
                            format!("{lost} records that were reported are lost (none acknowledged in-sync)")
                        }
                    };
                    self.story(
                        shard,
                        format!("{primary} is primary of term {}, after {took_ms} ms; {lost}", state.term),
                    );
                }
                return;
            }
        } else if self.needs_failover(state, now_ns) {
            self.begin(state, now_ns);
        } else {
            return;
        }
        self.next_step(state, now_ns);
    }

    /// Whether the old lease is over and somebody could take over.
    fn needs_failover(&self, state: &ShardState, now_ns: u64) -> bool {
        let Some(reign) = &self.reign else { return false };
        if reign.leases.may_be_valid(state.id, state.term, now_ns) && !planted(Bug::LeaseIgnoredAtPromotion) {
            return false;
        }
        let within = self.map.settings.lease_bound_ns();
        if planted(Bug::LeaseIgnoredAtPromotion) {
            let renew_ns = self.map.settings.renew_ms * NS_PER_MS;
            if state.primary.is_some_and(|p| reign.roster.alive(p, now_ns, renew_ns * 3).is_some()) {
                return false;
            }
        }
        let alive = |member: &Member| reign.roster.alive(*member, now_ns, within).is_some();
        let candidates = state.candidates();
        if candidates.is_empty() {
            return self.alive_members(state, now_ns).next().is_some();
        }
        // The primary alone may simply be granted its lease again, unless it can not be any more.
        let again = state.pending_term.is_some() || reign.leases.is_handed_back(state.id, state.term);
        // It lives and asks for its lease, and only the confirmation takes long: a disk that stands still for a moment,
        // a quorum without a member to spare. The lease comes with that, and without it nobody could be promoted.
        let asks = |primary| reign.renewals.asks(primary, state.id, state.term);
        if !again && state.primary.is_some_and(asks) {
            return false;
        }
        candidates.iter().any(|member| alive(member) && (again || state.primary != Some(*member)))
    }

    /// Registered incarnations of the shard's nodes that were heard from lately, preferred first.
    fn alive_members(&self, state: &ShardState, now_ns: u64) -> impl Iterator<Item = Member> {
        let within = self.map.settings.lease_bound_ns();
        state.members.iter().filter_map(move |node| {
            let member = self.map.node(*node)?.member();
            self.reign.as_ref()?.roster.alive(member, now_ns, within).map(|seen| seen.member)
        })
    }

    fn begin(&mut self, state: &ShardState, now_ns: u64) {
        let Some(reign) = &mut self.reign else { return };
        let handed_back = reign.leases.is_handed_back(state.id, state.term);
        let wish = reign.step_downs.get(&state.id).and_then(|wish| wish.to);
        reign.failovers.insert(
            state.id,
            Failover {
                began_ns: now_ns,
                old_term: state.term,
                handed_back,
                wish,
                unclean: None,
                sealed: BTreeMap::new(),
                first_seal_ns: None,
                forgotten: None,
                remembering: BTreeMap::new(),
                asked_ns: None,
                proposal: None,
            },
        );
        let text = match state.primary {
            None => "has no primary yet".to_string(),
            Some(primary) if handed_back => {
                format!("{primary} handed term {} back, looking for another", state.term)
            }
            Some(primary) => {
                let last = match reign.roster.last_words(primary, state.id, state.term) {
                    Some((heard_ns, last)) => format!(
                        "heard of {} ms ago{}",
                        now_ns.saturating_sub(heard_ns) / NS_PER_MS,
                        last.map_or_else(String::new, |last| format!(" at {last}"))
                    ),
                    None => "not heard of in this reign".to_owned(),
                };
                let term = state.term;
                format!("the lease of {primary} ({last}) for term {term} is over, looking for another")
            }
        };
        self.story(state.id, text);
    }

    fn next_step(&mut self, state: &ShardState, now_ns: u64) {
        let shard = state.id;
        let map = self.map.clone();
        let patience_ns = map.settings.lease_bound_ns();
        let Some(reign) = self.number() else { return };
        let Some(failover) = self.reign.as_mut().and_then(|reign| reign.failovers.get_mut(&shard)) else {
            return;
        };
        if let Some((_, since_ns)) = failover.proposal {
            if now_ns.saturating_sub(since_ns) < patience_ns {
                return;
            }
            // Its outcome may never come; another one with the same expectations does no harm.
            failover.proposal = None;
        }
        let candidates = state.candidates();
        if candidates.is_empty() {
            failover.forgotten.get_or_insert((now_ns, map.epoch));
        }
        let Some(new_term) = state.pending_term else {
            self.propose(shard, MapCommand::AllocateTerm { shard, expected_term: state.term }, now_ns);
            return;
        };
        if let Some(primary) = failover.unclean {
            let command =
                MapCommand::PromoteUnclean { shard, expected_term: state.term, new_term, primary, reign };
            self.propose(shard, command, now_ns);
            return;
        }
        if candidates.is_empty() || planted(Bug::ResetWhileRemembered) {
            self.reset(state, new_term, now_ns);
            return;
        }
        failover.sealed.retain(|member, _| candidates.contains(member));

        let renew_ns = map.settings.renew_ms * NS_PER_MS;
        if failover.asked_ns.is_none_or(|asked| now_ns.saturating_sub(asked) >= renew_ns) {
            failover.asked_ns = Some(now_ns);
            let request = SealRequest { shard, term: new_term };
            let unsealed = candidates.iter().filter(|member| !failover.sealed.contains_key(member));
            self.out.extend(unsealed.map(|member| Decision::Seal { to: *member, request }));
        }
        self.promote_when_ready(state, new_term, now_ns);
    }

    /// Promotes once every candidate that is alive has sealed, or the first seal is `seal_wait_ms` old.
    fn promote_when_ready(&mut self, state: &ShardState, new_term: Term, now_ns: u64) {
        let shard = state.id;
        let map = self.map.clone();
        let within = map.settings.lease_bound_ns();
        let Some(number) = self.number() else { return };
        let Some(reign) = &self.reign else { return };
        let Some(failover) = reign.failovers.get(&shard) else { return };
        if failover.sealed.is_empty() {
            return;
        }
        let candidates = state.candidates();
        let seen = |member: &Member| reign.roster.alive(*member, now_ns, within);
        let all_sealed =
            candidates.iter().filter(|m| seen(m).is_some()).all(|m| failover.sealed.contains_key(m));
        let seal_wait_ns = map.settings.seal_wait_ms * NS_PER_MS;
        let waited = failover.first_seal_ns.is_some_and(|first| now_ns.saturating_sub(first) >= seal_wait_ns);
        if !all_sealed && !waited {
            return;
        }
        let fit: BTreeSet<Member> =
            candidates.iter().filter(|m| seen(m).is_some_and(|seen| seen.fit)).copied().collect();
        let wishes = Wishes { to: failover.wish, old: state.primary, order: &state.members, fit: &fit };
        let Some(primary) = choose::primary(&failover.sealed, &wishes) else { return };
        let in_sync = choose::in_sync(&failover.sealed, primary, &fit);
        let position = failover.sealed.get(&primary).copied().unwrap_or_default();
        let places: Vec<String> =
            failover.sealed.iter().map(|(member, last)| format!("{member} at {last}")).collect();
        let text = format!(
            "{} of {} candidates sealed term {new_term}: {}; {primary} is chosen",
            failover.sealed.len(),
            candidates.len(),
            places.join(", ")
        );
        let words = state.primary.and_then(|old| reign.roster.last_words(old, shard, state.term));
        let since_ns = match words {
            Some((heard_ns, _)) if !failover.handed_back => heard_ns,
            _ => failover.began_ns,
        };
        let reported = words.and_then(|(_, last)| last).filter(|last| last.term >= position.term);
        let cost = PromotionCost {
            silent_ms: now_ns.saturating_sub(since_ns) / NS_PER_MS,
            lost_records: reported.map_or(0, |last| last.offset.0.saturating_sub(position.offset.0)),
        };
        let command = MapCommand::Promote {
            shard,
            expected_term: state.term,
            expected_set_version: state.set_version,
            new_term,
            primary,
            in_sync,
            handed_back: failover.handed_back,
            cost,
            reign: number,
        };
        self.story(shard, text);
        self.propose(shard, command, now_ns);
    }

    /// Starts the shard empty, unless somebody remembers: on its preferred node, or after a lease's time on any that is
    /// there.
    fn reset(&mut self, state: &ShardState, new_term: Term, now_ns: u64) {
        let shard = state.id;
        let lease_ns = self.map.settings.lease_bound_ns();
        let Some(reign) = &self.reign else { return };
        let Some(failover) = reign.failovers.get(&shard) else { return };
        let (since_ns, epoch) = failover.forgotten.unwrap_or((failover.began_ns, self.map.epoch));
        let waited = now_ns.saturating_sub(since_ns) >= lease_ns;
        let Some(primary) = self.alive_members(state, now_ns).next() else { return };
        let ready = if state.term == Term::NONE {
            state.members.first() == Some(&primary.node)
        } else {
            let (remembering, all_said) = asked(&reign.roster, &self.map, state, since_ns, epoch);
            let ignored = planted(Bug::ResetWhileOutsiderRemembers) || planted(Bug::ResetWhileRemembered);
            if !remembering.is_empty() && !ignored {
                self.wait_for_a_person(state, remembering);
                return;
            }
            all_said
        };
        if !ready && !waited {
            return;
        }
        if state.term != Term::NONE {
            self.story(shard, format!("nobody remembers term {}: {primary} starts empty", state.term));
        }
        let Some(reign) = self.number() else { return };
        let command = MapCommand::ResetShard { shard, expected_term: state.term, new_term, primary, reign };
        self.propose(shard, command, now_ns);
    }

    /// Tells once whose memory is left, and what a person may do.
    fn wait_for_a_person(&mut self, state: &ShardState, remembering: BTreeMap<Member, Position>) {
        let shard = state.id;
        let failover = self.reign.as_mut().and_then(|reign| reign.failovers.get_mut(&shard));
        let Some(failover) = failover.filter(|failover| failover.remembering != remembering) else { return };
        failover.remembering.clone_from(&remembering);
        let Some(most) = remembering.iter().max_by_key(|(_, last)| **last).map(|(member, _)| member.node.0)
        else {
            return;
        };
        let who: Vec<String> =
            remembering.iter().map(|(member, last)| format!("{member} remembers up to {last}")).collect();
        let text = format!(
            "waits for a person: every in-sync and eligible member of term {} is gone, and {}. To go on with that, and \
             without what is missing in it: torc cluster failover-unclean {} --to {most} --lose-writes. With --to another \
             node of the shard it goes on with what that one holds, or empty",
            state.term,
            who.join(", "),
            shard.0,
        );
        self.story(shard, text);
    }

    fn propose(&mut self, shard: ShardId, command: MapCommand, now_ns: u64) {
        self.proposals += 1;
        let id = self.proposals;
        if let Some(failover) = self.reign.as_mut().and_then(|reign| reign.failovers.get_mut(&shard)) {
            failover.proposal = Some((id, now_ns));
        }
        self.out.push(Decision::Propose { id, command });
    }

    pub(super) fn proposed(&mut self, id: u64, outcome: Option<MapReply>, now_ns: u64) {
        if self.reign_proposed(id, outcome.as_ref(), now_ns) {
            return;
        }
        let Some(reign) = &mut self.reign else { return };
        let of =
            reign.failovers.iter_mut().find(|(_, failover)| failover.proposal.is_some_and(|p| p.0 == id));
        let Some((shard, failover)) = of else { return };
        let shard = *shard;
        match outcome {
            Some(MapReply::Refused(refusal)) => {
                failover.proposal = None;
                if matches!(refusal, Refusal::NotCurrent(_) | Refusal::NotAssigned(_)) {
                    // Whom a person named has started again meanwhile, or was never there.
                    failover.unclean = None;
                }
                if refusal == Refusal::TermsExhausted {
                    // Nothing can be done about it here; do not ask again before the patience is over.
                    failover.proposal = Some((0, now_ns));
                }
                self.story(shard, format!("refused: {refusal}"));
            }
            // The map that follows tells what comes next.
            Some(_) => failover.proposal = None,
            // Kept until the patience is over: it may still commit.
            None => return,
        }
        self.advance(shard, now_ns);
    }

    pub(super) fn seal_reply(&mut self, reply: SealReply, now_ns: u64) {
        let Some(pending) = self.map.shard(reply.shard).and_then(|state| state.pending_term) else { return };
        if reply.term != pending {
            return;
        }
        let Some(failover) = self.reign.as_mut().and_then(|reign| reign.failovers.get_mut(&reply.shard))
        else {
            return;
        };
        // One per candidate: `next_step` drops whoever is none.
        if !self.map.shard(reply.shard).is_some_and(|state| state.is_candidate(reply.from)) {
            return;
        }
        failover.sealed.entry(reply.from).or_insert(reply.last);
        failover.first_seal_ns.get_or_insert(now_ns);
        self.advance(reply.shard, now_ns);
    }

    pub(super) fn failover_requested(
        &mut self,
        shard: ShardId,
        to: Option<NodeId>,
        term: Option<Term>,
        now_ns: u64,
    ) {
        let map = self.map.clone();
        let Some(state) = map.shard(shard).filter(|state| term.is_none_or(|term| term == state.term)) else {
            return;
        };
        let until_ns = now_ns.saturating_add(map.settings.lease_bound_ns().saturating_mul(STEP_DOWN_LEASES));
        let Some(reign) = &mut self.reign else { return };
        let known = reign.step_downs.get(&shard);
        if known.is_some_and(|wish| wish.term == state.term && wish.to == to && now_ns < wish.until_ns) {
            return;
        }
        let other = state
            .in_sync
            .iter()
            .any(|member| state.primary != Some(*member) && to.is_none_or(|node| node == member.node));
        if !other {
            self.story(shard, "no other in-sync member to fail over to".to_string());
            return;
        }
        let ahead_until_ns = now_ns.saturating_add(map.settings.renew_ms * NS_PER_MS * AHEAD_RENEWALS);
        reign.step_downs.insert(shard, StepDown { term: state.term, until_ns, ahead_until_ns, to });
        self.story(shard, format!("asked to replace the primary of term {}", state.term));
        let under_way = self.reign.as_ref().is_some_and(|reign| reign.failovers.contains_key(&shard));
        if self.number().is_some() && state.pending_term.is_none() && !under_way {
            // What becomes of it the map tells.
            self.propose(shard, MapCommand::AllocateTerm { shard, expected_term: state.term }, now_ns);
        }
    }

    pub(super) fn unclean_requested(&mut self, shard: ShardId, to: Member, term: Option<Term>, now_ns: u64) {
        let map = self.map.clone();
        let Some(state) = map.shard(shard).filter(|state| term.is_none_or(|term| term == state.term)) else {
            return;
        };
        let Some(reign) = &self.reign else { return };
        if reign.leases.may_be_valid(shard, state.term, now_ns) {
            self.story(shard, "an unclean promotion has to wait until the lease is over".to_string());
            return;
        }
        if !reign.failovers.contains_key(&shard) {
            self.begin(state, now_ns);
        }
        if let Some(failover) = self.reign.as_mut().and_then(|reign| reign.failovers.get_mut(&shard)) {
            failover.unclean = Some(to);
        }
        self.story(shard, format!("unclean promotion of {to} asked for: writes may be lost"));
        self.advance(shard, now_ns);
    }
}
