//! One request of a RESP client with everything that answering it takes.

use std::rc::Rc;

use torc_protocol::resp::ReplyWriter;

use crate::dispatch::has_room;
use crate::downstream::client::Client;
use crate::downstream::request::Request;
use crate::downstream::resp::{Step, refuse, reply};
use crate::downstream::session::Session;
use crate::join::Join;
use crate::plan;
use crate::reads;
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, Pending};
use crate::worker::{Routes, Worker};

/// See the module's text.
pub struct Call<'a> {
    /// The worker.
    pub worker: &'a Rc<Worker>,
    /// Who asks.
    pub client: &'a Rc<Client>,
    /// What the client has chosen.
    pub session: &'a mut Session,
    /// The routes of this batch.
    pub routes: &'a Routes,
    /// What is asked.
    pub request: &'a Request<'a>,
    /// For arguments that are not forwarded as they came.
    pub scratch: &'a mut Vec<u8>,
}

/// Sends arguments (how many, and as bulk strings) for `key`, which chooses the policy: to the primary of their shard, or
/// where the policy has reads go that other members can answer (`elsewhere`).
#[inline]
#[allow(clippy::too_many_arguments, reason = "they are what a request is sent with, by both protocols")]
pub fn send(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    session: &mut Session,
    routes: &Routes,
    mut pending: Pending,
    key: &[u8],
    (count, args): (usize, &[u8]),
    elsewhere: impl FnOnce() -> bool,
) {
    let table = &routes.table;
    if (table.reads_replicas || session.readonly)
        && elsewhere()
        && let Some(choice) = reads::choose(worker, client, session, routes, &pending, key)
    {
        match reads::connection(worker, client, &choice) {
            Some(connection) => {
                pending.replica = true;
                let prefix = session.prefix_for_replica(table, key, choice.limits(client, routes, &pending));
                connection.push(pending, Body::One { count, prefix, args });
                return worker.mark_connection(&connection);
            }
            None => worker.metrics.replica_to_primary.add(1),
        }
    }
    let prefix = session.prefix(table, pending.write, key);
    worker.submit(routes, pending, Body::One { count, prefix, args });
}

impl Call<'_> {
    /// Answers.
    pub fn reply(&self, write: impl FnOnce(&mut ReplyWriter<'_>)) -> Step {
        reply(self.worker, self.client, self.session, write);
        Step::Done
    }

    /// Answers with an error.
    pub fn refuse(&self, text: &str) -> Step {
        refuse(self.worker, self.client, self.session, self.request, text);
        Step::Done
    }

    /// Whether all earlier requests of the client are answered; if not it waits until they are.
    pub fn is_first(&self) -> bool {
        let first = self.client.outbox.borrow().pending() == 0;
        if !first {
            self.client.resume_at(0);
        }
        first
    }

    /// Whether there is room for more on the way to a shard; if not the client waits for it.
    #[inline]
    pub fn has_room(&self, place: Option<usize>) -> bool {
        has_room(self.worker, self.client, self.routes, place)
    }

    /// The shard that the client is sent to when any will do: for each client always the same.
    pub fn any_place(&self) -> Option<usize> {
        plan::any_place(&self.routes.table, self.client.id())
    }

    /// A place in the client's order for a reply that is joined from others.
    pub fn open_join(&self, join: Join) -> u64 {
        self.client.outbox.borrow_mut().open_join(self.session.render(), join)
    }

    /// What the request leaves with its connection.
    #[inline]
    pub fn pending(&self, seq: u64, dest: Dest, timeout_ms: u32) -> Pending {
        let now_ns = self.worker.clock.now_ns();
        if self.request.is_write() {
            self.client.wrote_in(seq);
        }
        Pending {
            client: Some(Rc::clone(self.client)),
            seq,
            write: self.request.is_write(),
            lane: self.client.lane.get(),
            writing: self.worker.writing(self.request),
            ..Pending::new(dest, self.request.command, now_ns, timeout_ms)
        }
    }

    /// Sends the request's arguments as they are; `key` chooses the policy.
    #[inline]
    pub fn submit(&mut self, pending: Pending, key: &[u8]) {
        let args = self.request.encoded(self.scratch);
        let args = (self.request.args.len(), args);
        let command = self.request.command;
        let elsewhere = || reads::can_be_read_elsewhere(command);
        send(self.worker, self.client, self.session, self.routes, pending, key, args, elsewhere);
    }
}
