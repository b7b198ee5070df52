//! The ticker: deadlines, held requests, idle clients, accounts of memory.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Worker;
use crate::downstream::client::Client;
use crate::upstream::link::Link;

/// The pause between rounds while nothing is held.
const QUIET: Duration = Duration::from_millis(100);
/// The pause between rounds while requests are held.
const BUSY: Duration = Duration::from_millis(25);
/// How often idle clients are looked for.
const IDLE_CHECK_NS: u64 = 1_000_000_000;

impl Worker {
    /// The ticker's task.
    pub(super) async fn ticker(self: Rc<Self>) {
        let mut idle_check_ns = 0;
        self.renew_settings();
        loop {
            tokio::time::sleep(if self.holding.get() { BUSY } else { QUIET }).await;
            let now_ns = self.clock.refresh();
            self.renew_settings();
            self.retry(false);
            self.check_deadlines(now_ns);
            self.count_memory();
            if now_ns >= idle_check_ns {
                idle_check_ns = now_ns + IDLE_CHECK_NS;
                self.close_idle();
            }
            self.retired.borrow_mut().retain(|link| !link.connections().is_empty());
        }
    }

    fn all_links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().chain(self.retired.borrow().iter()).cloned().collect()
    }

    /// Answers requests that no node answered in time. A connection on which nothing comes for another time-out
    /// is given up.
    fn check_deadlines(&self, now_ns: u64) {
        let patience_ns = u64::from(self.settings.borrow().request_timeout_ms) * 1_000_000;
        let mut overdue = Vec::new();
        for link in self.all_links() {
            for connection in link.connections() {
                connection.take_overdue(now_ns, patience_ns, &mut overdue);
            }
            for (orphan, trace) in overdue.drain(..) {
                let took_ns = now_ns.saturating_sub(orphan.pending.since_ns);
                if self.is_slow(&orphan.pending, took_ns) {
                    self.note_slow(&link, &orphan.pending, took_ns, &orphan.bytes, (trace, false));
                }
                self.overdue(&orphan);
            }
        }
    }

    /// Adds up what the buffers hold. Above the bound clients are read from only as replies leave.
    fn count_memory(&self) {
        let mut bytes = self.held.borrow().bytes();
        for link in self.all_links() {
            bytes += link.connections().iter().map(|connection| connection.buffered()).sum::<usize>();
        }
        let mut slowest: Option<(usize, Rc<Client>)> = None;
        for client in self.clients.borrow().values() {
            let held = client.outbox.borrow().held_bytes();
            client.info.output.store(held as u64, Ordering::Relaxed);
            bytes += held;
            if client.blocked.get() && slowest.as_ref().is_none_or(|(most, _)| *most < held) {
                slowest = Some((held, Rc::clone(client)));
            }
        }
        self.metrics.buffered.set(bytes as u64);
        let crowded = bytes > self.settings.borrow().max_buffer_bytes;
        if crowded
            && let Some((held, client)) =
                slowest.filter(|(held, _)| *held > self.settings.borrow().client_output_soft_bytes)
        {
            tracing::warn!(client = client.id(), address = %client.info.address, bytes = held,
                "buffers are full: closing the client that leaves the most unread");
            self.metrics.output_closed.add(1);
            client.kill();
        }
        if self.crowded.replace(crowded) && !crowded {
            self.clients.borrow().values().for_each(|client| client.wake());
        }
    }

    fn close_idle(&self) {
        let timeout_ms = self.settings.borrow().idle_timeout_ms;
        if timeout_ms == 0 {
            return;
        }
        let now_ms = self.clock.unix_ms();
        for client in self.clients.borrow().values() {
            let active_ms = client.info.active_ms.load(Ordering::Relaxed);
            let busy = client.outbox.borrow().pending() > 0;
            if !busy && now_ms.saturating_sub(active_ms) > timeout_ms {
                client.kill();
            }
        }
    }
}
