//! The in-sync set as the primary of one term keeps it: who holds what, how far the high-water mark may go,
//! when to propose another set.
//!
//! The committed set is the map's. Between a proposal and the knowledge of its outcome either set may be the
//! committed one, so a record counts as held only when *both* hold it (the union). Below `min_in_sync` the mark
//! stands still: whoever left the set then stays eligible for promotion and must hold everything up to it.
//!
//! # Eligible again
//!
//! A replica that had to discard what it held (it fell behind the backlog, or had a tail of its own) has left both
//! sets. Once it is whole again it may still be too far behind to be in sync for as long as clients write; should the
//! primary lose its memory then, that replica is all there is. So the primary proposes it as eligible as soon as it
//! holds everything that anybody was told is safe: everything up to the mark, and, as the mark that was learnt from
//! primaries before may be lower than theirs was, everything this primary held when its term began. Why that stays
//! true:
//! - Who is proposed has acknowledged that much, and keeps it until it discards; and it discards only after it has left
//!   the sets ([`ReplicaSet::hello`]), be it eligible by the map or only by a proposal that may still be applied.
//! - The mark moves only once this primary has *learnt* of a set with `min_in_sync` members. The proposal is a
//!   compare-and-set on the version of a set that is smaller, and names one that is smaller too. So it is applied before
//!   any larger set is, which then takes all eligible members out, or it is refused as stale. Other proposals whose
//!   outcome is not known change nothing in this: whichever is applied first makes the rest stale.
//! - Another `min_in_sync`, and other members of the shard, are new versions as well; where the set is enough by the new
//!   number the same command takes the eligible members out.
//! - In the next term the sets are taken over by the promotion. A new primary was one of them and holds the mark; its own
//!   set is below the minimum, or nobody else is eligible.
//! - A new incarnation of a node is another member: its registration takes the old one out and makes what was proposed
//!   for it stale. Only registered incarnations of nodes that the shard has are taken.
//!
//! Owned by whoever sends and takes the shard's replication; stepped with the time in ns of CLOCK_BOOTTIME.

use crate::bugs::{Bug, planted};
use crate::history::{History, Lineage};
use crate::ids::{Member, NodeId, Offset, SetVersion, ShardId, StreamId, Term};
use crate::map::{ClusterMap, MapCommand, MapReply, Refusal, ShardState};
use crate::message::{HelloReply, ReplicaHello};
use std::collections::{BTreeMap, BTreeSet};

/// Proposals whose outcome is not known; while so many are out no further one is made.
pub const MAX_OUTSTANDING: usize = 8;
/// Replicas that may be connected; more are refused (a shard has at most 9 members, some in a life before).
pub const MAX_CONNECTED: usize = 32;

/// A replica that did not join the set within this part of `replica_timeout_ms` after it was found whole is made
/// eligible.
const ELIGIBLE_AFTER: u64 = 4;

/// What the primary knows of a replica.
#[derive(Clone, Debug)]
struct Replica {
    /// The connection that said hello last: what comes from any other one does not count.
    stream: StreamId,
    /// Holds the primary's history up to here.
    acked: Offset,
    /// Lies on the primary's history and is whole. Acknowledgements count only then.
    verified: bool,
    /// Since when that is so.
    verified_ns: u64,
    /// When it last held everything the primary had (as far as that can be told).
    caught_up_ns: u64,
    /// Until then it is not behind for the sake of a long record that it takes, if it is in the set.
    taking_until_ns: u64,
    /// The primary's last offset at the latest acknowledgement, and when that was.
    seen: (Offset, u64),
}

impl Replica {
    /// One that has not said hello.
    fn unknown(seen: (Offset, u64), caught_up_ns: u64) -> Replica {
        Replica {
            stream: StreamId(0),
            acked: Offset(0),
            verified: false,
            verified_ns: 0,
            caught_up_ns,
            taking_until_ns: 0,
            seen,
        }
    }

