//! Requests that a proxy names by an id: the reply of the first execution is kept, and given to a second sending.

use torc_cluster::request_ids::Seen;
use torc_protocol::command::Command;
use torc_protocol::context::Ack;
use torc_protocol::error as text;
use torc_protocol::resp::ReplyWriter;

use super::apply::insert_position;
use super::place::Slots;
use super::{Batch, CommandError, Done, Flow, ReplyKind, Request, Session};
use crate::shard::Role;
use crate::store::Access;

impl<'n> Batch<'n, '_> {
    /// The reply of a request that was executed before under the same id; `None`: it was not.
    pub(super) fn repeated(
        &self,
        session: &mut Session,
        request: &Request<'_>,
        access: &mut Access<'n>,
        out: &mut Vec<u8>,
        ack: Ack,
    ) -> Result<Option<Done>, CommandError> {
        let (Some(id), Some(slot)) = (request.id, request.home) else { return Ok(None) };
        // Some commands do without their key's stripe (WATCH that is refused inside MULTI): nothing is kept there.
        if !access.covers(slot) {
            return Ok(None);
        }
        match access.stripe(slot).remembered().map_or(Seen::New, |table| table.look(id, request.repeated)) {
            Seen::New => Ok(None),
            Seen::TooOld => Err(text::REQUEST_ID_TOO_OLD.into()),
            Seen::Again(reply) => {
                let at = out.len();
                out.extend_from_slice(reply);
                // Its own offset is not known any more, but it is not after this one.
                let offset = self.node.shard.last_offset();
                if offset != 0 {
                    session.last_write = offset;
                    if request.want_position {
                        insert_position(out, at, self.term, offset);
                    }
                }
                let barrier = if ack == Ack::InSync { offset } else { 0 };
                let deadline_ms = request.deadline_ms;
                Ok(Some(Done { flow: Flow::Continue, kind: ReplyKind::Write, barrier, deadline_ms }))
            }
        }
    }

    /// What may not be executed now may have been before: then its second sending gets the first reply.
    #[cold]
    pub(super) fn refused(
        &self,
        session: &mut Session,
        command: Command,
        request: &Request<'_>,
        slots: &Slots,
        error: CommandError,
        out: &mut Vec<u8>,
    ) -> Result<Done, (CommandError, bool)> {
        let ack = self.effective_ack(command, request);
        if let (true, Some(home)) = (request.repeated, request.home)
            && (self.role == Role::Plain || self.check_place(session, command.spec(), request, slots).is_ok())
            && let Ok(mut access) = self.node.store.access_one(home)
            && let Ok(Some(done)) = self.repeated(session, request, &mut access, out, ack)
        {
            return Ok(done);
        }
        Err((error, false))
    }

    /// Keeps the reply at `at` in `out` (or the error) under the request's id, in the record under way. What changed
    /// nothing may as well be executed again, unless another sending of it may still come.
    pub(super) fn remember(
        &mut self,
        session: &Session,
        request: &Request<'_>,
        access: &mut Access<'n>,
        error: Option<&CommandError>,
        changed: bool,
        (out, at): (&mut Vec<u8>, usize),
    ) {
        let (Some(id), Some(slot)) = (request.id, request.home) else { return };
        if !(changed || request.repeated) || !access.covers(slot) {
            return;
        }
        if let Some(error) = error {
            // A script that failed after it had written.
            out.truncate(at);
            error.write(&mut ReplyWriter::new(out, session.version));
        }
        if let Some(reply) = out.get(at..).filter(|reply| !reply.is_empty()) {
            access.stripe(slot).remembered_mut().keep(slot, id, reply, self.now.boottime_ns / 1_000_000);
            self.exec.effects.remember(slot, id, reply);
        }
    }
}
