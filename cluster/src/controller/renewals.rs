//! Heartbeats on their way to an answer. They wait in batches: each batch is answered after one confirmation
//! of leadership that began after the last of them had come in.

use super::MAX_WAITING_HEARTBEATS;
use crate::ids::{Member, ShardId, Term};
use crate::message::Heartbeat;
use std::collections::VecDeque;

/// A heartbeat and when it came in.
pub(super) type Received = (Heartbeat, u64);

/// Owned by the controller of one reign.
#[derive(Clone, Debug, Default)]
pub(super) struct Renewals {
    waiting: VecDeque<Received>,
    confirming: Option<Batch>,
}

#[derive(Clone, Debug)]
struct Batch {
    id: u64,
    began_ns: u64,
    heartbeats: Vec<Received>,
}

impl Renewals {
    pub(super) fn push(&mut self, heartbeat: Heartbeat, now_ns: u64) {
        if self.waiting.len() >= MAX_WAITING_HEARTBEATS {
            self.waiting.pop_front();
        }
        self.waiting.push_back((heartbeat, now_ns));
    }

    /// Starts a confirmation, as batch `id`, when heartbeats wait and none is under way. One that got no answer within
    /// `patience_ns` is given up; what was in it waits for the next.
    pub(super) fn begin(&mut self, id: u64, now_ns: u64, patience_ns: u64) -> Option<u64> {
        if let Some(batch) = &self.confirming {
            if now_ns.saturating_sub(batch.began_ns) < patience_ns {
                return None;
            }
            // Too old to be of use to the senders; they have sent newer ones.
            self.confirming = None;
        }
        if self.waiting.is_empty() {
            return None;
        }
        let heartbeats = std::mem::take(&mut self.waiting).into();
        self.confirming = Some(Batch { id, began_ns: now_ns, heartbeats });
        Some(id)
    }

    /// Whether that member, fit to serve, has asked for the lease of this term and waits for the answer.
    pub(super) fn asks(&self, member: Member, shard: ShardId, term: Term) -> bool {
        let confirming = self.confirming.iter().flat_map(|batch| &batch.heartbeats);
        confirming.chain(&self.waiting).any(|(heartbeat, _)| {
            heartbeat.from == member
                && heartbeat.healthy
                && heartbeat
                    .shards
                    .iter()
                    .any(|report| report.shard == shard && report.term == term && report.wants_lease)
        })
    }

    /// The heartbeats of a batch whose confirmation came in; nothing for one that was given up.
    pub(super) fn confirmed(&mut self, batch: u64) -> Vec<Received> {
        match self.confirming.take_if(|confirming| confirming.id == batch) {
            Some(batch) => batch.heartbeats,
            None => Vec::new(),
        }
    }
}
