//! What this node tells tools of itself and of the cluster.

use torc_runtime::clock::boottime_ns;

use super::Agent;
use super::admin::{Local, Status};
use crate::shard::Role;

impl Agent {
    /// Everything this node knows.
    pub(super) async fn status(&self) -> Status {
        let voter = self.leading();
        let reports = match &voter {
            Some(voter) => voter.controller.reports().await,
            None => Vec::new(),
        };
        Status {
            node: self.me.node,
            map: (*self.map()).clone(),
            leader: voter.is_some(),
            leader_address: self.leader_address(),
            reports,
            local: self.local(),
            promotions: self.promotions.list(),
        }
    }

    /// This node about itself.
    pub fn local(&self) -> Local {
        let node = &self.node;
        let summary = self.repl.summary(node);
        let role = match node.shard.role() {
            Role::Plain => "plain",
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Joining => "joining",
        };
        Local {
            role: role.to_owned(),
            term: node.shard.term().0,
            last: summary.last,
            mark: summary.mark.0,
            lease_ms: node.shard.lease_until_ns().saturating_sub(boottime_ns()) / 1_000_000,
            keys: node.store.count_keys() as u64,
            used_bytes: node.store.used_bytes() as u64,
            whole: summary.whole,
            dropped_records: summary.dropped_records,
            last_dropped: summary.last_dropped,
            streaming: summary.streaming,
            primary_silent_ms: match summary.heard_ns {
                0 => None,
                heard_ns => Some(boottime_ns().saturating_sub(heard_ns) / 1_000_000),
            },
        }
    }
}
