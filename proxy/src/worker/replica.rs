//! Reads that come back from replicas without an answer: the primary answers them.

use std::rc::Rc;

use torc_protocol::error;

use super::{Worker, retry};
use crate::upstream::body::{Body, Renewal, renew};
use crate::upstream::link::Link;
use crate::upstream::pending::{NEVER, Pending};

/// How long a replica is not read from after it was found stale: about as long as it takes to learn that it is not.
const STALE_PAUSE_NS: u64 = 100_000_000;
/// The same after it did not answer.
const SILENT_PAUSE_NS: u64 = 1_000_000_000;

impl Worker {
    /// A replica has refused a read with this reply.
    pub fn refused_by_replica(self: &Rc<Self>, pending: Pending, bytes: &[u8], link: &Link, reply: &[u8]) {
        let is = |text: &str| reply.get(1..).is_some_and(|reply| reply.starts_with(text.as_bytes()));
        if is(error::REPLICA_STALE) {
            self.metrics.replica_stale.add(1);
            link.leave_alone(self, STALE_PAUSE_NS);
        } else if is(error::REPLICA_BEHIND) {
            self.metrics.replica_behind.add(1);
        } else if is(error::REPLICA_CANNOT) {
            // It could answer other reads.
            self.metrics.replica_returned.add(1);
        } else {
            self.metrics.replica_returned.add(1);
            link.leave_alone(self, STALE_PAUSE_NS);
        }
        self.read_at_primary(pending, bytes);
    }

    /// Takes back the reads that a replica has not answered for `patience_ns`.
    pub(super) fn recall_reads(self: &Rc<Self>, link: &Rc<Link>, patience_ns: u64) {
        let now_ns = self.clock.now_ns();
        for connection in link.connections() {
            let late = |pending: &Pending| pending.since_ns.saturating_add(patience_ns) <= now_ns;
            let taken = connection.take_if(|asked| asked.pending.replica && late(asked.pending));
            for orphan in taken {
                self.metrics.replica_returned.add(1);
                link.leave_alone(self, SILENT_PAUSE_NS);
                if patience_ns > 0 {
                    link.timed_out(self.settings.borrow().breaker());
                }
                self.read_at_primary(orphan.pending, &orphan.bytes);
            }
        }
    }

    /// Sends a read that went to a replica to the primary of its shard.
    pub fn read_at_primary(self: &Rc<Self>, mut pending: Pending, bytes: &[u8]) {
        pending.replica = false;
        let now_ns = self.clock.now_ns();
        if pending.client.as_ref().is_none_or(|client| client.closed.get()) {
            return;
        }
        if pending.deadline_ns != NEVER && pending.deadline_ns <= now_ns {
            self.metrics.timeouts.add(1);
            return self.fail(&pending, retry::timeout_text(&pending, false));
        }
        let routes = self.routes();
        let renewal = Renewal {
            epoch: routes.table.epoch,
            deadline_ms: pending.left_ms(now_ns),
            id: Default::default(),
            repeated: false,
            wait_ms: None,
        };
        let mut renewed = self.pool.take();
        renew(bytes, renewal, &mut renewed);
        self.submit(&routes, pending, Body::Frames { bytes: &renewed, id_at: None });
        self.pool.give(renewed);
    }
}
