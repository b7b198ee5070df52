//! Replies leave: the checks before each write, barriers, and the account of what clients leave unread.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use torc_runtime::clock;

use super::super::output::Check;
use super::{Connection, End, NODE_UNREAD_BYTES, SHARE_BYTES};
use crate::clients::Client;
use crate::shard::Role;

impl Connection {
    /// Writes what may leave. In a cluster every reply's lease and barrier are looked at before.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        while self.output.unsent() > 0 && !self.socket_full {
            let bytes = if self.output.is_marked() {
                let check = self.check();
                let (bytes, replaced) = self.output.settle(&check);
                let stats = self.worker.stats();
                stats.uncertain.add(replaced.uncertain);
                stats.redirected.add(replaced.refused);
                bytes
            } else {
                self.output.rest()
            };
            if bytes.is_empty() {
                if self.bar() {
                    break;
                }
                continue;
            }
            match self.stream.send(bytes) {
                Ok(0) => return Err(End::Quiet),
                Ok(count) => {
                    self.worker.stats().bytes_out.add(count as u64);
                    Client::count(&self.client.net_out, count as u64);
                    self.output.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.socket_full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.account()
    }

    /// The node's state, freshly read.
    pub(super) fn check(&self) -> Check {
        let shard = &self.worker.node.shard;
        let now_ns = clock::boottime_ns();
        let reigns = shard.role() == Role::Primary && now_ns < shard.lease_until_ns();
        Check { now_ns, term: reigns.then(|| shard.term().0), mark: shard.mark() }
    }

    /// The head of the output waits for the high-water mark; false when it has come just now.
    fn bar(&mut self) -> bool {
        let check = self.check();
        let Some(wait) = self.output.waits(&check) else { return false };
        if self.barred.as_ref().is_none_or(|(old, _)| *old != wait) {
            self.unbar();
            let left = Duration::from_nanos(wait.deadline_ns.saturating_sub(check.now_ns));
            self.barred = Some((wait, Box::pin(tokio::time::sleep(left))));
            self.stirred = true;
        }
        true
    }

    pub(super) fn unbar(&mut self) {
        if let Some((wait, _)) = self.barred.take() {
            self.worker.forget_wait(wait.barrier, self.client.id);
        }
    }

    /// Keeps the node's account of unread replies, and ends clients that leave too much unread.
    fn account(&mut self) -> Result<(), End> {
        let unsent = self.output.unsent();
        if unsent == self.accounted {
            return Ok(());
        }
        let total = &self.worker.node.clients.unsent_bytes;
        if unsent > self.accounted {
            total.fetch_add(unsent - self.accounted, Ordering::Relaxed);
        } else {
            total.fetch_sub(self.accounted - unsent, Ordering::Relaxed);
        }
        self.accounted = unsent;
        self.client.output_bytes.store(unsent, Ordering::Relaxed);
        if unsent == 0 {
            self.soft_since_ms = 0;
            return Ok(());
        }
        let settings = self.worker.node.settings.load();
        let above = |limit: u64| limit > 0 && unsent as u64 > limit;
        let now_ms = clock::unix_ms();
        let listens = self.session.subscriptions.as_ref().is_some_and(|s| s.any());
        let (hard, soft, soft_s) = if listens {
            (settings.pubsub_hard_bytes, settings.pubsub_soft_bytes, settings.pubsub_soft_s)
        } else {
            (settings.output_hard_bytes, settings.output_soft_bytes, settings.output_soft_s)
        };
        let mut too_much = above(hard);
        // Who listens is sent what nobody asks for: the bound of all clients together ends it, too.
        too_much |= self.session.subscriptions.is_some()
            && unsent > SHARE_BYTES
            && total.load(Ordering::Relaxed) > NODE_UNREAD_BYTES;
        if above(soft) {
            if self.soft_since_ms == 0 {
                self.soft_since_ms = now_ms;
            }
            too_much |= now_ms - self.soft_since_ms.min(now_ms) > soft_s * 1000;
        } else {
            self.soft_since_ms = 0;
        }
        if too_much {
            tracing::info!(client = self.client.id, addr = %self.client.addr, unsent, "closed: unread replies");
            return Err(End::Quiet);
        }
        Ok(())
    }
}
