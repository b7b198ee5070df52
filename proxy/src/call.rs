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
use crate::upstream::body::Body;
use crate::upstream::pending::{Dest, NEVER, Pending, Way};
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
        Pending {
            client: Some(Rc::clone(self.client)),
            quest: None,
            seq,
            part: 0,
            skips: 0,
            skip: 0,
            dest,
            command: self.request.command,
            write: self.request.is_write(),
            refused: false,
            way: Way::Shared,
            lane: self.client.lane.get(),
            doubtful: false,
            ticket: None,
            writing: self.worker.writing(self.request),
            flight: None,
            len: 0,
            waits_until_ns: NEVER,
            deadline_ns: now_ns.saturating_add(u64::from(timeout_ms) * 1_000_000),
            since_ns: now_ns,
        }
    }

    /// Sends the request's arguments as they are; `key` chooses the policy.
    #[inline]
    pub fn submit(&mut self, pending: Pending, key: &[u8]) {
        let prefix = self.session.prefix(&self.routes.table, pending.write, key);
        let args = self.request.encoded(self.scratch);
        self.worker.submit(self.routes, pending, Body::One { count: self.request.args.len(), prefix, args });
    }
}
