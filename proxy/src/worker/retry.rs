//! What becomes of requests that could not be answered where they were sent.

use std::rc::Rc;
use std::time::Duration;

use torc_protocol::error;

use super::{Routes, Worker};
use crate::text;
use crate::upstream::body::{Body, Renewal, may_repeat, renew};
use crate::upstream::connection::Orphan;
use crate::upstream::ids::Ticket;
use crate::upstream::link::Link;
use crate::upstream::pending::{Pending, Way};

impl Worker {
    /// The connection of a request broke.
    pub fn lost(self: &Rc<Self>, orphan: Orphan) {
        let Orphan { mut pending, bytes, sent } = orphan;
        if pending.is_called_off() {
            return;
        }
        if pending.replica {
            self.metrics.replica_returned.add(1);
            return self.read_at_primary(pending, &bytes);
        }
        if matches!(pending.way, Way::OneShot | Way::Watching)
            && pending.quest.is_none()
            && let Some(client) = &pending.client
        {
            self.give_back(client);
        }
        if pending.way == Way::Upload {
            // Without its end nobody has executed it.
            let text = if sent { error::UNCERTAIN_UPSTREAM } else { text::UPLOAD_LOST };
            return self.fail(&pending, text);
        }
        if pending.way == Way::Watching {
            // What was watched is forgotten with the connection: the transaction must not run elsewhere.
            return match sent {
                true => self.fail(&pending, error::UNCERTAIN_UPSTREAM),
                false => self.abort(&pending),
            };
        }
        pending.doubtful |= sent;
        if !sent || may_repeat(pending.command, &bytes) {
            self.hold(pending, bytes);
        } else {
            self.fail(&pending, error::UNCERTAIN_UPSTREAM);
        }
    }

    /// Nobody may wait for a request any longer; `sent`: the node may have executed it.
    pub fn overdue(&self, orphan: &Orphan) {
        self.metrics.timeouts.add(1);
        self.fail(&orphan.pending, timeout_text(&orphan.pending, orphan.sent));
    }

    /// Answers the EXEC of a transaction whose watched keys can no longer be vouched for, as if they had changed.
    fn abort(self: &Rc<Self>, pending: &Pending) {
        use torc_protocol::command::{Command, TransactionCommand};
        if pending.command == Command::Transactions(TransactionCommand::Exec) {
            self.deliver(pending, b"_\r\n", None, self.clock.now_ns());
        } else {
            self.fail(pending, text::NO_PRIMARY);
        }
    }

