//! Events in, decisions out; and the answers to heartbeats.

use super::failover::{Failover, StepDown};
use super::renewals::{Received, Renewals};
use super::roster::Roster;
use crate::bugs::{Bug, planted};
use crate::ids::{Member, NodeId, ShardId, Term};
use crate::lease::LeaseTable;
use crate::map::{ClusterMap, MapCommand, MapReply, ShardState};
use crate::message::{
    Denial, Grant, Heartbeat, HeartbeatReply, MAX_REPORTS, SealReply, SealRequest, ShardReport,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// This node leads the control plane from now on.
    BecameLeader,
    LostLeadership,
    /// The map was applied up to here.
    MapChanged(Arc<ClusterMap>),
    Heartbeat(Heartbeat),
    /// A quorum confirmed the leadership after the batch was closed.
    Confirmed {
        batch: u64,
    },
    SealReply(SealReply),
    /// What became of a proposal; `None` when that is not known.
    Proposed {
        id: u64,
        outcome: Option<MapReply>,
    },
    /// A person wants another primary than that of the term (of any, when none is named), that node if one is named. No
    /// write is lost. Said again it does nothing.
    FailoverRequested {
        shard: ShardId,
        to: Option<NodeId>,
        term: Option<Term>,
    },
    /// A person gives up what the candidates hold, in that term if one is named.
    UncleanRequested {
        shard: ShardId,
        to: Member,
        term: Option<Term>,
    },
    /// Time passed. To be given every few ms (a tenth of `renew_ms` or more often).
    Tick,
}

/// What shall be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Have a quorum confirm the leadership, then say `Confirmed` with this number.
    ConfirmLeadership { batch: u64 },
    /// Answer a heartbeat.
    Reply(HeartbeatReply),
    /// Send to a candidate.
    Seal { to: Member, request: SealRequest },
    /// Propose to consensus, once.
    Propose { id: u64, command: MapCommand },
    /// A line of the story, for the log.
    Story { shard: ShardId, text: String },
}

/// One reign.
pub(super) struct Reign {
    /// Its number in the map, once its beginning is committed. Nothing is granted or replaced before.
    number: Option<u64>,
    /// The proposal of its beginning whose outcome is not known, the number it would give, and since when.
    beginning: Option<(u64, u64, u64)>,
    pub(super) leases: LeaseTable,
    pub(super) renewals: Renewals,
    pub(super) roster: Roster,
    pub(super) failovers: BTreeMap<ShardId, Failover>,
    pub(super) step_downs: BTreeMap<ShardId, StepDown>,
}

/// See the module. Owned by the control thread of a node that votes.
pub struct Controller {
    pub(super) map: Arc<ClusterMap>,
    pub(super) reign: Option<Reign>,
    /// Numbers of proposals and of batches; they go on over reigns so that a late answer is never mistaken.
    pub(super) proposals: u64,
    batches: u64,
    pub(super) out: Vec<Decision>,
}

impl Controller {
    /// A controller that does not lead.
    pub fn new(map: Arc<ClusterMap>) -> Self {
        Controller { map, reign: None, proposals: 0, batches: 0, out: Vec::new() }
    }

    pub fn is_leading(&self) -> bool {
        self.reign.is_some()
    }

    /// Failovers under way.
    pub fn failovers(&self) -> usize {
        self.reign.as_ref().map_or(0, |reign| reign.failovers.len())
    }

    /// What every member said last of its shards, and how many ns ago: for status pages. Empty unless leading.
    pub fn reports(&self, now_ns: u64) -> impl Iterator<Item = (Member, u64, &ShardReport)> {
        self.reign.iter().flat_map(move |reign| reign.roster.reports(now_ns))
    }

    /// Takes one event.
    pub fn step(&mut self, now_ns: u64, event: Event) -> Vec<Decision> {
        match event {
            Event::BecameLeader => self.became_leader(now_ns),
            Event::LostLeadership => self.reign = None,
            Event::MapChanged(map) => self.map_changed(map, now_ns),
            Event::Heartbeat(heartbeat) => self.heartbeat(heartbeat, now_ns),
            Event::Confirmed { batch } => self.confirmed(batch, now_ns),
            Event::SealReply(reply) => self.seal_reply(reply, now_ns),
            Event::Proposed { id, outcome } => self.proposed(id, outcome, now_ns),
            Event::FailoverRequested { shard, to, term } => self.failover_requested(shard, to, term, now_ns),
            Event::UncleanRequested { shard, to, term } => self.unclean_requested(shard, to, term, now_ns),
            Event::Tick => {
                self.begin_reign(now_ns);
                self.begin_confirmation(now_ns);
                self.advance_all(now_ns);
            }
        }
        std::mem::take(&mut self.out)
    }