    /// It is found to hold the primary's history up to `acked`, whose last offset is `last` by now.
    fn verify(&mut self, acked: Offset, last: Offset, now_ns: u64) {
        self.verified = true;
        self.verified_ns = now_ns;
        self.acked = acked;
        self.seen = (last, now_ns);
    }
}

/// A proposed set whose outcome is not known.
#[derive(Clone, Debug)]
struct Outstanding {
    id: u64,
    base: SetVersion,
    in_sync: BTreeSet<Member>,
    eligible: BTreeSet<Member>,
    since_ns: u64,
}

/// Something to propose to consensus. Try once; tell the outcome to [`ReplicaSet::outcome`].
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub id: u64,
    pub command: MapCommand,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ReplicaSet {
    shard: ShardId,
    me: Member,
    term: Term,
    timeout_ns: u64,
    min_in_sync: usize,
    version: SetVersion,
    committed: BTreeSet<Member>,
    eligible: BTreeSet<Member>,
    assigned: Vec<NodeId>,
    /// The map has another term or is about to: nothing counts any more.
    deposed: bool,
    outstanding: Vec<Outstanding>,
    proposals: u64,
    /// No proposal before: one was refused, the map that tells why is on its way.
    not_before_ns: u64,
    replicas: BTreeMap<Member, Replica>,
    /// Candidates that must leave the sets before they may discard what they hold.
    to_discard: BTreeSet<Member>,
    last: Offset,
    mark: Offset,
    /// The last offset when the term began: what primaries before have acknowledged is not above it.
    inherited: Offset,
}

impl ReplicaSet {
    /// For the primary `me` of the shard's term in `map`. `last` is its last offset, `known_mark` the high-water
    /// mark it learnt as a replica: a mark that every in-sync and eligible member is known to hold.
    pub fn new(
        me: Member,
        map: &ClusterMap,
        state: &ShardState,
        last: Offset,
        known_mark: Offset,
        now_ns: u64,
    ) -> Self {
        let mut set = ReplicaSet {
            shard: state.id,
            me,
            term: state.term,
            timeout_ns: 0,
            min_in_sync: 1,
            version: SetVersion(0),
            committed: BTreeSet::new(),
            eligible: BTreeSet::new(),
            assigned: Vec::new(),
            deposed: false,
            outstanding: Vec::new(),
            proposals: 0,
            not_before_ns: 0,
            replicas: BTreeMap::new(),
            to_discard: BTreeSet::new(),
            last,
            mark: if planted(Bug::MarkStartsAtLast) { last } else { known_mark.min(last) },
            inherited: last,
        };
        set.on_map(map, state, now_ns);
        set
    }

    /// The map changed. Once the shard has another term this set is of no use any more.
    pub fn on_map(&mut self, map: &ClusterMap, state: &ShardState, now_ns: u64) {
        if state.term != self.term || state.primary != Some(self.me) {
            self.deposed = true;
            return;
        }
        self.timeout_ns = map.settings.replica_timeout_ms.saturating_mul(1_000_000);
        if state.set_version < self.version {
            return;
        }
        self.version = state.set_version;
        self.min_in_sync = map.min_in_sync(state);
        self.committed.clone_from(&state.in_sync);
        self.eligible.clone_from(&state.eligible);
        self.assigned.clone_from(&state.members);
        self.outstanding.retain(|proposal| proposal.base >= state.set_version);
        self.to_discard.retain(|member| state.is_candidate(*member));
        for member in self.committed.iter().filter(|member| **member != self.me) {
            self.replicas.entry(*member).or_insert(Replica::unknown((self.last, now_ns), now_ns));
        }
        let effective = self.effective();
        // Lives that are over go. One that is newer than the map's stays: its registration is on its way here.
        self.replicas.retain(|member, _| {
            let over = map.node(member.node).is_some_and(|node| node.incarnation > member.incarnation);
            effective.contains(member) || !over
        });
        self.advance_mark();
    }

    /// Whether the map has gone on without this primary.
    pub fn is_deposed(&self) -> bool {
        self.deposed
    }

    pub fn term(&self) -> Term {
        self.term
    }