    /// The retrier's task: tries what is held as soon as its pause is over. The ticker's rounds are too far apart for
    /// that: a failover that was asked for takes some ten milliseconds.
    pub(super) async fn retrier(self: Rc<Self>) {
        loop {
            let due_ns = self.held.borrow().next_due_ns();
            let Some(due_ns) = due_ns else {
                self.held_news.notified().await;
                continue;
            };
            let left = Duration::from_nanos(due_ns.saturating_sub(self.clock.refresh()));
            if !left.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    // Another shard, which may be due earlier.
                    () = self.held_news.notified() => {}
                }
                continue;
            }
            self.retry(false);
        }
    }

    /// Tries what is held: all of it when the map has changed, else what is due.
    pub(super) fn retry(self: &Rc<Self>, all: bool) {
        if !self.holding.get() {
            return;
        }
        let now_ns = self.clock.refresh();
        let due = self.held.borrow_mut().take_due(now_ns, all);
        let routes = self.routes();
        let mut stuck = Vec::new();
        let mut renewed = self.pool.take();
        for held in due {
            let mut pending = held.pending;
            if pending.is_called_off() {
                continue;
            }
            if pending.deadline_ns <= now_ns {
                self.metrics.timeouts.add(1);
                self.fail(&pending, timeout_text(&pending, false));
                continue;
            }
            if let Some(text) = self.fail_homeless(pending.dest) {
                self.fail(&pending, text);
                continue;
            }
            let place = routes.place(pending.dest);
            let link = match place.and_then(|index| routes.link(index)) {
                Some(link) if !stuck.contains(&place) && !link.is_paused(self) => Some(link),
                _ => None,
            };
            let Some(link) = link else {
                stuck.push(place);
                self.hold(pending, held.bytes);
                continue;
            };
            if pending.way == Way::OneShot {
                self.renew(&routes, &mut pending, &held.bytes, &mut renewed);
                self.submit_alone(&routes, pending, Body::Frames { bytes: &renewed, id_at: None });
            } else if let Err(pending) = self.send_again(&routes, link, pending, &held.bytes, &mut renewed) {
                stuck.push(place);
                self.hold(pending, held.bytes);
            }
        }
        self.pool.give(renewed);
        let mut held = self.held.borrow_mut();
        held.tidy(now_ns);
        self.holding.set(!held.is_empty());
        self.metrics.held.set(held.len() as u64);
    }

    /// Sends at once what was taken from its connection: to the primary, behind what waits for that already.
    pub fn send_elsewhere(self: &Rc<Self>, taken: Vec<Orphan>) {
        let (routes, mut renewed) = (self.routes(), self.pool.take());
        for Orphan { mut pending, bytes, sent } in taken {
            if pending.replica {
                self.read_at_primary(pending, &bytes);
                continue;
            }
            pending.doubtful |= sent;
            self.hand_on(&mut pending);
            let wanted = pending.client.as_ref().is_some_and(|client| !client.closed.get());
            let shard = routes.place(pending.dest);
            let link = shard.and_then(|index| routes.link(index)).filter(|_| {
                wanted
                    && pending.deadline_ns > self.clock.now_ns()
                    && !(self.holding.get()
                        && self.held.borrow().waits_for(shard.map(|index| routes.shard_id(index))))
            });
            let unsent = match link {
                Some(link) => self.send_again(&routes, link, pending, &bytes, &mut renewed).err(),
                None => Some(pending),
            };
            if let Some(pending) = unsent {
                self.hold(pending, bytes);
            }
        }
        self.pool.give(renewed);
    }

    /// Sends a request on a shared connection again. It is given back when there is none to be had.
    fn send_again(
        self: &Rc<Self>,
        routes: &Routes,
        link: &Rc<Link>,
        mut pending: Pending,
        bytes: &[u8],
        renewed: &mut Vec<u8>,
    ) -> Result<(), Pending> {
        let client = pending.client.as_ref().map_or(0, |client| client.id());
        let Some(connection) = link.shared(self, client, pending.lane) else { return Err(pending) };
        self.renew(routes, &mut pending, bytes, renewed);
        connection.push(pending, Body::Frames { bytes: renewed, id_at: None });
        self.mark_connection(&connection);
        Ok(())
    }

    /// Writes the frames of another sending.
    fn renew(&self, routes: &Routes, pending: &mut Pending, bytes: &[u8], renewed: &mut Vec<u8>) {
        // A second sending of what may have been executed has the number of the first one.
        if !pending.doubtful && pending.write && pending.way == Way::Shared {
            pending.ticket = Some(self.numbers.draw());
        }
        let now_ns = self.clock.now_ns();
        let renewal = Renewal {
            epoch: routes.table.epoch,
            deadline_ms: pending.left_ms(now_ns),
            id: pending.ticket.as_ref().map(Ticket::id).unwrap_or_default(),
            repeated: pending.doubtful,
            wait_ms: pending.wait_left_ms(now_ns),
        };
        renewed.clear();
        renew(bytes, renewal, renewed);
        self.metrics.retries.add(1);
    }

    /// A client is gone: nothing is sent or kept for it any more.
    pub(super) fn disown(&self, client: u64) {
        if self.holding.get() {
            let mut held = self.held.borrow_mut();
            held.disown(client, |pending| self.hand_on(pending));
            self.holding.set(!held.is_empty());
            self.metrics.held.set(held.len() as u64);
        }
    }
}

/// What is said when the deadline of a request has passed; `sent`: it is at a node.
pub(super) fn timeout_text(pending: &Pending, sent: bool) -> &'static str {
    match sent || pending.doubtful {
        false => text::NO_PRIMARY,
        true if pending.command.spec().is_readonly() || pending.is_item_read() => text::READ_TIMEOUT,
        true => text::WRITE_TIMEOUT,
    }
}
