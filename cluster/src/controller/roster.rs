//! Whom the controller has heard from, and what they said last.

use crate::ids::{Epoch, Member, NodeId, Position, ShardId, Term};
use crate::map::ClusterMap;
use crate::message::{Heartbeat, ShardReport};
use std::collections::BTreeMap;

/// The last heartbeat of a node.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) member: Member,
    sent_id: u64,
    heard_ns: u64,
    /// The map it had then.
    epoch: Epoch,
    /// Fit to be primary: healthy and here to stay.
    pub(super) fit: bool,
    pub(super) shards: Vec<ShardReport>,
}

/// Owned by the controller. One entry per node of the map at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    nodes: BTreeMap<NodeId, Seen>,
}

impl Roster {
    /// Notes a heartbeat of a registered incarnation.
    pub(super) fn heard(&mut self, heartbeat: &Heartbeat, now_ns: u64) {
        let seen = Seen {
            member: heartbeat.from,
            sent_id: heartbeat.sent_id,
            heard_ns: now_ns,
            epoch: heartbeat.epoch,
            fit: heartbeat.healthy && !heartbeat.leaving,
            shards: heartbeat.shards.clone(),
        };
        match self.nodes.get_mut(&heartbeat.from.node) {
            // One that was overtaken on its way.
            Some(known) if known.member == seen.member && known.sent_id > seen.sent_id => {
                known.heard_ns = now_ns;
            }
            Some(known) => *known = seen,
            None => {
                self.nodes.insert(heartbeat.from.node, seen);
            }
        }
    }

    /// What a member said last, if that is not longer ago than `within_ns`.
    pub(super) fn alive(&self, member: Member, now_ns: u64, within_ns: u64) -> Option<&Seen> {
        self.nodes
            .get(&member.node)
            .filter(|seen| seen.member == member && now_ns.saturating_sub(seen.heard_ns) <= within_ns)
    }

    /// When a member was heard of last, and the last record of the shard that it spoke of then, if it wrote or
    /// followed in that term.
    pub(super) fn last_words(
        &self,
        member: Member,
        shard: ShardId,
        term: Term,
    ) -> Option<(u64, Option<Position>)> {
        let seen = self.nodes.get(&member.node).filter(|seen| seen.member == member)?;
        let report = seen.shards.iter().find(|report| report.shard == shard && report.term == term);
        Some((seen.heard_ns, report.map(|report| report.last)))
    }

    /// What a member said last of a shard, when it was heard of, and the map it had when it said so.
    pub(super) fn said(&self, member: Member, shard: ShardId) -> Option<(u64, Epoch, &ShardReport)> {
        let seen = self.nodes.get(&member.node).filter(|seen| seen.member == member)?;
        let report = seen.shards.iter().find(|report| report.shard == shard)?;
        Some((seen.heard_ns, seen.epoch, report))
    }

    /// What was said last of each shard, and how long ago, in ns.
    pub(super) fn reports(&self, now_ns: u64) -> impl Iterator<Item = (Member, u64, &ShardReport)> {
        self.nodes.values().flat_map(move |seen| {
            let age_ns = now_ns.saturating_sub(seen.heard_ns);
            seen.shards.iter().map(move |report| (seen.member, age_ns, report))
        })
    }

    /// Forgets nodes and incarnations that the map does not know (any more).
    pub(super) fn retain(&mut self, map: &ClusterMap) {
        self.nodes.retain(|_, seen| map.is_current(seen.member));
    }
}
