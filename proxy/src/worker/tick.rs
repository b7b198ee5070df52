//! The ticker: deadlines, held requests, idle clients, accounts of memory.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Worker;
use crate::downstream::client::Client;
use crate::upstream::link::Link;
use crate::upstream::outlier::{self, Sample};

/// The pause between rounds while nothing is held.
const QUIET: Duration = Duration::from_millis(100);
/// The pause between rounds while requests are held.
const BUSY: Duration = Duration::from_millis(25);
/// How often nodes are compared with each other.
const LOOK_NS: u64 = 1_000_000_000;
/// How often idle clients are looked for.
const IDLE_CHECK_NS: u64 = 1_000_000_000;

impl Worker {
    /// The ticker's task.
    pub(super) async fn ticker(self: Rc<Self>) {
        let (mut idle_check_ns, mut look_ns) = (0, 0);
        self.renew_settings();
        loop {
            tokio::time::sleep(if self.holding.get() { BUSY } else { QUIET }).await;
            let now_ns = self.clock.refresh();
            self.renew_settings();
            self.unblock_again();
            self.check_deadlines(now_ns);
            self.tick_feeds(now_ns);
            self.tick_hot(now_ns);
            self.count_memory();
            self.warm_up();
            if now_ns >= look_ns {
                look_ns = now_ns + LOOK_NS;
                self.look_for_outliers();
            }
            if now_ns >= idle_check_ns {
                idle_check_ns = now_ns + IDLE_CHECK_NS;
                self.close_idle();
            }
            self.retired.borrow_mut().retain(|link| !link.connections().is_empty());
        }
    }

    /// Opens connections that are not there yet, or not any more.
    pub(super) fn warm_up(self: &Rc<Self>) {
        if self.settings.borrow().warm_up && !self.draining.get() {
            let links: Vec<Rc<Link>> = self.links.borrow().values().cloned().collect();
            links.iter().for_each(|link| link.warm_up(self));
        }
    }

    fn look_for_outliers(&self) {
        let links = self.links.borrow();
        let samples: Vec<Sample> = links.values().map(|link| link.sample()).collect();
        let slow = outlier::slow(&samples);
        for ((link, slow), sample) in links.values().zip(slow).zip(&samples) {
            link.mark_slow(slow, sample.mean_ns);
        }
    }

    fn all_links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().chain(self.retired.borrow().iter()).cloned().collect()
    }

    /// Answers requests that no node answered in time. A connection on which nothing comes for another time-out
    /// is given up.
    fn check_deadlines(self: &Rc<Self>, now_ns: u64) {
        let patience_ns = u64::from(self.settings.borrow().request_timeout_ms) * 1_000_000;
        let limits = self.settings.borrow().breaker();
        let mut overdue = Vec::new();
        let read_patience_ns = u64::from(self.settings.borrow().replica_timeout_ms) * 1_000_000;
        for link in self.all_links() {
            if link.has_reads() {
                self.recall_reads(&link, read_patience_ns);
            }
            for connection in link.connections() {
                connection.take_overdue(now_ns, patience_ns, &mut overdue);
                connection.check_stream(self, now_ns);
                connection.check_upload(self, now_ns);
            }
            for (orphan, trace) in overdue.drain(..) {
                link.timed_out(limits);
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
        let most = self.settings.borrow().max_buffer_bytes;
        let inputs = self.inputs.get();
        if inputs > most {
            self.close_biggest_inputs(inputs - most);
        }
        let mut bytes = self.held.borrow().bytes() + inputs;
        for link in self.all_links() {
            bytes += link.connections().iter().map(|connection| connection.memory()).sum::<usize>();
        }
        let mut blocked = 0;
        let mut slowest: Option<(usize, Rc<Client>)> = None;
        for client in self.clients.borrow().values() {
            let held = client.outbox.borrow().held_bytes();
            client.info.output.store(held as u64, Ordering::Relaxed);
            let gathered = client.quest.borrow().as_ref().map_or(0, |quest| quest.held_bytes());
            bytes += held + gathered;
            // As Redis counts them: at nodes, or held up by CLIENT PAUSE.
            blocked += u64::from(client.waits.get() || client.pause_armed.get());
            if client.listening.get() {
                self.check_messages(client, held);
            }
            if client.blocked.get() && slowest.as_ref().is_none_or(|(most, _)| *most < held) {
                slowest = Some((held, Rc::clone(client)));
            }
        }
        self.metrics.blocked.set(blocked);
        self.metrics.buffered.set(bytes as u64);
        let crowded = bytes > most;
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

    /// Closes the clients whose unfinished requests are the biggest, until at least `excess` bytes are given back.
    /// Nothing of these requests was executed.
    fn close_biggest_inputs(&self, excess: usize) {
        let mut clients = self.clients();
        clients.sort_unstable_by_key(|client| std::cmp::Reverse(client.input.get()));
        let mut left = excess;
        for client in clients {
            let bytes = client.input.get();
            if left == 0 || bytes == 0 {
                return;
            }
            tracing::warn!(client = client.id(), address = %client.info.address, bytes,
                "buffers are full: closing the client with the biggest unfinished request");
            self.metrics.input_closed.add(1);
            client.kill();
            left = left.saturating_sub(bytes);
        }
    }

    /// Closes a client that leaves many messages unread for long.
    fn check_messages(&self, client: &Rc<Client>, held: usize) {
        let config = self.settings();
        if config.pubsub_output_soft_bytes == 0 || held <= config.pubsub_output_soft_bytes {
            client.unread_since_ns.set(0);
            return;
        }
        let now_ns = self.clock.now_ns();
        if client.unread_since_ns.get() == 0 {
            client.unread_since_ns.set(now_ns);
        } else if now_ns - client.unread_since_ns.get()
            > config.pubsub_output_soft_ms.saturating_mul(1_000_000)
            && !client.killed.get()
        {
            client.close_slow_listener(self, held);
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
            let busy = client.outbox.borrow().pending() > 0 || client.listening.get();
            if !busy && now_ms.saturating_sub(active_ms) > timeout_ms {
                client.kill();
            }
        }
    }
}