    fn became_leader(&mut self, now_ns: u64) {
        self.reign = Some(Reign {
            number: None,
            beginning: None,
            leases: LeaseTable::new(now_ns, self.map.lease_bound_ns()),
            renewals: Renewals::default(),
            roster: Roster::default(),
            failovers: BTreeMap::new(),
            step_downs: BTreeMap::new(),
        });
        self.begin_reign(now_ns);
    }

    /// The number of this reign, while the map says that it is the current one.
    pub(super) fn number(&self) -> Option<u64> {
        self.reign.as_ref()?.number.filter(|number| *number == self.map.reign || planted(Bug::ReignIgnored))
    }

    /// Proposes the beginning of this reign, unless it has begun or that is under way.
    fn begin_reign(&mut self, now_ns: u64) {
        let patience_ns = self.map.settings.lease_bound_ns();
        let Some(reign) = &mut self.reign else { return };
        let waits = reign.beginning.is_some_and(|(_, _, since)| now_ns.saturating_sub(since) < patience_ns);
        if reign.number.is_some() || waits {
            return;
        }
        self.proposals += 1;
        let expected = self.map.reign;
        reign.beginning = Some((self.proposals, expected.saturating_add(1), now_ns));
        self.out.push(Decision::Propose { id: self.proposals, command: MapCommand::BeginReign { expected } });
    }

    /// What became of the proposal of this reign's beginning. `false`: it was about something else.
    pub(super) fn reign_proposed(&mut self, id: u64, outcome: Option<&MapReply>, now_ns: u64) -> bool {
        let wait = if planted(Bug::NoWaitAfterElection) { 0 } else { self.map.lease_bound_ns() };
        let Some(reign) = &mut self.reign else { return false };
        let Some((_, number, _)) = reign.beginning.filter(|(proposal, ..)| *proposal == id) else {
            return false;
        };
        match outcome {
            // The map names another reign by now; the next tick tries again.
            Some(MapReply::Refused(_)) => reign.beginning = None,
            Some(_) => {
                reign.beginning = None;
                reign.number = Some(number);
                // From here on nobody else grants. Until just now somebody may have: this controller may have
                // believed in itself for long before it could begin.
                reign.leases = LeaseTable::new(now_ns, wait);
                self.begin_confirmation(now_ns);
            }
            // It may have been committed or not: the next one is refused in the former case, and begins anew.
            None => {}
        }
        true
    }

    fn map_changed(&mut self, map: Arc<ClusterMap>, now_ns: u64) {
        // The driver may give an older one when it gathers maps from several places.
        if map.epoch < self.map.epoch {
            return;
        }
        self.map = map;
        let begun = self.reign.as_ref().and_then(|reign| reign.number);
        if begun.is_some_and(|number| number != self.map.reign) && !planted(Bug::ReignIgnored) {
            // Another controller reigned meanwhile. If this one really leads again it has to start anew: it does
            // not know which leases the other gave.
            self.became_leader(now_ns);
        }
        let Some(reign) = &mut self.reign else { return };
        let map = &self.map;
        reign.roster.retain(map);
        reign.leases.retain(|shard| map.shards.contains_key(&shard));
        reign.failovers.retain(|shard, _| map.shards.contains_key(shard));
        reign.step_downs.retain(|shard, _| map.shards.contains_key(shard));
        let under_way: Vec<ShardId> = reign.failovers.keys().copied().collect();
        for shard in under_way {
            self.advance(shard, now_ns);
        }
    }