    /// The committed set, as far as known.
    pub fn committed(&self) -> &BTreeSet<Member> {
        &self.committed
    }

    /// Members whose acknowledgement a record needs: committed, and proposed with the outcome open.
    pub fn effective(&self) -> BTreeSet<Member> {
        let mut effective = self.committed.clone();
        if !planted(Bug::CommittedSetOnly) {
            effective.extend(self.outstanding.iter().flat_map(|proposal| &proposal.in_sync));
        }
        effective
    }

    /// Whether `in-sync` writes may be executed; otherwise they are refused with NOREPLICAS before.
    pub fn can_ack_in_sync(&self) -> bool {
        !self.deposed && self.committed.len() >= self.min_in_sync
    }

    /// The offset that every in-sync member is known to hold. What is at or below it will be in every later
    /// primary while one eligible member keeps its memory.
    pub fn high_water_mark(&self) -> Offset {
        self.mark
    }

    /// The primary's last offset.
    pub fn last(&self) -> Offset {
        self.last
    }

    /// Offset up to which a replica acknowledged; `None` for one that does not count.
    pub fn acked_by(&self, member: Member) -> Option<Offset> {
        self.replicas.get(&member).filter(|replica| replica.verified).map(|replica| replica.acked)
    }

    /// When a replica was heard of last, on the primary's clock.
    pub fn heard_ns(&self, member: Member) -> Option<u64> {
        self.replicas.get(&member).map(|replica| replica.seen.1)
    }