    fn heartbeat(&mut self, mut heartbeat: Heartbeat, now_ns: u64) {
        let Some(reign) = &mut self.reign else { return };
        heartbeat.shards.truncate(MAX_REPORTS);
        if !self.map.is_current(heartbeat.from) {
            self.out.push(Decision::Reply(HeartbeatReply {
                to: heartbeat.from,
                sent_id: heartbeat.sent_id,
                epoch: self.map.epoch,
                grants: Vec::new(),
                denials: heartbeat.shards.iter().map(|r| (r.shard, Denial::NotRegistered)).collect(),
                step_down: Vec::new(),
            }));
            return;
        }
        reign.roster.heard(&heartbeat, now_ns);
        let mut handed_back = Vec::new();
        for report in heartbeat.shards.iter().filter(|report| report.handed_back) {
            let Some(state) = self.map.shard(report.shard) else { continue };
            let is_primary = state.term == report.term && state.primary == Some(heartbeat.from);
            if is_primary && !reign.leases.is_handed_back(report.shard, report.term) {
                reign.leases.handed_back(report.shard, report.term);
                self.out.push(Decision::Story {
                    shard: report.shard,
                    text: format!("{} gave back its lease of term {}", heartbeat.from, report.term),
                });
                handed_back.push(report.shard);
            }
        }
        if planted(Bug::GrantWithoutQuorum) {
            self.answer((heartbeat, now_ns), now_ns);
        } else {
            reign.renewals.push(heartbeat, now_ns);
            self.begin_confirmation(now_ns);
        }
        for shard in handed_back {
            self.advance(shard, now_ns);
        }
    }

    fn begin_confirmation(&mut self, now_ns: u64) {
        if self.number().is_none() {
            return;
        }
        let Some(reign) = &mut self.reign else { return };
        let patience = self.map.settings.lease_bound_ns();
        if let Some(batch) = reign.renewals.begin(self.batches + 1, now_ns, patience) {
            self.batches = batch;
            self.out.push(Decision::ConfirmLeadership { batch });
        }
    }

    fn confirmed(&mut self, batch: u64, now_ns: u64) {
        if self.number().is_none() {
            return;
        }
        let Some(reign) = &mut self.reign else { return };
        for received in reign.renewals.confirmed(batch) {
            self.answer(received, now_ns);
        }
        self.begin_confirmation(now_ns);
    }

    /// Answers a heartbeat once the leadership is confirmed.
    fn answer(&mut self, (heartbeat, received_ns): Received, now_ns: u64) {
        let Some(reign) = &mut self.reign else { return };
        let map = &self.map;
        let lease_bound_ns = map.settings.lease_bound_ns();
        let mut reply = HeartbeatReply {
            to: heartbeat.from,
            sent_id: heartbeat.sent_id,
            epoch: map.epoch,
            grants: Vec::new(),
            denials: Vec::new(),
            step_down: Vec::new(),
        };
        for report in heartbeat.shards.iter().filter(|report| report.wants_lease) {
            let verdict = match map.shard(report.shard) {
                None => Err(Denial::NotPrimary),
                Some(state) => may_renew(map, state, reign, &heartbeat, report),
            };
            let verdict = verdict.and_then(|()| {
                let granted = reign.leases.grant(report.shard, report.term, received_ns, lease_bound_ns);
                if granted { Ok(()) } else { Err(Denial::HandedBack) }
            });
            match verdict {
                Ok(()) => reply.grants.push(Grant {
                    shard: report.shard,
                    term: report.term,
                    lease_ms: map.settings.lease_ms,
                }),
                Err(denial) => reply.denials.push((report.shard, denial)),
            }
            if let (Some(wanted), Some(state)) =
                (reign.step_downs.get(&report.shard), map.shard(report.shard))
                && wanted.term == report.term
                && wanted.is_due(state, now_ns)
            {
                reply.step_down.push((report.shard, report.term));
            }
        }
        self.out.push(Decision::Reply(reply));
    }

    pub(super) fn story(&mut self, shard: ShardId, text: String) {
        self.out.push(Decision::Story { shard, text });
    }
}

fn may_renew(
    map: &ClusterMap,
    state: &ShardState,
    reign: &Reign,
    heartbeat: &Heartbeat,
    report: &ShardReport,
) -> Result<(), Denial> {
    if !map.is_current(heartbeat.from) {
        return Err(Denial::NotRegistered);
    }
    if state.pending_term.is_some() || reign.failovers.contains_key(&report.shard) {
        return Err(Denial::FailoverPending);
    }
    if !state.is_reigning(heartbeat.from, report.term) {
        return Err(Denial::NotPrimary);
    }
    if !heartbeat.healthy {
        return Err(Denial::Unhealthy);
    }
    Ok(())
}