    /// Replicas that are known: connected, or members of the set.
    pub fn replicas(&self) -> impl Iterator<Item = Member> + '_ {
        self.replicas.keys().copied().filter(|member| *member != self.me)
    }

    /// How many replicas hold an offset: what `WAIT` asks.
    pub fn holding(&self, offset: Offset) -> usize {
        self.replicas
            .iter()
            .filter(|(member, replica)| **member != self.me && replica.verified && replica.acked >= offset)
            .count()
    }

    /// The primary wrote up to `last`.
    pub fn appended(&mut self, last: Offset) {
        self.last = self.last.max(last);
        self.advance_mark();
    }

    /// A replica presents itself on a connection, which takes the place of an earlier one. `mine` is the primary's
    /// history, `backlog_after` the offset after which the backlog still has every record.
    pub fn hello(
        &mut self,
        hello: &ReplicaHello,
        stream: StreamId,
        mine: &History,
        backlog_after: Offset,
        now_ns: u64,
    ) -> HelloReply {
        let (member, theirs) = (hello.from, &hello.history);
        if self.deposed || member == self.me {
            return HelloReply::NotPrimary { term: self.term };
        }
        if !self.assigned.contains(&member.node)
            || (self.replicas.len() >= MAX_CONNECTED && !self.replicas.contains_key(&member))
        {
            return HelloReply::Wait;
        }
        let lineage = mine.lineage_of(theirs);
        let replica = self.replicas.entry(member).or_insert(Replica::unknown((self.last, now_ns), 0));
        replica.stream = stream;
        replica.verified = false;
        match lineage {
            Lineage::Continue { after } if after >= backlog_after => {
                replica.verify(after, self.last, now_ns);
                self.advance_mark();
                HelloReply::Continue { after }
            }
            Lineage::Continue { after: common } | Lineage::Diverged { common } => {
                if planted(Bug::DivergentTailKept) {
                    replica.verified = true;
                    replica.acked = theirs.last().offset.min(self.last);
                    return HelloReply::Continue { after: theirs.last().offset };
                }
                let counts = self.committed.contains(&member)
                    || self.eligible.contains(&member)
                    || self.effective().contains(&member)
                    || self.may_be_eligible(member);
                if counts && !planted(Bug::DiscardWhileInSet) {
                    self.to_discard.insert(member);
                    return HelloReply::Wait;
                }
                self.to_discard.remove(&member);
                if let Some(replica) = self.replicas.get_mut(&member) {
                    replica.acked = Offset(0);
                    replica.caught_up_ns = 0;
                }
                if !hello.holds_data {
                    return HelloReply::Resync { common };
                }
                // What neither side touched after the last common point is equal, and what the primary touched since
                // becomes so by its records, as far as it has them.
                let diverged = matches!(lineage, Lineage::Diverged { .. });
                let after = if diverged && common >= backlog_after { common } else { self.last };
                HelloReply::Compare { common, after }
            }
        }
    }

    /// What is known of a replica, if this is the connection that counts.
    fn on_stream(&mut self, member: Member, stream: StreamId) -> Option<&mut Replica> {
        let replica = self.replicas.get_mut(&member)?;
        (replica.stream == stream || planted(Bug::OldStreamCounts)).then_some(replica)
    }

    /// A replica holds the primary's history up to an offset. Without a `hello` before it does not count.
    pub fn acked(&mut self, member: Member, stream: StreamId, offset: Offset, now_ns: u64) {
        let last = self.last;
        let Some(replica) = self.on_stream(member, stream).filter(|replica| replica.verified) else { return };
        if offset > last {
            return;
        }
        replica.acked = replica.acked.max(offset);
        if replica.acked >= last {
            replica.caught_up_ns = replica.caught_up_ns.max(now_ns);
        } else if replica.acked >= replica.seen.0 {
            replica.caught_up_ns = replica.caught_up_ns.max(replica.seen.1);
        }
        replica.seen = (last, now_ns);
        self.advance_mark();
    }

    /// A replica takes a record that is so long that it cannot acknowledge it in time. Since it gets on it need not leave the
    /// set, nor before `until_ns` for that record's sake. One that is not in the set does not come into it by that.
    pub fn takes(&mut self, member: Member, stream: StreamId, until_ns: u64) {
        if let Some(replica) = self.on_stream(member, stream).filter(|replica| replica.verified) {
            replica.taking_until_ns = replica.taking_until_ns.max(until_ns);
        }
    }

    /// A full sync is done: the replica now holds the primary's history up to `at`, and nothing else.
    pub fn synced(&mut self, member: Member, stream: StreamId, at: Offset, now_ns: u64) {
        let last = self.last;
        if let Some(replica) = self.on_stream(member, stream) {
            replica.verify(at.min(last), last, now_ns);
        }
    }

    /// A connection to a replica is gone: it counts again after another `hello`, which may have come already. One that
    /// broke can take minutes to end (what the network lost is sent again), long after its successor took over.
    pub fn disconnected(&mut self, member: Member, stream: StreamId) {
        if let Some(replica) = self.on_stream(member, stream) {
            replica.verified = false;
        }
    }

    /// The set to propose now, if another one than the committed is wanted. One proposal at a time, unless the
    /// outcome of the last is overdue.
    pub fn propose(&mut self, now_ns: u64) -> Option<Proposal> {
        if self.deposed || self.outstanding.len() >= MAX_OUTSTANDING || now_ns < self.not_before_ns {
            return None;
        }
        let overdue = self.timeout_ns.saturating_mul(2).max(1);
        if self.outstanding.iter().any(|proposal| now_ns.saturating_sub(proposal.since_ns) < overdue) {
            return None;
        }
        let in_sync = self.wanted(now_ns);
        let eligible = self.newly_eligible(&in_sync, now_ns);
        let discard: BTreeSet<Member> = self
            .to_discard
            .iter()
            .filter(|member| self.committed.contains(member) || self.eligible.contains(member))
            .copied()
            .collect();
        // An overdue proposal keeps its members in the union until some proposal settles the version.
        let same = in_sync == self.committed && eligible.is_empty() && discard.is_empty();
        if same && self.outstanding.is_empty() {
            return None;
        }
        self.proposals += 1;
        let id = self.proposals;
        self.outstanding.push(Outstanding {
            id,
            base: self.version,
            in_sync: in_sync.clone(),
            eligible: eligible.clone(),
            since_ns: now_ns,
        });
        let command = MapCommand::ProposeSet {
            shard: self.shard,
            term: self.term,
            by: self.me,
            expected_set_version: self.version,
            in_sync,
            discard,
            eligible,
        };
        Some(Proposal { id, command })
    }

    /// What became of a proposal. Only a refusal given *after* the version was found right says that no copy of
    /// it was applied before; for the others the next map tells.
    pub fn outcome(&mut self, id: u64, reply: Option<&MapReply>, now_ns: u64) {
        let Some(MapReply::Refused(refusal)) = reply else { return };
        self.not_before_ns = now_ns.saturating_add(self.timeout_ns / 16);
        let never_applied = matches!(
            refusal,
            Refusal::NotCurrent(_)
                | Refusal::NotAssigned(_)
                | Refusal::SetWithoutPrimary
                | Refusal::Invalid(_)
        );
        if never_applied || planted(Bug::RefusalSettles) {
            self.outstanding.retain(|proposal| proposal.id != id);
            self.advance_mark();
        }
    }

    fn wanted(&self, now_ns: u64) -> BTreeSet<Member> {
        let mut wanted = BTreeSet::from([self.me]);
        for (member, replica) in &self.replicas {
            if self.to_discard.contains(member) || !self.assigned.contains(&member.node) {
                continue;
            }
            let behind_ns = now_ns.saturating_sub(replica.caught_up_ns);
            let stalled_ns = now_ns.saturating_sub(replica.caught_up_ns.max(replica.taking_until_ns));
            let stays = self.committed.contains(member) && stalled_ns <= self.timeout_ns;
            let safe = self.mark.max(self.inherited);
            let joins = replica.verified && replica.acked >= safe && behind_ns <= self.timeout_ns / 2;
            if stays || joins {
                wanted.insert(*member);
            }
        }
        wanted
    }

    /// Whom to make eligible beside this in-sync set, see the module. Not who has just come and will rather be in sync in a
    /// moment: each proposal is a commit, and the next waits for it.
    fn newly_eligible(&self, in_sync: &BTreeSet<Member>, now_ns: u64) -> BTreeSet<Member> {
        let stands_still = self.committed.len() < self.min_in_sync && in_sync.len() < self.min_in_sync;
        if !stands_still && !planted(Bug::EligibleOverMinimum) {
            return BTreeSet::new();
        }
        let told_safe = match () {
            () if planted(Bug::EligibleBelowMark) => Offset(0),
            () if planted(Bug::EligibleAtKnownMark) => self.mark,
            () => self.mark.max(self.inherited),
        };
        let known = |member: &Member| {
            in_sync.contains(member)
                || self.committed.contains(member)
                || self.eligible.contains(member)
                || self.to_discard.contains(member)
        };
        self.replicas
            .iter()
            .filter(|(member, _)| self.assigned.contains(&member.node) && !known(member))
            .filter(|(_, replica)| replica.verified && replica.acked >= told_safe)
            .filter(|(_, replica)| {
                now_ns.saturating_sub(replica.verified_ns) >= self.timeout_ns / ELIGIBLE_AFTER
            })
            .map(|(member, _)| *member)
            .collect()
    }

    /// Whether a proposal that may still be applied makes it eligible.
    fn may_be_eligible(&self, member: Member) -> bool {
        self.outstanding.iter().any(|proposal| proposal.eligible.contains(&member))
    }

    fn advance_mark(&mut self) {
        let enough = self.can_ack_in_sync() || planted(Bug::MarkMovesBelowMinimum);
        if self.deposed || !enough {
            return;
        }
        let held = self.effective().iter().map(|member| self.held_by(*member)).min();
        if let Some(held) = held {
            self.mark = self.mark.max(held);
        }
    }

    fn held_by(&self, member: Member) -> Offset {
        if member == self.me {
            return self.last;
        }
        // What it acknowledged it keeps, connected or not: it leaves the sets before it discards anything.
        self.replicas.get(&member).map_or(Offset(0), |replica| replica.acked)
    }
}

#[cfg(test)]
#[path = "replica_set_tests.rs"]
mod tests;
